//! The product's guides with another CRM, over gRPC with the simulated HubSpot: ids whose order differs from
//! that of their bytes, people at several companies, tokens that expire, an app without PKCE, archived and
//! merged records.

mod changes;
mod logins;

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use tether::caller::Role;
use tether::proto::v1::value::Kind;
use tether::proto::v1::{self, delete_integration_response::Access};

use crate::support::server::{Crm, Database, Person, World, ok, on_both_databases, until};

on_both_databases!(
    a_group_connects_its_hubspot_and_uses_it,
    a_profile_that_finds_its_company_deleted_names_no_source
);

const FIELDS: &[&str] = &[
    "companies.name",
    "companies.industry",
    "companies.annualrevenue",
    "companies.sectors",
    "companies.health_score",
    "contacts.firstname",
    "contacts.email",
    "deals.dealname",
    "deals.amount",
    "tickets.subject",
];

/// The company of a row of the simulator.
fn company(row: &Json) -> String {
    let text = |key: &str| row[key].as_str().unwrap_or_default();
    let homepage = match text("domain") {
        "" => text("website"),
        domain => domain,
    };
    crate::support::companies::of("hubspot", "62515", text("id"), homepage)
}

async fn companies_of(world: &World) -> BTreeSet<String> {
    let rows = world.truth("companies", "website,domain").await;
    rows.iter().map(company).collect()
}

/// The companies that the group lists, all or with a filter.
async fn listed(of: &mut Person, filter: &str) -> BTreeSet<String> {
    let request = v1::ListCompaniesRequest {
        parent: of.parent.clone(),
        filter: filter.to_owned(),
        page_size: 1_000,
        ..Default::default()
    };
    let answer = ok(of.companies.list_companies(request)).await;
    answer.companies.into_iter().map(|company| company.name).collect()
}

/// The values of a field of an object on the first card, as text.
fn shown(profile: &v1::CompanyProfile, object: &str, key: &str) -> Vec<String> {
    let card = &profile.cards[0];
    let mut tables = card.company_records.iter().chain(&card.related);
    let table = tables.find(|table| table.object == object).unwrap();
    let at = table.columns.iter().position(|column| column.key == key).unwrap();
    let text = |record: &v1::CardRecord| match record.values[at].kind.clone() {
        Some(Kind::Text(text) | Kind::Decimal(text)) => text,
        Some(Kind::Money(money)) => money.amount,
        Some(Kind::List(list)) => list.values.join(";"),
        None => String::new(),
        other => panic!("{key} is {other:?}"),
    };
    table.records.iter().map(text).collect()
}

async fn a_group_connects_its_hubspot_and_uses_it(database: Database) {
    let world = World::start_crm(database, Crm::HubSpot, 230, &[]).await;
    world.control("POST", "/limits", json!({"searches": 1_000})).await;
    world.connect("globex", true).await;
    let (mut ann, mut max) = (world.ann().await, world.person("max", "acme", Role::Member).await);

    let name = a_login_shows_the_portal(&mut ann).await;
    the_first_sync_reads_the_portal(&world, &mut ann, &mut max, &name).await;
    filters_find_companies(&world, &mut max).await;
    live_and_again(&world, &mut ann, &mut max, &name).await;
    shared_and_deleted(&world, &mut ann, &name).await;
    let journal = world.control("GET", "/requests", Json::Null).await;
    assert_eq!(journal["writes"], 0, "{}", journal["writeRequests"]);
}

/// The portal and the user.
async fn a_login_shows_the_portal(ann: &mut Person) -> String {
    let connector = ann.enable("hubspot").await;
    assert!(connector.enabled && connector.display_name == "HubSpot");
    let name = ann.create("hubspot", "Acme HubSpot").await;
    let account = ann.log_in(&name).await.account.unwrap();
    assert_eq!(
        (account.username.as_str(), account.organization_name.as_str()),
        ("admin@acme.example", "acme.example")
    );
    name
}

