//! Definitions of fields: how the CRM describes them, and the form in which they are stored.
//!
//! A sync renews the stored definitions when it has read everything, and so does each live listing of an account's
//! fields. Labels of fields and of the entries of picklists then take effect at once, because nothing else stores them.

use crate::domain::FieldType;
use crate::ingest;
use crate::store::{Field, FieldText};
use serde::{Deserialize, Serialize};
use tether_connector_proto as proto;

/// One value of a picklist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in the connector contract")]
pub struct PicklistValue {
    pub value: String,
    pub label: String,
    pub active: bool,
}

/// Where the currency of amounts is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in the connector contract")]
pub struct AmountCurrency {
    pub field: String,
    pub code: String,
}

/// A field as the CRM describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The object's key.
    pub object: String,
    /// The field's key.
    pub key: String,
    /// The label in the CRM.
    pub label: String,
    /// Its type.
    pub field_type: FieldType,
    /// The rest of the description.
    pub more: FieldDetails,
}

/// The part of a field's description that is stored as JSON, beside its key, label and type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "as in the connector contract")]
pub struct FieldDetails {
    pub native_type: String,
    pub description: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub picklist_values: Vec<PicklistValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reference_to: Vec<String>,
    pub scale: u32,
    pub length: u32,
    pub calculated: bool,
    pub custom: bool,
    pub long_text: bool,
    pub sensitive: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<AmountCurrency>,
}

impl Definition {
    /// The definition of a field that the CRM lists.
    #[must_use]
    pub fn listed(object: &str, field: &proto::Field) -> Self {
        Self {
            object: object.to_owned(),
            key: field.key.clone(),
            label: field.label.clone(),
            field_type: ingest::field_type(field.r#type()),
            more: FieldDetails {
                native_type: field.native_type.clone(),
                description: field.description.clone(),
                picklist_values: field
                    .picklist_values
                    .iter()
                    .map(|one| PicklistValue {
                        value: one.value.clone(),
                        label: one.label.clone(),
                        active: one.active,
                    })
                    .collect(),
                reference_to: field.reference_to.clone(),
                scale: field.scale,
                length: field.length,
                calculated: field.calculated,
                custom: field.custom,
                long_text: field.long_text,
                sensitive: field.sensitive,
                currency: field.currency.as_ref().map(|currency| AmountCurrency {
                    field: currency.field.clone(),
                    code: currency.code.clone(),
                }),
            },
        }
    }

    /// The definition of a stored field.
    #[must_use]
    pub fn of(field: &Field) -> Self {
        Self {
            object: field.object.clone(),
            key: field.key.clone(),
            label: field.label.clone(),
            field_type: field.field_type,
            more: serde_json::from_str(&field.describe).unwrap_or_default(),
        }
    }
}

impl FieldDetails {
    /// The details in the form in which they are stored.
    #[must_use]
    pub fn stored(&self) -> String {
        // Texts, numbers and lists of them can always be written as JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The stored fields that the CRM describes differently now. Types are not among it: a type changes with the stored
/// values, when a connector reports it.
#[must_use]
pub fn renewed(stored: &[Field], listed: &[proto::ObjectFields]) -> Vec<FieldText> {
    let now = |field: &Field| {
        let object = listed.iter().find(|one| one.object == field.object)?;
        let now = object.fields.iter().find(|one| one.key == field.key)?;
        let now = Definition::listed(&field.object, now);
        let describe = now.more.stored();
        let changed = now.label != field.label || describe != field.describe;
        changed.then_some(FieldText {
            object: now.object,
            key: now.key,
            label: now.label,
            describe,
        })
    };
    stored.iter().filter_map(now).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::IntegrationId;

    #[test]
    fn only_what_is_described_differently_is_renewed() {
        let listed = |label: &str, of_entry: &str, code: &str| proto::Field {
            key: "Tier".to_owned(),
            label: label.to_owned(),
            r#type: proto::FieldType::Currency.into(),
            picklist_values: vec![proto::PicklistValue {
                value: "17".to_owned(),
                label: of_entry.to_owned(),
                active: true,
            }],
            currency: (!code.is_empty()).then(|| proto::AmountCurrency {
                field: String::new(),
                code: code.to_owned(),
            }),
            ..proto::Field::default()
        };
        let first = Definition::listed("Deal", &listed("Tier", "Gold", "EUR"));
        let stored = Field {
            integration_id: IntegrationId::from_uuid(uuid::Uuid::nil()),
            object: first.object.clone(),
            key: first.key.clone(),
            label: first.label.clone(),
            field_type: first.field_type,
            describe: first.more.stored(),
            position: 0,
            missing_us: None,
            alias: String::new(),
            select_us: 0,
        };
        assert_eq!(Definition::of(&stored), first);
        let renewed = |object: &str, field: proto::Field| {
            let listed = proto::ObjectFields {
                object: object.to_owned(),
                fields: vec![field],
                ..proto::ObjectFields::default()
            };
            renewed(std::slice::from_ref(&stored), &[listed])
        };
        assert_eq!(renewed("Deal", listed("Tier", "Gold", "EUR")), []);
        assert_eq!(renewed("Person", listed("Tier", "Silver", "EUR")), []);
        for changed in [
            ("Level", "Gold", "EUR"),
            ("Tier", "Silver", "EUR"),
            ("Tier", "Gold", ""),
        ] {
            let (label, of_entry, code) = changed;
            let found = renewed("Deal", listed(label, of_entry, code));
            assert_eq!(found.len(), 1, "{changed:?}");
            assert_eq!(found[0].label, label);
            assert!(found[0].describe.contains(of_entry));
        }
    }
}
