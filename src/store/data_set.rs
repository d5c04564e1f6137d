//! The head of a data set: its generation, the sync that claimed it, what that sync has stored, and the change numbers.
//!
//! All writes of a data set lock its head first.

use diesel::prelude::*;

use super::{
    Error, FieldRef, Lost, Noun, Sync, SyncObject,
    conn::{Conn, each, first_locked},
    record, removal,
    schema::{data_object, data_set},
};
use crate::domain::{FieldType, IntegrationId, ObjectState, SyncId};

/// A row of `data_set`.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = data_set, treat_none_as_default_value = false)]
pub(super) struct DataSet {
    pub(super) integration_id: IntegrationId,
    pub(super) generation: i64,
    pub(super) change_no: i64,
    pub(super) forgotten_no: i64,
    pub(super) sync_id: Option<SyncId>,
    pub(super) fence: i64,
    pub(super) stop_fence: i64,
    pub(super) checkpoint: Option<Vec<u8>>,
    pub(super) checkpoint_seq: i64,
    pub(super) bytes: i64,
    pub(super) api_calls: i64,
    pub(super) missing: String,
    pub(super) field_types: String,
}

impl DataSet {
    fn new(integration_id: IntegrationId, generation: i64) -> Self {
        Self {
            integration_id,
            generation,
            change_no: 0,
            forgotten_no: 0,
            sync_id: None,
            fence: 0,
            stop_fence: 0,
            checkpoint: None,
            checkpoint_seq: 0,
            bytes: 0,
            api_calls: 0,
            missing: "[]".to_owned(),
            field_types: "[]".to_owned(),
        }
    }
}

/// A row of `data_object`.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = data_object, treat_none_as_default_value = false)]
pub(super) struct DataObject {
    pub(super) integration_id: IntegrationId,
    pub(super) object: String,
    pub(super) position: i64,
    pub(super) state: ObjectState,
    pub(super) expected: Option<i64>,
    pub(super) read: i64,
    pub(super) written: i64,
    pub(super) unchanged: i64,
    pub(super) removed: i64,
    pub(super) error_reason: String,
    pub(super) error_message: String,
    pub(super) tries: i64,
    pub(super) added: i64,
    pub(super) held: i64,
}

/// What a sync has stored, as its data set has it. It is reported to control after each commit; after a crash the next
/// worker reports it.
#[derive(Debug, Clone)]
pub(super) struct SyncReport {
    pub(super) change_no: i64,
    pub(super) checkpoint: Option<Vec<u8>>,
    pub(super) checkpoint_seq: i64,
    pub(super) bytes: i64,
    pub(super) api_calls: i64,
    pub(super) missing: Vec<FieldRef>,
    pub(super) field_types: Vec<(FieldRef, FieldType)>,
    pub(super) objects: Vec<SyncObject>,
}

/// The head of a data set; `None` if nothing was stored for the integration yet.
pub(super) fn get(conn: &mut Conn, id: IntegrationId) -> Result<Option<DataSet>, Error> {
    let found = data_set::table.find(id).select(DataSet::as_select()).first(conn);
    Ok(found.optional()?)
}

/// Locks the head of a data set until the end of the transaction; `None` if nothing was stored for the integration yet.
pub(super) fn lock(conn: &mut Conn, id: IntegrationId) -> Result<Option<DataSet>, Error> {
    let found = first_locked!(conn, data_set::table.find(id).select(DataSet::as_select()));
    Ok(found.optional()?)
}

/// Locks the head of a data set for a writer of this generation: it is made if there is none, and raised if it is older.
pub(super) fn lock_for(conn: &mut Conn, id: IntegrationId, generation: i64) -> Result<DataSet, Error> {
    let set = match lock(conn, id)? {
        Some(set) => set,
        None => {
            let new = DataSet::new(id, generation);
            each!(conn, c => diesel::insert_into(data_set::table)
                .values(&new)
                .on_conflict_do_nothing()
                .execute(c))?;
            lock(conn, id)?.ok_or_else(|| Error::not_found(Noun::DataSet, id))?
        }
    };
    if set.generation >= generation {
        return Ok(set);
    }
    raise(conn, id, generation)?;
    Ok(lock(conn, id)?.unwrap_or(set))
}

