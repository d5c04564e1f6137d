//! Bulk writes of rows on PostgreSQL.
//!
//! Existing rows are found as in [`read`] and changed by their place in the table (`ctid`): whoever writes rows of an
//! integration holds its lock, so that the rows do not move in between.
//!
//! The change feed is read in windows of change numbers (`feed`). `tests/it/store/plans.rs` makes
//! every call of the store in three states of the statistics, with custom and generic plans, and counts the
//! rows and pages of each statement as `auto_explain` reports them; on SQLite it checks the plan of every
//! statement.

use diesel::{
    prelude::*,
    sql_query,
    sql_types::{Array, BigInt, Nullable, Text},
};

pub(super) mod companies;
pub(super) mod links;
pub(super) mod read;

use super::apply::{Gone, Put, Touched};
use crate::domain::{IntegrationId, Micros};
use crate::store::Error;

/// Rows of one statement.
const ROWS: usize = 4000;

/// Inserts or replaces rows. Not by `COPY`: a server that stands still in the middle of one keeps its locks, because PostgreSQL's
/// limits of time do not end a statement that waits for its client's data.
pub(super) fn put(
    c: &mut PgConnection,
    integration_id: IntegrationId,
    object: &str,
    rows: &[Put<'_>],
) -> Result<(), Error> {
    for rows in rows.chunks(ROWS) {
        sql_query(
            "INSERT INTO record (integration_id, object, external_id, company_id, name, name_key, homepage, payload, \
             hash, modified_us, read_us, change_no, read_clock) \
             SELECT $1, $2, u.* FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], \
             $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[]) u \
             ON CONFLICT (integration_id, object, external_id) DO UPDATE SET company_id = excluded.company_id, \
             name = excluded.name, name_key = excluded.name_key, homepage = excluded.homepage, \
             payload = excluded.payload, hash = excluded.hash, modified_us = excluded.modified_us, \
             read_us = excluded.read_us, read_clock = excluded.read_clock, delete_us = NULL, merged_into = NULL, \
             change_no = excluded.change_no",
        )
        .bind::<Text, _>(integration_id)
        .bind::<Text, _>(object)
        .bind::<Array<Text>, _>(column(rows, |p| p.row.external_id.as_str()))
        .bind::<Array<Nullable<Text>>, _>(column(rows, |p| p.row.company_id))
        .bind::<Array<Text>, _>(column(rows, |p| p.row.name.as_str()))
        .bind::<Array<Text>, _>(column(rows, |p| p.name_key.as_str()))
        .bind::<Array<Nullable<Text>>, _>(column(rows, |p| p.row.homepage.as_deref()))
        .bind::<Array<Text>, _>(column(rows, |p| p.row.payload.as_str()))
        .bind::<Array<BigInt>, _>(column(rows, |p| p.row.hash))
        .bind::<Array<BigInt>, _>(column(rows, |p| p.row.modified_us))
        .bind::<Array<BigInt>, _>(column(rows, |p| p.read.us))
        .bind::<Array<BigInt>, _>(column(rows, |p| p.change_no))
        .bind::<Array<BigInt>, _>(column(rows, |p| p.clock))
        .execute(c)?;
    }
    Ok(())
}

/// Turns rows into tombstones.
pub(super) fn gone(
    c: &mut PgConnection,
    integration_id: IntegrationId,
    object: &str,
    rows: &[Gone<'_>],
    now_us: Micros,
) -> Result<(), Error> {
    for rows in rows.chunks(ROWS) {
        sql_query(
            "UPDATE record r SET name = '', name_key = '', homepage = NULL, payload = '{}', \
             modified_us = u.modified_us, read_us = u.read_us, read_clock = u.read_clock, delete_us = $3, \
             merged_into = u.merged_into, change_no = u.change_no \
             FROM unnest($4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[]) \
             u (external_id, merged_into, modified_us, read_us, change_no, read_clock) \
             CROSS JOIN LATERAL (SELECT ctid FROM record WHERE integration_id = (SELECT $1) \
             AND object = (SELECT $2) AND external_id = u.external_id COLLATE \"C\" LIMIT 1) s (at) \
             WHERE r.ctid = s.at",
        )
        .bind::<Text, _>(integration_id)
        .bind::<Text, _>(object)
        .bind::<BigInt, _>(now_us)
        .bind::<Array<Text>, _>(column(rows, |g| g.external_id))
        .bind::<Array<Nullable<Text>>, _>(column(rows, |g| g.merged_into))
        .bind::<Array<BigInt>, _>(column(rows, |g| g.modified_us))
        .bind::<Array<BigInt>, _>(column(rows, |g| g.read.us))
        .bind::<Array<BigInt>, _>(column(rows, |g| g.change_no))
        .bind::<Array<BigInt>, _>(column(rows, |g| g.read.clock.number()))
        .execute(c)?;
    }
    Ok(())
}

/// Stores new times of rows that are otherwise the same.
pub(super) fn touch(
    c: &mut PgConnection,
    integration_id: IntegrationId,
    object: &str,
    rows: &[Touched<'_>],
) -> Result<(), Error> {
    for rows in rows.chunks(ROWS) {
        sql_query(
            "UPDATE record r SET modified_us = u.modified_us, read_us = u.read_us, read_clock = u.read_clock \
             FROM unnest($3::text[], $4::bigint[], $5::bigint[], $6::bigint[]) \
             u (external_id, modified_us, read_us, read_clock) \
             CROSS JOIN LATERAL (SELECT ctid FROM record WHERE integration_id = (SELECT $1) \
             AND object = (SELECT $2) AND external_id = u.external_id COLLATE \"C\" LIMIT 1) s (at) \
             WHERE r.ctid = s.at",
        )
        .bind::<Text, _>(integration_id)
        .bind::<Text, _>(object)
        .bind::<Array<Text>, _>(column(rows, |t| t.external_id))
        .bind::<Array<BigInt>, _>(column(rows, |t| t.modified_us))
        .bind::<Array<BigInt>, _>(column(rows, |t| t.read.us))
        .bind::<Array<BigInt>, _>(column(rows, |t| t.read.clock.number()))
        .execute(c)?;
    }
    Ok(())
}

fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}
