//! Salesforce read by jobs of its bulk API: the same records as page by page, and no job is left behind by a crash.

use serde_json::{Value as Json, json};
use tether::proto::v1;
use tether::proto::v1::sync::{Mode, State};

use crate::changes::{counts, ends};
use crate::support::server::{Database, Person, World, ok, on_both_databases};

on_both_databases!(
    both_ways_store_the_same_records,
    what_is_gone_is_removed_whatever_the_order,
    changes_of_many_records_come_by_a_job,
    a_server_that_dies_leaves_no_job,
    a_connector_that_dies_leaves_no_job,
    a_cancelled_sync_s_job_is_removed_by_the_next,
    a_job_that_could_not_be_deleted_is_deleted_by_the_next_sync,
);

/// Every object is read by a job, in pages of 200 records.
const BULK: [&str; 4] = [
    "connector.salesforce.settings.bulk_rows=1",
    "connector.salesforce.settings.bulk_page_bytes=1",
    "sync.lease_seconds=2",
    "sync.first_pause_milliseconds=20",
];

const FIELDS: [&str; 9] = [
    "Account.Industry",
    "Account.AnnualRevenue",
    "Account.BillingAddress",
    "Account.OwnerId",
    "Account.HQ__c",
    "Contact.Email",
    "Opportunity.Amount",
    "Contract.Status",
    "Case.Subject",
];

/// An integration that was read by jobs.
async fn of_salesforce(world: &World, ann: &mut Person) -> String {
    ann.enable("salesforce").await;
    let name = ann.salesforce("Acme Sales", &FIELDS).await;
    assert_eq!(jobs(world).await, (5, 0));
    name
}

/// (jobs that were created, jobs that exist) at Salesforce.
async fn jobs(world: &World) -> (u64, u64) {
    let jobs = world.control("GET", "/jobs", Json::Null).await;
    (
        jobs["created"].as_u64().unwrap(),
        jobs["existing"].as_u64().unwrap(),
    )
}

/// Whether Salesforce offers the API.
async fn offer(world: &World, enabled: bool) {
    world
        .control("POST", "/jobs/settings", json!({"enabled": enabled}))
        .await;
}

/// A read page by page finds nothing to write or to remove.
async fn is_exact_by_rest(world: &World, ann: &mut Person, name: &str) {
    let (created, _) = jobs(world).await;
    offer(world, false).await;
    let full = ends(ann, name, Mode::Full).await;
    let (read, written, removed) = counts(&full);
    assert!(read > 0 && (written, removed) == (0, 0), "{full:?}");
    assert_eq!(jobs(world).await, (created, 0));
    offer(world, true).await;
}

async fn both_ways_store_the_same_records(database: Database) {
    let world = World::start_with(database, 250, &BULK).await;
    let mut ann = world.ann().await;
    let name = of_salesforce(&world, &mut ann).await;
    is_exact_by_rest(&world, &mut ann, &name).await;
    // And the other way round.
    let full = ends(&mut ann, &name, Mode::Full).await;
    assert_eq!((counts(&full).1, counts(&full).2), (0, 0), "{full:?}");
    assert_eq!(jobs(&world).await, (10, 0));
}

async fn what_is_gone_is_removed_whatever_the_order(database: Database) {
    let world = World::start_with(database, 500, &BULK).await;
    let mut ann = world.ann().await;
    let name = of_salesforce(&world, &mut ann).await;
    for (order, every) in [(json!({"chunkRows": 90}), 60), (json!({"chunkRows": null}), 45)] {
        world.control("POST", "/jobs/settings", order.clone()).await;
        for object in ["Account", "Contact"] {
            let purge = json!({"object": object, "every": every, "from": 7});
            world.control("POST", "/records/purge", purge).await;
        }
        let full = ends(&mut ann, &name, Mode::Full).await;
        assert_eq!(full.state(), State::Succeeded, "{order}: {full:?}");
        for object in ["Account", "Contact"] {
            let one = full.objects.iter().find(|one| one.object == object).unwrap();
            assert!(one.counts.unwrap().removed > 0, "{order}: {full:?}");
        }
        is_exact_by_rest(&world, &mut ann, &name).await;
    }
}

async fn changes_of_many_records_come_by_a_job(database: Database) {
    let settings = [
        "connector.salesforce.settings.bulk_rows=300",
        "sync.sweep_hours=0",
        "sync.calculated_hours=0",
    ];
    let world = World::start_with(database, 2_400, &settings).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let fields = [
        "Account.Industry",
        "Account.Revenue_per_Employee__c",
        "Contact.Email",
    ];
    let name = ann.salesforce("Acme Sales", &fields).await;
    let (before, _) = jobs(&world).await;
    for (path, body) in [
        (
            "/records/update",
            json!({"object": "Account", "every": 1, "fields": {"Industry": "Mining"}}),
        ),
        (
            "/records/delete",
            json!({"object": "Account", "every": 100, "cascade": true}),
        ),
        ("/records/purge", json!({"object": "Contact", "every": 90})),
        (
            "/fields/recalculate",
            json!({"object": "Account", "field": "Revenue_per_Employee__c"}),
        ),
    ] {
        world.control("POST", path, body).await;
    }
    let next = ends(&mut ann, &name, Mode::Unspecified).await;
    assert_eq!(
        (next.mode(), next.state()),
        (Mode::Incremental, State::Succeeded),
        "{next:?}"
    );
    // The changed accounts, the ids of both objects with what is calculated.
    assert_eq!(jobs(&world).await, (before + 3, 0));
    is_exact_by_rest(&world, &mut ann, &name).await;
}

