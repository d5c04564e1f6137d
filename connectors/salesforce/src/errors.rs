//! What the REST API's errors mean. Bodies come as a JSON array, an object, XML, HTML or not at all, whatever was asked
//! for; the same code may mean two things, and then the text decides.

use serde::Deserialize;
use tether_connector_sdk::http::one_line;
use tether_connector_sdk::proto::{Error, ErrorKind};

/// An hour: the allowance is counted over the last 24, so asking sooner is of little use.
const ALLOWANCE_PAUSE_US: i64 = 3_600_000_000;
/// Half a minute, for "too many at once".
const RATE_PAUSE_US: i64 = 30_000_000;

/// What one failed reply said.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// The CRM's code, or empty.
    pub(crate) code: String,
    /// The CRM's text, in one line.
    pub(crate) text: String,
}

#[derive(Deserialize)]
struct RestError {
    #[serde(default, rename = "errorCode", alias = "error", alias = "exceptionCode")]
    code: Option<String>,
    #[serde(default, alias = "error_description", alias = "exceptionMessage")]
    message: Option<String>,
}

/// Reads an error body in any of its forms.
pub(crate) fn read(body: &[u8]) -> Said {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    let parsed = serde_json::from_str::<Vec<RestError>>(text)
        .ok()
        .and_then(|list| list.into_iter().next())
        .or_else(|| serde_json::from_str::<RestError>(text).ok());
    if let Some(error) = parsed {
        return Said {
            code: error.code.unwrap_or_default(),
            text: told(&error.message.unwrap_or_default()),
        };
    }
    let tag = |name: &str| {
        let from = text.find(&format!("<{name}>"))? + name.len() + 2;
        let to = text[from..].find("</")? + from;
        Some(text[from..to].to_owned())
    };
    if let Some(code) = tag("errorCode") {
        return Said {
            code,
            text: told(&tag("message").unwrap_or_default()),
        };
    }
    if text.starts_with('<') || text.starts_with('{') || text.starts_with('[') {
        return Said::default();
    }
    Said {
        code: String::new(),
        text: told(text),
    }
}

/// The CRM's text without line breaks and caret art, at most 300 characters. A query's text is cut off: what matters is
/// behind it.
fn told(text: &str) -> String {
    let text = match text.find("ERROR at Row:") {
        Some(at) => text[at..].split_once('\n').map_or(&text[at..], |(_, rest)| rest),
        None => text,
    };
    let words: Vec<&str> = text.split_whitespace().filter(|word| *word != "^").collect();
    one_line(&words.join(" "))
}

/// The field named by `No such column 'X' on entity 'Y'`.
pub(crate) fn missing_column(text: &str) -> Option<&str> {
    let rest = &text[text.find("No such column '")? + 16..];
    rest.split_once('\'').map(|(name, _)| name)
}

/// The object named by `sObject type 'X' is not supported`.
fn unsupported_object(text: &str) -> Option<&str> {
    let rest = &text[text.find("sObject type '")? + 14..];
    rest.split_once('\'').map(|(name, _)| name)
}

/// What a failed reply means. `retry_after_us` is the reply's own wish, `now_us` the time now.
pub(crate) fn classify(status: u16, body: &[u8], retry_after_us: Option<i64>, now_us: i64) -> Error {
    let said = read(body);
    let kind = kind_of(status, &said);
    let retry_us = match (kind, retry_after_us) {
        (ErrorKind::AllowanceExhausted, None) => now_us + ALLOWANCE_PAUSE_US,
        (ErrorKind::RateLimited, None) => now_us + RATE_PAUSE_US,
        (ErrorKind::AllowanceExhausted | ErrorKind::RateLimited | ErrorKind::Transient, Some(wait)) => {
            now_us + wait
        }
        _ => 0,
    };
    let field = match kind {
        ErrorKind::FieldGone => missing_column(&said.text).unwrap_or_default().to_owned(),
        _ => String::new(),
    };
    let object = match kind {
        ErrorKind::ObjectGone => unsupported_object(&said.text).unwrap_or_default().to_owned(),
        _ => String::new(),
    };
    Error {
        kind: kind.into(),
        message: sentence(kind, status, &said),
        code: said.code,
        object,
        field,
        retry_us,
        api_usage: None,
    }
}

