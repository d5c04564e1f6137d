//! Converts the properties of an object to fields. Name and type of a property are required, all other keys are
//! optional and unknown keys are ignored.

use serde::Deserialize;
use tether_connector_sdk::crm::Fields;
use tether_connector_sdk::proto::{AmountCurrency, Error, ErrorKind, Field, FieldType, PicklistValue};
use tether_connector_sdk::reading::Known;

use crate::objects::CrmObject;
use crate::rest::Session;

/// The properties of an object that the login can see.
#[derive(Debug, Default, Clone)]
pub struct Described {
    pub(crate) properties: Vec<Property>,
    /// Every property of the reply could be read: a property that is not in the list does not exist.
    pub(crate) whole: bool,
}

/// A property.
#[derive(Debug, Clone)]
pub struct Property {
    pub(crate) field: Field,
    /// An internal property that HubSpot does not display: it is not offered, but read if it is selected.
    pub(crate) hidden: bool,
}

impl Described {
    fn find(&self, key: &str) -> Option<&Field> {
        self.properties.iter().map(|p| &p.field).find(|f| f.key == key)
    }
}

impl Fields for Described {
    fn listed(&self) -> Vec<Field> {
        let shown = self.properties.iter().filter(|property| !property.hidden);
        shown.map(|property| property.field.clone()).collect()
    }

    fn known(&self, key: &str) -> Known<'_> {
        match self.find(key) {
            Some(field) => Known::Field(field),
            None if self.whole => Known::Gone,
            None => Known::Unknown,
        }
    }
}

