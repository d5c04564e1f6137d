//! Reading records for answers: first the keys, which are small, then the rows one after the other, so that no more of
//! them is in memory than is looked at.

use diesel::prelude::*;

use super::{
    Error, Store,
    schema::{record, record_link},
};
use crate::domain::{CompanyId, IntegrationId, Micros};

/// Ids in one query's list: well under what either database takes.
const IDS_A_QUERY: usize = 500;
/// Bytes of payloads that one query should bring.
const BYTES_A_QUERY: usize = 1 << 20;
/// Rows of the first query, before it is known how large they are.
const FIRST_ROWS: usize = 16;

/// Where a company record is found.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct CompanyRecordKey {
    /// The company.
    pub company_id: Option<CompanyId>,
    /// The object's key.
    pub object: String,
    /// Its id in the CRM.
    pub external_id: String,
    /// When it was read.
    pub read_us: Micros,
}

/// What answers show of a record.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct RecordContent {
    /// Its id in the CRM.
    pub external_id: String,
    /// The name people know it by.
    pub name: String,
    /// When it was last changed in the CRM; 0 for unknown.
    pub modified_us: Micros,
    /// The selected fields, one JSON object.
    pub payload: String,
}

impl Store {
    /// Where the live company records of these companies are in one integration, by id.
    pub async fn record_company_keys(
        &self,
        integration_id: IntegrationId,
        company_ids: Vec<CompanyId>,
    ) -> Result<Vec<CompanyRecordKey>, Error> {
        self.read(move |conn| {
            let mut keys: Vec<CompanyRecordKey> = Vec::new();
            for some in company_ids.chunks(IDS_A_QUERY) {
                keys.extend(
                    record::table
                        .filter(record::integration_id.eq(integration_id))
                        .filter(record::company_id.eq_any(some))
                        .filter(record::delete_us.is_null())
                        .select((
                            record::company_id,
                            record::object,
                            record::external_id,
                            record::read_us,
                        ))
                        .load::<CompanyRecordKey>(conn)?,
                );
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
        self.read(move |conn| {
            let mut links = Vec::new();
            for some in parent_ids.chunks(IDS_A_QUERY) {
                links.extend(
                    record_link::table
                        .filter(record_link::integration_id.eq(integration_id))
                        .filter(record_link::parent_object.eq(&parent_object))
                        .filter(record_link::parent_id.eq_any(some))
                        .filter(record_link::child_object.eq(&object))
                        .select((record_link::parent_id, record_link::child_id))
                        .load::<(String, String)>(conn)?,
                );
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
        self.read(move |conn| {
            // Look-ups by key instead of a join: the plan of a join depends on statistics, which may not be there yet.
            let mut live: Vec<(Micros, String)> = Vec::with_capacity(children.len());
            for some in children.chunks(IDS_A_QUERY) {
                live.extend(
                    record::table
                        .filter(record::integration_id.eq(integration_id))
                        .filter(record::object.eq(&object))
                        .filter(record::external_id.eq_any(some))
                        .filter(record::delete_us.is_null())
                        .select((record::modified_us, record::external_id))
                        .load::<(Micros, String)>(conn)?,
                );
            }
            live.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
            Ok(live)
        })
        .await
    }

    /// Shows those of these records that are live to `each`, in this order, until it answers false; gives back what it
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
        self.read(move |conn| {
            let (mut from, mut count) = (0, FIRST_ROWS);
            while from < external_ids.len() {
                let some = &external_ids[from..external_ids.len().min(from + count)];
                from += some.len();
                let mut rows: Vec<RecordContent> = record::table
                    .filter(record::integration_id.eq(integration_id))
                    .filter(record::object.eq(&object))
                    .filter(record::external_id.eq_any(some))
                    .filter(record::delete_us.is_null())
                    .select((
                        record::external_id,
                        record::name,
                        record::modified_us,
                        record::payload,
                    ))
                    .load(conn)?;
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
