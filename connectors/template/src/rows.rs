//! Converts JSON documents of the CRM to records.

use std::collections::HashMap;

use serde_json::value::RawValue;
use tether_connector_sdk::Error;
use tether_connector_sdk::payload::{Payload, timestamp_us};
use tether_connector_sdk::proto::{Field, Parent, Record, SelectedField};
use tether_connector_sdk::reading::{Change, Known, Selected, compare};

use crate::fields::{COMPANY, CrmObject};

/// One record in the API's form. Values stay JSON text, so that numbers are not converted to floating point.
pub(crate) type Item = HashMap<String, Box<RawValue>>;

/// The selected fields of one object, and the builder of its rows.
pub struct Rows {
    pub(crate) object: &'static CrmObject,
    fields: Vec<Selected>,
    payload: Payload,
}

impl Rows {
    /// For the selected fields, with the types that the host knows.
    pub(crate) fn new(object: &'static CrmObject, selected: &[SelectedField]) -> Self {
        Self::of(object, compare(selected, |_| Known::Unknown).0)
    }

    /// For the selected fields that exist, with their types now; also returns how the others and the types have changed
    /// since the selection.
    pub(crate) fn as_now(
        object: &'static CrmObject,
        selected: &[SelectedField],
        now: &[Field],
    ) -> (Self, Vec<Change>) {
        let known = |key: &str| {
            let found = now.iter().find(|field| field.key == key);
            found.map_or(Known::Gone, Known::Field)
        };
        let (fields, changes) = compare(selected, known);
        (Self::of(object, fields), changes)
    }

    fn of(object: &'static CrmObject, fields: Vec<Selected>) -> Self {
        Self {
            object,
            payload: Payload::new(fields.iter().map(|field| field.key.clone())),
            fields,
        }
    }

    /// A row.
    pub(crate) fn record(&mut self, item: &Item) -> Result<Record, Error> {
        for (place, field) in self.fields.iter().enumerate() {
            if let Some(value) = item.get(&field.key) {
                self.payload.json(place, field.field_type, value.get());
            }
        }
        let external_id = text(item, "id");
        if external_id.is_empty() {
            // Every record of the CRM has it: this is the JSON of another program (SPEC.md, ERR-9).
            let text = format!(
                "a record of {} without an id: the reply is not the CRM's",
                self.object.key
            );
            return Err(Error::transient(text).object(self.object.key));
        }
        let company = self.object.is_company();
        let parents = match company {
            true => Vec::new(),
            false => vec![Parent {
                object: COMPANY.key.to_owned(),
                external_id: text(item, "company_id"),
            }],
        };
        Ok(Record {
            external_id,
            payload: self.payload.finish(),
            modified_us: timestamp_us(&text(item, "updated_at")).unwrap_or(0),
            parents,
            display_name: text(item, "name"),
            // If the API has several texts that may be the homepage, return all of them in `homepages`, the most
            // reliable first.
            homepage: match company {
                true => text(item, "website"),
                false => String::new(),
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
