//! The describe of an object, turned into fields. Every key is optional and unknown keys are ignored: versions differ.

use serde::Deserialize;
use tether_connector_sdk::proto::{Field, FieldType, ObjectFields, PicklistValue};

use crate::objects::CrmObject;

/// Texts longer than this are indexed as words only.
const LONG_TEXT: u32 = 255;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Describe {
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    label_plural: Option<String>,
    #[serde(default)]
    fields: Vec<FieldDescribe>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct FieldDescribe {
    name: String,
    label: Option<String>,
    #[serde(rename = "type")]
    native_type: Option<String>,
    length: Option<u32>,
    scale: Option<u32>,
    calculated: Option<bool>,
    custom: Option<bool>,
    encrypted: Option<bool>,
    html_formatted: Option<bool>,
    deprecated_and_hidden: Option<bool>,
    inline_help_text: Option<String>,
    picklist_values: Option<Vec<PicklistDescribe>>,
    reference_to: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct PicklistDescribe {
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    active: Option<bool>,
}

/// The fields of a described object.
pub(crate) fn fields(object: &CrmObject, json: &str) -> Result<ObjectFields, serde_json::Error> {
    let describe: Describe = serde_json::from_str(json)?;
    let label = [describe.label_plural, describe.label]
        .into_iter()
        .flatten()
        .find(|label| !label.is_empty());
    Ok(ObjectFields {
        object: object.key.to_owned(),
        label: label.unwrap_or_else(|| object.label.to_owned()),
        visible: true,
        fields: describe.fields.into_iter().filter_map(field).collect(),
    })
}

/// An object that the user cannot see.
pub(crate) fn invisible(object: &CrmObject) -> ObjectFields {
    ObjectFields {
        object: object.key.to_owned(),
        label: object.label.to_owned(),
        visible: false,
        fields: Vec::new(),
    }
}

fn field(described: FieldDescribe) -> Option<Field> {
    let native_type = described.native_type.unwrap_or_default();
    let html = described.html_formatted.unwrap_or(false);
    if native_type == "base64"
        || described.deprecated_and_hidden.unwrap_or(false)
        || !crate::soql::is_name(&described.name)
    {
        return None;
    }
    let length = described.length.unwrap_or(0);
    Some(Field {
        label: described
            .label
            .filter(|label| !label.is_empty())
            .unwrap_or_else(|| described.name.clone()),
        key: described.name,
        r#type: field_type(&native_type, html).into(),
        picklist_values: described
            .picklist_values
            .unwrap_or_default()
            .into_iter()
            .filter_map(choice)
            .collect(),
        reference_to: described.reference_to.unwrap_or_default(),
        scale: described.scale.unwrap_or(0),
        length,
        calculated: described.calculated.unwrap_or(false),
        custom: described.custom.unwrap_or(false),
        long_text: length > LONG_TEXT
            && matches!(native_type.as_str(), "textarea" | "string" | "encryptedstring"),
        sensitive: described.encrypted.unwrap_or(false) || native_type == "encryptedstring",
        description: described.inline_help_text.unwrap_or_default(),
        native_type,
    })
}

fn choice(described: PicklistDescribe) -> Option<PicklistValue> {
    let value = described.value?;
    Some(PicklistValue {
        label: described
            .label
            .filter(|label| !label.is_empty())
            .unwrap_or_else(|| value.clone()),
        value,
        active: described.active.unwrap_or(true),
    })
}

/// Decided by the type alone. A field that has a compound name is no compound: `Account.Name` has one.
fn field_type(native: &str, html: bool) -> FieldType {
    match native {
        "string" | "textarea" if html => FieldType::Html,
        "picklist" => FieldType::Picklist,
        "multipicklist" => FieldType::MultiPicklist,
        "boolean" => FieldType::Boolean,
        "int" | "long" => FieldType::Integer,
        "double" => FieldType::Decimal,
        "currency" => FieldType::Currency,
        "percent" => FieldType::Percent,
        "date" => FieldType::Date,
        "datetime" => FieldType::Timestamp,
        "time" => FieldType::Time,
        "url" => FieldType::Url,
        "email" => FieldType::Email,
        "phone" => FieldType::Phone,
        "reference" => FieldType::Reference,
        "address" => FieldType::Address,
        "location" => FieldType::Location,
        _ => FieldType::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::OBJECTS;

    #[test]
    fn types() {
        #[rustfmt::skip]
        let table = [
            ("id", FieldType::Text), ("string", FieldType::Text), ("textarea", FieldType::Text),
            ("combobox", FieldType::Text), ("encryptedstring", FieldType::Text), ("anyType", FieldType::Text),
            ("invented", FieldType::Text), ("picklist", FieldType::Picklist),
            ("multipicklist", FieldType::MultiPicklist), ("boolean", FieldType::Boolean), ("int", FieldType::Integer),
            ("long", FieldType::Integer), ("double", FieldType::Decimal), ("currency", FieldType::Currency),
            ("percent", FieldType::Percent), ("date", FieldType::Date), ("datetime", FieldType::Timestamp),
            ("time", FieldType::Time), ("url", FieldType::Url), ("email", FieldType::Email),
            ("phone", FieldType::Phone), ("reference", FieldType::Reference), ("address", FieldType::Address),
            ("location", FieldType::Location),
        ];
        for (native, expected) in table {
            assert_eq!(field_type(native, false), expected, "{native}");
        }
        assert_eq!(field_type("textarea", true), FieldType::Html);
    }

    #[test]
    fn compounds_are_told_by_type() {
        let json = r#"{"name":"Account","label":"Firma","labelPlural":"Firmen","surprise":{"a":[1]},"fields":[
            {"name":"Name","type":"string","compoundFieldName":"Name","length":255,"label":"Firmenname"},
            {"name":"BillingCity","type":"string","compoundFieldName":"BillingAddress"},
            {"name":"BillingAddress","type":"address","label":null},
            {"name":"Notes__c","type":"textarea","length":32000,"custom":true,"htmlFormatted":true,"inlineHelpText":"Say it"},
            {"name":"Secret__c","type":"encryptedstring","encrypted":true,"length":20},
            {"name":"Logo__c","type":"base64"},
            {"name":"Old__c","type":"string","deprecatedAndHidden":true},
            {"name":"Tier__c","type":"picklist","picklistValues":[
                {"value":"a","label":"A","active":true},{"value":"b","label":null,"active":false},{"label":"no value"}]},
            {"name":"Score__c","type":"double","calculated":true,"scale":2},
            {"name":"OwnerId","type":"reference","referenceTo":["User","Group"]}]}"#;
        let object = fields(&OBJECTS[0], json).unwrap();
        assert_eq!((object.label.as_str(), object.visible), ("Firmen", true));
        let keys: Vec<&str> = object.fields.iter().map(|f| f.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "Name",
                "BillingCity",
                "BillingAddress",
                "Notes__c",
                "Secret__c",
                "Tier__c",
                "Score__c",
                "OwnerId"
            ]
        );
        let by = |key: &str| object.fields.iter().find(|f| f.key == key).unwrap();
        assert_eq!(by("BillingAddress").r#type(), FieldType::Address);
        assert_eq!(by("BillingAddress").label, "BillingAddress");
        let notes = by("Notes__c");
        assert!(notes.long_text && notes.custom && notes.r#type() == FieldType::Html);
        assert_eq!(notes.description, "Say it");
        assert!(by("Secret__c").sensitive);
        assert_eq!(by("Tier__c").picklist_values.len(), 2);
        assert!(!by("Tier__c").picklist_values[1].active);
        assert_eq!(by("Tier__c").picklist_values[1].label, "b");
        assert!(by("Score__c").calculated && by("Score__c").scale == 2);
        assert_eq!(by("OwnerId").reference_to, ["User", "Group"]);
    }

    #[test]
    fn an_old_or_odd_describe_is_no_failure() {
        assert!(
            fields(&OBJECTS[0], r#"{"fields":[{"name":"X"},{"type":"string"}]}"#)
                .unwrap()
                .fields
                .len()
                == 1
        );
        assert!(fields(&OBJECTS[0], "{}").unwrap().fields.is_empty());
        assert!(fields(&OBJECTS[0], "<html>").is_err());
    }
}
