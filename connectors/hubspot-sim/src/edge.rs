//! What happens to every request before and after it is answered: the journal, faults, limits of length.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use url::form_urlencoded;

use crate::app::{App, now_ms};
use crate::faults::{self, Fault, Kind};
use crate::journal::{Entry, classify};

/// HubSpot's edge refuses longer addresses.
const LONGEST_ADDRESS: usize = 8_192;

/// Around every route but the control plane.
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
    let text: String = form_urlencoded::parse(query.as_bytes())
        .map(|(k, v)| format!("{k}={v}&"))
        .collect();
    let text = text + &String::from_utf8_lossy(&body);
    let fault = faults::strike(&mut app.faults.lock(), method, path, &text);
    entry.fault = fault.as_ref().map(|f| f.kind);
    if let Some(wait) = fault.as_ref().map(|f| f.delay_ms).filter(|ms| *ms > 0) {
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
    let too_long = entry.address_bytes > LONGEST_ADDRESS;
    let response = match fault {
        _ if too_long => (
            StatusCode::URI_TOO_LONG,
            Html("<html><h1>414 URI Too Long</h1></html>"),
        )
            .into_response(),
        Some(fault) if matches!(fault.kind, Kind::Status | Kind::Html) => instead(&fault),
        fault => {
            let response = next.run(Request::from_parts(parts, Body::from(body))).await;
            match fault {
                Some(fault) => spoil(&fault, response).await,
                None => response,
            }
        }
    };
    entry.status = response.status().as_u16();
    app.journal.lock().add(entry);
    response
}

fn instead(fault: &Fault) -> Response {
    let html = fault.kind == Kind::Html;
    let status = fault.status.unwrap_or(if html { 200 } else { 500 });
    let status = StatusCode::from_u16(status).unwrap_or_default();
    let body = fault.body.clone().unwrap_or_else(|| {
        if html {
            "<!DOCTYPE html><title>Just a moment...</title>"
        } else {
            ""
        }
        .to_owned()
    });
    let kind = if html { "text/html" } else { "application/json" };
    let mut response = (status, [(header::CONTENT_TYPE, kind)], body).into_response();
    put_headers(&mut response, fault);
    response
}

fn put_headers(response: &mut Response, fault: &Fault) {
    for (name, value) in &fault.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
}

/// The work is done, the answer does not arrive whole.
async fn spoil(fault: &Fault, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let broken = || Err::<Bytes, _>(std::io::Error::other("cut by order of the control plane"));
    parts.headers.remove(header::CONTENT_LENGTH);
    match fault.kind {
        Kind::Cut => {
            let half = body.slice(..body.len() / 2);
            // The pause lets what came before the cut leave; hyper would throw it away with the error.
            let end = stream::once(async move {
                tokio::task::yield_now().await;
                broken()
            });
            Response::from_parts(parts, Body::from_stream(stream::iter([Ok(half)]).chain(end)))
        }
        Kind::Lost => Response::from_parts(parts, Body::from_stream(stream::iter([broken()]))),
        Kind::Garbage => {
            let mut bytes = body[..body.len() / 2].to_vec();
            bytes.extend_from_slice(b"\x00<<<garbage");
            Response::from_parts(parts, Body::from(bytes))
        }
        _ => {
            let mut response = Response::from_parts(parts, Body::from(body));
            put_headers(&mut response, fault);
            response
        }
    }
}
