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
    #[serde(default)]
    fields: Map<String, Value>,
    /// The stamp to set; now by default. An old one simulates a transaction that was committed late.
    stamp: Option<String>,
    /// False, as for a formula: the value changes, the stamp does not.
    move_stamp: Option<bool>,
    cascade: Option<bool>,
    winner: Option<String>,
    loser: Option<String>,
}

impl Change {
    fn moment(&self, app: &App) -> Result<Moment, Refusal> {
        let mut moment = Moment::at(app.now());
        moment.moves_stamp = self.move_stamp.unwrap_or(true);
        if let Some(stamp) = &self.stamp {
            moment.at =
                parse_instant(stamp).ok_or_else(|| Refusal(format!("stamp {stamp} is no instant")))?;
        }
        Ok(moment)
    }

    fn rows(&self, org: &Org) -> Result<Vec<Row>, Refusal> {
        let ids = self.id.iter().chain(&self.ids);
        let rows = ids.map(|id| locate(org, id)).collect::<Result<Vec<_>, _>>()?;
        if rows.is_empty() {
            refuse("name the row: id or ids")
        } else {
            Ok(rows)
        }
    }
}

fn locate(org: &Org, id: &str) -> Result<Row, Refusal> {
    let at = org.locate(id).filter(|at| org.tables[at.table].exists(at.row));
    at.ok_or_else(|| Refusal(format!("there is no row {id}")))
}

pub(crate) async fn create(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    let mut org = app.named_org(change.org.as_deref())?.write();
    let name = change.object.as_deref().unwrap_or("");
    let Some((table, _)) = org.schema.find(name) else {
        return refuse(format!("there is no object {name}"));
    };
    let at = org
        .create(table, &change.fields, change.moment(&app)?)
        .map_err(Refusal)?;
    Ok(Json(
        json!({ "id": ids::text(org.schema.objects[table].prefix, at.row) }),
    ))
}

/// Applies one kind of change to the named rows.
fn each(
    app: &App,
    change: &Change,
    mut act: impl FnMut(&mut Org, Row, Moment) -> Result<(), String>,
) -> Answer {
    let mut org = app.named_org(change.org.as_deref())?.write();
    let moment = change.moment(app)?;
    let rows = change.rows(&org)?;
    for at in &rows {
        act(&mut org, *at, moment).map_err(Refusal)?;
    }
    Ok(Json(json!({ "changed": rows.len() })))
}

pub(crate) async fn update(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    each(&app, &change, |org, at, moment| {
        org.update(at, &change.fields, moment)
    })
}

pub(crate) async fn touch(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    each(&app, &change, |org, at, moment| {
        org.touch(at, moment);
        Ok(())
    })
}

pub(crate) async fn delete(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    each(&app, &change, |org, at, moment| {
        org.delete(at, change.cascade.unwrap_or(true), moment);
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
    each(&app, &change, |org, at, _| {
        org.purge(at);
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
    org.merge(winner, loser, moment);
    Ok(Json(json!({ "changed": 2 })))
}
