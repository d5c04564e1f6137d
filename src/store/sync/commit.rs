//! The commit of a sync: everything received between two checkpoints.
//!
//! A sync that was asked to stop stores nothing more. Disabling a connector sets that flag under the locks of
//! its integrations, and a commit holds the same lock: either the commit is complete before the answer, or it
//! sees the flag.

use std::collections::VecDeque;

use diesel::prelude::*;

use super::row::{Sync, SyncObject, get, held, held_by, locked, lost};
use crate::domain::{FieldType, IntegrationId, Micros, ObjectState, SyncId, SyncState};
use crate::store::{
    Counters, Error, FieldRef, Lost, RecordBatch, Store,
    conn::{Conn, each, first_locked},
    event::NewEvents,
    field, record,
    schema::{sync, sync_object},
};

/// News of one object. Counters are kept by the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectProgress {
    /// The object's key.
    pub object: String,
    /// Its place.
    pub position: i64,
    /// Where it stands now; `None` as before (PENDING at first).
    pub state: Option<ObjectState>,
    /// How many rows to expect; `None` as before.
    pub expected: Option<i64>,
    /// Why it is not read: (word, sentence).
    pub error: Option<(String, String)>,
    /// How often its reading broke off; `None` as before.
    pub tries: Option<i64>,
}

/// Everything received between two checkpoints, to be stored together.
#[derive(Debug, Clone, PartialEq)]
pub struct SyncCommit {
    /// Which sync.
    pub sync_id: SyncId,
    /// The fence it was taken with.
    pub fence: i64,
    /// Of which integration.
    pub integration_id: IntegrationId,
    /// The generation it was taken with.
    pub generation: i64,
    /// Rows, in the order they came.
    pub batches: Vec<RecordBatch>,
    /// Where to go on from; `None` stores the rest without a new checkpoint.
    pub checkpoint: Option<Vec<u8>>,
    /// News of objects.
    pub objects: Vec<ObjectProgress>,
    /// Bytes received since the last commit.
    pub bytes: i64,
    /// API calls made since the last commit.
    pub api_calls: i64,
    /// Fields that are gone.
    pub missing_fields: Vec<FieldRef>,
    /// Fields that have another type from here on.
    pub field_types: Vec<(FieldRef, FieldType)>,
    /// When the lease now ends.
    pub lease_until_us: Micros,
    /// Now.
    pub now_us: Micros,
}

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The integration's change number after it.
    pub change_no: i64,
    /// How many checkpoints the sync has stored.
    pub checkpoint_seq: i64,
    /// What happened to the rows, by object, in the order of their first batch.
    pub counters: Vec<(String, Counters)>,
    /// Someone asked it to stop.
    pub cancel_requested: bool,
}

/// The approximate maximum of missing rows that one transaction marks.
const MARKED_AT_ONCE: i64 = 5_000;

/// The part of a commit that is not stored yet.
struct PartOfCommit {
    /// Without its batches.
    commit: SyncCommit,
    batches: VecDeque<record::Listing>,
    /// The outcome of rows so far.
    counters: Vec<(String, Counters)>,
}

impl PartOfCommit {
    fn new(mut commit: SyncCommit) -> Self {
        let batches = std::mem::take(&mut commit.batches);
        Self {
            commit,
            batches: batches.into_iter().map(record::Listing::new).collect(),
            counters: Vec::new(),
        }
    }
}

/// The result of one transaction of a commit.
enum Part {
    More(Box<PartOfCommit>),
    Last(Committed),
}

impl Store {
    /// Stores everything received between two checkpoints: rows, marks of missing rows, checkpoint, counters, object states.
    ///
    /// One transaction, unless a range lacks very many rows: these are marked in several transactions, and the last one stores
    /// the checkpoint. After a crash in between, the same rows are read and stored again.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if another worker has the sync, it has ended, or the integration's generation changed.
    pub async fn sync_commit(&self, commit: SyncCommit) -> Result<Committed, Error> {
        let mut left = PartOfCommit::new(commit);
        loop {
            let part = self.write_with_events(move |conn, events| store_commit(conn, events, left));
            match part.await? {
                Part::Last(done) => return Ok(done),
                Part::More(more) => left = *more,
            }
        }
    }

