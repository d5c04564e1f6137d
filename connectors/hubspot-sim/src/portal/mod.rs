//! One portal: rows of four objects and the links between them.

pub(crate) mod change;
pub(crate) mod schema;
mod values;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::app::{iso, now_ms};
use schema::{OBJECTS, Object, Property};

/// A user of a portal.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) id: u64,
    pub(crate) email: String,
    pub(crate) may_grant_tickets: bool,
}

/// The changes of a row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changed {
    pub(crate) fields: BTreeMap<String, Option<String>>,
    pub(crate) updated_ms: Option<i64>,
    /// Created by a control route: it has only the given values.
    pub(crate) made: bool,
    pub(crate) archived_ms: Option<i64>,
    /// It is permanently deleted.
    pub(crate) purged: bool,
    pub(crate) merged_into: Option<u32>,
    pub(crate) losers: Vec<u32>,
    /// The time of the change, and the previous state: search uses that for a while.
    at_ms: i64,
    before: Option<Box<Changed>>,
}

/// The behaviour of lists and search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quirks {
    /// Lists are unordered.
    pub(crate) scrambled: bool,
    /// The delay of the search index.
    pub(crate) index_lag_ms: i64,
    /// Since when the search index has not followed at all.
    pub(crate) index_stopped_ms: Option<i64>,
    /// Associations of one record in one answer.
    pub(crate) associations_a_page: usize,
    /// Records per request for links: 1,000, and 100 in some accounts.
    pub(crate) association_inputs: usize,
}

pub(crate) struct Portal {
    /// The hub id.
    pub(crate) id: u64,
    pub(crate) domain: String,
    pub(crate) users: Vec<User>,
    pub(crate) seed: u64,
    /// Texts like those of a real CRM, without edge cases.
    pub(crate) realistic: bool,
    pub(crate) quirks: Quirks,
    pub(crate) properties: [Vec<Property>; 4],
    /// Number of rows of each object, including archived ones.
    rows: [u32; 4],
    changed: HashMap<(Object, u32), Changed>,
    /// The companies of each contact, deal and ticket, and the inverse for each company.
    links: BTreeMap<(Object, u32), BTreeSet<u32>>,
    back: HashMap<(Object, u32), BTreeSet<u32>>,
}

/// One of this many rows is archived initially.
const ARCHIVED_EVERY: u32 = 101;

impl Portal {
    pub(crate) fn new(id: u64, domain: &str, seed: u64, companies: u32, users: Vec<User>) -> Portal {
        let total = |live: u32| live + live / (ARCHIVED_EVERY - 1);
        let rows = [companies, companies, companies, companies / 2].map(total);
        let mut portal = Portal {
            id,
            domain: domain.to_owned(),
            users,
            seed,
            realistic: false,
            quirks: Quirks {
                associations_a_page: 500,
                association_inputs: 1_000,
                ..Quirks::default()
            },
            properties: OBJECTS.map(schema::properties),
            rows,
            changed: HashMap::new(),
            links: BTreeMap::new(),
            back: HashMap::new(),
        };
        for object in &OBJECTS[1..] {
            for row in 0..rows[object.index()] {
                portal.link_at_random(*object, row);
            }
        }
        portal
    }

    /// Most have one company, some two or three, some none.
    fn link_at_random(&mut self, object: Object, row: u32) {
        let companies = self.rows[0];
        if companies == 0 {
            return;
        }
        let h = values::hash(self.seed, object, row, "companies");
        let count = match h % 40 {
            0 => 0,
            1..=6 => 2,
            7 => 3,
            _ => 1,
        };
        for n in 0..count {
            let company = ((h >> (8 + n * 16)) % u64::from(companies)) as u32;
            if self.is_live(Object::Companies, company) {
                self.link(object, row, company);
            }
        }
    }

    pub(crate) fn rows(&self, object: Object) -> std::ops::Range<u32> {
        0..self.rows[object.index()]
    }

    pub(crate) fn property(&self, object: Object, name: &str) -> Option<&Property> {
        self.properties[object.index()].iter().find(|p| p.name == name)
    }

    fn change(&self, object: Object, row: u32) -> Option<&Changed> {
        self.changed.get(&(object, row))
    }

    /// The row with this id, if it exists.
    pub(crate) fn find(&self, object: Object, id: &str) -> Option<u32> {
        let row = object.row(id)?;
        let purged = self.change(object, row).is_some_and(|c| c.purged);
        (self.rows(object).contains(&row) && !purged).then_some(row)
    }

    /// The time when a row was archived.
    pub(crate) fn archived_ms(&self, object: Object, row: u32) -> Option<i64> {
        match self.change(object, row) {
            Some(change) if change.made || change.at_ms > 0 => change.archived_ms,
            _ => (row % ARCHIVED_EVERY == ARCHIVED_EVERY - 1)
                .then(|| values::updated_ms(self.seed, object, row)),
        }
    }

    /// The row that it was merged into.
    pub(crate) fn merged_into(&self, object: Object, row: u32) -> Option<u32> {
        match self.change(object, row) {
            Some(change) if change.merged_into.is_some() => change.merged_into,
            _ => {
                let lost = row % (2 * ARCHIVED_EVERY) == ARCHIVED_EVERY - 1;
                (lost && self.archived_ms(object, row).is_some()).then(|| row - 1)
            }
        }
    }

