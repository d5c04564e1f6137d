//! Downloads the pages of a job's result, in batches: a page is never in memory as a whole, and is downloaded again only after an
//! interruption.
//!
//! The rows of a page are counted against the number in its headers, those of all pages against the job's.

use tether_connector_sdk::http::{Body, HeaderMap, Request, jitter};
use tether_connector_sdk::proto::{Error, ErrorKind};
use tether_connector_sdk::session::Refusal;

use super::api::{self, DAMAGED};
use super::csv::{Csv, Read};
use super::layout::Layout;
use super::place::{Job, Task};
use crate::page::Page;
use crate::rest::Session;
use crate::row::Maker;
use crate::{ids, limits};

/// A batch ends after so many rows, or bytes of payload.
const BATCH_ROWS: usize = 4_000;
const BATCH_BYTES: usize = 1_500_000;

/// Rows of a result, in their order.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) page: Page,
    /// Rows of the result that these are, unusable ones too.
    pub(crate) count: u64,
    /// They end their page.
    pub(crate) end: Option<PageEnd>,
}

/// The end of a page.
#[derive(Debug)]
pub(crate) struct PageEnd {
    /// The rows of the page, and its bytes.
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// The locator of the next page; None after the last one.
    pub(crate) next: Option<String>,
}

/// What is kept from one batch to the next.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) download: Option<Download>,
    header: Header,
}

/// The places of the queried names in the results of a job, with its id.
type Header = Option<(String, Vec<usize>)>;

/// A page that is being downloaded.
pub(crate) struct Download {
    job: String,
    locator: String,
    /// Rows so far.
    row: u64,
    bytes: u64,
    body: Body,
    csv: Csv,
    /// `Sforce-NumberOfRecords`, if the reply has it.
    count: Option<u64>,
    next: Option<String>,
    /// The places of the queried names; None before the first record.
    order: Option<Vec<usize>>,
    /// The number of values of a record.
    width: usize,
}

/// What a result page is read with.
pub(crate) struct Reading<'a> {
    pub(crate) session: &'a Session,
    pub(crate) layout: &'a Layout,
    pub(crate) task: &'a Task,
    pub(crate) job: &'a Job,
    /// Rows of a page that is asked for.
    pub(crate) page_rows: u64,
}

