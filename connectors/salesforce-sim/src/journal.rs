//! The log entry of a request.

use serde::Serialize;
use serde_json::Value as Json;

/// One request.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    pub(crate) at_ms: i64,
    pub(crate) method: String,
    pub(crate) path: String,
    /// The path without versions and ids.
    pub(crate) route: String,
    pub(crate) kind: String,
    /// Whether it would have changed data.
    pub(crate) write: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) soql: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grant_type: Option<String>,
    /// The requests inside a composite or batch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) inner: Vec<Inner>,
    pub(crate) status: u16,
    pub(crate) bytes: usize,
    pub(crate) took_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<sim_kit::faults::Kind>,
}

/// A request inside a composite or batch.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Inner {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) kind: String,
}

impl sim_kit::journal::Entry for Entry {
    fn number(&mut self, seq: u64) {
        self.seq = seq;
    }

    fn seq(&self) -> u64 {
        self.seq
    }

    fn kind(&self) -> &str {
        &self.kind
    }

    fn is_write(&self) -> bool {
        self.write
    }

    fn counted(&self) -> Vec<String> {
        let own = match &self.grant_type {
            Some(grant) => format!("token:{}", grant.rsplit(':').next().unwrap_or(grant)),
            None => self.kind.clone(),
        };
        let inner = self.inner.iter().map(|inner| format!("inner:{}", inner.kind));
        [own].into_iter().chain(inner).collect()
    }
}

/// The kind of a request, and its path without versions and ids.
pub(crate) fn classify(method: &str, path: &str) -> (String, String) {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let kind = match parts.as_slice() {
        [
            "services",
            "oauth2",
            end @ ("authorize" | "token" | "revoke" | "introspect" | "userinfo"),
        ] => *end,
        ["id", ..] => "identity",
        ["services", "data"] => "versions",
        ["services", "data", _, rest @ ..] => match rest {
            [] => "resources",
            ["sobjects"] => "describe_global",
            ["sobjects", _, "describe"] => "describe",
            ["sobjects", _, "deleted"] => "deleted",
            ["sobjects", _, "updated"] => "updated",
            ["composite"] => "composite",
            ["composite", "batch"] => "batch",
            ["composite", "sobjects", ..] if method == "POST" => "collections",
            ["jobs", "query", rest @ ..] => bulk(method, rest),
            _ if method != "GET" && method != "HEAD" => "write",
            ["query"] => "query",
            ["queryAll"] => "query_all",
            ["query" | "queryAll", _] => "query_more",
            ["sobjects", _, ..] => "record",
            ["limits"] => "limits",
            ["limits", "recordCount"] => "record_count",
            ["connect", "organization"] => "organization",
            _ => "other",
        },
        _ => "other",
    };
    let mut route = String::new();
    for part in &parts {
        route.push('/');
        let version = part.starts_with('v') && part[1..].starts_with(|c: char| c.is_ascii_digit());
        let id = part.len() >= 15 && part.bytes().any(|b| b.is_ascii_digit());
        route.push_str(if version {
            "v"
        } else if id {
            "{id}"
        } else {
            part
        });
    }
    (kind.to_owned(), route)
}

/// Jobs are not data: neither their start nor their end is a write.
fn bulk(method: &str, rest: &[&str]) -> &'static str {
    match (method, rest) {
        ("GET" | "HEAD", []) => "bulk_list",
        ("POST", []) => "bulk_create",
        ("GET" | "HEAD", [_]) => "bulk_job",
        ("PATCH", [_]) => "bulk_abort",
        ("DELETE", [_]) => "bulk_delete",
        ("GET" | "HEAD", [_, "results"]) => "bulk_results",
        ("GET" | "HEAD", [_, "resultPages"]) => "bulk_pages",
        ("GET" | "HEAD", _) => "other",
        _ => "write",
    }
}

/// The query of a new job.
pub(crate) fn job_query(body: &[u8]) -> Option<String> {
    let body: Json = serde_json::from_slice(body).ok()?;
    Some(body["query"].as_str()?.to_owned())
}

/// The requests in a composite's or batch's body.
pub(crate) fn inner_requests(body: &[u8]) -> Vec<Inner> {
    let Ok(body) = serde_json::from_slice::<Json>(body) else {
        return Vec::new();
    };
    let list = body.get("compositeRequest").or_else(|| body.get("batchRequests"));
    let inner = |request: &Json| {
        let method = request["method"].as_str().unwrap_or("").to_uppercase();
        let url = request["url"].as_str().unwrap_or("").to_owned();
        let path = url.split('?').next().unwrap_or("");
        let path = if path.starts_with('v') {
            format!("/services/data/{path}")
        } else {
            path.to_owned()
        };
        let (kind, _) = classify(&method, &path);
        Inner { method, url, kind }
    };
    list.and_then(Json::as_array)
        .map(|list| list.iter().map(inner).collect())
        .unwrap_or_default()
}
