//! Writes live reads and the batches of syncs. `apply` computes the changes of a batch, without SQL.
//!
//! Existing hashes are read first, and only changed rows are written, each with its own change number: the
//! same on both databases, with exact counters and a change feed without gaps. Payloads are text in canonical
//! form, and the hash covers everything but times: unchanged rows cost no write, and equal data has equal
//! bytes whichever API it was read from.

use std::collections::{HashSet, VecDeque};

use diesel::{prelude::*, sql_types};

use super::{
    Counters, RecordBatch, RecordRow,
    apply::{self, Changes, Existing, Gone, Touch},
    partial, postgres,
    read::{children, existing_ids, existing_range},
    sqlite,
};
use crate::domain::{IntegrationId, IntegrationState, Micros, ReadClock, ReadTime, SyncId};
use crate::store::{
    Conflict, Error, Noun, Store,
    complete_range::{CompleteRange, Piece},
    conn::Conn,
    data_set,
    removal_marks::{self, Marks},
    wanted,
};

/// What a live read brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresh {
    /// Of which integration.
    pub integration_id: IntegrationId,
    /// The generation it was read for.
    pub generation: i64,
    /// The rows.
    pub batches: Vec<RecordBatch>,
    /// Children listed completely: stored ones that are not in the batches no longer hang under that parent.
    pub complete: Vec<ChildSet>,
    /// When it was read.
    pub read: ReadTime,
    /// Now.
    pub now_us: Micros,
}

/// What a live read changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refreshed {
    /// The integration's change number after it.
    pub change_no: i64,
    /// What happened to the rows.
    pub counters: Counters,
    /// How many children were taken from under a parent.
    pub unlinked: i64,
}

/// Children of one parent that were listed completely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildSet {
    /// The parent's object.
    pub parent_object: String,
    /// The parent's id in the CRM.
    pub parent_id: String,
    /// The children's object.
    pub child_object: String,
}

/// The sync that writes to a data set.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Writer {
    pub(in crate::store) integration_id: IntegrationId,
    pub(in crate::store) sync_id: SyncId,
    pub(in crate::store) generation: i64,
    /// It reads only what changed.
    pub(in crate::store) reads_changes: bool,
}

/// A batch of a sync, on its way into the store. What its range lacks is marked, not removed.
pub(in crate::store) struct Listing {
    batch: RecordBatch,
    /// Set by the first step, which runs on a blocking thread.
    is_prepared: bool,
    /// The part of its range that was not processed yet; `None` before the first step.
    left: Option<VecDeque<Piece>>,
}

impl Listing {
    pub(in crate::store) fn new(batch: RecordBatch) -> Self {
        Self {
            batch,
            is_prepared: false,
            left: None,
        }
    }

    pub(in crate::store) fn object(&self) -> &str {
        &self.batch.object
    }

    /// Applies the batch; every changed row gets the next change number. `budget` limits the missing rows that this transaction
    /// processes, because their number has no bound. If it is used up before the end of the range, only marks have been written,
    /// the result is `None`, and another transaction continues. The integration is locked.
    pub(in crate::store) fn step(
        &mut self,
        conn: &mut Conn,
        of: &Writer,
        change_no: &mut i64,
        budget: &mut i64,
        now_us: Micros,
    ) -> Result<Option<Counters>, Error> {
        let Writer {
            integration_id,
            sync_id,
            generation,
            reads_changes,
        } = *of;
        if !std::mem::replace(&mut self.is_prepared, true) {
            apply::prepare(&mut self.batch);
        }
        let (batch, object) = (&self.batch, self.batch.object.as_str());
        let rows = apply::newest(&batch.rows);
        let ids: Vec<&str> = rows.iter().map(|row| row.external_id.as_str()).collect();
        let existing = match &batch.complete_range {
            None => existing_ids(conn, integration_id, object, &ids)?,
            Some(covers) => {
                let marks = Marks {
                    integration_id,
                    object,
                    sync_id,
                    generation,
                };
                let begun = self.left.is_some();
                let left = self.left.get_or_insert_with(|| covers.pieces().into());
                let mut found = Vec::new();
                if !walk(conn, &marks, &ids, covers, batch.read, left, budget, &mut found)? {
                    return Ok(None);
                }
                match begun {
                    // An earlier transaction processed a part of it.
                    true => existing_ids(conn, integration_id, object, &ids)?,
                    false => {
                        let outside: Vec<&str> =
                            ids.iter().copied().filter(|id| !covers.contains(id)).collect();
                        found.extend(existing_ids(conn, integration_id, object, &outside)?);
                        found.sort_unstable_by(|a, b| a.external_id.cmp(&b.external_id));
                        found
                    }
                }
            }
        };
        removal_marks::unmark(conn, integration_id, object, &ids)?;
        let seen = (existing.as_slice(), rows.as_slice());
        if let Some(fields) = &batch.partial {
            return partial::store(conn, integration_id, change_no, batch, fields, seen, now_us).map(Some);
        }
        if reads_changes {
            let merged = rows.iter().filter(|row| row.deleted && row.merged_into.is_some());
            let merged: Vec<&str> = merged.map(|row| row.external_id.as_str()).collect();
            wanted::add_children(conn, integration_id, object, &merged)?;
        }
        store(conn, integration_id, change_no, batch, seen, Touch::Moved, now_us).map(Some)
    }
}

