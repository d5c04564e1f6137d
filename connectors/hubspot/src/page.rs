//! Converts records of lists, batches and single reads to canonical records.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Deserialize;
use serde_json::Value as Json;
use serde_json::value::RawValue;
use tether_connector_sdk::crm::CrmObject as _;
use tether_connector_sdk::http::one_line;
use tether_connector_sdk::payload::timestamp_us;
use tether_connector_sdk::proto::Record;
use tether_connector_sdk::reading::add_currencies;

use crate::plan::Plan;
use crate::{ids, values};

/// A converted record and its links.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Row {
    pub(crate) record: Record,
    /// The records that were merged into it.
    pub(crate) merged: Vec<String>,
    /// Linked records by object, as far as the reply lists them, and whether the list is complete.
    pub(crate) linked: HashMap<String, (BTreeSet<String>, bool)>,
}

/// Records, and the cursor of the next page.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Page {
    pub(crate) rows: Vec<Row>,
    /// Opaque; None at the end.
    pub(crate) next: Option<String>,
    /// Selected properties that no record of the page mentions, not even as empty.
    pub(crate) unmentioned: Vec<String>,
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    results: Vec<Given<'a>>,
    #[serde(default)]
    paging: Option<Paging>,
}

/// `paging.next.after`.
#[derive(Deserialize, Debug, Clone)]
pub(crate) struct Paging {
    #[serde(default)]
    next: Option<Next>,
}

#[derive(Deserialize, Debug, Clone)]
struct Next {
    after: After,
}

/// A text, or a number.
#[derive(Deserialize, Debug, Clone)]
#[serde(untagged)]
enum After {
    Text(String),
    Number(u64),
}

impl Paging {
    /// The cursor of the next page, if there is one.
    pub(crate) fn after(this: Option<Paging>) -> Option<String> {
        let after = match this?.next?.after {
            After::Text(text) => text,
            After::Number(number) => number.to_string(),
        };
        (!after.is_empty()).then_some(after)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Given<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    /// Required: without it a record would lose all its values.
    #[serde(borrow)]
    properties: BTreeMap<Cow<'a, str>, &'a RawValue>,
    #[serde(borrow, default)]
    updated_at: Option<Cow<'a, str>>,
    #[serde(default)]
    archived: bool,
    #[serde(borrow, default)]
    archived_at: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    associations: BTreeMap<Cow<'a, str>, Links<'a>>,
}

#[derive(Deserialize)]
struct Links<'a> {
    /// If absent, the links are unknown.
    #[serde(borrow, default)]
    results: Option<Vec<Link<'a>>>,
    #[serde(default)]
    paging: Option<Paging>,
}

#[derive(Deserialize)]
struct Link<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
}

/// The records that a reply reports as missing.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Lacking {
    /// HubSpot reports that these records do not exist.
    pub(crate) gone: HashSet<String>,
    /// Why further records are missing from the reply; they may exist.
    pub(crate) failed: Option<String>,
}

/// An error in an otherwise successful reply (207).
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Failed {
    pub(crate) category: Option<String>,
    message: Option<String>,
    context: Json,
}

impl Failed {
    /// The text for an error of the connector.
    pub(crate) fn text(&self) -> String {
        let text = [&self.category, &self.message]
            .into_iter()
            .flatten()
            .map(String::as_str);
        one_line(&text.collect::<Vec<_>>().join(" "))
    }

    /// HubSpot reports that something does not exist.
    pub(crate) fn is_absence(&self) -> bool {
        self.category.as_deref() == Some("OBJECT_NOT_FOUND")
    }

    /// The ids in the error's context under one of these names.
    pub(crate) fn ids(&self, names: &[&str]) -> Vec<String> {
        let one = |value: &Json| match value {
            Json::String(text) => text.split(',').map(|id| id.trim().to_owned()).collect(),
            Json::Number(number) => vec![number.to_string()],
            _ => Vec::new(),
        };
        let of = |value: &Json| match value {
            Json::Array(all) => all.iter().flat_map(one).collect(),
            value => one(value),
        };
        let ids = names.iter().flat_map(|name| of(&self.context[*name]));
        ids.filter(|id| ids::check(id).is_some()).collect()
    }
}

