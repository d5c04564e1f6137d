//! Job info, the list of jobs, abort and delete.

use serde_json::{Value as Json, json};

use super::jobs::{Job, State, look};
use crate::errors::Error;
use crate::ids;
use crate::rest::{Call, Reply};
use crate::value::{Form, Value};

fn wire(at: i64) -> Json {
    let mut out = String::new();
    Value::Instant(at).write(&mut out, Form::Wire);
    out.trim_matches('"').into()
}

/// The job as its creation, its abort and lists show it.
pub(crate) fn short(job: &Job) -> Json {
    json!({
        "id": job.id(),
        "operation": if job.all { "queryAll" } else { "query" },
        "object": job.object,
        "createdById": ids::text("005", job.owner.user),
        "createdDate": wire(job.created),
        "systemModstamp": wire(job.stamp),
        "state": job.state.name(),
        "concurrencyMode": "Parallel",
        "contentType": "CSV",
        "apiVersion": job.version.parse::<f64>().unwrap_or(0.0),
        "lineEnding": job.layout.ending,
        "columnDelimiter": job.layout.delimiter,
    })
}

fn long(job: &Job) -> Json {
    let mut json = short(job);
    json["jobType"] = "V2Query".into();
    json["numberRecordsProcessed"] = job.processed().into();
    json["retries"] = 0.into();
    json["totalProcessingTime"] = (u64::from(job.polls) * 334).into();
    json["isPkChunkingSupported"] = job.chunked.into();
    if let (State::Failed, Some(error)) = (job.state, &job.error) {
        json["errorMessage"] = error.as_str().into();
    }
    json
}

pub(crate) fn get(call: &Call<'_>, id: &str) -> Result<Reply, Error> {
    let number = call.app.jobs.lock().find(id, call)?.number;
    let job = look(call.app, number).ok_or_else(Error::not_found)?;
    Ok(long(&job).into())
}

/// An error about the state of a job. (?)
pub(crate) fn wrong_state(message: impl Into<String>) -> Error {
    Error::new(400, "INVALIDJOBSTATE", message)
}

pub(crate) fn abort(call: &Call<'_>, id: &str) -> Result<Reply, Error> {
    let wanted: Json = serde_json::from_slice(call.body)
        .map_err(|error| Error::new(400, "JSON_PARSER_ERROR", error.to_string()))?;
    let now = call.app.now();
    let mut jobs = call.app.jobs.lock();
    let job = jobs.find(id, call)?;
    if wanted["state"] != "Aborted" {
        return Err(wrong_state("Invalid job state"));
    }
    if job.state.finished() {
        return Err(wrong_state(format!(
            "Aborting already {} Job not allowed",
            job.state.name()
        )));
    }
    (job.state, job.stamp) = (State::Aborted, now);
    Ok(short(job).into())
}

pub(crate) fn delete(call: &Call<'_>, id: &str) -> Result<Reply, Error> {
    let mut jobs = call.app.jobs.lock();
    let job = jobs.find(id, call)?;
    if !job.state.finished() {
        return Err(wrong_state(format!(
            "Deleting {} Job not allowed",
            job.state.name()
        )));
    }
    job.gone = true;
    job.outcome = None;
    Ok(Reply {
        status: 204,
        ..Reply::ok("")
    })
}

/// The jobs that the caller may see, ordered by id. A list looks at every job in it.
pub(crate) fn list(call: &Call<'_>) -> Result<Reply, Error> {
    let is = |name: &str, value: &str| {
        call.param(name)
            .is_none_or(|asked| asked.eq_ignore_ascii_case(value))
    };
    let from: usize = match call.param("queryLocator") {
        None => 0,
        Some(text) => {
            let gone = || Error::new(400, "INVALID_QUERY_LOCATOR", "invalid query locator");
            text.parse().map_err(|_| gone())?
        }
    };
    let (numbers, listed) = {
        let jobs = call.app.jobs.lock();
        (jobs.visible_to(call), jobs.settings.jobs_listed.max(1))
    };
    let mut matching = Vec::new();
    for number in numbers {
        let chunked = {
            let mut jobs = call.app.jobs.lock();
            jobs.by_number(number).is_some_and(|job| job.chunked)
        };
        let chunking = if chunked { "true" } else { "false" };
        if is("isPkChunkingEnabled", chunking)
            && is("jobType", "V2Query")
            && is("concurrencyMode", "parallel")
        {
            matching.push(number);
        }
    }
    let page = matching.iter().skip(from).take(listed);
    let records: Vec<Json> = page
        .filter_map(|number| look(call.app, *number))
        .map(|job| {
            let mut json = short(&job);
            json["jobType"] = "V2Query".into();
            json
        })
        .collect();
    let next = from + records.len();
    let done = next >= matching.len();
    let url = format!(
        "/services/data/v{}/jobs/query?queryLocator={next}",
        call.version()
    );
    let next = if done { Json::Null } else { url.into() };
    Ok(json!({ "done": done, "records": records, "nextRecordsUrl": next }).into())
}
