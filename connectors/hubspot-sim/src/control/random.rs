//! Random changes of rows, the same ones for the same seed and state: what the users of a portal do all day.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answer, Given, object, portal, refuse};
use crate::app::{App, now_ms};
use crate::portal::Portal;
use crate::portal::schema::{OBJECTS, Object};

/// One kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Create,
    Update,
    Delete,
    Undelete,
    Purge,
    Merge,
    /// The row gets another company; its time of change stays.
    Move,
    /// A calculated value changes; the time of change stays.
    Silent,
    /// An update with a time of up to five minutes ago.
    Late,
}

/// The kinds that are chosen from by default: after them, the stored rows of every reader can be those of the portal.
const KINDS: [Kind; 9] = [
    Kind::Create,
    Kind::Update,
    Kind::Delete,
    Kind::Undelete,
    Kind::Purge,
    Kind::Merge,
    Kind::Move,
    Kind::Silent,
    Kind::Late,
];

/// The most minutes by which a change is late.
const LATE_MS: i64 = 5 * 60_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    portal: Option<String>,
    seed: u64,
    count: usize,
    #[serde(default)]
    objects: Vec<String>,
    #[serde(default)]
    kinds: Vec<Kind>,
}

/// Changes rows; answers the changes in their order.
pub(crate) async fn random(State(app): State<Arc<App>>, Given(order): Given<Order>) -> Answer {
    let mut portals = app.portals.lock();
    let of = portal(&mut portals, order.portal.as_deref())?;
    let mut objects = Vec::new();
    for name in &order.objects {
        objects.push(object(name)?);
    }
    if objects.is_empty() {
        objects.extend(OBJECTS);
    }
    let kinds = match order.kinds.is_empty() {
        true => &KINDS[..],
        false => &order.kinds[..],
    };
    let mut dice = StdRng::seed_from_u64(order.seed);
    let mut changes: Vec<Value> = Vec::new();
    for _ in 0..order.count {
        let object = objects[dice.random_range(0..objects.len())];
        let kind = kinds[dice.random_range(0..kinds.len())];
        if let Some(rows) = change(of, object, kind, &mut dice) {
            let ids: Vec<String> = rows.iter().map(|row| object.id(*row).to_string()).collect();
            changes.push(json!({ "kind": kind, "object": object.plural(), "ids": ids }));
        }
    }
    if changes.is_empty() && order.count > 0 {
        return refuse("there is no row that could be changed like this");
    }
    Ok(Json(json!({ "changes": changes })))
}

/// A live row, or one that is archived and can be restored.
fn some(of: &Portal, object: Object, live: bool, dice: &mut StdRng) -> Option<u32> {
    let rows = of.rows(object);
    (0..200)
        .filter(|_| !rows.is_empty())
        .map(|_| dice.random_range(rows.clone()))
        .find(|row| match live {
            true => of.is_live(object, *row),
            false => of.is_archived(object, *row),
        })
}

/// One change; None if no row for it was found.
fn change(of: &mut Portal, object: Object, kind: Kind, dice: &mut StdRng) -> Option<Vec<u32>> {
    let is_company = object == Object::Companies;
    if kind == Kind::Create {
        let company = some(of, Object::Companies, true, dice);
        let row = of.create(object, values(of, object, dice));
        if let Some(company) = company.filter(|_| !is_company) {
            of.link(object, row, company);
        }
        return Some(vec![row]);
    }
    let row = some(of, object, kind != Kind::Undelete, dice)?;
    match kind {
        Kind::Create => return None,
        Kind::Update => of.update(object, row, values(of, object, dice), Some(now_ms())),
        Kind::Late => {
            let late_ms = dice.random_range(0..LATE_MS);
            // HubSpot's times have the form with a fraction or without: both occur.
            of.update(object, row, values(of, object, dice), Some(now_ms() - late_ms));
        }
        Kind::Silent => {
            let mut all = of.properties[object.index()].iter();
            let name = all.find(|property| property.is("calculated") && property.kind == "number")?;
            let value = Some(dice.random_range(0..5_000).to_string());
            of.update(object, row, BTreeMap::from([(name.name.clone(), value)]), None);
        }
        Kind::Delete => of.archive(object, row, now_ms()),
        Kind::Undelete => of.restore(object, row),
        Kind::Purge => of.purge(object, row),
        Kind::Merge => {
            let loser = some(of, object, true, dice).filter(|loser| *loser != row)?;
            // Contacts keep the id of one of them.
            let mint = object != Object::Contacts && dice.random_range(0..2) == 1;
            let winner = of.merge(object, row, loser, mint);
            return Some(vec![winner, row, loser]);
        }
        Kind::Move => {
            let company = some(of, Object::Companies, true, dice).filter(|_| !is_company)?;
            for old in of.linked(object, row, Object::Companies) {
                of.unlink(object, row, old);
            }
            of.link(object, row, company);
        }
    }
    Some(vec![row])
}

/// A text for the first property of an object, which is a part of its name, and an owner.
fn values(of: &Portal, object: Object, dice: &mut StdRng) -> BTreeMap<String, Option<String>> {
    let text = format!(
        "Random \"{}\", {}\nsecond line",
        dice.random_range(0..1_000),
        dice.random_range(0..1_000_000)
    );
    let name = of.properties[object.index()]
        .first()
        .map(|property| property.name.clone());
    let owner = (81_000_000 + dice.random_range(0..5)).to_string();
    let values = name.map(|name| (name, Some(text))).into_iter();
    values
        .chain([("hubspot_owner_id".to_owned(), Some(owner))])
        .collect()
}