#[derive(Deserialize)]
struct BatchReply<'a> {
    #[serde(borrow)]
    results: Vec<Given<'a>>,
    #[serde(default)]
    errors: Vec<Failed>,
    #[serde(flatten, borrow)]
    outcome: Outcome<'a>,
}

/// The status part of a batch's reply.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome<'a> {
    #[serde(borrow, default)]
    status: Option<Cow<'a, str>>,
    /// Only present together with errors.
    #[serde(default)]
    num_errors: Option<u64>,
}

impl Outcome<'_> {
    /// The reason why the reply does not account for all requested ids; None if it does. HubSpot always sends
    /// `status`, and lists as many errors as it counts, or one error for several ids.
    pub(crate) fn shortfall(&self, errors: &[Failed]) -> Option<String> {
        if self.status.as_deref() != Some("COMPLETE") {
            return Some("the batch is not complete".to_owned());
        }
        let counted = self.num_errors.unwrap_or(0);
        let ids = errors.iter().map(|error| error.ids(&IDS).len().max(1));
        let listed = ids.sum::<usize>() as u64;
        (counted > listed).then(|| format!("it counts {counted} errors and lists {listed}"))
    }
}

/// The keys under which an error of a batch has the ids of its records.
pub(crate) const IDS: [&str; 4] = ["fromObjectId", "fromObjectIds", "ids", "id"];

/// Reads the reply to a batch of ids, with the records that it reports as missing.
pub(crate) fn read_batch(plan: &Plan, text: &str) -> Result<(Page, Lacking), serde_json::Error> {
    let reply: BatchReply<'_> = serde_json::from_str(text)?;
    let mut lacking = Lacking {
        failed: reply.outcome.shortfall(&reply.errors),
        ..Lacking::default()
    };
    for error in &reply.errors {
        if error.is_absence() {
            lacking.gone.extend(error.ids(&IDS));
        } else {
            lacking.failed = Some(error.text());
        }
    }
    let mut maker = Maker::new(plan);
    let rows = reply
        .results
        .into_iter()
        .map(|given| maker.row(given))
        .collect::<Result<Vec<_>, _>>()?;
    let page = Page {
        next: None,
        unmentioned: maker.unmentioned(!rows.is_empty()),
        rows,
    };
    Ok((page, lacking))
}

/// Reads a list.
pub(crate) fn read(plan: &Plan, text: &str) -> Result<Page, serde_json::Error> {
    let list: List<'_> = serde_json::from_str(text)?;
    let mut maker = Maker::new(plan);
    let rows = list
        .results
        .into_iter()
        .map(|given| maker.row(given))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Page {
        next: Paging::after(list.paging),
        unmentioned: maker.unmentioned(!rows.is_empty()),
        rows,
    })
}

/// Reads one record.
pub(crate) fn read_one(plan: &Plan, text: &str) -> Result<Page, serde_json::Error> {
    let given: Given<'_> = serde_json::from_str(text)?;
    let mut maker = Maker::new(plan);
    let rows = vec![maker.row(given)?];
    Ok(Page {
        next: None,
        unmentioned: maker.unmentioned(true),
        rows,
    })
}

struct Maker<'p> {
    plan: &'p Plan,
    payload: tether_connector_sdk::payload::Payload,
    mentioned: Vec<bool>,
}

impl<'p> Maker<'p> {
    fn new(plan: &'p Plan) -> Self {
        Self {
            plan,
            payload: plan.payload(),
            mentioned: vec![false; plan.columns.len()],
        }
    }

    fn unmentioned(&self, any: bool) -> Vec<String> {
        let columns = self.plan.columns.iter().zip(&self.mentioned);
        columns
            .filter(|(_, mentioned)| any && !**mentioned)
            .map(|(column, _)| column.key.clone())
            .collect()
    }

