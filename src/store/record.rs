//! Records of CRMs, their links, and the change feed.

use diesel::prelude::*;

use super::complete_range::CompleteRange;
use super::schema::record;
use crate::domain::{CompanyId, IntegrationId, Micros, ReadTime};

mod answer;
mod apply;
mod by_company;
mod by_parent;
mod feed;
mod hash;
mod listing;
mod partial;
mod postgres;
mod purge;
mod read;
mod sqlite;
mod write;

pub(super) use apply::Entries;
pub(super) use by_company::{fill, fill_children, is_chunk, is_filled, leaves_children, page};
pub use feed::{Change, ChangePage};
pub use hash::row_hash;
pub(super) use listing::{Listing, Writer, remove_any};
pub(super) use partial::drop_fields;
pub(super) use purge::purge;
pub(super) use read::{count_companies, count_live, held};
pub(super) use write::remove;
pub use write::{ChildSet, Refresh, Refreshed};

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, QueryableByName, Selectable)]
#[diesel(table_name = record)]
pub struct Record {
    /// Of which integration.
    pub integration_id: IntegrationId,
    /// The object's key.
    pub object: String,
    /// Its id in the CRM.
    pub external_id: String,
    /// The company it is, for company records.
    pub company_id: Option<CompanyId>,
    /// The name people know it by.
    pub name: String,
    /// What it is sorted by.
    pub name_key: String,
    /// The texts that may be the homepage, as they stand in the CRM, one a line (identity.rs reads them).
    pub homepage: Option<String>,
    /// The selected fields, one JSON object.
    pub payload: String,
    /// Of everything that came with it but times.
    pub hash: i64,
    /// When it was last changed in the CRM; 0 for unknown.
    pub modified_us: Micros,
    /// When it was read, by the clock `read_clock`.
    pub read_us: Micros,
    /// When it turned out to be gone. What it held is gone too then.
    pub delete_us: Option<Micros>,
    /// The record it was merged into.
    pub merged_into: Option<String>,
    /// The change number of its last change.
    pub change_no: i64,
    /// Whose clock `read_us` is of: the number of a [`ReadClock`].
    pub read_clock: i64,
}

/// A record that another hangs under.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Parent {
    /// The parent's object.
    pub object: String,
    /// The parent's id in the CRM.
    pub external_id: String,
}

/// A row to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRow {
    /// Its id in the CRM.
    pub external_id: String,
    /// The company it is, for company records.
    pub company_id: Option<CompanyId>,
    /// The name people know it by.
    pub name: String,
    /// The texts that may be the homepage, as they stand in the CRM, one a line (identity.rs reads them).
    pub homepage: Option<String>,
    /// The selected fields, one canonical JSON object.
    pub payload: String,
    /// Of everything here but times: payload, name, homepage, company and parents. Rows with the hash that is stored are
    /// not written.
    pub hash: i64,
    /// When it was last changed in the CRM; 0 for unknown.
    pub modified_us: Micros,
    /// When it was read, by the batch's clock; 0 for the batch's time.
    pub read_us: Micros,
    /// It is gone; only `merged_into` counts besides.
    pub deleted: bool,
    /// The record it was merged into.
    pub merged_into: Option<String>,
    /// The records it hangs under.
    pub parents: Vec<Parent>,
}

/// Rows of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordBatch {
    /// The object's key.
    pub object: String,
    /// The rows, in any order.
    pub rows: Vec<RecordRow>,
    /// The range it lists completely: live rows in it that are not in the batch, and were not read later, are gone once the
    /// object was listed whole. Of no effect in a live read.
    pub complete_range: Option<CompleteRange>,
    /// When it was read.
    pub read: ReadTime,
    /// Set if the rows have these fields only: they are put into the stored records. Rows that are not stored, or that were
    /// changed later than the stored ones, are noted to be read by id.
    pub partial: Option<Vec<String>>,
}

/// What happened to rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Rows received.
    pub read: i64,
    /// Rows stored because they were new or different.
    pub written: i64,
    /// Rows that were the same, or older than what is stored.
    pub unchanged: i64,
    /// Rows that turned out to be gone.
    pub removed: i64,
    /// Of the written ones, those that were not known before, or gone.
    pub added: i64,
}

impl Counters {
    /// Adds others to these.
    pub fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.written += other.written;
        self.unchanged += other.unchanged;
        self.removed += other.removed;
        self.added += other.added;
    }
}

/// Where a company record is found.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
#[diesel(table_name = record)]
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
#[derive(Debug, Clone, PartialEq, Eq, Queryable, QueryableByName)]
#[diesel(table_name = record)]
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

/// A company record without its payload.
#[derive(QueryableByName)]
#[diesel(table_name = record)]
pub(super) struct Held {
    pub(super) integration_id: IntegrationId,
    pub(super) external_id: String,
    pub(super) company_id: Option<CompanyId>,
    pub(super) name: String,
    pub(super) name_key: String,
    pub(super) homepage: Option<String>,
}
