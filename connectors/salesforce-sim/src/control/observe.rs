//! The content of the orgs.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Answer;
use crate::app::App;

/// `GET /control`: the orgs, their users, and their numbers of live rows.
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