/// Rows of a range that are read at once.
const RANGE_ROWS: i64 = 5_000;

impl Store {
    /// Stores what a live read brought. [`Conflict::Generation`] if the account or the selection changed since.
    pub async fn record_refresh(&self, refresh: Refresh) -> Result<Refreshed, Error> {
        let id = refresh.integration_id;
        if self.integration_get(id).await?.state == IntegrationState::Deleting {
            return Err(Error::not_found(Noun::Integration, id));
        }
        self.data_write(id, move |conn| store_refresh(conn, refresh))
            .await
    }
}

fn store_refresh(conn: &mut Conn, refresh: Refresh) -> Result<Refreshed, Error> {
    let id = refresh.integration_id;
    let of = data_set::lock_for(conn, id, refresh.generation)?;
    if of.generation != refresh.generation {
        return Err(Error::conflict(
            Conflict::Generation,
            format!(
                "integration \"{id}\" is at generation {}, not {}",
                of.generation, refresh.generation
            ),
        ));
    }
    let mut change_no = of.change_no;
    let mut counters = Counters::default();
    let listed: HashSet<(String, String)> = refresh
        .batches
        .iter()
        .flat_map(|b| b.rows.iter().map(|r| (b.object.clone(), r.external_id.clone())))
        .collect();
    for mut batch in refresh.batches {
        apply::prepare(&mut batch);
        let rows = apply::newest(&batch.rows);
        let ids: Vec<&str> = rows.iter().map(|row| row.external_id.as_str()).collect();
        removal_marks::unmark(conn, id, &batch.object, &ids)?;
        let existing = existing_ids(conn, id, &batch.object, &ids)?;
        counters.add(&store(
            conn,
            id,
            &mut change_no,
            &batch,
            (&existing, &rows),
            Touch::All,
            refresh.now_us,
        )?);
    }
    let mut unlinked = 0;
    for set in &refresh.complete {
        unlinked += unlink(conn, id, &mut change_no, set, &listed, refresh.read)?;
    }
    data_set::set_change_no(conn, &of, change_no)?;
    Ok(Refreshed {
        change_no,
        counters,
        unlinked,
    })
}

/// Deletes the links of children that a complete listing of a parent lacks. The children may have another parent now: the next
/// sync writes them again, even if their hash is unchanged.
fn unlink(
    conn: &mut Conn,
    integration_id: IntegrationId,
    change_no: &mut i64,
    set: &ChildSet,
    listed: &HashSet<(String, String)>,
    read: ReadTime,
) -> Result<i64, Error> {
    let parent = [set.parent_id.as_str()];
    let children = children(
        conn,
        integration_id,
        &set.parent_object,
        &parent,
        &set.child_object,
    )?;
    let children: Vec<&str> = children.iter().map(|(_, child)| child.as_str()).collect();
    let stored = existing_ids(conn, integration_id, &set.child_object, &children)?;
    let mut unlinked = 0;
    for child in stored {
        let key = (set.child_object.clone(), child.external_id);
        if child.deleted || read.is_before(child.read) || listed.contains(&key) {
            continue;
        }
        *change_no += 1;
        unlinked += 1;
        diesel::sql_query(
            "DELETE FROM record_link WHERE integration_id = (SELECT $1) AND child_object = (SELECT $2) AND child_id = $3 \
             AND parent_object = $4 AND parent_id = $5",
        )
        .bind::<sql_types::Text, _>(integration_id)
        .bind::<sql_types::Text, _>(&set.child_object)
        .bind::<sql_types::Text, _>(&key.1)
        .bind::<sql_types::Text, _>(&set.parent_object)
        .bind::<sql_types::Text, _>(&set.parent_id)
        .execute(conn)?;
        diesel::sql_query(
            "UPDATE record SET hash = $1, change_no = $2 WHERE integration_id = (SELECT $3) AND object = (SELECT $4) \
             AND external_id = $5",
        )
        .bind::<sql_types::BigInt, _>(!child.hash)
        .bind::<sql_types::BigInt, _>(*change_no)
        .bind::<sql_types::Text, _>(integration_id)
        .bind::<sql_types::Text, _>(&set.child_object)
        .bind::<sql_types::Text, _>(&key.1)
        .execute(conn)?;
    }
    Ok(unlinked)
}

/// Applies a batch against the stored rows; both are sorted by key.
fn store(
    conn: &mut Conn,
    integration_id: IntegrationId,
    change_no: &mut i64,
    batch: &RecordBatch,
    (existing, rows): (&[Existing], &[&RecordRow]),
    touch: Touch,
    now_us: Micros,
) -> Result<Counters, Error> {
    let object = batch.object.as_str();
    let changes = apply::changes(existing, rows, batch, touch, change_no);
    write(conn, integration_id, object, &changes, now_us)?;
    Ok(changes.counters)
}

