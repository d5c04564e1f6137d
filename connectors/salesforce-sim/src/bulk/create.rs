//! `POST /jobs/query`

use serde::Deserialize;

use super::csv::{Delimiter, Ending, Layout};
use super::info;
use super::jobs::{Job, State};
use super::refused::{check, columns};
use super::script::{Settings, course};
use crate::errors::Error;
use crate::rest::{Call, Reply};
use crate::soql::parser;
use crate::soql::plan::plan;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct New {
    operation: Operation,
    query: String,
    #[serde(default)]
    content_type: Option<ContentType>,
    #[serde(default)]
    column_delimiter: Option<Delimiter>,
    #[serde(default)]
    line_ending: Option<Ending>,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
enum Operation {
    Query,
    QueryAll,
}

#[derive(Deserialize)]
enum ContentType {
    #[serde(rename = "CSV")]
    Csv,
}

/// Creates a job, if its query is valid. It starts with the first look at it.
pub(crate) fn create(call: &Call<'_>) -> Result<Reply, Error> {
    let new: New = serde_json::from_slice(call.body)
        .map_err(|error| Error::new(400, "JSON_PARSER_ERROR", error.to_string()))?;
    _ = new.content_type.unwrap_or(ContentType::Csv);
    let settings = call.app.jobs.lock().settings.clone();
    allowed(call, &settings)?;
    let query = parser::parse(&new.query)?;
    check(&query, &settings)?;
    let (object, chunkable) = {
        let org = call.org();
        let plan = plan(call.viewer(&org)?, &new.query, &query)?;
        columns(&plan.node)?;
        let object = &org.schema.objects[plan.table];
        (object.name, object.business)
    };
    let now = call.app.now();
    let mut jobs = call.app.jobs.lock();
    let jobs = &mut *jobs;
    let script = course(&mut jobs.scripts, &settings, object, &new.query);
    let job = jobs.add(|number| Job {
        number,
        owner: call.user,
        all: new.operation == Operation::QueryAll,
        soql: new.query,
        object: object.to_owned(),
        created: now,
        stamp: now,
        state: State::UploadComplete,
        version: call.version().to_owned(),
        layout: Layout {
            delimiter: new.column_delimiter.unwrap_or(Delimiter::Comma),
            ending: new.line_ending.unwrap_or(Ending::Lf),
        },
        chunked: chunkable && query.order.is_empty() && query.limit.is_none(),
        script,
        polls: 0,
        outcome: None,
        error: None,
        gone: false,
        epoch: 0,
        pages_read: 0,
    });
    Ok(info::short(&job).into())
}

/// Whether the org may create a job.
fn allowed(call: &Call<'_>, settings: &Settings) -> Result<(), Error> {
    if !settings.enabled {
        return Err(Error::new(400, "FEATURENOTENABLED", "Async API not enabled"));
    }
    let used = call.app.jobs.lock().used.get(&call.user.org).copied();
    if used.unwrap_or(0) >= settings.max_jobs {
        let message = format!(
            "Max bulk v2 query jobs ({}) per 24 hrs has been reached",
            settings.max_jobs
        );
        return Err(Error::new(400, "LIMIT_EXCEEDED", message));
    }
    if settings.storage_exceeded {
        let message = "Max bulk v2 query result size stored (1000000000) kb per 24 hrs has been exceeded";
        return Err(Error::new(400, "LIMIT_EXCEEDED", message));
    }
    Ok(())
}
