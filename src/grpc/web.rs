//! CORS: which web pages may call over gRPC-Web, and which headers they may send and read.
//!
//! Only configured origins may call: a token that leaks into another page cannot be used there.

use super::form::REQUEST_ID;
use http::{HeaderName, HeaderValue, Method, header};
use std::time::Duration;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// The CORS layer for these origins; `None` without any. Cookies are not used: a call carries its token, so
/// credentials are not allowed.
pub fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let origins = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(
            origins
                .iter()
                .filter_map(|origin| HeaderValue::from_str(origin).ok()),
        )
    };
    let ours = HeaderName::from_static;
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::POST])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            ours("grpc-timeout"),
            ours("x-grpc-web"),
            ours("x-user-agent"),
            ours(REQUEST_ID),
        ])
        .expose_headers([
            ours("grpc-status"),
            ours("grpc-message"),
            ours("grpc-status-details-bin"),
            ours(REQUEST_ID),
        ])
        .max_age(Duration::from_secs(3_600));
    Some(layer)
}