    /// News of objects without rows. Counters stay.
    pub async fn sync_object_upsert(
        &self,
        id: SyncId,
        fence: i64,
        objects: Vec<ObjectProgress>,
    ) -> Result<(), Error> {
        self.write(move |conn| {
            locked(conn, id)?;
            // Lock the sync's row, too: leasing or ending a sync locks only that row.
            let row: Sync = first_locked!(conn, sync::table.find(id).select(Sync::as_select()))?;
            if row.fence != fence || row.state != SyncState::Running {
                return Err(lost(&row, fence));
            }
            for progress in &objects {
                object_upsert(conn, id, progress)?;
            }
            Ok(())
        })
        .await
    }
}

fn count(counters: &mut Vec<(String, Counters)>, object: &str, done: &Counters) {
    match counters.iter_mut().find(|(known, _)| known == object) {
        Some((_, sum)) => sum.add(done),
        None => counters.push((object.to_owned(), *done)),
    }
}

fn store_commit(conn: &mut Conn, events: &mut NewEvents, mut part: PartOfCommit) -> Result<Part, Error> {
    let commit = &part.commit;
    let (of, before) = held_by(conn, commit.sync_id, commit.fence)?;
    if before.integration_id != commit.integration_id || before.generation != commit.generation {
        let why = Lost::Generation;
        return Err(Error::LeaseLost { sync: before.id, why });
    }
    if before.cancel_requested {
        // Nothing is written after a cancel request, whether by a caller or because the connector was disabled.
        return Ok(Part::Last(Committed {
            change_no: of.change_no,
            checkpoint_seq: before.checkpoint_seq,
            counters: part.counters,
            cancel_requested: true,
        }));
    }

    let mut change_no = of.change_no;
    let mut counters: Vec<(String, Counters)> = Vec::new();
    let mut budget = MARKED_AT_ONCE;
    let whose = (of.id, before.id, before.generation);
    while let Some(batch) = part.batches.front_mut() {
        let Some(done) = batch.step(conn, whose, &mut change_no, &mut budget, commit.now_us)? else {
            break;
        };
        count(&mut counters, batch.object(), &done);
        part.batches.pop_front();
    }
    record::set_change_no(conn, &of, change_no)?;
    let last = part.batches.is_empty();
    if last {
        for progress in &commit.objects {
            object_upsert(conn, before.id, progress)?;
        }
        for (field, field_type) in &commit.field_types {
            field::set_type(conn, of.id, field, *field_type)?;
        }
        field::mark_missing(conn, events, &of, &commit.missing_fields, commit.now_us)?;
    }
    for (object, done) in &counters {
        object_count(conn, before.id, object, done)?;
        count(&mut part.counters, object, done);
    }

    // Last, so that heartbeats of the same worker do not wait for the rows; the fence in its condition is what counts.
    let mine = held(commit.sync_id, commit.fence);
    let stored = if last {
        let checkpoint_seq = before.checkpoint_seq + i64::from(commit.checkpoint.is_some());
        // An unchanged checkpoint is not progress.
        let got_on = commit.checkpoint.is_some() && commit.checkpoint != before.checkpoint;
        let missing = with_missing(&before, &commit.missing_fields)?;
        let update = diesel::update(mine).set((
            commit.checkpoint.as_ref().map(|c| sync::checkpoint.eq(c)),
            sync::checkpoint_seq.eq(checkpoint_seq),
            sync::bytes.eq(sync::bytes + commit.bytes),
            sync::api_calls.eq(sync::api_calls + commit.api_calls),
            got_on.then_some((
                sync::tries.eq(0),
                sync::error_reason.eq(""),
                sync::error_message.eq(""),
            )),
            missing.map(|missing| sync::missing.eq(missing)),
            sync::change_no.eq(change_no),
            sync::due_us.eq(commit.lease_until_us),
        ));
        update.execute(conn)?
    } else {
        diesel::update(mine)
            .set(sync::change_no.eq(change_no))
            .execute(conn)?
    };
    if stored == 0 {
        return Err(Error::LeaseLost {
            sync: before.id,
            why: Lost::Fence,
        });
    }
    if !last {
        return Ok(Part::More(Box::new(part)));
    }
    let now = get(conn, before.id)?;
    Ok(Part::Last(Committed {
        change_no,
        checkpoint_seq: now.checkpoint_seq,
        counters: part.counters,
        cancel_requested: now.cancel_requested,
    }))
}

