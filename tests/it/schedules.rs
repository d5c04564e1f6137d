//! Integrations sync by themselves. Time passes in these tests because the stored times move into the past.

use serde_json::json;
use tether::caller::Role;
use tether::proto::v1::sync::{State, Trigger};
use tether::proto::v1::{self, Integration, SyncSchedule};

use crate::support::server::{
    Database, Person, World, ok, on_all_databases, on_both_databases, refused, until,
};

on_all_databases!(an_integration_syncs_by_itself_twice);

on_both_databases!(
    a_running_sync_is_joined,
    what_was_missed_while_no_server_ran_runs_once,
    an_integration_that_may_not_sync_waits,
    a_change_is_checked_and_reviewed_first,
    an_edit_without_another_schedule_keeps_the_time,
    an_owner_changes_a_schedule,
    schedules_are_refused_with_the_way_out,
    a_draft_has_its_schedule_from_the_beginning,
    saving_begins_the_schedule,
);

const HOUR: i64 = 3_600;
/// The longest delay of an integration, and the time that a test may take.
const DELAY: i64 = 300 + 60;

/// So many hours pass for all integrations.
fn pass(world: &World, hours: i64) {
    let us = hours * HOUR * 1_000_000;
    world.sql(&format!(
        "UPDATE integration SET next_sync_us = next_sync_us - {us}"
    ));
}

fn now() -> i64 {
    tether::time::now_us() / 1_000_000
}

/// Seconds from now to the next sync.
async fn in_seconds(person: &mut Person, name: &str) -> Option<i64> {
    let next = person.get(name).await.next_sync_time?;
    Some(next.seconds - now())
}

/// The syncs, the latest first.
async fn syncs(person: &mut Person, name: &str) -> Vec<v1::Sync> {
    let request = v1::ListSyncsRequest {
        parent: name.to_owned(),
        ..Default::default()
    };
    ok(person.integrations.list_syncs(request)).await.syncs
}

async fn by_schedule(person: &mut Person, name: &str) -> Vec<v1::Sync> {
    let all = syncs(person, name).await.into_iter();
    all.filter(|one| one.trigger() == Trigger::Schedule).collect()
}

/// Waits for so many scheduled syncs, and for the end of the last one.
async fn scheduled(person: &mut Person, name: &str, count: usize) -> v1::Sync {
    until("a sync by the schedule", || {
        let (mut person, name) = (person.clone(), name.to_owned());
        async move { by_schedule(&mut person, &name).await.len() >= count }
    })
    .await;
    let last = by_schedule(person, name).await.remove(0);
    person.succeeds(&last.name).await
}

fn every(seconds: i64) -> SyncSchedule {
    SyncSchedule {
        interval: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..Default::default()
    }
}

fn cron(cron: &str, time_zone: &str) -> SyncSchedule {
    SyncSchedule {
        cron: cron.to_owned(),
        time_zone: time_zone.to_owned(),
        ..Default::default()
    }
}

fn manual() -> SyncSchedule {
    SyncSchedule {
        manual_only: true,
        ..Default::default()
    }
}

