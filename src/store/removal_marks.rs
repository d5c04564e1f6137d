//! The marks of rows that a listing lacks; `removal` says what they are for.

use diesel::{prelude::*, sql_query, sql_types};

use super::{Error, conn::Conn, schema::removal};
use crate::domain::{IntegrationId, Micros, ReadTime, SyncId};

/// Marks rows that a range lacks.
pub(super) fn mark(conn: &mut Conn, of: &Marks<'_>, read: ReadTime, ids: &[&str]) -> Result<(), Error> {
    const UPSERT: &str = "ON CONFLICT (integration_id, object, external_id) DO UPDATE SET sync_id = excluded.sync_id, \
        read_us = excluded.read_us, read_clock = excluded.read_clock, generation = excluded.generation, \
        first_us = CASE WHEN removal.generation = excluded.generation THEN removal.first_us END";
    match conn {
        Conn::Sqlite(c) => {
            let ids = serde_json::to_string(ids).map_err(|e| Error::Corrupt(e.to_string()))?;
            // WHERE true: SQLite's grammar would else read the conflict clause as part of a join.
            sql_query(format!(
                "INSERT INTO removal (integration_id, object, external_id, sync_id, generation, read_us, read_clock) \
                 SELECT $1, $2, value, $3, $4, $5, $6 FROM json_each($7) WHERE true {UPSERT}"
            ))
            .bind::<sql_types::Text, _>(of.integration_id)
            .bind::<sql_types::Text, _>(of.object)
            .bind::<sql_types::Text, _>(of.sync_id)
            .bind::<sql_types::BigInt, _>(of.generation)
            .bind::<sql_types::BigInt, _>(read.us)
            .bind::<sql_types::BigInt, _>(read.clock.number())
            .bind::<sql_types::Text, _>(ids)
            .execute(c)?;
        }
        Conn::Postgres(c) => {
            sql_query(format!(
                "INSERT INTO removal (integration_id, object, external_id, sync_id, generation, read_us, read_clock) \
                 SELECT $1, $2, u.id, $3, $4, $5, $6 FROM unnest($7::text[]) u (id) {UPSERT}"
            ))
            .bind::<sql_types::Text, _>(of.integration_id)
            .bind::<sql_types::Text, _>(of.object)
            .bind::<sql_types::Text, _>(of.sync_id)
            .bind::<sql_types::BigInt, _>(of.generation)
            .bind::<sql_types::BigInt, _>(read.us)
            .bind::<sql_types::BigInt, _>(read.clock.number())
            .bind::<sql_types::Array<sql_types::Text>, _>(ids)
            .execute(c)?;
        }
    }
    Ok(())
}

/// Whose marks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks<'a> {
    pub(super) integration_id: IntegrationId,
    pub(super) object: &'a str,
    pub(super) sync_id: SyncId,
    pub(super) generation: i64,
}

/// Whether this sync marked rows of an object.
pub(super) fn is_marked_by(
    conn: &mut Conn,
    integration_id: IntegrationId,
    object: &str,
    sync_id: SyncId,
) -> Result<bool, Error> {
    let found: Option<String> = removal::table
        .filter(removal::integration_id.eq(integration_id))
        .filter(removal::object.eq(object))
        .filter(removal::sync_id.eq(sync_id))
        .select(removal::external_id)
        .first(conn)
        .optional()?;
    Ok(found.is_some())
}

/// Rows that were read are there, whatever a listing lacked.
pub(super) fn unmark(
    conn: &mut Conn,
    integration_id: IntegrationId,
    object: &str,
    ids: &[&str],
) -> Result<(), Error> {
    if ids.is_empty() {
        return Ok(());
    }
    // Most integrations have none, nearly always.
    let any: Option<String> = removal::table
        .filter(removal::integration_id.eq(integration_id))
        .filter(removal::object.eq(object))
        .select(removal::external_id)
        .limit(1)
        .first(conn)
        .optional()?;
    if any.is_none() {
        return Ok(());
    }
    delete(conn, integration_id, object, ids)
}

