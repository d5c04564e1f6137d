//! The meaning of the REST API's errors. Bodies are a JSON array, an object, XML, HTML or empty, whatever was
//! requested. The same code may have two meanings; then the text decides. Only replies of Salesforce itself are
//! evidence: a gateway's 404 or 403 says nothing about a record, an object or a permission.

use serde::Deserialize;
use tether_connector_sdk::http::{FOREIGN, Response, one_line};
use tether_connector_sdk::proto::{Error, ErrorKind};

/// Half a minute, for a rate limit.
const RATE_PAUSE_US: i64 = 30_000_000;
/// Five minutes, for an allowance that is refused repeatedly although the reply's header shows remaining calls: the
/// header is delayed.
const DOUBTFUL_PAUSE_US: i64 = 300_000_000;

/// One failed reply, or one part of a composite.
#[derive(Clone, Copy)]
pub(crate) struct Failed<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
    /// The content type is JSON, XML, or absent.
    pub(crate) readable: bool,
    /// The pause requested by the reply.
    pub(crate) retry_after_us: Option<i64>,
    /// Calls used and calls allowed, if the reply has them.
    pub(crate) usage: Option<(u64, u64)>,
    /// The current time.
    pub(crate) now_us: i64,
}

/// The content of one failed reply.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// The CRM's code, or empty.
    pub(crate) code: String,
    /// The CRM's text, in one line.
    pub(crate) text: String,
}

/// An error of the REST API. The code is required: JSON with other keys comes from another program.
#[derive(Deserialize)]
struct RestError {
    #[serde(rename = "errorCode", alias = "exceptionCode")]
    code: String,
    #[serde(default, alias = "exceptionMessage")]
    message: Option<String>,
}

impl<'a> Failed<'a> {
    pub(crate) fn new(response: &'a Response, usage: Option<(u64, u64)>, now_us: i64) -> Self {
        let retry_after = response.retry_after();
        let media = response
            .headers
            .get("content-type")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_ascii_lowercase();
        let words =
            response.status.as_u16() == 403 && WORDS.iter().any(|word| *word == trimmed(&response.body));
        Self {
            status: response.status.as_u16(),
            body: &response.body,
            readable: response.is_json() || media.contains("xml") && !media.contains("html") || words,
            retry_after_us: retry_after.and_then(|wait| i64::try_from(wait.as_micros()).ok()),
            usage,
            now_us,
        }
    }

    /// Salesforce's error; None if the reply does not come from Salesforce.
    fn said(&self) -> Option<Said> {
        if self.readable { read(self.body) } else { None }
    }
}

/// Refusals of the identity address, which are plain text.
const WORDS: [&str; 5] = [
    "Bad_OAuth_Token",
    "Missing_OAuth_Token",
    "Wrong_Org",
    "Bad_Id",
    "Inactive",
];

fn trimmed(body: &[u8]) -> &str {
    std::str::from_utf8(body).unwrap_or_default().trim()
}

/// Reads an error body in any of Salesforce's forms; None for anything else.
pub(crate) fn read(body: &[u8]) -> Option<Said> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim().replace('\0', "");
    let parsed = serde_json::from_str::<Vec<RestError>>(&text)
        .ok()
        .and_then(|list| list.into_iter().next())
        .or_else(|| serde_json::from_str::<RestError>(&text).ok());
    if let Some(error) = parsed {
        let code = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        return (!error.code.is_empty() && error.code.len() <= 100 && error.code.chars().all(code)).then(
            || Said {
                text: told(&error.message.unwrap_or_default()),
                code: error.code,
            },
        );
    }
    if WORDS.contains(&text.as_str()) {
        return Some(Said {
            code: String::new(),
            text,
        });
    }
    let errors = text.find("<Errors>").filter(|_| text.ends_with("</Errors>"))?;
    let tag = |name: &str| {
        let from = errors + text[errors..].find(&format!("<{name}>"))? + name.len() + 2;
        let to = text[from..].find("</")? + from;
        Some(text[from..to].to_owned())
    };
    Some(Said {
        code: tag("errorCode")?,
        text: told(&tag("message").unwrap_or_default()),
    })
}

/// The CRM's text without line breaks and caret markers, at most 300 characters. The text of a query is cut off,
/// because the message follows it.
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