impl Reading<'_> {
    /// The next rows. The download so far is continued if it is where the job's position is.
    ///
    /// # Errors
    /// [`DAMAGED`] for a page that contradicts itself; TRANSIENT without a complete reply, after some attempts.
    pub(crate) async fn rows(&self, kept: &mut Kept) -> Result<Rows, Error> {
        let at = &self.job.page;
        let is_there =
            |open: &Download| open.job == self.job.id && open.locator == at.locator && open.row == at.rows;
        let retries = self.session.retries();
        let mut attempt = 0;
        let mut known = kept.download.take().filter(is_there);
        kept.header.take_if(|(job, _)| *job != self.job.id);
        loop {
            attempt += 1;
            let refusal = match self.attempt(known.take(), &mut kept.header).await {
                Ok((rows, left)) => {
                    kept.download = left;
                    return Ok(rows);
                }
                Err(refusal) => refusal,
            };
            let damaged = refusal.error.code == DAMAGED;
            match retries.wait(attempt, &refusal, jitter()) {
                Some(wait) if !damaged && self.session.has(wait) => self.session.call().sleep(wait).await?,
                _ => return Err(api::told_about_job(self.session.gave_up(refusal))),
            }
        }
    }

    async fn attempt(
        &self,
        known: Option<Download>,
        header: &mut Header,
    ) -> Result<(Rows, Option<Download>), Refusal> {
        let mut download = match known {
            Some(download) => download,
            None => {
                let mut download = self.open(&self.job.page.locator, self.page_rows).await?;
                if let Some(rows) = self.skip(&mut download, header).await? {
                    return Ok((rows, None));
                }
                download
            }
        };
        let rows = self.batch(&mut download, header).await?;
        let left = rows.end.is_none().then_some(download);
        Ok((rows, left))
    }

    /// Requests a page.
    async fn open(&self, locator: &str, rows: u64) -> Result<Download, Refusal> {
        let path = api::path(&self.job.version, &format!("/{}/results", self.job.id));
        let mut request = Request::get(&self.session.url(&path))?
            .query("maxRecords", &rows.to_string())
            .accept("text/csv");
        if !locator.is_empty() {
            request = request.query("locator", locator);
        }
        let body = self.session.stream(request).await?;
        if let Some((used, limit)) = limits::of_headers(&body.headers) {
            self.session.call().set_allowance(used, limit);
        }
        let media = header(&body.headers, "content-type").unwrap_or_default();
        if !media.to_ascii_lowercase().contains("csv") {
            return Err(Error::transient("something else than a result answered for Salesforce").into());
        }
        let next = header(&body.headers, "sforce-locator");
        // The last page has the text `null`, an empty text or nothing.
        let next = next.filter(|next| !next.is_empty() && next != "null");
        if next.as_deref() == Some(locator) {
            return Err(damaged("the page of a result leads to itself").into());
        }
        Ok(Download {
            job: self.job.id.clone(),
            locator: locator.to_owned(),
            row: 0,
            bytes: 0,
            csv: Csv::new(self.task.form.delimiter()),
            count: header(&body.headers, "sforce-numberofrecords").and_then(|count| count.parse().ok()),
            next,
            order: None,
            width: 0,
            body,
        })
    }

    /// Skips the rows that were read before. If the page has no more than those, returns its end.
    async fn skip(&self, download: &mut Download, header: &mut Header) -> Result<Option<Rows>, Refusal> {
        let at = &self.job.page;
        let mut last = String::new();
        while download.row < at.rows {
            if !self.record(download, header).await? {
                let end = Some(self.end(download)?);
                return Ok(Some(Rows {
                    end,
                    ..Rows::default()
                }));
            }
            let id = self.id(download);
            download.csv.leave();
            download.row += 1;
            if let Some(id) = id {
                last = id;
            }
        }
        if at.rows > 0 && last != at.last {
            return Err(damaged("a page of a result has other rows than before").into());
        }
        Ok(None)
    }

    async fn batch(&self, download: &mut Download, header: &mut Header) -> Result<Rows, Refusal> {
        let mut rows = Rows::default();
        let mut maker = Maker::new(&self.layout.columns);
        loop {
            let full = rows.page.rows.len() >= BATCH_ROWS || rows.page.buffer.len() >= BATCH_BYTES;
            // The end of the page is read with its last rows.
            if full && download.count != Some(download.row) {
                return Ok(rows);
            }
            if !self.record(download, header).await? {
                rows.end = Some(self.end(download)?);
                return Ok(rows);
            }
            let order = download.order.as_deref().unwrap_or_default();
            let csv = &download.csv;
            let value = |at: usize| csv.value(order[at]);
            match self.layout.row(&mut maker, value, &mut rows.page.buffer) {
                Some(row) => rows.page.rows.push(row),
                None => rows.page.unusable += 1,
            }
            download.csv.leave();
            download.row += 1;
            rows.count += 1;
        }
    }

    /// Reads the next record of rows; false at the end of the page. A header is passed over.
    async fn record(&self, download: &mut Download, known: &mut Header) -> Result<bool, Refusal> {
        loop {
            match download.csv.read() {
                Read::More => match download.body.chunk().await? {
                    Some(part) => {
                        download.bytes += part.len() as u64;
                        download.csv.add(part);
                    }
                    None => download.csv.end(),
                },
                Read::End => return Ok(false),
                Read::Cut => return Err(Error::transient("the page of a result was cut").into()),
                Read::Record if download.order.is_none() => {
                    let csv = &download.csv;
                    let header = self.layout.order((0..csv.len()).map(|at| csv.value(at)));
                    let is_header = header.is_some();
                    download.width = csv.len();
                    let order = match (header, known.as_ref()) {
                        (Some(order), _) => order,
                        (None, Some((_, order))) => order.clone(),
                        (None, None) => self.header_of_first_page(&download.locator).await?,
                    };
                    *known = Some((self.job.id.clone(), order.clone()));
                    download.order = Some(order);
                    if is_header {
                        download.csv.leave();
                        continue;
                    }
                    return Ok(true);
                }
                Read::Record if download.csv.len() == download.width => return Ok(true),
                Read::Record => {
                    return Err(damaged("a row of a result has other columns than the first one").into());
                }
            }
        }
    }

    /// Whether only the first page has a header, or all pages, is not documented: without one, that of the first page counts.
    async fn header_of_first_page(&self, locator: &str) -> Result<Vec<usize>, Refusal> {
        let lacks = || Refusal::from(damaged("a result lacks its header, or some of its columns"));
        if locator.is_empty() {
            return Err(lacks());
        }
        let mut first = self.open("", 1).await?;
        loop {
            match first.csv.read() {
                Read::More => match first.body.chunk().await? {
                    Some(part) => first.csv.add(part),
                    None => first.csv.end(),
                },
                Read::Record => {
                    let csv = &first.csv;
                    let order = self.layout.order((0..csv.len()).map(|at| csv.value(at)));
                    return order.ok_or_else(lacks);
                }
                Read::End | Read::Cut => return Err(lacks()),
            }
        }
    }

    fn end(&self, download: &Download) -> Result<PageEnd, Error> {
        if let Some(count) = download.count.filter(|count| *count != download.row) {
            return Err(damaged(&format!(
                "the page of a result has {} rows, and its reply says {count}",
                download.row
            )));
        }
        let before = self.job.page.before + download.row;
        let total = self.job.total.unwrap_or(0);
        if download.next.is_none() && before != total {
            return Err(damaged(&format!(
                "a result has {before} rows, and its job says {total}"
            )));
        }
        Ok(PageEnd {
            rows: download.row,
            bytes: download.bytes,
            next: download.next.clone(),
        })
    }

    /// The id of the current record.
    fn id(&self, download: &Download) -> Option<String> {
        let place = self.layout.asked.iter().position(|name| name == "Id")?;
        let order = download.order.as_ref()?;
        ids::normalise(std::str::from_utf8(download.csv.value(order[place])).ok()?)
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.trim().to_owned())
}

/// The error of a page that contradicts itself, or what is known.
pub(crate) fn damaged(text: &str) -> Error {
    Error::new(ErrorKind::Transient, text).code(DAMAGED)
}
