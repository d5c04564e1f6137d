//! A sync reports what it did: an incomplete read is not a success, large removals are held back, the cause
//! is shown from the first attempt on, and a cancelled sync writes nothing more.

use serde_json::json;
use tether::proto::v1::sync::State;
use tether::proto::v1::{self, ErrorReason, sync_object};

use crate::support::server::{Database, Person, World, ok, on_all_databases, refused};

on_all_databases!(
    what_lacks_an_object_is_partial,
    a_passing_error_of_an_object_is_tried_again,
    the_cause_is_shown_from_the_first_try_on,
    an_empty_listing_removes_nothing_until_confirmed,
    a_second_listing_confirms,
    disabling_the_connector_ends_a_sync,
    a_fresh_login_outlives_what_an_old_one_hears,
    a_record_under_an_older_stamp_is_newer,
);

/// A saved integration of the dummy with companies, people and deals, synced once.
async fn of_dummy(ann: &mut Person) -> String {
    ann.enable("dummy").await;
    let name = ann.create("dummy", "Ours").await;
    ann.log_in_with_key(&name, "ann").await;
    ann.select(&name, &["Company.Industry", "Person.Email", "Deal.Amount"])
        .await;
    let sync = ann.activate(&name).await;
    ann.succeeds(&sync).await;
    name
}

/// Runs a sync to its end.
async fn ends(ann: &mut Person, name: &str) -> v1::Sync {
    let sync = ann.sync(name).await;
    ann.watch(&sync).await.pop().unwrap()
}

/// Watches a sync until this condition holds.
async fn once(ann: &mut Person, sync: &str, is: impl Fn(&v1::Sync) -> bool) -> v1::Sync {
    let request = v1::WatchSyncRequest {
        name: sync.to_owned(),
    };
    let mut stream = ok(ann.integrations.watch_sync(request)).await;
    while let Some(next) = stream.message().await.unwrap() {
        let now = next.sync.unwrap();
        if is(&now) {
            return now;
        }
    }
    panic!("{sync} ended before");
}

fn object<'a>(sync: &'a v1::Sync, key: &str) -> &'a v1::SyncObject {
    sync.objects.iter().find(|one| one.object == key).unwrap()
}

fn cause(of: &Option<v1::Cause>) -> ErrorReason {
    of.as_ref().map(v1::Cause::reason).unwrap_or_default()
}

/// The numbers of companies and of their related records, as their profiles show them from the store.
async fn shown(ann: &mut Person) -> (usize, i64) {
    let companies = ann.all_companies(200).await;
    let mut related = 0;
    for company in companies.iter().take(3) {
        let request = v1::GetCompanyProfileRequest {
            name: company.name.clone(),
            parent: ann.parent.clone(),
            refresh: v1::get_company_profile_request::Refresh::Never as i32,
            ..Default::default()
        };
        let profile = ok(ann.companies.get_company_profile(request)).await;
        let of_cards = profile.cards.iter().flat_map(|card| &card.related);
        related += of_cards.map(|one| one.total_size).sum::<i64>();
    }
    (companies.len(), related)
}

