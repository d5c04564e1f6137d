//! Converts JSON documents of the CRM to records.

use std::collections::HashMap;

use serde_json::value::RawValue;
use tether_connector_sdk::Error;
use tether_connector_sdk::payload::{Payload, timestamp_us};
use tether_connector_sdk::proto::{
    Field, FieldChange, FieldChangeKind, FieldType, Parent, Record, SelectedField,
};

use crate::fields::{COMPANIES, PEOPLE};

/// One record in the API's form. Values stay JSON text, so that numbers are not converted to floating point.
pub(crate) type Item = HashMap<String, Box<RawValue>>;

/// The selected fields of one object, and the builder of its rows.
pub(crate) struct Rows {
    object: String,
    fields: Vec<(String, FieldType)>,
    payload: Payload,
}

impl Rows {
    /// For the selected fields, with the types that the host knows.
    pub(crate) fn new(object: &str, selected: &[SelectedField]) -> Self {
        let fields = selected.iter().map(|field| (field.key.clone(), field.r#type()));
        Self::of(object, fields.collect())
    }

    /// For the existing selected fields, with their current types; also returns their changes since they were
    /// selected.
    pub(crate) fn as_now(
        object: &str,
        selected: &[SelectedField],
        now: &[Field],
    ) -> (Self, Vec<FieldChange>) {
        let (mut fields, mut changes) = (Vec::new(), Vec::new());
        for field in selected {
            let change = |kind: FieldChangeKind, to: FieldType| FieldChange {
                object: object.to_owned(),
                field: field.key.clone(),
                kind: kind.into(),
                r#type: to.into(),
            };
            match now.iter().find(|one| one.key == field.key) {
                None => changes.push(change(FieldChangeKind::Missing, FieldType::Unspecified)),
                Some(now) => {
                    if now.r#type() != field.r#type() {
                        changes.push(change(FieldChangeKind::TypeChanged, now.r#type()));
                    }
                    fields.push((field.key.clone(), now.r#type()));
                }
            }
        }
        (Self::of(object, fields), changes)
    }

    fn of(object: &str, fields: Vec<(String, FieldType)>) -> Self {
        Self {
            object: object.to_owned(),
            payload: Payload::new(fields.iter().map(|(key, _)| key.clone())),
            fields,
        }
    }

    /// A row.
    pub(crate) fn record(&mut self, item: &Item) -> Result<Record, Error> {
        for (place, (key, kind)) in self.fields.iter().enumerate() {
            if let Some(value) = item.get(key) {
                self.payload.json(place, *kind, value.get());
            }
        }
        let external_id = text(item, "id");
        if external_id.is_empty() {
            // Every record of the CRM has it: this is the JSON of another program (SPEC.md, ERR-9).
            let text = format!(
                "a record of {} without an id: the reply is not the CRM's",
                self.object
            );
            return Err(Error::transient(text).object(&self.object));
        }
        let parents = match self.object.as_str() {
            PEOPLE => vec![Parent {
                object: COMPANIES.to_owned(),
                external_id: text(item, "company_id"),
            }],
            _ => Vec::new(),
        };
        Ok(Record {
            external_id,
            payload: self.payload.finish(),
            modified_us: timestamp_us(&text(item, "updated_at")).unwrap_or(0),
            parents,
            display_name: text(item, "name"),
            // If the API has several texts that may be the homepage, return all of them in `homepages`, the most
            // reliable first.
            homepage: match self.object.as_str() {
                COMPANIES => text(item, "website"),
                _ => String::new(),
            },
            ..Record::default()
        })
    }
}

/// The text of a member; empty if it is not a text.
pub(crate) fn text(item: &Item, key: &str) -> String {
    item.get(key)
        .and_then(|value| serde_json::from_str(value.get()).ok())
        .unwrap_or_default()
}
