//! The objects, their fields, and their numbers of records.

use serde::Deserialize;
use tether_connector_sdk::Error;
use tether_connector_sdk::crm::chosen;
use tether_connector_sdk::proto::{
    DescribeResponse, ErrorKind, Field, FieldType, Object, ObjectCount, ObjectFields, ObjectRole,
    PicklistValue,
};

use crate::api::{self, Page, Session};
use crate::auth;

/// One of the connector's objects.
#[derive(Debug)]
pub struct CrmObject {
    /// Its key, as in the paths of the API.
    pub(crate) key: &'static str,
    /// The label for users.
    label: &'static str,
    /// Its role in tether.
    role: ObjectRole,
}

impl CrmObject {
    /// Whether its records are companies.
    pub(crate) fn is_company(&self) -> bool {
        self.role == ObjectRole::Company
    }
}

/// The object whose records are companies.
pub(crate) const COMPANY: &CrmObject = &OBJECTS[0];

const OBJECTS: [CrmObject; 2] = [
    CrmObject {
        key: "companies",
        label: "Companies",
        role: ObjectRole::Company,
    },
    CrmObject {
        key: "people",
        label: "People",
        role: ObjectRole::Contact,
    },
];

/// The object with this key.
pub(crate) fn find(key: &str) -> Result<&'static CrmObject, Error> {
    OBJECTS
        .iter()
        .find(|object| object.key == key)
        .ok_or_else(|| Error::invalid_input(format!("there is no object {key}")).object(key))
}

/// The error for an object that the user cannot see.
pub(crate) fn hidden(object: &CrmObject) -> Error {
    Error::object_gone(format!("{} cannot be seen by the logged-in user", object.label)).object(object.key)
}

/// Name, version and features of the connector; constant.
pub(crate) fn describe() -> DescribeResponse {
    let objects = OBJECTS.iter().map(|object| Object {
        key: object.key.to_owned(),
        label: object.label.to_owned(),
        role: object.role.into(),
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
pub(crate) async fn of_object(session: &Session, object: &CrmObject) -> Result<Option<Vec<Field>>, Error> {
    let told: Vec<Told> = match api::get(session, "fields", &[("object", object.key)]).await {
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
    for object in chosen(&OBJECTS, asked, |object| object.key) {
        let fields = of_object(session, object).await?;
        listed.push(ObjectFields {
            object: object.key.to_owned(),
            label: object.label.to_owned(),
            visible: fields.is_some(),
            fields: fields.unwrap_or_default(),
        });
    }
    Ok(listed)
}

/// The numbers of records of the requested objects; objects that the user cannot see are left out.
pub(crate) async fn count(session: &Session, asked: &[String]) -> Result<Vec<ObjectCount>, Error> {
    let mut counts = Vec::new();
    for object in chosen(&OBJECTS, asked, |object| object.key) {
        match api::get::<Page>(session, object.key, &[("limit", "0")]).await {
            Ok(page) => counts.push(ObjectCount {
                object: object.key.to_owned(),
                count: page.total,
                exact: true,
            }),
            Err(error) if error.is(ErrorKind::Forbidden) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(counts)
}
