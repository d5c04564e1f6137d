//! The clock, the recycle bin, and transactions.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::json;

use super::records::table;
use super::{Answer, Given, Refusal, refuse};
use crate::app::App;
use crate::value::{Form, Value, parse_instant};

const DAY: i64 = 86_400;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Setting {
    skew_seconds: Option<i64>,
    at: Option<String>,
    advance_seconds: Option<i64>,
    run: Option<bool>,
    date_skew_seconds: Option<i64>,
}

/// Sets Salesforce's clock: for its `Date` headers, the stamps of changes, and the ages of jobs and deleted rows.
pub(crate) async fn clock(State(app): State<Arc<App>>, Given(setting): Given<Setting>) -> Answer {
    let mut clock = *app.clock.lock();
    if let Some(seconds) = setting.skew_seconds {
        clock.set_skew(seconds);
    }
    if let Some(at) = &setting.at {
        clock.stop(parse_instant(at).ok_or_else(|| Refusal(format!("{at} is no instant")))?);
    }
    if let Some(seconds) = setting.advance_seconds {
        clock.advance(seconds);
    }
    if setting.run == Some(true) {
        clock.run();
    }
    if let Some(seconds) = setting.date_skew_seconds {
        clock.set_header_skew(seconds);
    }
    *app.clock.lock() = clock;
    expire(&app);
    let text = |at: i64| {
        let mut out = String::new();
        Value::Instant(at).write(&mut out, Form::Canonical);
        out.trim_matches('"').to_owned()
    };
    Ok(Json(json!({
        "now": clock.now(), "time": text(clock.now()), "date": text(clock.date()), "stopped": clock.is_stopped(),
    })))
}

/// Removes the rows whose time in the recycle bin is over.
fn expire(app: &App) -> usize {
    let now = app.now();
    let expire = |org: &parking_lot::RwLock<crate::org::Org>| {
        let days = org.read().bin_days;
        days.map_or(0, |days| org.write().empty_bin(None, Some(now - days * DAY)))
    };
    app.orgs.iter().map(expire).sum()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Bin {
    org: Option<String>,
    object: Option<String>,
    older_than_days: Option<i64>,
    #[serde(default)]
    empty: bool,
    expire_days: Option<i64>,
}

/// Empties the recycle bin, or sets after how many days it loses a row (0: never, as at the start).
pub(crate) async fn bin(State(app): State<Arc<App>>, Given(bin): Given<Bin>) -> Answer {
    let mut purged = 0;
    let now = app.now();
    {
        let mut org = app.named_org(bin.org.as_deref())?.write();
        if let Some(days) = bin.expire_days {
            org.bin_days = (days > 0).then_some(days);
        }
        if bin.empty || bin.older_than_days.is_some() {
            let name = bin.object.as_deref();
            let table = name.map(|_| table(&org, name)).transpose()?;
            purged = org.empty_bin(table, bin.older_than_days.map(|days| now - days * DAY));
        }
    }
    purged += expire(&app);
    Ok(Json(json!({ "purged": purged })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ended {
    transaction: String,
}

/// Makes the changes of a transaction visible. Their stamps are those of the time when they were made.
pub(crate) async fn commit(State(app): State<Arc<App>>, Given(ended): Given<Ended>) -> Answer {
    let changes = app.transactions.lock().take(&ended.transaction);
    let Some(changes) = changes else {
        return refuse(format!("there is no transaction {}", ended.transaction));
    };
    let committed = changes.len();
    for (org, change) in changes {
        change(&mut app.orgs[org].write()).map_err(Refusal)?;
    }
    Ok(Json(json!({ "committed": committed })))
}

pub(crate) async fn roll_back(State(app): State<Arc<App>>, Given(ended): Given<Ended>) -> Answer {
    let changes = app.transactions.lock().take(&ended.transaction);
    match changes {
        Some(changes) => Ok(Json(json!({ "dropped": changes.len() }))),
        None => refuse(format!("there is no transaction {}", ended.transaction)),
    }
}

/// The open transactions.
pub(crate) async fn transactions(State(app): State<Arc<App>>) -> Answer {
    Ok(Json(json!({ "open": app.transactions.lock().open() })))
}
