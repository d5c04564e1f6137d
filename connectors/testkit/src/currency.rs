//! Amounts with their currency.

use serde_json::{Value as Json, json};
use tether_connector_sdk::proto::SelectedField;

/// An amount in the form that the selection asks for, from its canonical form and the record in the CRM; other values are
/// as they are.
#[must_use]
pub fn with_currency(field: &SelectedField, row: &Json, value: Json) -> Json {
    let Some(currency) = &field.currency else {
        return value;
    };
    let own = row[&currency.field].as_str().filter(|own| !own.is_empty());
    let code = own.unwrap_or(&currency.code);
    match code.is_empty() {
        true => value,
        false => json!({"amount": value, "currency": code}),
    }
}
