//! Result pages, and their list.

use std::ops::Range;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use futures_util::stream;
use serde_json::{Value as Json, json};

use super::csv::Layout;
use super::info::wrong_state;
use super::jobs::{Job, Outcome, State};
use super::script::{End, Settings};
use crate::damage::{self, How};
use crate::errors::Error;
use crate::rest::{Call, Reply, check_version};

/// Rows that are computed at a time: the rest of a page is never in memory.
const CHUNK: usize = 500;

/// One page of a result.
pub(crate) struct Page {
    outcome: Arc<Outcome>,
    layout: Layout,
    rows: Range<usize>,
    header: bool,
    empty: bool,
    /// `Sforce-NumberOfRecords`
    count: Option<usize>,
    /// `Sforce-Locator`
    locator: Option<String>,
}

/// The page that a call asks for; None for any other call.
pub(crate) fn results(call: &Call<'_>) -> Option<Result<Page, Error>> {
    let parts: Vec<&str> = call.path.split('/').filter(|p| !p.is_empty()).collect();
    match parts.as_slice() {
        ["services", "data", version, "jobs", "query", id, "results"]
            if matches!(call.method, "GET" | "HEAD") =>
        {
            Some(check_version(version).and_then(|()| page(call, id)))
        }
        _ => None,
    }
}

/// A complete job of the version of the call.
fn complete(call: &Call<'_>, id: &str) -> Result<(Job, Arc<Outcome>, Settings), Error> {
    let mut jobs = call.app.jobs.lock();
    let settings = jobs.settings.clone();
    let job = jobs.find(id, call)?;
    if job.version != call.version() {
        // (?)
        let message = format!("The job was created with version {}", job.version);
        return Err(Error::new(409, "API_VERSION_MISMATCH", message));
    }
    match (job.state, &job.outcome) {
        (State::JobComplete, Some(outcome)) => Ok((job.clone(), outcome.clone(), settings)),
        _ => Err(wrong_state("Job is not complete")),
    }
}

fn locator(job: &Job, row: usize) -> String {
    let text = match job.epoch {
        0 => row.to_string(),
        epoch => format!("{row}.{epoch}"),
    };
    STANDARD_NO_PAD.encode(text)
}

fn row_of(job: &Job, locator: &str) -> Option<usize> {
    let text = String::from_utf8(STANDARD_NO_PAD.decode(locator).ok()?).ok()?;
    let (row, epoch) = text.split_once('.').unwrap_or((&text, "0"));
    let current = epoch.parse() == Ok(job.epoch);
    let row = row.parse().ok()?;
    (current && row <= job.total()).then_some(row)
}

fn page(call: &Call<'_>, id: &str) -> Result<Page, Error> {
    let (job, outcome, settings) = complete(call, id)?;
    // (?)
    let invalid = |message: String| Error::new(400, "INVALID_QUERY_LOCATOR", message);
    let from = match call.param("locator") {
        None => 0,
        Some(text) => row_of(&job, &text).ok_or_else(|| invalid(format!("invalid locator {text}")))?,
    };
    let size = match call.param("maxRecords") {
        None => settings.page_rows,
        Some(text) => text
            .parse()
            .ok()
            .filter(|size| *size > 0)
            .ok_or_else(|| Error::new(400, "INVALIDARGUMENT", format!("invalid maxRecords {text}")))?,
    };
    let to = outcome.rows.len().min(from.saturating_add(size.max(1)));
    if let Some(job) = call.app.jobs.lock().by_number(job.number) {
        job.pages_read += 1;
    }
    let mut page = Page {
        layout: job.layout,
        rows: from..to,
        header: settings.header_on_every_page || from == 0,
        empty: false,
        count: Some(to - from),
        locator: if to < outcome.rows.len() {
            Some(locator(&job, to))
        } else {
            match settings.end {
                End::Null => Some("null".to_owned()),
                End::Empty => Some(String::new()),
                End::Absent => None,
            }
        },
        outcome,
    };
    if let Some(damage) = damage::strike(call.app, call.user.org, &job.object, damage::Api::Bulk) {
        page.damage(&job, damage);
    }
    Ok(page)
}

