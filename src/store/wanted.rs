//! Records that the CRM has and a data set lacks, or has in an older state. A sync reads them by id at its end.

use diesel::{
    prelude::*,
    sql_query,
    sql_types::{Array, BigInt, Text},
};

use super::{Error, conn::Conn, schema::data_wanted};
use crate::domain::IntegrationId;

/// Adds records of an object. The head of the data set is locked.
pub(super) fn add(conn: &mut Conn, id: IntegrationId, object: &str, ids: &[&str]) -> Result<(), Error> {
    if ids.is_empty() {
        return Ok(());
    }
    match conn {
        Conn::Sqlite(c) => {
            let ids = json(ids)?;
            // WHERE true: SQLite's grammar would else read the conflict clause as part of a join.
            sql_query(
                "INSERT INTO data_wanted (integration_id, object, external_id) \
                 SELECT $1, $2, value FROM json_each($3) WHERE true ON CONFLICT DO NOTHING",
            )
            .bind::<Text, _>(id)
            .bind::<Text, _>(object)
            .bind::<Text, _>(ids)
            .execute(c)?;
        }
        Conn::Postgres(c) => {
            sql_query(
                "INSERT INTO data_wanted (integration_id, object, external_id) \
                 SELECT $1, $2, u.id FROM unnest($3::text[]) u (id) ON CONFLICT DO NOTHING",
            )
            .bind::<Text, _>(id)
            .bind::<Text, _>(object)
            .bind::<Array<Text>, _>(ids)
            .execute(c)?;
        }
    }
    Ok(())
}

/// Children that one statement adds.
const CHILDREN: i64 = 5_000;
/// Parents whose children are counted at once.
const PARENTS: usize = 100;

/// Adds the children of these records, which are gone: the CRM has moved or deleted the children too, perhaps without a new time
/// of change. No statement goes through more than some thousand links, however many a record has. The head of the data set is
/// locked, and no links were left for later.
pub(super) fn add_children(
    conn: &mut Conn,
    id: IntegrationId,
    object: &str,
    parents: &[&str],
) -> Result<(), Error> {
    for parents in parents.chunks(PARENTS) {
        let (mut together, mut sum) = (Vec::new(), 0);
        for (parent, children) in count_children(conn, id, object, parents)? {
            if children > CHILDREN {
                add_many_children(conn, id, object, &parent)?;
                continue;
            }
            if sum + children > CHILDREN {
                add_all_children(conn, id, object, &together)?;
                together.clear();
                sum = 0;
            }
            sum += children;
            together.push(parent);
        }
        add_all_children(conn, id, object, &together)?;
    }
    Ok(())
}

/// Those of these records that have children, with their number, which is counted up to one more than [`CHILDREN`].
fn count_children(
    conn: &mut Conn,
    id: IntegrationId,
    object: &str,
    parents: &[&str],
) -> Result<Vec<(String, i64)>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        parent: String,
        #[diesel(sql_type = BigInt)]
        n: i64,
    }
    let rows: Vec<Row> = match conn {
        Conn::Sqlite(c) => sql_query(
            "SELECT p.value AS parent, (SELECT count(*) FROM (SELECT 1 FROM record_child WHERE integration_id = $1 \
             AND parent_object = $2 AND parent_id = p.value LIMIT $3)) AS n FROM json_each($4) p",
        )
        .bind::<Text, _>(id)
        .bind::<Text, _>(object)
        .bind::<BigInt, _>(CHILDREN + 1)
        .bind::<Text, _>(json(parents)?)
        .load(c)?,
        Conn::Postgres(c) => sql_query(
            "SELECT u.id AS parent, (SELECT count(*) FROM (SELECT 1 FROM record_link WHERE integration_id = (SELECT $1) \
             AND parent_object = (SELECT $2) AND parent_id = u.id COLLATE \"C\" LIMIT $3) l) AS n \
             FROM unnest($4::text[]) u (id)",
        )
        .bind::<Text, _>(id)
        .bind::<Text, _>(object)
        .bind::<BigInt, _>(CHILDREN + 1)
        .bind::<Array<Text>, _>(parents)
        .load(c)?,
    };
    let some = rows.into_iter().filter(|row| row.n > 0);
    Ok(some.map(|row| (row.parent, row.n)).collect())
}

/// Adds the children of records that together have few.
fn add_all_children(
    conn: &mut Conn,
    id: IntegrationId,
    object: &str,
    parents: &[String],
) -> Result<(), Error> {
    if parents.is_empty() {
        return Ok(());
    }
    match conn {
        Conn::Sqlite(c) => {
            sql_query(
                "INSERT INTO data_wanted (integration_id, object, external_id) \
                 SELECT $1, child_object, child_id FROM record_child WHERE integration_id = $1 AND parent_object = $2 \
                 AND parent_id IN (SELECT value FROM json_each($3)) ON CONFLICT DO NOTHING",
            )
            .bind::<Text, _>(id)
            .bind::<Text, _>(object)
            .bind::<Text, _>(json(parents)?)
            .execute(c)?;
        }
        Conn::Postgres(c) => {
            sql_query(
                "INSERT INTO data_wanted (integration_id, object, external_id) \
                 SELECT $1, l.child_object, l.child_id FROM unnest($3::text[]) u (id) \
                 CROSS JOIN LATERAL (SELECT child_object, child_id FROM record_link WHERE integration_id = (SELECT $1) \
                 AND parent_object = (SELECT $2) AND parent_id = u.id COLLATE \"C\" OFFSET 0) l ON CONFLICT DO NOTHING",
            )
            .bind::<Text, _>(id)
            .bind::<Text, _>(object)
            .bind::<Array<Text>, _>(parents)
            .execute(c)?;
        }
    }
    Ok(())
}

