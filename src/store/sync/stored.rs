//! What a sync has stored, as its data set has it: progress by object, fields that are gone, types of fields. The commit
//! writes it, the report copies it to control.

use diesel::prelude::*;

use super::row::SyncObject;
use crate::domain::{FieldType, IntegrationId, ObjectState, SyncMode};
use crate::store::{Error, FieldRef, conn::Conn, data_set::DataSet, schema::data_object};

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
pub(in crate::store) struct SyncReport {
    pub(super) change_no: i64,
    pub(super) checkpoint: Option<Vec<u8>>,
    pub(super) checkpoint_seq: i64,
    pub(super) bytes: i64,
    pub(super) api_calls: i64,
    pub(super) missing: Vec<FieldRef>,
    pub(super) field_types: Vec<(FieldRef, FieldType)>,
    pub(super) objects: Vec<SyncObject>,
    /// AUTO until it is decided.
    pub(super) mode: SyncMode,
}

impl SyncReport {
    /// What the sync that claimed a data set has stored in it.
    pub(in crate::store) fn of(conn: &mut Conn, set: &DataSet) -> Result<Self, Error> {
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
        Ok(Self {
            change_no: set.change_no,
            checkpoint: set.checkpoint.clone(),
            checkpoint_seq: set.checkpoint_seq,
            bytes: set.bytes,
            api_calls: set.api_calls,
            missing: missing(set)?,
            field_types: field_types(set)?,
            objects: objects.into_iter().filter_map(of).collect(),
            mode: set.mode,
        })
    }
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
