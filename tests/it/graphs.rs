//! Graphs over gRPC, compared with what the simulated Salesforce has. The engine below is compared with a slow model in
//! `columns/src/index/tests/graphs.rs`.

use std::collections::{BTreeMap, BTreeSet};

use bigdecimal::BigDecimal as Decimal;
use serde_json::Value as Json;
use tether::proto::v1::bucket_key::Bucket;
use tether::proto::v1::date_bucket::Unit;
use tether::proto::v1::grouping::Bucket as How;
use tether::proto::v1::measure::Function;
use tether::proto::v1::value::Kind;
use tether::proto::v1::{self, AggregateRow};

use crate::support::server::{Database, Person, World, ok, on_all_databases, refused};

on_all_databases!(graphs_are_what_the_crm_has);

const FIELDS: &[&str] = &[
    "Account.Name",
    "Account.Industry",
    "Account.NumberOfEmployees",
    "Opportunity.StageName",
    "Opportunity.Amount",
    "Opportunity.CloseDate",
];

/// What the CRM has.
struct Truth {
    accounts: Vec<Json>,
    opportunities: Vec<Json>,
}

fn text(of: &Json, key: &str) -> Option<String> {
    of[key]
        .as_str()
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

fn amount(of: &Json) -> Option<Decimal> {
    of["Amount"]
        .as_number()
        .map(|number| number.to_string().parse::<Decimal>().unwrap().normalized())
}

fn grouping(field: &str, bucket: Option<How>, limit: i32) -> v1::Grouping {
    v1::Grouping {
        field: format!("sales.{field}"),
        bucket,
        limit,
    }
}

fn measure(function: Function, field: &str) -> v1::Measure {
    v1::Measure {
        function: function.into(),
        field: format!("sales.{field}"),
        percentile: if function == Function::Percentile { 90 } else { 0 },
    }
}

fn month() -> Option<How> {
    Some(How::DateBucket(v1::DateBucket {
        unit: Unit::Month.into(),
        time_zone: String::new(),
    }))
}

fn ask(
    of: &Person,
    groupings: Vec<v1::Grouping>,
    measures: Vec<v1::Measure>,
) -> v1::AggregateCompaniesRequest {
    v1::AggregateCompaniesRequest {
        parent: of.parent.clone(),
        groupings,
        measures,
        ..Default::default()
    }
}

/// A bucket as text; `None` for records without a value.
fn key(of: &v1::BucketKey) -> Option<String> {
    match of.bucket.as_ref().unwrap() {
        Bucket::Unset(true) => None,
        Bucket::Other(true) => Some("(other)".to_owned()),
        Bucket::Value(value) => Some(match value.kind.as_ref().unwrap() {
            Kind::Text(text) => text.clone(),
            Kind::Date(date) => format!("{:04}-{:02}-{:02}", date.year, date.month, date.day),
            Kind::Decimal(number) => number.clone(),
            Kind::Boolean(yes) => yes.to_string(),
            other => panic!("{other:?}"),
        }),
        other => panic!("{other:?}"),
    }
}

fn keys(of: &AggregateRow) -> Vec<Option<String>> {
    of.keys.iter().map(key).collect()
}

/// The result of a sum, an average or the like.
fn number(of: &v1::Value) -> Option<Decimal> {
    let text = match of.kind.as_ref()? {
        Kind::Decimal(text) => text.clone(),
        Kind::Money(money) => money.amount.clone(),
        Kind::Integer(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    Some(text.parse::<Decimal>().unwrap().normalized())
}

fn sum(of: impl Iterator<Item = Decimal>) -> Option<Decimal> {
    of.reduce(|a, b| a + b).map(|sum| sum.normalized())
}

impl Truth {
    async fn of(world: &World) -> Self {
        Self {
            accounts: world.truth("Account", "Id,Industry,NumberOfEmployees").await,
            opportunities: world
                .truth("Opportunity", "AccountId,StageName,Amount,CloseDate")
                .await,
        }
    }

    /// The opportunities of accounts.
    fn related(&self) -> Vec<&Json> {
        let ids: BTreeSet<&str> = self
            .accounts
            .iter()
            .filter_map(|one| one["Id"].as_str())
            .collect();
        let is = |one: &&Json| one["AccountId"].as_str().is_some_and(|id| ids.contains(id));
        self.opportunities.iter().filter(is).collect()
    }
}

async fn graphs_are_what_the_crm_has(database: Database) {
    let world = World::start(database, 120).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let name = ann.salesforce("Sales", FIELDS).await;
    let sync = ann.sync(&name).await;
    let change_number = ann.succeeds(&sync).await.change_number;
    let at_least = v1::SourcePosition {
        integration: name,
        change_number,
        time: None,
    };
    let truth = Truth::of(&world).await;
    let request = v1::AggregateCompaniesRequest {
        at_least: vec![at_least],
        ..ask(&ann, Vec::new(), Vec::new())
    };
    let answer = ok(ann.companies.aggregate_companies(request)).await;
    let companies = answer.total.as_ref().unwrap().company_count;
    assert!(companies > 50 && answer.rows.is_empty(), "{answer:?}");
    assert_eq!(answer.as_of.len(), 1);
    by_a_picklist(&mut ann, &truth, companies).await;
    by_month_and_stage(&mut ann, &truth).await;
    only_records_that_match_are_counted(&mut ann, &truth).await;
    records_of_another_object_are_measured(&mut ann, &truth).await;
    by_width_source_and_tracked(&mut ann, &truth, companies).await;
    what_cannot_be_drawn_is_refused(&mut ann).await;
}

async fn by_a_picklist(ann: &mut Person, truth: &Truth, companies: i64) {
    let mut expected: BTreeMap<Option<String>, i64> = BTreeMap::new();
    for account in &truth.accounts {
        *expected.entry(text(account, "Industry")).or_default() += 1;
    }
    let request = ask(ann, vec![grouping("Account.Industry", None, 1_000)], Vec::new());
    let answer = ok(ann.companies.aggregate_companies(request)).await;
    let found: BTreeMap<_, _> = answer
        .rows
        .iter()
        .map(|row| (keys(row)[0].clone(), row.record_count))
        .collect();
    assert_eq!((found.len(), &found), (answer.rows.len(), &expected));
    let total = answer.total.unwrap();
    assert_eq!(
        (total.company_count, total.record_count),
        (companies, truth.accounts.len() as i64)
    );
    // The largest come first; records without a value come last.
    let named: Vec<i64> = answer
        .rows
        .iter()
        .filter(|row| keys(row)[0].is_some())
        .map(|row| row.company_count)
        .collect();
    assert!(named.is_sorted_by(|a, b| a >= b), "{named:?}");
    if expected.contains_key(&None) {
        assert_eq!(keys(answer.rows.last().unwrap()), [None]);
    }
    // With fewer buckets than values, the others are one.
    let request = ask(ann, vec![grouping("Account.Industry", None, 2)], Vec::new());
    let few = ok(ann.companies.aggregate_companies(request)).await;
    assert_eq!(few.rows[..2], answer.rows[..2]);
    let other: i64 = few
        .rows
        .iter()
        .filter(|row| keys(row)[0].as_deref() == Some("(other)"))
        .map(|row| row.record_count)
        .sum();
    let rest: i64 = expected
        .iter()
        .filter(|(key, _)| key.is_some())
        .map(|(_, count)| count)
        .sum::<i64>()
        - few.rows[..2].iter().map(|row| row.record_count).sum::<i64>();
    assert_eq!(other, rest);
}

async fn by_month_and_stage(ann: &mut Person, truth: &Truth) {
    let mut expected: BTreeMap<Vec<Option<String>>, (i64, Vec<Decimal>)> = BTreeMap::new();
    for one in truth.related() {
        let month = text(one, "CloseDate").map(|date| format!("{}-01", &date[..7]));
        let cell = expected.entry(vec![month, text(one, "StageName")]).or_default();
        cell.0 += 1;
        cell.1.extend(amount(one));
    }
    let request = ask(
        ann,
        vec![
            grouping("Opportunity.CloseDate", month(), 1_000),
            grouping("Opportunity.StageName", None, 1_000),
        ],
        vec![
            measure(Function::Sum, "Opportunity.Amount"),
            measure(Function::Count, "Opportunity.Amount"),
            measure(Function::Maximum, "Opportunity.Amount"),
            measure(Function::Median, "Opportunity.Amount"),
        ],
    );
    let answer = ok(ann.companies.aggregate_companies(request)).await;
    assert_eq!(answer.rows.len(), expected.len());
    let months: Vec<_> = answer
        .rows
        .iter()
        .filter_map(|row| keys(row)[0].clone())
        .collect();
    assert!(months.is_sorted() && months.len() > 1, "{months:?}");
    for row in &answer.rows {
        let (count, mut amounts) = expected[&keys(row)].clone();
        amounts.sort();
        let median = amounts.get(amounts.len() / 2).map(|upper| {
            let lower = &amounts[(amounts.len() - 1) / 2];
            ((lower + upper) / Decimal::from(2)).normalized()
        });
        assert_eq!(row.record_count, count, "{row:?}");
        let results: Vec<_> = row.results.iter().map(number).collect();
        let counted = Some(Decimal::from(amounts.len() as u64));
        assert_eq!(
            results,
            [
                sum(amounts.iter().cloned()),
                counted,
                amounts.last().cloned(),
                median
            ],
            "{row:?}"
        );
    }
}

async fn only_records_that_match_are_counted(ann: &mut Person, truth: &Truth) {
    let stage = truth
        .related()
        .iter()
        .find_map(|one| text(one, "StageName"))
        .unwrap();
    let won: Vec<Decimal> = truth
        .related()
        .iter()
        .filter(|one| text(one, "StageName").as_ref() == Some(&stage))
        .filter_map(|one| amount(one))
        .collect();
    for filter in [
        format!("sales.Opportunity.StageName = {stage:?}"),
        format!("sales.Opportunity(StageName = {stage:?}) AND sales.Account.Name:*"),
        format!("NOT sales.Opportunity.StageName = {stage:?}"),
    ] {
        let negated = filter.starts_with("NOT");
        let request = v1::AggregateCompaniesRequest {
            filter: filter.clone(),
            ..ask(
                ann,
                vec![grouping("Opportunity.StageName", None, 0)],
                vec![measure(Function::Sum, "Opportunity.Amount")],
            )
        };
        let answer = ok(ann.companies.aggregate_companies(request)).await;
        let stages: BTreeSet<_> = answer.rows.iter().map(|row| keys(row)[0].clone()).collect();
        assert_eq!(stages.contains(&Some(stage.clone())), !negated, "{filter}");
        if !negated {
            assert_eq!(stages.len(), 1, "{filter}");
            assert_eq!(
                number(&answer.rows[0].results[0]),
                sum(won.iter().cloned()),
                "{filter}"
            );
        }
    }
}

async fn records_of_another_object_are_measured(ann: &mut Person, truth: &Truth) {
    // Without groupings there is the total alone.
    let request = ask(
        ann,
        Vec::new(),
        vec![
            measure(Function::Sum, "Opportunity.Amount"),
            measure(Function::Sum, "Account.NumberOfEmployees"),
            measure(Function::Percentile, "Opportunity.Amount"),
        ],
    );
    let answer = ok(ann.companies.aggregate_companies(request)).await;
    let employees = truth
        .accounts
        .iter()
        .filter_map(|one| one["NumberOfEmployees"].as_i64())
        .map(Decimal::from);
    let total = answer.total.unwrap();
    assert_eq!(
        number(&total.results[0]),
        sum(truth.related().iter().filter_map(|one| amount(one)))
    );
    assert_eq!(number(&total.results[1]), sum(employees));
    assert!(number(&total.results[2]).is_some());
    // The opportunities of the companies of an industry.
    let request = ask(
        ann,
        vec![grouping("Account.Industry", None, 1_000)],
        vec![measure(Function::Count, "Opportunity.StageName")],
    );
    let answer = ok(ann.companies.aggregate_companies(request)).await;
    let industry_of: BTreeMap<_, _> = truth
        .accounts
        .iter()
        .map(|one| (text(one, "Id"), text(one, "Industry")))
        .collect();
    let mut least: BTreeMap<Option<String>, i64> = BTreeMap::new();
    for one in truth.related() {
        *least
            .entry(industry_of[&text(one, "AccountId")].clone())
            .or_default() += 1;
    }
    for row in &answer.rows {
        // A company can have several accounts: it brings the opportunities of all of them.
        let found = number(&row.results[0]).unwrap();
        assert!(found >= least.get(&keys(row)[0]).copied().unwrap_or(0), "{row:?}");
    }
}

async fn by_width_source_and_tracked(ann: &mut Person, truth: &Truth, companies: i64) {
    let width = |width: &str| {
        Some(How::NumberBucket(v1::NumberBucket {
            width: width.to_owned(),
        }))
    };
    let request = ask(
        ann,
        vec![grouping("Account.NumberOfEmployees", width("1000"), 1_000)],
        Vec::new(),
    );
    let answer = ok(ann.companies.aggregate_companies(request)).await;
    let mut expected: BTreeMap<Option<i64>, i64> = BTreeMap::new();
    for account in &truth.accounts {
        let floor = |number: i64| number.div_euclid(1_000) * 1_000;
        *expected
            .entry(account["NumberOfEmployees"].as_i64().map(floor))
            .or_default() += 1;
    }
    let of = |row: &AggregateRow| keys(row)[0].as_ref().map(|text| text.parse::<i64>().unwrap());
    let found: BTreeMap<_, _> = answer
        .rows
        .iter()
        .map(|row| (of(row), row.record_count))
        .collect();
    assert_eq!(found, expected);
    let about_company = |field: &str| v1::Grouping {
        field: field.to_owned(),
        ..Default::default()
    };
    let request = ask(
        ann,
        vec![about_company("source"), about_company("tracked")],
        Vec::new(),
    );
    let answer = ok(ann.companies.aggregate_companies(request)).await;
    let rows: Vec<_> = answer
        .rows
        .iter()
        .map(|row| (keys(row), row.company_count))
        .collect();
    let key = |text: &str| Some(text.to_owned());
    assert_eq!(rows, [(vec![key("sales"), key("false")], companies)]);
}

async fn what_cannot_be_drawn_is_refused(ann: &mut Person) {
    let day = || {
        Some(How::DateBucket(v1::DateBucket {
            unit: Unit::Day.into(),
            time_zone: "Europe/Atlantis".to_owned(),
        }))
    };
    let width = |width: &str| {
        Some(How::NumberBucket(v1::NumberBucket {
            width: width.to_owned(),
        }))
    };
    let groupings = [
        (
            grouping("Account.Nothing", None, 0),
            "FIELD_UNKNOWN",
            "groupings[0].field",
        ),
        (
            grouping("Account.Industry", month(), 0),
            "INVALID_FIELD_VALUE",
            "date_bucket needs",
        ),
        (
            grouping("Account.Industry", width("10"), 0),
            "INVALID_FIELD_VALUE",
            "number_bucket needs",
        ),
        (
            grouping("Account.NumberOfEmployees", width("0"), 0),
            "INVALID_FIELD_VALUE",
            "above 0",
        ),
        (
            grouping("Opportunity.CloseDate", day(), 0),
            "INVALID_FIELD_VALUE",
            "groupings[0].date_bucket.time_zone",
        ),
        (
            grouping("Account.Industry", None, -1),
            "INVALID_FIELD_VALUE",
            "groupings[0].limit",
        ),
    ];
    for (grouping, reason, part) in groupings {
        let request = ask(ann, vec![grouping], Vec::new());
        let no = refused(ann.companies.aggregate_companies(request)).await;
        assert_eq!(no.reason, reason, "{no:?}");
        assert!(format!("{no:?}").contains(part), "{part}: {no:?}");
    }
    let two = vec![
        grouping("Account.Industry", None, 0),
        grouping("Opportunity.StageName", None, 0),
    ];
    let request = ask(ann, two, Vec::new());
    assert_eq!(
        refused(ann.companies.aggregate_companies(request)).await.reason,
        "INVALID_FIELD_VALUE"
    );
    for measure in [
        measure(Function::Sum, "Opportunity.StageName"),
        measure(Function::Unspecified, "Opportunity.Amount"),
        v1::Measure {
            percentile: 0,
            ..measure(Function::Percentile, "Opportunity.Amount")
        },
        v1::Measure {
            percentile: 5,
            ..measure(Function::Sum, "Opportunity.Amount")
        },
    ] {
        let request = ask(ann, Vec::new(), vec![measure]);
        let no = refused(ann.companies.aggregate_companies(request)).await;
        assert_eq!(no.reason, "INVALID_FIELD_VALUE", "{no:?}");
    }
}
