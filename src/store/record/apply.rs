//! Computes the changes of a batch against the stored rows, without SQL.

use super::{Counters, Parent, RecordBatch, RecordRow, hash::first_hash};
use crate::domain::{CompanyId, Micros, ReadClock, ReadTime, name_key};

/// Which unchanged rows get the times of the new read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Touch {
    /// Those whose time of change moved: of a sync.
    Moved,
    /// All: live reads are few, and a listing that began earlier must not remove them.
    All,
}

/// When the entries of a write are added to the tables of companies and of children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Entries {
    /// With the write.
    Now,
    /// Later, by `Store::company_fill`, but for links of records that are stored already.
    Later,
}

/// A stored row.
pub(super) struct Existing {
    pub(super) external_id: String,
    pub(super) hash: i64,
    pub(super) modified_us: Micros,
    pub(super) read: ReadTime,
    pub(super) deleted: bool,
    pub(super) company_id: Option<CompanyId>,
    pub(super) name_key: String,
}

impl Existing {
    /// Its entry in the tables of companies, if it is a live company record.
    fn entry(&self) -> Option<Entry<'_>> {
        let company_id = self.company_id.filter(|_| !self.deleted)?;
        Some(Entry {
            company_id,
            name_key: &self.name_key,
            external_id: &self.external_id,
        })
    }
}

/// A stored row: id, hash, time of change, time of reading and its clock, time of removal, company, sort key.
pub(super) type Known = (
    String,
    i64,
    Micros,
    Micros,
    i64,
    Option<Micros>,
    Option<CompanyId>,
    String,
);

impl From<Known> for Existing {
    fn from(
        (external_id, hash, modified_us, read_us, read_clock, delete_us, company_id, name_key): Known,
    ) -> Self {
        Self {
            external_id,
            hash,
            modified_us,
            read: ReadTime {
                us: read_us,
                clock: ReadClock::from_number(read_clock),
            },
            deleted: delete_us.is_some(),
            company_id,
            name_key,
        }
    }
}

/// An entry of the tables of companies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry<'a> {
    pub(super) company_id: CompanyId,
    pub(super) external_id: &'a str,
    pub(super) name_key: &'a str,
}

/// A row to insert or replace.
pub(super) struct Put<'a> {
    pub(super) row: &'a RecordRow,
    pub(super) name_key: String,
    pub(super) read: ReadTime,
    /// The number of the clock.
    pub(super) clock: i64,
    pub(super) change_no: i64,
    /// What is stored of it, live or gone.
    pub(super) before: Option<&'a Existing>,
}

impl Put<'_> {
    fn entry(&self) -> Option<Entry<'_>> {
        Some(Entry {
            company_id: self.row.company_id?,
            name_key: &self.name_key,
            external_id: &self.row.external_id,
        })
    }
}

/// A row that turned out to be gone.
pub(super) struct Gone<'a> {
    pub(super) external_id: &'a str,
    pub(super) before: &'a Existing,
    pub(super) merged_into: Option<&'a str>,
    pub(super) modified_us: Micros,
    pub(super) read: ReadTime,
    pub(super) change_no: i64,
}

/// A row of which only the times are new.
pub(super) struct Touched<'a> {
    pub(super) external_id: &'a str,
    pub(super) modified_us: Micros,
    pub(super) read: ReadTime,
}

/// A link from a child to a parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Link<'a> {
    pub(super) child_id: &'a str,
    pub(super) parent: &'a Parent,
}

impl<'a> Link<'a> {
    /// The parent's object and id.
    pub(super) fn of(&self) -> (&'a str, &'a str) {
        (&self.parent.object, &self.parent.external_id)
    }
}

enum Fate<'a> {
    Unchanged,
    Touch,
    Put,
    Gone(&'a Existing),
}

/// The outcome for one row. Of two reads the later one counts, whatever the record's own timestamp says: imports and triggers may
/// set older timestamps, and a record that is read now has its current values.
fn fate<'a>(old: Option<&'a Existing>, row: &RecordRow, read: ReadTime, touch: Touch) -> Fate<'a> {
    let Some(old) = old else {
        return if row.deleted { Fate::Unchanged } else { Fate::Put };
    };
    if read.is_before(old.read) {
        return Fate::Unchanged;
    }
    match (old.deleted, row.deleted) {
        (true, true) => Fate::Unchanged,
        (false, true) => Fate::Gone(old),
        (true, false) => Fate::Put,
        (false, false) if old.hash != row.hash && old.hash != first_hash(row) => Fate::Put,
        (false, false) if touch == Touch::All || old.modified_us != row.modified_us => Fate::Touch,
        (false, false) => Fate::Unchanged,
    }
}

/// PostgreSQL cannot store NUL in text, so neither database does.
fn clean(text: &mut String) {
    if text.as_bytes().contains(&0) {
        *text = text.replace('\0', "\u{fffd}");
    }
}

fn clean_row(row: &mut RecordRow) {
    clean(&mut row.external_id);
    clean(&mut row.name);
    clean(&mut row.payload);
    row.homepage.iter_mut().for_each(clean);
    row.merged_into.iter_mut().for_each(clean);
    for parent in &mut row.parents {
        clean(&mut parent.object);
        clean(&mut parent.external_id);
    }
}