    fn row(&mut self, given: Given<'_>) -> Result<Row, serde_json::Error> {
        use serde::de::Error as _;
        let id = ids::check(&given.id).ok_or_else(|| serde_json::Error::custom("a record without an id"))?;
        for (place, column) in self.plan.columns.iter().enumerate() {
            if let Some(value) = given.properties.get(column.key.as_str()) {
                self.mentioned[place] = true;
                values::set(&mut self.payload, place, column.field_type, value);
            }
        }
        let text = |key: &str| {
            let value = given.properties.get(key).map(|value| values::text(value));
            value.unwrap_or_default()
        };
        add_currencies(&mut self.payload, &self.plan.columns, text);
        let name = self.plan.object.names.iter().find_map(|parts| {
            let parts: Vec<_> = parts
                .iter()
                .map(|key| text(key))
                .filter(|part| !part.is_empty())
                .collect();
            (!parts.is_empty()).then(|| parts.join(" "))
        });
        let homepages: Vec<String> = self
            .plan
            .object
            .homepage
            .iter()
            .map(|key| text(key).into_owned())
            .filter(|page| !page.is_empty())
            .collect();
        let stamp = if given.archived {
            &given.archived_at
        } else {
            &given.updated_at
        };
        let record = Record {
            external_id: id.to_owned(),
            payload: self.payload.finish(),
            modified_us: stamp
                .as_deref()
                .map(values::whole)
                .and_then(timestamp_us)
                .unwrap_or(0),
            deleted: given.archived,
            // HubSpot permits companies without a name and without a domain; users must still be able to distinguish
            // them.
            display_name: match name {
                Some(name) => name,
                None if self.plan.object.is_company() => format!("Company {id}"),
                None => String::new(),
            },
            homepage: homepages.first().cloned().unwrap_or_default(),
            homepages,
            ..Record::default()
        };
        let mut merged = Vec::new();
        for property in self.plan.object.merged {
            let losers = text(property);
            let ids = losers
                .split(';')
                .filter_map(|loser| ids::check(loser.split(':').next().unwrap_or_default().trim()));
            merged.extend(ids.filter(|loser| *loser != id).map(str::to_owned));
        }
        merged.sort_unstable();
        merged.dedup();
        let linked = given.associations.into_iter().map(|(object, links)| {
            let mut all = Paging::after(links.paging).is_none() && links.results.is_some();
            let mut ends = BTreeSet::new();
            for link in links.results.iter().flatten() {
                let end = link.id.map(values::text).unwrap_or_default();
                match ids::check(&end) {
                    Some(end) => _ = ends.insert(end.to_owned()),
                    // A link whose target is missing.
                    None => all = false,
                }
            }
            (object.into_owned(), (ends, all))
        });
        Ok(Row {
            record,
            merged,
            linked: linked.collect(),
        })
    }
}

