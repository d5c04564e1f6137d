//! `/sobjects/{object}/updated` and `/deleted`: changes between two times.

use serde_json::{Value as Json, json};

use super::{Call, Reply};
use crate::errors::Error;
use crate::ids;
use crate::org::Row;
use crate::value::{Form, Value, parse_instant};

const DAY: i64 = 86_400;

fn wire(at: i64) -> Json {
    let mut out = String::new();
    Value::Instant(at).write(&mut out, Form::Wire);
    out.trim_matches('"').into()
}

/// Start and end, without their seconds.
fn window(call: &Call<'_>, days: i64) -> Result<(i64, i64), Error> {
    let read = |name: &str| {
        let text = call.param(name).unwrap_or_default();
        let minute = parse_instant(&text).map(|at| at - at.rem_euclid(60));
        minute.ok_or_else(|| {
            Error::new(
                400,
                "INVALID_FIELD",
                format!("{name}: {text} is not a valid date"),
            )
        })
    };
    let (start, end) = (read("start")?, read("end")?);
    let refuse = |message: &str| Err(Error::new(400, "INVALID_REPLICATION_DATE", message));
    if end <= start {
        return refuse("The end date must be at least one minute after the start date");
    }
    if start < call.app.now() - days * DAY {
        return refuse("The specified start_date cannot be before the earliest date available");
    }
    Ok((start, end))
}

fn stamp(value: &Value) -> i64 {
    if let Value::Instant(at) = value { *at } else { 0 }
}

pub(crate) fn updated(call: &Call<'_>, name: &str) -> Result<Reply, Error> {
    let (start, end) = window(call, 30)?;
    let org = call.org();
    let viewer = call.viewer(&org)?;
    let (table, object) = viewer.object(name).ok_or_else(Error::not_found)?;
    let rows = &org.tables[table];
    let moved = |row: &u32| {
        let at = stamp(&org.cell_named(Row { table, row: *row }, "SystemModstamp"));
        rows.live(*row) && viewer.sees(table, *row) && (start..end).contains(&at)
    };
    let ids: Vec<String> = rows
        .range()
        .filter(moved)
        .map(|row| ids::text(object.prefix, row))
        .collect();
    if ids.len() > 600_000 {
        return Err(Error::new(
            400,
            "EXCEEDED_ID_LIMIT",
            "too many ids, narrow the window",
        ));
    }
    Ok(json!({ "ids": ids, "latestDateCovered": wire(end.min(call.app.now())) }).into())
}

pub(crate) fn deleted(call: &Call<'_>, name: &str) -> Result<Reply, Error> {
    let (start, end) = window(call, 15)?;
    let org = call.org();
    let (table, object) = call.viewer(&org)?.object(name).ok_or_else(Error::not_found)?;
    let rows = &org.tables[table];
    let mut gone: Vec<(i64, u32)> = rows
        .range()
        // The log of deletions keeps the rows that have left the recycle bin.
        .filter(|row| match rows.change(*row) {
            Some(change) if change.purged => change.deleted_at.is_some() || rows.deleted(*row),
            _ => rows.deleted(*row),
        })
        .map(|row| (org.deleted_at(Row { table, row }), row))
        .filter(|(at, _)| (start..end).contains(at))
        .collect();
    gone.sort_unstable();
    let records: Vec<Json> = gone
        .into_iter()
        .map(|(at, row)| json!({ "id": ids::text(object.prefix, row), "deletedDate": wire(at) }))
        .collect();
    Ok(json!({
        "deletedRecords": records,
        "earliestDateAvailable": wire(call.app.now() - 15 * DAY),
        "latestDateCovered": wire(end.min(call.app.now())),
    })
    .into())
}