/// Writes the changes of a batch.
pub(super) fn write(
    conn: &mut Conn,
    integration_id: IntegrationId,
    object: &str,
    changes: &Changes<'_>,
    now_us: Micros,
) -> Result<(), Error> {
    let Changes {
        puts, gone, touched, ..
    } = changes;
    let (unlink, links) = (changes.unlinked(), changes.links());
    match conn {
        Conn::Sqlite(c) => {
            sqlite::put(c, integration_id, object, puts)?;
            sqlite::gone(c, integration_id, object, gone, now_us)?;
            sqlite::touch(c, integration_id, object, touched)?;
            sqlite::unlink(c, integration_id, object, &unlink)?;
            sqlite::link(c, integration_id, object, &links)?;
        }
        Conn::Postgres(c) => {
            postgres::put(c, integration_id, object, puts)?;
            postgres::gone(c, integration_id, object, gone, now_us)?;
            postgres::touch(c, integration_id, object, touched)?;
            postgres::unlink(c, integration_id, object, &unlink)?;
            postgres::link(c, integration_id, object, &links)?;
        }
    }
    Ok(())
}

/// Removes rows that a listing lacked, unless they were read after it; returns how many. They are sorted by id; the
/// integration is locked.
pub(in crate::store) fn remove(
    conn: &mut Conn,
    integration_id: IntegrationId,
    object: &str,
    change_no: &mut i64,
    lacking: &[(String, Micros, i64)],
    now_us: Micros,
) -> Result<i64, Error> {
    let ids: Vec<&str> = lacking.iter().map(|(id, ..)| id.as_str()).collect();
    let existing = existing_ids(conn, integration_id, object, &ids)?;
    let mut gone = Vec::with_capacity(existing.len());
    for old in &existing {
        let Ok(at) = lacking.binary_search_by(|(id, ..)| id.cmp(&old.external_id)) else {
            continue;
        };
        let (_, us, clock) = &lacking[at];
        let read = ReadTime {
            us: *us,
            clock: ReadClock::from_number(*clock),
        };
        if old.deleted || read.is_before(old.read) {
            continue;
        }
        *change_no += 1;
        gone.push(Gone {
            external_id: &old.external_id,
            merged_into: None,
            modified_us: old.modified_us,
            read,
            change_no: *change_no,
        });
    }
    let unlink: Vec<&str> = gone.iter().map(|gone| gone.external_id).collect();
    match conn {
        Conn::Sqlite(c) => {
            sqlite::gone(c, integration_id, object, &gone, now_us)?;
            sqlite::unlink(c, integration_id, object, &unlink)?;
        }
        Conn::Postgres(c) => {
            postgres::gone(c, integration_id, object, &gone, now_us)?;
            postgres::unlink(c, integration_id, object, &unlink)?;
        }
    }
    Ok(gone.len() as i64)
}

/// Processes the stored rows of a range: collects the listed ones, and marks live ones that are not listed. False if the budget
/// of missing rows was used up first; then `pieces` has the rest of the range. Memory is bounded by the rows of the batch, not
/// by those of the range. The ids are sorted.
#[expect(clippy::too_many_arguments, reason = "one call site, the state of one walk")]
fn walk(
    conn: &mut Conn,
    marks: &Marks<'_>,
    ids: &[&str],
    covers: &CompleteRange,
    read: ReadTime,
    pieces: &mut VecDeque<Piece>,
    budget: &mut i64,
    found: &mut Vec<Existing>,
) -> Result<bool, Error> {
    let listed = |id: &str| ids.binary_search(&id).is_ok();
    while let Some(piece) = pieces.front_mut() {
        if *budget <= 0 {
            return Ok(false);
        }
        let page = existing_range(conn, marks.integration_id, marks.object, piece, RANGE_ROWS)?;
        let next = (page.len() as i64 == RANGE_ROWS)
            .then(|| page.last().map(|last| next_id(&last.external_id)))
            .flatten();
        let mut lacking = Vec::new();
        for old in page {
            if covers.contains(&old.external_id) && listed(&old.external_id) {
                found.push(old);
                continue;
            }
            *budget -= 1;
            if covers.contains(&old.external_id) && !old.deleted && !read.is_before(old.read) {
                lacking.push(old.external_id);
            }
        }
        if !lacking.is_empty() {
            let lacking: Vec<&str> = lacking.iter().map(String::as_str).collect();
            removal_marks::mark(conn, marks, read, &lacking)?;
        }
        match next {
            Some(next) => piece.from = next,
            None => {
                pieces.pop_front();
            }
        }
    }
    Ok(true)
}

/// The first id after this one: none holds NUL.
fn next_id(id: &str) -> String {
    format!("{id}\u{1}")
}
