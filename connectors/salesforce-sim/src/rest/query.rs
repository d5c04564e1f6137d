//! `/query`, `/queryAll` and their further pages.

use std::sync::Arc;

use serde_json::json;

use super::{Call, Reply, answers};
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
    let page = renderer.page(&Arc::new(plan), &Arc::new(rows), 0);
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
        .find(id, (call.user, call.session))
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
    let page = renderer.page(&cursor.plan, &cursor.rows, from);
    if page.contains("\"done\":true,\"records\"") {
        call.app.cursors.lock().finish(&cursor.id);
    }
    let object = org.schema.objects[cursor.plan.table].name;
    Ok(Reply::ok(answers::page(call, object, page)))
}
