//! The dummy's description and fields.

use std::sync::atomic::{AtomicU32, Ordering};

use tether_connector_sdk::proto::{
    AmountCurrency, AuthKind, AuthMethod, DescribeResponse, Field, FieldType, Object, ObjectFields,
    ObjectRole, PicklistValue, Setting,
};

use crate::script::Settings;

pub(crate) const INDUSTRIES: [&str; 5] = ["Agriculture", "Energy", "Finance", "Retail", "Software"];
pub(crate) const TAGS: [&str; 4] = ["gold", "partner", "at risk", "new"];
pub(crate) const STAGES: [&str; 4] = ["Open", "Offer", "Won", "Lost"];

pub(crate) const CURRENCIES: [&str; 3] = ["CHF", "EUR", "USD"];
/// The value of a deal that has the currency of its amounts. It is no field.
pub(crate) const CURRENCY: &str = "currency";

/// An object with its fields.
type Described = (
    &'static str,
    &'static str,
    ObjectRole,
    &'static [(&'static str, FieldType)],
);

/// All objects with their fields: key, label, role, fields.
pub(crate) const OBJECTS: [Described; 3] = [
    (
        "Company",
        "Companies",
        ObjectRole::Company,
        &[
            ("Name", FieldType::Text),
            ("Website", FieldType::Url),
            ("Industry", FieldType::Picklist),
            ("Employees", FieldType::Integer),
            ("Revenue", FieldType::Currency),
            ("Growth", FieldType::Percent),
            ("Founded", FieldType::Date),
            ("Updated", FieldType::Timestamp),
            ("Active", FieldType::Boolean),
            ("Tags", FieldType::MultiPicklist),
            ("Parent", FieldType::Reference),
            ("Address", FieldType::Address),
            ("Location", FieldType::Location),
            ("Notes", FieldType::Text),
        ],
    ),
    (
        "Person",
        "People",
        ObjectRole::Contact,
        &[
            ("Name", FieldType::Text),
            ("Email", FieldType::Email),
            ("Phone", FieldType::Phone),
        ],
    ),
    (
        "Deal",
        "Deals",
        ObjectRole::Deal,
        &[
            ("Name", FieldType::Text),
            ("Stage", FieldType::Picklist),
            ("Amount", FieldType::Currency),
            ("CloseDate", FieldType::Date),
        ],
    ),
];

pub(crate) fn describe(settings: &Settings) -> DescribeResponse {
    static TIMES: AtomicU32 = AtomicU32::new(0);
    let times = TIMES.fetch_add(1, Ordering::Relaxed);
    let objects = OBJECTS.iter().map(|(key, label, role, _)| Object {
        key: (*key).to_owned(),
        label: (*label).to_owned(),
        role: if settings.is_mutant("every-object-is-company") {
            ObjectRole::Company
        } else {
            *role
        }
        .into(),
    });
    let api_key = Setting {
        key: "api_key".to_owned(),
        label: "API key".to_owned(),
        description: "`user` or `user@organization`.".to_owned(),
        required: true,
        secret: true,
        ..Setting::default()
    };
    DescribeResponse {
        connector: "dummy".to_owned(),
        display_name: if settings.is_mutant("describe-changes") {
            format!("Dummy CRM {times}")
        } else {
            "Dummy CRM".to_owned()
        },
        version: env!("CARGO_PKG_VERSION").to_owned(),
        objects: objects.collect(),
        auth_methods: vec![
            AuthMethod {
                kind: AuthKind::AuthorizationCode.into(),
                parameters: Vec::new(),
            },
            AuthMethod {
                kind: AuthKind::ApiKey.into(),
                parameters: vec![api_key],
            },
        ],
        settings: Vec::new(),
        operator_settings: Vec::new(),
        features: vec!["changes".to_owned()],
    }
}

