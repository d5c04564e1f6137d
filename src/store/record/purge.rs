//! Deletes tombstones after their time, and all records of a deleted integration.

use diesel::{prelude::*, sql_types};

use crate::domain::{IntegrationId, Micros};
use crate::store::{Error, Store, conn::Conn, data_set, schema::data_set as data_set_table};

impl Store {
    /// The last change number that may have been deleted: a follower behind it has to rebuild its index.
    pub async fn record_forgotten(&self, integration_id: IntegrationId) -> Result<i64, Error> {
        let set = self.data_read(integration_id, move |conn| data_set::get(conn, integration_id));
        Ok(set.await?.map_or(0, |set| set.forgotten_no))
    }

    /// Deletes up to `limit` tombstones of records that were removed before this time; returns their number. Followers of the
    /// feed that are behind them have to rebuild their index.
    pub async fn record_forget(
        &self,
        integration_id: IntegrationId,
        before_us: Micros,
        limit: i64,
    ) -> Result<usize, Error> {
        let forgotten = self.data_write(integration_id, move |conn| {
            // Lock the data set: a concurrent commit may restore one of the rows.
            let Some(set) = data_set::lock(conn, integration_id)? else {
                return Ok(0);
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
                // The number never decreases.
                diesel::update(data_set_table::table.find(integration_id))
                    .set(data_set_table::forgotten_no.eq(last.max(set.forgotten_no)))
                    .execute(conn)?;
            }
            Ok(done.len())
        });
        match forgotten.await {
            // Deleted meanwhile.
            Err(error) if error.is_not_found() => Ok(0),
            other => other,
        }
    }
}

/// Removes up to `limit` rows of each table of an integration; returns how many.
pub(in crate::store) fn purge(
    conn: &mut Conn,
    integration_id: IntegrationId,
    limit: i64,
) -> Result<usize, Error> {
    const SQLITE: &[&str] = &[
        "DELETE FROM record WHERE integration_id = $1 AND (object, external_id) IN (SELECT object, external_id FROM \
         record WHERE integration_id = $1 LIMIT $2)",
        "DELETE FROM record_link WHERE integration_id = $1 AND (child_object, child_id, parent_object, parent_id) IN \
         (SELECT child_object, child_id, parent_object, parent_id FROM record_link WHERE integration_id = $1 LIMIT $2)",
        "DELETE FROM record_child WHERE integration_id = $1 AND (parent_object, parent_id, child_object, child_id) IN \
         (SELECT parent_object, parent_id, child_object, child_id FROM record_child WHERE integration_id = $1 LIMIT $2)",
        "DELETE FROM company_record WHERE integration_id = $1 AND (company_id, object, external_id) IN \
         (SELECT company_id, object, external_id FROM company_record WHERE integration_id = $1 LIMIT $2)",
        "DELETE FROM company_name WHERE integration_id = $1 AND (name_key, company_id, object, external_id) IN \
         (SELECT name_key, company_id, object, external_id FROM company_name WHERE integration_id = $1 LIMIT $2)",
    ];
    const POSTGRES: &[&str] = &[
        "DELETE FROM record WHERE ctid = ANY (ARRAY(SELECT ctid FROM record WHERE integration_id = (SELECT $1) LIMIT $2))",
        "DELETE FROM record_link WHERE ctid = ANY (ARRAY(SELECT ctid FROM record_link \
         WHERE integration_id = (SELECT $1) LIMIT $2))",
        "DELETE FROM company_record WHERE ctid = ANY (ARRAY(SELECT ctid FROM company_record \
         WHERE integration_id = (SELECT $1) LIMIT $2))",
        "DELETE FROM company_name WHERE ctid = ANY (ARRAY(SELECT ctid FROM company_name \
         WHERE integration_id = (SELECT $1) LIMIT $2))",
    ];
    let mut gone = 0;
    for sql in match conn {
        Conn::Sqlite(_) => SQLITE,
        Conn::Postgres(_) => POSTGRES,
    } {
        gone += diesel::sql_query(*sql)
            .bind::<sql_types::Text, _>(integration_id)
            .bind::<sql_types::BigInt, _>(limit)
            .execute(conn)?;
    }
    Ok(gone)
}