/// The changes of a batch.
pub(super) struct Changes<'a> {
    pub(super) puts: Vec<Put<'a>>,
    pub(super) gone: Vec<Gone<'a>>,
    pub(super) touched: Vec<Touched<'a>>,
    pub(super) counters: Counters,
}

impl<'a> Changes<'a> {
    /// No changes.
    pub(super) fn none() -> Self {
        Self {
            puts: Vec::new(),
            gone: Vec::new(),
            touched: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Rows that were stored before: removed rows, and rows that are written again.
    pub(super) fn known(&self) -> Vec<&'a str> {
        let gone = self.gone.iter().map(|gone| gone.external_id);
        let known = self.puts.iter().filter(|put| put.before.is_some());
        gone.chain(known.map(|put| put.row.external_id.as_str()))
            .collect()
    }

    /// The entries of companies that no longer hold, sorted.
    pub(super) fn ended_entries(&self) -> Vec<Entry<'_>> {
        let gone = self.gone.iter().filter_map(|gone| gone.before.entry());
        let moved = self.puts.iter().filter_map(|put| {
            let before = put.before?.entry()?;
            (put.entry() != Some(before)).then_some(before)
        });
        sorted(gone.chain(moved))
    }

    /// The entries of companies that are new, sorted.
    pub(super) fn new_entries(&self) -> Vec<Entry<'_>> {
        sorted(self.puts.iter().filter_map(|put| {
            let now = put.entry()?;
            (put.before.and_then(Existing::entry) != Some(now)).then_some(now)
        }))
    }

    /// The links to insert, each once, ordered by child and parent.
    pub(super) fn links(&self) -> Vec<Link<'a>> {
        let mut links: Vec<Link<'a>> = self
            .puts
            .iter()
            .flat_map(|put| {
                let child_id = put.row.external_id.as_str();
                put.row
                    .parents
                    .iter()
                    .map(move |parent| Link { child_id, parent })
            })
            .collect();
        links.sort_unstable_by_key(|link| (link.child_id, link.parent));
        links.dedup_by_key(|link| (link.child_id, link.parent));
        links
    }
}

fn sorted<'a>(entries: impl Iterator<Item = Entry<'a>>) -> Vec<Entry<'a>> {
    let mut entries: Vec<Entry<'a>> = entries.collect();
    entries.sort_unstable();
    entries
}

/// Makes the rows storable, gives each its time of reading, and sorts them: by key, of one key the last read first.
pub(super) fn prepare(batch: &mut RecordBatch) {
    for row in &mut batch.rows {
        clean_row(row);
        if row.read_us == 0 {
            row.read_us = batch.read.us;
        }
    }
    batch.rows.sort_by(|a, b| {
        a.external_id
            .cmp(&b.external_id)
            .then_with(|| b.read_us.cmp(&a.read_us))
    });
}

/// Of rows with one key the last read, the last of equals. The rows are sorted.
pub(super) fn newest(rows: &[RecordRow]) -> Vec<&RecordRow> {
    let mut newest: Vec<&RecordRow> = Vec::with_capacity(rows.len());
    for row in rows {
        match newest.last_mut() {
            Some(last) if last.external_id == row.external_id => {
                if row.read_us == last.read_us {
                    *last = row;
                }
            }
            _ => newest.push(row),
        }
    }
    newest
}

/// Merges the stored rows and the received rows, both sorted by key.
pub(super) fn changes<'a>(
    existing: &'a [Existing],
    rows: &[&'a RecordRow],
    batch: &RecordBatch,
    touch: Touch,
    change_no: &mut i64,
) -> Changes<'a> {
    let mut next = || {
        *change_no += 1;
        *change_no
    };
    let mut changes = Changes {
        counters: Counters {
            read: batch.rows.len() as i64,
            unchanged: (batch.rows.len() - rows.len()) as i64,
            ..Counters::default()
        },
        ..Changes::none()
    };
    let mut stored = existing.iter().peekable();
    for &row in rows {
        while stored.next_if(|old| old.external_id < row.external_id).is_some() {}
        let old = stored.next_if(|old| old.external_id == row.external_id);
        let read = ReadTime {
            us: row.read_us,
            ..batch.read
        };
        match fate(old, row, read, touch) {
            Fate::Unchanged => changes.counters.unchanged += 1,
            Fate::Touch => {
                changes.counters.unchanged += 1;
                changes.touched.push(Touched {
                    external_id: &row.external_id,
                    modified_us: row.modified_us,
                    read,
                });
            }
            Fate::Put => {
                changes.counters.added += i64::from(old.is_none_or(|old| old.deleted));
                changes.puts.push(Put {
                    row,
                    name_key: name_key(&row.name),
                    read,
                    clock: read.clock.number(),
                    change_no: next(),
                    before: old,
                });
            }
            Fate::Gone(before) => changes.gone.push(Gone {
                external_id: &row.external_id,
                before,
                merged_into: row.merged_into.as_deref(),
                modified_us: row.modified_us,
                read,
                change_no: next(),
            }),
        }
    }
    changes.counters.written += changes.puts.len() as i64;
    changes.counters.removed += changes.gone.len() as i64;
    changes
}
