//! The objects, their fields, and their numbers of records.

use serde::Deserialize;
use tether_connector_sdk::Error;
use tether_connector_sdk::proto::{
    DescribeResponse, ErrorKind, Field, FieldType, Object, ObjectCount, ObjectFields, ObjectRole,
    PicklistValue,
};

use crate::api::Session;
use crate::auth;

/// The company object's key; the keys are the paths of the API.
pub(crate) const COMPANIES: &str = "companies";
/// The key of the related object.
pub(crate) const PEOPLE: &str = "people";

const OBJECTS: [(&str, &str, ObjectRole); 2] = [
    (COMPANIES, "Companies", ObjectRole::Company),
    (PEOPLE, "People", ObjectRole::Contact),
];

/// Name, version and features of the connector; constant.
pub(crate) fn describe() -> DescribeResponse {
    let objects = OBJECTS.iter().map(|&(key, label, role)| Object {
        key: key.to_owned(),
        label: label.to_owned(),
        role: role.into(),
    });
    DescribeResponse {
        connector: "template".to_owned(),
        display_name: "Template".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        objects: objects.collect(),
        auth_methods: auth::methods(),
        settings: Vec::new(),
        operator_settings: Vec::new(),
        features: Vec::new(),
    }
}

/// Whether it is one of the connector's objects.
pub(crate) fn is_known(object: &str) -> bool {
    OBJECTS.iter().any(|&(key, ..)| key == object)
}

/// A field in the API's form.
#[derive(Deserialize)]
struct Told {
    key: String,
    label: String,
    #[serde(rename = "type")]
    native_type: String,
    #[serde(default)]
    options: Vec<String>,
}

fn field_type(native: &str) -> FieldType {
    match native {
        "bool" => FieldType::Boolean,
        "int" => FieldType::Integer,
        "decimal" => FieldType::Decimal,
        "money" => FieldType::Currency,
        "date" => FieldType::Date,
        "datetime" => FieldType::Timestamp,
        "url" => FieldType::Url,
        "email" => FieldType::Email,
        "phone" => FieldType::Phone,
        "enum" => FieldType::Picklist,
        // Unknown types are text, so that a new type of the CRM causes no error.
        _ => FieldType::Text,
    }
}

/// The fields of an object; None if the user cannot see it.
pub(crate) async fn of_object(session: &Session, object: &str) -> Result<Option<Vec<Field>>, Error> {
    let told: Vec<Told> = match session.get("fields", &[("object", object)]).await {
        Ok(told) => told,
        Err(error) if error.is(ErrorKind::Forbidden) => return Ok(None),
        Err(error) => return Err(error),
    };
    let fields = told.into_iter().map(|told| Field {
        r#type: field_type(&told.native_type).into(),
        picklist_values: told
            .options
            .into_iter()
            .map(|value| PicklistValue {
                label: value.clone(),
                value,
                active: true,
            })
            .collect(),
        scale: if told.native_type == "money" { 2 } else { 0 },
        key: told.key,
        label: told.label,
        native_type: told.native_type,
        ..Field::default()
    });
    Ok(Some(fields.collect()))
}

/// The fields of the requested objects; of all objects if none is named.
pub(crate) async fn list(session: &Session, asked: &[String]) -> Result<Vec<ObjectFields>, Error> {
    let mut listed = Vec::new();
    for (key, label, _) in OBJECTS {
        if !asked.is_empty() && !asked.iter().any(|one| one == key) {
            continue;
        }
        let fields = of_object(session, key).await?;
        listed.push(ObjectFields {
            object: key.to_owned(),
            label: label.to_owned(),
            visible: fields.is_some(),
            fields: fields.unwrap_or_default(),
        });
    }
    Ok(listed)
}

/// The numbers of records of the requested objects.
pub(crate) async fn count(session: &Session, asked: &[String]) -> Result<Vec<ObjectCount>, Error> {
    let mut counts = Vec::new();
    for object in asked.iter().filter(|object| is_known(object)) {
        match session.page(object, &[("limit", "0")]).await {
            Ok(page) => counts.push(ObjectCount {
                object: object.clone(),
                count: page.total,
                exact: true,
            }),
            Err(error) if error.is(ErrorKind::Forbidden) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(counts)
}
