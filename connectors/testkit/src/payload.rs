//! Comparing payloads with the rows that a simulator expects.

use serde_json::{Value as Json, json};
use tether_connector_sdk::payload::timestamp_us;
use tether_connector_sdk::proto::{FieldType, SelectedField};

/// Compares a payload with what each selected field should have. Of references only ids are compared, of timestamps
/// the moments; so `expected` gives `{"id": …}` and microseconds since 1970 for them. A field that was not selected fails.
pub fn assert_fields(
    row: &str,
    mut payload: Json,
    fields: &[SelectedField],
    expected: impl Fn(&SelectedField) -> Option<Json>,
) {
    for field in fields {
        let value = payload.as_object_mut().unwrap().remove(&field.key);
        let value = value.map(|value| comparable(field.r#type(), value));
        assert_eq!(value, expected(field), "{row} {}", field.key);
    }
    assert_eq!(payload, json!({}), "{row}: more than was selected");
}

fn comparable(kind: FieldType, mut value: Json) -> Json {
    match kind {
        FieldType::Reference => {
            value.as_object_mut().unwrap().remove("label");
            value
        }
        FieldType::Timestamp => moment_us(&value).into(),
        _ => value,
    }
}

/// Microseconds since 1970 of a moment as a text.
#[must_use]
pub fn moment_us(text: &Json) -> i64 {
    timestamp_us(text.as_str().unwrap()).unwrap()
}
