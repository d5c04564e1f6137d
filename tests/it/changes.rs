//! Syncs that read only what changed. That the stored records are those of a full read is shown by one: it writes and removes
//! nothing.

use serde_json::{Value as Json, json};
use tether::proto::v1::sync::{Mode, State};
use tether::proto::v1::{self, sync_object};

use crate::support::server::{Database, Person, World, ok, on_all_databases, refused};

on_all_databases!(
    only_what_changed_is_read,
    a_listing_of_ids_finds_what_is_gone_and_what_is_new,
    newly_selected_fields_are_filled,
    what_was_held_back_is_filled_when_it_is_listed_again,
    deselected_fields_are_dropped,
    what_a_profile_stored_meanwhile_is_filled,
    a_missing_field_costs_little_and_comes_back,
    the_values_of_a_hidden_field_are_kept_for_a_time,
    calculated_fields_are_read_again,
    everything_is_read_again_for_another_account,
    what_failed_is_read_by_the_next_sync,
    a_crash_in_the_middle_changes_nothing,
    salesforce_is_asked_once_when_nothing_changed,
    a_listing_of_salesforce_finds_what_is_purged,
    a_merge_takes_children_along_that_keep_their_stamps,
    random_changes_are_followed,
);

/// The dummy that reads changes, with more settings.
fn with(more: Json) -> Json {
    let mut settings = json!({"changes": "on", "batch": "10", "checkpoint_every": "20"});
    settings
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    settings
}

const FIELDS: [&str; 4] = ["Company.Industry", "Company.Name", "Person.Email", "Deal.Amount"];

/// An integration of the dummy that was read in full.
async fn of_dummy(world: &World, ann: &mut Person, fields: &[&str]) -> String {
    world.script(&with(json!({})));
    ann.enable("dummy").await;
    let name = ann.create("dummy", "Ours").await;
    ann.log_in_with_key(&name, "ann").await;
    ann.select(&name, fields).await;
    let sync = ann.activate(&name).await;
    let first = ann.succeeds(&sync).await;
    assert_eq!(
        (first.mode(), first.totals.unwrap().read),
        (Mode::Full, 400),
        "{first:?}"
    );
    name
}

/// Runs a sync of this mode to its end.
pub(crate) async fn ends(ann: &mut Person, name: &str, mode: Mode) -> v1::Sync {
    let request = v1::SyncIntegrationRequest {
        name: name.to_owned(),
        mode: mode.into(),
        ..Default::default()
    };
    let sync = ok(ann.integrations.sync_integration(request)).await.name;
    ann.watch(&sync).await.pop().unwrap()
}

/// The newest sync, at its end.
pub(crate) async fn last(ann: &mut Person, name: &str) -> v1::Sync {
    let request = v1::ListSyncsRequest {
        parent: name.to_owned(),
        page_size: 1,
        ..Default::default()
    };
    let sync = ok(ann.integrations.list_syncs(request)).await.syncs.remove(0);
    ann.watch(&sync.name).await.pop().unwrap()
}

/// (read, written, removed) of a sync that succeeded.
pub(crate) fn counts(sync: &v1::Sync) -> (i64, i64, i64) {
    assert_eq!(sync.state(), State::Succeeded, "{sync:?}");
    let totals = sync.totals.unwrap();
    (totals.read, totals.written, totals.removed)
}

/// The stored records are those of a full read.
pub(crate) async fn is_exact(ann: &mut Person, name: &str) {
    let full = ends(ann, name, Mode::Full).await;
    assert_eq!(full.mode(), Mode::Full);
    let (_, written, removed) = counts(&full);
    assert_eq!((written, removed), (0, 0), "{full:?}");
}

