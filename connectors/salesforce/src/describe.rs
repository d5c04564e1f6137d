//! Converts the describe of an object to fields. Only the name and the type of a field are required and unknown keys
//! are ignored: versions differ, and a value of an unexpected form must not make the object unreadable.

use serde::Deserialize;
use serde::de::Error as _;
use serde_json::Value as Json;
use tether_connector_sdk::proto::{Field, FieldType, ObjectFields, PicklistValue};

use crate::objects::CrmObject;

/// Texts longer than this are indexed as words only.
const LONG_TEXT: u32 = 255;

/// The keys that distinguish a describe from other JSON are required.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Describe {
    name: String,
    #[serde(default)]
    label: Json,
    #[serde(default)]
    label_plural: Json,
    fields: Vec<Json>,
}

/// A described object.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    pub(crate) object: ObjectFields,
    /// Every field of the describe could be read: a field that is not in the list does not exist.
    pub(crate) whole: bool,
}

/// The fields of a described object.
pub(crate) fn fields(object: &CrmObject, json: &str) -> Result<Described, serde_json::Error> {
    let describe: Describe = serde_json::from_str(json)?;
    if describe.name != object.key {
        return Err(serde_json::Error::custom("the describe of another object"));
    }
    let label = [text(&describe.label_plural), text(&describe.label)]
        .into_iter()
        .find(|label| !label.is_empty());
    // Every object has fields, and every field a name and a type.
    let usable = |field: &Json| field["name"].is_string() && field["type"].is_string();
    let whole = !describe.fields.is_empty() && describe.fields.iter().all(usable);
    Ok(Described {
        object: ObjectFields {
            object: object.key.to_owned(),
            label: label.unwrap_or_else(|| object.label.to_owned()),
            visible: true,
            fields: describe.fields.iter().filter_map(field).collect(),
        },
        whole,
    })
}

/// An object that the user cannot see.
pub(crate) fn invisible(object: &CrmObject) -> Described {
    Described {
        object: ObjectFields {
            object: object.key.to_owned(),
            label: object.label.to_owned(),
            visible: false,
            fields: Vec::new(),
        },
        whole: true,
    }
}

fn field(described: &Json) -> Option<Field> {
    let key = text(&described["name"]);
    let native_type = text(&described["type"]);
    if native_type == "base64" || flag(&described["deprecatedAndHidden"]) || !crate::soql::is_name(&key) {
        return None;
    }
    let length = number(&described["length"]);
    let choices = described["picklistValues"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let targets = described["referenceTo"].as_array().map_or(&[][..], Vec::as_slice);
    Some(Field {
        label: Some(text(&described["label"]))
            .filter(|label| !label.is_empty())
            .unwrap_or_else(|| key.clone()),
        key,
        r#type: field_type(&native_type, flag(&described["htmlFormatted"])).into(),
        picklist_values: choices.iter().filter_map(choice).collect(),
        reference_to: targets
            .iter()
            .map(text)
            .filter(|target| !target.is_empty())
            .collect(),
        scale: number(&described["scale"]),
        length,
        calculated: flag(&described["calculated"]),
        custom: flag(&described["custom"]),
        long_text: length > LONG_TEXT
            && matches!(native_type.as_str(), "textarea" | "string" | "encryptedstring"),
        sensitive: flag(&described["encrypted"]) || native_type == "encryptedstring",
        description: text(&described["inlineHelpText"]),
        native_type,
        currency: None,
    })
}

fn choice(described: &Json) -> Option<PicklistValue> {
    let value = described["value"].as_str()?.replace('\0', "");
    Some(PicklistValue {
        label: Some(text(&described["label"]))
            .filter(|label| !label.is_empty())
            .unwrap_or_else(|| value.clone()),
        value,
        active: described["active"].as_bool().unwrap_or(true),
    })
}

/// A text without NULs, or an empty text.
fn text(json: &Json) -> String {
    json.as_str().unwrap_or_default().replace('\0', "")
}

fn flag(json: &Json) -> bool {
    json.as_bool().unwrap_or(false)
}

/// A whole number in any form (`2`, `2.0`); 0 for anything else, negative numbers included.
fn number(json: &Json) -> u32 {
    let whole = json.as_u64().or_else(|| {
        let number = json.as_f64()?;
        (number >= 0.0).then_some(number as u64)
    });
    whole.and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
}

/// The type alone decides. A field with a compound name need not be a compound: `Account.Name` has one.
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
        let described = fields(&OBJECTS[0], json).unwrap();
        assert!(described.whole);
        let object = described.object;
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
    fn an_odd_field_costs_no_other() {
        let odd = r#"{"name":"Account","label":7,"fields":[
            {"name":"A","scale":0.0,"length":-1,"label":null,"type":"double"},
            {"name":"B","scale":2.0,"length":"many","picklistValues":[{"value":7},null,{"value":"x\u0000"}],"referenceTo":null},
            {"name":null,"type":"string"},{"type":"string"},null]}"#;
        let described = fields(&OBJECTS[0], odd).unwrap();
        assert!(!described.whole, "what a nameless field is, is not known");
        let [a, b] = &described.object.fields[..] else {
            panic!("two fields")
        };
        assert_eq!((a.label.as_str(), a.scale, a.length), ("A", 0, 0));
        assert_eq!(
            (b.scale, b.length, b.picklist_values[0].value.as_str()),
            (2, 0, "x")
        );
        assert_eq!(described.object.label, "Accounts");
    }

    #[test]
    fn only_a_describe_that_can_be_read_whole_proves_that_a_field_is_gone() {
        let id = r#"{"name":"Id","type":"id"}"#;
        for (list, whole) in [
            (id.to_owned(), true),
            (String::new(), false),
            (format!(r#"{id},{{"name":"A"}}"#), false),
            (format!(r#"{id},{{"type":"string"}}"#), false),
            (format!(r#"{id},{{"name":"A","type":null}}"#), false),
        ] {
            let described =
                fields(&OBJECTS[0], &format!(r#"{{"name":"Account","fields":[{list}]}}"#)).unwrap();
            assert_eq!(described.whole, whole, "{list}");
        }
    }

    #[test]
    fn what_is_no_describe_of_the_object_is_refused() {
        for text in [
            "{}",
            "<html>",
            r#"{"fields":[]}"#,
            r#"{"name":"Account"}"#,
            r#"{"name":"Contact","fields":[]}"#,
            r#"{"name":"Account","fields":null}"#,
        ] {
            assert!(fields(&OBJECTS[0], text).is_err(), "{text}");
        }
    }
}