/// The sync's missing fields with these among them; `None` if there is nothing new.
fn with_missing(of: &Sync, fields: &[FieldRef]) -> Result<Option<String>, Error> {
    if fields.is_empty() {
        return Ok(None);
    }
    let mut missing = of.missing_fields();
    missing.extend(
        fields
            .iter()
            .map(|field| format!("{}.{}", field.object, field.key)),
    );
    missing.sort_unstable();
    missing.dedup();
    let missing = serde_json::to_string(&missing).map_err(|e| Error::Corrupt(e.to_string()))?;
    Ok(Some(missing).filter(|missing| *missing != of.missing))
}

fn object_upsert(conn: &mut Conn, sync_id: SyncId, progress: &ObjectProgress) -> Result<(), Error> {
    let (reason, message) = progress.error.clone().unwrap_or_default();
    let changed = diesel::update(sync_object::table.find((sync_id, &progress.object)))
        .set((
            sync_object::position.eq(progress.position),
            progress.state.map(|s| sync_object::state.eq(s)),
            progress.expected.map(|e| sync_object::expected.eq(e)),
            progress.tries.map(|tries| sync_object::tries.eq(tries)),
            progress
                .error
                .as_ref()
                .map(|e| sync_object::error_reason.eq(&e.0)),
            progress
                .error
                .as_ref()
                .map(|e| sync_object::error_message.eq(&e.1)),
        ))
        .execute(conn)?;
    if changed == 0 {
        let row = SyncObject {
            sync_id,
            object: progress.object.clone(),
            position: progress.position,
            state: progress.state.unwrap_or(ObjectState::Pending),
            expected: progress.expected,
            read: 0,
            written: 0,
            unchanged: 0,
            removed: 0,
            error_reason: reason,
            error_message: message,
            tries: progress.tries.unwrap_or(0),
            added: 0,
            held: 0,
        };
        diesel::insert_into(sync_object::table)
            .values(&row)
            .execute(conn)?;
    }
    Ok(())
}

pub(in crate::store) fn object_count(
    conn: &mut Conn,
    sync_id: SyncId,
    object: &str,
    done: &Counters,
) -> Result<(), Error> {
    let row = SyncObject {
        sync_id,
        object: object.to_owned(),
        position: 0,
        state: ObjectState::Reading,
        expected: None,
        read: done.read,
        written: done.written,
        unchanged: done.unchanged,
        removed: done.removed,
        error_reason: String::new(),
        error_message: String::new(),
        tries: 0,
        added: done.added,
        held: 0,
    };
    each!(conn, c => diesel::insert_into(sync_object::table)
        .values(&row)
        .on_conflict((sync_object::sync_id, sync_object::object))
        .do_update()
        .set((
            sync_object::read.eq(sync_object::read + done.read),
            sync_object::written.eq(sync_object::written + done.written),
            sync_object::unchanged.eq(sync_object::unchanged + done.unchanged),
            sync_object::removed.eq(sync_object::removed + done.removed),
            sync_object::added.eq(sync_object::added + done.added),
        ))
        .execute(c))?;
    Ok(())
}