async fn only_what_changed_is_read(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    let name = of_dummy(&world, &mut ann, &FIELDS).await;

    let nothing = ends(&mut ann, &name, Mode::Unspecified).await;
    assert_eq!(nothing.mode(), Mode::Incremental);
    assert_eq!(counts(&nothing), (0, 0, 0));
    assert!(
        nothing
            .objects
            .iter()
            .all(|one| one.state() == sync_object::State::Done),
        "{nothing:?}"
    );

    // Of 100 companies, 5 changed, 5 are reported as deleted and 5 are gone without a trace.
    world.script(&with(json!({"revision": "1"})));
    let some = ends(&mut ann, &name, Mode::Unspecified).await;
    assert_eq!(some.mode(), Mode::Incremental);
    let company = some.objects.iter().find(|one| one.object == "Company").unwrap();
    let of_companies = company.counts.unwrap();
    assert_eq!(
        (of_companies.read, of_companies.written, of_companies.removed),
        (10, 5, 5)
    );
    assert_eq!(ann.all_companies(200).await.len(), 95);

    // Merged ones, and new ones.
    world.script(&with(json!({"revision": "2", "companies": "102"})));
    let more = ends(&mut ann, &name, Mode::Incremental).await;
    let (read, _, removed) = counts(&more);
    assert!(read < 80, "{more:?}");
    // The people and the deal of a merged company, too. They are reported, and asked for by id.
    assert_eq!(removed, 20);
    assert_eq!(ann.all_companies(200).await.len(), 92);

    // A full read finds those that are gone without a trace, and nothing else.
    let full = ends(&mut ann, &name, Mode::Full).await;
    let (_, written, removed) = counts(&full);
    assert_eq!((written, removed), (0, 20), "{full:?}");

    let fill = refused(ann.integrations.sync_integration(v1::SyncIntegrationRequest {
        name,
        mode: Mode::Fill.into(),
        ..Default::default()
    }));
    let fill = fill.await;
    let request = fill.details.bad_request().unwrap();
    assert_eq!(request.field_violations[0].field, "mode");
}

async fn a_listing_of_ids_finds_what_is_gone_and_what_is_new(database: Database) {
    let world = World::start_with(database, 1, &["sync.sweep_hours=0"]).await;
    let mut ann = world.ann().await;
    let name = of_dummy(&world, &mut ann, &FIELDS).await;
    // Two more companies came in sight; the CRM does not report them as changed.
    world.script(&with(json!({"revision": "1", "companies": "102", "quiet": "on"})));
    let swept = ends(&mut ann, &name, Mode::Unspecified).await;
    assert_eq!(swept.mode(), Mode::Incremental);
    assert_eq!(counts(&swept).2, 40, "{swept:?}");
    assert_eq!(ann.all_companies(200).await.len(), 92);
    is_exact(&mut ann, &name).await;
}

async fn newly_selected_fields_are_filled(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    let name = of_dummy(&world, &mut ann, &FIELDS).await;
    let more = [FIELDS.as_slice(), &["Company.Founded", "Deal.Stage"]].concat();
    ann.select(&name, &more).await;
    let filled = last(&mut ann, &name).await;
    assert_eq!(filled.trigger(), v1::sync::Trigger::FieldsChanged);
    assert_eq!(filled.mode(), Mode::Incremental);
    let of = |key: &str| filled.objects.iter().find(|one| one.object == key).unwrap();
    // All companies and deals, in part; no person.
    assert_eq!(counts(&filled), (200, 200, 0), "{filled:?}");
    assert_eq!(of("Person").counts.unwrap().read, 0);
    is_exact(&mut ann, &name).await;
    // What is filled is not filled again.
    assert_eq!(counts(&ends(&mut ann, &name, Mode::Unspecified).await), (0, 0, 0));
}

async fn what_was_held_back_is_filled_when_it_is_listed_again(database: Database) {
    let settings = ["sync.removal_rows=20", "sync.removal_percent=50"];
    let world = World::start_with(database, 1, &settings).await;
    let mut ann = world.ann().await;
    let name = of_dummy(&world, &mut ann, &FIELDS).await;
    // The CRM lists ten of the hundred companies while a new field is read.
    world.script(&with(json!({"companies": "10", "quiet": "on"})));
    let more = [FIELDS.as_slice(), &["Company.Founded"]].concat();
    ann.select(&name, &more).await;
    let held = last(&mut ann, &name).await;
    assert_eq!(
        (held.mode(), held.state()),
        (Mode::Incremental, State::Partial),
        "{held:?}"
    );
    world.script(&with(json!({"quiet": "on"})));
    let back = ends(&mut ann, &name, Mode::Unspecified).await;
    assert_eq!(back.mode(), Mode::Incremental);
    assert_eq!(counts(&back).1, 90, "{back:?}");
    is_exact(&mut ann, &name).await;
    assert_eq!(counts(&ends(&mut ann, &name, Mode::Unspecified).await), (0, 0, 0));
}

