//! Error replies by their codes, with the status and the text of Salesforce: faults and control routes name only the
//! code.

use serde_json::json;

/// Errors of the REST API: an array of one element. Texts marked (?) are unconfirmed.
#[rustfmt::skip]
const REST: &[(&str, u16, &str)] = &[
    ("API_CURRENTLY_DISABLED", 403, "API access is currently disabled"),
    ("API_DISABLED_FOR_ORG", 403, "The REST API is not enabled for this Organization."),
    ("ENTITY_IS_DELETED", 404, "entity is deleted"),
    ("INSUFFICIENT_ACCESS", 403, "insufficient access rights on object id"),
    ("INVALID_AUTH_HEADER", 401, "INVALID_JWT_FORMAT"),
    ("INVALID_OPERATION_WITH_EXPIRED_PASSWORD", 403,
        "The users password has expired, you must call SetPassword before attempting any other API operations"),
    ("INVALID_QUERY_LOCATOR", 400, "invalid query locator"),
    ("INVALID_SESSION_ID", 401, "Session expired or invalid"),
    ("METHOD_NOT_ALLOWED", 405, "HTTP Method 'GET' not allowed. Allowed are POST"),
    ("NOT_FOUND", 404, "The requested resource does not exist"),
    ("OPERATION_TOO_LARGE", 400, "exceeded 100000 distinct who/what's"),
    ("QUERY_TIMEOUT", 400, "Your query request was running for too long."),
    ("QUERY_TOO_COMPLICATED", 400,
        "Query is either selecting too many fields or the filter conditions are too complicated."),
    ("REQUEST_LIMIT_EXCEEDED", 403, "TotalRequests Limit exceeded."),
    ("SERVER_UNAVAILABLE", 503, "The server is busy. Please try again later."),
    ("UNKNOWN_EXCEPTION", 500,
        "An unexpected error occurred. Please include this ErrorId if you contact support: 1 (1)"),
    ("UNSUPPORTED_MEDIA_TYPE", 415, "This specified content type is not supported"), // (?)
    ("URL_NOT_RESET", 400, "The URL for this Salesforce organization was not reset"), // (?)
];

/// Errors of the OAuth endpoints: an object, or parameters of the callback.
#[rustfmt::skip]
const OAUTH: &[(&str, &str)] = &[
    ("OAUTH_APP_ACCESS_DENIED", "user is not admin approved to access this app"), // (?)
    ("OAUTH_APP_BLOCKED", "this app is blocked by admin"),
    ("OAUTH_AUTHORIZATION_BLOCKED", "authorization is blocked for this app"), // (?)
    ("OAUTH_EC_APP_NOT_FOUND", "external client app was not found"), // (?)
    ("access_denied", "end-user denied authorization"),
    ("invalid_app_access", "user is not admin approved to access this app"),
    ("invalid_client", "invalid client credentials"),
    ("invalid_client_id", "client identifier invalid"),
    ("invalid_grant", "expired access/refresh token"),
    ("inactive_user", "user is inactive"),
    ("inactive_org", "organization locked"),
    ("rate_limit_exceeded", "login rate exceeded"),
    ("server_error", ""),
    ("unknown_error", "retry your request"),
];

/// Status and body of an error, optionally with another text.
pub(crate) fn reply(code: &str, message: Option<&str>) -> Option<(u16, String)> {
    if let Some((code, status, usual)) = REST.iter().find(|known| known.0 == code) {
        let error = json!([{ "message": message.unwrap_or(usual), "errorCode": code }]);
        return Some((*status, error.to_string()));
    }
    let description = message.unwrap_or(description(code)?);
    let error = json!({ "error": code, "error_description": description });
    Some((400, error.to_string()))
}

/// The usual text of an error of the OAuth endpoints.
pub(crate) fn description(code: &str) -> Option<&'static str> {
    OAUTH.iter().find(|known| known.0 == code).map(|known| known.1)
}