/// A record that was deleted, or merged into another.
pub(crate) fn tombstone(id: &str, merged_into: &str) -> Record {
    Record {
        external_id: id.to_owned(),
        deleted: true,
        merged_into: merged_into.to_owned(),
        ..Record::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{OBJECTS, named};
    use tether_connector_sdk::proto::{FieldType, SelectedField};

    fn plan(object: &str, fields: &[(&str, FieldType)]) -> Plan {
        let fields: Vec<SelectedField> = fields
            .iter()
            .map(|(key, kind)| SelectedField {
                key: (*key).to_owned(),
                r#type: (*kind).into(),
                ..SelectedField::default()
            })
            .collect();
        Plan::new(named(object).unwrap_or(&OBJECTS[0]), &fields, None, 7_000).0
    }

    #[test]
    fn a_list_becomes_records() {
        let plan = plan(
            "companies",
            &[
                ("industry", FieldType::Picklist),
                ("revenue", FieldType::Currency),
                ("gone", FieldType::Text),
            ],
        );
        let page = read(
            &plan,
            r#"{"results":[
            {"id":"9999999800","properties":{"name":"Acme \u0026 Co","domain":"acme.com","website":null,"industry":"BANKING",
              "revenue":"1.0E6","hs_merged_object_ids":"7;8;x","hs_object_id":"9999999800"},
              "createdAt":"2020-01-01T00:00:00Z","updatedAt":"2024-02-29T10:00:00.125Z","archived":false,"surprise":{"a":[1]}},
            {"id":"9999999804","properties":{"name":null,"domain":"b.com","website":"https://b.com/","industry":null,"revenue":null},
              "archived":true,"archivedAt":"2024-03-01T00:00:00Z","updatedAt":"2023-03-01T00:00:00Z",
              "associations":{"contacts":{"results":[{"id":"51","type":"a"},{"id":"51","type":"b"},{"id":"101"}],
                "paging":{"next":{"after":"x","link":"y"}}}}}],
            "paging":{"next":{"after":"9999999808","link":"https://api.hubapi.com/"}}}"#,
        );
        let page = page.unwrap_or_else(|e| panic!("{e}"));
        let [a, b] = &page.rows[..] else {
            panic!("two rows")
        };
        assert_eq!(
            a.record.payload,
            &br#"{"industry":"BANKING","revenue":"1000000"}"#[..]
        );
        assert_eq!(
            (a.record.display_name.as_str(), a.record.homepage.as_str()),
            ("Acme & Co", "acme.com")
        );
        assert_eq!(
            (a.record.modified_us, &a.merged[..]),
            (1_709_200_800_125_000, &["7".to_owned(), "8".to_owned()][..])
        );
        assert!(b.record.deleted && b.record.modified_us == 1_709_251_200_000_000);
        assert_eq!(
            (b.record.display_name.as_str(), b.record.homepage.as_str()),
            ("b.com", "b.com")
        );
        assert_eq!(b.record.homepages, ["b.com", "https://b.com/"]);
        let (ends, all) = &b.linked["contacts"];
        assert_eq!(
            (ends.iter().map(String::as_str).collect::<Vec<_>>(), *all),
            (vec!["101", "51"], false)
        );
        assert_eq!(
            (page.next.as_deref(), &page.unmentioned[..]),
            (Some("9999999808"), &["gone".to_owned()][..])
        );
    }

    #[test]
    fn a_company_without_a_name_has_one() {
        let plan = plan("companies", &[]);
        let text = r#"{"id":"51","properties":{"name":null,"domain":""},"updatedAt":"2024-01-01T00:00:00Z"}"#;
        let page = read_one(&plan, text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(page.rows[0].record.display_name, "Company 51");
    }

    #[test]
    fn names_are_put_together() {
        let plan = plan("contacts", &[]);
        let name = |properties: &str| {
            let text =
                format!(r#"{{"id":"51","properties":{properties},"updatedAt":"2024-01-01T00:00:00Z"}}"#);
            read_one(&plan, &text)
                .map(|page| page.rows[0].record.display_name.clone())
                .unwrap_or_default()
        };
        assert_eq!(
            name(r#"{"firstname":"Ada","lastname":"Adams","email":"a@x.org"}"#),
            "Ada Adams"
        );
        assert_eq!(name(r#"{"firstname":null,"lastname":"Adams"}"#), "Adams");
        assert_eq!(
            name(r#"{"firstname":"","lastname":null,"email":"a@x.org"}"#),
            "a@x.org"
        );
        assert_eq!(name("{}"), "");
    }

    #[test]
    fn a_batch_says_which_records_there_are_not_and_which_it_failed_at() {
        let plan = plan("companies", &[]);
        let batch = |errors: &str, status: &str| {
            let text = format!(
                r#"{{"status":"{status}","results":[{{"id":"51","properties":{{}},"url":"https://app.hubspot.com/x"}}],"errors":{errors}}}"#
            );
            let (page, lacking) = read_batch(&plan, &text).unwrap_or_else(|error| panic!("{error}"));
            let mut gone: Vec<String> = lacking.gone.into_iter().collect();
            gone.sort();
            (page.rows.len(), gone.join(" "), lacking.failed)
        };
        let failed = |text: &str| Some(text.to_owned());
        for (errors, gone, why) in [
            ("[]", "", None),
            (
                r#"[{"status":"error","category":"OBJECT_NOT_FOUND","message":"Could not get some","context":{"ids":["7","8"]}}]"#,
                "7 8",
                None,
            ),
            (
                r#"[{"category":"OBJECT_NOT_FOUND","context":{"ids":["7, 8"]}}]"#,
                "7 8",
                None,
            ),
            (
                r#"[{"category":"OBJECT_NOT_FOUND","context":{"id":[9]}}]"#,
                "9",
                None,
            ),
            // An error without ids is not evidence about any record.
            (r#"[{"category":"OBJECT_NOT_FOUND","context":{}}]"#, "", None),
            (
                r#"[{"status":"error","category":"RATE_LIMITS","message":"slow\ndown","context":{"ids":["7"]}}]"#,
                "",
                failed("RATE_LIMITS slow down"),
            ),
            (
                r#"[{"category":"OBJECT_NOT_FOUND","context":{"ids":["7"]}},{"category":"INTERNAL_ERROR","context":{"ids":["8"]}}]"#,
                "7",
                failed("INTERNAL_ERROR"),
            ),
            (r#"[{"category":null,"message":null}]"#, "", failed("")),
        ] {
            assert_eq!(batch(errors, "COMPLETE"), (1, gone.to_owned(), why), "{errors}");
        }
        assert_eq!(batch("[]", "PROCESSING").2, failed("the batch is not complete"));
    }

    #[test]
    fn a_batch_is_whole_only_where_it_says_so_and_lists_the_errors_it_counts() {
        let plan = plan("companies", &[]);
        let failed = |rest: &str| {
            let text = format!(r#"{{"results":[{{"id":"51","properties":{{}}}}]{rest}}}"#);
            let (page, lacking) = read_batch(&plan, &text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(page.rows.len(), 1, "what is given stands: {rest}");
            lacking.failed
        };
        let absent = |ids: &str| format!(r#"{{"category":"OBJECT_NOT_FOUND","context":{{"ids":[{ids}]}}}}"#);
        for (rest, right) in [
            (String::new(), Some("the batch is not complete")),
            (r#","status":null"#.to_owned(), Some("the batch is not complete")),
            (r#","status":"COMPLETE""#.to_owned(), None),
            (r#","status":"COMPLETE","numErrors":0"#.to_owned(), None),
            (
                r#","status":"COMPLETE","numErrors":1"#.to_owned(),
                Some("it counts 1 errors and lists 0"),
            ),
            (
                format!(
                    r#","status":"COMPLETE","numErrors":3,"errors":[{}]"#,
                    absent(r#""7","8""#)
                ),
                Some("it counts 3 errors and lists 2"),
            ),
            (
                format!(
                    r#","status":"COMPLETE","numErrors":2,"errors":[{}]"#,
                    absent(r#""7","8""#)
                ),
                None,
            ),
            (
                format!(
                    r#","status":"COMPLETE","numErrors":1,"errors":[{}]"#,
                    absent(r#""7","8""#)
                ),
                None,
            ),
        ] {
            assert_eq!(failed(&rest).as_deref(), right, "{rest}");
        }
    }

    #[test]
    fn a_link_without_an_id_leaves_open_what_is_linked() {
        let plan = plan("companies", &[]);
        for (link, all) in [
            (r#"{"id":"51"}"#, true),
            (r#"{"id":52}"#, true),
            (r#"{"id":null}"#, false),
            ("{}", false),
            (r#"{"id":""}"#, false),
        ] {
            let text = format!(
                r#"{{"id":"7","properties":{{}},"associations":{{"contacts":{{"results":[{{"id":"50"}},{link}]}}}}}}"#
            );
            let page = read_one(&plan, &text).unwrap_or_else(|error| panic!("{error}"));
            let (ends, told) = &page.rows[0].linked["contacts"];
            assert!(ends.contains("50"));
            assert_eq!(*told, all, "{link}");
        }
        let text = r#"{"id":"7","properties":{},"associations":{"contacts":{}}}"#;
        let page = read_one(&plan, text).unwrap_or_else(|error| panic!("{error}"));
        assert!(!page.rows[0].linked["contacts"].1, "no list is not an empty list");
    }

    #[test]
    fn where_a_list_goes_on_may_be_a_number() {
        let plan = plan("companies", &[]);
        for (after, next) in [(r#""100""#, Some("100")), ("100", Some("100")), (r#""""#, None)] {
            let text = format!(r#"{{"results":[],"paging":{{"next":{{"after":{after}}}}}}}"#);
            let page = read(&plan, &text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(page.next.as_deref(), next);
        }
        assert!(
            read(&plan, r#"{"results":[],"paging":{"next":null}}"#).is_ok_and(|page| page.next.is_none())
        );
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let plan = plan("companies", &[]);
        for text in [
            "",
            "<html>",
            "{}",
            "[]",
            r#"{"results":[{"properties":{}}]}"#,
            r#"{"results":[{"id":"x","properties":{}}]}"#,
            r#"{"results":[{"id":"1"}]}"#,
            r#"{"results":[{"id":"1""#,
        ] {
            assert!(read(&plan, text).is_err(), "{text}");
        }
        assert!(
            read(&plan, r#"{"results":[]}"#).is_ok_and(|page| page.rows.is_empty() && page.next.is_none())
        );
    }
}