fn update(name: &str, schedule: Option<SyncSchedule>, paths: &[&str]) -> v1::UpdateIntegrationRequest {
    v1::UpdateIntegrationRequest {
        integration: Some(Integration {
            name: name.to_owned(),
            schedule,
            ..Default::default()
        }),
        update_mask: (!paths.is_empty()).then(|| prost_types::FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
        ..Default::default()
    }
}

async fn set(person: &mut Person, name: &str, schedule: SyncSchedule) -> Integration {
    let request = update(name, Some(schedule), &["schedule"]);
    ok(person.integrations.update_integration(request)).await
}

async fn an_integration_syncs_by_itself_twice(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    let (name, _) = ann.dummy("Ours", "ann").await;
    let first = in_seconds(&mut ann, &name).await.unwrap();
    assert!((HOUR - 60..=HOUR + DELAY).contains(&first), "{first}");
    for count in 1..=2 {
        pass(&world, 2);
        let sync = scheduled(&mut ann, &name, count).await;
        assert_eq!((sync.trigger(), sync.attempt), (Trigger::Schedule, 1));
        let next = in_seconds(&mut ann, &name).await.unwrap();
        assert!((HOUR - 60..=HOUR + DELAY).contains(&next), "{next}");
        assert_eq!(syncs(&mut ann, &name).await.len(), 1 + count);
    }
}

#[tokio::test]
async fn two_servers_queue_one_sync() {
    let mut world = World::start(Database::Postgres, 1).await;
    let mut ann = world.ann().await;
    let mut names = Vec::new();
    for key in ["ann", "bob", "eve"] {
        names.push(ann.dummy(key, key).await.0);
    }
    let second = world.another().await;
    let token = world.token("ann", Some("acme"), Role::Administrator);
    let mut there = world.bearer_at(&second, "acme", &token).await;
    for round in 1..=3 {
        pass(&world, 2);
        for name in &names {
            scheduled(&mut there, name, round).await;
            assert!(in_seconds(&mut ann, name).await.unwrap() > 0);
        }
        for name in &names {
            assert_eq!(syncs(&mut ann, name).await.len(), 1 + round);
        }
    }
}

async fn a_running_sync_is_joined(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    let (name, _) = ann.dummy("Ours", "ann").await;
    world.script(&json!({"script.read": "hang"}));
    let running = ann.sync(&name).await;
    pass(&world, 2);
    until("the time is reached", || {
        let (mut ann, name) = (ann.clone(), name.clone());
        async move { in_seconds(&mut ann, &name).await.is_some_and(|next| next > 0) }
    })
    .await;
    assert_eq!(by_schedule(&mut ann, &name).await, []);
    let cancel = v1::CancelSyncRequest {
        name: running.clone(),
    };
    ok(ann.integrations.cancel_sync(cancel)).await;
    assert_eq!(ann.watch(&running).await.pop().unwrap().state(), State::Cancelled);
    assert_eq!(syncs(&mut ann, &name).await.len(), 2);
    world.script(&json!({}));
    pass(&world, 2);
    scheduled(&mut ann, &name, 1).await;
}

async fn what_was_missed_while_no_server_ran_runs_once(database: Database) {
    let mut world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    let (name, _) = ann.dummy("Ours", "ann").await;
    set(&mut ann, &name, every(300)).await;
    world.terminate().await;
    pass(&world, 100);
    world.start_again().await;
    let mut ann = world.ann().await;
    scheduled(&mut ann, &name, 1).await;
    let next = in_seconds(&mut ann, &name).await.unwrap();
    assert!((300 - 60..=300 + 30).contains(&next), "{next}");
    assert_eq!(by_schedule(&mut ann, &name).await.len(), 1);
}

async fn an_integration_that_may_not_sync_waits(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    let (name, _) = ann.dummy("Ours", "ann").await;
    let (other, _) = ann.dummy("Others", "bob").await;
    set(&mut ann, &other, manual()).await;
    assert_eq!(in_seconds(&mut ann, &other).await, None);
    let disable = v1::DisableConnectorRequest {
        parent: ann.parent.clone(),
        connector: "connectors/dummy".to_owned(),
    };
    ok(ann.integrations.disable_connector(disable)).await;
    assert_eq!(in_seconds(&mut ann, &name).await, None);
    pass(&world, 100);
    // Time for it to be queued by mistake: that of another group's integration, which is due after it.
    let mut gil = world.person("gil", "globex", Role::Administrator).await;
    let (theirs, _) = gil.dummy("Theirs", "gil").await;
    pass(&world, 2);
    scheduled(&mut gil, &theirs, 1).await;
    assert_eq!(syncs(&mut ann, &name).await.len(), 1);

    ann.enable("dummy").await;
    scheduled(&mut ann, &name, 1).await;
    assert!(in_seconds(&mut ann, &name).await.unwrap() > 0);
    assert_eq!(by_schedule(&mut ann, &name).await.len(), 1);
    // With `manual_only`, never.
    assert_eq!(syncs(&mut ann, &other).await.len(), 1);
}

async fn a_change_is_checked_and_reviewed_first(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    let (name, _) = ann.dummy("Ours", "ann").await;
    let before = ann.get(&name).await;
    assert_eq!(before.schedule, Some(every(HOUR)));
    let check = v1::UpdateIntegrationRequest {
        validate_only: true,
        ..update(&name, Some(every(600)), &["schedule"])
    };
    let checked = ok(ann.integrations.update_integration(check)).await;
    assert_eq!(checked.schedule, Some(every(600)));
    assert!((600 - 60..=660).contains(&(checked.next_sync_time.unwrap().seconds - now())));
    let review = v1::ReviewIntegrationRequest {
        name: name.clone(),
        proposal: update(&name, Some(cron("30 6 * * MON", "europe/berlin")), &[]).integration,
        ..Default::default()
    };
    let reviewed = ok(ann.integrations.review_integration(review)).await;
    assert_eq!(reviewed.schedule, Some(cron("30 6 * * MON", "Europe/Berlin")));
    assert_eq!(ann.get(&name).await, before);
}

async fn an_edit_without_another_schedule_keeps_the_time(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    let (name, _) = ann.dummy("Ours", "ann").await;
    let before = ann.get(&name).await;
    let read = set(&mut ann, &name, every(600)).await;
    assert_ne!(read.etag, before.etag);
    let next = in_seconds(&mut ann, &name).await.unwrap();
    assert!((600 - 60..=660).contains(&next), "{next}");
    let renamed = Integration {
        name: name.clone(),
        display_name: "Renamed".to_owned(),
        ..Default::default()
    };
    for integration in [read.clone(), renamed] {
        let edit = v1::UpdateIntegrationRequest {
            integration: Some(integration),
            ..Default::default()
        };
        let edited = ok(ann.integrations.update_integration(edit)).await;
        assert_eq!(
            (edited.schedule, edited.next_sync_time),
            (read.schedule.clone(), read.next_sync_time)
        );
    }
}

async fn an_owner_changes_a_schedule(database: Database) {
    let world = World::start(database, 1).await;
    world.connect("globex", true).await;
    let mut ann = world.ann().await;
    let (name, _) = ann.dummy("Ours", "ann").await;
    let twice_a_day = set(&mut ann, &name, cron("0 6,18 * * *", "America/New_York")).await;
    assert_eq!(
        twice_a_day.schedule,
        Some(cron("0 6,18 * * *", "America/New_York"))
    );
    let next = twice_a_day.next_sync_time.unwrap().seconds;
    // New York is 4 or 5 hours behind UTC, and the delay is at most five minutes.
    let hour = next.rem_euclid(24 * HOUR) / HOUR;
    assert!([10, 11, 22, 23].contains(&hour) && next % HOUR <= 300, "{next}");
    assert!(next > now() && next <= now() + 13 * HOUR + 300);
    assert_eq!(set(&mut ann, &name, manual()).await.next_sync_time, None);
    // Named in the mask and not set: the default.
    for paths in [&["schedule"][..], &["display_name", "schedule"]] {
        let mut request = update(&name, None, paths);
        request.integration.as_mut().unwrap().display_name = "Ours".to_owned();
        let reset = ok(ann.integrations.update_integration(request)).await;
        assert_eq!(reset.schedule, Some(every(HOUR)));
    }

    // A receiver sees neither.
    ann.share(&name, "globex", &[]).await;
    let mut gil = world.person("gil", "globex", Role::Administrator).await;
    let received = gil.get(&name).await;
    assert_eq!((received.schedule, received.next_sync_time), (None, None));

    let log = v1::ListAuditEntriesRequest {
        parent: ann.parent.clone(),
        ..Default::default()
    };
    let entries = ok(ann.integrations.list_audit_entries(log)).await.audit_entries;
    let made = entries.iter().filter_map(|one| one.detail.get("schedule"));
    let mut made: Vec<&str> = made.map(String::as_str).collect();
    made.sort_unstable();
    let zone = "CRON America/New_York 0 6,18 * * *";
    assert_eq!(made, [zone, "EVERY 60", "EVERY 60", "EVERY 60", "MANUAL"]);
}

/// Schedules that are refused, with the field that is named and a part of the way out.
fn unfit() -> Vec<(SyncSchedule, &'static str, &'static str)> {
    let both = SyncSchedule {
        cron: "0 6 * * *".to_owned(),
        ..every(HOUR)
    };
    let zone_alone = SyncSchedule {
        time_zone: "UTC".to_owned(),
        ..every(HOUR)
    };
    vec![
        (every(60), "interval", "at least 5 minutes"),
        (every(330), "interval", "whole minutes"),
        (every(31 * 24 * HOUR), "interval", "at most 30 days"),
        (both, "cron", "either"),
        (zone_alone, "time_zone", "leave it empty"),
        (cron("* * * * *", "UTC"), "cron", "*/5"),
        (cron("0 0 30 2 *", "UTC"), "cron", "manual_only"),
        (cron("at noon", "UTC"), "cron", "for example"),
        (cron("0 6 * * *", "Mars/Olympus"), "time_zone", "Europe/Berlin"),
    ]
}

async fn schedules_are_refused_with_the_way_out(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    let (name, _) = ann.dummy("Ours", "ann").await;
    let before = ann.get(&name).await;
    for (schedule, field, way_out) in unfit() {
        let mut draft = ann.draft("dummy", "Other");
        draft.integration.as_mut().unwrap().schedule = Some(schedule.clone());
        let created = refused(ann.integrations.create_integration(draft)).await;
        let request = update(&name, Some(schedule.clone()), &["schedule"]);
        let updated = refused(ann.integrations.update_integration(request)).await;
        let review = v1::ReviewIntegrationRequest {
            name: name.clone(),
            proposal: update(&name, Some(schedule.clone()), &[]).integration,
            ..Default::default()
        };
        let reviewed = refused(ann.integrations.review_integration(review)).await;
        for (root, no) in [
            ("integration", created),
            ("integration", updated),
            ("proposal", reviewed),
        ] {
            assert_eq!(no.reason, "INVALID_FIELD_VALUE", "{schedule:?}");
            let violations = &no.details.bad_request().unwrap().field_violations;
            assert_eq!(violations[0].field, format!("{root}.schedule.{field}"));
            assert!(violations[0].description.contains(way_out), "{violations:?}");
        }
    }
    assert_eq!(ann.get(&name).await, before);
}

async fn a_draft_has_its_schedule_from_the_beginning(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    ann.enable("dummy").await;
    let mut request = ann.draft("dummy", "Ours");
    request.request_id = uuid::Uuid::new_v4().to_string();
    request.integration.as_mut().unwrap().schedule = Some(every(86_400));
    let check = v1::CreateIntegrationRequest {
        validate_only: true,
        request_id: String::new(),
        ..request.clone()
    };
    let checked = ok(ann.integrations.create_integration(check)).await;
    assert_eq!(checked.schedule, Some(every(86_400)));
    let draft = ok(ann.integrations.create_integration(request.clone())).await;
    assert_eq!(
        (draft.schedule.clone(), draft.next_sync_time),
        (Some(every(86_400)), None)
    );
    let again = ok(ann.integrations.create_integration(request.clone())).await;
    assert_eq!(again.name, draft.name);
    // Another schedule is another request.
    request.integration.as_mut().unwrap().schedule = Some(every(HOUR));
    let no = refused(ann.integrations.create_integration(request)).await;
    assert_eq!(no.reason, "REQUEST_ID_REUSED");
}

async fn saving_begins_the_schedule(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    ann.enable("dummy").await;
    let name = ann.create("dummy", "Ours").await;
    let utc = set(&mut ann, &name, cron("0 6 * * *", "")).await;
    assert_eq!(utc.schedule, Some(cron("0 6 * * *", "UTC")));
    assert_eq!(set(&mut ann, &name, every(86_400)).await.next_sync_time, None);
    ann.log_in_with_key(&name, "ann").await;
    ann.select(&name, &["Company.Industry"]).await;
    let review = v1::ReviewIntegrationRequest {
        name: name.clone(),
        ..Default::default()
    };
    let reviewed = ok(ann.integrations.review_integration(review)).await;
    assert_eq!(reviewed.schedule, Some(every(86_400)));
    // The first sync runs at once; the next is a day later.
    let sync = ann.activate(&name).await;
    assert_eq!(ann.succeeds(&sync).await.trigger(), Trigger::Activation);
    let next = in_seconds(&mut ann, &name).await.unwrap();
    assert!((86_400 - 60..=86_400 + DELAY).contains(&next), "{next}");
}