async fn what_lacks_an_object_is_partial(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    let name = of_dummy(&mut ann).await;
    let before = shown(&mut ann).await;

    // The user can no longer see the deals: the rest is read, the deals stay.
    world.script(&json!({"missing": "Deal"}));
    let partial = ends(&mut ann, &name).await;
    assert_eq!(partial.state(), State::Partial, "{partial:?}");
    assert_eq!(cause(&partial.error), ErrorReason::CrmForbidden);
    assert!(partial.error.as_ref().unwrap().message.starts_with("Deal: "));
    let deals = object(&partial, "Deal");
    assert_eq!(
        (deals.state(), cause(&deals.error)),
        (sync_object::State::Failed, ErrorReason::CrmForbidden)
    );
    assert_eq!(object(&partial, "Person").state(), sync_object::State::Done);
    assert!(
        partial.objects.iter().all(|one| !one.label.is_empty()),
        "{partial:?}"
    );
    assert_eq!((partial.attempt, partial.totals.unwrap().removed), (1, 0));
    assert_eq!(shown(&mut ann).await, before);
    let summary = ann.get(&name).await.last_sync.unwrap();
    assert_eq!(
        (summary.state(), cause(&summary.error)),
        (State::Partial, ErrorReason::CrmForbidden)
    );

    // Without the companies the sync fails, even if the other objects were read.
    world.script(&json!({"missing": "Company"}));
    let failed = ends(&mut ann, &name).await;
    assert_eq!(
        (failed.state(), cause(&failed.error)),
        (State::Failed, ErrorReason::CrmForbidden)
    );
    assert_eq!(shown(&mut ann).await, before);

    world.script(&json!({}));
    let whole = ends(&mut ann, &name).await;
    assert_eq!((whole.state(), whole.error), (State::Succeeded, None));
    // A missing field is reported by the sync that missed it, and by no other.
    world.script(&json!({"missing": "Company.Industry"}));
    let without = ends(&mut ann, &name).await;
    assert_eq!(
        (without.state(), &without.missing_fields[..]),
        (State::Succeeded, &["Company.Industry".to_owned()][..])
    );
    world.script(&json!({}));
    let with = ends(&mut ann, &name).await;
    assert!(with.missing_fields.is_empty() && with.change_number > without.change_number);
    let again = ok(ann.integrations.get_sync(v1::GetSyncRequest {
        name: without.name.clone(),
    }))
    .await;
    assert_eq!(
        (again.missing_fields, again.change_number),
        (without.missing_fields, without.change_number)
    );
}

const QUICK: &[&str] = &["sync.first_pause_milliseconds=20", "sync.most_tries=4"];

async fn a_passing_error_of_an_object_is_tried_again(database: Database) {
    let world = World::start_with(database, 1, QUICK).await;
    let mut ann = world.ann().await;
    let name = of_dummy(&mut ann).await;

    // The error ends while the sync waits: the same sync reads everything. The wait is as long as the CRM
    // requests.
    world.script(&json!({"script.object.Person": "error:rate_limited:1500"}));
    let sync = ann.sync(&name).await;
    let waiting = once(&mut ann, &sync, |now| now.state() == State::Waiting).await;
    assert_eq!(cause(&waiting.error), ErrorReason::CrmRateLimited);
    assert!(waiting.error.as_ref().unwrap().retry_time.is_some());
    assert_eq!(
        cause(&object(&waiting, "Person").error),
        ErrorReason::CrmRateLimited
    );
    world.script(&json!({}));
    let whole = ann.watch(&sync).await.pop().unwrap();
    assert_eq!((whole.state(), whole.attempt), (State::Succeeded, 2), "{whole:?}");
    assert_eq!(object(&whole, "Person").error, None);

    // The error lasts: after a few attempts the sync skips the object and reports it.
    world.script(&json!({"script.object.Person": "error:transient"}));
    let partial = ends(&mut ann, &name).await;
    assert_eq!(
        (partial.state(), partial.attempt),
        (State::Partial, 3),
        "{partial:?}"
    );
    assert_eq!(
        cause(&object(&partial, "Person").error),
        ErrorReason::CrmUnavailable
    );
    assert_eq!(object(&partial, "Deal").state(), sync_object::State::Done);
    assert_eq!(object(&partial, "Company").state(), sync_object::State::Done);
}