/// Adds the children of a record that has many, in pages.
fn add_many_children(conn: &mut Conn, id: IntegrationId, object: &str, parent: &str) -> Result<(), Error> {
    macro_rules! page {
        ($table:literal) => {
            concat!(
                "SELECT child_object AS object, child_id AS external_id FROM ",
                $table,
                " WHERE integration_id = (SELECT $1) AND parent_object = (SELECT $2) AND parent_id = (SELECT $3) \
                 AND (child_object, child_id) > ($4, $5) ORDER BY child_object, child_id LIMIT (SELECT $6)"
            )
        };
    }
    let mut after = (String::new(), String::new());
    loop {
        let rows: Vec<Row> = sql_query(match conn {
            Conn::Sqlite(_) => page!("record_child"),
            Conn::Postgres(_) => page!("record_link"),
        })
        .bind::<Text, _>(id)
        .bind::<Text, _>(object)
        .bind::<Text, _>(parent)
        .bind::<Text, _>(&after.0)
        .bind::<Text, _>(&after.1)
        .bind::<BigInt, _>(CHILDREN)
        .load(conn)?;
        for of_object in rows.chunk_by(|one, other| one.object == other.object) {
            let Some(first) = of_object.first() else { continue };
            let ids: Vec<&str> = of_object.iter().map(|row| row.external_id.as_str()).collect();
            add(conn, id, &first.object, &ids)?;
        }
        let is_full = rows.len() as i64 == CHILDREN;
        match rows.into_iter().next_back().filter(|_| is_full) {
            Some(last) => after = (last.object, last.external_id),
            None => return Ok(()),
        }
    }
}

fn json<T: serde::Serialize>(keys: &[T]) -> Result<String, Error> {
    serde_json::to_string(keys).map_err(|e| Error::Corrupt(e.to_string()))
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    object: String,
    #[diesel(sql_type = Text)]
    external_id: String,
}

/// The first so many: (object, id).
pub(super) fn list(conn: &mut Conn, id: IntegrationId, limit: i64) -> Result<Vec<(String, String)>, Error> {
    // Values and limit are hidden from the planner: `record::postgres::read` says why.
    let rows: Vec<Row> = sql_query(
        "SELECT object, external_id FROM data_wanted WHERE integration_id = (SELECT $1) \
         ORDER BY object, external_id LIMIT (SELECT $2)",
    )
    .bind::<Text, _>(id)
    .bind::<BigInt, _>(limit)
    .load(conn)?;
    Ok(rows
        .into_iter()
        .map(|row| (row.object, row.external_id))
        .collect())
}

/// Removes those that were read. The head of the data set is locked.
pub(super) fn remove(conn: &mut Conn, id: IntegrationId, done: &[(String, String)]) -> Result<(), Error> {
    for of_object in done.chunk_by(|(one, _), (other, _)| one == other) {
        let Some((object, _)) = of_object.first() else {
            continue;
        };
        let ids: Vec<&str> = of_object.iter().map(|(_, id)| id.as_str()).collect();
        match conn {
            Conn::Sqlite(c) => {
                let ids = json(&ids)?;
                sql_query(
                    "DELETE FROM data_wanted WHERE integration_id = $1 AND object = $2 \
                     AND external_id IN (SELECT value FROM json_each($3))",
                )
                .bind::<Text, _>(id)
                .bind::<Text, _>(object)
                .bind::<Text, _>(ids)
                .execute(c)?;
            }
            Conn::Postgres(c) => {
                sql_query(
                    "DELETE FROM data_wanted w USING unnest($3::text[]) u (id) \
                     CROSS JOIN LATERAL (SELECT ctid FROM data_wanted WHERE integration_id = (SELECT $1) \
                     AND object = (SELECT $2) AND external_id = u.id COLLATE \"C\" LIMIT 1) s (at) WHERE w.ctid = s.at",
                )
                .bind::<Text, _>(id)
                .bind::<Text, _>(object)
                .bind::<Array<Text>, _>(ids)
                .execute(c)?;
            }
        }
    }
    Ok(())
}

/// Removes all: everything is read again.
pub(super) fn forget(conn: &mut Conn, id: IntegrationId) -> Result<(), Error> {
    diesel::delete(data_wanted::table.filter(data_wanted::integration_id.eq(id))).execute(conn)?;
    Ok(())
}

/// Removes at most `limit` of a data set that is being deleted; returns how many.
pub(super) fn purge(conn: &mut Conn, id: IntegrationId, limit: i64) -> Result<usize, Error> {
    let some = list(conn, id, limit)?;
    remove(conn, id, &some)?;
    Ok(some.len())
}
