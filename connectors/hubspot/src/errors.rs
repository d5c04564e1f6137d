//! The meaning of the API's errors: `{status, message, correlationId, category, …}`, a gateway's page, or an empty
//! body.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value as Json;
use tether_connector_sdk::http::{is_page, one_line};
use tether_connector_sdk::proto::{Error, ErrorKind};

/// Searches are limited per second.
const SECOND: Duration = Duration::from_secs(1);

/// The content of one failed reply.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// The CRM's category, or empty.
    pub(crate) category: String,
    /// The CRM's text, in one line.
    pub(crate) text: String,
    /// The limit that was reached.
    pub(crate) policy: String,
    /// Scopes that are missing.
    pub(crate) scopes: Vec<String>,
    /// The reply is not JSON of HubSpot.
    pub(crate) foreign: bool,
    /// The reply is a gateway's page.
    pub(crate) page: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    correlation_id: Option<String>,
    category: Option<String>,
    message: Option<String>,
    error_type: Option<String>,
    policy_name: Option<String>,
    errors: Vec<Detail>,
    context: Json,
}

impl Body {
    /// HubSpot's errors have a message and at least one of HubSpot's own keys. Gateways also answer
    /// `{"message":"Forbidden"}` and `{"status":"error"}`.
    fn is_own(&self) -> bool {
        let has = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
        let keys = [
            &self.correlation_id,
            &self.category,
            &self.error_type,
            &self.policy_name,
        ];
        has(&self.message) && keys.into_iter().any(has)
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Detail {
    context: Json,
}

/// Reads an error body.
pub(crate) fn read(body: &[u8]) -> Said {
    let Some(body) = serde_json::from_slice::<Body>(body).ok().filter(Body::is_own) else {
        return Said {
            foreign: true,
            // The short form of the page, for clients that do not accept HTML: `error code: 1020`.
            page: is_page(body) || body.trim_ascii_start().starts_with(b"error code:"),
            ..Said::default()
        };
    };
    let contexts = body
        .errors
        .iter()
        .map(|detail| &detail.context)
        .chain([&body.context]);
    let mut scopes: Vec<String> = contexts
        .flat_map(|context| [&context["requiredGranularScopes"], &context["requiredScopes"]])
        .filter_map(Json::as_array)
        .flatten()
        .filter_map(Json::as_str)
        .map(|scope| scope.chars().filter(|c| c.is_ascii_graphic()).take(80).collect())
        .take(8)
        .collect();
    scopes.dedup();
    Said {
        category: body.category.or(body.error_type).unwrap_or_default(),
        text: one_line(&body.message.unwrap_or_default()),
        policy: body.policy_name.unwrap_or_default(),
        scopes,
        foreign: false,
        page: false,
    }
}

/// Whether an error body is HubSpot's own. Other bodies say nothing about a request, a record, an object or a
/// permission.
pub(crate) fn is_own(body: &[u8]) -> bool {
    !read(body).foreign
}

/// Classifies a failed reply. `retry_after` is the pause requested by the reply, `window` the length of HubSpot's
/// rate window.
pub(crate) fn classify(
    status: u16,
    body: &[u8],
    retry_after: Option<Duration>,
    window: Duration,
    now_us: i64,
) -> Error {
    let said = read(body);
    let kind = kind_of(status, &said);
    let wait = match kind {
        ErrorKind::RateLimited if said.policy.eq_ignore_ascii_case("SECONDLY") => {
            Some(retry_after.unwrap_or(SECOND))
        }
        ErrorKind::RateLimited => Some(retry_after.unwrap_or(window)),
        // The daily allowance is reset at midnight of the portal's time zone, which is unknown.
        ErrorKind::AllowanceExhausted | ErrorKind::Transient => retry_after,
        _ => None,
    };
    let error = Error::new(kind, sentence(kind, status, &said)).code(code(status, &said));
    match wait {
        Some(wait) => error.retry_at_us(now_us + i64::try_from(wait.as_micros()).unwrap_or(i64::MAX / 2)),
        None => error,
    }
}

fn code(status: u16, said: &Said) -> String {
    match (said.policy.as_str(), said.category.as_str()) {
        ("", "") => format!("http.{status}"),
        ("", category) => category.to_owned(),
        (policy, _) => policy.to_owned(),
    }
}

#[rustfmt::skip]
fn kind_of(status: u16, said: &Said) -> ErrorKind {
    use ErrorKind::*;
    let text = said.text.to_ascii_lowercase();
    match (status, said.category.as_str()) {
        // Only HubSpot's own reply is evidence about a request, a record or an object. After a gateway's reply the
        // request is repeated.
        (400 | 402..=407 | 409..=412 | 415..=428, _) if said.foreign => Transient,
        (401, _) if said.page                           => Transient,
        // A refresh shows whether the token expired or was revoked.
        (401, _)                                        => CredentialsExpired,
        (403, _) if text.contains("deactivated") || text.contains("suspended") => Suspended,
        (403, _)                                        => Forbidden,
        // An object that does not exist in the portal; the reply has no category.
        (400, _) if text.starts_with("unable to infer object type") => ObjectGone,
        (404, _)                                        => RecordGone,
        (429, _) if said.policy.eq_ignore_ascii_case("DAILY") || text.contains("daily limit") => AllowanceExhausted,
        (429, _)                                        => RateLimited,
        (413 | 414 | 431, _)                            => QueryTooBig,
        // The record is locked, or the portal is being moved to another data centre.
        (408 | 423 | 477, _) | (500..=599, _)           => Transient,
        (301..=308, _)                                  => Transient,
        (400, "VALIDATION_ERROR") if text.contains("paging") || text.contains("offset") || text.contains("after") => CursorGone,
        _                                               => Bug,
    }
}

fn sentence(kind: ErrorKind, status: u16, said: &Said) -> String {
    let quoted = match (said.category.as_str(), said.text.as_str()) {
        ("", "") => format!("HTTP {status}"),
        ("", text) => format!("HTTP {status}: {text}"),
        (category, "") => category.to_owned(),
        (category, text) => format!("{category}: {text}"),
    };
    let lead = match kind {
        ErrorKind::CredentialsExpired => "HubSpot no longer accepts the access token".to_owned(),
        ErrorKind::Forbidden if !said.scopes.is_empty() => format!(
            "the login lacks the scope {}; log in again and grant it, or have the app ask for it",
            said.scopes.join(", ")
        ),
        ErrorKind::Forbidden => "the logged-in user lacks a permission".to_owned(),
        ErrorKind::Suspended => "the HubSpot user or account was deactivated".to_owned(),
        ErrorKind::ObjectGone => "the HubSpot account has no such object".to_owned(),
        ErrorKind::RecordGone => "HubSpot has no such record, or the user cannot see it".to_owned(),
        ErrorKind::CursorGone => "HubSpot no longer accepts the place in the list".to_owned(),
        ErrorKind::QueryTooBig => "the request asks for too much at once".to_owned(),
        ErrorKind::RateLimited => "HubSpot asks to slow down".to_owned(),
        ErrorKind::AllowanceExhausted => "the account has used up its API calls of the day".to_owned(),
        ErrorKind::Transient => "HubSpot could not answer just now".to_owned(),
        _ => "HubSpot refused the request".to_owned(),
    };
    format!("{lead} ({quoted})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorKind::*;

    const WINDOW: Duration = Duration::from_secs(10);

    fn said(status: u16, body: Json) -> Error {
        classify(status, body.to_string().as_bytes(), None, WINDOW, 0)
    }

    #[test]
    fn the_table() {
        #[rustfmt::skip]
        let table = [
            (400, "VALIDATION_ERROR", "Invalid input JSON on line 1", Bug),
            (400, "VALIDATION_ERROR", "invalid paging offset: x", CursorGone),
            (401, "EXPIRED_AUTHENTICATION", "The OAuth token used to make this call expired 5 second(s) ago.", CredentialsExpired),
            (401, "INVALID_AUTHENTICATION", "Authentication credentials not found.", CredentialsExpired),
            (403, "MISSING_SCOPES", "This app hasn't been granted all required scopes", Forbidden),
            (403, "FORBIDDEN", "This account has been deactivated", Suspended),
            (404, "OBJECT_NOT_FOUND", "resource not found", RecordGone),
            (405, "", "Method Not Allowed", Bug),
            (400, "", "Unable to infer object type from: tickets", ObjectGone),
            (404, "", "resource not found", RecordGone),
            (423, "", "locked", Transient),
            (477, "", "Migration in progress", Transient),
            (500, "", "internal error", Transient),
            (502, "", "bad gateway", Transient),
            (521, "", "web server is down", Transient),
        ];
        for (status, category, message, kind) in table {
            let error = said(
                status,
                serde_json::json!({"status": "error", "category": category, "message": message, "correlationId": "1"}),
            );
            assert_eq!(error.kind(), kind, "{status} {category}: {message}");
            assert!(error.message.contains(message), "{}", error.message);
        }
    }

    #[test]
    fn missing_scopes_are_named() {
        let error = said(
            403,
            serde_json::json!({
                "category": "MISSING_SCOPES", "message": "This app hasn't been granted all required scopes",
                "errors": [{"message": "One or more", "context": {"requiredGranularScopes": ["crm.objects.deals.read"]}}],
            }),
        );
        assert!(
            error.is(Forbidden) && error.message.contains("lacks the scope crm.objects.deals.read;"),
            "{error}"
        );
    }

    #[test]
    fn limits_say_when_to_come_back() {
        let limit = |policy: &str| {
            said(
                429,
                serde_json::json!({"errorType": "RATE_LIMIT", "policyName": policy, "message": "x"}),
            )
        };
        for (policy, kind, wait_us) in [
            ("TEN_SECONDLY_ROLLING", RateLimited, 10_000_000),
            ("SECONDLY", RateLimited, 1_000_000),
            ("DAILY", AllowanceExhausted, 0),
        ] {
            let error = limit(policy);
            assert_eq!(
                (error.what(), error.retry_us, error.code.as_str()),
                (kind, wait_us, policy)
            );
        }
        let wished = classify(429, b"", Some(Duration::from_secs(3)), WINDOW, 7);
        assert_eq!((wished.what(), wished.retry_us), (RateLimited, 3_000_007));
    }

    #[test]
    fn hubspots_own_errors_are_told_from_others() {
        for own in [
            r#"{"status":"error","message":"resource not found","correlationId":"1"}"#,
            r#"{"message":"x","correlationId":"1"}"#,
            r#"{"category":"MISSING_SCOPES","message":"x"}"#,
            r#"{"errorType":"RATE_LIMIT","policyName":"DAILY","message":"x"}"#,
        ] {
            assert!(is_own(own.as_bytes()), "{own}");
        }
        for other in [
            "",
            "{}",
            "[]",
            "null",
            "no",
            "<html>",
            r#"{"message":"Forbidden"}"#,
            r#"{"status":404,"error":"Not Found"}"#,
            r#"{"status":"error"}"#,
            r#"{"status":"error","message":"Not Found"}"#,
            r#"{"status":"error","message":"","correlationId":"1"}"#,
            r#"{"status":"error","message":"Not Found","correlationId":"","category":""}"#,
            r#"{"correlationId":"1"}"#,
            r#"{"category":"OBJECT_NOT_FOUND"}"#,
        ] {
            assert!(!is_own(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn bodies_that_are_not_hubspots() {
        for (status, body, kind) in [
            (
                403,
                &b"<html>Attention Required! | Cloudflare</html>"[..],
                Transient,
            ),
            (403, b"\n<!DOCTYPE html>", Transient),
            (403, b"error code: 1020", Transient),
            (403, b"", Transient),
            (403, b"no", Transient),
            (404, b"<html>", Transient),
            (400, b"<html>", Transient),
            (401, b"<html>", Transient),
            (405, b"<!doctype html>", Transient),
            (410, b"<html>", Transient),
            (415, b"<html>", Transient),
            (404, b"", Transient),
            (
                404,
                br#"{"message":"no Route matched with those values"}"#,
                Transient,
            ),
            (404, br#"{"detail":"Not Found","status":404}"#, Transient),
            (400, br#"{"message":"Bad Request"}"#, Transient),
            (403, br#"{"message":"Forbidden"}"#, Transient),
            (403, br#"{"status":"error"}"#, Transient),
            (404, br#"{"status":"error","message":"Not Found"}"#, Transient),
            (414, b"<html><h1>414", QueryTooBig),
            (503, b"\xff\xfe", Transient),
            (401, b"", CredentialsExpired),
        ] {
            assert_eq!(classify(status, body, None, WINDOW, 0).what(), kind, "{status}");
        }
    }
}
