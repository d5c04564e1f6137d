//! JSON objects of unknown members.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// A JSON object, such as a record of a CRM. Its values stay text, so that numbers are not converted to floating point.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Item(HashMap<String, Box<RawValue>>);

impl Item {
    /// A member.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&RawValue> {
        self.0.get(key).map(AsRef::as_ref)
    }

    /// The text of a member: of a string its content, of a number or a truth value its JSON text. Empty for anything
    /// else.
    #[must_use]
    pub fn text(&self, key: &str) -> String {
        let json = self.get(key).map_or("", RawValue::get);
        match json.as_bytes().first() {
            Some(b'"') => serde_json::from_str(json).unwrap_or_default(),
            None | Some(b'n' | b'{' | b'[') => String::new(),
            Some(_) => json.to_owned(),
        }
    }

    /// Whether a member is true.
    #[must_use]
    pub fn is_true(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value.get() == "true")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_the_texts_that_were_received() {
        let item: Item = serde_json::from_str(
            r#"{"id": 9007199254740993, "name": "M\u00fcller", "deleted": true, "none": null, "address": {"city": "x"}}"#,
        )
        .unwrap();
        assert_eq!(
            ["id", "name", "deleted", "none", "address", "absent"].map(|key| item.text(key)),
            ["9007199254740993", "Müller", "true", "", "", ""]
        );
        assert!(item.is_true("deleted") && !item.is_true("id") && !item.is_true("absent"));
        assert_eq!(item.get("address").map(RawValue::get), Some(r#"{"city": "x"}"#));
    }
}
