//! What PostgreSQL does in its own way: rows by the thousand.

use diesel::{
    prelude::*,
    sql_query,
    sql_types::{Array, BigInt, Nullable, Text},
};

use super::{
    Error,
    record::{Gone, Link, Put, Touched},
};
use crate::domain::{IntegrationId, Micros};

/// Rows of one statement.
const ROWS: usize = 4000;

#[derive(QueryableByName)]
struct Known {
    #[diesel(sql_type = Text)]
    external_id: String,
    #[diesel(sql_type = BigInt)]
    hash: i64,
    #[diesel(sql_type = BigInt)]
    modified_us: Micros,
    #[diesel(sql_type = BigInt)]
    read_us: Micros,
    #[diesel(sql_type = BigInt)]
    read_clock: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    delete_us: Option<Micros>,
}

/// What is stored of these ids. One look-up for each: before a table's first statistics the planner would rather compare
/// every row of the object with every id.
pub(super) fn existing(
    c: &mut PgConnection,
    integration_id: IntegrationId,
    object: &str,
    ids: &[&str],
) -> Result<Vec<super::record::Known>, Error> {
    let rows: Vec<Known> = sql_query(
        "SELECT r.external_id, r.hash, r.modified_us, r.read_us, r.read_clock, r.delete_us FROM unnest($3::text[]) u (id) \
         CROSS JOIN LATERAL (SELECT * FROM record WHERE integration_id = $1 AND object = $2 \
         AND external_id = u.id COLLATE \"C\" LIMIT 1) r",
    )
    .bind::<Text, _>(integration_id)
    .bind::<Text, _>(object)
    .bind::<Array<Text>, _>(ids)
    .load(c)?;
    Ok(rows
        .into_iter()
        .map(|r| {
            (
                r.external_id,
                r.hash,
                r.modified_us,
                r.read_us,
                r.read_clock,
                r.delete_us,
            )
        })
        .collect())
}

#[derive(QueryableByName)]
struct Linked {
    #[diesel(sql_type = Text)]
    child_id: String,
    #[diesel(sql_type = Text)]
    parent_object: String,
    #[diesel(sql_type = Text)]
    parent_id: String,
}

/// The links of children: (child, parent's object, parent's id).
pub(super) fn parents(
    c: &mut PgConnection,
    integration_id: IntegrationId,
    object: &str,
    children: &[&str],
) -> Result<Vec<(String, String, String)>, Error> {
    let rows: Vec<Linked> = sql_query(
        "SELECT l.child_id, l.parent_object, l.parent_id FROM unnest($3::text[]) u (id) \
         JOIN record_link l ON l.integration_id = $1 AND l.child_object = $2 AND l.child_id = u.id COLLATE \"C\" \
         ORDER BY l.child_id, l.parent_object, l.parent_id",
    )
    .bind::<Text, _>(integration_id)
    .bind::<Text, _>(object)
    .bind::<Array<Text>, _>(children)
    .load(c)?;
    Ok(rows
        .into_iter()
        .map(|l| (l.child_id, l.parent_object, l.parent_id))
        .collect())
}

/// Inserts or replaces rows.
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
             WHERE r.integration_id = $1 AND r.object = $2 AND r.external_id = u.external_id COLLATE \"C\"",
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
             WHERE r.integration_id = $1 AND r.object = $2 AND r.external_id = u.external_id COLLATE \"C\"",
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

/// Removes the links of children.
pub(super) fn unlink(
    c: &mut PgConnection,
    integration_id: IntegrationId,
    object: &str,
    children: &[&str],
) -> Result<(), Error> {
    for children in children.chunks(ROWS) {
        sql_query(
            "DELETE FROM record_link l USING unnest($3::text[]) u (id) \
             WHERE l.integration_id = $1 AND l.child_object = $2 AND l.child_id = u.id COLLATE \"C\"",
        )
        .bind::<Text, _>(integration_id)
        .bind::<Text, _>(object)
        .bind::<Array<Text>, _>(children)
        .execute(c)?;
    }
    Ok(())
}

/// Adds links.
pub(super) fn link(
    c: &mut PgConnection,
    integration_id: IntegrationId,
    object: &str,
    links: &[Link<'_>],
) -> Result<(), Error> {
    for links in links.chunks(ROWS) {
        sql_query(
            "INSERT INTO record_link (integration_id, child_object, child_id, parent_object, parent_id) \
             SELECT $1, $2, u.* FROM unnest($3::text[], $4::text[], $5::text[]) u ON CONFLICT DO NOTHING",
        )
        .bind::<Text, _>(integration_id)
        .bind::<Text, _>(object)
        .bind::<Array<Text>, _>(column(links, |l| l.child_id))
        .bind::<Array<Text>, _>(column(links, |l| l.parent.object.as_str()))
        .bind::<Array<Text>, _>(column(links, |l| l.parent.external_id.as_str()))
        .execute(c)?;
    }
    Ok(())
}

fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}
