//! JSON documents of the CRM as records.

use std::collections::HashMap;

use serde_json::value::RawValue;
use tether_connector_sdk::Error;
use tether_connector_sdk::payload::{Payload, timestamp_us};
use tether_connector_sdk::proto::{
    Field, FieldChange, FieldChangeKind, FieldType, Parent, Record, SelectedField,
};

use crate::fields::{COMPANIES, PEOPLE};

/// One record as the API has it. Values stay JSON text, so that no number becomes a float.
pub(crate) type Item = HashMap<String, Box<RawValue>>;

/// What is read of one object, and how rows are made of it.
pub(crate) struct Rows {
    object: String,
    fields: Vec<(String, FieldType)>,
    payload: Payload,
}

impl Rows {
    /// For the selected fields, in the types that the host has them in.
    pub(crate) fn new(object: &str, selected: &[SelectedField]) -> Self {
        let fields = selected.iter().map(|field| (field.key.clone(), field.r#type()));
        Self::of(object, fields.collect())
    }

    /// For the selected fields that there are, in the types that they have now; and what changed since they were selected.
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
            // No record of the CRM's lacks it: this is the JSON of another program (SPEC.md, ERR-9).
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
            // Where the API has several texts that may be the homepage, give them all in `homepages`, the most reliable first.
            homepage: match self.object.as_str() {
                COMPANIES => text(item, "website"),
                _ => String::new(),
            },
            ..Record::default()
        })
    }
}

/// A member that is a text; empty where it is not.
pub(crate) fn text(item: &Item, key: &str) -> String {
    item.get(key)
        .and_then(|value| serde_json::from_str(value.get()).ok())
        .unwrap_or_default()
}
