//! Changing rows and links.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Given, Refusal, done, object, portal, refuse};
use crate::app::App;
use crate::portal::Portal;
use crate::portal::schema::Object;

/// The parameters of all changes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Change {
    portal: Option<String>,
    object: String,
    id: Option<String>,
    #[serde(default)]
    fields: BTreeMap<String, Value>,
    /// False, as for a calculated property: the value changes, the time stamp does not.
    move_stamp: Option<bool>,
    winner: Option<String>,
    loser: Option<String>,
    /// The winner of a merge is a new record.
    #[serde(default)]
    mint: bool,
    company: Option<String>,
}

impl Change {
    fn fields(&self) -> BTreeMap<String, Option<String>> {
        let text = |value: &Value| match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        self.fields.iter().map(|(k, v)| (k.clone(), text(v))).collect()
    }
}

fn locate(of: &Portal, object: Object, id: Option<&String>) -> Result<u32, Refusal> {
    let id = id.map_or("", String::as_str);
    of.find(object, id)
        .ok_or_else(|| Refusal(format!("there is no {} {id}", object.singular())))
}

/// Finds the row and changes it.
fn row(app: &App, change: &Change, act: impl FnOnce(&mut Portal, Object, u32)) -> Answer {
    let mut portals = app.portals.lock();
    let of = portal(&mut portals, change.portal.as_deref())?;
    let object = object(&change.object)?;
    let row = locate(of, object, change.id.as_ref())?;
    act(of, object, row);
    done()
}

pub(crate) async fn create(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    let mut portals = app.portals.lock();
    let of = portal(&mut portals, change.portal.as_deref())?;
    let object = object(&change.object)?;
    let row = of.create(object, change.fields());
    if change.company.is_some() {
        let company = locate(of, Object::Companies, change.company.as_ref())?;
        of.link(object, row, company);
    }
    Ok(Json(json!({ "id": object.id(row).to_string() })))
}

pub(crate) async fn update(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    let (fields, moves) = (change.fields(), change.move_stamp.unwrap_or(true));
    row(&app, &change, |of, object, row| {
        of.update(object, row, fields, moves)
    })
}

pub(crate) async fn archive(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    row(&app, &change, Portal::archive)
}

pub(crate) async fn restore(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    row(&app, &change, Portal::restore)
}

pub(crate) async fn purge(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    row(&app, &change, Portal::purge)
}

pub(crate) async fn merge(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    let mut portals = app.portals.lock();
    let of = portal(&mut portals, change.portal.as_deref())?;
    let object = object(&change.object)?;
    let (winner, loser) = (
        locate(of, object, change.winner.as_ref())?,
        locate(of, object, change.loser.as_ref())?,
    );
    if winner == loser || !of.is_live(object, winner) || !of.is_live(object, loser) {
        return refuse("a merge is of two live rows");
    }
    let winner = of.merge(object, winner, loser, change.mint);
    Ok(Json(json!({ "id": object.id(winner).to_string() })))
}

/// `object`, `id`, `company`.
pub(crate) async fn link(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    ends(&app, &change, Portal::link)
}

pub(crate) async fn unlink(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    ends(&app, &change, Portal::unlink)
}

fn ends(app: &App, change: &Change, act: impl FnOnce(&mut Portal, Object, u32, u32)) -> Answer {
    let mut portals = app.portals.lock();
    let of = portal(&mut portals, change.portal.as_deref())?;
    let object = object(&change.object)?;
    if object == Object::Companies {
        return refuse("name the contact, deal or ticket as object and id");
    }
    let row = locate(of, object, change.id.as_ref())?;
    let company = locate(of, Object::Companies, change.company.as_ref())?;
    act(of, object, row, company);
    done()
}
