//! The commit of a sync: everything received between two checkpoints.
//!
//! A sync that was asked to stop stores nothing more. Disabling a connector sets that flag under the locks of
//! its integrations, and a commit holds the same lock: either the commit is complete before the answer, or it
//! sees the flag.

use std::collections::VecDeque;

use diesel::prelude::*;

use super::{
    plan::{self, ObjectRead},
    report::News,
    stored::{self, DataObject, SyncReport},
};
use crate::domain::{FieldType, IntegrationId, Micros, ObjectState, ReadTime, SyncId};
use crate::store::{
    Counters, Error, FieldRef, RecordBatch, Store,
    conn::{Conn, each},
    data_set,
    record::{self, Entries},
    schema::data_object,
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
    /// Objects that were read to their end, as the next sync has to know it.
    pub reads: Vec<ObjectRead>,
    /// No sync of the integration has succeeded yet: company records are found by their company, and related records by their
    /// parent, after the next [`Store::company_fill`], at the latest at the end of the sync.
    pub is_first_load: bool,
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
    /// How much was left for later.
    pub left: Left,
}

/// Whether a first load has left company records and links for later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// No.
    Nothing,
    /// Few.
    Some,
    /// So many that adding them is due, or no more are to be expected soon: this commit had none.
    Chunk,
}

/// The approximate maximum of missing rows that one transaction marks.
const MARKED_AT_ONCE: i64 = 5_000;

/// The part of a commit that is not stored yet.
struct PartOfCommit {
    /// Without its batches.
    commit: SyncCommit,
    batches: VecDeque<record::Listing>,
    /// When its rows of which some fields were read were read last.
    partial: Option<ReadTime>,
    /// The outcome of rows so far.
    counters: Vec<(String, Counters)>,
}

impl PartOfCommit {
    fn new(mut commit: SyncCommit) -> Self {
        let batches = std::mem::take(&mut commit.batches);
        let partial = batches.iter().filter(|batch| batch.partial.is_some());
        Self {
            partial: partial.map(|batch| batch.read).next_back(),
            commit,
            batches: batches.into_iter().map(record::Listing::new).collect(),
            counters: Vec::new(),
        }
    }
}

/// The result of one transaction of a commit.
enum Part {
    More(Box<PartOfCommit>),
    /// A cancel request came first.
    Stopped(Committed),
    /// With what the sync has stored now, and whether the checkpoint moved.
    Last(Committed, Box<SyncReport>, bool),
}

impl Store {
    /// Stores everything received between two checkpoints (rows, marks of missing rows, checkpoint, counters, object states) in
    /// the data set, then reports it to control.
    ///
    /// The data set takes it in one transaction, unless a range lacks very many rows: these are marked in several transactions,
    /// and the last one stores the checkpoint. After a crash in between, the same rows are read and stored again. After a crash
    /// before the report, the next worker reports.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if another worker has the sync, it has ended, or the integration's generation changed.
    pub async fn sync_commit(&self, commit: SyncCommit) -> Result<Committed, Error> {
        let held = (commit.sync_id, commit.fence);
        let news = News::Some {
            missing: commit.missing_fields.clone(),
            field_types: commit.field_types.clone(),
            objects: commit.objects.iter().map(|one| one.object.clone()).collect(),
            got_on: false,
            now_us: commit.now_us,
        };
        let integration_id = commit.integration_id;
        let mut left = PartOfCommit::new(commit);
        loop {
            let part = self
                .data_write_large(integration_id, move |conn| store_commit(conn, left))
                .await?;
            let (mut done, stored, got_on) = match part {
                Part::More(more) => {
                    left = *more;
                    continue;
                }
                Part::Stopped(done) => return Ok(done),
                Part::Last(done, stored, got_on) => (done, *stored, got_on),
            };
            let news = news.with(done.counters.iter().map(|(object, _)| object.as_str()), got_on);
            let sync = self.sync_report(held, stored, news).await?;
            done.cancel_requested = sync.cancel_requested;
            return Ok(done);
        }
    }

    /// News of objects without rows. Counters stay.
    pub async fn sync_object_upsert(
        &self,
        id: SyncId,
        fence: i64,
        objects: Vec<ObjectProgress>,
    ) -> Result<(), Error> {
        let of = self.sync_get(id).await?;
        let held = (id, fence, of.generation);
        let stored = self
            .data_write(of.integration_id, move |conn| {
                let set = data_set::lock_held(conn, of.integration_id, held)?;
                for progress in &objects {
                    object_upsert(conn, set.integration_id, progress)?;
                }
                SyncReport::of(conn, &set)
            })
            .await?;
        self.sync_report((id, fence), stored, News::All).await?;
        Ok(())
    }
}

fn count(counters: &mut Vec<(String, Counters)>, object: &str, done: &Counters) {
    match counters.iter_mut().find(|(known, _)| known == object) {
        Some((_, sum)) => sum.add(done),
        None => counters.push((object.to_owned(), *done)),
    }
}