/// The requests in which a process dies: they were executed, and their answers do not come. They are few, because after each
/// further death in a row the server waits four times as long until it opens a connector again.
const MOMENTS: [(&str, u32); 3] = [("bulk_create", 0), ("bulk_results", 1), ("bulk_delete", 0)];

/// Begins a sync and waits until its process is in this request.
async fn begun(world: &World, ann: &mut Person, name: &str, (kind, skip): (&str, u32)) -> String {
    let fault = json!({"request": kind, "skip": skip, "kind": "stall"});
    world.control("POST", "/faults", fault).await;
    let request = v1::SyncIntegrationRequest {
        name: name.to_owned(),
        mode: Mode::Full.into(),
        ..Default::default()
    };
    let sync = ok(ann.integrations.sync_integration(request)).await.name;
    while world.control("GET", "/faults", Json::Null).await["faults"] != json!([]) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    sync
}

async fn a_server_that_dies_leaves_no_job(database: Database) {
    let mut world = World::start_with(database, 250, &BULK).await;
    let mut ann = world.ann().await;
    let name = of_salesforce(&world, &mut ann).await;
    for moment in MOMENTS {
        let update = json!({"object": "Account", "every": 3, "fields": {"Industry": format!("{moment:?}")}});
        world.control("POST", "/records/update", update).await;
        let sync = begun(&world, &mut ann, &name, moment).await;
        world.signal("KILL");
        world.ended().await;
        world.start_again().await;
        ann = world.ann().await;
        let done = ann.succeeds(&sync).await;
        assert!(done.attempt > 1, "{moment:?}: {done:?}");
        assert_eq!(jobs(&world).await.1, 0, "{moment:?}");
    }
    is_exact_by_rest(&world, &mut ann, &name).await;
}

/// The processes of a server's connectors.
fn children(server: u32) -> Vec<u32> {
    let is_child = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        after_name.split_whitespace().nth(1) == Some(&server.to_string())
    };
    let entries = std::fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(is_child).collect()
}

async fn a_connector_that_dies_leaves_no_job(database: Database) {
    let world = World::start_with(database, 250, &BULK).await;
    let mut ann = world.ann().await;
    let name = of_salesforce(&world, &mut ann).await;
    for moment in MOMENTS {
        let update = json!({"object": "Account", "every": 3, "fields": {"Industry": format!("{moment:?}")}});
        world.control("POST", "/records/update", update).await;
        let sync = begun(&world, &mut ann, &name, moment).await;
        for child in children(world.pid()) {
            // It may be that of another connector, and have ended.
            let _ = std::process::Command::new("kill")
                .args(["-s", "KILL", &child.to_string()])
                .status();
        }
        let done = ann.succeeds(&sync).await;
        assert!(done.attempt > 1, "{moment:?}: {done:?}");
        assert_eq!(jobs(&world).await.1, 0, "{moment:?}");
    }
    is_exact_by_rest(&world, &mut ann, &name).await;
}

async fn a_job_that_could_not_be_deleted_is_deleted_by_the_next_sync(database: Database) {
    let world = World::start_with(database, 150, &BULK).await;
    let mut ann = world.ann().await;
    let name = of_salesforce(&world, &mut ann).await;
    let refusal = json!([{"errorCode": "INSUFFICIENT_ACCESS", "message": "no"}]).to_string();
    for mode in [Mode::Unspecified, Mode::Full] {
        let fault = json!({"request": "bulk_delete", "status": 403, "body": refusal, "times": 99});
        world.control("POST", "/faults", fault).await;
        let full = ends(&mut ann, &name, Mode::Full).await;
        assert_eq!(full.state(), State::Succeeded, "{full:?}");
        assert_eq!(jobs(&world).await.1, 5);
        world.control("DELETE", "/faults", Json::Null).await;
        let next = ends(&mut ann, &name, mode).await;
        assert_eq!(next.state(), State::Succeeded, "{next:?}");
        assert_eq!(jobs(&world).await.1, 0, "{mode:?}");
    }
}

async fn a_cancelled_sync_s_job_is_removed_by_the_next(database: Database) {
    let world = World::start_with(database, 250, &BULK).await;
    let mut ann = world.ann().await;
    let name = of_salesforce(&world, &mut ann).await;
    let sync = begun(&world, &mut ann, &name, ("bulk_results", 0)).await;
    ok(ann
        .integrations
        .cancel_sync(v1::CancelSyncRequest { name: sync.clone() }))
    .await;
    assert_eq!(ann.watch(&sync).await.pop().unwrap().state(), State::Cancelled);
    assert_eq!(jobs(&world).await.1, 1);
    let next = ends(&mut ann, &name, Mode::Unspecified).await;
    assert_eq!(next.state(), State::Succeeded, "{next:?}");
    assert_eq!(jobs(&world).await.1, 0);
    is_exact_by_rest(&world, &mut ann, &name).await;
}
