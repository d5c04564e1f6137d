//! Bulk writes of rows on SQLite.

use diesel::{
    prelude::*,
    query_builder::{AstPass, QueryFragment, QueryId},
    sql_types::{BigInt, Nullable, Text},
    sqlite::Sqlite,
};

pub(super) mod companies;
pub(super) mod links;
pub(super) mod read;
mod texts;

use super::apply::{Gone, Put, Touched};
use crate::domain::{IntegrationId, Micros};
use crate::store::{Error, schema::record};

/// An upsert of exactly `N` rows: one text, so one prepared statement.
struct PutRows<'a, const N: usize> {
    integration_id: IntegrationId,
    object: &'a str,
    rows: &'a [Put<'a>],
}

impl<const N: usize> QueryId for PutRows<'_, N> {
    type QueryId = PutRows<'static, N>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<const N: usize> RunQueryDsl<SqliteConnection> for PutRows<'_, N> {}

impl<const N: usize> QueryFragment<Sqlite> for PutRows<'_, N> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO record (integration_id, object, external_id, company_id, name, name_key, homepage, payload, \
             hash, modified_us, read_us, read_clock, change_no) VALUES ",
        );
        for (i, put) in self.rows.iter().enumerate() {
            out.push_sql(if i == 0 { "(" } else { ", (" });
            out.push_bind_param::<Text, _>(&self.integration_id)?;
            out.push_sql(", ");
            out.push_bind_param::<Text, str>(self.object)?;
            out.push_sql(", ");
            out.push_bind_param::<Text, _>(&put.row.external_id)?;
            out.push_sql(", ");
            out.push_bind_param::<Nullable<Text>, _>(&put.row.company_id)?;
            out.push_sql(", ");
            out.push_bind_param::<Text, _>(&put.row.name)?;
            out.push_sql(", ");
            out.push_bind_param::<Text, _>(&put.name_key)?;
            out.push_sql(", ");
            out.push_bind_param::<Nullable<Text>, _>(&put.row.homepage)?;
            out.push_sql(", ");
            out.push_bind_param::<Text, _>(&put.row.payload)?;
            out.push_sql(", ");
            out.push_bind_param::<BigInt, _>(&put.row.hash)?;
            out.push_sql(", ");
            out.push_bind_param::<BigInt, _>(&put.row.modified_us)?;
            out.push_sql(", ");
            out.push_bind_param::<BigInt, _>(&put.read.us)?;
            out.push_sql(", ");
            out.push_bind_param::<BigInt, _>(&put.clock)?;
            out.push_sql(", ");
            out.push_bind_param::<BigInt, _>(&put.change_no)?;
            out.push_sql(")");
        }
        out.push_sql(
            " ON CONFLICT (integration_id, object, external_id) DO UPDATE SET company_id = excluded.company_id, \
             name = excluded.name, name_key = excluded.name_key, homepage = excluded.homepage, \
             payload = excluded.payload, hash = excluded.hash, modified_us = excluded.modified_us, \
             read_us = excluded.read_us, read_clock = excluded.read_clock, delete_us = NULL, merged_into = NULL, \
             change_no = excluded.change_no",
        );
        Ok(())
    }
}

/// Inserts or replaces rows.
pub(super) fn put(
    c: &mut SqliteConnection,
    integration_id: IntegrationId,
    object: &str,
    rows: &[Put<'_>],
) -> Result<(), Error> {
    let (many, rest) = rows.as_chunks::<64>();
    for rows in many {
        PutRows::<64> {
            integration_id,
            object,
            rows,
        }
        .execute(c)?;
    }
    let (some, rest) = rest.as_chunks::<8>();
    for rows in some {
        PutRows::<8> {
            integration_id,
            object,
            rows,
        }
        .execute(c)?;
    }
    for row in rest {
        PutRows::<1> {
            integration_id,
            object,
            rows: std::slice::from_ref(row),
        }
        .execute(c)?;
    }
    Ok(())
}

/// Turns rows into tombstones.
pub(super) fn gone(
    c: &mut SqliteConnection,
    integration_id: IntegrationId,
    object: &str,
    rows: &[Gone<'_>],
    now_us: Micros,
) -> Result<(), Error> {
    for row in rows {
        diesel::update(record::table.find((integration_id, object, row.external_id)))
            .set((
                record::name.eq(""),
                record::name_key.eq(""),
                record::homepage.eq(None::<&str>),
                record::payload.eq("{}"),
                record::modified_us.eq(row.modified_us),
                record::read_us.eq(row.read.us),
                record::read_clock.eq(row.read.clock.number()),
                record::delete_us.eq(now_us),
                record::merged_into.eq(row.merged_into),
                record::change_no.eq(row.change_no),
            ))
            .execute(c)?;
    }
    Ok(())
}

/// Stores new times of rows that are otherwise the same.
pub(super) fn touch(
    c: &mut SqliteConnection,
    integration_id: IntegrationId,
    object: &str,
    rows: &[Touched<'_>],
) -> Result<(), Error> {
    for row in rows {
        diesel::update(record::table.find((integration_id, object, row.external_id)))
            .set((
                record::modified_us.eq(row.modified_us),
                record::read_us.eq(row.read.us),
                record::read_clock.eq(row.read.clock.number()),
            ))
            .execute(c)?;
    }
    Ok(())
}