/// The fields of the requested objects; of all objects if none is named.
pub(crate) fn list(settings: &Settings, objects: &[String]) -> Vec<ObjectFields> {
    let wanted = |key: &str| objects.is_empty() || objects.iter().any(|object| object == key);
    let listed = OBJECTS
        .iter()
        .filter(|(key, ..)| wanted(key))
        .map(|(key, label, _, fields)| {
            let visible = !is_missing(settings, key, None);
            let fields = fields
                .iter()
                .filter(|(field, _)| visible && !is_missing(settings, key, Some(field)));
            let mut fields: Vec<Field> = fields
                .map(|(field, kind)| describe_field(settings, key, field, *kind))
                .collect();
            if *key == OBJECTS[0].0 {
                fields.extend((1..=settings.number("picklists", 0)).map(|number| picklist(settings, number)));
                fields.extend(settings.pairs("keys").map(|(key, label)| Field {
                    key: key.to_owned(),
                    label: label.to_owned(),
                    r#type: FieldType::Text.into(),
                    ..Field::default()
                }));
            }
            ObjectFields {
                object: (*key).to_owned(),
                label: (*label).to_owned(),
                visible,
                fields,
            }
        });
    let mut listed: Vec<_> = listed.collect();
    if settings.is_mutant("wrong-object-order") {
        listed.reverse();
    }
    listed
}

/// A picklist without values in the records, with the configured number of entries.
fn picklist(settings: &Settings, number: u64) -> Field {
    let entry = |entry: u64| PicklistValue {
        value: format!("entry {entry} of picklist {number}"),
        label: format!("What people read of entry {entry} of picklist {number}, which is some words long"),
        active: true,
    };
    Field {
        key: format!("Picklist{number}"),
        label: format!("Picklist {number}"),
        r#type: FieldType::Picklist.into(),
        picklist_values: (1..=settings.number("entries", 10)).map(entry).collect(),
        ..Field::default()
    }
}

fn describe_field(settings: &Settings, object: &str, field: &str, kind: FieldType) -> Field {
    let values: &[&str] = match field {
        "Industry" => &INDUSTRIES,
        "Tags" => &TAGS,
        "Stage" => &STAGES,
        _ => &[],
    };
    let value = |value: &&str| PicklistValue {
        value: (*value).into(),
        label: settings
            .pairs("labels")
            .find(|(entry, _)| entry == value)
            .map_or(*value, |(_, label)| label)
            .into(),
        active: true,
    };
    let currency = match field {
        // All companies have one currency, each deal its own.
        "Revenue" => Some(("", "CHF")),
        "Amount" => Some((CURRENCY, "")),
        _ => None,
    };
    Field {
        key: field.to_owned(),
        label: field.to_owned(),
        r#type: retyped(settings, object, field).unwrap_or(kind).into(),
        picklist_values: values.iter().map(value).collect(),
        reference_to: if field == "Parent" {
            vec!["Company".to_owned()]
        } else {
            Vec::new()
        },
        scale: if kind == FieldType::Currency { 2 } else { 0 },
        long_text: field == "Notes",
        calculated: is_calculated(object, field),
        currency: currency.map(|(field, code)| AmountCurrency {
            field: field.to_owned(),
            code: code.to_owned(),
        }),
        native_type: kind
            .as_str_name()
            .trim_start_matches("FIELD_TYPE_")
            .to_ascii_lowercase(),
        ..Field::default()
    }
}

/// Whether a field changes without a change of its record's modification time: see the setting `drift`.
pub(crate) fn is_calculated(object: &str, field: &str) -> bool {
    object == OBJECTS[0].0 && field == "Growth"
}

/// The new type of a field, if it has changed.
pub(crate) fn retyped(settings: &Settings, object: &str, field: &str) -> Option<FieldType> {
    let entries = settings
        .text("retyped")
        .split(',')
        .filter_map(|entry| entry.trim().split_once('='));
    let name = format!("{object}.{field}");
    let (_, kind) = entries.into_iter().find(|(key, _)| *key == name)?;
    FieldType::from_str_name(&format!("FIELD_TYPE_{}", kind.to_ascii_uppercase()))
}

/// Whether a field, or the whole object, is invisible.
pub(crate) fn is_missing(settings: &Settings, object: &str, field: Option<&str>) -> bool {
    let name = field.map_or_else(|| object.to_owned(), |field| format!("{object}.{field}"));
    settings
        .text("missing")
        .split(',')
        .any(|entry| entry.trim() == name)
}
