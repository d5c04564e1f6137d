//! Search over two sources of one group, over gRPC, with the simulated Salesforce.

mod forms;

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use tether::proto::v1;
use tonic::Code;

use crate::support::server::{Database, Person, World, ok, on_all_databases, refused};

on_all_databases!(a_group_searches_two_sources);

const SALES: &[&str] = &[
    "Account.Name",
    "Account.Industry",
    "Account.NumberOfEmployees",
    "Opportunity.StageName",
    "Opportunity.Amount",
];
const SUPPORT: &[&str] = &["Account.Name", "Account.Industry", "Contact.Email"];

fn list(of: &Person, filter: &str, order_by: &str) -> v1::ListCompaniesRequest {
    v1::ListCompaniesRequest {
        parent: of.parent.clone(),
        filter: filter.to_owned(),
        order_by: order_by.to_owned(),
        page_size: 1_000,
        show_total_size: true,
        ..Default::default()
    }
}

async fn names(of: &mut Person, filter: &str) -> BTreeSet<String> {
    let request = list(of, filter, "");
    let answer = ok(of.companies.list_companies(request)).await;
    assert_eq!(answer.total_size, Some(answer.companies.len() as i64), "{filter}");
    answer.companies.into_iter().map(|company| company.name).collect()
}

/// What the CRM has, and the companies of its records.
struct Truth {
    organization: String,
    accounts: Vec<Json>,
    opportunities: Vec<Json>,
}

impl Truth {
    async fn of(world: &World) -> Self {
        let organization = world.control("GET", "", Json::Null).await["orgs"][0]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        Self {
            organization,
            accounts: world.truth("Account", "Id,Website,Industry").await,
            opportunities: world.truth("Opportunity", "AccountId,StageName,Amount").await,
        }
    }

    fn company(&self, account: &Json) -> String {
        let text = |key: &str| account[key].as_str().unwrap_or_default();
        crate::support::companies::of("salesforce", &self.organization, text("Id"), text("Website"))
    }

    /// The companies of the accounts that fit.
    fn companies(&self, fits: impl Fn(&Json) -> bool) -> BTreeSet<String> {
        let fitting = self.accounts.iter().filter(|account| fits(account));
        fitting.map(|account| self.company(account)).collect()
    }

    fn industry(&self) -> &str {
        let mut known = self
            .accounts
            .iter()
            .filter_map(|account| account["Industry"].as_str());
        known.next().unwrap()
    }

    /// The companies with an opportunity in this stage, of more than this amount.
    fn of_stage(&self, stage: &str, least: f64) -> BTreeSet<String> {
        let fits = |one: &&Json| {
            one["StageName"] == stage && one["Amount"].as_f64().is_some_and(|amount| amount > least)
        };
        let ids: BTreeSet<&str> = self
            .opportunities
            .iter()
            .filter(fits)
            .filter_map(|one| one["AccountId"].as_str())
            .collect();
        self.companies(|one| ids.contains(one["Id"].as_str().unwrap()))
    }
}

async fn a_group_searches_two_sources(database: Database) {
    let world = World::start(database, 80).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let at_least = two_sources(&mut ann).await;
    let all = complete_up_to_a_position(&mut ann, &at_least).await;
    let truth = Truth::of(&world).await;
    conditions_mean_what_they_say(&mut ann, &truth, all).await;
    forms::lists_functions_counts_and_sums(&mut ann, &truth, all).await;
    forms::companies_are_sorted_by_sums(&mut ann, &truth).await;
    forms::pages_keep_their_time_zone(&mut ann).await;
    lists_are_sorted_and_paged(&mut ann).await;
    errors_name_the_position(&mut ann).await;
    later_positions_are_waited_for(&mut ann, at_least.clone()).await;
    sources_are_listed(&mut ann, all).await;
    what_the_crm_deletes_is_no_longer_found(&world, &mut ann, &truth, &at_least).await;
}

/// Saves and syncs two integrations; answers the positions of their data.
async fn two_sources(ann: &mut Person) -> Vec<v1::SourcePosition> {
    let mut at_least = Vec::new();
    for (name, fields) in [("Sales", SALES), ("Support", SUPPORT)] {
        let name = ann.create("salesforce", name).await;
        ann.log_in(&name).await;
        ann.select(&name, fields).await;
        let sync = ann.activate(&name).await;
        let done = ann.succeeds(&sync).await;
        assert!(done.change_number > 0);
        at_least.push(v1::SourcePosition {
            integration: name.clone(),
            change_number: done.change_number,
            time: None,
        });
    }
    at_least
}

/// Data of a sync is found by a caller that requires its change number. Answers the number of companies.
async fn complete_up_to_a_position(ann: &mut Person, at_least: &[v1::SourcePosition]) -> usize {
    let request = v1::ListCompaniesRequest {
        at_least: at_least.to_vec(),
        columns: vec![
            "sales.Account.Industry".to_owned(),
            "sales.Opportunity.Amount".to_owned(),
        ],
        ..list(ann, "source = sales AND source = support", "")
    };
    let answer = ok(ann.companies.list_companies(request)).await;
    for (told, asked) in answer.as_of.iter().zip(at_least) {
        assert!(told.change_number >= asked.change_number, "{told:?}");
    }
    let all = names(ann, "source = sales").await;
    assert_eq!(all.len(), answer.companies.len());
    assert!(answer.companies.iter().all(|company| company.cells.len() == 2));
    all.len()
}

