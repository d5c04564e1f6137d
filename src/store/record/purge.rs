//! What goes: records that have been gone for long, and all of an integration that is deleted.

use diesel::{prelude::*, sql_types};

use crate::domain::{IntegrationId, Micros};
use crate::store::{
    Error, Store,
    conn::{Conn, each},
    integration,
    schema::meta,
};

impl Store {
    /// The number of the last change that may have been forgotten: who is behind it has to begin again.
    pub async fn record_forgotten(&self, integration_id: IntegrationId) -> Result<i64, Error> {
        let number = self.meta_get(&forgotten_key(integration_id)).await?;
        Ok(number.and_then(|number| number.parse().ok()).unwrap_or(0))
    }

    /// Forgets up to `limit` records that turned out to be gone before this time; returns how many. Whoever follows
    /// the feed from before has to begin again.
    pub async fn record_forget(
        &self,
        integration_id: IntegrationId,
        before_us: Micros,
        limit: i64,
    ) -> Result<usize, Error> {
        self.write(move |conn| {
            // Who changes rows holds their integration: a commit may bring one back at this moment.
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
                // It never falls: what was forgotten stays so.
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

/// Where the number of the last change that was forgotten stands: the one row of `meta` that belongs to an integration.
fn forgotten_key(integration_id: IntegrationId) -> String {
    format!("forgotten {integration_id}")
}

/// The integration is gone, and with it what was forgotten of it.
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
