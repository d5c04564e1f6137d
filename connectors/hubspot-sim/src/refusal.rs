//! HubSpot's error replies.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};

/// An error of HubSpot: `{status, message, correlationId, category, …}`.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    body: Json,
}

impl Refusal {
    pub(crate) fn new(status: u16, category: &str, message: impl Into<String>) -> Refusal {
        let body = json!({
            "status": "error", "message": message.into(), "correlationId": correlation_id(), "category": category,
        });
        Refusal { status, body }
    }

    fn with(mut self, key: &str, value: Json) -> Refusal {
        self.body[key] = value;
        self
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Refusal {
        Refusal::new(400, "VALIDATION_ERROR", message)
    }

    pub(crate) fn not_found() -> Refusal {
        Refusal::new(404, "OBJECT_NOT_FOUND", "resource not found")
    }

    pub(crate) fn unauthenticated() -> Refusal {
        Refusal::new(
            401,
            "INVALID_AUTHENTICATION",
            "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find more details \
             at https://developers.hubspot.com/docs/methods/auth/oauth-overview",
        )
    }

    pub(crate) fn expired(seconds: i64) -> Refusal {
        let message = format!("The OAuth token used to make this call expired {seconds} second(s) ago.");
        Refusal::new(401, "EXPIRED_AUTHENTICATION", message)
    }

    pub(crate) fn scopes(missing: &[&str]) -> Refusal {
        let errors = json!([{
            "message": "One or more of the following scopes are required.",
            "context": { "requiredGranularScopes": missing },
        }]);
        let message = "This app hasn't been granted all required scopes to make this call. Read more about required scopes \
                       here: https://developers.hubspot.com/scopes.";
        Refusal::new(403, "MISSING_SCOPES", message)
            .with("errors", errors)
            .with(
                "links",
                json!({ "scopes": "https://developers.hubspot.com/scopes" }),
            )
    }

    pub(crate) fn rate(policy: &str, name: &str) -> Refusal {
        let message = format!("You have reached your {name} limit.");
        let mut refusal = Refusal::new(429, "RATE_LIMITS", message)
            .with("errorType", "RATE_LIMIT".into())
            .with("policyName", policy.into());
        if let Some(body) = refusal.body.as_object_mut() {
            body.remove("category");
        }
        refusal
    }

    /// An error of the token endpoints, with the standard's keys and HubSpot's own.
    pub(crate) fn oauth(status: u16, error: &str, own: &str, message: &str) -> Refusal {
        let body = json!({
            "error": error, "error_description": message,
            "status": own, "message": message, "correlationId": correlation_id(),
        });
        Refusal { status, body }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = [(header::CONTENT_TYPE, "application/json;charset=utf-8")];
        (status, kind, self.body.to_string()).into_response()
    }
}

/// A random UUID in the form of version 4.
pub(crate) fn correlation_id() -> String {
    let n: u128 = rand::random();
    let hex = format!("{n:032x}");
    format!(
        "{}-{}-4{}-a{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..]
    )
}