#[rustfmt::skip]
fn kind_of(status: u16, said: &Said) -> ErrorKind {
    use ErrorKind::*;
    let text = said.text.to_ascii_lowercase();
    match (status, said.code.as_str()) {
        (_, "INVALID_SESSION_ID") if text.contains("session expired or invalid") => CredentialsExpired,
        (_, "INVALID_SESSION_ID")                       => AdminAction,
        (_, "INVALID_AUTH_HEADER")                      => Bug,
        (_, "INVALID_FIELD") if missing_column(&said.text).is_some() => FieldGone,
        (_, "INVALID_FIELD") if text.contains("relationship") => FieldGone,
        (_, "INVALID_TYPE")                             => ObjectGone,
        (_, "INVALID_QUERY_LOCATOR")                    => CursorGone,
        (_, "QUERY_TIMEOUT" | "QUERY_TOO_COMPLICATED")  => QueryTooBig,
        (_, "OPERATION_TOO_LARGE" | "API_ERROR")        => AdminAction,
        (_, code) if code.starts_with("TXN_SECURITY_")  => AdminAction,
        (_, code) if code.starts_with("EXTERNAL_OBJECT_") => ObjectGone,
        (_, "UNABLE_TO_LOCK_ROW" | "SERVER_UNAVAILABLE" | "API_CURRENTLY_DISABLED") => Transient,
        (_, "REQUEST_LIMIT_EXCEEDED") if text.contains("concurrent") => RateLimited,
        (_, "REQUEST_LIMIT_EXCEEDED")                   => AllowanceExhausted,
        (_, "API_DISABLED_FOR_ORG" | "FUNCTIONALITY_NOT_ENABLED" | "CLIENT_NOT_ACCESSIBLE_FOR_USER"
            | "LOGIN_MUST_USE_SECURITY_TOKEN")          => AdminAction,
        (_, "INSUFFICIENT_ACCESS" | "INSUFFICIENT_ACCESS_OR_READONLY" | "FORBIDDEN") => Forbidden,
        (_, "ENTITY_IS_DELETED")                        => RecordGone,
        (_, "MALFORMED_ID")                             => InvalidInput,
        (410, _) | (_, "UNSUPPORTED_API_VERSION" | "GONE") => Configuration,
        (404, _) | (_, "NOT_FOUND")                      => RecordGone,
        // A redirect leads to a login page or to the account's new home; a refresh tells which.
        (301..=303 | 307 | 308, _)                      => CredentialsExpired,
        (401, _) if said.code.is_empty()                => CredentialsExpired,
        (401, _)                                        => AdminAction,
        (403, _) if text.contains("bad_oauth_token") || text.contains("missing_oauth_token") => CredentialsExpired,
        (403, _) if text.contains("inactive")           => Suspended,
        (403, _)                                        => Forbidden,
        (413 | 414 | 431, _)                            => QueryTooBig,
        (420 | 429, _)                                  => RateLimited,
        (408 | 500..=599, _)                            => Transient,
        (200..=299, _)                                  => Transient,
        _                                               => Bug,
    }
}

