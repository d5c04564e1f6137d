//! The deletion of data sets, a limited number of rows at a time.

use std::sync::Arc;

use diesel::prelude::*;

use super::{
    Error, Store,
    conn::Conn,
    data::Database,
    data_set, record, removal_marks,
    schema::{data_object, data_read, data_set as data_set_table, integration},
    wanted,
    writer::Size,
};
use crate::domain::IntegrationId;

impl Store {
    /// Deletes up to `limit` rows of data sets whose integration no longer exists: a worker that was suspended may have
    /// claimed one after its deletion. True when there are none. One database that fails does not keep the others from it.
    pub async fn data_purge_orphans(&self, limit: i64) -> Result<bool, Error> {
        let (mut done, mut failed) = (true, None);
        for database in self.data.all() {
            match self.purge_orphans_of(database, limit).await {
                Ok(none) => done &= none,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            // What is left in the others is deleted first.
            Some(error) if done => Err(error),
            _ => Ok(done),
        }
    }

    async fn purge_orphans_of(&self, database: &Arc<Database>, limit: i64) -> Result<bool, Error> {
        let heads = database.read(data_set::heads).await?;
        let mut ids: Vec<IntegrationId> = heads.into_iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        for some in ids.chunks(500) {
            let asked = some.to_vec();
            let known: Vec<IntegrationId> = self
                .read(move |conn| {
                    Ok(integration::table
                        .filter(integration::id.eq_any(asked))
                        .select(integration::id)
                        .load(conn)?)
                })
                .await?;
            for id in some.iter().copied().filter(|id| !known.contains(id)) {
                if !database
                    .write(Size::Large, move |conn| purge(conn, id, limit))
                    .await?
                {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// Deletes up to `limit` rows of a data set, and at last its head; true when nothing is left. Commits of a
/// worker that holds it are refused from the first call on.
pub(super) fn purge(conn: &mut Conn, id: IntegrationId, limit: i64) -> Result<bool, Error> {
    diesel::update(
        data_set_table::table
            .find(id)
            .filter(data_set_table::generation.lt(i64::MAX)),
    )
    .set(data_set_table::generation.eq(i64::MAX))
    .execute(conn)?;
    let left = record::purge(conn, id, limit)? + removal_marks::purge(conn, id, limit)?;
    if left + wanted::purge(conn, id, limit)? > 0 {
        return Ok(false);
    }
    diesel::delete(data_read::table.filter(data_read::integration_id.eq(id))).execute(conn)?;
    diesel::delete(data_object::table.filter(data_object::integration_id.eq(id))).execute(conn)?;
    diesel::delete(data_set_table::table.find(id)).execute(conn)?;
    Ok(true)
}
