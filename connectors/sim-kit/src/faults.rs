//! Faults for later requests: they replace or change the answer of matching requests. [`crate::effects`] has what they
//! do to an answer.

use std::time::{Duration, Instant};

use axum::http::Uri;
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

/// A fault.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Fault {
    /// The prefix of the request's path; any path by default.
    #[serde(default)]
    pub path: String,
    /// The kind of the request, as in the log of requests.
    #[serde(default)]
    pub request: Option<String>,
    /// The request's method.
    #[serde(default)]
    pub method: Option<String>,
    /// The decoded query or the body contains this.
    #[serde(default)]
    pub contains: Option<String>,
    /// The number of matching requests that pass first.
    #[serde(default)]
    pub skip: u32,
    /// Only every nth matching request fails.
    #[serde(default)]
    pub every: Option<u32>,
    /// The matching requests since the last that failed, for `every`.
    #[serde(skip)]
    passed: u32,
    /// The number of requests that fail.
    #[serde(default = "once")]
    pub times: u32,
    /// Instead of `times`: every matching request fails for this many seconds from now on.
    #[serde(default)]
    pub seconds: Option<f64>,
    /// The end of `seconds`.
    #[serde(skip)]
    until: Option<Instant>,
    /// A pause in milliseconds before the answer; with `drip`, before each piece of it.
    #[serde(default)]
    pub delay_ms: u64,
    /// The effect.
    #[serde(default)]
    pub kind: Kind,
    /// An error code of the CRM, which determines status and body.
    #[serde(default)]
    code: Option<String>,
    /// With `code`: another text than the usual one.
    #[serde(default)]
    message: Option<String>,
    /// The status of the answer.
    #[serde(default)]
    pub status: Option<u16>,
    /// The body of the answer.
    #[serde(default)]
    pub body: Option<String>,
    /// The content type of the answer.
    #[serde(default)]
    pub content_type: Option<String>,
    /// Headers of the answer.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The number of bytes of the body before the effect: half of the body by default, none for `reset` and `stall`.
    /// For `drip`, the size of a piece (1,000).
    #[serde(default)]
    pub after_bytes: Option<usize>,
    /// Calls of control routes before the request is executed. They change the CRM at a chosen moment.
    #[serde(default)]
    pub act: Vec<Act>,
    /// Applies to the requests inside a request that contains several, not to the outer request.
    #[serde(default)]
    pub inner: bool,
}

fn once() -> u32 {
    1
}

/// The effect of a fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Answers `status` and `body` without executing the request.
    #[default]
    Status,
    /// Only delays the answer.
    Delay,
    /// Executes the request, then cuts the connection in the middle of the answer.
    Cut,
    /// Executes the request, then makes the JSON of the answer invalid.
    Garbage,
    /// A web page: the CRM's own with 200 (the default), a gateway's with any other `status`.
    Html,
    /// Executes the request, then cuts the connection before the answer: the outcome is unknown to the caller.
    Lost,
    /// Only executes `act`, then the request.
    Act,
    /// Executes the request, then ends the answer early, as if it were complete.
    Truncate,
    /// Executes the request, then resets the connection.
    Reset,
    /// Does not execute the request, and never answers.
    Hang,
    /// Executes the request, and never answers, or not after `after_bytes`.
    Stall,
    /// Executes the request, and sends the answer in small pieces.
    Drip,
    /// Executes the request, and truncates the compressed answer. The message is complete, its gzip stream is not.
    CutGzip,
    /// Executes the request, and labels the plain answer as gzip.
    Mislabelled,
}

/// A call of a control route.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// The route, without `/control`.
    pub route: String,
    /// The body of the POST.
    #[serde(default)]
    pub body: serde_json::Value,
}

impl Fault {
    /// Sets the fields that follow from the code, with `refusal`, and starts the duration.
    ///
    /// # Errors
    /// The code is unknown.
    pub fn begin(
        mut self,
        refusal: impl Fn(&str, Option<&str>) -> Option<(u16, String)>,
    ) -> Result<Self, String> {
        if let Some(code) = &self.code {
            let known = refusal(code, self.message.as_deref());
            let (status, body) = known.ok_or_else(|| format!("there is no refusal {code}"))?;
            self.status.get_or_insert(status);
            self.body.get_or_insert(body);
        }
        self.until = self
            .seconds
            .map(|seconds| Instant::now() + Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0)));
        Ok(self)
    }

    /// Whether it is one of the CRM's own errors, chosen by its code.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.kind == Kind::Status && self.code.is_some()
    }

    /// Whether it answers without executing the request.
    #[must_use]
    pub fn answers(&self) -> bool {
        matches!(self.kind, Kind::Status | Kind::Html)
    }

    fn over(&self) -> bool {
        match self.until {
            Some(until) => Instant::now() >= until,
            None => self.times == 0,
        }
    }

    fn matches(&self, request: &Asked<'_>) -> bool {
        !self.over()
            && self.inner == request.inner
            && request.path.starts_with(&self.path)
            && self.request.as_ref().is_none_or(|kind| kind == request.kind)
            && self
                .method
                .as_ref()
                .is_none_or(|m| m.eq_ignore_ascii_case(request.method))
            && self
                .contains
                .as_ref()
                .is_none_or(|c| request.text.contains(c.as_str()))
    }
}