async fn deselected_fields_are_dropped(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    let name = of_dummy(&world, &mut ann, &FIELDS).await;
    ann.select(&name, &["Company.Name", "Person.Email", "Deal.Amount"])
        .await;
    let next = ends(&mut ann, &name, Mode::Unspecified).await;
    assert_eq!((next.mode(), counts(&next)), (Mode::Incremental, (0, 0, 0)));
    is_exact(&mut ann, &name).await;
    // It was forgotten: selected again, it is filled.
    ann.select(&name, &FIELDS).await;
    assert_eq!(counts(&last(&mut ann, &name).await), (100, 100, 0));
    is_exact(&mut ann, &name).await;
}

async fn what_a_profile_stored_meanwhile_is_filled(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    let name = of_dummy(&world, &mut ann, &FIELDS).await;
    // A profile that is opened while the field is not selected stores its record without it.
    ann.select(&name, &FIELDS[1..]).await;
    let company = ann.all_companies(200).await.remove(0);
    ann.open(&company.name).await;
    ann.select(&name, &FIELDS).await;
    let filled = last(&mut ann, &name).await;
    assert_eq!((filled.mode(), counts(&filled).0), (Mode::Incremental, 100));
    is_exact(&mut ann, &name).await;
}

async fn a_missing_field_costs_little_and_comes_back(database: Database) {
    let world = World::start_with(database, 1, &["sync.hidden_keep_days=0"]).await;
    let mut ann = world.ann().await;
    let name = of_dummy(&world, &mut ann, &FIELDS).await;
    let missing = with(json!({"missing": "Company.Industry"}));
    world.script(&missing);
    for _ in 0..3 {
        // Its values are dropped by the second one, without a call of the CRM.
        let without = ends(&mut ann, &name, Mode::Unspecified).await;
        assert_eq!(without.missing_fields, ["Company.Industry"]);
        assert_eq!((without.mode(), counts(&without)), (Mode::Incremental, (0, 0, 0)));
    }
    is_exact(&mut ann, &name).await;
    ends(&mut ann, &name, Mode::Unspecified).await;
    world.script(&with(json!({})));
    // The first one notices, the second one fills it.
    let back = ends(&mut ann, &name, Mode::Unspecified).await;
    assert_eq!(back.missing_fields, Vec::<String>::new());
    assert_eq!(
        counts(&ends(&mut ann, &name, Mode::Unspecified).await),
        (100, 100, 0)
    );
    is_exact(&mut ann, &name).await;
}

async fn the_values_of_a_hidden_field_are_kept_for_a_time(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    let name = of_dummy(&world, &mut ann, &FIELDS).await;
    let days = |days: i64| {
        let us = days * 24 * 3_600 * 1_000_000;
        world.sql(&format!(
            "UPDATE integration_field SET missing_us = missing_us - {us}"
        ));
    };
    let hidden = with(json!({"missing": "Company.Industry"}));
    world.script(&hidden);
    let first = ends(&mut ann, &name, Mode::Unspecified).await;
    assert_eq!(first.missing_fields, ["Company.Industry"]);
    assert_eq!(ann.get(&name).await.field_counts.unwrap().missing, 1);
    days(6);
    let kept = ends(&mut ann, &name, Mode::Unspecified).await;
    assert_eq!(kept.missing_fields, ["Company.Industry"]);
    assert_eq!(kept.change_number, first.change_number);

    // It comes back in time: all of its values are stored already.
    world.script(&with(json!({})));
    ends(&mut ann, &name, Mode::Unspecified).await;
    let filled = ends(&mut ann, &name, Mode::Unspecified).await;
    assert_eq!(counts(&filled), (100, 0, 0));
    assert_eq!(ann.get(&name).await.field_counts.unwrap().missing, 0);

    // Hidden again: the time counts from now on, over syncs that fail too, and then the values go.
    world.script(&hidden);
    let again = ends(&mut ann, &name, Mode::Unspecified).await;
    days(6);
    world.script(&with(
        json!({"missing": "Company.Industry", "script.read": "error:configuration"}),
    ));
    assert_eq!(
        ends(&mut ann, &name, Mode::Unspecified).await.state(),
        State::Failed
    );
    world.script(&hidden);
    let kept = ends(&mut ann, &name, Mode::Unspecified).await;
    assert_eq!(kept.change_number, again.change_number);
    days(2);
    let gone = ends(&mut ann, &name, Mode::Unspecified).await;
    assert_eq!(gone.change_number, kept.change_number + 100);
    let after = ends(&mut ann, &name, Mode::Unspecified).await;
    assert_eq!(after.change_number, gone.change_number);
    is_exact(&mut ann, &name).await;
    world.script(&with(json!({})));
    ends(&mut ann, &name, Mode::Unspecified).await;
    assert_eq!(
        counts(&ends(&mut ann, &name, Mode::Unspecified).await),
        (100, 100, 0)
    );
    is_exact(&mut ann, &name).await;
}