/// Fields of four objects; a live review; save; the first sync.
async fn the_first_sync_reads_the_portal(world: &World, ann: &mut Person, max: &mut Person, name: &str) {
    let request = v1::ListAvailableFieldsRequest {
        parent: name.to_owned(),
        page_size: 2_000,
        ..Default::default()
    };
    let objects = ok(ann.integrations.list_available_fields(request)).await.objects;
    let keys: Vec<&str> = objects.iter().map(|object| object.object.as_str()).collect();
    assert_eq!(keys, ["companies", "contacts", "deals", "tickets"]);
    ann.select(name, FIELDS).await;
    let review = ann.review(name).await;
    assert_eq!((review.objects.len(), review.company_record_count), (4, 230));
    assert!(ann.all_companies(50).await.is_empty());
    let sync = ann.activate(name).await;
    let last = ann.succeeds(&sync).await;
    let written: Vec<i64> = last
        .objects
        .iter()
        .map(|object| object.counts.unwrap().written)
        .collect();
    assert_eq!(written, [230, 230, 230, 115]);
    assert_eq!(listed(max, "").await, companies_of(world).await);
}

/// Filters on fields of companies and of related records.
async fn filters_find_companies(world: &World, max: &mut Person) {
    let number = |value: &Json| value.as_str().map(|n| n.parse::<f64>().unwrap());
    let rows = world
        .truth("companies", "website,domain,industry,annualrevenue")
        .await;
    let banks: BTreeSet<String> = rows
        .iter()
        .filter(|row| row["industry"] == "BANKING")
        .map(company)
        .collect();
    assert!(!banks.is_empty());
    let source = "acme_hubspot";
    let is_bank = format!("{source}.companies.industry = \"BANKING\"");
    until("the rows are found", async || {
        listed(&mut max.clone(), &is_bank).await == banks
    })
    .await;
    let big: BTreeSet<String> = rows
        .iter()
        .filter(|row| number(&row["annualrevenue"]).is_some_and(|n| n >= 5e6))
        .map(company)
        .collect();
    assert_eq!(
        listed(max, &format!("{source}.companies.annualrevenue >= 5000000")).await,
        big
    );
    let deals = world.truth("deals", "amount").await;
    let rich: BTreeSet<&str> = deals
        .iter()
        .filter(|row| number(&row["amount"]).is_some_and(|n| n >= 9e6))
        .flat_map(|row| {
            row["companies"]
                .as_array()
                .unwrap()
                .iter()
                .map(|id| id.as_str().unwrap())
        })
        .collect();
    let rich: BTreeSet<String> = rows
        .iter()
        .filter(|row| rich.contains(row["id"].as_str().unwrap()))
        .map(company)
        .collect();
    assert!(!rich.is_empty());
    // The index follows the sync within a second.
    until("the filter finds what the portal has", || {
        let (mut max, rich) = (max.clone(), rich.clone());
        let filter = format!("{source}.deals.amount >= 9000000");
        async move { listed(&mut max, &filter).await == rich }
    })
    .await;
}

/// Companies of the portal with one record each, and a contact that belongs to one of them.
struct Portal {
    rows: Vec<Json>,
    /// The companies of the rows.
    names: Vec<String>,
    /// The rows that are a company of their own.
    single: Vec<usize>,
    contact: String,
    /// The single row that the contact belongs to.
    from: usize,
}

impl Portal {
    async fn of(world: &World) -> Self {
        let rows = world.truth("companies", "website,domain,health_score").await;
        let names: Vec<String> = rows.iter().map(company).collect();
        let alone = |at: &usize| names.iter().filter(|name| **name == names[*at]).count() == 1;
        let single: Vec<usize> = (0..rows.len()).filter(alone).collect();
        let id = |n: usize| rows[single[n]]["id"].as_str().unwrap();
        let contacts = world.truth("contacts", "firstname").await;
        let moved = contacts.iter().find(|row| {
            let companies = row["companies"].as_array().unwrap();
            companies.len() == 1 && (10..60).any(|n| companies[0] == id(n))
        });
        let moved = moved.unwrap();
        let from = (10..60).find(|n| moved["companies"][0] == id(*n)).unwrap();
        Self {
            contact: moved["id"].as_str().unwrap().to_owned(),
            names,
            single,
            from,
            rows,
        }
    }

