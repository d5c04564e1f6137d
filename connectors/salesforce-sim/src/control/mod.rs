//! The control routes, through which tests and the demo change this Salesforce. JSON, no authentication, loopback
//! only. The README of the crate lists every route.

mod answers;
mod bulk;
mod observe;
mod people;
mod random;
mod records;
mod schema;
mod time;
mod truth;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use parking_lot::RwLock;
pub(crate) use sim_kit::control::{Answer, Given, Refusal, done, refuse};

use crate::app::{App, UserKey};
use crate::org::Org;

pub(crate) fn router() -> Router<Arc<App>> {
    sim_kit::control::router()
        .route("/", get(observe::info))
        .route("/records/create", post(records::create))
        .route("/records/update", post(records::update))
        .route("/records/touch", post(records::touch))
        .route("/records/delete", post(records::delete))
        .route("/records/undelete", post(records::undelete))
        .route("/records/purge", post(records::purge))
        .route("/records/merge", post(records::merge))
        .route("/records/random", post(random::random))
        .route("/records/unshare", post(records::unshare))
        .route("/records/share", post(records::share))
        .route("/fields/recalculate", post(schema::recalculate))
        .route("/fields/add", post(schema::add))
        .route("/fields/remove", post(schema::remove))
        .route("/fields/rename", post(schema::rename))
        .route("/fields/hide", post(schema::hide))
        .route("/fields/show", post(schema::show))
        .route("/oauth/approve", get(people::approve))
        .route("/oauth/token", post(people::token))
        .route("/oauth/settings", post(people::settings))
        .route("/oauth/clients", post(people::client))
        .route("/oauth/refusal", post(people::refusal))
        .route("/oauth", get(people::state))
        .route("/clock", post(time::clock))
        .route("/bin", post(time::bin))
        .route("/transactions", get(time::transactions))
        .route("/transactions/commit", post(time::commit))
        .route("/transactions/rollback", post(time::roll_back))
        .route("/hosts", post(people::leave).delete(people::come_back))
        .route(
            "/answers",
            get(answers::list).post(answers::set).delete(answers::clear),
        )
        .route("/sessions/expire", post(people::expire))
        .route("/grants/revoke", post(people::revoke))
        .route("/users", post(people::user))
        .route("/limits", post(people::limits))
        .route("/cursors/drop", post(people::drop_cursors))
        .route("/jobs", get(bulk::list))
        .route("/jobs/settings", post(bulk::settings))
        .route("/jobs/script", post(bulk::script).delete(bulk::clear_scripts))
        .route("/jobs/end", post(bulk::end))
        .route("/jobs/expire", post(bulk::expire))
        .route("/jobs/locators/drop", post(bulk::drop_locators))
        .route(
            "/pages",
            get(bulk::damages).post(bulk::damage).delete(bulk::clear_damages),
        )
        .route("/truth", get(truth::truth))
}

impl App {
    /// The org of that name or id; the first one if none is named.
    fn named_org(&self, name: Option<&str>) -> Result<&RwLock<Org>, Refusal> {
        let Some(name) = name else {
            return Ok(&self.orgs[0]);
        };
        let found = self.orgs.iter().find(|o| {
            let o = o.read();
            o.name.eq_ignore_ascii_case(name) || o.id() == name
        });
        found.ok_or_else(|| Refusal(format!("there is no org {name}")))
    }

    fn named_user(&self, username: Option<&str>) -> Result<UserKey, Refusal> {
        let username = username.unwrap_or("admin@acme.example");
        self.find_user(username)
            .ok_or_else(|| Refusal(format!("there is no user {username}")))
    }
}
