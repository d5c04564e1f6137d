//! Reads records for answers: first the keys, which are small, then the rows one by one, so that only the
//! current row is in memory.

use super::{
    CompanyRecordKey, RecordContent, postgres,
    read::{children, existing_ids},
    sqlite,
};
use crate::domain::{CompanyId, IntegrationId, Micros};
use crate::store::{Error, Store, conn::Conn};

/// Ids in one query's list: well under what either database takes.
const IDS_A_QUERY: usize = 500;
/// Bytes of payloads that one query should bring.
const BYTES_A_QUERY: usize = 1 << 20;
/// Rows of the first query, before it is known how large they are.
const FIRST_ROWS: usize = 16;

impl Store {
    /// Where the live company records of these companies are in one integration, by id.
    pub async fn record_company_keys(
        &self,
        integration_id: IntegrationId,
        company_ids: Vec<CompanyId>,
    ) -> Result<Vec<CompanyRecordKey>, Error> {
        self.data_read(integration_id, move |conn| {
            let mut keys: Vec<CompanyRecordKey> = Vec::new();
            for some in company_ids.chunks(IDS_A_QUERY) {
                keys.extend(match conn {
                    Conn::Sqlite(c) => sqlite::read::company_keys(c, integration_id, some)?,
                    Conn::Postgres(c) => postgres::read::company_keys(c, integration_id, some)?,
                });
            }
            keys.sort_unstable_by(|a, b| a.external_id.cmp(&b.external_id));
            Ok(keys)
        })
        .await
    }

    /// The records of an object that hang under these parents, as (parent, child), whether they are live or not.
    pub async fn record_links(
        &self,
        integration_id: IntegrationId,
        parent_object: &str,
        parent_ids: Vec<String>,
        object: &str,
    ) -> Result<Vec<(String, String)>, Error> {
        let (parent_object, object) = (parent_object.to_owned(), object.to_owned());
        self.data_read(integration_id, move |conn| {
            let mut links = Vec::new();
            for some in parent_ids.chunks(IDS_A_QUERY) {
                links.extend(children(conn, integration_id, &parent_object, some, &object)?);
            }
            Ok(links)
        })
        .await
    }

    /// The live records of an object under these parents, last changed first, as (time, id).
    pub async fn record_related_keys(
        &self,
        integration_id: IntegrationId,
        parent_object: &str,
        parent_ids: Vec<String>,
        object: &str,
    ) -> Result<Vec<(Micros, String)>, Error> {
        let links = self.record_links(integration_id, parent_object, parent_ids, object);
        let mut children: Vec<String> = links.await?.into_iter().map(|(_, child)| child).collect();
        children.sort_unstable();
        children.dedup();
        let object = object.to_owned();
        self.data_read(integration_id, move |conn| {
            let mut live: Vec<(Micros, String)> = Vec::with_capacity(children.len());
            for some in children.chunks(IDS_A_QUERY) {
                let ids: Vec<&str> = some.iter().map(String::as_str).collect();
                let known = existing_ids(conn, integration_id, &object, &ids)?.into_iter();
                live.extend(
                    known
                        .filter(|one| !one.deleted)
                        .map(|one| (one.modified_us, one.external_id)),
                );
            }
            live.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
            Ok(live)
        })
        .await
    }

    /// Passes those of these records that are live to `each`, in this order, until it returns false; returns what it
    /// made of them. About a megabyte of rows is in memory at a time.
    pub async fn record_each<T: Send + 'static>(
        &self,
        integration_id: IntegrationId,
        object: &str,
        external_ids: Vec<String>,
        mut made: T,
        mut each: impl FnMut(&mut T, RecordContent) -> bool + Send + 'static,
    ) -> Result<T, Error> {
        let object = object.to_owned();
        self.data_read(integration_id, move |conn| {
            let (mut from, mut count) = (0, FIRST_ROWS);
            while from < external_ids.len() {
                let some = &external_ids[from..external_ids.len().min(from + count)];
                from += some.len();
                let ids: Vec<&str> = some.iter().map(String::as_str).collect();
                let mut rows: Vec<RecordContent> = match conn {
                    Conn::Sqlite(c) => sqlite::read::contents(c, integration_id, &object, &ids)?,
                    Conn::Postgres(c) => postgres::read::contents(c, integration_id, &object, &ids)?,
                };
                let bytes: usize = rows.iter().map(|row| row.payload.len()).sum();
                let average = bytes / rows.len().max(1) + 1;
                count = (BYTES_A_QUERY / average).clamp(1, IDS_A_QUERY);
                let place: std::collections::HashMap<&str, usize> =
                    some.iter().map(String::as_str).zip(0..).collect();
                rows.sort_by_key(|row| place.get(row.external_id.as_str()).copied());
                for row in rows {
                    if !each(&mut made, row) {
                        return Ok(made);
                    }
                }
            }
            Ok(made)
        })
        .await
    }
}