pub(super) fn delete(
    conn: &mut Conn,
    integration_id: IntegrationId,
    object: &str,
    ids: &[&str],
) -> Result<(), Error> {
    match conn {
        Conn::Sqlite(c) => {
            let ids = serde_json::to_string(ids).map_err(|e| Error::Corrupt(e.to_string()))?;
            sql_query(
                "DELETE FROM removal WHERE integration_id = $1 AND object = $2 \
                 AND external_id IN (SELECT value FROM json_each($3))",
            )
            .bind::<sql_types::Text, _>(integration_id)
            .bind::<sql_types::Text, _>(object)
            .bind::<sql_types::Text, _>(ids)
            .execute(c)?;
        }
        Conn::Postgres(c) => {
            // By their place, as in `record::postgres`: the integration is locked, so that no mark moves meanwhile.
            sql_query(
                "DELETE FROM removal r USING (SELECT s.ctid AS at FROM unnest($3::text[]) u (id) \
                 CROSS JOIN LATERAL (SELECT ctid FROM removal WHERE integration_id = (SELECT $1) \
                 AND object = (SELECT $2) AND external_id = u.id COLLATE \"C\" LIMIT 1) s) s \
                 WHERE r.ctid = s.at",
            )
            .bind::<sql_types::Text, _>(integration_id)
            .bind::<sql_types::Text, _>(object)
            .bind::<sql_types::Array<sql_types::Text>, _>(ids)
            .execute(c)?;
        }
    }
    Ok(())
}

/// Removes up to `limit` marks of an integration that is being deleted; returns how many.
pub(super) fn purge(conn: &mut Conn, integration_id: IntegrationId, limit: i64) -> Result<usize, Error> {
    let ids: Vec<(String, String)> = removal::table
        .filter(removal::integration_id.eq(integration_id))
        .select((removal::object, removal::external_id))
        .order((removal::object, removal::external_id))
        .limit(limit)
        .load(conn)?;
    for one in ids.chunk_by(|a, b| a.0 == b.0) {
        let keys: Vec<&str> = one.iter().map(|(_, id)| id.as_str()).collect();
        delete(conn, integration_id, &one[0].0, &keys)?;
    }
    Ok(ids.len())
}

/// A mark.
#[derive(QueryableByName)]
#[diesel(table_name = removal)]
pub(super) struct Mark {
    pub(super) external_id: String,
    pub(super) sync_id: SyncId,
    pub(super) generation: i64,
    pub(super) read_us: Micros,
    pub(super) read_clock: i64,
    pub(super) first_us: Option<Micros>,
}

/// The first marks of an object after this id. Values and limit are hidden from the planner: `record::postgres::read` says why.
pub(super) fn marks_after(
    conn: &mut Conn,
    of: IntegrationId,
    object: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<Mark>, Error> {
    Ok(sql_query(
        "SELECT external_id, sync_id, generation, read_us, read_clock, first_us FROM removal \
         WHERE integration_id = (SELECT $1) AND object = (SELECT $2) AND external_id > $3 ORDER BY external_id \
         LIMIT (SELECT $4)",
    )
    .bind::<sql_types::Text, _>(of)
    .bind::<sql_types::Text, _>(object)
    .bind::<sql_types::Text, _>(after)
    .bind::<sql_types::BigInt, _>(limit)
    .load(conn)?)
}

/// These rows were lacking in a listing that was whole, for the first time now.
pub(super) fn set_first(
    conn: &mut Conn,
    integration_id: IntegrationId,
    object: &str,
    ids: &[&str],
    now_us: Micros,
) -> Result<(), Error> {
    match conn {
        Conn::Sqlite(c) => {
            let ids = serde_json::to_string(ids).map_err(|e| Error::Corrupt(e.to_string()))?;
            sql_query(
                "UPDATE removal SET first_us = $1 WHERE integration_id = $2 AND object = $3 \
                 AND external_id IN (SELECT value FROM json_each($4))",
            )
            .bind::<sql_types::BigInt, _>(now_us)
            .bind::<sql_types::Text, _>(integration_id)
            .bind::<sql_types::Text, _>(object)
            .bind::<sql_types::Text, _>(ids)
            .execute(c)?;
        }
        Conn::Postgres(c) => {
            // By their place, as where marks are deleted.
            sql_query(
                "UPDATE removal r SET first_us = $1 FROM (SELECT s.ctid AS at FROM unnest($4::text[]) u (id) \
                 CROSS JOIN LATERAL (SELECT ctid FROM removal WHERE integration_id = (SELECT $2) \
                 AND object = (SELECT $3) AND external_id = u.id COLLATE \"C\" LIMIT 1) s) s WHERE r.ctid = s.at",
            )
            .bind::<sql_types::BigInt, _>(now_us)
            .bind::<sql_types::Text, _>(integration_id)
            .bind::<sql_types::Text, _>(object)
            .bind::<sql_types::Array<sql_types::Text>, _>(ids)
            .execute(c)?;
        }
    }
    Ok(())
}