    fn id(&self, n: usize) -> &str {
        self.rows[self.single[n]]["id"].as_str().unwrap()
    }

    fn company(&self, n: usize) -> &String {
        &self.names[self.single[n]]
    }

    /// The association of the contact with a company.
    fn ends(&self, n: usize) -> Json {
        json!({"object": "contacts", "id": self.contact, "company": self.id(n)})
    }
}

fn has_moved(profile: &v1::CompanyProfile) -> bool {
    shown(profile, "contacts", "email").contains(&"moved@of-tests.com".to_owned())
}

/// Profiles are live; records that were archived, merged, moved and removed meanwhile arrive with the second
/// sync.
async fn live_and_again(world: &World, ann: &mut Person, max: &mut Person, name: &str) {
    let portal = Portal::of(world).await;
    changes_are_shown_at_once(world, max, &portal).await;
    a_contact_moves(world, max, &portal).await;
    things_happen_unseen(world, &portal).await;
    the_second_sync_finds_them(world, ann, name, &portal).await;
}

/// HubSpot stores a percentage as a fraction.
async fn changes_are_shown_at_once(world: &World, max: &mut Person, portal: &Portal) {
    let change = json!({"object": "companies", "id": portal.id(1), "fields": {"industry": "MACHINERY", "health_score": "0.125", "sectors": "space;water"}});
    world.control("POST", "/records/update", change).await;
    let profile = max.open(portal.company(1)).await;
    assert!(
        profile.cards[0].freshness.as_ref().unwrap().live,
        "{:?}",
        profile.cards[0].freshness
    );
    assert_eq!(shown(&profile, "companies", "industry"), ["MACHINERY"]);
    assert_eq!(shown(&profile, "companies", "health_score"), ["12.5"]);
    assert_eq!(shown(&profile, "companies", "sectors"), ["space;water"]);
}

/// A contact who moves to another company disappears from the first and appears at the second, live.
async fn a_contact_moves(world: &World, max: &mut Person, portal: &Portal) {
    world
        .control(
            "POST",
            "/records/update",
            json!({"object": "contacts", "id": portal.contact, "fields": {"email": "moved@of-tests.com"}}),
        )
        .await;
    assert!(has_moved(&max.open(portal.company(portal.from)).await));
    world
        .control("POST", "/associations/remove", portal.ends(portal.from))
        .await;
    world.control("POST", "/associations/add", portal.ends(2)).await;
    assert!(has_moved(&max.open(portal.company(2)).await));
}

/// Changes without a notification, including the ids next to the point where ids get one more digit.
async fn things_happen_unseen(world: &World, portal: &Portal) {
    let (rows, single) = (&portal.rows, &portal.single);
    let at_the_digit = rows
        .iter()
        .position(|row| row["id"].as_str().unwrap().len() == 11)
        .unwrap();
    for place in [single[3], at_the_digit - 1, at_the_digit] {
        world
            .control(
                "POST",
                "/records/delete",
                json!({"object": "companies", "id": rows[place]["id"]}),
            )
            .await;
    }
    let merge = json!({"object": "companies", "winner": portal.id(4), "loser": portal.id(5), "mint": true});
    world.control("POST", "/records/merge", merge).await;
    world.control("POST", "/associations/add", portal.ends(6)).await;
    world
        .control(
            "POST",
            "/fields/remove",
            json!({"object": "tickets", "field": "subject"}),
        )
        .await;
    // A property that is gone is noticed with the first record that lacks it.
    let ticket = &world.truth("tickets", "content").await[0]["id"];
    let change = json!({"object": "tickets", "id": ticket, "fields": {"content": "Changed"}});
    world.control("POST", "/records/update", change).await;
}