async fn the_cause_is_shown_from_the_first_try_on(database: Database) {
    let world = World::start_with(database, 1, QUICK).await;
    let mut ann = world.ann().await;
    let name = of_dummy(&mut ann).await;
    // Temporary errors are retried as often as the operator set, unknown ones less often. Each state of the
    // sync shows the cause.
    for (kind, tries, reason) in [
        ("transient", 4, ErrorReason::CrmUnavailable),
        ("bug", 3, ErrorReason::ConnectorFault),
        ("admin_action", 1, ErrorReason::CrmAdminActionNeeded),
    ] {
        world.script(&json!({"script.read": format!("error:{kind}")}));
        let sync = ann.sync(&name).await;
        let seen = ann.watch(&sync).await;
        let last = seen.last().unwrap();
        assert_eq!(
            (last.state(), last.attempt),
            (State::Failed, tries),
            "{kind}: {last:?}"
        );
        assert_eq!(cause(&last.error), reason);
        assert!(
            last.error
                .as_ref()
                .unwrap()
                .message
                .contains("as the script says"),
            "{last:?}"
        );
        for one in seen
            .iter()
            .filter(|one| one.attempt > 1 || one.state() == State::Waiting)
        {
            assert_eq!(cause(&one.error), reason, "{one:?}");
        }
    }
}

async fn an_empty_listing_removes_nothing_until_confirmed(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    world.script(&json!({"companies": "160"}));
    let name = of_dummy(&mut ann).await;
    let confirm = |sync: &str| v1::SyncIntegrationRequest {
        name: name.clone(),
        confirm_removals_of: sync.to_owned(),
        ..Default::default()
    };

    // A complete listing with few companies: 150 removals are held back. (For people and deals this CRM lists
    // no ranges, so a missing record proves nothing.)
    world.script(&json!({"companies": "10"}));
    let held = ends(&mut ann, &name).await;
    assert_eq!(
        (held.state(), cause(&held.error)),
        (State::Partial, ErrorReason::RemovalHeldBack),
        "{held:?}"
    );
    let numbers: Vec<i64> = held.objects.iter().map(|one| one.held_back_removals).collect();
    assert_eq!((numbers, held.totals.unwrap().removed), (vec![150, 0, 0], 0));
    assert_eq!(shown(&mut ann).await.0, 160);

    // Only the last sync that listed the records can be confirmed, and only if it holds removals back.
    let newer = ends(&mut ann, &name).await;
    assert_eq!(newer.state(), State::Partial);
    let no = refused(ann.integrations.sync_integration(confirm(&held.name))).await;
    assert_eq!(no.reason, "NOTHING_TO_CONFIRM");

    // Confirmed, but the CRM lists the records again: nothing is removed.
    world.script(&json!({"companies": "160"}));
    let sync = ok(ann.integrations.sync_integration(confirm(&newer.name))).await;
    assert_eq!(sync.confirmed_sync, newer.name);
    let last = ann.succeeds(&sync.name).await;
    assert_eq!(last.totals.unwrap().removed, 0);
    let no = refused(ann.integrations.sync_integration(confirm(&sync.name))).await;
    assert_eq!(no.reason, "NOTHING_TO_CONFIRM");

    // Confirmed, and still missing: removed.
    world.script(&json!({"companies": "10"}));
    let held = ends(&mut ann, &name).await;
    let sync = ok(ann.integrations.sync_integration(confirm(&held.name))).await;
    let last = ann.succeeds(&sync.name).await;
    assert_eq!(last.totals.unwrap().removed, 150);
    assert_eq!(shown(&mut ann).await.0, 10);
    let request = v1::ListAuditEntriesRequest {
        parent: ann.parent.clone(),
        resource: sync.name.clone(),
        page_size: 10,
        ..Default::default()
    };
    let entries = ok(ann.integrations.list_audit_entries(request))
        .await
        .audit_entries;
    assert!(format!("{entries:?}").contains(&held.name), "{entries:?}");
}

