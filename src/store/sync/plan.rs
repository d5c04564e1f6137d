//! What a sync reads: the plan that all its attempts follow, and what earlier syncs have read, from which it is made.

use diesel::prelude::*;

use super::row::Sync;
use crate::domain::{IntegrationId, Micros, SyncMode};
use crate::store::{
    Error, Store,
    conn::{Conn, each},
    data_set, record, removal_marks,
    schema::{data_read, data_set as data_set_table},
    wanted,
};

/// What was read of an object, up to its end, for all of its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRead {
    /// The object's key.
    pub object: String,
    /// The selected fields, with a digest of how each was selected: a JSON object.
    pub fields: String,
    /// When calculated fields were last read.
    pub calculated_us: Micros,
    /// When all ids were last listed.
    pub sweep_us: Micros,
}

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = data_read, primary_key(integration_id, object))]
struct ReadRow {
    integration_id: IntegrationId,
    object: String,
    fields: String,
    calculated_us: Micros,
    sweep_us: Micros,
}

/// What earlier syncs, and earlier attempts of this one, have read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadBefore {
    /// The plan of this sync, if it has one already.
    pub plan: Option<Vec<u8>>,
    /// The last checkpoint of earlier syncs.
    pub state: Option<Vec<u8>>,
    /// The account of which the state is.
    pub account: String,
    /// By object.
    pub objects: Vec<ObjectRead>,
    /// Objects of which removals are held back until another listing.
    pub held_back: Vec<String>,
}

/// The plan of a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPlan {
    /// The same for all attempts of the sync; opaque.
    pub plan: Vec<u8>,
    /// How much is read.
    pub mode: SyncMode,
    /// The account that is read.
    pub account: String,
    /// What earlier syncs have read does not count: the state is of another account, or everything is read again.
    pub afresh: bool,
}

impl Store {
    /// What was read before of the integration of a sync.
    pub async fn sync_read_before(&self, of: &Sync) -> Result<ReadBefore, Error> {
        let id = of.integration_id;
        self.data_snapshot(id, move |conn| {
            let set = data_set::get(conn, id)?;
            let rows: Vec<ReadRow> = data_read::table
                .filter(data_read::integration_id.eq(id))
                .order(data_read::object)
                .select(ReadRow::as_select())
                .load(conn)?;
            let mut held_back = Vec::new();
            for row in &rows {
                if !removal_marks::marks_after(conn, id, &row.object, "", 1)?.is_empty() {
                    held_back.push(row.object.clone());
                }
            }
            let objects = rows.into_iter().map(|row| ObjectRead {
                object: row.object,
                fields: row.fields,
                calculated_us: row.calculated_us,
                sweep_us: row.sweep_us,
            });
            let (plan, state, account) = set
                .map(|set| (set.plan, set.state, set.account))
                .unwrap_or_default();
            Ok(ReadBefore {
                plan,
                state,
                account,
                objects: objects.collect(),
                held_back,
            })
        })
        .await
    }

    /// Stores the plan of a sync, before it reads anything.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if another worker has the sync.
    pub async fn sync_plan(&self, of: &Sync, new: NewPlan) -> Result<(), Error> {
        let held = (of.id, of.fence, of.generation);
        let id = of.integration_id;
        self.data_write(id, move |conn| {
            data_set::lock_held(conn, id, held)?;
            diesel::update(data_set_table::table.find(id))
                .set((
                    data_set_table::plan.eq(Some(&new.plan)),
                    data_set_table::mode.eq(new.mode),
                    data_set_table::account.eq(&new.account),
                ))
                .execute(conn)?;
            if new.afresh {
                diesel::update(data_set_table::table.find(id))
                    .set(data_set_table::state.eq(None::<Vec<u8>>))
                    .execute(conn)?;
                diesel::delete(data_read::table.filter(data_read::integration_id.eq(id))).execute(conn)?;
                wanted::forget(conn, id)?;
            }
            Ok(())
        })
        .await
    }

    /// Drops fields from the stored records of an object, some hundred at a time; then stores that its other fields are those of
    /// `left`. Does nothing after a cancel request.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if another worker has the sync.
    pub async fn sync_drop_fields(
        &self,
        of: &Sync,
        left: ObjectRead,
        fields: Vec<String>,
        now_us: Micros,
    ) -> Result<(), Error> {
        let held = (of.id, of.fence, of.generation);
        let id = of.integration_id;
        let mut after = String::new();
        loop {
            let (left, fields, from) = (left.clone(), fields.clone(), after);
            let dropped = self.data_write(id, move |conn| {
                let set = data_set::lock_held(conn, id, held)?;
                if set.stop_fence >= set.fence {
                    return Ok(None);
                }
                let mut change_no = set.change_no;
                let of_object = (left.object.as_str(), fields.as_slice());
                let last = record::drop_fields(conn, id, &mut change_no, of_object, &from, now_us)?;
                data_set::set_change_no(conn, &set, change_no)?;
                if last.is_none() {
                    set_reads(conn, id, &[left])?;
                }
                Ok(last)
            });
            match dropped.await? {
                Some(last) => after = last,
                None => return Ok(()),
            }
        }
    }

    /// Records that have to be read by id, at most `limit`: (object, id), by object.
    pub async fn sync_wanted(&self, of: &Sync, limit: i64) -> Result<Vec<(String, String)>, Error> {
        let id = of.integration_id;
        self.data_read(id, move |conn| wanted::list(conn, id, limit))
            .await
    }

    /// Records that were read by id.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if another worker has the sync.
    pub async fn sync_wanted_done(&self, of: &Sync, done: Vec<(String, String)>) -> Result<(), Error> {
        let held = (of.id, of.fence, of.generation);
        let id = of.integration_id;
        self.data_write(id, move |conn| {
            let set = data_set::lock_held(conn, id, held)?;
            match set.stop_fence >= set.fence {
                true => Ok(()),
                false => wanted::remove(conn, id, &done),
            }
        })
        .await
    }
}

/// Stores what was read of objects, within a commit.
pub(super) fn set_reads(conn: &mut Conn, id: IntegrationId, reads: &[ObjectRead]) -> Result<(), Error> {
    for read in reads {
        let row = ReadRow {
            integration_id: id,
            object: read.object.clone(),
            fields: read.fields.clone(),
            calculated_us: read.calculated_us,
            sweep_us: read.sweep_us,
        };
        each!(conn, c => diesel::insert_into(data_read::table)
            .values(&row)
            .on_conflict((data_read::integration_id, data_read::object))
            .do_update()
            .set(&row)
            .execute(c))?;
    }
    Ok(())
}
