//! Deletes old rows of all owners: a limited number at a time, without waiting for locks.

use diesel::{prelude::*, sql_query, sql_types::BigInt};

use super::{Error, conn::Conn};
use crate::domain::Micros;

/// Deletes the oldest rows of a table whose column `time` is below `before_us` and that match a condition, at most `limit`;
/// returns their number. On PostgreSQL locked rows are skipped and deleted by a later call: replicas purge concurrently, and rows
/// of many owners have no lock order. The limit is hidden from the planner (`record::postgres::read`).
pub(super) fn old(
    conn: &mut Conn,
    table: &'static str,
    time: &'static str,
    condition: &'static str,
    before_us: Micros,
    limit: i64,
) -> Result<usize, Error> {
    let found = format!("FROM {table} WHERE {time} < $1 AND {condition} ORDER BY {time} LIMIT (SELECT $2)");
    let sql = match conn {
        Conn::Sqlite(_) => format!("DELETE FROM {table} WHERE rowid IN (SELECT rowid {found})"),
        Conn::Postgres(_) => format!(
            "DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid {found} FOR UPDATE SKIP LOCKED))"
        ),
    };
    Ok(sql_query(sql)
        .bind::<BigInt, _>(before_us)
        .bind::<BigInt, _>(limit)
        .execute(conn)?)
}
