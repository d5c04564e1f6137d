//! The feed of changes: each record once, by the number of its last change.

use diesel::{prelude::*, sql_types};

use super::{Parent, Record, read::parents};
use crate::domain::{IntegrationId, name_key};
use crate::store::{Error, Store, conn::Conn, data_set, platform};

/// One entry of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The record as it is now.
    pub record: Record,
    /// The records it hangs under.
    pub parents: Vec<Parent>,
}

/// A page of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangePage {
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// Nothing has changed after these, as of the moment of the reading.
    pub last: bool,
}

/// How many change numbers the feed looks at for each row it wants: a record that changed again leaves a gap, so that a
/// window of as many numbers as rows would often be short.
const FEED_WINDOW: i64 = 4;

impl Store {
    /// The feed: records changed after this change number, each once, by the number of its last change. A page has at most
    /// `rows` of them, and ends before they have more than `bytes` of texts together; one alone may have more.
    pub async fn record_changes(
        &self,
        integration_id: IntegrationId,
        after_change_no: i64,
        rows: i64,
        bytes: i64,
    ) -> Result<ChangePage, Error> {
        self.data_snapshot(integration_id, move |conn| {
            if integration_id == IntegrationId::platform() {
                return of_platform(conn, after_change_no, rows);
            }
            let head = data_set::get(conn, integration_id)?.map(|set| set.change_no);
            let head = head.unwrap_or(after_change_no);
            // A window of numbers costs as much as it contains. "The first rows after a number" may cost all rows after it: a
            // planner that expects few rows sorts them.
            let (mut after, mut window) = (after_change_no, rows.saturating_mul(FEED_WINDOW));
            let (mut rows_left, mut bytes_left) = (rows, bytes);
            let mut found: Vec<Record> = Vec::new();
            while after < head && rows_left > 0 && (bytes_left > 0 || found.is_empty()) {
                let through = after.saturating_add(window).min(head);
                // Read the sizes before the rows.
                let sizes = changed_sizes(conn, integration_id, after, through, rows_left)?;
                let mut fits = 0;
                for (_, size) in &sizes {
                    if bytes_left < *size && (fits > 0 || !found.is_empty()) {
                        break;
                    }
                    bytes_left = bytes_left.saturating_sub(*size);
                    fits += 1;
                }
                let Some((last, _)) = sizes[..fits].last() else {
                    match sizes.is_empty() {
                        true => after = through,
                        false => break,
                    }
                    window = window.saturating_mul(2);
                    continue;
                };
                found.extend(changed(conn, integration_id, after, *last, fits as i64)?);
                rows_left -= fits as i64;
                match fits == sizes.len() && rows_left > 0 {
                    // All of the window.
                    true => after = through,
                    false => {
                        after = *last;
                        break;
                    }
                }
                window = window.saturating_mul(2);
            }
            Ok(ChangePage {
                changes: with_parents(conn, integration_id, found)?,
                last: after >= head,
            })
        })
        .await
    }

    /// The last change number of an integration.
    pub async fn record_change_no(&self, integration_id: IntegrationId) -> Result<i64, Error> {
        if integration_id == IntegrationId::platform() {
            return self.platform_head().await;
        }
        let set = self.data_read(integration_id, move |conn| data_set::get(conn, integration_id));
        Ok(set.await?.map_or(0, |set| set.change_no))
    }
}

/// The platform's companies that changed after this number, as company records. They have no long texts.
fn of_platform(conn: &mut Conn, after: i64, rows: i64) -> Result<ChangePage, Error> {
    let found = platform::changes(conn, after, rows)?;
    let last = (found.len() as i64) < rows;
    let change = |row: platform::Row| Change {
        record: Record {
            integration_id: IntegrationId::platform(),
            object: "Company".to_owned(),
            external_id: row.company_id.to_string(),
            company_id: Some(row.company_id),
            name_key: name_key(&row.name),
            name: row.name,
            homepage: Some(row.homepage).filter(|homepage| !homepage.is_empty()),
            payload: "{}".to_owned(),
            hash: 0,
            modified_us: row.update_us,
            read_us: row.update_us,
            delete_us: row.delete_us,
            merged_into: None,
            change_no: row.change_no,
            read_clock: 0,
        },
        parents: Vec::new(),
    };
    Ok(ChangePage {
        changes: found.into_iter().map(change).collect(),
        last,
    })
}