#[derive(Deserialize)]
struct Listed {
    results: Vec<Given>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Given {
    name: String,
    label: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    field_type: Option<String>,
    description: Option<String>,
    options: Option<Vec<Choice>>,
    calculated: Option<bool>,
    hidden: Option<bool>,
    archived: Option<bool>,
    hubspot_defined: Option<bool>,
    show_currency_symbol: Option<bool>,
    number_display_hint: Option<String>,
    currency_property_name: Option<String>,
    referenced_object_type: Option<String>,
    data_sensitivity: Option<String>,
}

impl Given {
    fn is_usable(&self) -> bool {
        !self.name.is_empty() && self.kind.is_some()
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Choice {
    value: Option<String>,
    label: Option<String>,
    hidden: Option<bool>,
}

/// Requests an object's properties; None if the login cannot see the object.
pub(crate) async fn describe(session: &Session, object: &CrmObject) -> Result<Option<Described>, Error> {
    let path = format!("/crm/v3/properties/{}", object.key);
    match session.get(&path, read).await {
        Ok((described, _)) => Ok(Some(described)),
        Err(error) => match error.what() {
            ErrorKind::Forbidden | ErrorKind::RecordGone | ErrorKind::ObjectGone => Ok(None),
            _ => Err(error.object(object.key)),
        },
    }
}

fn read(text: &str) -> Result<Described, serde_json::Error> {
    let listed: Listed = serde_json::from_str(text)?;
    // Every object of HubSpot has properties, and every property a name and a type.
    let whole = !listed.results.is_empty() && listed.results.iter().all(Given::is_usable);
    Ok(Described {
        whole,
        properties: listed.results.into_iter().filter_map(property).collect(),
    })
}

/// Names are separated by commas in URLs.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.contains(|c: char| c == ',' || c.is_control() || c.is_whitespace())
}

fn property(given: Given) -> Option<Property> {
    if given.archived == Some(true) || !is_name(&given.name) {
        return None;
    }
    let kind = given.kind.as_deref()?;
    let field_type = given.field_type.as_deref().unwrap_or_default();
    let money =
        given.show_currency_symbol == Some(true) || given.number_display_hint.as_deref() == Some("currency");
    let share = given.number_display_hint.as_deref() == Some("percentage");
    let reference = given
        .referenced_object_type
        .as_deref()
        .is_some_and(|to| !to.is_empty());
    let of = match (kind, field_type) {
        ("bool", _) => FieldType::Boolean,
        ("date", _) => FieldType::Date,
        ("datetime", _) => FieldType::Timestamp,
        ("number", _) if share => FieldType::Percent,
        ("number", _) if money => FieldType::Currency,
        ("number", _) => FieldType::Decimal,
        ("enumeration", "booleancheckbox") => FieldType::Boolean,
        ("enumeration", "checkbox") => FieldType::MultiPicklist,
        ("enumeration", _) if reference => FieldType::Reference,
        ("enumeration", _) => FieldType::Picklist,
        ("phone_number", _) | (_, "phonenumber") => FieldType::Phone,
        (_, "html") => FieldType::Html,
        _ => by_name(&given.name),
    };
    let native_type = format!("{kind}/{field_type}");
    let label = given.label.filter(|label| !label.is_empty());
    let options = given.options.unwrap_or_default();
    Some(Property {
        hidden: given.hidden == Some(true),
        field: Field {
            label: label.unwrap_or_else(|| given.name.clone()),
            key: given.name,
            r#type: of.into(),
            picklist_values: options.into_iter().filter_map(choice).collect(),
            calculated: given.calculated == Some(true) || field_type.starts_with("calculation"),
            custom: given.hubspot_defined == Some(false),
            long_text: of == FieldType::Html
                || of == FieldType::Text && matches!(field_type, "textarea" | "html"),
            sensitive: given
                .data_sensitivity
                .is_some_and(|level| level != "non_sensitive"),
            description: given.description.unwrap_or_default(),
            native_type,
            currency: given
                .currency_property_name
                .filter(|name| of == FieldType::Currency && is_name(name))
                .map(|field| AmountCurrency {
                    field,
                    code: String::new(),
                }),
            ..Field::default()
        },
    })
}

/// HubSpot has no types for links and addresses; they are recognized by well-known names.
fn by_name(name: &str) -> FieldType {
    match name {
        "website"
        | "linkedin_company_page"
        | "facebook_company_page"
        | "googleplus_page"
        | "hs_linkedin_url"
        | "hs_avatar_filemanager_key"
        | "hs_logo_url" => FieldType::Url,
        "email" | "work_email" => FieldType::Email,
        "phone" | "mobilephone" | "fax" => FieldType::Phone,
        _ => FieldType::Text,
    }
}

fn choice(given: Choice) -> Option<PicklistValue> {
    let value = given.value?;
    Some(PicklistValue {
        label: given
            .label
            .filter(|label| !label.is_empty())
            .unwrap_or_else(|| value.clone()),
        value,
        active: given.hidden != Some(true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(json: serde_json::Value) -> Option<Property> {
        serde_json::from_value(json).ok().and_then(property)
    }

    #[test]
    fn types() {
        use FieldType::*;
        #[rustfmt::skip]
        let table = [
            ("x", "string", "text", Text), ("x", "string", "textarea", Text), ("x", "string", "phonenumber", Phone),
            ("x", "phone_number", "phonenumber", Phone), ("website", "string", "text", Url), ("email", "string", "text", Email),
            ("x", "string", "html", Html), ("x", "number", "number", Decimal), ("x", "number", "calculation_equation", Decimal),
            ("x", "date", "date", Date), ("x", "datetime", "date", Timestamp), ("x", "bool", "booleancheckbox", Boolean),
            ("x", "enumeration", "select", Picklist), ("x", "enumeration", "radio", Picklist),
            ("x", "enumeration", "checkbox", MultiPicklist), ("x", "enumeration", "booleancheckbox", Boolean),
            ("x", "json", "text", Text), ("x", "invented", "invented", Text),
        ];
        for (name, kind, field_type, expected) in table {
            let found = one(serde_json::json!({"name": name, "type": kind, "fieldType": field_type}));
            assert_eq!(
                found.map(|p| p.field.r#type()),
                Some(expected),
                "{name} {kind} {field_type}"
            );
        }
    }

    #[test]
    fn hints_flags_and_options() {
        let number = |hint: serde_json::Value| {
            let mut json = serde_json::json!({"name": "n", "type": "number", "fieldType": "number"});
            let hints = hint.as_object().cloned().unwrap_or_default();
            json.as_object_mut().unwrap().extend(hints);
            one(json).map(|p| p.field.r#type())
        };
        assert_eq!(
            number(serde_json::json!({"showCurrencySymbol": true})),
            Some(FieldType::Currency)
        );
        assert_eq!(
            number(serde_json::json!({"numberDisplayHint": "percentage"})),
            Some(FieldType::Percent)
        );
        assert_eq!(
            number(serde_json::json!({"numberDisplayHint": "formatted"})),
            Some(FieldType::Decimal)
        );
        let owner = one(
            serde_json::json!({"name": "hubspot_owner_id", "type": "enumeration", "fieldType": "select",
            "referencedObjectType": "OWNER", "options": []}),
        );
        assert_eq!(owner.map(|p| p.field.r#type()), Some(FieldType::Reference));
        let tier = one(
            serde_json::json!({"name": "tier", "label": "", "type": "enumeration", "fieldType": "select",
            "hubspotDefined": false, "hidden": true, "calculated": true, "options": [
                {"value": "a", "label": "A"}, {"value": "b", "label": null, "hidden": true}, {"label": "no value"}]}),
        );
        let tier = tier.unwrap_or_else(|| panic!("it is one"));
        assert!(tier.hidden && tier.field.custom && tier.field.calculated && tier.field.label == "tier");
        let values: Vec<_> = tier
            .field
            .picklist_values
            .iter()
            .map(|v| (v.value.as_str(), v.label.as_str(), v.active))
            .collect();
        assert_eq!(values, [("a", "A", true), ("b", "b", false)]);
        for none in ["", "a,b", "a b"] {
            assert!(one(serde_json::json!({"name": none, "type": "string"})).is_none());
        }
        assert!(one(serde_json::json!({"name": "old", "type": "string", "archived": true})).is_none());
    }

    #[test]
    fn only_a_reply_that_can_be_read_whole_proves_that_a_property_is_gone() {
        let name = r#"{"name":"name","type":"string","fieldType":"text"}"#;
        for (results, lacks) in [
            (name.to_owned(), true),
            (
                format!(r#"{name},{{"name":"old","type":"string","archived":true}}"#),
                true,
            ),
            (String::new(), false),
            (format!(r#"{name},{{"type":"string"}}"#), false),
            (format!(r#"{name},{{"name":"industry"}}"#), false),
            (format!("{name},{{}}"), false),
        ] {
            let text = format!(r#"{{"results":[{results}]}}"#);
            let described = read(&text).unwrap_or_else(|error| panic!("{error}"));
            let gone = matches!(described.known("industry"), Known::Gone);
            assert_eq!(gone, lacks, "{results}");
            assert!(!matches!(described.known("name"), Known::Gone), "{results}");
        }
        assert!(read("{}").is_err());
    }
}
