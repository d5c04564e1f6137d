//! The objects, their fields, and their numbers of records.

use serde::Deserialize;
use tether_connector_sdk::Error;
use tether_connector_sdk::crm::{Count, Objects, PlainObject};
use tether_connector_sdk::proto::{
    AmountCurrency, DescribeResponse, ErrorKind, Field, FieldType, ObjectRole, PicklistValue,
};

use crate::api::{App, Session};
use crate::auth;
use crate::read::List;

/// The object whose records are companies.
pub(crate) const COMPANY: &PlainObject = &OBJECTS[0];

/// All objects. The keys are those in the paths of the API.
const OBJECTS: [PlainObject; 2] = [
    PlainObject {
        key: "companies",
        label: "Companies",
        role: ObjectRole::Company,
    },
    PlainObject {
        key: "people",
        label: "People",
        role: ObjectRole::Contact,
    },
];

/// Name, version and features of the connector; constant.
pub(crate) fn describe() -> DescribeResponse {
    DescribeResponse {
        connector: "template".to_owned(),
        display_name: "Template".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        auth_methods: auth::methods(),
        ..DescribeResponse::default()
    }
}

impl Objects for App {
    type Object = PlainObject;
    /// A list of all fields. If the CRM's description may be incomplete, it is a type of your own.
    type Fields = Vec<Field>;

    fn objects() -> &'static [PlainObject] {
        &OBJECTS
    }

    async fn fields(session: &Session, object: &'static PlainObject) -> Result<Option<Vec<Field>>, Error> {
        let told = session.query("/api/v1/fields", &[("object", object.key)]).await;
        Ok(seen(told)?.map(|told: Vec<Told>| told.into_iter().map(field).collect()))
    }

    async fn count(session: &Session, object: &'static PlainObject) -> Result<Option<Count>, Error> {
        let path = format!("/api/v1/{}", object.key);
        let list: Option<List> = seen(session.query(&path, &[("limit", "0")]).await)?;
        Ok(list.map(|list| Count {
            number: list.total,
            exact: true,
        }))
    }
}

/// A reply about an object; None if the user cannot see the object.
fn seen<T>(told: Result<(T, i64), Error>) -> Result<Option<T>, Error> {
    match told {
        Ok((told, _)) => Ok(Some(told)),
        Err(error) if error.is(ErrorKind::Forbidden) => Ok(None),
        Err(error) => Err(error),
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
    /// Of an amount: the member of the record that has its currency.
    #[serde(default)]
    currency_field: Option<String>,
}

fn field(told: Told) -> Field {
    let option = |value: String| PicklistValue {
        label: value.clone(),
        value,
        active: true,
    };
    Field {
        r#type: field_type(&told.native_type).into(),
        picklist_values: told.options.into_iter().map(option).collect(),
        scale: if told.native_type == "money" { 2 } else { 0 },
        // If the API has one currency for the whole account, it is `code`.
        currency: told.currency_field.map(|field| AmountCurrency {
            field,
            code: String::new(),
        }),
        key: told.key,
        label: told.label,
        native_type: told.native_type,
        ..Field::default()
    }
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