impl Page {
    fn damage(&mut self, job: &Job, (how, rows): (How, usize)) {
        let Range { start, end } = self.rows;
        match how {
            How::Short => self.rows.end = end.saturating_sub(rows).max(start),
            How::Repeat => self.rows = start.saturating_sub(end - start)..start.max(end - start),
            How::Loop => self.locator = Some(locator(job, start)),
            How::Early => self.locator = Some("null".to_owned()),
            How::Miscount => self.count = Some((end - start).saturating_sub(rows)),
            How::Uncounted => self.count = None,
            How::Headerless => self.header = false,
            How::Empty => self.empty = true,
        }
        self.rows.end = self.rows.end.min(self.outcome.rows.len());
    }

    pub(crate) fn into_response(self, usage: String) -> Response {
        let headers = [
            ("sforce-limit-info", Some(usage)),
            (
                "sforce-numberofrecords",
                self.count.map(|count| count.to_string()),
            ),
            ("sforce-locator", self.locator.clone()),
        ];
        let body = if self.empty {
            Body::empty()
        } else {
            self.into_body()
        };
        let mut response = (StatusCode::OK, body).into_response();
        let kind = HeaderValue::from_static("text/csv");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        let vary = HeaderValue::from_static("Accept-Encoding");
        response.headers_mut().insert(header::VARY, vary);
        for (name, value) in headers {
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    fn into_body(self) -> Body {
        let (start, end) = (self.rows.start, self.rows.end);
        let page = Arc::new(self);
        let pieces = stream::unfold(Some(start), move |from| {
            let page = page.clone();
            async move {
                let from = from?;
                let to = end.min(from + CHUNK);
                let work = tokio::task::spawn_blocking(move || page.piece(from..to, from == start));
                let piece = work.await.map(Bytes::from).map_err(std::io::Error::other);
                Some((piece, (to < end).then_some(to)))
            }
        });
        Body::from_stream(pieces)
    }

    fn piece(&self, rows: Range<usize>, first: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(rows.len() * 20 * self.outcome.columns.len().max(4));
        if first && self.header {
            self.layout.header(&self.outcome, &mut out);
        }
        for n in rows {
            self.layout.row(&self.outcome, n, &mut out);
        }
        out
    }
}

/// `GET /jobs/query/{id}/resultPages`: the addresses of the next pages, which can be read in any order.
pub(crate) fn pages(call: &Call<'_>, id: &str) -> Result<Reply, Error> {
    let version: f64 = call.version().parse().unwrap_or(0.0);
    if version < 58.0 {
        return Err(Error::not_found());
    }
    let (job, outcome, settings) = complete(call, id)?;
    let from = match call.param("nextRecords") {
        None => 0,
        Some(text) => row_of(&job, &text).ok_or_else(|| {
            // (?)
            Error::new(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        })?,
    };
    let base = format!("/services/data/v{}/jobs/query/{}", call.version(), job.id());
    let size = settings.page_rows.max(1);
    // A result without rows has one page.
    let starts: Vec<usize> = (from..outcome.rows.len().max(1))
        .step_by(size)
        .take(settings.pages_listed.max(1))
        .collect();
    let next = from + starts.len() * size;
    let done = next >= outcome.rows.len();
    let page =
        |row: &usize| json!({ "resultUrl": format!("{base}/results?locator={}", locator(&job, *row)) });
    let mut json = json!({ "resultPages": starts.iter().map(page).collect::<Vec<_>>(), "done": done });
    json[settings.pages_key.as_str()] = match done {
        true => Json::Null,
        false => format!("{base}/resultPages?nextRecords={}", locator(&job, next)).into(),
    };
    Ok(json.into())
}