async fn calculated_fields_are_read_again(database: Database) {
    let world = World::start_with(database, 1, &["sync.calculated_hours=0"]).await;
    let mut ann = world.ann().await;
    let fields = [FIELDS.as_slice(), &["Company.Growth"]].concat();
    let name = of_dummy(&world, &mut ann, &fields).await;
    // The CRM reports no change.
    world.script(&with(json!({"drift": "7"})));
    let again = ends(&mut ann, &name, Mode::Unspecified).await;
    assert_eq!((again.mode(), counts(&again)), (Mode::Incremental, (100, 100, 0)));
    is_exact(&mut ann, &name).await;
}

async fn everything_is_read_again_for_another_account(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    let name = of_dummy(&world, &mut ann, &FIELDS).await;
    // Another user may see other records.
    ann.log_in_with_key(&name, "bob").await;
    let other = last(&mut ann, &name).await;
    assert_eq!((other.mode(), counts(&other).0), (Mode::Full, 400));
    // The same user again: what he sees is known.
    ann.log_in_with_key(&name, "bob").await;
    let same = last(&mut ann, &name).await;
    assert_eq!((same.mode(), counts(&same)), (Mode::Incremental, (0, 0, 0)));
}

async fn what_failed_is_read_by_the_next_sync(database: Database) {
    let world = World::start_with(database, 1, &["sync.first_pause_milliseconds=1"]).await;
    let mut ann = world.ann().await;
    let name = of_dummy(&world, &mut ann, &FIELDS).await;
    world.script(&with(json!({"revision": "1", "missing": "Person"})));
    let partial = ends(&mut ann, &name, Mode::Unspecified).await;
    assert_eq!(
        (partial.mode(), partial.state()),
        (Mode::Incremental, State::Partial)
    );
    world.script(&with(json!({"revision": "1"})));
    let whole = ends(&mut ann, &name, Mode::Unspecified).await;
    assert_eq!(
        (whole.mode(), whole.state()),
        (Mode::Incremental, State::Succeeded)
    );
    // The 10 changed and 10 deleted people of the sync before, the deleted ones by id once more; and no company.
    let of = |key: &str| whole.objects.iter().find(|one| one.object == key).unwrap();
    assert_eq!(of("Company").counts.unwrap().read, 0);
    assert_eq!(of("Person").counts.unwrap().read, 30);
}

async fn a_crash_in_the_middle_changes_nothing(database: Database) {
    let settings = [
        "sync.lease_seconds=2",
        "sync.sweep_hours=0",
        "sync.calculated_hours=0",
    ];
    let mut world = World::start_with(database, 1, &settings).await;
    let mut ann = world.ann().await;
    let fields = [FIELDS.as_slice(), &["Company.Growth"]].concat();
    let name = of_dummy(&world, &mut ann, &fields).await;
    let changed = json!({"revision": "1", "drift": "3", "companies": "102", "quiet": "on"});
    // It stops among the calculated fields of the companies, behind a checkpoint.
    let mut slow = with(changed.clone());
    slow["script.read"] = json!("slow:60000@60");
    world.script(&slow);
    let request = v1::SyncIntegrationRequest {
        name: name.clone(),
        ..Default::default()
    };
    let sync = ok(ann.integrations.sync_integration(request)).await.name;
    let request = v1::WatchSyncRequest { name: sync.clone() };
    let mut watched = ok(ann.integrations.watch_sync(request)).await;
    loop {
        let now = watched.message().await.unwrap().unwrap().sync.unwrap();
        if now.totals.unwrap_or_default().read >= 30 {
            break;
        }
    }
    world.signal("KILL");
    world.ended().await;
    world.script(&with(changed));
    world.start_again().await;
    let mut ann = world.ann().await;
    let done = ann.succeeds(&sync).await;
    assert!(done.attempt > 1, "{done:?}");
    assert_eq!(done.mode(), Mode::Incremental);
    assert_eq!(ann.all_companies(200).await.len(), 92);
    is_exact(&mut ann, &name).await;
}

/// A change of records in the simulator.
pub(crate) async fn change(world: &World, path: &str, body: Json) {
    world.control("POST", path, body).await;
}