    /// The rows that were merged into it.
    fn losers(&self, object: Object, row: u32) -> Vec<u32> {
        self.losers_in(object, row, self.change(object, row))
    }

    fn losers_in(&self, object: Object, row: u32, change: Option<&Changed>) -> Vec<u32> {
        let mut losers: Vec<u32> = change.map(|c| c.losers.clone()).unwrap_or_default();
        if self.rows(object).contains(&(row + 1)) && self.merged_into(object, row + 1) == Some(row) {
            losers.push(row + 1);
        }
        losers.sort_unstable();
        losers.dedup();
        losers
    }

    pub(crate) fn is_live(&self, object: Object, row: u32) -> bool {
        let purged = self.change(object, row).is_some_and(|c| c.purged);
        self.rows(object).contains(&row) && !purged && self.archived_ms(object, row).is_none()
    }

    /// Archived, and found by its own id: a merged row is found under another id.
    pub(crate) fn is_archived(&self, object: Object, row: u32) -> bool {
        let purged = self.change(object, row).is_some_and(|c| c.purged);
        !purged && self.archived_ms(object, row).is_some() && self.merged_into(object, row).is_none()
    }

    pub(crate) fn created_ms(&self, object: Object, row: u32) -> i64 {
        match self.change(object, row) {
            Some(change) if change.made => change.at_ms,
            _ => values::created_ms(self.seed, object, row),
        }
    }

    pub(crate) fn updated_ms(&self, object: Object, row: u32) -> i64 {
        self.updated_in(object, row, self.change(object, row))
    }

    fn updated_in(&self, object: Object, row: u32, change: Option<&Changed>) -> i64 {
        change
            .and_then(|c| c.updated_ms)
            .unwrap_or_else(|| values::updated_ms(self.seed, object, row))
    }

    /// The current value in HubSpot's form.
    pub(crate) fn value(&self, object: Object, row: u32, property: &Property) -> Option<String> {
        self.value_in(object, row, property, self.change(object, row))
    }

    fn value_in(
        &self,
        object: Object,
        row: u32,
        property: &Property,
        change: Option<&Changed>,
    ) -> Option<String> {
        match property.maker.as_str() {
            "id" => return Some(object.id(row).to_string()),
            "created" => return Some(iso(self.created_ms(object, row))),
            "updated" => return Some(iso(self.updated_in(object, row, change))),
            "merged" | "vids" => {
                let losers = self.losers_in(object, row, change);
                let text = |loser: &u32| match property.maker.as_str() {
                    // With the time of the merge.
                    "vids" => {
                        let at_ms = self.archived_ms(object, *loser).unwrap_or_default();
                        format!("{}:{at_ms}", object.id(*loser))
                    }
                    _ => object.id(*loser).to_string(),
                };
                let ids: Vec<String> = losers.iter().map(text).collect();
                return (!ids.is_empty()).then(|| ids.join(";"));
            }
            _ => {}
        }
        match change {
            Some(change) if change.fields.contains_key(&property.name) => {
                change.fields[&property.name].clone().filter(|v| !v.is_empty())
            }
            Some(change) if change.made => None,
            _ => {
                let value = values::value(self.seed, object, row, property)?;
                Some(if self.realistic {
                    value.replace("\"quoted\"", "onboarding")
                } else {
                    value
                })
            }
        }
    }

    /// The row in the search index, without the latest changes. None if it is not in the index.
    pub(crate) fn searched(&self, object: Object, row: u32) -> Option<SearchView<'_>> {
        let delayed = (self.quirks.index_lag_ms > 0).then(|| now_ms() - self.quirks.index_lag_ms);
        let since = self.quirks.index_stopped_ms.or(delayed).unwrap_or(i64::MAX);
        let mut change = self.change(object, row);
        let mut live = self.is_live(object, row);
        while let Some(late) = change.filter(|c| c.at_ms > since) {
            if late.made && late.before.is_none() {
                return None;
            }
            change = late.before.as_deref();
            live = match change {
                Some(change) => change.archived_ms.is_none(),
                None => row % ARCHIVED_EVERY != ARCHIVED_EVERY - 1,
            };
        }
        live.then_some(SearchView {
            portal: self,
            object,
            row,
            change,
        })
    }

    /// The live rows linked to a row.
    pub(crate) fn linked(&self, from: Object, row: u32, to: Object) -> Vec<u32> {
        let none = BTreeSet::new();
        let ends = match (from, to) {
            (Object::Companies, to) if to != Object::Companies => self.back.get(&(to, row)),
            (from, Object::Companies) if from != Object::Companies => self.links.get(&(from, row)),
            _ => None,
        };
        ends.unwrap_or(&none)
            .iter()
            .copied()
            .filter(|end| self.is_live(to, *end))
            .collect()
    }
}

/// A row in the search index.
pub(crate) struct SearchView<'a> {
    portal: &'a Portal,
    object: Object,
    row: u32,
    change: Option<&'a Changed>,
}

impl SearchView<'_> {
    pub(crate) fn value(&self, property: &Property) -> Option<String> {
        self.portal.value_in(self.object, self.row, property, self.change)
    }

    pub(crate) fn updated_ms(&self) -> i64 {
        self.portal.updated_in(self.object, self.row, self.change)
    }
}
