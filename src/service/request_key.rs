//! Request ids: identify repeated requests.
//!
//! The hash is of the encoded message, not of a debug text of the program's types: such a text would change
//! with the program.

use crate::domain::GroupId;
use crate::store::Request;
use std::collections::BTreeMap;

/// A request id with the request that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// The id that the caller chose.
    pub id: String,
    /// The RPC, without its package and service.
    pub method: &'static str,
    /// A hash of the RPC's name and the whole message: the same id with another hash is refused.
    pub fingerprint: String,
}

/// The prefix of a fingerprint. Rows of earlier versions have none: they cannot be compared, and are deleted
/// a day after they were written.
pub const FINGERPRINT: &str = "blake3:";

impl RequestKey {
    /// The row of the store for this group.
    pub(super) fn of(&self, group: &GroupId) -> Request {
        Request {
            group_id: group.clone(),
            method: self.method.to_owned(),
            id: self.id.clone(),
            fingerprint: self.fingerprint.clone(),
        }
    }

    /// The key of a message. The encoding of maps has no fixed order: a map is passed separately and is empty
    /// in the message.
    #[must_use]
    pub fn new(
        method: &'static str,
        id: String,
        message: &impl prost::Message,
        map: &BTreeMap<String, String>,
    ) -> Self {
        let mut hash = blake3::Hasher::new();
        let mut add = |part: &[u8]| {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        };
        add(method.as_bytes());
        add(&message.encode_to_vec());
        for (key, value) in map {
            add(key.as_bytes());
            add(value.as_bytes());
        }
        Self {
            id,
            method,
            fingerprint: format!("{FINGERPRINT}{}", hash.finalize().to_hex()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_differs_is_another_request() {
        let key = |method, name: &str, settings: &[(&str, &str)]| {
            let message = name.to_owned();
            let settings = settings
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect();
            RequestKey::new(method, "id".to_owned(), &message, &settings).fingerprint
        };
        let one = key("Create", "a", &[("x", "1"), ("y", "2")]);
        assert_eq!(one, key("Create", "a", &[("y", "2"), ("x", "1")]));
        assert!(one.starts_with(FINGERPRINT));
        for other in [
            key("Sync", "a", &[("x", "1"), ("y", "2")]),
            key("Create", "b", &[("x", "1"), ("y", "2")]),
            key("Create", "a", &[("x", "1y"), ("", "2")]),
            key("Create", "a", &[("x", "1")]),
        ] {
            assert_ne!(one, other);
        }
    }
}
