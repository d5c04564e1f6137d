//! A second, slow and simple implementation of the store's rules, row by row, and random batches for both.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::parent;
use crate::store::*;

/// A live read or a commit, and whether the listing ends with it; few ids and times, so that they collide.
pub(super) fn batches() -> impl Strategy<Value = (bool, bool, RecordBatch)> {
    let rows = prop::collection::vec(
        (0..24u8, 0..4i64, 0..6i64, 0..9i64, prop::bool::weighted(0.15)),
        0..12,
    );
    let covers = prop::option::weighted(0.4, (0..26u8, 0..26u8, any::<bool>()));
    // Mostly the CRM's clock, sometimes the clock of one of two processes, or an unknown one.
    let clock = prop_oneof![6 => Just(1), 1 => Just(2), 1 => Just(3), 1 => Just(0)];
    let whole = prop::bool::weighted(0.3);
    (any::<bool>(), whole, rows, covers, 1..9i64, clock).prop_map(|(live, whole, rows, covers, us, clock)| {
        let clock = ReadClock::from_number(clock);
        // Half of the ids are numbers of different lengths.
        let id = |n: u8| match n {
            0..12 => [
                "0", "7", "9", "10", "11", "90", "99", "100", "350", "999", "1000", "10001",
            ][usize::from(n)]
            .to_owned(),
            12..24 => format!("{}{}", (b'a' + n / 4) as char, n % 4),
            _ => String::new(),
        };
        let rows = rows
            .into_iter()
            .map(|(n, hash, modified_us, read_us, deleted)| RecordRow {
                read_us,
                deleted,
                company_id: (n % 2 == 0).then(|| CompanyId::of_domain(&format!("{}", n % 6))),
                parents: if hash > 1 {
                    vec![parent(&hash.to_string())]
                } else {
                    Vec::new()
                },
                ..row(&id(n), hash, modified_us)
            })
            .collect();
        let covers = covers.map(|(a, b, bytes)| {
            let number = |n: u8| if n < 24 { id(n % 12) } else { id(n) };
            let (after, through, order) = if bytes {
                (id(a), id(b), IdOrder::Bytes)
            } else {
                (number(a), number(b), IdOrder::Number)
            };
            CompleteRange {
                after,
                through,
                order,
            }
        });
        (
            live,
            whole,
            RecordBatch {
                object: "Account".to_owned(),
                rows,
                complete_range: covers,
                read: ReadTime { us, clock },
                partial: None,
            },
        )
    })
}

/// A second, slow and simple implementation of the store's rules, row by row.
#[derive(Default)]
pub(super) struct Model {
    rows: BTreeMap<String, Stored>,
    /// Records that listings lacked, and the times of these listings.
    marks: BTreeMap<String, (ReadClock, Micros)>,
    change_no: i64,
}

#[derive(Debug, Clone, PartialEq)]
struct Stored {
    hash: i64,
    modified_us: Micros,
    read: (ReadClock, Micros),
    gone: bool,
    change_no: i64,
    company_id: Option<CompanyId>,
    parents: Vec<Parent>,
}

/// The rows of a batch of which each is read last, and the number of the others.
fn newest(batch: &RecordBatch) -> (BTreeMap<String, RecordRow>, i64) {
    let mut newest: BTreeMap<String, RecordRow> = BTreeMap::new();
    let mut others = 0;
    for row in &batch.rows {
        let mut row = row.clone();
        if row.read_us == 0 {
            row.read_us = batch.read.us;
        }
        let other = newest.get(&row.external_id);
        others += i64::from(other.is_some());
        if other.is_none_or(|other| other.read_us <= row.read_us) {
            newest.insert(row.external_id.clone(), row);
        }
    }
    (newest, others)
}

/// Whether an id is in a complete range.
fn inside(range: &CompleteRange, id: &str) -> bool {
    let (after, through) = (range.after.as_str(), range.through.as_str());
    match range.order {
        IdOrder::Bytes => (after.is_empty() || id > after) && (through.is_empty() || id <= through),
        IdOrder::Number => id
            .parse::<i64>()
            .is_ok_and(|n| n > after.parse().unwrap_or(-1) && n <= through.parse().unwrap_or(i64::MAX)),
    }
}

/// Whether a read is later than another. Times of two clocks, or of an unknown one, prove nothing.
fn later(old: (ReadClock, Micros), new: (ReadClock, Micros)) -> bool {
    old.0 == new.0 && new.0 != ReadClock::UNKNOWN && old.1 > new.1
}

/// The children of all parents that rows may have, as (parent, child).
async fn children(store: &Store, id: IntegrationId) -> BTreeSet<(String, String)> {
    let parents = (0..4).map(|hash| hash.to_string()).collect();
    let links = store
        .record_links(id, "Account", parents, "Account")
        .await
        .unwrap();
    links.into_iter().collect()
}

impl Model {
    pub(super) fn apply(&mut self, batch: &RecordBatch, live: bool) -> Counters {
        let (newest, others) = newest(batch);
        let mut done = Counters {
            read: batch.rows.len() as i64,
            unchanged: others,
            ..Counters::default()
        };
        let ids: BTreeSet<String> = self.rows.keys().chain(newest.keys()).cloned().collect();
        for id in ids {
            match newest.get(&id) {
                Some(row) => self.apply_row(row, (batch.read.clock, row.read_us), live, &mut done),
                None if !live => self.mark(id, batch),
                None => {}
            }
        }
        done
    }

    /// A stored row that the batch lacks.
    fn mark(&mut self, id: String, batch: &RecordBatch) {
        let (old, read) = (&self.rows[&id], (batch.read.clock, batch.read.us));
        let lacked = batch
            .complete_range
            .as_ref()
            .is_some_and(|range| inside(range, &id));
        if lacked && !old.gone && !later(old.read, read) {
            self.marks.insert(id, read);
        }
    }

