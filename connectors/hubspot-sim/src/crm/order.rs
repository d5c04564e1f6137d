//! JSON with its keys in HubSpot's order: the id first, where streaming readers need it.

use serde_json::Value as Json;

/// Keys that come first, in this order; the others follow by name.
const FIRST: &[&str] = &[
    "id",
    "status",
    "total",
    "from",
    "to",
    "results",
    "properties",
    "createdAt",
    "updatedAt",
    "archived",
    "archivedAt",
    "associations",
    "url",
    "toObjectId",
    "associationTypes",
    "category",
    "subCategory",
    "message",
    "context",
    "links",
    "numErrors",
    "errors",
    "startedAt",
    "completedAt",
    "paging",
];

/// The text of an answer.
pub(crate) fn text(json: &Json) -> String {
    let mut out = String::new();
    write(&mut out, json, true);
    out
}

/// `known`: the keys are HubSpot's own, not names of properties.
fn write(out: &mut String, json: &Json, known: bool) {
    match json {
        Json::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            let place = |key: &str| {
                FIRST
                    .iter()
                    .position(|first| *first == key)
                    .unwrap_or(FIRST.len())
            };
            if known {
                keys.sort_by_key(|key| (place(key), *key));
            }
            out.push('{');
            for (at, key) in keys.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&Json::from(key.as_str()).to_string());
                out.push(':');
                write(out, &map[key], known && key != "properties");
            }
            out.push('}');
        }
        Json::Array(list) => {
            out.push('[');
            for (at, one) in list.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(out, one, known);
            }
            out.push(']');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ids_come_first_and_properties_keep_their_order() {
        let json = json!({"results": [{"archived": false, "url": "u", "properties": {"name": "n", "id": "p", "a": null}, "id": "1",
            "updatedAt": "t"}], "paging": {"next": {"link": "l", "after": "2"}}});
        let right = r#"{"results":[{"id":"1","properties":{"a":null,"id":"p","name":"n"},"updatedAt":"t","archived":false,"url":"u"}],"paging":{"next":{"after":"2","link":"l"}}}"#;
        assert_eq!(text(&json), right);
        assert_eq!(serde_json::from_str::<Json>(&text(&json)).ok(), Some(json));
    }
}
