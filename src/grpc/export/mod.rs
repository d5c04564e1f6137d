//! ExportCompanies: all matching companies in a stream of pages, each made when the previous one was taken.
//!
//! Between two pages the stream holds its position and the bytes of at most two messages: no permit of the lists, no
//! connection, no snapshot of an index. A page is the next page of the list after the position in the last token, so a
//! resumed stream and one that goes on are the same. What the group sees is determined anew for each page.

mod arrow;
mod column;
mod csv;
mod text;

use std::time::Duration;

use prost::Message as _;
use tokio::time::Instant;

use super::page::Page;
use super::page_token::{self, Pages};
use super::watch::{self, Messages};
use super::{companies, convert, validate};
use crate::caller::Caller;
use crate::domain::{FieldType, GroupId};
use crate::error::{Error, Reason};
use crate::fair;
use crate::proto::v1::{self, export_companies_request::Encoding};
use crate::service::{CompanyAsk, CompanyWalk, Cursor, LimitPlace, Services};
use column::Column;

/// The maximum number of companies of a message.
const MOST_COMPANIES: usize = 500;
/// The size at which a message ends, in bytes.
const MOST_BYTES: usize = 1 << 20;
/// The number of companies whose cells are read at a time.
const COMPANIES_AT_ONCE: usize = 125;
/// The pause of a stream that finds no permit for its next page.
const PAUSE: Duration = Duration::from_millis(200);

/// Encodes the companies of one stream.
enum Encoder {
    Rows,
    Csv(Box<csv::Table>),
    Arrow(Box<arrow::Table>),
}

impl Encoder {
    /// `begins` is false for a resumed export.
    fn new(encoding: Encoding, columns: Vec<Column>, begins: bool) -> Result<Self, Error> {
        Ok(match encoding {
            Encoding::Unspecified | Encoding::Rows => Self::Rows,
            Encoding::Csv => Self::Csv(Box::new(csv::Table::new(columns, begins))),
            Encoding::ArrowIpc => Self::Arrow(Box::new(arrow::Table::new(columns)?)),
        })
    }

    /// The fields `companies` and `data` of a message. `last` is true for the last message of the stream.
    fn encode(
        &mut self,
        companies: Vec<v1::Company>,
        last: bool,
    ) -> Result<(Vec<v1::Company>, Vec<u8>), Error> {
        match self {
            Self::Rows => Ok((companies, Vec::new())),
            Self::Csv(table) => Ok((Vec::new(), table.write(&companies))),
            Self::Arrow(table) => Ok((Vec::new(), table.write(&companies, last)?)),
        }
    }
}

/// One stream.
struct Export {
    services: Services,
    caller: Caller,
    parent: GroupId,
    /// Without token and size of messages.
    request: v1::ExportCompaniesRequest,
    ask: CompanyAsk,
    /// Made with the first page, which knows the types of the columns.
    encoder: Option<Encoder>,
    /// The permits of the bytes of the last two messages: one waits in the stream's channel, one is being sent.
    held: (Option<LimitPlace>, Option<LimitPlace>),
    ended: bool,
}

/// Handles ExportCompanies.
pub async fn stream(
    services: &Services,
    caller: Caller,
    mut request: v1::ExportCompaniesRequest,
) -> Result<Messages<v1::ExportCompaniesResponse>, Error> {
    let parent = validate::group("parent", &request.parent)?;
    let caller = services.reader(caller, &parent).await?;
    validate::text("query", &request.query, validate::QUERY_LENGTH)?;
    let size = std::mem::take(&mut request.page_size);
    let token = std::mem::take(&mut request.resume_token);
    let ask = CompanyAsk {
        scope: companies::scope(request.scope()),
        only: companies::sources(&request.sources)?,
        query: request.query.clone(),
        filter: request.filter.clone(),
        order_by: request.order_by.clone(),
        zone: validate::time_zone("time_zone", &request.time_zone)?,
        by_id: request.order_by.trim().is_empty(),
        columns: companies::columns(&request.columns)?,
        total: false,
        at_least: companies::positions(&request.at_least)?,
        after: page_token::cursor(pages(services, &caller, &request).after(&token)?)?,
        limit: validate::page_size(size, MOST_COMPANIES, MOST_COMPANIES)?,
        now_us: crate::time::now_us(),
    };
    let mut export = Export {
        services: services.clone(),
        caller,
        parent,
        request,
        ask,
        encoder: None,
        held: (None, None),
        ended: false,
    };
    // The first message is made before the call answers, so that a wrong argument is an error of the call.
    let first = export.next().await?;
    let rest = futures_util::stream::unfold(export, |mut export| async {
        if export.ended {
            return None;
        }
        let message = export.next().await;
        export.ended |= message.is_err();
        Some((message.map_err(tonic::Status::from), export))
    });
    let all = futures_util::StreamExt::chain(tokio_stream::once(Ok(first)), rest);
    watch::open(services, all)
}

