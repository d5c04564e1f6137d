//! The log entry of a request.

use serde::Serialize;

/// One request.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    pub(crate) at_ms: i64,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) kind: &'static str,
    /// Whether it would have changed data.
    pub(crate) write: bool,
    /// Bytes of path and query.
    pub(crate) address_bytes: usize,
    pub(crate) status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<sim_kit::faults::Kind>,
}

impl sim_kit::journal::Entry for Entry {
    fn number(&mut self, seq: u64) {
        self.seq = seq;
    }

    fn seq(&self) -> u64 {
        self.seq
    }

    fn kind(&self) -> &str {
        self.kind
    }

    fn is_write(&self) -> bool {
        self.write
    }
}

/// The kind of a request. A request that is not known to read counts as a write.
pub(crate) fn classify(method: &str, path: &str) -> &'static str {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let read = matches!(method, "GET" | "HEAD");
    match parts.as_slice() {
        ["oauth", "authorize"] => "authorize",
        ["oauth", _, "token"] => "token",
        ["oauth", _, "token", "introspect"] | ["oauth", _, "access-tokens", _] => "introspect",
        ["oauth", _, "token", "revoke"] | ["oauth", _, "refresh-tokens", _] => "revoke",
        ["oauth", "v2", "private-apps", "get", "access-token-info"] => "private_app",
        ["crm", "v3", "objects", _, "search"] if method == "POST" => "search",
        ["crm", "v3", "objects", _, "batch", "read"] if method == "POST" => "batch_read",
        ["crm", "v4", "associations", _, _, "batch", "read"] if method == "POST" => "associations",
        _ if !read => "write",
        ["account-info", ..] => "account_info",
        ["crm", "v3", "properties", ..] => "properties",
        ["crm", "v3", "objects", _] => "list",
        ["crm", "v3", "objects", _, _] => "record",
        ["crm", "v4", "objects", _, _, "associations", _] => "associations",
        _ => "other",
    }
}