/// Classifies a failed reply.
pub(crate) fn classify(failed: Failed<'_>) -> Error {
    let Some(said) = failed.said() else {
        return foreign(failed);
    };
    let mut kind = kind_of(failed.status, &said);
    // The header counts the same calls as the refusal.
    let some_left = failed.usage.is_some_and(|(used, limit)| used < limit);
    if kind == ErrorKind::AllowanceExhausted && some_left {
        kind = ErrorKind::RateLimited;
    }
    let retry_us = match (kind, failed.retry_after_us) {
        (ErrorKind::RateLimited, None) => failed.now_us + RATE_PAUSE_US,
        (ErrorKind::AllowanceExhausted | ErrorKind::RateLimited | ErrorKind::Transient, Some(wait)) => {
            failed.now_us + wait
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
    let error = Error {
        kind: kind.into(),
        message: sentence(kind, failed.status, &said),
        code: said.code,
        object,
        field,
        retry_us,
        api_usage: None,
    };
    match (kind, failed.usage) {
        (ErrorKind::AllowanceExhausted, Some((used, limit))) => error.allowance(used, limit),
        _ => error,
    }
}

/// The error of a job of Bulk whose message says that a field is gone; None for any other failure.
pub(crate) fn gone_field_of_job(message: &str) -> Option<Error> {
    let said = Said {
        code: message.split_once(':')?.0.trim().to_owned(),
        text: told(message),
    };
    let kind = kind_of(400, &said);
    (kind == ErrorKind::FieldGone).then(|| Error {
        field: missing_column(&said.text).unwrap_or_default().to_owned(),
        ..Error::new(kind, sentence(kind, 400, &said)).code(said.code.as_str())
    })
}

/// Classifies a reply that is not Salesforce's own: it says nothing about the data.
fn foreign(failed: Failed<'_>) -> Error {
    let status = failed.status;
    let text = format!(
        "a proxy, a firewall or a gateway answered instead of Salesforce (HTTP {status}); if this goes on, the operator of the \
         network has to look at it"
    );
    let (kind, wait_us) = match status {
        // A refresh shows whether it is true.
        401 => (ErrorKind::CredentialsExpired, None),
        // A redirect to a login page or to the account's new host; a refresh shows which.
        301..=303 | 307 | 308 => (ErrorKind::CredentialsExpired, None),
        413 | 414 | 431 => (ErrorKind::QueryTooBig, None),
        420 | 429 => (
            ErrorKind::RateLimited,
            Some(failed.retry_after_us.unwrap_or(RATE_PAUSE_US)),
        ),
        _ => (ErrorKind::Transient, failed.retry_after_us),
    };
    Error {
        retry_us: wait_us.map_or(0, |wait| failed.now_us + wait),
        ..Error::new(kind, text).code(FOREIGN)
    }
}

/// Whether a refusal may come from a host that the organization has left: the old host of a moved organization
/// answers with a 404 page, and so do gateways.
pub(crate) fn may_be_left(error: &Error, status: u16) -> bool {
    error.is(ErrorKind::Transient) && error.code == FOREIGN && matches!(status, 404 | 410)
}

/// The error of a request that was refused with new credentials too: the old ones were not the cause, so a refresh
/// does not help.
pub(crate) fn refused_again(error: Error) -> Error {
    let kind = match error.code.as_str() {
        "INVALID_SESSION_ID" | "" => return error,
        FOREIGN | HOST_LEFT => ErrorKind::Transient,
        _ => ErrorKind::AdminAction,
    };
    Error {
        kind: kind.into(),
        ..error
    }
}

/// The error of a request whose last attempt was refused for the allowance too: the allowance counts as exhausted,
/// whatever the reply's header shows.
pub(crate) fn exhausted(error: Error, now_us: i64) -> Error {
    let refused = error.is(ErrorKind::RateLimited) && error.code == "REQUEST_LIMIT_EXCEEDED";
    if !refused || error.message.to_ascii_lowercase().contains("concurrent") {
        return error;
    }
    Error {
        kind: ErrorKind::AllowanceExhausted.into(),
        retry_us: error.retry_us.max(now_us + DOUBTFUL_PAUSE_US),
        ..error
    }
}

/// The error code for a host that no longer belongs to Salesforce.
pub(crate) const HOST_LEFT: &str = "host_left";

/// The organization's host no longer answers as Salesforce.
pub(crate) fn host_left(status: u16) -> Error {
    Error::credentials_expired(format!(
        "Salesforce does not answer any more where the organization was (HTTP {status}); a refresh tells where it is"
    ))
    .code(HOST_LEFT)
}

#[rustfmt::skip]
fn kind_of(status: u16, said: &Said) -> ErrorKind {
    use ErrorKind::*;
    let text = said.text.to_ascii_lowercase();
    match (status, said.code.as_str()) {
        // The only two cases that a refresh cannot solve.
        (_, "INVALID_SESSION_ID") if text.contains("not valid for use with") || text.contains("not attached to agent") => AdminAction,
        (_, "INVALID_SESSION_ID")                       => CredentialsExpired,
        // The organization moved; the refresh returns its new host.
        (_, "URL_NOT_RESET")                            => CredentialsExpired,
        (_, "INVALID_OPERATION_WITH_EXPIRED_PASSWORD")  => AdminAction,
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
        // Every other 401 is treated as an expired session until a refresh has shown otherwise.
        (401, _)                                        => CredentialsExpired,
        (_, "INSUFFICIENT_ACCESS" | "INSUFFICIENT_ACCESS_OR_READONLY" | "FORBIDDEN") => Forbidden,
        (_, "ENTITY_IS_DELETED")                        => RecordGone,
        (_, "MALFORMED_ID")                             => InvalidInput,
        (410, _) | (_, "UNSUPPORTED_API_VERSION" | "GONE") => Configuration,
        (404, _) | (_, "NOT_FOUND")                      => RecordGone,
        (403, "") if text == "bad_oauth_token" || text == "missing_oauth_token" => CredentialsExpired,
        (403, "") if text == "inactive"                 => Suspended,
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
        // The text advises those who write queries.
        (code @ "INVALID_TYPE", _) => code.to_owned(),
        ("", "") => format!("HTTP {status}"),
        ("", text) => format!("HTTP {status}: {text}"),
        (code, "") => code.to_owned(),
        (code, text) => format!("{code}: {text}"),
    };
    let lead = match (kind, said.code.as_str()) {
        (ErrorKind::CredentialsExpired, "URL_NOT_RESET") => {
            "the organization is not at this host any more; a refresh tells where it is"
        }
        (ErrorKind::CredentialsExpired, _) => "Salesforce no longer accepts the session",
        (ErrorKind::FieldGone, _) => "a field is gone, or the user may no longer see it",
        (ErrorKind::ObjectGone, _) => {
            "the user cannot see this object; a Salesforce administrator has to give the user read access to it"
        }
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
        (ErrorKind::AdminAction, "INVALID_OPERATION_WITH_EXPIRED_PASSWORD") => {
            "the password of the Salesforce user has expired; the user has to set a new one in Salesforce"
        }
        (ErrorKind::AdminAction, _) => {
            "Salesforce refuses the session; an administrator has to allow the app API access"
        }
        (ErrorKind::Forbidden, _) => {
            "the logged-in user lacks a permission that a Salesforce administrator can give"
        }
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

    fn failed(status: u16, body: &[u8]) -> Failed<'_> {
        Failed {
            status,
            body,
            readable: true,
            retry_after_us: None,
            usage: None,
            now_us: 7,
        }
    }

    fn said(status: u16, code: &str, message: &str) -> Error {
        let body = serde_json::json!([{ "message": message, "errorCode": code }]).to_string();
        classify(failed(status, body.as_bytes()))
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
            (401, "INVALID_SESSION_ID", "Session is not there", CredentialsExpired),
            (401, "INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE", CredentialsExpired),
            (401, "INVALID_AUTH_HEADER", "INVALID_JWT_FORMAT", CredentialsExpired),
            (401, "SOMETHING_NEW", "", CredentialsExpired),
            (400, "URL_NOT_RESET", "", CredentialsExpired),
            (403, "INVALID_OPERATION_WITH_EXPIRED_PASSWORD", "The users password has expired", AdminAction),
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
    fn what_is_not_salesforce_s_own_proves_nothing() {
        let gone = r#"[{"errorCode":"NOT_FOUND","message":"no"}]"#;
        let xml = "<?xml version=\"1.0\"?><Errors><Error><errorCode>INVALID_QUERY_LOCATOR</errorCode><message>gone</message></Error></Errors>";
        #[rustfmt::skip]
        let table: [(u16, &str, ErrorKind); 26] = [
            (503, "<html><body>Down for maintenance</body></html>", Transient),
            (502, "", Transient),
            (420, "<html>We are setting things up.</html>", RateLimited),
            (414, "<h1>URI Too Long</h1>", QueryTooBig),
            (431, "", QueryTooBig),
            (403, "Bad_OAuth_Token", CredentialsExpired),
            (403, "Inactive", Suspended),
            (400, xml, CursorGone),
            (302, "", CredentialsExpired),
            (401, "<html>", CredentialsExpired),
            (404, gone, RecordGone),
            // Gateways, firewalls and proxies.
            (404, "<html><title>404 Not Found</title></html>", Transient),
            (403, "<html>This inactive page</html>", Transient),
            (403, "Inactive or blocked", Transient),
            (400, "<html>", Transient),
            (405, "<html>", Transient),
            (415, "<html>", Transient),
            (410, "<html>", Transient),
            (404, "", Transient),
            (404, &gone[..20], Transient),
            (404, r#"{"message":"Not Found"}"#, Transient),
            (404, r#"{"error":"not_found","message":"no Route matched"}"#, Transient),
            (404, r#"[{"errorCode":"no-route","message":"x"}]"#, Transient),
            (403, r#"[{"errorCode":null,"message":"x"}]"#, Transient),
            (403, "<Error><Code>AccessDenied</Code></Error>", Transient),
            (404, &xml[..xml.len() - 3], Transient),
        ];
        for (status, body, kind) in table {
            assert_eq!(
                classify(failed(status, body.as_bytes())).kind(),
                kind,
                "{status} {body}"
            );
        }
        // Salesforce's JSON under another content type does not count as Salesforce's reply.
        let typed = Failed {
            readable: false,
            ..failed(404, gone.as_bytes())
        };
        assert_eq!(classify(typed).what(), Transient);
    }

    #[test]
    fn a_refusal_with_new_credentials_is_for_the_administrator() {
        let again = |error: Error| refused_again(error).what();
        assert_eq!(
            again(said(401, "INVALID_SESSION_ID", "Session expired or invalid")),
            CredentialsExpired
        );
        assert_eq!(
            again(said(401, "INVALID_AUTH_HEADER", "INVALID_JWT_FORMAT")),
            AdminAction
        );
        assert_eq!(again(said(400, "URL_NOT_RESET", "")), AdminAction);
        assert_eq!(again(classify(failed(401, b"<html>"))), Transient);
        assert_eq!(again(host_left(404)), Transient);
    }

    #[test]
    fn when_to_come_back() {
        let body = br#"[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]"#;
        let refused = failed(403, body);
        // Salesforce names no end: the host decides how long to wait.
        assert_eq!(classify(refused).retry_us, 0);
        let with = |usage, retry_after_us| {
            let error = classify(Failed {
                usage,
                retry_after_us,
                ..refused
            });
            (
                error.what(),
                error.retry_us,
                error.api_usage.map(|usage| (usage.used, usage.limit)),
            )
        };
        let full = Some((5_000, 5_000));
        assert_eq!(with(full, None), (AllowanceExhausted, 0, full));
        assert_eq!(with(full, Some(9_000_000)), (AllowanceExhausted, 9_000_007, full));
        // A single refusal is no used-up allowance if the reply's own header shows remaining calls.
        assert_eq!(
            with(Some((18, 5_000)), None),
            (RateLimited, 7 + RATE_PAUSE_US, None)
        );
        let again = classify(Failed {
            usage: Some((18, 5_000)),
            ..refused
        });
        let again = exhausted(again, 7);
        assert_eq!(
            (again.what(), again.retry_us),
            (AllowanceExhausted, 7 + DOUBTFUL_PAUSE_US)
        );
        let concurrent = said(
            403,
            "REQUEST_LIMIT_EXCEEDED",
            "ConcurrentRequests Limit exceeded.",
        );
        assert_eq!(exhausted(concurrent, 7).what(), RateLimited);
        let busy = Failed {
            retry_after_us: Some(5_000_000),
            ..failed(429, b"")
        };
        assert_eq!(classify(busy).retry_us, 5_000_007);
        assert_eq!(classify(failed(400, b"")).retry_us, 0);
    }
}
