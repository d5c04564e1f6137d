//! The product's guides with another CRM, over gRPC with the simulated HubSpot: ids whose order differs from
//! that of their bytes, people at several companies, tokens that expire, an app without PKCE, archived and
//! merged records.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use tether::caller::Role;
use tether::proto::v1::integration::State;
use tether::proto::v1::value::Kind;
use tether::proto::v1::{self, delete_integration_response::Access, sync};
use tonic::Code;

use crate::support::server::{Crm, Database, Person, World, ok, on_both_databases, refused, until};

on_both_databases!(
    a_group_connects_its_hubspot_and_uses_it,
    logins_end_and_five_are_enough,
    what_the_crm_lets_nobody_revoke_is_not_called_revoked,
    a_profile_that_finds_its_company_deleted_names_no_source
);

const KEY: &str = "pat-na1-11111111-2222-4333-8444-555555555555";
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

    // Enable, create, log in: the draft shows the portal and the user.
    let connector = ann.enable("hubspot").await;
    assert!(connector.enabled && connector.display_name == "HubSpot");
    let name = ann.create("hubspot", "Acme HubSpot").await;
    let account = ann.log_in(&name).await.account.unwrap();
    assert_eq!(
        (account.username.as_str(), account.organization_name.as_str()),
        ("admin@acme.example", "acme.example")
    );

    // Fields of four objects; a live review; save; the first sync.
    let request = v1::ListAvailableFieldsRequest {
        parent: name.clone(),
        page_size: 2_000,
        ..Default::default()
    };
    let objects = ok(ann.integrations.list_available_fields(request)).await.objects;
    let keys: Vec<&str> = objects.iter().map(|object| object.object.as_str()).collect();
    assert_eq!(keys, ["companies", "contacts", "deals", "tickets"]);
    ann.select(&name, FIELDS).await;
    let request = v1::ReviewIntegrationRequest {
        name: name.clone(),
        ..Default::default()
    };
    let review = ok(ann.integrations.review_integration(request)).await;
    assert_eq!((review.objects.len(), review.company_record_count), (4, 230));
    assert!(ann.all_companies(50).await.is_empty());
    let sync = ann.activate(&name).await;
    let last = ann.succeeds(&sync).await;
    let written: Vec<i64> = last
        .objects
        .iter()
        .map(|object| object.counts.unwrap().written)
        .collect();
    assert_eq!(written, [230, 230, 230, 115]);
    assert_eq!(listed(&mut max, "").await, companies_of(&world).await);

    // Filters on fields of companies and of related records.
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
    let big = rows.iter().filter(|row| {
        row["annualrevenue"]
            .as_str()
            .is_some_and(|n| n.parse::<f64>().unwrap() >= 5e6)
    });
    let big: BTreeSet<String> = big.map(company).collect();
    assert_eq!(
        listed(&mut max, &format!("{source}.companies.annualrevenue >= 5000000")).await,
        big
    );
    let deals = world.truth("deals", "amount").await;
    let rich: BTreeSet<&str> = deals
        .iter()
        .filter(|row| {
            row["amount"]
                .as_str()
                .is_some_and(|n| n.parse::<f64>().unwrap() >= 9e6)
        })
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

    live_and_again(&world, &mut ann, &mut max, &name).await;
    shared_and_deleted(&world, &mut ann, &name).await;
    let journal = world.control("GET", "/requests", Json::Null).await;
    assert_eq!(journal["writes"], 0, "{}", journal["writeRequests"]);
}