/// `request` is the request without token and size of messages.
fn pages<'a>(services: &'a Services, caller: &Caller, request: &v1::ExportCompaniesRequest) -> Pages<'a> {
    let group = caller.group.as_deref();
    Pages::new(services.sealer(), "ExportCompanies", group, request).in_field("resume_token")
}

impl Export {
    /// The next message; sets `ended` with the last one.
    async fn next(&mut self) -> Result<v1::ExportCompaniesResponse, Error> {
        let is_first = self.encoder.is_none();
        let (walk, page) = loop {
            let walk = self.page(is_first).await?;
            let page = filled(&walk).await?;
            let next = walk.next(page.len());
            self.ended = next.is_none();
            let begins = self.ask.after.is_none();
            if let Some(after) = next.or_else(|| walk.cursor(page.len())) {
                self.ask.after = Some(after);
            }
            if self.encoder.is_none() {
                let encoding = self.request.encoding();
                self.encoder = Some(Encoder::new(encoding, self.columns(&walk), begins)?);
            }
            // Companies that were removed after the index was read are left out, so a page may be empty.
            if !page.is_empty() || self.ended || is_first {
                break (walk, page);
            }
        };
        let mut message = v1::ExportCompaniesResponse {
            resume_token: self.token()?,
            ..Default::default()
        };
        if is_first {
            let as_of = walk.positions.iter();
            message.as_of = as_of.map(|(id, at)| convert::source_position(*id, *at)).collect();
            message.start_time = Some(convert::timestamp(self.start_us()));
        }
        // The permit of the list ends before the message waits for its reader.
        drop(walk);
        if let Some(encoder) = &mut self.encoder {
            (message.companies, message.data) = encoder.encode(page, self.ended)?;
        }
        self.hold(message.encoded_len(), is_first).await?;
        Ok(message)
    }

    /// Lists the next page. If all permits are taken, the first page is refused, later ones wait.
    async fn page(&self, is_first: bool) -> Result<CompanyWalk, Error> {
        let end = Instant::now() + self.services.limits().slow_reader;
        loop {
            let listed = self
                .services
                .company_list(&self.caller, &self.parent, self.ask.clone());
            match listed.await {
                Err(error) if !is_first && is_busy(&error) && Instant::now() < end => {
                    tokio::time::sleep(PAUSE).await;
                }
                listed => return listed,
            }
        }
    }

    /// Counts the bytes of a message until the one after the next is made. If there are too many unread ones, the first
    /// message is refused, and later ones wait.
    async fn hold(&mut self, bytes: usize, is_first: bool) -> Result<(), Error> {
        self.held.0 = self.held.1.take();
        let limits = self.services.limits();
        let end = Instant::now() + limits.slow_reader;
        loop {
            match limits.exports.take(&fair::current(), bytes) {
                Ok(place) => {
                    self.held.1 = Some(place);
                    return Ok(());
                }
                Err(error) if is_first || Instant::now() >= end => return Err(error),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    fn columns(&self, walk: &CompanyWalk) -> Vec<Column> {
        let names = self.request.columns.iter();
        let column = |(name, (field_type, related)): (&String, (FieldType, bool))| Column {
            name: name.clone(),
            field_type,
            related,
        };
        names.zip(walk.column_types()).map(column).collect()
    }

    fn start_us(&self) -> i64 {
        match &self.ask.after {
            Some(Cursor::Search { now_us, .. }) => *now_us,
            _ => self.ask.now_us,
        }
    }

    fn token(&self) -> Result<String, Error> {
        let place = self.ask.after.clone().map(page_token::of_cursor);
        pages(&self.services, &self.caller, &self.request).next(place)
    }
}

fn is_busy(error: &Error) -> bool {
    matches!(error.reason, Reason::GroupOverloaded | Reason::Overloaded)
}

/// The companies of one message with their cells.
async fn filled(walk: &CompanyWalk) -> Result<Vec<v1::Company>, Error> {
    let mut page = Page::of(walk.len(), MOST_BYTES);
    while !page.is_full() {
        let from = page.len();
        for company in walk.some(from..walk.len().min(from + COMPANIES_AT_ONCE)).await? {
            if !page.push(convert::listed_company(company)) {
                break;
            }
        }
    }
    Ok(page.into_items())
}
