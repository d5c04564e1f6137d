//! The batches of a sync: rows in full or in part, and ranges of ids that are listed completely.

use std::collections::{HashSet, VecDeque};

use super::{
    Counters, RecordBatch, RecordRow,
    apply::{self, Entries, Existing, Touch},
    partial,
    read::{existing_ids, existing_range},
    write,
};
use crate::domain::{IntegrationId, Micros, ReadTime, SyncId};
use crate::store::{
    Error,
    complete_range::{CompleteRange, Piece},
    conn::Conn,
    removal_marks::{self, Marks},
};

/// The sync that writes to a data set.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Writer {
    pub(in crate::store) integration_id: IntegrationId,
    pub(in crate::store) sync_id: SyncId,
    pub(in crate::store) generation: i64,
    /// When its company records and links are added to the tables by company and by parent.
    pub(in crate::store) entries: Entries,
}

/// A batch of a sync, on its way into the store. What its range lacks is marked, not removed.
pub(in crate::store) struct Listing {
    batch: RecordBatch,
    /// Set by the first transaction, which runs on a blocking thread.
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

    /// Whether it has records that first loads leave for later.
    pub(in crate::store) fn has_entries(&self, conn: &Conn) -> bool {
        let has_children = matches!(conn, Conn::Sqlite(_));
        let is_entry =
            |row: &RecordRow| row.company_id.is_some() || (has_children && !row.parents.is_empty());
        self.batch.rows.iter().any(is_entry)
    }

    /// Makes the rows storable, once.
    fn prepare(&mut self) {
        if !std::mem::replace(&mut self.is_prepared, true) {
            apply::prepare(&mut self.batch);
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
            entries,
        } = *of;
        self.prepare();
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
        write::store(
            conn,
            integration_id,
            change_no,
            batch,
            seen,
            (Touch::Moved, entries),
            now_us,
        )
        .map(Some)
    }
}

/// Whether batches remove records: stored ones, or such as they bring themselves. A first load has tombstones on most pages, and
/// nearly all are of records that were never stored.
pub(in crate::store) fn remove_any(
    conn: &mut Conn,
    integration_id: IntegrationId,
    batches: &mut VecDeque<Listing>,
) -> Result<bool, Error> {
    batches.iter_mut().for_each(Listing::prepare);
    let rows = || {
        batches
            .iter()
            .flat_map(|of| of.batch.rows.iter().map(move |row| (of.object(), row)))
    };
    if !rows().any(|(_, row)| row.deleted) {
        return Ok(false);
    }
    let brought: HashSet<(&str, &str)> = rows()
        .filter(|(_, row)| !row.deleted)
        .map(|(object, row)| (object, row.external_id.as_str()))
        .collect();
    for of in batches.iter() {
        let gone = of.batch.rows.iter().filter(|row| row.deleted);
        let ids: Vec<&str> = gone.map(|row| row.external_id.as_str()).collect();
        let stored = existing_ids(conn, integration_id, of.object(), &ids)?;
        if stored.iter().any(|row| !row.deleted) || ids.iter().any(|id| brought.contains(&(of.object(), *id)))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Rows of a range that are read at once.
const RANGE_ROWS: i64 = 5_000;

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