/// Profiles are live; records that were archived, merged, moved and removed meanwhile arrive with the second
/// sync.
async fn live_and_again(world: &World, ann: &mut Person, max: &mut Person, name: &str) {
    let rows = world.truth("companies", "website,domain,health_score").await;
    let names: Vec<String> = rows.iter().map(company).collect();
    let alone = |at: &usize| names.iter().filter(|name| **name == names[*at]).count() == 1;
    let single: Vec<usize> = (0..rows.len()).filter(alone).collect();
    let id = |n: usize| rows[single[n]]["id"].as_str().unwrap();
    let of = |n: usize| &names[single[n]];
    let contacts = world.truth("contacts", "firstname").await;
    let moved = contacts.iter().find(|row| {
        let companies = row["companies"].as_array().unwrap();
        companies.len() == 1 && (10..60).any(|n| companies[0] == id(n))
    });
    let moved = moved.unwrap();
    let from = (10..60).find(|n| moved["companies"][0] == id(*n)).unwrap();

    // A change is shown at once; HubSpot stores a percentage as a fraction.
    let change = json!({"object": "companies", "id": id(1), "fields": {"industry": "MACHINERY", "health_score": "0.125", "sectors": "space;water"}});
    world.control("POST", "/records/update", change).await;
    let profile = max.open(of(1)).await;
    assert!(
        profile.cards[0].freshness.as_ref().unwrap().live,
        "{:?}",
        profile.cards[0].freshness
    );
    assert_eq!(shown(&profile, "companies", "industry"), ["MACHINERY"]);
    assert_eq!(shown(&profile, "companies", "health_score"), ["12.5"]);
    assert_eq!(shown(&profile, "companies", "sectors"), ["space;water"]);
    // A contact who moves to another company disappears from the first and appears at the second, live.
    let contact = moved["id"].as_str().unwrap();
    let ends = |company: &str| json!({"object": "contacts", "id": contact, "company": company});
    world
        .control(
            "POST",
            "/records/update",
            json!({"object": "contacts", "id": contact, "fields": {"email": "moved@of-tests.com"}}),
        )
        .await;
    assert!(shown(&max.open(of(from)).await, "contacts", "email").contains(&"moved@of-tests.com".to_owned()));
    world
        .control("POST", "/associations/remove", ends(id(from)))
        .await;
    world.control("POST", "/associations/add", ends(id(2))).await;
    assert!(shown(&max.open(of(2)).await, "contacts", "email").contains(&"moved@of-tests.com".to_owned()));

    // Changes without a notification, including the ids next to the point where ids get one more digit.
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
    let merge = json!({"object": "companies", "winner": id(4), "loser": id(5), "mint": true});
    world.control("POST", "/records/merge", merge).await;
    world.control("POST", "/associations/add", ends(id(6))).await;
    world
        .control(
            "POST",
            "/fields/remove",
            json!({"object": "tickets", "field": "subject"}),
        )
        .await;
    // The token expires twice during the sync; this has no visible effect.
    let slow = json!({"path": "/crm/v3/objects/contacts", "method": "GET", "status": 401, "times": 1,
        "body": "{\"status\":\"error\",\"category\":\"EXPIRED_AUTHENTICATION\",\"message\":\"expired\"}"});
    world.control("POST", "/faults", slow).await;
    world.control("POST", "/sessions/expire", Json::Null).await;
    let sync = ann.sync(name).await;
    let last = ann.succeeds(&sync).await;
    assert!(last.totals.unwrap().removed >= 5, "{last:?}");
    let after = companies_of(world).await;
    assert_eq!(listed(ann, "").await, after);
    assert!(!after.contains(of(3)));
    for n in [2, 6] {
        let request = v1::GetCompanyProfileRequest {
            name: of(n).clone(),
            parent: ann.parent.clone(),
            refresh: v1::get_company_profile_request::Refresh::Never as i32,
            ..Default::default()
        };
        let stored = ok(ann.companies.get_company_profile(request)).await;
        assert!(
            shown(&stored, "contacts", "email").contains(&"moved@of-tests.com".to_owned()),
            "{n}"
        );
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

async fn logins_end_and_five_are_enough(database: Database) {
    let world = World::start_crm(database, Crm::HubSpot, 12, &[]).await;
    world.control("POST", "/limits", json!({"searches": 1_000})).await;
    // HubSpot may answer a second login of a user with the refresh token of the first.
    world
        .control("POST", "/settings", json!({"sameRefreshToken": true}))
        .await;
    let mut ann = world.ann().await;
    ann.enable("hubspot").await;
    let fields = &["companies.name"];
    let mut names = Vec::new();
    for number in 1..=3 {
        names.push(ann.synced("hubspot", &format!("OAuth {number}"), fields).await);
    }
    // The private app of the same user is the same account.
    for number in 4..=5 {
        let name = ann.create("hubspot", &format!("Key {number}")).await;
        let no = refused(
            ann.integrations
                .authorize_with_credentials(Person::key(&name, "pat-na1-nobody")),
        )
        .await;
        assert_eq!(no.code, Code::InvalidArgument, "{no:?}");
        ann.log_in_with_key(&name, KEY).await;
        ann.select(&name, fields).await;
        let sync = ann.activate(&name).await;
        ann.succeeds(&sync).await;
        names.push(name);
    }
    let account = ann.get(&names[4]).await.account.unwrap();
    assert_eq!(
        (account.active_integration_count, account.active_integration_limit),
        (5, 5)
    );

    // The sixth is refused, with either kind of login, and the token that it shares with the five stays
    // valid.
    let sixth = ann.create("hubspot", "Sixth").await;
    let no = refused(ann.try_log_in(&sixth, "admin@acme.example")).await;
    assert_eq!(no.reason, "ACCOUNT_LIMIT_REACHED");
    let no = refused(
        ann.integrations
            .authorize_with_credentials(Person::key(&sixth, KEY)),
    )
    .await;
    assert_eq!(no.reason, "ACCOUNT_LIMIT_REACHED");
    world.control("POST", "/sessions/expire", Json::Null).await;
    for name in [&names[0], &names[4]] {
        let sync = ann.sync(name).await;
        ann.succeeds(&sync).await;
    }
    // Deleting one frees its place; the others of its account keep theirs.
    assert_eq!(ann.delete(&names[2]).await.access(), Access::Kept);
    ann.log_in(&sixth).await;
    let sync = ann.sync(&names[0]).await;
    ann.succeeds(&sync).await;

    // The app is uninstalled and the private app is deleted: tether reports it and keeps the data.
    let companies = ann.all_companies(100).await;
    world
        .control("POST", "/grants/revoke", json!({"user": "admin@acme.example"}))
        .await;
    world
        .control(
            "POST",
            "/oauth/private-apps",
            json!({"token": KEY, "delete": true}),
        )
        .await;
    for name in [&names[0], &names[4]] {
        let sync = ann.sync(name).await;
        let failed = ann.watch(&sync).await.pop().unwrap();
        assert_eq!(failed.state(), sync::State::Failed, "{failed:?}");
        assert_eq!(
            failed.error.unwrap().reason(),
            v1::ErrorReason::CredentialsRevoked
        );
        assert_eq!(ann.get(name).await.state(), State::NeedsReauthorization);
    }
    assert_eq!(ann.all_companies(100).await, companies);
    let card = ann.open(&companies[3].name).await.cards.remove(0);
    assert!(!card.freshness.as_ref().unwrap().live);
    // A new login keeps all settings, and a sync is started automatically.
    let no = refused(ann.try_log_in(&names[0], "admin@globex.example")).await;
    assert_eq!(no.reason, "DIFFERENT_ORGANIZATION");
    assert_eq!(ann.log_in(&names[0]).await.state(), State::Active);
    until("the sync after the login ends well", async || {
        let request = v1::ListSyncsRequest {
            parent: names[0].clone(),
            ..Default::default()
        };
        let newest = ok(ann.clone().integrations.list_syncs(request))
            .await
            .syncs
            .remove(0);
        (newest.trigger(), newest.state()) == (sync::Trigger::LogIn, sync::State::Succeeded)
    })
    .await;
}

/// A private app's token has no revocation: the answer of the deletion says so, because the token goes on working.
async fn what_the_crm_lets_nobody_revoke_is_not_called_revoked(database: Database) {
    let world = World::start_crm(database, Crm::HubSpot, 12, &[]).await;
    let mut ann = world.ann().await;
    ann.enable("hubspot").await;
    for _ in 0..2 {
        let name = ann.create("hubspot", "Key").await;
        ann.log_in_with_key(&name, KEY).await;
        ann.select(&name, &["companies.name"]).await;
        let sync = ann.activate(&name).await;
        ann.succeeds(&sync).await;
        assert_eq!(ann.delete(&name).await.access(), Access::NotRevocable);
    }
    // Also for a draft; a login with OAuth is revoked.
    let draft = ann.create("hubspot", "Draft").await;
    ann.log_in_with_key(&draft, KEY).await;
    assert_eq!(ann.delete(&draft).await.access(), Access::NotRevocable);
    let draft = ann.create("hubspot", "Draft").await;
    ann.log_in(&draft).await;
    assert_eq!(ann.delete(&draft).await.access(), Access::Revoked);
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
            let request = v1::TrackCompaniesRequest {
                parent: ann.parent.clone(),
                companies: vec![v1::CompanyToTrack {
                    company: Some(v1::company_to_track::Company::Name(name.clone())),
                }],
            };
            ok(ann.companies.track_companies(request)).await;
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