/// The token expires twice during the sync; this has no visible effect.
async fn the_second_sync_finds_them(world: &World, ann: &mut Person, name: &str, portal: &Portal) {
    let slow = json!({"path": "/crm/v3/objects/contacts", "method": "GET", "status": 401, "times": 1,
        "body": "{\"status\":\"error\",\"category\":\"EXPIRED_AUTHENTICATION\",\"message\":\"expired\"}"});
    world.control("POST", "/faults", slow).await;
    world.control("POST", "/sessions/expire", Json::Null).await;
    let sync = ann.sync(name).await;
    let last = ann.succeeds(&sync).await;
    assert!(last.totals.unwrap().removed >= 5, "{last:?}");
    let after = companies_of(world).await;
    assert_eq!(listed(ann, "").await, after);
    assert!(!after.contains(portal.company(3)));
    for n in [2, 6] {
        assert!(has_moved(&ann.stored(portal.company(n)).await), "{n}");
    }
    let request = v1::ListFieldsRequest {
        parent: name.to_owned(),
        ..Default::default()
    };
    let fields = ok(ann.integrations.list_fields(request)).await.fields;
    let missing: Vec<String> = fields
        .iter()
        .filter(|field| field.missing_time.is_some())
        .map(|field| field.definition.clone().unwrap().key)
        .collect();
    assert_eq!(missing, ["subject"]);
}

/// Another group sees what is shared with it, live through the owner's login; when the integration is
/// deleted, it loses all of it.
async fn shared_and_deleted(world: &World, ann: &mut Person, name: &str) {
    let mut gil = world.person("gil", "globex", Role::Administrator).await;
    ann.share(name, "globex", &["companies.name", "contacts.email"])
        .await;
    let companies = gil.all_companies(500).await;
    assert_eq!(companies.len(), ann.all_companies(500).await.len());
    let profile = gil.open(&companies[0].name).await;
    let card = &profile.cards[0];
    assert!(card.freshness.as_ref().unwrap().live);
    let columns: Vec<&str> = card
        .company_records
        .iter()
        .flat_map(|table| &table.columns)
        .map(|c| c.key.as_str())
        .collect();
    assert_eq!(columns, ["name"]);

    let gone = ann.delete(name).await;
    assert_eq!(gone.access(), Access::Revoked);
    assert!(gil.all_companies(500).await.is_empty() && ann.all_companies(500).await.is_empty());
    let oauth = world.control("GET", "/oauth", Json::Null).await;
    assert!(
        oauth["grants"]
            .as_array()
            .unwrap()
            .iter()
            .all(|credential| credential["revoked"] == true),
        "{oauth}"
    );
}

/// Opening the profile is what finds the deletion: the answer still has the name, and sources exactly where it has cards.
async fn a_profile_that_finds_its_company_deleted_names_no_source(database: Database) {
    let world = World::start_crm(database, Crm::HubSpot, 12, &[]).await;
    let mut ann = world.ann().await;
    ann.enable("hubspot").await;
    ann.synced("hubspot", "Acme", &["companies.name"]).await;
    let rows = world.truth("companies", "website,domain").await;
    let mut records: std::collections::BTreeMap<String, Vec<&Json>> = Default::default();
    for row in &rows {
        records.entry(company(row)).or_default().push(&row["id"]);
    }
    // One that no list holds any more, and one that stays in the group's own.
    let mut single = records.iter().filter(|(_, ids)| ids.len() == 1);
    for tracked in [false, true] {
        let (name, ids) = single.next().unwrap();
        if tracked {
            let named = v1::company_to_track::Company::Name(name.clone());
            ann.track(named).await;
        }
        let delete = json!({"object": "companies", "id": ids[0]});
        world.control("POST", "/records/delete", delete).await;
        let found = ann.open(name).await;
        let company = found.company.unwrap();
        assert!(found.cards.is_empty() && !company.display_name.is_empty());
        assert_eq!((company.source_count, company.sources.len()), (0, 0));
        assert_eq!(company.tracked, tracked);
    }
}
