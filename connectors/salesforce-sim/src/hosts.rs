//! A host that an organization has left, because it moved or its My Domain was renamed.

use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::app::App;
use crate::errors::Error;
use crate::refusals;

/// The host that served data before, and the current one: hosts with ports.
pub(crate) struct Left {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) how: How,
}

/// The reply of the old host.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum How {
    /// 400 `URL_NOT_RESET`.
    NotReset,
    /// A 404 page, "URL No Longer Exists".
    Page,
    /// 302 to the new host.
    Redirect,
}

/// The reply to a request at the old host. Logins are not affected: they have their own hosts.
pub(crate) fn left(app: &App, parts: &Parts, host: &str) -> Option<Response> {
    let left = app.left.lock();
    let left = left.as_ref().filter(|left| left.from == host)?;
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    if !path.starts_with("/services/data") && !path.starts_with("/id/") {
        return None;
    }
    let html = [(header::CONTENT_TYPE, "text/html;charset=UTF-8")];
    Some(match left.how {
        How::NotReset => {
            let (status, body) =
                refusals::reply("URL_NOT_RESET", None).unwrap_or_else(|| (404, Error::not_found().body()));
            let json = [(header::CONTENT_TYPE, "application/json;charset=UTF-8")];
            (StatusCode::from_u16(status).unwrap_or_default(), json, body).into_response()
        }
        How::Page => {
            let page = "<html><head><title>URL No Longer Exists</title></head><body>\
                        <h1>URL No Longer Exists</h1><p>You have attempted to reach a URL that no longer exists on \
                        salesforce.com.</p></body></html>";
            (StatusCode::NOT_FOUND, html, page).into_response()
        }
        How::Redirect => {
            let to = [(header::LOCATION, format!("http://{}{path}", left.to))];
            (StatusCode::FOUND, html, to, "").into_response()
        }
    })
}

/// The `instance_url` of a token reply for a request at `base`.
pub(crate) fn instance(app: &App, base: &str) -> String {
    match &*app.left.lock() {
        Some(left) => format!("http://{}", left.to),
        None => base.to_owned(),
    }
}
