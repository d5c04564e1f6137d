//! Converts records of lists, batches and single reads to canonical records.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;
use serde_json::value::RawValue;
use tether_connector_sdk::crm::CrmObject as _;
use tether_connector_sdk::payload::timestamp_us;
use tether_connector_sdk::proto::Record;
use tether_connector_sdk::reading::add_currencies;

use crate::objects::CrmObject;
use crate::outcome::{Failed, IDS, Lacking, Outcome};
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

#[derive(Deserialize)]
struct BatchReply<'a> {
    #[serde(borrow)]
    results: Vec<Given<'a>>,
    #[serde(default)]
    errors: Vec<Failed>,
    #[serde(flatten, borrow)]
    outcome: Outcome<'a>,
}

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
        add_currencies(&mut self.payload, &self.plan.columns, |key| given.text(key));
        let object = self.plan.object;
        let homepages: Vec<String> = object
            .homepage
            .iter()
            .map(|key| given.text(key).into_owned())
            .filter(|page| !page.is_empty())
            .collect();
        let record = Record {
            external_id: id.to_owned(),
            payload: self.payload.finish(),
            modified_us: given.modified_us(),
            deleted: given.archived,
            display_name: given.name(object, id),
            homepage: homepages.first().cloned().unwrap_or_default(),
            homepages,
            ..Record::default()
        };
        let merged = given.merged(object, id);
        let linked = given.associations.into_iter();
        Ok(Row {
            record,
            merged,
            linked: linked
                .map(|(object, links)| (object.into_owned(), links.ends()))
                .collect(),
        })
    }
}

impl Given<'_> {
    /// A property as text; empty if it has no value.
    fn text(&self, key: &str) -> Cow<'_, str> {
        let value = self.properties.get(key).map(|value| values::text(value));
        value.unwrap_or_default()
    }

    /// When it changed, or was archived; 0 if that cannot be read.
    fn modified_us(&self) -> i64 {
        let stamp = match self.archived {
            true => &self.archived_at,
            false => &self.updated_at,
        };
        let stamp = stamp.as_deref().map(values::whole);
        stamp.and_then(timestamp_us).unwrap_or(0)
    }

    /// Its name, from the first properties that have one. HubSpot permits companies without a name and without a domain; users must
    /// still be able to distinguish them.
    fn name(&self, object: &CrmObject, id: &str) -> String {
        let name = object.names.iter().find_map(|keys| {
            let parts = keys.iter().map(|key| self.text(key));
            let parts: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
            (!parts.is_empty()).then(|| parts.join(" "))
        });
        match name {
            Some(name) => name,
            None if object.is_company() => format!("Company {id}"),
            None => String::new(),
        }
    }

    /// The records that were merged into it, sorted.
    fn merged(&self, object: &CrmObject, id: &str) -> Vec<String> {
        let mut merged = Vec::new();
        for property in object.merged {
            let losers = self.text(property);
            let ids = losers
                .split(';')
                .filter_map(|loser| ids::check(loser.split(':').next().unwrap_or_default().trim()));
            merged.extend(ids.filter(|loser| *loser != id).map(str::to_owned));
        }
        merged.sort_unstable();
        merged.dedup();
        merged
    }
}

impl Links<'_> {
    /// The linked records, and whether these are all.
    fn ends(self) -> (BTreeSet<String>, bool) {
        let mut all = Paging::after(self.paging).is_none() && self.results.is_some();
        let mut ends = BTreeSet::new();
        for link in self.results.iter().flatten() {
            let end = link.id.map(values::text).unwrap_or_default();
            match ids::check(&end) {
                Some(end) => _ = ends.insert(end.to_owned()),
                // A link whose target is missing.
                None => all = false,
            }
        }
        (ends, all)
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
mod tests;
