//! Processing of every request before and after its handler: journal, faults, limits of length.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use sim_kit::faults::{self, Asked, Kind};

use crate::app::{App, now_ms};
use crate::journal::{Entry, classify};

/// The page of HubSpot's edge.
const PAGE: &str = "<!DOCTYPE html><title>Just a moment...</title>";
/// The URL limit of HubSpot's edge.
const LONGEST_ADDRESS: usize = 8_192;

/// The middleware of every route except the control routes.
pub(crate) async fn around(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, 16 << 20).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let (method, path) = (parts.method.as_str(), parts.uri.path());
    let query = parts.uri.query().unwrap_or("");
    let kind = classify(method, path);
    let mut entry = Entry {
        at_ms: now_ms(),
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        kind,
        write: kind == "write",
        address_bytes: parts.uri.path_and_query().map_or(0, |p| p.as_str().len()),
        ..Entry::default()
    };
    let text = faults::text(&parts.uri, &body);
    let asked = Asked {
        method,
        path,
        kind,
        text: &text,
        inner: false,
    };
    let fault = faults::strike(&mut app.faults.lock(), &asked);
    entry.fault = fault.as_ref().map(|f| f.kind);
    let mut refused = None;
    if let Some(fault) = &fault {
        fault.wait().await;
        let control = || crate::control::router().with_state(app.clone());
        refused = fault.act(control).await.err();
    }
    let too_long = entry.address_bytes > LONGEST_ADDRESS;
    let silent = fault.clone().filter(|fault| fault.is_silent());
    let response = match fault {
        _ if refused.is_some() => refused.map(|refused| *refused).unwrap_or_default(),
        Some(fault) if fault.kind == Kind::Hang => StatusCode::OK.into_response(),
        _ if too_long => (
            StatusCode::URI_TOO_LONG,
            Html("<html><h1>414 URI Too Long</h1></html>"),
        )
            .into_response(),
        Some(fault) if fault.answers() => fault.instead(PAGE, &[]),
        fault => {
            let response = next.run(Request::from_parts(parts, Body::from(body))).await;
            match fault {
                Some(fault) => fault.spoil(response, None).await,
                None => response,
            }
        }
    };
    entry.status = if silent.is_some() {
        0
    } else {
        response.status().as_u16()
    };
    app.journal.lock().add(entry);
    if let Some(fault) = silent {
        fault.stay_silent().await;
    }
    response
}
