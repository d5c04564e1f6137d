//! The CRM's lists and records. The SDK makes the full read and the live read of them: one object after another,
//! checkpoints, new credentials, the ranges of ids that are complete.

use serde::Deserialize;
use tether_connector_sdk::crm::{Crm, Listed, Order, PlainObject, Rows};
use tether_connector_sdk::http::segment;
use tether_connector_sdk::payload::{Item, timestamp};
use tether_connector_sdk::proto::{DescribeResponse, ErrorKind, OpenRequest, Record};
use tether_connector_sdk::{Error, Host};

use crate::api::{self, App, Session};
use crate::fields;
use crate::options::Options;
use crate::rows::record;

/// Records per page, the API's maximum.
const PAGE: &str = "500";
/// Deleted records are listed too.
const DELETED: (&str, &str) = ("include_deleted", "true");

/// A page of a list.
#[derive(Deserialize)]
pub(crate) struct List {
    /// Records, ordered by id.
    items: Vec<Item>,
    /// The number of records that are not deleted.
    pub(crate) total: u64,
    /// The cursor of the next page; null at the end.
    next: Option<String>,
}

impl Crm for App {
    /// Ids are numbers. The host removes stored records that a list in this order lacks, so the SDK checks the order.
    const ORDER: Order = Order::Numbers;

    /// The API can be asked for what changed since a time, and for records by id, so syncs read only that. Without this and the two
    /// functions below every sync reads everything.
    const CHANGES: bool = true;

    fn open(host: Host, request: OpenRequest) -> Result<Self, Error> {
        let http = host.http(api::read_set())?;
        let options = Options::new(&request.settings)?;
        Ok(Self { host, http, options })
    }

    fn describe() -> DescribeResponse {
        fields::describe()
    }

    /// Deleted records are listed too, with a mark: they become tombstones.
    async fn page(session: &Session, rows: &mut Rows<PlainObject>, cursor: &str) -> Result<Listed, Error> {
        list(session, rows, cursor, &[DELETED]).await
    }

    /// The list is ordered by id, so no change moves a record to another page; the window includes the time at which it begins.
    async fn changed(
        session: &Session,
        rows: &mut Rows<PlainObject>,
        since_us: i64,
        cursor: &str,
    ) -> Result<Listed, Error> {
        let since = timestamp(since_us).unwrap_or_default();
        list(session, rows, cursor, &[DELETED, ("updated_since", &since)]).await
    }

    async fn named(session: &Session, rows: &mut Rows<PlainObject>, ids: &[String]) -> Result<Listed, Error> {
        list(session, rows, "", &[DELETED, ("ids", &ids.join(","))]).await
    }

    async fn one(
        session: &Session,
        rows: &mut Rows<PlainObject>,
        id: &str,
    ) -> Result<(Option<Record>, i64), Error> {
        let path = format!("/api/v1/{}/{}", rows.object.key, segment(id));
        match session.query::<Item>(&path, &[]).await {
            Ok((item, read_time_us)) => Ok((Some(record(rows, &item)?), read_time_us)),
            Err(error) if error.is(ErrorKind::RecordGone) => Ok((None, 0)),
            Err(error) => Err(error),
        }
    }

    async fn related(
        session: &Session,
        rows: &mut Rows<PlainObject>,
        company: &str,
        cursor: &str,
    ) -> Result<Listed, Error> {
        list(session, rows, cursor, &[("company_id", company)]).await
    }
}

async fn list(
    session: &Session,
    rows: &mut Rows<PlainObject>,
    cursor: &str,
    which: &[(&str, &str)],
) -> Result<Listed, Error> {
    let path = format!("/api/v1/{}", rows.object.key);
    let query = [which, &[("limit", PAGE), ("cursor", cursor)]].concat();
    let (list, read_time_us): (List, i64) =
        session
            .query(&path, &query)
            .await
            .map_err(|error| match error.what() {
                // The CRM forgets cursors after some time, and a read goes on after days.
                ErrorKind::RecordGone if !cursor.is_empty() => Error::cursor_gone(error.message),
                _ => error,
            })?;
    let records = list.items.iter().map(|item| record(rows, item));
    Ok(Listed {
        records: records.collect::<Result<_, Error>>()?,
        next: list.next,
        total: Some(list.total),
        read_time_us,
    })
}
