//! Distinguishes replies of the CRM's API from replies of proxies, gateways, firewalls and login pages, which answer
//! with statuses of their own. Only a complete reply of the CRM's own API proves that a record or an object is
//! deleted, that a user may not see it, or that a result is empty. After any other reply the request is repeated.
//!
//! Gateways answer with 403 and 404 too. A sync that believed one page of a gateway once succeeded without a
//! fifth of its rows.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderMap, header};
use serde::de::DeserializeOwned;

use super::Response;
use super::reply::line;
use crate::proto::Error;

/// The pause after a rate limit if the reply does not contain one.
const RATE_PAUSE: Duration = Duration::from_secs(30);

/// The error code for a reply of a system between the connector and the CRM.
pub const FOREIGN: &str = "http.foreign";

impl Response {
    /// Whether the reply's content type is JSON or absent.
    #[must_use]
    pub fn is_json(&self) -> bool {
        is_json(&self.headers)
    }

    /// The reply if it is the API's own: JSON by its content type, complete, and of the form `T`. None for everything
    /// else: a web page, an empty or truncated body, the JSON of another program.
    ///
    /// `T` has to distinguish the API's replies from other JSON: its fields must be required, not defaulted. Many
    /// gateways answer `{"message": "Not Found"}`.
    #[must_use]
    pub fn own<T: DeserializeOwned>(&self) -> Option<T> {
        self.is_json()
            .then(|| serde_json::from_str(&self.text()).ok())
            .flatten()
    }

    /// The error for an unsuccessful reply that is not the API's own (see [`Response::own`]). It makes no statement
    /// about records, objects, fields or permissions: a 404 or 403 of a gateway is TRANSIENT and retried. Only
    /// statuses that mean the same from any sender keep their meaning: 401 is CREDENTIALS_EXPIRED (a refresh shows
    /// whether it is true), 413, 414 and 431 are QUERY_TOO_BIG, 420 and 429 RATE_LIMITED.
    #[must_use]
    pub fn foreign(&self, crm: &str) -> Error {
        let status = self.status.as_u16();
        let said = match title(&self.body) {
            Some(title) => format!("a web page, {title:?}"),
            None if self.body.is_empty() => "no body".to_owned(),
            None => "what is no answer of its API".to_owned(),
        };
        let text = format!("{crm} answered {status} with {said}");
        let wait = self.retry_after();
        let error = match status {
            401 => return Error::credentials_expired(text).code(FOREIGN),
            413 | 414 | 431 => return Error::query_too_big(text).code(FOREIGN),
            420 | 429 => Error::rate_limited(text).retry_after(wait.unwrap_or(RATE_PAUSE)),
            _ => match wait {
                Some(wait) => Error::transient(text).retry_after(wait),
                None => Error::transient(text),
            },
        };
        error.code(FOREIGN)
    }
}

/// Whether a content type is a JSON type; true if it is absent.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    let media = value.to_str().unwrap_or_default();
    let media = media
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    media == "application/json" || media == "text/json" || media.ends_with("+json")
}

/// The largest number of characters of a page's title in an error.
const LONGEST_TITLE: usize = 80;

/// The title of a web page.
fn title(body: &[u8]) -> Option<String> {
    if !super::is_page(body) {
        return None;
    }
    let text: Cow<'_, str> = String::from_utf8_lossy(&body[..body.len().min(4_096)]);
    let lower = text.to_ascii_lowercase();
    let from = lower
        .find("<title>")
        .map_or(lower.len(), |at| at + "<title>".len());
    let to = lower[from..]
        .find('<')
        .map_or(lower.len(), |length| from + length);
    Some(line(&text[from..to], LONGEST_TITLE))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderValue, StatusCode};
    use serde::Deserialize;

    use super::*;
    use crate::proto::ErrorKind;

    #[derive(Deserialize)]
    struct Refusal {
        code: String,
    }

    fn reply(status: u16, media: Option<&'static str>, body: &'static str) -> Response {
        let media = media.map(|media| (header::CONTENT_TYPE, HeaderValue::from_static(media)));
        Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers: media.into_iter().collect(),
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[test]
    fn only_whole_json_of_the_api_s_shape_is_its_own() {
        let own = |media, body| {
            reply(404, media, body)
                .own::<Refusal>()
                .map(|refusal| refusal.code)
        };
        let json = Some("application/json;charset=UTF-8");
        let gone = r#"{"code":"GONE"}"#;
        for media in [json, Some("application/problem+json"), Some("text/json"), None] {
            assert_eq!(own(media, gone).as_deref(), Some("GONE"));
        }
        for (media, body) in [
            (Some("text/html"), gone),
            (
                Some("application/xml"),
                "<Error><Code>AccessDenied</Code></Error>",
            ),
            (json, "<html><title>404</title></html>"),
            (json, r#"{"message":"Not Found"}"#),
            (json, r#"{"code":"GO"#),
            (json, ""),
            (None, "not found"),
        ] {
            assert_eq!(own(media, body), None, "{body}");
        }
    }

    #[test]
    fn what_is_foreign_proves_nothing() {
        use ErrorKind::{CredentialsExpired, QueryTooBig, RateLimited, Transient};
        for (status, kind) in [
            (302, Transient),
            (400, Transient),
            (401, CredentialsExpired),
            (403, Transient),
            (404, Transient),
            (405, Transient),
            (410, Transient),
            (414, QueryTooBig),
            (415, Transient),
            (420, RateLimited),
            (429, RateLimited),
            (502, Transient),
        ] {
            let error = reply(status, Some("text/html"), "<HTML><Title>Gate way</title>").foreign("Acme");
            assert_eq!((error.what(), error.code.as_str()), (kind, FOREIGN), "{status}");
            assert!(error.message.contains("Gate way") && error.message.contains(&status.to_string()));
            assert_eq!(error.retry_us > 0, kind == RateLimited);
        }
        let mut busy = reply(503, None, "");
        busy.headers
            .insert(header::RETRY_AFTER, HeaderValue::from_static("7"));
        assert!(busy.foreign("Acme").retry_us > 0);
    }
}
