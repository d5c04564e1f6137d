//! What PostgreSQL does in its own way: rows by the thousand.

use diesel::{
    prelude::*,
    sql_query,
    sql_types::{Array, BigInt, Nullable, Text},
};

use super::{
    Error,
    record::{Gone, Link, Put, Touched},
    schema::{record, record_link},
};
use crate::domain::{IntegrationId, Micros};

/// Rows of one statement.
const ROWS: usize = 4000;

/// What is stored of these ids.
#[expect(clippy::type_complexity, reason = "the columns of one query")]
pub(super) fn existing(
    c: &mut PgConnection,
    integration_id: IntegrationId,
    object: &str,
    ids: &[&str],
) -> Result<Vec<(String, i64, Micros, Micros, Option<Micros>)>, Error> {
    Ok(record::table
        .filter(record::integration_id.eq(integration_id))
        .filter(record::object.eq(object))
        .filter(record::external_id.eq_any(ids))
        .select((
            record::external_id,
            record::hash,
            record::modified_us,
            record::read_us,
            record::delete_us,
        ))
        .load(c)?)
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
             hash, modified_us, read_us, change_no) \
             SELECT $1, $2, u.* FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], \
             $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[]) u \
             ON CONFLICT (integration_id, object, external_id) DO UPDATE SET company_id = excluded.company_id, \
             name = excluded.name, name_key = excluded.name_key, homepage = excluded.homepage, \
             payload = excluded.payload, hash = excluded.hash, modified_us = excluded.modified_us, \
             read_us = excluded.read_us, delete_us = NULL, merged_into = NULL, change_no = excluded.change_no",
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
        .bind::<Array<BigInt>, _>(column(rows, |p| p.read_us))
        .bind::<Array<BigInt>, _>(column(rows, |p| p.change_no))
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
             modified_us = u.modified_us, read_us = u.read_us, delete_us = $3, merged_into = u.merged_into, \
             change_no = u.change_no \
             FROM unnest($4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[]) \
             u (external_id, merged_into, modified_us, read_us, change_no) \
             WHERE r.integration_id = $1 AND r.object = $2 AND r.external_id = u.external_id COLLATE \"C\"",
        )
        .bind::<Text, _>(integration_id)
        .bind::<Text, _>(object)
        .bind::<BigInt, _>(now_us)
        .bind::<Array<Text>, _>(column(rows, |g| g.external_id))
        .bind::<Array<Nullable<Text>>, _>(column(rows, |g| g.merged_into))
        .bind::<Array<BigInt>, _>(column(rows, |g| g.modified_us))
        .bind::<Array<BigInt>, _>(column(rows, |g| g.read_us))
        .bind::<Array<BigInt>, _>(column(rows, |g| g.change_no))
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
            "UPDATE record r SET modified_us = u.modified_us, read_us = u.read_us \
             FROM unnest($3::text[], $4::bigint[], $5::bigint[]) u (external_id, modified_us, read_us) \
             WHERE r.integration_id = $1 AND r.object = $2 AND r.external_id = u.external_id COLLATE \"C\"",
        )
        .bind::<Text, _>(integration_id)
        .bind::<Text, _>(object)
        .bind::<Array<Text>, _>(column(rows, |t| t.external_id))
        .bind::<Array<BigInt>, _>(column(rows, |t| t.modified_us))
        .bind::<Array<BigInt>, _>(column(rows, |t| t.read_us))
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
        let links = record_link::table
            .filter(record_link::integration_id.eq(integration_id))
            .filter(record_link::child_object.eq(object))
            .filter(record_link::child_id.eq_any(children));
        diesel::delete(links).execute(c)?;
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
