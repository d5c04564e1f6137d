//! Syncs of HubSpot that read only what changed. That the stored records are those of a full read is shown by one: it writes and
//! removes nothing.

use serde_json::{Value as Json, json};
use tether::proto::v1::sync::{Mode, State};
use tether::proto::v1::{self};

use super::{companies_of, listed};
use crate::changes::{change, counts, ends, is_exact, last};
use crate::support::server::{Crm, Database, Person, World, on_all_databases};

on_all_databases!(
    nothing_changed_costs_two_requests_an_object,
    what_changed_arrives_and_what_is_gone_goes,
    links_and_calculations_arrive_when_they_are_due,
    random_changes_are_followed,
    random_changes_of_every_kind_are_followed_by_listings,
);

const FIELDS: [&str; 7] = [
    "companies.name",
    "companies.hs_num_open_deals",
    "contacts.firstname",
    "contacts.hubspotscore",
    "deals.dealname",
    "tickets.subject",
    "tickets.time_to_close",
];

/// An integration that was read in full.
async fn synced(database: Database, companies: u32, settings: &[&str]) -> (World, Person, String) {
    let world = World::start_crm(database, Crm::HubSpot, companies, settings).await;
    change(&world, "/limits", json!({"searches": 1_000})).await;
    let mut ann = world.ann().await;
    ann.enable("hubspot").await;
    let name = ann.synced("hubspot", "Acme", &FIELDS).await;
    (world, ann, name)
}

/// A sync that reads what changed, and succeeds.
async fn incremental(ann: &mut Person, name: &str) -> v1::Sync {
    let next = ends(ann, name, Mode::Unspecified).await;
    assert_eq!(
        (next.mode(), next.state()),
        (Mode::Incremental, State::Succeeded),
        "{next:?}"
    );
    next
}

/// The companies of the portal are those of the group, and a full read finds nothing else.
async fn is_true(world: &World, ann: &mut Person, name: &str) {
    assert_eq!(listed(ann, "").await, companies_of(world).await);
    is_exact(ann, name).await;
}

async fn nothing_changed_costs_two_requests_an_object(database: Database) {
    let (world, mut ann, name) = synced(database, 40, &[]).await;
    for _ in 0..2 {
        let nothing = incremental(&mut ann, &name).await;
        assert_eq!(counts(&nothing), (0, 0, 0));
        assert_eq!((nothing.objects.len(), nothing.api_calls_used), (4, 8));
    }
    let more = [FIELDS.as_slice(), &["companies.city"]].concat();
    ann.select(&name, &more).await;
    let filled = last(&mut ann, &name).await;
    assert_eq!((filled.mode(), counts(&filled).0), (Mode::Incremental, 40));
    is_true(&world, &mut ann, &name).await;
}

async fn what_changed_arrives_and_what_is_gone_goes(database: Database) {
    let (world, mut ann, name) = synced(database, 60, &[]).await;
    let companies = world.truth("companies", "name").await;
    let contacts = world.truth("contacts", "email").await;
    let id = |rows: &[Json], n: usize| rows[n]["id"].clone();
    let of = |object: &str, id: Json| json!({"object": object, "id": id});
    let fields = json!({"name": "Renamed"});
    let update = json!({"object": "companies", "id": id(&companies, 3), "fields": fields});
    change(&world, "/records/update", update).await;
    let some = incremental(&mut ann, &name).await;
    assert_eq!(counts(&some), (1, 1, 0), "{some:?}");
    // Besides, the record and a description of its object, and nothing of the other objects.
    assert_eq!(some.api_calls_used, 8 + 2);

    let children = ["contacts", "deals", "tickets"];
    change(&world, "/records/delete", of("companies", id(&companies, 5))).await;
    change(&world, "/records/delete", of("contacts", id(&contacts, 9))).await;
    for (winner, loser, mint) in [(10, 11, false), (12, 13, true)] {
        let merge = json!({"object": "companies", "winner": id(&companies, winner), "loser": id(&companies, loser), "mint": mint});
        change(&world, "/records/merge", merge).await;
    }
    for object in children {
        let born = json!({"object": object, "fields": {}, "company": id(&companies, 20)});
        change(&world, "/records/create", born).await;
    }
    let gone = incremental(&mut ann, &name).await;
    assert!(counts(&gone).2 >= 5, "{gone:?}");
    is_true(&world, &mut ann, &name).await;

    // A record that others were merged into is archived before the merge was seen.
    let merge = json!({"object": "contacts", "winner": id(&contacts, 20), "loser": id(&contacts, 21)});
    change(&world, "/records/merge", merge).await;
    change(&world, "/records/delete", of("contacts", id(&contacts, 20))).await;
    change(&world, "/records/undelete", of("contacts", id(&contacts, 9))).await;
    let next = incremental(&mut ann, &name).await;
    assert_eq!(counts(&next).2, 2, "{next:?}");
    is_true(&world, &mut ann, &name).await;
}

async fn links_and_calculations_arrive_when_they_are_due(database: Database) {
    let settings = ["sync.calculated_hours=0"];
    let (world, mut ann, name) = synced(database, 60, &settings).await;
    let companies = world.truth("companies", "name").await;
    let contacts = world.truth("contacts", "email").await;
    for (n, path) in [(0, "add"), (1, "add")] {
        let link = json!({"object": "contacts", "id": contacts[n]["id"], "company": companies[n]["id"]});
        change(&world, &format!("/associations/{path}"), link).await;
    }
    let drift = json!({"object": "companies", "field": "hs_num_open_deals"});
    change(&world, "/fields/recalculate", drift).await;
    let due = incremental(&mut ann, &name).await;
    let (read, written, removed) = counts(&due);
    assert_eq!((read, removed), (60 + 60 + 60 + 30, 0), "{due:?}");
    assert!(written > 40, "{due:?}");
    is_true(&world, &mut ann, &name).await;
}

async fn random_changes_are_followed(database: Database) {
    let (world, mut ann, name) = synced(database, 60, &[]).await;
    let kinds = ["create", "update", "delete", "merge", "late"];
    for seed in 1..=5 {
        let random = json!({"seed": seed, "count": 40, "kinds": kinds});
        change(&world, "/records/random", random).await;
        let back = json!({"seed": seed, "count": 4, "kinds": ["undelete"], "objects": ["contacts", "deals", "tickets"]});
        change(&world, "/records/random", back).await;
        incremental(&mut ann, &name).await;
    }
    is_true(&world, &mut ann, &name).await;
}

async fn random_changes_of_every_kind_are_followed_by_listings(database: Database) {
    let settings = ["sync.sweep_hours=0", "sync.calculated_hours=0"];
    let (world, mut ann, name) = synced(database, 60, &settings).await;
    for seed in 11..=14 {
        change(&world, "/records/random", json!({"seed": seed, "count": 50})).await;
        incremental(&mut ann, &name).await;
    }
    is_true(&world, &mut ann, &name).await;
}
