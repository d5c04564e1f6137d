//! Lists of values, functions, counts and sums, and time zones, compared with what the CRM has.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;
use tether::proto::v1;

use super::{Truth, list, names};
use crate::support::server::{Person, ok, refused};

impl Truth {
    /// By company, the opportunities that fit.
    fn opportunities(&self, fits: impl Fn(&Json) -> bool) -> BTreeMap<String, Vec<&Json>> {
        let company = |id: &Json| {
            let account = self.accounts.iter().find(|one| one["Id"] == *id)?;
            Some(self.company(account))
        };
        let mut found: BTreeMap<String, Vec<&Json>> = BTreeMap::new();
        for one in self.opportunities.iter().filter(|one| fits(one)) {
            if let Some(company) = company(&one["AccountId"]) {
                found.entry(company).or_default().push(one);
            }
        }
        found
    }

    /// By company, the sum of the amounts of its opportunities, in cents.
    fn sums(&self) -> BTreeMap<String, i64> {
        let cents = |one: &&Json| Some((one["Amount"].as_f64()? * 100.0).round() as i64);
        self.opportunities(|one| one["Amount"].is_number())
            .into_iter()
            .map(|(company, all)| (company, all.iter().filter_map(cents).sum()))
            .collect()
    }
}

fn keys<T>(found: BTreeMap<String, T>, fits: impl Fn(&T) -> bool) -> BTreeSet<String> {
    let fitting = found.into_iter().filter(|(_, value)| fits(value));
    fitting.map(|(company, _)| company).collect()
}

pub(super) async fn lists_functions_counts_and_sums(ann: &mut Person, truth: &Truth, all: usize) {
    let industries: BTreeSet<&str> = truth
        .accounts
        .iter()
        .filter_map(|one| one["Industry"].as_str())
        .collect();
    let two: Vec<&str> = industries.into_iter().take(2).collect();
    let filter = format!("sales.Account.Industry in (\"{}\", \"{}\")", two[0], two[1]);
    let of_two = truth.companies(|one| one["Industry"].as_str().is_some_and(|is| two.contains(&is)));
    assert_eq!(names(ann, &filter).await, of_two);
    let begin = two[0][..3].to_uppercase();
    let expected = truth.companies(|one| {
        one["Industry"]
            .as_str()
            .is_some_and(|is| is.to_uppercase().starts_with(&begin))
    });
    let filter = format!("sales.Account(starts_with(Industry, \"{begin}\"))");
    assert_eq!(names(ann, &filter).await, expected);

    let stage = truth
        .opportunities
        .iter()
        .find_map(|one| one["StageName"].as_str())
        .unwrap();
    let of_stage = truth.opportunities(|one| one["StageName"] == stage);
    let group = format!("sales.Opportunity(StageName = \"{stage}\")");
    let several = keys(of_stage.clone(), |all| all.len() >= 2);
    assert!(!several.is_empty());
    assert_eq!(names(ann, &format!("count({group}) >= 2")).await, several);
    let without = names(ann, &format!("source = sales AND count({group}) = 0")).await;
    assert_eq!(without.len(), all - of_stage.len());

    let sums = truth.sums();
    let mut sorted: Vec<i64> = sums.values().copied().collect();
    sorted.sort_unstable();
    let middle = sorted[sorted.len() / 2];
    let written = format!("{}.{:02}", middle / 100, middle % 100);
    for (operator, passes) in [
        (">", (|sum, than| sum > than) as fn(i64, i64) -> bool),
        ("<=", |sum, than| sum <= than),
        ("=", |sum, than| sum == than),
        ("!=", |sum, than| sum != than),
    ] {
        let filter = format!("sum(sales.Opportunity.Amount) {operator} {written}");
        let expected = keys(sums.clone(), |sum| passes(*sum, middle));
        assert_eq!(names(ann, &filter).await, expected, "{filter}");
    }
    let with = names(ann, "sum(sales.Opportunity.Amount):*").await;
    assert_eq!(with, keys(sums, |_| true));
}

pub(super) async fn companies_are_sorted_by_sums(ann: &mut Person, truth: &Truth) {
    let sums = truth.sums();
    for (way, descending) in [("asc", false), ("desc", true)] {
        let sorted = list(
            ann,
            "source = sales",
            &format!("sum(sales.Opportunity.Amount) {way}"),
        );
        let mut got: Vec<Option<i64>> = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = v1::ListCompaniesRequest {
                page_size: 7,
                page_token,
                ..sorted.clone()
            };
            let page = ok(ann.companies.list_companies(request)).await;
            got.extend(page.companies.iter().map(|one| sums.get(&one.name).copied()));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let mut expected = got.clone();
        expected.sort_by(|a, b| match (a, b) {
            (Some(a), Some(b)) if descending => b.cmp(a),
            (a, b) => a.is_none().cmp(&b.is_none()).then(a.cmp(b)),
        });
        assert_eq!(got, expected, "{way}");
        assert_eq!(got.iter().flatten().count(), sums.len(), "{way}");
    }
}

/// A page token is of one time zone, because `today` would mean another day on the next page.
pub(super) async fn pages_keep_their_time_zone(ann: &mut Person) {
    let first = v1::ListCompaniesRequest {
        page_size: 1,
        time_zone: "Europe/Berlin".to_owned(),
        ..list(ann, "source = sales", "domain")
    };
    let page_token = ok(ann.companies.list_companies(first.clone()))
        .await
        .next_page_token;
    assert!(!page_token.is_empty());
    for (zone, reason) in [
        ("Europe/Berlin", None),
        ("", Some("INVALID_PAGE_TOKEN")),
        ("America/New_York", Some("INVALID_PAGE_TOKEN")),
        ("Europe/Bielefeld", Some("INVALID_FIELD_VALUE")),
    ] {
        let next = v1::ListCompaniesRequest {
            page_token: page_token.clone(),
            time_zone: zone.to_owned(),
            ..first.clone()
        };
        match reason {
            None => {
                ok(ann.companies.list_companies(next)).await;
            }
            Some(reason) => {
                let no = refused(ann.companies.list_companies(next)).await;
                assert_eq!(no.reason, reason, "{zone}");
            }
        }
    }
}
