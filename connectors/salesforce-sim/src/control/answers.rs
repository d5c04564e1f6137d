//! Overrides of replies to queries and describes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::json;

use super::{Answer, Given};
use crate::app::App;
use crate::rest::answers;

/// Replaces the previous override of the object.
pub(crate) async fn set(State(app): State<Arc<App>>, Given(order): Given<answers::Answer>) -> Answer {
    let org = app.named_org(order.org.as_deref())?.read().number as usize;
    let key = (org, order.object.to_ascii_lowercase());
    let mut answers = app.answers.lock();
    answers.insert(key, order);
    Ok(Json(json!({ "ordered": answers.len() })))
}

pub(crate) async fn list(State(app): State<Arc<App>>) -> Answer {
    let answers = app.answers.lock();
    Ok(Json(json!({ "answers": answers.values().collect::<Vec<_>>() })))
}

pub(crate) async fn clear(State(app): State<Arc<App>>) -> Answer {
    app.answers.lock().clear();
    Ok(Json(json!({ "ordered": 0 })))
}