async fn salesforce_is_asked_once_when_nothing_changed(database: Database) {
    let world = World::start(database, 30).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let fields = [
        "Account.Industry",
        "Contact.Email",
        "Opportunity.Amount",
        "Contract.Status",
        "Case.Subject",
    ];
    let name = ann.salesforce("Acme Sales", &fields).await;
    let nothing = ends(&mut ann, &name, Mode::Unspecified).await;
    assert_eq!((nothing.mode(), counts(&nothing)), (Mode::Incremental, (0, 0, 0)));
    assert_eq!(nothing.objects.len(), 5);
    assert_eq!(nothing.api_calls_used, 1, "{nothing:?}");

    let accounts = world.truth("Account", "Id").await;
    let id = |at: usize| accounts[at]["Id"].clone();
    change(
        &world,
        "/records/update",
        json!({"id": id(0), "fields": {"Industry": "Mining"}}),
    )
    .await;
    let some = ends(&mut ann, &name, Mode::Unspecified).await;
    assert_eq!(
        (some.mode(), counts(&some)),
        (Mode::Incremental, (1, 1, 0)),
        "{some:?}"
    );

    // What changed within the last minutes is read again: a change can appear later than it was made.
    change(&world, "/records/delete", json!({"id": id(1)})).await;
    let gone = ends(&mut ann, &name, Mode::Unspecified).await;
    let account = gone.objects.iter().find(|one| one.object == "Account").unwrap();
    assert_eq!(account.counts.unwrap().removed, 1, "{gone:?}");
    let company = account.counts.unwrap();
    assert_eq!((company.read, company.written), (2, 0), "{gone:?}");

    let more = [fields.as_slice(), &["Account.Phone"]].concat();
    ann.select(&name, &more).await;
    let filled = last(&mut ann, &name).await;
    assert_eq!(
        (filled.mode(), filled.state()),
        (Mode::Incremental, State::Succeeded)
    );
    is_exact(&mut ann, &name).await;
}

async fn a_listing_of_salesforce_finds_what_is_purged(database: Database) {
    let world = World::start_with(database, 30, &["sync.sweep_hours=0"]).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let name = ann
        .salesforce("Acme Sales", &["Account.Industry", "Contact.Email"])
        .await;
    let accounts = world.truth("Account", "Id").await;
    change(&world, "/records/purge", json!({"id": accounts[2]["Id"]})).await;
    let swept = ends(&mut ann, &name, Mode::Unspecified).await;
    assert_eq!(
        (swept.mode(), swept.state()),
        (Mode::Incremental, State::Succeeded)
    );
    assert!(counts(&swept).2 > 0, "{swept:?}");
    is_exact(&mut ann, &name).await;
}

async fn a_merge_takes_children_along_that_keep_their_stamps(database: Database) {
    let world = World::start(database, 30).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let fields = ["Account.Industry", "Contact.Email", "Opportunity.Amount"];
    let name = ann.salesforce("Acme Sales", &fields).await;
    let accounts = world.truth("Account", "Id").await;
    let (winner, loser) = (&accounts[3]["Id"], &accounts[4]["Id"]);
    let merge = json!({"winner": winner, "loser": loser, "childStamps": false});
    change(&world, "/records/merge", merge).await;
    let next = ends(&mut ann, &name, Mode::Unspecified).await;
    assert_eq!((next.mode(), next.state()), (Mode::Incremental, State::Succeeded));
    is_exact(&mut ann, &name).await;
}

async fn random_changes_are_followed(database: Database) {
    let world = World::start_with(database, 40, &["sync.sweep_hours=0"]).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let fields = [
        "Account.Industry",
        "Account.AnnualRevenue",
        "Contact.Email",
        "Opportunity.Amount",
        "Contract.Status",
        "Case.Subject",
    ];
    let name = ann.salesforce("Acme Sales", &fields).await;
    let kinds = [
        "create", "update", "delete", "undelete", "purge", "merge", "move", "late",
    ];
    for seed in 1..=4 {
        let random = json!({"seed": seed, "count": 60, "kinds": kinds});
        change(&world, "/records/random", random).await;
        let next = ends(&mut ann, &name, Mode::Unspecified).await;
        assert_eq!(
            (next.mode(), next.state()),
            (Mode::Incremental, State::Succeeded),
            "{next:?}"
        );
    }
    is_exact(&mut ann, &name).await;
}
