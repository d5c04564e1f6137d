//! The control routes, through which tests and the demo change this HubSpot. JSON, no authentication, loopback only.
//! The README lists every route.

mod observe;
mod people;
mod random;
mod records;
mod schema;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
pub(crate) use sim_kit::control::{Answer, Given, Refusal, done, refuse};

use crate::app::App;
use crate::portal::Portal;
use crate::portal::schema::Object;

pub(crate) fn router() -> Router<Arc<App>> {
    sim_kit::control::router()
        .route("/", get(observe::info))
        .route("/records/create", post(records::create))
        .route("/records/update", post(records::update))
        .route("/records/delete", post(records::archive))
        .route("/records/undelete", post(records::restore))
        .route("/records/purge", post(records::purge))
        .route("/records/expire", post(records::expire))
        .route("/records/merge", post(records::merge))
        .route("/records/random", post(random::random))
        .route("/associations/add", post(records::link))
        .route("/associations/remove", post(records::unlink))
        .route("/fields/add", post(schema::add))
        .route("/fields/remove", post(schema::remove))
        .route("/fields/recalculate", post(schema::recalculate))
        .route("/settings", post(people::settings))
        .route("/oauth/approve", get(people::approve))
        .route("/oauth/token", post(people::token))
        .route("/oauth/clients", post(people::client))
        .route("/oauth/private-apps", post(people::private_app))
        .route("/oauth", get(people::state))
        .route("/sessions/expire", post(people::expire))
        .route("/grants/revoke", post(people::revoke))
        .route("/limits", post(people::limits))
        .route("/truth", get(observe::truth))
}

pub(crate) fn object(name: &str) -> Result<Object, Refusal> {
    Object::named(name).ok_or_else(|| Refusal(format!("there is no object {name}")))
}

/// The portal of that domain or hub id; the first one if none is named.
pub(crate) fn portal<'a>(portals: &'a mut [Portal], name: Option<&str>) -> Result<&'a mut Portal, Refusal> {
    let Some(name) = name else {
        return portals
            .first_mut()
            .ok_or_else(|| Refusal("there is no portal".to_owned()));
    };
    portals
        .iter_mut()
        .find(|p| p.domain == name || p.id.to_string() == name)
        .ok_or_else(|| Refusal(format!("there is no portal {name}")))
}
