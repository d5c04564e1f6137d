//! Random changes of rows, the same ones for the same seed and state: what the users of an org do all day.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Answer, Given, Refusal, refuse};
use crate::app::App;
use crate::ids;
use crate::org::change::Moment;
use crate::org::make::mix;
use crate::org::{ACCOUNT, Org, Row};

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
    /// The row gets another account.
    Move,
    /// A value changes, the stamp does not.
    Silent,
    /// An update with a stamp of up to five minutes ago.
    Late,
    /// An update in the transaction `random`, which somebody else has to commit.
    Slow,
    /// The row goes out of the user's sight.
    Unshare,
    /// A row comes back into it.
    Share,
}

/// The kinds that are chosen from by default: after them, the stored rows of every reader can be those of the org.
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

const OBJECTS: [&str; 5] = ["Account", "Contact", "Opportunity", "Contract", "Case"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Order {
    org: Option<String>,
    seed: u64,
    count: usize,
    #[serde(default)]
    objects: Vec<String>,
    #[serde(default)]
    kinds: Vec<Kind>,
    /// For `unshare` and `share`.
    user: Option<String>,
}

/// A source of numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.roll() % n.max(1) as u64) as usize
    }
}

/// Changes rows; answers the changes in their order.
pub(crate) async fn random(State(app): State<Arc<App>>, Given(order): Given<Order>) -> Answer {
    let now = app.now();
    let user = app.named_user(order.user.as_deref())?;
    let mut org = app.named_org(order.org.as_deref())?.write();
    let names: Vec<&str> = if order.objects.is_empty() {
        OBJECTS.to_vec()
    } else {
        order.objects.iter().map(String::as_str).collect()
    };
    let kinds = if order.kinds.is_empty() {
        &KINDS[..]
    } else {
        &order.kinds[..]
    };
    let mut dice = Dice(order.seed);
    let mut changes = Vec::new();
    for _ in 0..order.count {
        let table = super::records::table(&org, Some(names[dice.below(names.len())]))?;
        let kind = kinds[dice.below(kinds.len())];
        let rows = match kind {
            Kind::Slow => slow(&app, &mut org, table, now, &mut dice),
            Kind::Unshare | Kind::Share => sight(&mut org, table, kind, user.user, &mut dice),
            _ => change(&mut org, table, kind, now, &mut dice).map_err(Refusal)?,
        };
        if let Some(rows) = rows {
            let id = |at: &Row| ids::text(org.schema.objects[at.table].prefix, at.row);
            changes.push(json!({ "kind": kind, "ids": rows.iter().map(id).collect::<Vec<_>>() }));
        }
    }
    if changes.is_empty() && order.count > 0 {
        return refuse("there is no row that could be changed like this");
    }
    Ok(Json(json!({ "changes": changes })))
}

/// A live or a deleted row of a table.
fn some(org: &Org, table: usize, deleted: bool, dice: &mut Dice) -> Option<Row> {
    let rows = &org.tables[table];
    let range = rows.range();
    (0..200)
        .map(|_| range.start + dice.below(range.len()) as u32)
        .find(|row| rows.exists(*row) && rows.deleted(*row) == deleted)
        .map(|row| Row { table, row })
}

fn slow(app: &App, org: &mut Org, table: usize, now: i64, dice: &mut Dice) -> Option<Vec<Row>> {
    let at = some(org, table, false, dice)?;
    let fields = values(org, table, dice);
    let number = org.number as usize;
    let update = move |org: &mut Org| org.update(at, &fields, Moment::at(now));
    app.transactions.lock().add("random", number, Box::new(update));
    Some(vec![at])
}

fn sight(org: &mut Org, table: usize, kind: Kind, user: u32, dice: &mut Dice) -> Option<Vec<Row>> {
    let at = some(org, table, false, dice)?;
    let user = org.users.iter_mut().find(|u| u.row == user)?;
    let unshared = Arc::make_mut(&mut user.unshared);
    let at = if kind == Kind::Unshare {
        unshared.insert(at);
        at
    } else {
        // The rows of a set have no order: the first one keeps the changes the same for a seed.
        let first = *unshared.iter().filter(|row| row.table == table).min()?;
        unshared.remove(&first);
        first
    };
    Some(vec![at])
}

/// One change; None if no row for it was found.
fn change(
    org: &mut Org,
    table: usize,
    kind: Kind,
    now: i64,
    dice: &mut Dice,
) -> Result<Option<Vec<Row>>, String> {
    let mut moment = Moment::at(now);
    if kind == Kind::Late {
        moment.at -= dice.below(300) as i64;
    }
    moment.moves_stamp = kind != Kind::Silent;
    if kind == Kind::Create {
        let account = some(org, ACCOUNT, false, dice);
        let mut fields = values(org, table, dice);
        if table != ACCOUNT
            && let Some(account) = account
        {
            fields.insert("AccountId".to_owned(), ids::text("001", account.row).into());
        }
        let at = org.reserve(table, &fields, moment)?;
        org.fill(at, &fields, moment)?;
        return Ok(Some(vec![at]));
    }
    let Some(at) = some(org, table, kind == Kind::Undelete, dice) else {
        return Ok(None);
    };
    match kind {
        Kind::Slow | Kind::Unshare | Kind::Share => return Ok(None),
        Kind::Update | Kind::Late | Kind::Silent | Kind::Create => {
            let fields = values(org, table, dice);
            org.update(at, &fields, moment)?;
        }
        Kind::Delete => org.delete(at, true, moment),
        Kind::Undelete => org.undelete(at, moment),
        Kind::Purge => org.purge(at, moment),
        Kind::Merge => {
            let mergeable = org.schema.objects[table].field("MasterRecordId").is_some();
            let Some(loser) = some(org, table, false, dice).filter(|loser| *loser != at && mergeable) else {
                return Ok(None);
            };
            org.merge(at, loser, moment);
            return Ok(Some(vec![at, loser]));
        }
        Kind::Move => {
            let Some(account) = some(org, ACCOUNT, false, dice).filter(|_| table != ACCOUNT) else {
                return Ok(None);
            };
            let mut fields = Map::new();
            fields.insert("AccountId".to_owned(), ids::text("001", account.row).into());
            org.update(at, &fields, moment)?;
        }
    }
    Ok(Some(vec![at]))
}

/// A text for the first field that an object has: names are the most visible.
fn values(org: &Org, table: usize, dice: &mut Dice) -> Map<String, Value> {
    let object = &org.schema.objects[table];
    let text = format!("Random \"{}\", {}", dice.below(1_000), dice.below(1_000_000));
    let mut fields = Map::new();
    if object.name == "Contact" {
        fields.insert("LastName".to_owned(), text.clone().into());
    } else if object.field("Name").is_some() {
        fields.insert("Name".to_owned(), text.clone().into());
    }
    if object.field("Description").is_some() {
        fields.insert("Description".to_owned(), format!("{text}\nsecond line").into());
    }
    fields
}
