//! The bodies of POST requests. Related endpoints can write, so a body is built only from these types, and is checked
//! again before it is sent.

use serde::{Deserialize, Serialize};

/// Records by id, for a batch of records or of associations.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    pub(crate) id: String,
    /// The cursor for further associations of this record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<String>,
}

/// `POST …/batch/read`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch {
    pub(crate) inputs: Vec<Input>,
    #[serde(default)]
    pub(crate) properties: Vec<String>,
}

/// `POST /crm/v4/associations/…/batch/read`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Associations {
    pub(crate) inputs: Vec<Input>,
}

/// `POST …/search`, for counting, and for what changed.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Search {
    pub(crate) limit: usize,
    pub(crate) properties: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) filter_groups: Vec<FilterGroup>,
    /// At most one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) sorts: Vec<Sort>,
}

/// Conditions that must all hold.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilterGroup {
    pub(crate) filters: Vec<Filter>,
}

/// A condition on a property.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Filter {
    pub(crate) property_name: String,
    pub(crate) operator: String,
    pub(crate) value: String,
}

/// The order of a search.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Sort {
    pub(crate) property_name: String,
    pub(crate) direction: String,
}

/// `POST /oauth/v2/private-apps/get/access-token-info`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct PrivateApp {
    pub(crate) token_key: String,
}

/// A body as it is sent.
pub(crate) fn text(body: &impl Serialize) -> String {
    serde_json::to_string(body).unwrap_or_default()
}

fn check<T: for<'de> Deserialize<'de>>(body: &[u8], what: &str) -> Result<(), String> {
    match serde_json::from_slice::<T>(body) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("not the body of {what}")),
    }
}

pub(crate) fn check_batch(body: &[u8]) -> Result<(), String> {
    check::<Batch>(body, "a batch of records to read")
}

pub(crate) fn check_associations(body: &[u8]) -> Result<(), String> {
    check::<Associations>(body, "a batch of associations to read")
}

pub(crate) fn check_search(body: &[u8]) -> Result<(), String> {
    check::<Search>(body, "a search")
}

pub(crate) fn check_private_app(body: &[u8]) -> Result<(), String> {
    check::<PrivateApp>(body, "a question about a private app")
}

/// Checks the form of a request to a token endpoint: an exchange, an introspection or a revocation.
pub(crate) fn check_token(body: &[u8]) -> Result<(), String> {
    let mut form = url::form_urlencoded::parse(body);
    let known = form.any(|(key, value)| match &*key {
        "grant_type" => matches!(&*value, "authorization_code" | "refresh_token"),
        "token" => true,
        _ => false,
    });
    known
        .then_some(())
        .ok_or_else(|| "not the form of a token endpoint".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_passes_and_what_could_write_does_not() {
        let input = |id: &str| Input {
            id: id.to_owned(),
            after: None,
        };
        let batch = Batch {
            inputs: vec![input("1")],
            properties: vec!["name".to_owned()],
        };
        assert_eq!(check_batch(text(&batch).as_bytes()), Ok(()));
        let associations = Associations {
            inputs: vec![input("1")],
        };
        assert_eq!(check_associations(text(&associations).as_bytes()), Ok(()));
        let search = Search {
            limit: 1,
            filter_groups: vec![FilterGroup {
                filters: vec![Filter {
                    property_name: "hs_object_id".to_owned(),
                    operator: "GT".to_owned(),
                    value: "7".to_owned(),
                }],
            }],
            ..Search::default()
        };
        assert_eq!(check_search(text(&search).as_bytes()), Ok(()));
        let counting = Search::default();
        assert_eq!(text(&counting), r#"{"limit":0,"properties":[]}"#);
        assert_eq!(check_search(text(&counting).as_bytes()), Ok(()));
        for writing in [
            &br#"{"inputs":[{"id":"1","properties":{"name":"x"}}]}"#[..],
            br#"{"inputs":[{"properties":{"name":"x"}}]}"#,
            br#"{"properties":{"name":"x"}}"#,
            br#"{"inputs":[{"from":{"id":"1"},"to":{"id":"2"},"type":"x"}]}"#,
            b"[]",
            b"",
        ] {
            assert!(
                check_batch(writing).is_err()
                    && check_associations(writing).is_err()
                    && check_search(writing).is_err()
            );
        }
        assert!(check_token(b"grant_type=refresh_token&refresh_token=x").is_ok());
        assert!(check_token(b"token=x&client_id=y").is_ok());
        assert!(check_token(b"grant_type=password&x=y").is_err() && check_token(b"").is_err());
    }
}