    fn apply_row(&mut self, row: &RecordRow, read: (ReadClock, Micros), live: bool, done: &mut Counters) {
        // A listed record exists.
        self.marks.remove(&row.external_id);
        let old = self.rows.get_mut(&row.external_id);
        let stale = old.as_ref().is_some_and(|o| later(o.read, read));
        let gone = old.as_ref().is_none_or(|o| o.gone);
        if stale || (row.deleted && gone) {
            done.unchanged += 1;
            return;
        }
        if let Some(o) = old
            && !row.deleted
            && !o.gone
            && o.hash == row.hash
        {
            done.unchanged += 1;
            if live || o.modified_us != row.modified_us {
                o.modified_us = row.modified_us;
                o.read = read;
            }
            return;
        }
        self.change_no += 1;
        if row.deleted {
            done.removed += 1;
        } else {
            done.written += 1;
            done.added += i64::from(gone);
        }
        self.store(row, read);
    }

    fn store(&mut self, row: &RecordRow, read: (ReadClock, Micros)) {
        let old = self.rows.get(&row.external_id);
        // Of what is deleted the hash and the company stay.
        let (hash, company_id) = match old {
            Some(old) if row.deleted => (old.hash, old.company_id),
            _ => (row.hash, row.company_id),
        };
        let parents = if row.deleted {
            Vec::new()
        } else {
            row.parents.clone()
        };
        let stored = Stored {
            hash,
            modified_us: row.modified_us,
            read,
            gone: row.deleted,
            change_no: self.change_no,
            company_id,
            parents,
        };
        self.rows.insert(row.external_id.clone(), stored);
    }

    pub(super) fn settle(&mut self) -> i64 {
        let mut removed = 0;
        for (id, read) in std::mem::take(&mut self.marks) {
            let old = self.rows.get_mut(&id).unwrap();
            if old.gone || later(old.read, read) {
                continue;
            }
            removed += 1;
            self.change_no += 1;
            old.gone = true;
            old.parents.clear();
            old.read = read;
            old.change_no = self.change_no;
        }
        removed
    }

    pub(super) async fn check(&self, store: &Store, id: IntegrationId) {
        let feed = feed(store, id, 0).await;
        let found: BTreeMap<String, Stored> = feed
            .iter()
            .map(|c| {
                let r = &c.record;
                // Parents of company records are not in the feed: a company has no parent.
                let parents = if r.company_id.is_some() {
                    Vec::new()
                } else {
                    c.parents.clone()
                };
                let stored = Stored {
                    hash: r.hash,
                    modified_us: r.modified_us,
                    read: (ReadClock::from_number(r.read_clock), r.read_us),
                    gone: r.delete_us.is_some(),
                    change_no: r.change_no,
                    company_id: r.company_id,
                    parents,
                };
                (r.external_id.clone(), stored)
            })
            .collect();
        let expected: BTreeMap<String, Stored> = self
            .rows
            .iter()
            .map(|(id, s)| {
                let parents = if s.company_id.is_some() {
                    Vec::new()
                } else {
                    s.parents.clone()
                };
                (id.clone(), Stored { parents, ..s.clone() })
            })
            .collect();
        assert_eq!(found, expected);
        assert!(feed.is_sorted_by_key(|c| c.record.change_no));
        assert_eq!(store.record_change_no(id).await.unwrap(), self.change_no);
        // Records that a first load left for later are missing until they are added; nothing else is found.
        let early_children = children(store, id).await;
        let children_of = |(id, stored): (&String, &Stored)| {
            let parents = stored.parents.iter();
            parents
                .map(|parent| (parent.external_id.clone(), id.clone()))
                .collect::<Vec<_>>()
        };
        let expected_children: BTreeSet<(String, String)> = self.rows.iter().flat_map(children_of).collect();
        assert!(
            early_children.is_subset(&expected_children),
            "{early_children:?} {expected_children:?}"
        );
        let companies: Vec<CompanyId> = (0..6).map(|n| CompanyId::of_domain(&n.to_string())).collect();
        let mut early = BTreeSet::new();
        for company in &companies {
            let held = store.record_company_keys(id, vec![*company]).await.unwrap();
            early.extend(held.into_iter().map(|held| (*company, held.external_id)));
        }
        let live = self.rows.iter().filter(|(_, stored)| !stored.gone);
        let expected: BTreeSet<(CompanyId, String)> = live
            .filter_map(|(id, stored)| Some((stored.company_id?, id.clone())))
            .collect();
        assert!(early.is_subset(&expected), "{early:?} {expected:?}");
        store.company_fill(id).await.unwrap();
        assert_eq!(children(store, id).await, expected_children);
        for company in companies {
            let held = store.record_company_keys(id, vec![company]).await.unwrap();
            let of = |(one, id): &(CompanyId, String)| (*one == company).then(|| id.clone());
            let expected: Vec<String> = expected.iter().filter_map(of).collect();
            assert_eq!(
                held.into_iter().map(|r| r.external_id).collect::<Vec<_>>(),
                expected
            );
        }
        let group = group_id("g");
        let different: BTreeSet<CompanyId> = expected.iter().map(|(company, _)| *company).collect();
        let count = store.company_count_all(&group, vec![id]).await.unwrap();
        assert_eq!(count as usize, different.len());
        let listed = store.company_list_all(&group, vec![id], None, 100).await.unwrap();
        let listed: BTreeSet<CompanyId> = listed.into_iter().map(|company| company.company_id).collect();
        assert_eq!(listed, different);
    }
}
