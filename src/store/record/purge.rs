//! Deletes tombstones after their time, and all records of a deleted integration.

use diesel::{prelude::*, sql_types};

use crate::domain::{IntegrationId, Micros};
use crate::store::{
    Error, Store,
    conn::{Conn, each},
    integration,
    schema::meta,
};

impl Store {
    /// The last change number that may have been deleted: a follower behind it has to rebuild its index.
    pub async fn record_forgotten(&self, integration_id: IntegrationId) -> Result<i64, Error> {
        let number = self.meta_get(&forgotten_key(integration_id)).await?;
        Ok(number.and_then(|number| number.parse().ok()).unwrap_or(0))
    }

    /// Deletes up to `limit` tombstones of records that were removed before this time; returns their number. Followers of the
    /// feed that are behind them have to rebuild their index.
    pub async fn record_forget(
        &self,
        integration_id: IntegrationId,
        before_us: Micros,
        limit: i64,
    ) -> Result<usize, Error> {
        self.write(move |conn| {
            // Lock the integration: a concurrent commit may restore one of the rows.
            match integration::lock(conn, integration_id) {
                Err(error) if error.is_not_found() => return Ok(0),
                locked => locked?,
            };
            #[derive(QueryableByName)]
            struct Forgotten {
                #[diesel(sql_type = sql_types::BigInt)]
                change_no: i64,
            }
            const SQLITE: &str = "DELETE FROM record WHERE integration_id = $1 AND (object, external_id) IN \
                (SELECT object, external_id FROM record WHERE integration_id = $1 AND delete_us < $2 LIMIT $3) \
                RETURNING change_no";
            const POSTGRES: &str = "DELETE FROM record WHERE ctid = ANY (ARRAY(SELECT ctid FROM record \
                WHERE integration_id = (SELECT $1) AND delete_us < $2 LIMIT $3)) AND delete_us < $2 RETURNING change_no";
            let done: Vec<Forgotten> = diesel::sql_query(match conn {
                Conn::Sqlite(_) => SQLITE,
                Conn::Postgres(_) => POSTGRES,
            })
            .bind::<sql_types::Text, _>(integration_id)
            .bind::<sql_types::BigInt, _>(before_us)
            .bind::<sql_types::BigInt, _>(limit)
            .load(conn)?;
            if let Some(last) = done.iter().map(|one| one.change_no).max() {
                let key = forgotten_key(integration_id);
                let known: Option<String> = meta::table
                    .find(&key)
                    .select(meta::value)
                    .first(conn)
                    .optional()?;
                // The number never decreases.
                let known = known.and_then(|known| known.parse().ok()).unwrap_or(0);
                let last = last.max(known).to_string();
                each!(conn, c => diesel::insert_into(meta::table)
                    .values((meta::key.eq(&key), meta::value.eq(&last)))
                    .on_conflict(meta::key)
                    .do_update()
                    .set(meta::value.eq(&last))
                    .execute(c))?;
            }
            Ok(done.len())
        })
        .await
    }
}

/// The key of the last deleted change number: the only row of `meta` that belongs to an integration.
fn forgotten_key(integration_id: IntegrationId) -> String {
    format!("forgotten {integration_id}")
}

/// Deletes that row together with the integration.
pub(in crate::store) fn unforget(conn: &mut Conn, integration_id: IntegrationId) -> Result<(), Error> {
    diesel::delete(meta::table.find(forgotten_key(integration_id))).execute(conn)?;
    Ok(())
}

/// Removes up to `limit` records and links of an integration; returns how many.
pub(in crate::store) fn purge(
    conn: &mut Conn,
    integration_id: IntegrationId,
    limit: i64,
) -> Result<usize, Error> {
    const SQLITE: [&str; 2] = [
        "DELETE FROM record WHERE integration_id = $1 AND (object, external_id) IN (SELECT object, external_id FROM \
         record WHERE integration_id = $1 LIMIT $2)",
        "DELETE FROM record_link WHERE integration_id = $1 AND (child_object, child_id, parent_object, parent_id) IN \
         (SELECT child_object, child_id, parent_object, parent_id FROM record_link WHERE integration_id = $1 LIMIT $2)",
    ];
    const POSTGRES: [&str; 2] = [
        "DELETE FROM record WHERE ctid = ANY (ARRAY(SELECT ctid FROM record WHERE integration_id = (SELECT $1) LIMIT $2))",
        "DELETE FROM record_link WHERE ctid = ANY (ARRAY(SELECT ctid FROM record_link \
         WHERE integration_id = (SELECT $1) LIMIT $2))",
    ];
    let mut gone = 0;
    for sql in match conn {
        Conn::Sqlite(_) => SQLITE,
        Conn::Postgres(_) => POSTGRES,
    } {
        gone += diesel::sql_query(sql)
            .bind::<sql_types::Text, _>(integration_id)
            .bind::<sql_types::BigInt, _>(limit)
            .execute(conn)?;
    }
    Ok(gone)
}
