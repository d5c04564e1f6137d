//! The control interface, through which tests and the demo change a simulator. JSON, no authentication, loopback
//! only.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Simulator;
use crate::faults::Fault;
use crate::journal::Entry as _;

/// The routes that every simulator has: `/faults` and `/requests`, and the answer for unknown routes.
pub fn router<S: Simulator>() -> Router<Arc<S>> {
    Router::new()
        .route(
            "/faults",
            get(faults::<S>).post(add_fault::<S>).delete(clear_faults::<S>),
        )
        .route("/requests", get(requests::<S>).delete(clear_requests::<S>))
        .fallback(async || {
            let answer = json!({ "error": "there is no such control route" });
            (StatusCode::NOT_FOUND, Json(answer))
        })
}

/// An error of a control route.
#[derive(Debug)]
pub struct Refusal(pub String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, Json(json!({ "error": self.0 }))).into_response()
    }
}

/// A JSON body with any content type; errors name the problem. An empty body counts as `{}`.
#[derive(Debug)]
pub struct Given<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Given<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|e| Refusal(e.body_text()))?;
        let body = if body.is_empty() { &b"{}"[..] } else { &body };
        serde_json::from_slice(body)
            .map(Given)
            .map_err(|e| Refusal(e.to_string()))
    }
}

/// The answer of a route.
pub type Answer = Result<Json<Value>, Refusal>;

/// Returns an error.
///
/// # Errors
/// Always.
pub fn refuse<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(message.into()))
}

/// `{"ok": true}`.
///
/// # Errors
/// Never: the type is that of other answers.
pub fn done() -> Answer {
    Ok(Json(json!({ "ok": true })))
}

async fn faults<S: Simulator>(State(simulator): State<Arc<S>>) -> Answer {
    Ok(Json(json!({ "faults": *simulator.faults().lock() })))
}

async fn add_fault<S: Simulator>(State(simulator): State<Arc<S>>, Given(fault): Given<Fault>) -> Answer {
    let fault = fault.begin(S::refusal).map_err(Refusal)?;
    let mut faults = simulator.faults().lock();
    faults.push(fault);
    Ok(Json(json!({ "ordered": faults.len() })))
}

async fn clear_faults<S: Simulator>(State(simulator): State<Arc<S>>) -> Answer {
    simulator.faults().lock().clear();
    Ok(Json(json!({ "ordered": 0 })))
}

/// `GET /requests?kind=query&since=17&limit=100`: without parameters all stored requests.
async fn requests<S: Simulator>(
    State(simulator): State<Arc<S>>,
    Query(asked): Query<HashMap<String, String>>,
) -> Answer {
    let journal = simulator.journal().lock();
    let number = |name: &str| asked.get(name).and_then(|n| n.parse::<u64>().ok());
    let since = number("since").unwrap_or(0);
    let limit = number("limit").and_then(|limit| usize::try_from(limit).ok());
    let kind = asked.get("kind");
    let wanted = journal
        .entries()
        .filter(|e| e.seq() >= since && kind.is_none_or(|k| *k == e.kind()));
    let requests: Vec<_> = wanted.take(limit.unwrap_or(usize::MAX)).collect();
    Ok(Json(json!({
        "total": journal.total(),
        "counts": journal.counts(),
        "writes": journal.writes(),
        "writeRequests": journal.entries().filter(|e| e.is_write()).collect::<Vec<_>>(),
        "requests": requests,
    })))
}

async fn clear_requests<S: Simulator>(State(simulator): State<Arc<S>>) -> Answer {
    simulator.journal().lock().clear();
    done()
}