/// The first records of a window of change numbers, in their order. The value is hidden from PostgreSQL's planner, as in
/// `postgres::read`.
fn changed(
    conn: &mut Conn,
    integration_id: IntegrationId,
    after: i64,
    through: i64,
    limit: i64,
) -> Result<Vec<Record>, Error> {
    Ok(diesel::sql_query(
        "SELECT * FROM record WHERE integration_id = (SELECT $1) AND change_no > $2 AND change_no <= $3 \
         ORDER BY change_no LIMIT $4",
    )
    .bind::<sql_types::Text, _>(integration_id)
    .bind::<sql_types::BigInt, _>(after)
    .bind::<sql_types::BigInt, _>(through)
    .bind::<sql_types::BigInt, _>(limit)
    .load(conn)?)
}

/// The numbers of the first changes of such a window, and how many bytes of texts each record has.
fn changed_sizes(
    conn: &mut Conn,
    integration_id: IntegrationId,
    after: i64,
    through: i64,
    limit: i64,
) -> Result<Vec<(i64, i64)>, Error> {
    #[derive(QueryableByName)]
    struct Size {
        #[diesel(sql_type = sql_types::BigInt)]
        change_no: i64,
        #[diesel(sql_type = sql_types::BigInt)]
        bytes: i64,
    }
    // Neither database reads a long text to determine its length.
    let sizes: Vec<Size> = diesel::sql_query(
        "SELECT change_no, CAST(octet_length(payload) + octet_length(name) + octet_length(name_key) \
         + coalesce(octet_length(homepage), 0) AS BIGINT) AS bytes FROM record WHERE integration_id = (SELECT $1) \
         AND change_no > $2 AND change_no <= $3 ORDER BY change_no LIMIT $4",
    )
    .bind::<sql_types::Text, _>(integration_id)
    .bind::<sql_types::BigInt, _>(after)
    .bind::<sql_types::BigInt, _>(through)
    .bind::<sql_types::BigInt, _>(limit)
    .load(conn)?;
    Ok(sizes.into_iter().map(|one| (one.change_no, one.bytes)).collect())
}

fn with_parents(
    conn: &mut Conn,
    integration_id: IntegrationId,
    rows: Vec<Record>,
) -> Result<Vec<Change>, Error> {
    let mut objects: Vec<&str> = rows
        .iter()
        .filter(|r| r.company_id.is_none())
        .map(|r| r.object.as_str())
        .collect();
    objects.sort_unstable();
    objects.dedup();
    let mut links: Vec<(String, String, Parent)> = Vec::new();
    for object in objects {
        let ids: Vec<&str> = rows
            .iter()
            .filter(|r| r.object == object && r.delete_us.is_none())
            .map(|r| r.external_id.as_str())
            .collect();
        for part in ids.chunks(5000) {
            links.extend(
                parents(conn, integration_id, object, part)?
                    .into_iter()
                    .map(|(child, parent)| (object.to_owned(), child, parent)),
            );
        }
    }
    links.sort_unstable();
    Ok(rows
        .into_iter()
        .map(|record| {
            let key = (record.object.as_str(), record.external_id.as_str());
            let first = links.partition_point(|(o, c, _)| (o.as_str(), c.as_str()) < key);
            let parents = links[first..]
                .iter()
                .take_while(|(o, c, _)| (o.as_str(), c.as_str()) == key)
                .map(|(_, _, p)| p.clone())
                .collect();
            Change { record, parents }
        })
        .collect())
}
