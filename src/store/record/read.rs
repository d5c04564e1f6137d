//! Reads stored records by key.

use diesel::{prelude::*, sql_types};

use super::{
    Held, Parent,
    apply::{Existing, Known},
    postgres, sqlite,
};
use crate::domain::{CompanyId, IntegrationId};
use crate::store::{Error, complete_range::Piece, conn::Conn};

/// The children of an object under these parents: (parent, child).
pub(super) fn children<T: AsRef<str>>(
    conn: &mut Conn,
    integration_id: IntegrationId,
    parent_object: &str,
    parent_ids: &[T],
    object: &str,
) -> Result<Vec<(String, String)>, Error> {
    let parent_ids: Vec<&str> = parent_ids.iter().map(AsRef::as_ref).collect();
    if parent_ids.is_empty() {
        return Ok(Vec::new());
    }
    match conn {
        Conn::Sqlite(c) => sqlite::read::children(c, integration_id, parent_object, &parent_ids, object),
        Conn::Postgres(c) => postgres::read::children(c, integration_id, parent_object, &parent_ids, object),
    }
}

pub(super) fn parents(
    conn: &mut Conn,
    integration_id: IntegrationId,
    object: &str,
    ids: &[&str],
) -> Result<Vec<(String, Parent)>, Error> {
    let rows = match conn {
        Conn::Sqlite(c) => sqlite::read::parents(c, integration_id, object, ids)?,
        Conn::Postgres(c) => postgres::read::parents(c, integration_id, object, ids)?,
    };
    Ok(rows
        .into_iter()
        .map(|(child, object, external_id)| (child, Parent { object, external_id }))
        .collect())
}

/// The live company records of these companies in these integrations.
pub(in crate::store) fn held(
    conn: &mut Conn,
    integration_ids: &[IntegrationId],
    company_ids: &[CompanyId],
) -> Result<Vec<Held>, Error> {
    match conn {
        Conn::Sqlite(c) => sqlite::read::held(c, integration_ids, company_ids),
        Conn::Postgres(c) => postgres::read::held(c, integration_ids, company_ids),
    }
}

/// How many live company records an integration has.
pub(in crate::store) fn count_companies(
    conn: &mut Conn,
    integration_id: IntegrationId,
) -> Result<i64, Error> {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = sql_types::BigInt)]
        n: i64,
    }
    let count: Count =
        diesel::sql_query("SELECT count(*) AS n FROM company_record WHERE integration_id = (SELECT $1)")
            .bind::<sql_types::Text, _>(integration_id)
            .get_result(conn)?;
    Ok(count.n)
}

/// How many live rows an object has.
pub(in crate::store) fn count_live(
    conn: &mut Conn,
    integration_id: IntegrationId,
    object: &str,
) -> Result<i64, Error> {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = sql_types::BigInt)]
        n: i64,
    }
    let count: Count = diesel::sql_query(
        "SELECT count(*) AS n FROM record WHERE integration_id = (SELECT $1) AND object = (SELECT $2) AND delete_us IS NULL",
    )
    .bind::<sql_types::Text, _>(integration_id)
    .bind::<sql_types::Text, _>(object)
    .get_result(conn)?;
    Ok(count.n)
}

pub(super) fn existing_range(
    conn: &mut Conn,
    integration_id: IntegrationId,
    object: &str,
    piece: &Piece,
    limit: i64,
) -> Result<Vec<Existing>, Error> {
    let rows = match conn {
        Conn::Sqlite(c) => sqlite::read::existing_range(c, integration_id, object, piece, limit)?,
        Conn::Postgres(c) => postgres::read::existing_range(c, integration_id, object, piece, limit)?,
    };
    Ok(rows.into_iter().map(Existing::from).collect())
}

pub(super) fn existing_ids(
    conn: &mut Conn,
    integration_id: IntegrationId,
    object: &str,
    ids: &[&str],
) -> Result<Vec<Existing>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<Known> = match conn {
        Conn::Sqlite(c) => sqlite::read::existing(c, integration_id, object, ids)?,
        Conn::Postgres(c) => postgres::read::existing(c, integration_id, object, ids)?,
    };
    let mut found: Vec<Existing> = rows.into_iter().map(Existing::from).collect();
    found.sort_unstable_by(|a, b| a.external_id.cmp(&b.external_id));
    Ok(found)
}