/// One condition, both sources, related records, and conditions on the same record.
async fn conditions_mean_what_they_say(ann: &mut Person, truth: &Truth, all: usize) {
    let industry = truth.industry();
    let expected = truth.companies(|account| account["Industry"] == industry);
    assert_eq!(
        names(ann, &format!("sales.Account.Industry = \"{industry}\"")).await,
        expected
    );
    let both =
        format!("sales.Account.Industry = \"{industry}\" AND support.Account.Industry = \"{industry}\"");
    assert_eq!(names(ann, &both).await, expected);
    let stage = truth
        .opportunities
        .iter()
        .find_map(|one| one["StageName"].as_str())
        .unwrap();
    let of_stage = truth.of_stage(stage, 50_000.0);
    let group = format!("sales.Opportunity(StageName = \"{stage}\" AND Amount > 50000)");
    assert_eq!(names(ann, &group).await, of_stage);
    let rest = names(ann, &format!("NOT {group}")).await;
    assert_eq!(rest.len(), all - of_stage.len());
}

async fn lists_are_sorted_and_paged(ann: &mut Person) {
    let sorted = list(
        ann,
        "source = sales",
        "sales.Account.NumberOfEmployees desc, display_name",
    );
    let whole = ok(ann.companies.list_companies(sorted.clone())).await.companies;
    let mut pages = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListCompaniesRequest {
            page_size: 7,
            page_token,
            ..sorted.clone()
        };
        let page = ok(ann.companies.list_companies(request)).await;
        pages.extend(page.companies);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(pages, whole);
    let request = v1::ListCompaniesRequest {
        query: whole[0].display_name.clone(),
        ..list(ann, "", "")
    };
    let found = ok(ann.companies.list_companies(request)).await.companies;
    assert!(
        found.iter().any(|company| company.name == whole[0].name),
        "{found:?}"
    );
}

async fn errors_name_the_position(ann: &mut Person) {
    for (filter, reason, position, token) in [
        ("sales.Account.Surprise = 1", "FIELD_UNKNOWN", "14", "Surprise"),
        ("elsewhere.Account.Name = 1", "INVALID_FILTER", "0", "elsewhere"),
        (
            "sales.Account.NumberOfEmployees = \"many\"",
            "INVALID_FILTER",
            "34",
            "\"many\"",
        ),
        ("banking", "INVALID_FILTER", "7", ""),
        ("count(Opportunity) > 1", "INVALID_FILTER", "6", "Opportunity"),
        (
            "sum(sales.Opportunity.Surprise) > 1",
            "FIELD_UNKNOWN",
            "22",
            "Surprise",
        ),
    ] {
        let request = list(ann, filter, "");
        let no = refused(ann.companies.list_companies(request)).await;
        assert_eq!(
            (no.code, no.reason.as_str()),
            (Code::InvalidArgument, reason),
            "{filter}"
        );
        let info = no.details.error_info().unwrap();
        let metadata = |key: &str| info.metadata.get(key).cloned().unwrap_or_default();
        assert_eq!(
            (metadata("position").as_str(), metadata("token").as_str()),
            (position, token),
            "{filter}"
        );
    }
    let request = list(ann, "", "sales.Opportunity.Amount");
    let no = refused(ann.companies.list_companies(request)).await;
    assert_eq!(no.reason, "INVALID_ORDER_BY");
}

async fn later_positions_are_waited_for(ann: &mut Person, mut at_least: Vec<v1::SourcePosition>) {
    at_least[0].change_number = i64::MAX;
    let request = v1::ListCompaniesRequest {
        at_least,
        ..list(ann, "", "")
    };
    let no = refused(ann.companies.list_companies(request)).await;
    assert_eq!(
        (no.code, no.reason.as_str()),
        (Code::Unavailable, "INDEX_NOT_READY")
    );
}

async fn sources_are_listed(ann: &mut Person, companies: usize) {
    let request = v1::ListSourcesRequest {
        parent: ann.parent.clone(),
        ..Default::default()
    };
    let sources = ok(ann.companies.list_sources(request)).await.sources;
    let told: Vec<_> = sources
        .iter()
        .map(|source| {
            (
                source.label.as_str(),
                source.company_count,
                source.active_field_count,
            )
        })
        .collect();
    let count = companies as i64;
    assert_eq!(told, [("sales", count, 5), ("support", count, 3)]);
}

/// After the next sync of each source.
async fn what_the_crm_deletes_is_no_longer_found(
    world: &World,
    ann: &mut Person,
    truth: &Truth,
    sources: &[v1::SourcePosition],
) {
    let industry = truth.industry();
    let gone = truth
        .accounts
        .iter()
        .find(|one| one["Industry"] == industry)
        .unwrap();
    world
        .control("POST", "/records/delete", json!({"id": gone["Id"]}))
        .await;
    for (source, label) in sources.iter().zip(["sales", "support"]) {
        let name = &source.integration;
        let sync = ann.sync(name).await;
        let done = ann.succeeds(&sync).await;
        let request = v1::ListCompaniesRequest {
            at_least: vec![v1::SourcePosition {
                integration: name.clone(),
                change_number: done.change_number,
                time: None,
            }],
            ..list(ann, &format!("source = {}", label), "")
        };
        let left = ok(ann.companies.list_companies(request)).await.companies;
        let still = truth.companies(|one| one["Id"] != gone["Id"]);
        assert_eq!(left.len(), still.len(), "{label}");
    }
}