async fn a_second_listing_confirms(database: Database) {
    let settings = [
        "sync.removal_again_minutes=0",
        "sync.removal_rows=20",
        "sync.removal_percent=50",
    ];
    let world = World::start_with(database, 1, &settings).await;
    let mut ann = world.ann().await;
    let name = of_dummy(&mut ann).await;
    world.script(&json!({"companies": "40"}));
    let held = ends(&mut ann, &name).await;
    assert_eq!(
        (held.state(), object(&held, "Company").held_back_removals),
        (State::Partial, 60),
        "{held:?}"
    );
    // The sixty of the first listing are confirmed by this one; ten more are below the limit.
    world.script(&json!({"companies": "30"}));
    let second = ends(&mut ann, &name).await;
    let companies = object(&second, "Company");
    assert_eq!(
        (companies.counts.unwrap().removed, companies.held_back_removals),
        (70, 0),
        "{second:?}"
    );
    assert_eq!(shown(&mut ann).await.0, 30);
}

async fn disabling_the_connector_ends_a_sync(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    let name = of_dummy(&mut ann).await;
    // It has read some changes and stops in the middle.
    world.script(
        &json!({"revision": "1", "batch": "10", "checkpoint_every": "20", "script.read": "slow:60000@70"}),
    );
    let sync = ann.sync(&name).await;
    let reading = |now: &v1::Sync| object(now, "Company").state() == sync_object::State::Reading;
    once(&mut ann, &sync, |now| !now.objects.is_empty() && reading(now)).await;
    let request = v1::DisableConnectorRequest {
        parent: ann.parent.clone(),
        connector: "connectors/dummy".to_owned(),
    };
    ok(ann.integrations.disable_connector(request)).await;
    world.script(&json!({}));
    ann.enable("dummy").await;
    let at_once = ok(ann
        .integrations
        .get_sync(v1::GetSyncRequest { name: sync.clone() }))
    .await
    .change_number;
    let last = ann.watch(&sync).await.pop().unwrap();
    assert_eq!((last.state(), last.attempt), (State::Cancelled, 1), "{last:?}");
    assert_eq!(last.change_number, at_once, "nothing is written after it");
    let again = ends(&mut ann, &name).await;
    assert_eq!(again.state(), State::Succeeded);
}

async fn a_fresh_login_outlives_what_an_old_one_hears(database: Database) {
    let world = World::start_with(database, 1, QUICK).await;
    let mut ann = world.ann().await;
    let name = of_dummy(&mut ann).await;
    // The stream of the old login ends with CREDENTIALS_REVOKED after a new login.
    world.script(&json!({"batch": "10", "checkpoint_every": "20", "script.read": "slow:8000@70,error:credentials_revoked@75"}));
    let sync = ann.sync(&name).await;
    let reading = |now: &v1::Sync| object(now, "Company").state() == sync_object::State::Reading;
    once(&mut ann, &sync, |now| !now.objects.is_empty() && reading(now)).await;
    world.script(&json!({}));
    ann.log_in_with_key(&name, "ann").await;
    let last = ann.watch(&sync).await.pop().unwrap();
    assert_eq!((last.state(), last.attempt), (State::Succeeded, 2), "{last:?}");
    assert_eq!(ann.get(&name).await.state(), v1::integration::State::Active);
}

async fn a_record_under_an_older_stamp_is_newer(database: Database) {
    let world = World::start(database, 3).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let name = ann.salesforce("Acme Sales", &["Account.Industry"]).await;
    let company = ann.all_companies(10).await.remove(0);
    ann.open(&company.name).await;
    for account in world.truth("Account", "Id").await {
        let id = &account["Id"];
        // An import that keeps the timestamps of its source system.
        let change = json!({"id": id, "fields": {"Industry": "Mining"}, "stamp": "2001-01-01T00:00:00.000Z"});
        world.control("POST", "/records/update", change).await;
    }
    let sync = ann.sync(&name).await;
    ann.succeeds(&sync).await;
    let request = v1::GetCompanyProfileRequest {
        name: company.name.clone(),
        parent: ann.parent.clone(),
        refresh: v1::get_company_profile_request::Refresh::Never as i32,
        ..Default::default()
    };
    let profile = ok(ann.companies.get_company_profile(request)).await;
    assert!(format!("{profile:?}").contains("Mining"), "{profile:?}");
}
