//! Bulk API 2.0 query jobs: `/jobs/query`.
//!
//! A job advances by one step with every look at it ([`jobs`]); no time has to pass. Its query runs on a snapshot of the
//! org, so later changes do not alter its result. The result is the list of its rows; the pages of CSV ([`csv`]) are
//! computed while they are sent ([`results`]).

mod create;
pub(crate) mod csv;
mod info;
pub(crate) mod jobs;
mod refused;
mod results;
pub(crate) mod script;

use crate::errors::Error;
use crate::rest::{Call, Reply};

pub(crate) use results::results;

/// Everything under `/jobs/query` but the results.
pub(crate) fn route(call: &Call<'_>, rest: &[&str]) -> Result<Reply, Error> {
    if call.inner {
        return Err(Error::not_found());
    }
    let get = matches!(call.method, "GET" | "HEAD");
    match (get, call.method, rest) {
        (true, _, []) => info::list(call),
        (_, "POST", []) => create::create(call),
        (true, _, [id]) => info::get(call, id),
        (_, "PATCH", [id]) => info::abort(call, id),
        (_, "DELETE", [id]) => info::delete(call, id),
        (true, _, [id, "resultPages"]) => results::pages(call, id),
        (_, method, []) => Err(Error::method(method, "HEAD,GET,POST")),
        (_, method, [_]) => Err(Error::method(method, "HEAD,GET,PATCH,DELETE")),
        (_, method, [_, "results" | "resultPages"]) => Err(Error::method(method, "HEAD,GET")),
        _ => Err(Error::not_found()),
    }
}