/// Locks the head of a data set for the worker that claimed it for this sync.
pub(super) fn lock_held(
    conn: &mut Conn,
    id: IntegrationId,
    (sync, fence, generation): (SyncId, i64, i64),
) -> Result<DataSet, Error> {
    let lost = |why| Error::LeaseLost { sync, why };
    let set = lock(conn, id)?.ok_or_else(|| lost(Lost::Fence))?;
    if set.generation != generation {
        Err(lost(Lost::Generation))
    } else if set.fence != fence || set.sync_id != Some(sync) {
        Err(lost(Lost::Fence))
    } else {
        Ok(set)
    }
}

/// The result of a claim.
#[derive(Debug)]
pub(super) enum Claimed {
    /// The sync has stored nothing yet.
    New,
    /// What the sync has stored so far.
    Resumed(Box<SyncReport>),
    /// Nothing was claimed: the data set has a greater fencing token or generation.
    Ahead { fence: i64, generation: i64 },
}

/// Claims a data set for the worker that leased a sync: from now on commits of earlier workers are refused.
pub(super) fn claim(conn: &mut Conn, sync: &Sync) -> Result<Claimed, Error> {
    let set = lock_for(conn, sync.integration_id, sync.generation)?;
    if set.generation == i64::MAX {
        // It is being deleted.
        return Err(Error::LeaseLost {
            sync: sync.id,
            why: Lost::State,
        });
    }
    if set.generation > sync.generation || set.fence > sync.fence {
        return Ok(Claimed::Ahead {
            fence: set.fence,
            generation: set.generation,
        });
    }
    let resumed = set.sync_id == Some(sync.id);
    if !resumed {
        begin(conn, set.integration_id, Some(sync.id))?;
    }
    diesel::update(data_set::table.find(set.integration_id))
        .set(data_set::fence.eq(sync.fence))
        .execute(conn)?;
    if !resumed {
        return Ok(Claimed::New);
    }
    let stored = report(conn, &set)?;
    match stored.checkpoint_seq > 0 || !stored.objects.is_empty() {
        true => Ok(Claimed::Resumed(Box::new(stored))),
        false => Ok(Claimed::New),
    }
}

/// Nothing is stored of this sync yet.
fn begin(conn: &mut Conn, id: IntegrationId, sync: Option<SyncId>) -> Result<(), Error> {
    diesel::delete(data_object::table.filter(data_object::integration_id.eq(id))).execute(conn)?;
    diesel::update(data_set::table.find(id))
        .set((
            data_set::sync_id.eq(sync),
            data_set::checkpoint.eq(None::<Vec<u8>>),
            data_set::checkpoint_seq.eq(0),
            data_set::bytes.eq(0),
            data_set::api_calls.eq(0),
            data_set::missing.eq("[]"),
            data_set::field_types.eq("[]"),
        ))
        .execute(conn)?;
    Ok(())
}

/// Refuses commits with a fencing token up to this one.
pub(super) fn stop(conn: &mut Conn, id: IntegrationId, fence: i64) -> Result<(), Error> {
    diesel::update(data_set::table.find(id).filter(data_set::stop_fence.lt(fence)))
        .set(data_set::stop_fence.eq(fence))
        .execute(conn)?;
    Ok(())
}

/// Refuses rows of an older generation than this one. What a sync of an older one has stored is not gone on from.
pub(super) fn raise(conn: &mut Conn, id: IntegrationId, generation: i64) -> Result<(), Error> {
    let older = data_set::table
        .find(id)
        .filter(data_set::generation.lt(generation));
    let raised = diesel::update(older)
        .set(data_set::generation.eq(generation))
        .execute(conn)?;
    match raised {
        0 => Ok(()),
        _ => begin(conn, id, None),
    }
}

/// What a sync has stored.
pub(super) fn report(conn: &mut Conn, set: &DataSet) -> Result<SyncReport, Error> {
    let objects = data_object::table
        .filter(data_object::integration_id.eq(set.integration_id))
        .order((data_object::position, data_object::object))
        .select(DataObject::as_select())
        .load(conn)?;
    let of = |object: DataObject| {
        Some(SyncObject {
            sync_id: set.sync_id?,
            object: object.object,
            position: object.position,
            state: object.state,
            expected: object.expected,
            read: object.read,
            written: object.written,
            unchanged: object.unchanged,
            removed: object.removed,
            error_reason: object.error_reason,
            error_message: object.error_message,
            tries: object.tries,
            added: object.added,
            held: object.held,
        })
    };
    Ok(SyncReport {
        change_no: set.change_no,
        checkpoint: set.checkpoint.clone(),
        checkpoint_seq: set.checkpoint_seq,
        bytes: set.bytes,
        api_calls: set.api_calls,
        missing: missing(set)?,
        field_types: field_types(set)?,
        objects: objects.into_iter().filter_map(of).collect(),
    })
}

