//! The row of a record in an index: its keys, and the values that `mapping` makes.

use std::collections::{BTreeMap, BTreeSet};

use tether_columns::{BlockBuilder, Changes, Error, Put, record_key};

use super::kind::Kind;
use super::mapping::{self, Sink};
use super::paths::{CompanyPaths, external_id, sorted_name};
use crate::domain::{CompanyId, FieldType, name_key};
use crate::identity::Homepage;
use crate::store::Change;
use crate::value;

/// The known fields: by object and key, the field type and how values are compared.
pub(super) type Known = BTreeMap<String, BTreeMap<String, (FieldType, Kind)>>;

impl Sink for BlockBuilder {
    fn wants(&self, _: &str) -> bool {
        true
    }

    fn words(&mut self, path: &str, folded: &str) {
        Self::words(self, path, folded);
    }

    fn texts(&mut self, path: &str, texts: Vec<(String, &str)>) {
        let folded: Vec<&str> = texts.iter().map(|(folded, _)| folded.as_str()).collect();
        let written: Vec<&str> = texts.iter().map(|(_, written)| *written).collect();
        self.texts_as_written(path, &folded, &written);
    }

    fn int(&mut self, path: &str, value: i64) {
        Self::int(self, path, value);
    }

    fn decimal(&mut self, path: &str, ordered: String) {
        Self::decimal(self, path, &ordered);
    }
}

/// Puts a live record into an index. Fields of its payload that are not known are added to `skipped`.
pub(super) fn put(
    to: &mut Changes<'_>,
    change: &Change,
    known: &Known,
    skipped: &mut BTreeMap<String, BTreeSet<String>>,
) -> Result<(), Error> {
    let record = &change.record;
    let parents = change.parents.iter();
    let parents: Vec<u128> = parents
        .map(|parent| record_key(&parent.object, &parent.external_id))
        .collect();
    let put = Put {
        object: &record.object,
        key: record_key(&record.object, &record.external_id),
        company: record.company_id.map(company_number),
        parents: &parents,
    };
    to.put(put, |row| fill(row, change, known, skipped))
}

fn fill(
    row: &mut BlockBuilder,
    change: &Change,
    known: &Known,
    skipped: &mut BTreeMap<String, BTreeSet<String>>,
) {
    let record = &change.record;
    if record.company_id.is_some() {
        let page = record.homepage.as_deref().and_then(Homepage::read);
        let (domain, homepage) = page.map_or_else(Default::default, |page| {
            (page.domain.unwrap_or_default(), page.uri)
        });
        mapping::company(row, &CompanyPaths::new(), &record.name, &homepage, &domain);
        let sorted = name_key(&record.name);
        if !sorted.is_empty() {
            row.texts(&sorted_name(), &[&sorted]);
        }
        row.texts(&external_id(), &[&record.external_id]);
    }
    let Ok(payload) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&record.payload)
    else {
        return;
    };
    let of_object = known.get(&record.object);
    for field in payload.keys() {
        let Some((field_type, kind)) = of_object.and_then(|of| of.get(field)) else {
            let skipped = skipped.entry(record.object.clone()).or_default();
            skipped.insert(field.clone());
            continue;
        };
        if let Some(value) = value::read(&payload, field, *field_type) {
            mapping::field(row, &record.object, field, *kind, value);
        }
    }
}

/// The id of a company as a number.
#[must_use]
pub fn company_number(id: CompanyId) -> u128 {
    id.uuid().as_u128()
}

/// The company with this id.
#[must_use]
pub fn company_of(number: u128) -> CompanyId {
    CompanyId::from_uuid(uuid::Uuid::from_u128(number))
}