fn sentence(kind: ErrorKind, status: u16, said: &Said) -> String {
    let quoted = match (said.code.as_str(), said.text.as_str()) {
        ("", "") => format!("HTTP {status}"),
        ("", text) => format!("HTTP {status}: {text}"),
        (code, "") => code.to_owned(),
        (code, text) => format!("{code}: {text}"),
    };
    let lead = match (kind, said.code.as_str()) {
        (ErrorKind::CredentialsExpired, _) => "Salesforce no longer accepts the session",
        (ErrorKind::FieldGone, _) => "a field is gone, or the user may no longer see it",
        (ErrorKind::ObjectGone, _) => "the user cannot see this object",
        (ErrorKind::RecordGone, _) => "Salesforce has no such record, or the user cannot see it",
        (ErrorKind::CursorGone, _) => "Salesforce closed the cursor of the query",
        (ErrorKind::QueryTooBig, _) => "the query asks for too much at once",
        (ErrorKind::AdminAction, "OPERATION_TOO_LARGE" | "API_ERROR") => {
            "Salesforce refuses to list this object for the user; give the user the permission View All Data, or View All of the object"
        }
        (ErrorKind::AdminAction, "API_DISABLED_FOR_ORG") => {
            "the API is off for this user or edition; an administrator has to give the user the permission API Enabled"
        }
        (ErrorKind::AdminAction, code) if code.starts_with("TXN_SECURITY_") => {
            "a transaction security policy blocks the query; an administrator has to exempt the integration's user"
        }
        (ErrorKind::AdminAction, _) => {
            "Salesforce refuses the session; an administrator has to allow the app API access"
        }
        (ErrorKind::Forbidden, _) => "the logged-in user lacks a permission",
        (ErrorKind::Suspended, _) => "the user or the organization was deactivated",
        (ErrorKind::RateLimited, _) => "Salesforce asks to slow down",
        (ErrorKind::AllowanceExhausted, _) => {
            "the organization has used up its API calls of the last 24 hours"
        }
        (ErrorKind::Configuration, _) => "this API version is not offered any more; set another api_version",
        (ErrorKind::Transient, _) => "Salesforce could not answer just now",
        _ => "Salesforce refused the request",
    };
    format!("{lead} ({quoted})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorKind::*;

    fn said(status: u16, code: &str, message: &str) -> Error {
        let body = serde_json::json!([{ "message": message, "errorCode": code }]).to_string();
        classify(status, body.as_bytes(), None, 0)
    }

    #[test]
    fn the_table() {
        #[rustfmt::skip]
        let table = [
            (400, "INVALID_FIELD", "\nSELECT Id,X__c FROM Account\n ^\nERROR at Row:1:Column:11\nNo such column 'X__c' on entity 'Account'. If you are", FieldGone),
            (400, "INVALID_TYPE", "\nselect Id from Contract\n ^\nERROR at Row:1:Column:16\nsObject type 'Contract' is not supported.", ObjectGone),
            (400, "MALFORMED_QUERY", "unexpected token: FROM", Bug),
            (400, "MALFORMED_ID", "malformed id 001", InvalidInput),
            (400, "INVALID_QUERY_LOCATOR", "invalid query locator", CursorGone),
            (400, "QUERY_TIMEOUT", "Your query request was running for too long.", QueryTooBig),
            (400, "QUERY_TOO_COMPLICATED", "Query is either selecting too many fields", QueryTooBig),
            (400, "OPERATION_TOO_LARGE", "exceeded 100000 distinct who/what's", AdminAction),
            (400, "TXN_SECURITY_METERING_ERROR", "When using an API, you can run up to", AdminAction),
            (400, "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access", Transient),
            (401, "INVALID_SESSION_ID", "Session expired or invalid", CredentialsExpired),
            (401, "INVALID_SESSION_ID", "This session is not valid for use with the REST API", AdminAction),
            (401, "INVALID_SESSION_ID", "Connected app is not attached to Agent", AdminAction),
            (401, "INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE", Bug),
            (403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", AllowanceExhausted),
            (403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded.", RateLimited),
            (403, "API_DISABLED_FOR_ORG", "The REST API is not enabled for this Organization.", AdminAction),
            (403, "API_CURRENTLY_DISABLED", "API access is currently disabled", Transient),
            (403, "INSUFFICIENT_ACCESS", "", Forbidden),
            (404, "NOT_FOUND", "The requested resource does not exist", RecordGone),
            (404, "ENTITY_IS_DELETED", "entity is deleted", RecordGone),
            (405, "METHOD_NOT_ALLOWED", "HTTP Method 'PUT' not allowed", Bug),
            (410, "GONE", "", Configuration),
            (500, "UNKNOWN_EXCEPTION", "An unexpected error occurred.", Transient),
            (503, "SERVER_UNAVAILABLE", "The server is busy", Transient),
        ];
        for (status, code, message, kind) in table {
            let error = said(status, code, message);
            assert_eq!(error.kind(), kind, "{code}: {message}");
            assert_eq!(error.code, code);
            assert!(
                !error.message.contains('\n') && !error.message.contains("SELECT"),
                "{}",
                error.message
            );
        }
    }

    #[test]
    fn names_are_taken_out_of_the_text() {
        let text = "No such column 'X__c' on entity 'Account'. If you are attempting to use a custom field";
        assert_eq!(said(400, "INVALID_FIELD", text).field, "X__c");
        assert_eq!(
            said(400, "INVALID_TYPE", "sObject type 'Contract' is not supported.").object,
            "Contract"
        );
    }

    #[test]
    fn bodies_without_json() {
        #[rustfmt::skip]
        let table: [(u16, &[u8], ErrorKind); 10] = [
            (503, b"<html><body>Down for maintenance</body></html>", Transient),
            (502, b"", Transient),
            (420, b"<html>We are setting things up.</html>", RateLimited),
            (414, b"<h1>URI Too Long</h1>", QueryTooBig),
            (431, b"", QueryTooBig),
            (403, b"Bad_OAuth_Token", CredentialsExpired),
            (403, b"Inactive", Suspended),
            (400, b"<?xml version=\"1.0\"?><Errors><Error><errorCode>INVALID_QUERY_LOCATOR</errorCode><message>gone</message></Error></Errors>", CursorGone),
            (500, b"\xff\xfe", Transient),
            (302, b"", CredentialsExpired),
        ];
        for (status, body, kind) in table {
            assert_eq!(
                classify(status, body, None, 0).kind(),
                kind,
                "{status} {}",
                String::from_utf8_lossy(body)
            );
        }
    }

    #[test]
    fn when_to_come_back() {
        let body = br#"[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]"#;
        assert_eq!(classify(403, body, None, 7).retry_us, 7 + ALLOWANCE_PAUSE_US);
        assert_eq!(classify(429, b"", Some(5_000_000), 7).retry_us, 5_000_007);
        assert_eq!(classify(400, b"", None, 7).retry_us, 0);
    }
}
