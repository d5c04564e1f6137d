//! `/query`, `/queryAll` and their further pages.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::{Call, Reply, answers};
use crate::damage::{self, How};
use crate::errors::Error;
use crate::soql::plan::{Plan, plan};
use crate::soql::render::{Keep, Renderer};
use crate::soql::{eval, parser};

/// Stores the rest of a result for the user of a call.
struct Keeper<'a> {
    call: &'a Call<'a>,
    all: bool,
    batch: usize,
}

impl Keep for Keeper<'_> {
    fn keep(&self, plan: &Arc<Plan>, rows: Arc<Vec<u32>>, next: usize) -> String {
        let id = self.call.app.cursors.lock().open(
            (self.call.user, self.call.session),
            plan,
            &rows,
            self.all,
            self.batch,
            self.call.app.now(),
        );
        format!("/services/data/v{}/query/{id}-{next}", self.call.version())
    }
}

pub(crate) fn run(call: &Call<'_>, all: bool) -> Result<Reply, Error> {
    let soql = call
        .param("q")
        .ok_or_else(|| Error::malformed("A query string has to be specified"))?;
    run_soql(call, &soql, all)
}

pub(crate) fn run_soql(call: &Call<'_>, soql: &str, all: bool) -> Result<Reply, Error> {
    let query = parser::parse(soql)?;
    let org = call.org();
    let plan = plan(call.viewer(&org)?, soql, &query)?;
    if let Some(aggregates) = &plan.aggregates {
        let records = aggregates.run(&org, &plan, all);
        return Ok(json!({ "totalSize": records.len(), "done": true, "records": records }).into());
    }
    let object = org.schema.objects[plan.table].name;
    let mut rows = eval::rows(&org, &plan, all);
    answers::rows(call, object, &mut rows)?;
    if plan.count_only {
        return Ok(json!({ "totalSize": rows.len(), "done": true, "records": [] }).into());
    }
    let batch = call.batch();
    let keeper = Keeper { call, all, batch };
    let renderer = Renderer {
        org: &org,
        version: call.version(),
        batch,
        all,
        keep: &keeper,
    };
    let (plan, rows) = (Arc::new(plan), Arc::new(rows));
    let page = damaged(call, object, &renderer, &plan, &rows, 0);
    Ok(Reply::ok(answers::page(call, object, page)))
}

/// A further page: `{locator}-{row}`.
pub(crate) fn more(call: &Call<'_>, locator: &str) -> Result<Reply, Error> {
    let gone = || Error::new(400, "INVALID_QUERY_LOCATOR", "invalid query locator");
    let (id, from) = locator.split_once('-').ok_or_else(gone)?;
    let from: usize = from.parse().map_err(|_| gone())?;
    let cursor = call
        .app
        .cursors
        .lock()
        .find(id, (call.user, call.session), call.app.now())
        .ok_or_else(gone)?;
    if from > cursor.rows.len() {
        return Err(gone());
    }
    let org = call.org();
    let keeper = Keeper {
        call,
        all: cursor.all,
        batch: cursor.batch,
    };
    let renderer = Renderer {
        org: &org,
        version: call.version(),
        batch: cursor.batch,
        all: cursor.all,
        keep: &keeper,
    };
    let object = org.schema.objects[cursor.plan.table].name;
    let page = damaged(call, object, &renderer, &cursor.plan, &cursor.rows, from);
    if page.contains("\"done\":true,\"records\"") {
        call.app.cursors.lock().finish(&cursor.id);
    }
    Ok(Reply::ok(answers::page(call, object, page)))
}

/// A page, damaged if that was ordered.
fn damaged(
    call: &Call<'_>,
    object: &str,
    renderer: &Renderer<'_>,
    plan: &Arc<Plan>,
    rows: &Arc<Vec<u32>>,
    from: usize,
) -> String {
    let page = renderer.page(plan, rows, from);
    let Some((how, count)) = damage::strike(call.app, call.user.org, object, damage::Api::Rest) else {
        return page;
    };
    let Ok(mut json) = serde_json::from_str::<Json>(&page) else {
        return page;
    };
    match how {
        How::Short => {
            if let Some(records) = json["records"].as_array_mut() {
                records.truncate(records.len().saturating_sub(count));
            }
        }
        How::Repeat => {
            let before = renderer.page(plan, rows, from.saturating_sub(renderer.batch));
            let before = serde_json::from_str::<Json>(&before).unwrap_or_default();
            json["records"] = before["records"].clone();
        }
        How::Loop => {
            let itself = renderer.keep.keep(plan, rows.clone(), from);
            (json["nextRecordsUrl"], json["done"]) = (itself.into(), false.into());
        }
        How::Early => {
            json["done"] = true.into();
            json.as_object_mut().map(|page| page.remove("nextRecordsUrl"));
        }
        How::Miscount | How::Uncounted | How::Headerless | How::Empty => {}
    }
    json.to_string()
}
