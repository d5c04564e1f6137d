//! The product's guides, over gRPC, with the simulated Salesforce.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tether::caller::Role;
use tether::proto::v1::integration::{DraftStep, State};
use tether::proto::v1::value::Kind;
use tether::proto::v1::{self, sync};
use tonic::Code;

use crate::support::server::{Database, Person, World, ok, on_all_databases, refused};

on_all_databases!(a_group_connects_its_crm_and_uses_it);

const FIELDS: &[&str] = &[
    "Account.Name",
    "Account.Industry",
    "Account.BillingAddress",
    "Contact.Name",
    "Contact.Email",
    "Opportunity.Name",
    "Opportunity.Amount",
    "Contract.ContractNumber",
    "Case.Subject",
];

/// The companies of the simulator's accounts.
async fn companies_of(world: &World) -> BTreeSet<String> {
    let organization = world.control("GET", "", Json::Null).await["orgs"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let accounts = world.truth("Account", "Id,Website").await;
    let text = |account: &Json, key: &str| account[key].as_str().unwrap_or_default().to_owned();
    accounts
        .iter()
        .map(|account| (text(account, "Id"), text(account, "Website")))
        .map(|(id, website)| crate::support::companies::of("salesforce", &organization, &id, &website))
        .collect()
}

/// The value of a field of the company's only record in its profile.
fn shown(profile: &v1::CompanyProfile, key: &str) -> String {
    let table = profile.cards[0].company_records.as_ref().unwrap();
    let at = table.columns.iter().position(|column| column.key == key).unwrap();
    match &table.records[0].values[at].kind {
        Some(Kind::Text(text)) => text.clone(),
        other => panic!("{key} is {other:?}"),
    }
}

/// An account that is a company of its own, so that its profile has one record: (its id, the company's name).
struct Single {
    id: String,
    company: String,
}

/// `count` accounts whose website no other account has.
async fn singles(world: &World, count: usize) -> Vec<Single> {
    let organization = world.control("GET", "", Json::Null).await["orgs"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let accounts = world.truth("Account", "Id,Website").await;
    let all: Vec<Single> = accounts
        .iter()
        .map(|account| {
            let (id, website) = (
                account["Id"].as_str().unwrap(),
                account["Website"].as_str().unwrap_or_default(),
            );
            let company = crate::support::companies::of("salesforce", &organization, id, website);
            Single {
                id: id.to_owned(),
                company,
            }
        })
        .collect();
    let alone = |one: &Single| all.iter().filter(|other| other.company == one.company).count() == 1;
    let ids: Vec<usize> = (0..all.len()).filter(|&at| alone(&all[at])).take(count).collect();
    ids.into_iter()
        .map(|at| Single {
            id: all[at].id.clone(),
            company: all[at].company.clone(),
        })
        .collect()
}

async fn a_group_connects_its_crm_and_uses_it(database: Database) {
    let mut world = World::start(database, 300).await;
    let name = a_draft_survives_a_crash(&mut world).await;
    let (mut ann, _) = people(&world).await;
    a_login_lands_on_the_platform(&mut ann, &name).await;
    world.restart().await;
    let (mut ann, mut max) = people(&world).await;
    the_five_objects_have_fields(&mut ann, &name).await;
    a_review_counts_in_the_crm(&world, &mut ann, &name).await;
    the_first_sync_shows_its_progress(&world, &mut ann, &mut max, &name).await;
    let held = every_company_is_listed_once(&world, &mut max).await;
    profiles(&world, &mut max).await;
    own_list(&mut max, &held).await;
    let left = a_second_sync_brings_changes(&world, &mut ann, &name).await;
    a_third_sync_is_cancelled(&world, &mut ann, &name, left).await;
    the_history_has_all_three(&mut ann, &name).await;
    only_read(&world).await;
}

/// An administrator and a member.
async fn people(world: &World) -> (Person, Person) {
    (world.ann().await, world.person("max", "acme", Role::Member).await)
}

/// The numbers of rows in the CRM, by object.
async fn rows(world: &World) -> Json {
    world.control("GET", "", Json::Null).await["orgs"][0]["rows"].clone()
}

/// An administrator enables the connector, a member cannot. The draft survives a killed server and is resumed at the
/// same step. Only administrators see it.
async fn a_draft_survives_a_crash(world: &mut World) -> String {
    let (mut ann, mut max) = people(world).await;
    let request = v1::EnableConnectorRequest {
        parent: max.parent.clone(),
        connector: "connectors/salesforce".to_owned(),
    };
    let no = refused(max.integrations.enable_connector(request)).await;
    assert_eq!(
        (no.code, no.reason.as_str()),
        (Code::PermissionDenied, "ROLE_NOT_ALLOWED")
    );
    assert!(ann.enable("salesforce").await.enabled);
    let name = ann.create("salesforce", "Acme Sales").await;
    world.restart().await;
    let (mut ann, mut max) = people(world).await;
    let draft = ann.get(&name).await;
    assert_eq!(
        (draft.state(), draft.draft_step()),
        (State::Draft, DraftStep::LogIn)
    );
    assert_eq!(max.cannot_get(&name).await.reason, "NOT_FOUND");
    for (person, drafts) in [(&mut ann, 1), (&mut max, 0)] {
        let states = vec![State::Draft as i32];
        let request = v1::ListIntegrationsRequest {
            parent: person.parent.clone(),
            states,
            ..Default::default()
        };
        assert_eq!(
            ok(person.integrations.list_integrations(request))
                .await
                .integrations
                .len(),
            drafts
        );
    }
    name
}

/// Over an address of the platform.
async fn a_login_lands_on_the_platform(ann: &mut Person, name: &str) {
    let draft = ann.log_in(name).await;
    assert_eq!(draft.draft_step(), DraftStep::SelectFields);
    assert_eq!(draft.account.unwrap().username, "admin@acme.example");
}

/// Fields are those of the five objects only.
async fn the_five_objects_have_fields(ann: &mut Person, name: &str) {
    let request = v1::ListAvailableFieldsRequest {
        parent: name.to_owned(),
        page_size: 2_000,
        ..Default::default()
    };
    let objects = ok(ann.integrations.list_available_fields(request)).await.objects;
    let keys: BTreeSet<&str> = objects.iter().map(|object| object.object.as_str()).collect();
    assert_eq!(
        keys,
        ["Account", "Case", "Contact", "Contract", "Opportunity"].into()
    );
    assert!(
        objects
            .iter()
            .all(|object| object.visible && !object.fields.is_empty())
    );
    let draft = ann.select(name, FIELDS).await;
    assert_eq!(draft.draft_step(), DraftStep::Connect);
}

/// Nothing is on the platform before saving.
async fn a_review_counts_in_the_crm(world: &World, ann: &mut Person, name: &str) {
    let review = ann.review(name).await;
    let rows = rows(world).await;
    for object in &review.objects {
        assert_eq!(
            Some(object.record_count),
            rows[object.object.as_str()].as_i64(),
            "{}",
            object.object
        );
    }
    assert_eq!((review.objects.len(), review.company_record_count), (5, 300));
    assert!(ann.all_companies(50).await.is_empty());
}

/// To all members of the group; it ends.
async fn the_first_sync_shows_its_progress(world: &World, ann: &mut Person, max: &mut Person, name: &str) {
    let sync = ann.activate(name).await;
    let progress = max.watch(&sync).await;
    let last = progress.last().unwrap();
    assert_eq!(
        (last.state(), last.trigger()),
        (sync::State::Succeeded, sync::Trigger::Activation),
        "{last:?}"
    );
    assert!(progress.len() > 1, "{progress:?}");
    let read = |sync: &v1::Sync| sync.totals.map_or(0, |totals| totals.read);
    assert!(progress.is_sorted_by_key(read));
    let rows = rows(world).await;
    for object in &last.objects {
        let counts = object.counts.unwrap();
        assert_eq!(
            Some(counts.written),
            rows[object.object.as_str()].as_i64(),
            "{object:?}"
        );
    }
}

/// For any page size; answers one of them.
async fn every_company_is_listed_once(world: &World, max: &mut Person) -> String {
    let companies = max.all_companies(7).await;
    let listed: BTreeSet<String> = companies.iter().map(|company| company.name.clone()).collect();
    assert_eq!(companies.len(), listed.len());
    assert_eq!(listed, companies_of(world).await);
    assert_eq!(max.all_companies(1_000).await, companies);
    companies[0].name.clone()
}

/// Added, changed, deleted and merged records; answers the number of companies.
async fn a_second_sync_brings_changes(world: &World, ann: &mut Person, name: &str) -> usize {
    let changed = singles(world, 8).await;
    let fields = json!({"Name": "Newcomer", "Website": "https://newcomer-of-tests.com"});
    world
        .control(
            "POST",
            "/records/create",
            json!({"object": "Account", "fields": fields}),
        )
        .await;
    let update = json!({"id": changed[5].id, "fields": {"Industry": "Changed by hand"}});
    world.control("POST", "/records/update", update).await;
    world
        .control("POST", "/records/delete", json!({"id": changed[6].id}))
        .await;
    world
        .control(
            "POST",
            "/records/merge",
            json!({"winner": changed[5].id, "loser": changed[7].id}),
        )
        .await;
    let sync = ann.sync(name).await;
    let last = ann.succeeds(&sync).await;
    assert!(last.totals.unwrap().removed >= 2, "{last:?}");
    let companies: BTreeSet<String> = ann
        .all_companies(100)
        .await
        .into_iter()
        .map(|one| one.name)
        .collect();
    assert_eq!(companies, companies_of(world).await);
    assert!(!companies.contains(&changed[6].company) && !companies.contains(&changed[7].company));
    let stored = ann.stored(&changed[5].company).await;
    assert_eq!(shown(&stored, "Industry"), "Changed by hand");
    companies.len()
}

/// Stored data stays.
async fn a_third_sync_is_cancelled(world: &World, ann: &mut Person, name: &str, companies: usize) {
    let slow = json!({"path": "/services/data", "kind": "delay", "delayMs": 2_000, "times": 1_000});
    world.control("POST", "/faults", slow).await;
    let sync = ann.sync(name).await;
    ok(ann
        .integrations
        .cancel_sync(v1::CancelSyncRequest { name: sync.clone() }))
    .await;
    assert_eq!(
        ann.watch(&sync).await.last().unwrap().state(),
        sync::State::Cancelled
    );
    world.control("DELETE", "/faults", Json::Null).await;
    assert_eq!(ann.all_companies(1_000).await.len(), companies);
}

async fn the_history_has_all_three(ann: &mut Person, name: &str) {
    let request = v1::ListSyncsRequest {
        page_size: 2,
        ..Person::history(name)
    };
    let page = ok(ann.integrations.list_syncs(request.clone())).await;
    let request = v1::ListSyncsRequest {
        page_token: page.next_page_token,
        ..request
    };
    let rest = ok(ann.integrations.list_syncs(request)).await;
    let history: Vec<_> = page
        .syncs
        .iter()
        .chain(&rest.syncs)
        .map(|sync| (sync.trigger(), sync.state()))
        .collect();
    assert_eq!(
        history,
        [
            (sync::Trigger::Manual, sync::State::Cancelled),
            (sync::Trigger::Manual, sync::State::Succeeded),
            (sync::Trigger::Activation, sync::State::Succeeded),
        ]
    );
}

/// Profiles are live; if the CRM is slow or down, they show stored data with its age and the cause.
async fn profiles(world: &World, max: &mut Person) {
    let singles = singles(world, 4).await;
    let before = max.open(&singles[0].company).await;
    let freshness = before.cards[0].freshness.as_ref().unwrap();
    assert!(freshness.live && freshness.stale_reason.is_none());
    let related: Vec<&str> = before.cards[0]
        .related
        .iter()
        .map(|table| table.object.as_str())
        .collect();
    assert_eq!(related, ["Contact", "Opportunity", "Contract", "Case"]);

    // A record changes in the CRM: the next opened profile shows it.
    let update = json!({"id": singles[1].id, "fields": {"Industry": "Space Travel"}});
    world.control("POST", "/records/update", update).await;
    assert_eq!(
        shown(&max.open(&singles[1].company).await, "Industry"),
        "Space Travel"
    );

    // A slow CRM.
    let update = json!({"id": singles[2].id, "fields": {"Industry": "Seen too late"}});
    world.control("POST", "/records/update", update).await;
    let slow = json!({"path": "/services/data", "kind": "delay", "delayMs": 5_000});
    world.control("POST", "/faults", slow).await;
    let card = &max
        .open_within(&singles[2].company, Duration::from_millis(200))
        .await
        .cards[0];
    let freshness = card.freshness.as_ref().unwrap();
    assert_eq!(
        freshness.stale_reason.as_ref().unwrap().reason(),
        v1::ErrorReason::CrmUnavailable
    );
    assert!(!freshness.live && freshness.age.is_some() && freshness.read_time.is_some());
    assert_eq!(card.company_records.as_ref().unwrap().records.len(), 1);

    // A CRM that is down.
    let down = json!({"path": "/services/data", "status": 503, "body": "down", "times": 1_000});
    world.control("POST", "/faults", down).await;
    let card = &max
        .open_within(&singles[3].company, Duration::from_secs(1))
        .await
        .cards[0];
    let freshness = card.freshness.as_ref().unwrap();
    assert_eq!(
        freshness.stale_reason.as_ref().unwrap().reason(),
        v1::ErrorReason::CrmUnavailable
    );
    assert_eq!(card.company_records.as_ref().unwrap().records.len(), 1);
    world.control("DELETE", "/faults", Json::Null).await;
}

/// The tracked list: a company of a source, and one that only the group has.
async fn own_list(max: &mut Person, held: &str) {
    use v1::company_to_track::Company;
    let new = v1::NewCompany {
        display_name: "Only Ours".to_owned(),
        homepage_uri: "https://www.only-ours-of-tests.com/about".to_owned(),
    };
    let wanted = [Company::Name(held.to_owned()), Company::NewCompany(new)];
    let companies = wanted
        .map(|company| v1::CompanyToTrack {
            company: Some(company),
        })
        .to_vec();
    let request = v1::TrackCompaniesRequest {
        parent: max.parent.clone(),
        companies,
    };
    let tracked = ok(max.companies.track_companies(request)).await.companies;
    assert!(tracked.iter().all(|company| company.tracked));
    assert_eq!(tracked[1].domain, "only-ours-of-tests.com");
    let names: Vec<String> = tracked.iter().map(|company| company.name.clone()).collect();
    let list = v1::ListCompaniesRequest {
        parent: max.parent.clone(),
        scope: v1::CompanyScope::Tracked as i32,
        ..Default::default()
    };
    let mut listed = ok(max.companies.list_companies(list.clone())).await.companies;
    listed.sort_by_key(|company| company.name != names[0]);
    assert_eq!(listed, tracked);
    // A company without a source has no card, and is gone after it is untracked.
    assert!(max.open(&names[1]).await.cards.is_empty());
    let request = v1::UntrackCompaniesRequest {
        parent: max.parent.clone(),
        names: names.clone(),
    };
    assert_eq!(
        ok(max.companies.untrack_companies(request)).await.untracked_count,
        2
    );
    assert!(ok(max.companies.list_companies(list)).await.companies.is_empty());
    let request = v1::GetCompanyRequest {
        name: names[1].clone(),
        parent: max.parent.clone(),
    };
    assert_eq!(
        refused(max.companies.get_company(request)).await.reason,
        "NOT_FOUND"
    );
    let request = v1::GetCompanyRequest {
        name: names[0].clone(),
        parent: max.parent.clone(),
    };
    assert!(!ok(max.companies.get_company(request)).await.tracked);
}

/// The simulator's journal has only token requests, GETs, and composites of GETs.
async fn only_read(world: &World) {
    let journal = world.control("GET", "/requests?limit=100000", Json::Null).await;
    assert_eq!(journal["writes"], 0, "{}", journal["writeRequests"]);
    let requests = journal["requests"].as_array().unwrap();
    assert!(requests.len() > 20);
    for request in requests {
        let inner = request["inner"].as_array().map(Vec::as_slice).unwrap_or_default();
        let reads = match (
            request["method"].as_str().unwrap(),
            request["kind"].as_str().unwrap(),
        ) {
            ("GET", _) | ("POST", "token" | "revoke") => inner.is_empty(),
            ("POST", "composite") => !inner.is_empty() && inner.iter().all(|one| one["method"] == "GET"),
            _ => false,
        };
        assert!(reads, "{request}");
    }
}
