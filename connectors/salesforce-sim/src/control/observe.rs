//! Faults to order, the journal, and what there is.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde_json::{Value, json};

use super::{Answer, Given, Refusal};
use crate::app::App;
use crate::faults::Fault;

/// `GET /control`: the orgs, their users, and how many live rows they have.
pub(crate) async fn info(State(app): State<Arc<App>>) -> Answer {
    let orgs: Vec<Value> = app
        .orgs
        .iter()
        .map(|org| {
            let org = org.read();
            let counts: serde_json::Map<String, Value> = org
                .schema
                .objects
                .iter()
                .zip(&org.tables)
                .map(|(o, t)| (o.name.to_owned(), t.live_count().into()))
                .collect();
            let users: Vec<&str> = org.users.iter().map(|u| u.username.as_str()).collect();
            json!({
                "name": org.name, "id": org.id(), "seed": org.seed, "users": users, "rows": counts,
                "apiUsed": org.used(), "apiMax": org.api_max,
            })
        })
        .collect();
    let clients: Vec<String> = app.oauth.lock().clients.iter().map(|c| c.id.clone()).collect();
    Ok(Json(json!({ "orgs": orgs, "clients": clients })))
}

pub(crate) async fn faults(State(app): State<Arc<App>>) -> Answer {
    Ok(Json(json!({ "faults": *app.faults.lock() })))
}

pub(crate) async fn add_fault(State(app): State<Arc<App>>, Given(fault): Given<Fault>) -> Answer {
    let fault = fault.begin().map_err(Refusal)?;
    let mut faults = app.faults.lock();
    faults.push(fault);
    Ok(Json(json!({ "ordered": faults.len() })))
}

pub(crate) async fn clear_faults(State(app): State<Arc<App>>) -> Answer {
    app.faults.lock().clear();
    Ok(Json(json!({ "ordered": 0 })))
}

/// `GET /control/requests?kind=query&since=17&limit=100`.
pub(crate) async fn requests(
    State(app): State<Arc<App>>,
    Query(asked): Query<HashMap<String, String>>,
) -> Answer {
    let journal = app.journal.lock();
    let number = |name: &str, default: u64| asked.get(name).and_then(|n| n.parse().ok()).unwrap_or(default);
    let (since, limit) = (number("since", 0), number("limit", 1000) as usize);
    let kind = asked.get("kind");
    let wanted = journal
        .entries()
        .filter(|e| e.seq >= since && kind.is_none_or(|k| *k == e.kind));
    let requests: Vec<_> = wanted.take(limit).collect();
    Ok(Json(json!({
        "total": journal.total(),
        "counts": journal.counts(),
        "writes": journal.writes(),
        "writeRequests": journal.entries().filter(|e| e.write).collect::<Vec<_>>(),
        "requests": requests,
    })))
}

pub(crate) async fn clear_requests(State(app): State<Arc<App>>) -> Answer {
    app.journal.lock().clear();
    Ok(Json(json!({ "ok": true })))
}
