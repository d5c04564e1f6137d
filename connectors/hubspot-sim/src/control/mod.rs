//! The control plane: what tests and the demo do to this HubSpot behind its users' backs. JSON, no authentication,
//! loopback only. Every route is listed in the README.

mod observe;
mod people;
mod records;
mod schema;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::app::App;
use crate::portal::Portal;
use crate::portal::schema::Object;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(observe::info))
        .route("/records/create", post(records::create))
        .route("/records/update", post(records::update))
        .route("/records/delete", post(records::archive))
        .route("/records/undelete", post(records::restore))
        .route("/records/purge", post(records::purge))
        .route("/records/merge", post(records::merge))
        .route("/associations/add", post(records::link))
        .route("/associations/remove", post(records::unlink))
        .route("/fields/add", post(schema::add))
        .route("/fields/remove", post(schema::remove))
        .route("/settings", post(people::settings))
        .route("/oauth/approve", get(people::approve))
        .route("/oauth/token", post(people::token))
        .route("/oauth/clients", post(people::client))
        .route("/oauth/private-apps", post(people::private_app))
        .route("/oauth", get(people::state))
        .route("/sessions/expire", post(people::expire))
        .route("/grants/revoke", post(people::revoke))
        .route("/limits", post(people::limits))
        .route(
            "/faults",
            get(observe::faults)
                .post(observe::add_fault)
                .delete(observe::clear_faults),
        )
        .route(
            "/requests",
            get(observe::requests).delete(observe::clear_requests),
        )
        .route("/truth", get(observe::truth))
        .fallback(async || {
            (
                StatusCode::NOT_FOUND,
                axum::Json(json!({ "error": "there is no such control route" })),
            )
        })
}

/// A refusal of the control plane, for whoever writes the test.
pub(crate) struct No(pub(crate) String);

impl IntoResponse for No {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, axum::Json(json!({ "error": self.0 }))).into_response()
    }
}

/// JSON in, whatever its content type; what is wrong with it out. Nothing at all is `{}`.
pub(crate) struct Given<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Given<T> {
    type Rejection = No;

    async fn from_request(request: Request, state: &S) -> Result<Self, No> {
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|e| No(e.body_text()))?;
        let body = if body.is_empty() { &b"{}"[..] } else { &body };
        serde_json::from_slice(body)
            .map(Given)
            .map_err(|e| No(e.to_string()))
    }
}

pub(crate) type Answer = Result<axum::Json<serde_json::Value>, No>;

pub(crate) fn no<T>(message: impl Into<String>) -> Result<T, No> {
    Err(No(message.into()))
}

pub(crate) fn done() -> Answer {
    Ok(axum::Json(json!({ "ok": true })))
}

pub(crate) fn object(name: &str) -> Result<Object, No> {
    Object::named(name).ok_or_else(|| No(format!("there is no object {name}")))
}

/// The portal of that domain or hub id; the first one if none is named.
pub(crate) fn portal<'a>(portals: &'a mut [Portal], name: Option<&str>) -> Result<&'a mut Portal, No> {
    let Some(name) = name else {
        return portals
            .first_mut()
            .ok_or_else(|| No("there is no portal".to_owned()));
    };
    portals
        .iter_mut()
        .find(|p| p.domain == name || p.id.to_string() == name)
        .ok_or_else(|| No(format!("there is no portal {name}")))
}
