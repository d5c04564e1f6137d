//! The requests that a connector declares.

use http::Method;
use url::Url;

/// Checks the body of a request before it is sent; the error text names the problem.
pub type BodyCheck = fn(&[u8]) -> Result<(), String>;

/// The methods and paths that a connector may use; other requests are refused as READ_ONLY.
///
/// A pattern is a path. A segment `*` matches any one segment, a last segment `**` one or more remaining segments; a
/// `*` inside a segment matches any characters of it: `/services/data/v*/query/**`.
#[derive(Clone, Debug, Default)]
pub struct ReadSet {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    method: Method,
    pattern: Vec<String>,
    check: Option<BodyCheck>,
}

impl ReadSet {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds GET of these paths.
    #[must_use]
    pub fn get(self, pattern: &str) -> Self {
        self.rule(Method::GET, pattern, None)
    }

    /// Adds POST to these paths with any body: for endpoints that cannot change records (token, revoke).
    #[must_use]
    pub fn post(self, pattern: &str) -> Self {
        self.rule(Method::POST, pattern, None)
    }

    /// Adds POST to these paths with bodies that pass the check: for endpoints that could write, such as composite
    /// requests.
    #[must_use]
    pub fn post_checked(self, pattern: &str, check: BodyCheck) -> Self {
        self.rule(Method::POST, pattern, Some(check))
    }

    /// Adds this method for these paths.
    #[must_use]
    pub fn rule(mut self, method: Method, pattern: &str, check: Option<BodyCheck>) -> Self {
        let pattern = segments(pattern).map(str::to_owned).collect();
        self.rules.push(Rule {
            method,
            pattern,
            check,
        });
        self
    }

    /// Checks whether a request is in the set; the error text names the reason and contains no secrets.
    ///
    /// If several rules match, one that accepts the body is sufficient.
    pub fn check(&self, method: &Method, url: &Url, body: &[u8]) -> Result<(), String> {
        let path = url.path();
        // A server that decodes these would see another path than the one checked here.
        let lower = path.to_ascii_lowercase();
        if ["%2f", "%5c", "%2e", "%00", "\\"]
            .iter()
            .any(|hidden| lower.contains(hidden))
        {
            return Err(format!("{method} {path}: the path hides a separator"));
        }
        // Some CRMs read the actual method from the query.
        if url
            .query_pairs()
            .any(|(key, _)| key.to_ascii_lowercase().contains("httpmethod"))
        {
            return Err(format!("{method} {path}: the query overrides the method"));
        }
        let path: Vec<&str> = segments(path).collect();
        let mut refused = None;
        for rule in self
            .rules
            .iter()
            .filter(|rule| rule.method == *method && matches(&rule.pattern, &path))
        {
            match rule.check.map_or(Ok(()), |check| check(body)) {
                Ok(()) => return Ok(()),
                Err(reason) => refused = Some(reason),
            }
        }
        let reason = refused.unwrap_or_else(|| "not in the connector's read set".to_owned());
        Err(format!("{method} {}: {reason}", url.path()))
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

fn matches(pattern: &[String], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((last, [])), Some(_)) if last == "**" => true,
        (Some((expected, pattern)), Some((segment, path))) => {
            segment_matches(expected, segment) && matches(pattern, path)
        }
        _ => false,
    }
}

/// One `*` in a segment matches one or more characters.
fn segment_matches(expected: &str, segment: &str) -> bool {
    match expected.split_once('*') {
        None => expected == segment,
        Some((before, after)) => {
            segment.len() > before.len() + after.len()
                && segment.starts_with(before)
                && segment.ends_with(after)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_set() -> ReadSet {
        ReadSet::new()
            .get("/data/v*/query/**")
            .get("/data/v*/sobjects/*/describe")
            .post("/oauth2/token")
            .post_checked("/data/v*/composite", |body| {
                if body.starts_with(b"GET") {
                    Ok(())
                } else {
                    Err("not all parts are GETs".to_owned())
                }
            })
    }

    fn check(method: Method, path: &str, body: &[u8]) -> bool {
        let url = Url::parse("https://crm.example").unwrap().join(path).unwrap();
        read_set().check(&method, &url, body).is_ok()
    }

    #[test]
    fn what_is_declared_passes() {
        assert!(check(Method::GET, "/data/v62.0/query/abc/def?q=1", b""));
        assert!(check(Method::GET, "/data/v62.0/sobjects/Account/describe", b""));
        assert!(check(Method::POST, "/oauth2/token", b"grant_type=x"));
        assert!(check(Method::POST, "/data/v62.0/composite", b"GET"));
    }

    #[test]
    fn everything_else_is_refused() {
        for (method, path) in [
            (Method::POST, "/data/v62.0/query/abc"),
            (Method::DELETE, "/data/v62.0/query/abc"),
            (Method::GET, "/data/v62.0/query"),
            (Method::GET, "/data/v/query/x"),
            (Method::GET, "/data/v62.0/sobjects/Account/x/describe"),
            (Method::GET, "/data/v62.0/query/../sobjects/Account"),
            (Method::GET, "/data/v62.0/query/%2e%2e/sobjects"),
            (Method::GET, "/data/v62.0/query/..%2fsobjects"),
            (Method::POST, "/oauth2/token?_HttpMethod=PATCH"),
            (Method::POST, "/oauth2/token/"),
            (Method::POST, "/data/v62.0/composite"),
        ] {
            assert!(!check(method.clone(), path, b"PATCH"), "{method} {path} passed");
        }
    }
}
