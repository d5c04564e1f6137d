//! Deleting what is old, of whichever owner: some rows at a time, and none that somebody holds.

use diesel::{prelude::*, sql_query, sql_types::BigInt};

use super::{Error, conn::Conn};
use crate::domain::Micros;

/// Deletes rows of a table whose `time` is before this one and that a condition finds, the oldest first, at most `limit`;
/// returns how many. On PostgreSQL rows that are locked are left for the next time: replicas purge at once, and rows of many
/// owners have no order of locks. The limit is hidden from the planner (`postgres::read`).
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