fn store_commit(conn: &mut Conn, mut part: PartOfCommit) -> Result<Part, Error> {
    let commit = &part.commit;
    let held = (commit.sync_id, commit.fence, commit.generation);
    let mut set = data_set::lock_held(conn, commit.integration_id, held)?;
    if set.stop_fence >= commit.fence {
        // Nothing is written after a cancel request, whether by a caller or because the connector was disabled.
        return Ok(Part::Stopped(Committed {
            change_no: set.change_no,
            checkpoint_seq: set.checkpoint_seq,
            counters: part.counters,
            cancel_requested: true,
            left: Left::Nothing,
        }));
    }

    if record::leaves_children(conn, &set) && record::remove_any(conn, set.integration_id, &mut part.batches)?
    {
        // The children of what is gone are looked for.
        set = record::fill_children(conn, set)?;
    }
    let (before, mut change_no) = (set.clone(), set.change_no);
    let mut counters: Vec<(String, Counters)> = Vec::new();
    let mut budget = MARKED_AT_ONCE;
    let whose = record::Writer {
        integration_id: set.integration_id,
        sync_id: commit.sync_id,
        generation: commit.generation,
        entries: match commit.is_first_load {
            true => Entries::Later,
            false => Entries::Now,
        },
    };
    let mut left_entries = false;
    while let Some(batch) = part.batches.front_mut() {
        left_entries |= commit.is_first_load && batch.has_entries(conn);
        let Some(done) = batch.step(conn, &whose, &mut change_no, &mut budget, commit.now_us)? else {
            break;
        };
        count(&mut counters, batch.object(), &done);
        part.batches.pop_front();
    }
    let last = part.batches.is_empty();
    if last {
        for progress in &commit.objects {
            object_upsert(conn, set.integration_id, progress)?;
        }
    }
    for (object, done) in &counters {
        object_count(conn, set.integration_id, object, done)?;
        count(&mut part.counters, object, done);
    }
    set.advance(change_no, left_entries);
    if !last {
        data_set::store_numbers(conn, &before, &set)?;
        return Ok(Part::More(Box::new(part)));
    }

    // An unchanged checkpoint is not progress.
    let got_on = commit.checkpoint.is_some() && commit.checkpoint != set.checkpoint;
    set.checkpoint_seq += i64::from(commit.checkpoint.is_some());
    if commit.checkpoint.is_some() {
        set.checkpoint.clone_from(&commit.checkpoint);
    }
    if let Some(read) = part.partial {
        set.set_partial(read);
    }
    set.bytes += commit.bytes;
    set.api_calls += commit.api_calls;
    plan::set_reads(conn, set.integration_id, &commit.reads)?;
    stored::add_missing(&mut set, &commit.missing_fields)?;
    stored::add_field_types(&mut set, &commit.field_types)?;
    data_set::store(conn, &set)?;
    let done = Committed {
        change_no,
        checkpoint_seq: set.checkpoint_seq,
        counters: part.counters,
        cancel_requested: false,
        left: match set.has_all_entries() {
            true => Left::Nothing,
            false if !left_entries || record::is_chunk(conn, &set) => Left::Chunk,
            false => Left::Some,
        },
    };
    let stored = SyncReport::of(conn, &set)?;
    Ok(Part::Last(done, Box::new(stored), got_on))
}

fn object_upsert(
    conn: &mut Conn,
    integration_id: IntegrationId,
    progress: &ObjectProgress,
) -> Result<(), Error> {
    let (reason, message) = progress.error.clone().unwrap_or_default();
    let changed = diesel::update(data_object::table.find((integration_id, &progress.object)))
        .set((
            data_object::position.eq(progress.position),
            progress.state.map(|s| data_object::state.eq(s)),
            progress.expected.map(|e| data_object::expected.eq(e)),
            progress.tries.map(|tries| data_object::tries.eq(tries)),
            progress
                .error
                .as_ref()
                .map(|e| data_object::error_reason.eq(&e.0)),
            progress
                .error
                .as_ref()
                .map(|e| data_object::error_message.eq(&e.1)),
        ))
        .execute(conn)?;
    if changed == 0 {
        let row = DataObject {
            integration_id,
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
        diesel::insert_into(data_object::table)
            .values(&row)
            .execute(conn)?;
    }
    Ok(())
}

pub(in crate::store) fn object_count(
    conn: &mut Conn,
    integration_id: IntegrationId,
    object: &str,
    done: &Counters,
) -> Result<(), Error> {
    let row = DataObject {
        integration_id,
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
    each!(conn, c => diesel::insert_into(data_object::table)
        .values(&row)
        .on_conflict((data_object::integration_id, data_object::object))
        .do_update()
        .set((
            data_object::read.eq(data_object::read + done.read),
            data_object::written.eq(data_object::written + done.written),
            data_object::unchanged.eq(data_object::unchanged + done.unchanged),
            data_object::removed.eq(data_object::removed + done.removed),
            data_object::added.eq(data_object::added + done.added),
        ))
        .execute(c))?;
    Ok(())
}