fn corrupt(error: impl std::fmt::Display) -> Error {
    Error::Corrupt(error.to_string())
}

fn missing(set: &DataSet) -> Result<Vec<FieldRef>, Error> {
    let pairs: Vec<(String, String)> = serde_json::from_str(&set.missing).map_err(corrupt)?;
    Ok(pairs
        .into_iter()
        .map(|(object, key)| FieldRef { object, key })
        .collect())
}

fn field_types(set: &DataSet) -> Result<Vec<(FieldRef, FieldType)>, Error> {
    let rows: Vec<(String, String, String)> = serde_json::from_str(&set.field_types).map_err(corrupt)?;
    rows.into_iter()
        .map(|(object, key, word)| Ok((FieldRef { object, key }, word.parse().map_err(corrupt)?)))
        .collect()
}

/// Adds fields that are gone; each is in the list once.
pub(super) fn add_missing(set: &mut DataSet, fields: &[FieldRef]) -> Result<(), Error> {
    if fields.is_empty() {
        return Ok(());
    }
    let mut all = missing(set)?;
    all.extend(fields.iter().cloned());
    let mut pairs: Vec<(&str, &str)> = all
        .iter()
        .map(|one| (one.object.as_str(), one.key.as_str()))
        .collect();
    pairs.sort_unstable();
    pairs.dedup();
    set.missing = serde_json::to_string(&pairs).map_err(corrupt)?;
    Ok(())
}

/// Adds types that fields have from here on; of one field the last counts.
pub(super) fn add_field_types(set: &mut DataSet, fields: &[(FieldRef, FieldType)]) -> Result<(), Error> {
    if fields.is_empty() {
        return Ok(());
    }
    let mut all = field_types(set)?;
    all.retain(|(known, _)| fields.iter().all(|(field, _)| field != known));
    all.extend(fields.iter().cloned());
    let rows: Vec<(&str, &str, &str)> = all
        .iter()
        .map(|(field, word)| (field.object.as_str(), field.key.as_str(), word.as_str()))
        .collect();
    set.field_types = serde_json::to_string(&rows).map_err(corrupt)?;
    Ok(())
}

/// Stores what a sync has stored, after a commit.
pub(super) fn store(conn: &mut Conn, set: &DataSet) -> Result<(), Error> {
    diesel::update(data_set::table.find(set.integration_id))
        .set((
            data_set::change_no.eq(set.change_no),
            data_set::checkpoint.eq(&set.checkpoint),
            data_set::checkpoint_seq.eq(set.checkpoint_seq),
            data_set::bytes.eq(set.bytes),
            data_set::api_calls.eq(set.api_calls),
            data_set::missing.eq(&set.missing),
            data_set::field_types.eq(&set.field_types),
        ))
        .execute(conn)?;
    Ok(())
}

/// Stores the change number after a write of the data set, which is locked and was at `of.change_no`.
pub(super) fn set_change_no(conn: &mut Conn, of: &DataSet, change_no: i64) -> Result<(), Error> {
    if change_no != of.change_no {
        diesel::update(data_set::table.find(of.integration_id))
            .set(data_set::change_no.eq(change_no))
            .execute(conn)?;
    }
    Ok(())
}

/// The last change number of each data set. There is one row an integration.
pub(super) fn heads(conn: &mut Conn) -> Result<Vec<(IntegrationId, i64)>, Error> {
    Ok(data_set::table
        .select((data_set::integration_id, data_set::change_no))
        .load(conn)?)
}

/// Deletes up to `limit` rows of a data set, and at last its head; true when nothing is left. Commits of a
/// worker that holds it are refused from the first call on.
pub(super) fn purge(conn: &mut Conn, id: IntegrationId, limit: i64) -> Result<bool, Error> {
    diesel::update(data_set::table.find(id).filter(data_set::generation.lt(i64::MAX)))
        .set(data_set::generation.eq(i64::MAX))
        .execute(conn)?;
    if record::purge(conn, id, limit)? + removal::purge(conn, id, limit)? > 0 {
        return Ok(false);
    }
    diesel::delete(data_object::table.filter(data_object::integration_id.eq(id))).execute(conn)?;
    diesel::delete(data_set::table.find(id)).execute(conn)?;
    Ok(true)
}
