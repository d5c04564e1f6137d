//! Error replies by their codes, with the status and the text of Salesforce: faults and control routes name only the
//! code.

use serde_json::json;

/// Errors of the REST API: an array of one element. Texts marked (?) are unconfirmed.
#[rustfmt::skip]
const REST: &[(&str, u16, &str)] = &[
    ("API_CURRENTLY_DISABLED", 403, "API access is currently disabled"),
    ("API_DISABLED_FOR_ORG", 403, "The REST API is not enabled for this Organization."),
    ("API_ERROR", 400, "Implementation restriction: the query needs the permission View All Data"), // (?)
    ("CLIENT_NOT_ACCESSIBLE_FOR_USER", 403, "The client is not accessible for the user"), // (?)
    ("ENTITY_IS_DELETED", 404, "entity is deleted"),
    ("EXCEEDED_ID_LIMIT", 400, "too many ids, narrow the window"), // (?)
    ("FEATURENOTENABLED", 400, "Async API not enabled"),
    ("FORBIDDEN", 403, "You do not have access to the resource"), // (?)
    ("FUNCTIONALITY_NOT_ENABLED", 403, "This functionality is not enabled for the organization"), // (?)
    ("GONE", 410, "The requested API version is no longer supported"),
    ("INSUFFICIENT_ACCESS", 403, "insufficient access rights on object id"),
    ("INSUFFICIENT_ACCESS_OR_READONLY", 403, "insufficient access rights on object id"),
    ("INTERNAL_SERVER_ERROR", 500,
        "An unexpected error occurred. Please include this ErrorId if you contact support: 1 (1)"),
    ("INVALIDENTITY", 400, "Entity 'Account' is not supported by the Bulk API."),
    ("INVALIDJOBSTATE", 400, "Job is not complete"), // (?)
    ("INVALID_AUTH_HEADER", 401, "INVALID_JWT_FORMAT"),
    ("INVALID_CROSS_REFERENCE_KEY", 400, "invalid cross reference id"),
    ("INVALID_FIELD", 400, "No such column 'X' on entity 'Account'."),
    ("INVALID_OPERATION_WITH_EXPIRED_PASSWORD", 403,
        "The users password has expired, you must call SetPassword before attempting any other API operations"),
    ("INVALID_QUERY_FILTER_OPERATOR", 400, "invalid ID field: x"),
    ("INVALID_QUERY_LOCATOR", 400, "invalid query locator"),
    ("INVALID_REPLICATION_DATE", 400, "The specified start_date cannot be before the earliest date available"), // (?)
    ("INVALID_SESSION_ID", 401, "Session expired or invalid"),
    ("INVALID_TYPE", 400, "sObject type 'X' is not supported."),
    ("INVALID_TYPE_FOR_OPERATION", 400, "entity type X does not support query"),
    ("JSON_PARSER_ERROR", 400, "Unexpected character"), // (?)
    ("LIMIT_EXCEEDED", 400, "Max bulk v2 query jobs (10000) per 24 hrs has been reached"),
    ("LOGIN_MUST_USE_SECURITY_TOKEN", 403, "a security token is needed"), // (?)
    ("MALFORMED_ID", 400, "malformed id 001"),
    ("MALFORMED_QUERY", 400, "unexpected token: 'X'"),
    ("METHOD_NOT_ALLOWED", 405, "HTTP Method 'GET' not allowed. Allowed are POST"),
    ("NOT_FOUND", 404, "The requested resource does not exist"),
    ("NUMBER_OUTSIDE_VALID_RANGE", 400, "Maximum SOQL offset allowed is 2000"),
    ("OPERATION_TOO_LARGE", 400, "exceeded 100000 distinct who/what's"),
    ("QUERY_TIMEOUT", 400, "Your query request was running for too long."),
    ("QUERY_TOO_COMPLICATED", 400,
        "Query is either selecting too many fields or the filter conditions are too complicated."),
    ("REQUEST_LIMIT_EXCEEDED", 403, "TotalRequests Limit exceeded."),
    ("SERVER_UNAVAILABLE", 503, "The server is busy. Please try again later."),
    ("TXN_SECURITY_METERING_ERROR", 403, "When using an API, you can run up to 3 concurrent policies"), // (?)
    ("TXN_SECURITY_NO_ACCESS", 403, "The operation was blocked by a transaction security policy"), // (?)
    ("TXN_SECURITY_RUNTIME_EXCEPTION", 403, "A transaction security policy failed"), // (?)
    ("UNABLE_TO_LOCK_ROW", 400, "unable to obtain exclusive access to this record"),
    ("UNKNOWN_EXCEPTION", 500,
        "An unexpected error occurred. Please include this ErrorId if you contact support: 1 (1)"),
    ("UNSUPPORTED_API_VERSION", 410, "The requested API version is no longer supported"), // (?)
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
    ("OAUTH_APPROVAL_ERROR_GENERIC", "an unexpected error has occurred during authentication"), // (?)
    ("access_denied", "end-user denied authorization"),
    ("app_not_found", "External client app is not installed in this org"),
    ("invalid_app_access", "user is not admin approved to access this app"),
    ("invalid_client", "invalid client credentials"),
    ("invalid_client_id", "client identifier invalid"),
    ("invalid_grant", "expired access/refresh token"),
    ("invalid_request", "invalid request"), // (?)
    ("invalid_scope", "the requested scope is not allowed"), // (?)
    ("inactive_user", "user is inactive"),
    ("inactive_org", "organization locked"),
    ("rate_limit_exceeded", "login rate exceeded"),
    ("redirect_uri_mismatch", "redirect_uri must match configuration"),
    ("server_error", ""),
    ("unsupported_grant_type", "grant type not supported"),
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
