//! Faults for later requests: they replace or change the answer of matching requests.

use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

/// A fault.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Fault {
    /// The prefix of the request's path.
    pub path: String,
    /// The request's method.
    #[serde(default)]
    pub method: Option<String>,
    /// The decoded query or the body contains this.
    #[serde(default)]
    pub contains: Option<String>,
    /// The number of matching requests that pass first.
    #[serde(default)]
    pub skip: u32,
    /// The number of requests that fail.
    #[serde(default = "once")]
    pub times: u32,
    /// Instead of `times`: every matching request fails for this many seconds from now on.
    #[serde(default)]
    pub seconds: Option<f64>,
    /// The end of `seconds`.
    #[serde(skip)]
    until: Option<Instant>,
    /// A pause in milliseconds before the answer.
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
    /// For `cut`: after this many bytes of the body; half of it by default.
    #[serde(default)]
    pub after_bytes: Option<usize>,
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

    /// Waits for the configured pause.
    pub async fn wait(&self) {
        if self.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(self.delay_ms)).await;
        }
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
            && self
                .method
                .as_ref()
                .is_none_or(|m| m.eq_ignore_ascii_case(request.method))
            && self
                .contains
                .as_ref()
                .is_none_or(|c| request.text.contains(c.as_str()))
    }

    /// The body of a fault that [answers](Fault::answers). `page` is the CRM's own web page.
    #[must_use]
    pub fn text(&self, page: &str) -> String {
        match (&self.body, self.kind, self.status) {
            (Some(body), ..) => body.clone(),
            (None, Kind::Html, None | Some(200)) => page.to_owned(),
            (None, Kind::Html, Some(status)) => format!(
                "<html>\r\n<head><title>{status}</title></head>\r\n<body>\r\n<center><h1>{status}</h1></center>\r\n\
                 <hr><center>gateway</center>\r\n</body>\r\n</html>\r\n"
            ),
            (None, ..) => String::new(),
        }
    }

    /// The answer of a fault that [answers](Fault::answers). `page` is the CRM's own web page, `more` further headers.
    #[must_use]
    pub fn instead(&self, page: &str, more: &[(String, String)]) -> Response {
        let html = self.kind == Kind::Html;
        let status = self.status.unwrap_or(if html { 200 } else { 500 });
        let usual = if html {
            "text/html;charset=UTF-8"
        } else {
            "application/json;charset=UTF-8"
        };
        let kind = self.content_type.clone().unwrap_or_else(|| usual.to_owned());
        let mut response =
            (StatusCode::from_u16(status).unwrap_or_default(), self.text(page)).into_response();
        let kind = [("content-type".to_owned(), kind)];
        put_headers(response.headers_mut(), &kind);
        put_headers(response.headers_mut(), more);
        put_headers(response.headers_mut(), &self.headers);
        response
    }

    /// Truncates or damages the answer of an executed request.
    pub async fn spoil(&self, response: Response) -> Response {
        let (mut parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
        let broken = || Err::<Bytes, _>(std::io::Error::other("cut by order of the control interface"));
        match self.kind {
            Kind::Cut => {
                let keep = self.after_bytes.unwrap_or(body.len() / 2).min(body.len());
                let part = body.slice(..keep);
                // The pause lets the data before the cut be sent; hyper would discard it together with the error.
                let end = stream::once(async move {
                    tokio::task::yield_now().await;
                    broken()
                });
                Response::from_parts(parts, Body::from_stream(stream::iter([Ok(part)]).chain(end)))
            }
            Kind::Lost => {
                // An error before the first byte of the body: the status line may or may not have been sent.
                parts.headers.clear();
                Response::from_parts(parts, Body::from_stream(stream::iter([broken()])))
            }
            Kind::Garbage => {
                let mut bytes = body[..body.len() / 2].to_vec();
                bytes.extend_from_slice(b"\x00<<<garbage");
                parts.headers.remove(header::CONTENT_LENGTH);
                Response::from_parts(parts, Body::from(bytes))
            }
            Kind::Status | Kind::Delay | Kind::Html => {
                put_headers(&mut parts.headers, &self.headers);
                Response::from_parts(parts, Body::from(body))
            }
        }
    }
}

fn put_headers(headers: &mut HeaderMap, more: &[(String, String)]) {
    for (name, value) in more {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
}

/// A request to be matched with faults.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its path.
    pub path: &'a str,
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
        } else if struck.is_none() {
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
    fn a_code_gives_status_and_body() {
        let fault = order(r#"{"path":"/","code":"KNOWN","message":"other"}"#);
        assert!(fault.is_own() && fault.answers());
        assert_eq!((fault.status, fault.body.as_deref()), (Some(403), Some("other")));
        let unknown: Fault = serde_json::from_str(r#"{"path":"/","code":"NO"}"#).unwrap();
        assert!(unknown.begin(|_, _| None).is_err());
    }

    #[tokio::test]
    async fn pages_are_the_crms_own_or_a_gateways() {
        for (json, status, part) in [
            (r#"{"path":"/","kind":"html"}"#, 200, "log in"),
            (r#"{"path":"/","kind":"html","status":403}"#, 403, "gateway"),
            (
                r#"{"path":"/","kind":"html","status":403,"body":"own"}"#,
                403,
                "own",
            ),
            (r#"{"path":"/","body":"own"}"#, 500, "own"),
        ] {
            let response = order(json).instead("log in", &[]);
            assert_eq!(response.status(), status, "{json}");
            let body = to_bytes(response.into_body(), 1 << 16).await.unwrap();
            assert!(String::from_utf8_lossy(&body).contains(part), "{json}");
        }
    }

    #[tokio::test]
    async fn a_cut_answer_ends_with_an_error() {
        let cut = order(r#"{"path":"/","kind":"cut","afterBytes":3}"#);
        let mut body = cut
            .spoil("abcdef".into_response())
            .await
            .into_body()
            .into_data_stream();
        assert_eq!(body.next().await.unwrap().unwrap(), "abc");
        assert!(body.next().await.unwrap().is_err());
        let garbage = order(r#"{"path":"/","kind":"garbage"}"#);
        let body = garbage.spoil("abcdef".into_response()).await.into_body();
        assert!(to_bytes(body, 1 << 16).await.unwrap().starts_with(b"abc\x00"));
    }
}
