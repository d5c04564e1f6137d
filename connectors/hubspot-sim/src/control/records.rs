//! Changing rows and links.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::{Answer, Given, Refusal, done, object, portal, refuse};
use crate::app::{App, now_ms};
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
    /// False, as for a calculated property: the value changes, the time stamp does not. Links: true moves the stamp too.
    move_stamp: Option<bool>,
    /// The time of the change, instead of now; of a deletion too.
    stamp: Option<String>,
    /// Instead of `id`: every so many live rows, from the row at this position on.
    every: Option<usize>,
    #[serde(default)]
    from: usize,
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

    fn stamp_ms(&self) -> Result<i64, Refusal> {
        let Some(text) = &self.stamp else {
            return Ok(now_ms());
        };
        let at = time::OffsetDateTime::parse(text, &Rfc3339);
        let at = at.map_err(|error| Refusal(format!("{text}: {error}")))?;
        Ok((at.unix_timestamp_nanos() / 1_000_000) as i64)
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
    let (fields, at_ms) = (change.fields(), change.stamp_ms()?);
    let stamp = change.move_stamp.unwrap_or(true).then_some(at_ms);
    let Some(every) = change.every else {
        return row(&app, &change, |of, object, row| {
            of.update(object, row, fields, stamp)
        });
    };
    let mut portals = app.portals.lock();
    let of = portal(&mut portals, change.portal.as_deref())?;
    let object = object(&change.object)?;
    let live = of.rows(object).filter(|row| of.is_live(object, *row));
    let rows: Vec<u32> = live.skip(change.from).step_by(every.max(1)).collect();
    for row in &rows {
        of.update(object, *row, fields.clone(), stamp);
    }
    Ok(Json(json!({ "changed": rows.len() })))
}

pub(crate) async fn archive(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    let at_ms = change.stamp_ms()?;
    row(&app, &change, |of, object, row| of.archive(object, row, at_ms))
}

pub(crate) async fn restore(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    row(&app, &change, Portal::restore)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Expiry {
    portal: Option<String>,
    older_than_days: i64,
}

/// Deletes permanently what was archived so many days ago: HubSpot does that after 90.
pub(crate) async fn expire(State(app): State<Arc<App>>, Given(expiry): Given<Expiry>) -> Answer {
    let mut portals = app.portals.lock();
    let of = portal(&mut portals, expiry.portal.as_deref())?;
    let purged = of.expire(now_ms() - expiry.older_than_days * 86_400_000);
    Ok(Json(json!({ "purged": purged })))
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
    if change.move_stamp == Some(true) {
        of.stamp(object, row);
    }
    done()
}