/// A request to be matched with faults.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its path.
    pub path: &'a str,
    /// Its kind in the log of requests.
    pub kind: &'a str,
    /// The text that `contains` is matched with; see [`text`].
    pub text: &'a str,
    /// It is inside another request.
    pub inner: bool,
}

/// The decoded query and the body of a request.
#[must_use]
pub fn text(uri: &Uri, body: &[u8]) -> String {
    let query = form_urlencoded::parse(uri.query().unwrap_or("").as_bytes());
    let query: String = query.map(|(k, v)| format!("{k}={v}&")).collect();
    query + &String::from_utf8_lossy(body)
}

/// The fault for a request, if any; used-up faults are removed.
pub fn strike(faults: &mut Vec<Fault>, request: &Asked<'_>) -> Option<Fault> {
    let mut struck = None;
    for fault in faults.iter_mut().filter(|f| f.matches(request)) {
        if fault.skip > 0 {
            fault.skip -= 1;
        } else if fault.passed + 1 < fault.every.unwrap_or(1) {
            fault.passed += 1;
        } else if struck.is_none() {
            fault.passed = 0;
            fault.times = fault.times.saturating_sub(1);
            struck = Some(fault.clone());
        }
    }
    faults.retain(|f| !f.over());
    struck
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(json: &str) -> Fault {
        let fault: Fault = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}"));
        let known = |code: &str, message: Option<&str>| {
            (code == "KNOWN").then(|| (403, message.unwrap_or("usual").to_owned()))
        };
        fault.begin(known).unwrap_or_else(|error| panic!("{error}"))
    }

    fn asked<'a>(method: &'a str, path: &'a str, text: &'a str) -> Asked<'a> {
        Asked {
            method,
            path,
            kind: "list",
            text,
            inner: false,
        }
    }

    #[test]
    fn a_fault_strikes_what_it_matches_after_what_it_skips_and_so_often() {
        let mut faults = vec![order(
            r#"{"path":"/a","method":"get","contains":"x=1","skip":1,"times":2}"#,
        )];
        let mut hits = |method, path, text| strike(&mut faults, &asked(method, path, text)).is_some();
        for (method, path, text) in [("POST", "/a", "x=1"), ("GET", "/b", "x=1"), ("GET", "/a", "x=2")] {
            assert!(!hits(method, path, text));
        }
        let got: Vec<bool> = (0..4).map(|_| hits("GET", "/a/b", "x=1&")).collect();
        assert_eq!(got, [false, true, true, false]);
        assert!(faults.is_empty());
    }

    #[test]
    fn an_order_by_seconds_lasts_and_one_inside_another_is_apart() {
        let mut faults = vec![
            order(r#"{"path":"/","seconds":600}"#),
            order(r#"{"path":"/","inner":true}"#),
        ];
        for _ in 0..3 {
            let struck = strike(&mut faults, &asked("GET", "/", ""));
            assert!(struck.is_some_and(|fault| !fault.inner));
        }
        let inside = Asked {
            inner: true,
            ..asked("GET", "/", "")
        };
        assert!(strike(&mut faults, &inside).is_some() && strike(&mut faults, &inside).is_none());
        assert_eq!(faults.len(), 1);
    }

    #[test]
    fn requests_of_a_kind_are_struck_and_every_nth() {
        let mut faults = vec![order(r#"{"request":"list","every":3,"times":2}"#)];
        let other = Asked {
            kind: "page",
            ..asked("GET", "/", "")
        };
        assert!(strike(&mut faults, &other).is_none());
        let got: Vec<bool> = (0..7)
            .map(|_| strike(&mut faults, &asked("GET", "/x", "")).is_some())
            .collect();
        assert_eq!(got, [false, false, true, false, false, true, false]);
    }

    #[test]
    fn a_code_gives_status_and_body() {
        let fault = order(r#"{"path":"/","code":"KNOWN","message":"other"}"#);
        assert!(fault.is_own() && fault.answers());
        assert_eq!((fault.status, fault.body.as_deref()), (Some(403), Some("other")));
        let unknown: Fault = serde_json::from_str(r#"{"path":"/","code":"NO"}"#).unwrap();
        assert!(unknown.begin(|_, _| None).is_err());
    }
}
