//! OAuth: authorize page, token endpoint, revocation, introspection, identity.

pub(crate) mod authorize;
pub(crate) mod identity;
pub(crate) mod store;
pub(crate) mod token;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::errors::OAuthError;

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let type_ = [
            (header::CONTENT_TYPE, "application/json;charset=UTF-8"),
            (header::CACHE_CONTROL, "no-store"),
        ];
        (status, type_, self.json().to_string()).into_response()
    }
}

/// The token in an Authorization header (`Bearer`, or `OAuth` in older clients).
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value
        .strip_prefix("Bearer ")
        .or_else(|| value.strip_prefix("OAuth "))
}

/// The address at which the caller reached the simulator: `http://127.0.0.1:1234`. It is returned as `instance_url`.
#[derive(Clone, Debug)]
pub(crate) struct Base(pub(crate) String);
