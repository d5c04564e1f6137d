//! Changing rows.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, Given, Refusal, refuse};
use crate::app::App;
use crate::ids;
use crate::org::change::Moment;
use crate::org::{Org, Row};
use crate::value::parse_instant;

/// The parameters of all changes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change {
    org: Option<String>,
    #[serde(default)]
    object: Option<String>,
    id: Option<String>,
    /// Several rows at once with one stamp: a bulk update.
    #[serde(default)]
    ids: Vec<String>,
    /// Every nth live row of the object, beginning with the row at `from`.
    every: Option<usize>,
    #[serde(default)]
    from: usize,
    #[serde(default)]
    fields: Map<String, Value>,
    /// The stamp to set; now by default. An old one simulates a transaction that was committed late.
    stamp: Option<String>,
    /// False, as for a formula: the value changes, the stamp does not.
    move_stamp: Option<bool>,
    /// False: rows that are deleted, restored or moved with a row keep their stamps.
    child_stamps: Option<bool>,
    cascade: Option<bool>,
    winner: Option<String>,
    loser: Option<String>,
    /// The change becomes visible with the commit of this transaction, with the stamp of now.
    transaction: Option<String>,
}

impl Change {
    fn moment(&self, app: &App) -> Result<Moment, Refusal> {
        let mut moment = Moment::at(app.now());
        moment.moves_stamp = self.move_stamp.unwrap_or(true);
        moment.moves_children = self.child_stamps.unwrap_or(true);
        if let Some(stamp) = &self.stamp {
            moment.at =
                parse_instant(stamp).ok_or_else(|| Refusal(format!("stamp {stamp} is no instant")))?;
        }
        Ok(moment)
    }

    fn rows(&self, org: &Org) -> Result<Vec<Row>, Refusal> {
        let ids = self.id.iter().chain(&self.ids);
        let mut rows = ids.map(|id| locate(org, id)).collect::<Result<Vec<_>, _>>()?;
        if let Some(every) = self.every {
            let table = table(org, self.object.as_deref())?;
            let live = org.tables[table]
                .range()
                .filter(|row| org.tables[table].live(*row));
            let some = live.skip(self.from).step_by(every.max(1));
            rows.extend(some.map(|row| Row { table, row }));
        }
        if rows.is_empty() {
            refuse("name the row: id, ids, or object and every")
        } else {
            Ok(rows)
        }
    }
}

pub(super) fn table(org: &Org, name: Option<&str>) -> Result<usize, Refusal> {
    let name = name.unwrap_or("");
    let found = org.schema.find(name).map(|(table, _)| table);
    found.ok_or_else(|| Refusal(format!("there is no object {name}")))
}

pub(super) fn locate(org: &Org, id: &str) -> Result<Row, Refusal> {
    let at = org.locate(id).filter(|at| org.tables[at.table].exists(at.row));
    at.ok_or_else(|| Refusal(format!("there is no row {id}")))
}

pub(crate) async fn create(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    let mut org = app.named_org(change.org.as_deref())?.write();
    let table = table(&org, change.object.as_deref())?;
    let moment = change.moment(&app)?;
    let at = org.reserve(table, &change.fields, moment).map_err(Refusal)?;
    let id = ids::text(org.schema.objects[table].prefix, at.row);
    perform(&app, &mut org, change.transaction.as_deref(), move |org| {
        org.fill(at, &change.fields, moment)
    })?;
    Ok(Json(json!({ "id": id })))
}

/// Applies a change now, or with the commit of its transaction.
fn perform(
    app: &App,
    org: &mut Org,
    transaction: Option<&str>,
    change: impl FnOnce(&mut Org) -> Result<(), String> + Send + 'static,
) -> Result<(), Refusal> {
    match transaction {
        None => change(org).map_err(Refusal),
        Some(name) => {
            let number = org.number as usize;
            app.transactions.lock().add(name, number, Box::new(change));
            Ok(())
        }
    }
}

/// Applies one kind of change to the named rows.
fn each(
    app: &App,
    change: &Change,
    act: impl Fn(&mut Org, Row, Moment) -> Result<(), String> + Send + 'static,
) -> Answer {
    let mut org = app.named_org(change.org.as_deref())?.write();
    let moment = change.moment(app)?;
    let rows = change.rows(&org)?;
    let changed = rows.len();
    perform(app, &mut org, change.transaction.as_deref(), move |org| {
        rows.iter().try_for_each(|at| act(org, *at, moment))
    })?;
    Ok(Json(json!({ "changed": changed })))
}

pub(crate) async fn update(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    let fields = change.fields.clone();
    each(&app, &change, move |org, at, moment| {
        org.update(at, &fields, moment)
    })
}

pub(crate) async fn touch(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    each(&app, &change, |org, at, moment| {
        org.touch(at, moment);
        Ok(())
    })
}

pub(crate) async fn delete(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    let cascade = change.cascade.unwrap_or(true);
    each(&app, &change, move |org, at, moment| {
        org.delete(at, cascade, moment);
        Ok(())
    })
}

pub(crate) async fn undelete(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    each(&app, &change, |org, at, moment| {
        org.undelete(at, moment);
        Ok(())
    })
}

pub(crate) async fn purge(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    each(&app, &change, |org, at, moment| {
        org.purge(at, moment);
        Ok(())
    })
}

pub(crate) async fn merge(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    let mut org = app.named_org(change.org.as_deref())?.write();
    let (Some(winner), Some(loser)) = (&change.winner, &change.loser) else {
        return refuse("name the winner and the loser");
    };
    let (winner, loser) = (locate(&org, winner)?, locate(&org, loser)?);
    if winner.table != loser.table || winner == loser {
        return refuse("a merge is of two rows of one object");
    }
    let moment = change.moment(&app)?;
    perform(&app, &mut org, change.transaction.as_deref(), move |org| {
        org.merge(winner, loser, moment);
        Ok(())
    })?;
    Ok(Json(json!({ "changed": 2 })))
}

/// Takes rows out of a user's sight, as a change of sharing does: their stamps stay.
pub(crate) async fn unshare(State(app): State<Arc<App>>, Given(sharing): Given<Sharing>) -> Answer {
    sharing.apply(&app, true)
}

/// Shares rows with a user again: their stamps stay.
pub(crate) async fn share(State(app): State<Arc<App>>, Given(sharing): Given<Sharing>) -> Answer {
    sharing.apply(&app, false)
}

#[derive(Deserialize)]
pub(crate) struct Sharing {
    /// The first user by default.
    user: Option<String>,
    #[serde(flatten)]
    rows: Change,
}

impl Sharing {
    fn apply(&self, app: &App, hide: bool) -> Answer {
        let key = app.named_user(self.user.as_deref())?;
        let mut org = app.orgs[key.org].write();
        let rows = self.rows.rows(&org)?;
        let changed = rows.len();
        for user in org.users.iter_mut().filter(|user| user.row == key.user) {
            let unshared = Arc::make_mut(&mut user.unshared);
            for at in &rows {
                if hide {
                    unshared.insert(*at);
                } else {
                    unshared.remove(at);
                }
            }
        }
        Ok(Json(json!({ "changed": changed })))
    }
}
