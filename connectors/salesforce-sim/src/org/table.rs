//! The rows of one object: a generated range, and its changes.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use crate::value::Value;

/// The changes of one row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    /// Created by a control route: it has no generated values.
    pub(crate) created: bool,
    /// Permanently deleted.
    pub(crate) purged: bool,
    pub(crate) deleted: Option<bool>,
    pub(crate) stamp: Option<i64>,
    /// Of a row created by a control route.
    pub(crate) created_at: Option<i64>,
    /// When a control route deleted it, and the account whose deletion did.
    pub(crate) deleted_at: Option<i64>,
    pub(crate) deleted_with: Option<u32>,
    /// By the field's key.
    pub(crate) values: HashMap<String, Value>,
}

/// The rows of one object. A copy is cheap: what is large is shared until one of the two changes.
#[derive(Clone)]
pub(crate) struct Table {
    first: u32,
    generated: u32,
    live: u32,
    /// Rows from here on are contacts of the first account.
    skew_from: u32,
    with_deleted: bool,
    next: u32,
    changes: Arc<HashMap<u32, Arc<Change>>>,
    /// Rows that were moved to another account, by that account.
    moved: Arc<HashMap<u32, BTreeSet<u32>>>,
    by_account: Arc<OnceLock<Index>>,
    by_stamp: Arc<OnceLock<Index>>,
}

/// One of this many rows is in the recycle bin initially.
const BIN_EVERY: u32 = 101;
const BIN_AT: u32 = 50;

impl Table {
    /// A table with `live` rows, one deleted row per hundred of them, and two more deleted ones at the end.
    pub(crate) fn generated_with_deleted(live: u32, skew: u32) -> Table {
        let spread = |live: u32| {
            let mut rows = live;
            while rows - (rows + BIN_AT) / BIN_EVERY < live {
                rows += 1;
            }
            rows
        };
        let mut table = Table::plain(0, spread(live + skew) + 2);
        table.with_deleted = true;
        table.live = live + skew;
        table.skew_from = if skew == 0 { u32::MAX } else { spread(live) };
        table
    }

    pub(crate) fn plain(first: u32, rows: u32) -> Table {
        Table {
            first,
            generated: rows,
            live: rows,
            skew_from: u32::MAX,
            with_deleted: false,
            next: first + rows,
            changes: Arc::default(),
            moved: Arc::default(),
            by_account: Arc::default(),
            by_stamp: Arc::default(),
        }
    }

    pub(crate) fn generated(&self) -> u32 {
        self.generated
    }

    pub(crate) fn live_at_start(&self) -> u32 {
        self.live
    }

    /// First row and the row after the last.
    pub(crate) fn range(&self) -> std::ops::Range<u32> {
        self.first..self.next
    }

    pub(crate) fn skewed(&self, row: u32) -> bool {
        row >= self.skew_from
    }

    pub(crate) fn deleted_at_start(&self, row: u32) -> bool {
        self.with_deleted && (row % BIN_EVERY == BIN_AT || row + 2 >= self.generated)
    }

    /// The nth initially live row.
    pub(crate) fn nth_live(&self, n: u32) -> u32 {
        self.first
            + if self.with_deleted {
                n + (n + BIN_AT) / (BIN_EVERY - 1)
            } else {
                n
            }
    }

    pub(crate) fn change(&self, row: u32) -> Option<&Change> {
        if self.changes.is_empty() {
            None
        } else {
            self.changes.get(&row).map(Arc::as_ref)
        }
    }

    pub(crate) fn exists(&self, row: u32) -> bool {
        self.range().contains(&row) && !self.change(row).is_some_and(|c| c.purged)
    }

    pub(crate) fn deleted(&self, row: u32) -> bool {
        match self.change(row) {
            Some(Change {
                deleted: Some(deleted),
                ..
            }) => *deleted,
            Some(Change { created: true, .. }) => false,
            _ => self.deleted_at_start(row),
        }
    }

    pub(crate) fn live(&self, row: u32) -> bool {
        self.exists(row) && !self.deleted(row)
    }

    /// The current number of live rows.
    pub(crate) fn live_count(&self) -> u64 {
        let mut count = i64::from(self.live);
        for row in self.changes.keys() {
            let before = *row < self.first + self.generated && !self.deleted_at_start(*row);
            count += i64::from(self.live(*row)) - i64::from(before);
        }
        count.max(0) as u64
    }

    /// The change record of a row, created if necessary.
    pub(crate) fn change_mut(&mut self, row: u32) -> &mut Change {
        Arc::make_mut(Arc::make_mut(&mut self.changes).entry(row).or_default())
    }

    /// A new row at the end.
    pub(crate) fn append(&mut self) -> u32 {
        let row = self.next;
        self.next += 1;
        self.change_mut(row).created = true;
        row
    }

    /// Records that a row's account is now in its change record.
    pub(crate) fn move_to(&mut self, row: u32, from: Option<u32>, to: Option<u32>) {
        let moved = Arc::make_mut(&mut self.moved);
        if let Some(set) = from.and_then(|from| moved.get_mut(&from)) {
            set.remove(&row);
        }
        if let Some(to) = to {
            moved.entry(to).or_default().insert(row);
        }
    }

    pub(crate) fn moved_to(&self, account: u32) -> impl Iterator<Item = u32> {
        self.moved.get(&account).into_iter().flatten().copied()
    }

    pub(crate) fn account_changed(&self, row: u32) -> bool {
        self.change(row)
            .is_some_and(|c| c.created || c.values.contains_key("accountid"))
    }

    /// The generated rows by account; computed at the first use.
    pub(crate) fn account_index(&self, account_of: impl Fn(u32) -> Option<u32>) -> &Index {
        self.by_account
            .get_or_init(|| Index::new(self.generated, account_of))
    }

    /// The generated rows by the number of their stamp; computed at the first use.
    pub(crate) fn stamp_index(&self, stamp_of: impl Fn(u32) -> u32) -> &Index {
        self.by_stamp
            .get_or_init(|| Index::new(self.generated, |row| Some(stamp_of(row))))
    }

    /// Whether its rows are generated, with stamps that are derived from their numbers.
    pub(crate) fn is_generated(&self) -> bool {
        self.with_deleted
    }

    /// The rows with a stamp of their own.
    pub(crate) fn stamped(&self) -> impl Iterator<Item = (u32, i64)> {
        let stamp = |(row, change): (&u32, &Arc<Change>)| Some((*row, change.stamp?));
        self.changes.iter().filter_map(stamp)
    }
}

/// Rows by a number, as two flat lists (a million rows cost eight megabytes).
pub(crate) struct Index {
    starts: Vec<u32>,
    rows: Vec<u32>,
}

impl Index {
    fn new(generated: u32, number_of: impl Fn(u32) -> Option<u32>) -> Index {
        let numbers: Vec<Option<u32>> = (0..generated).map(number_of).collect();
        let top = numbers.iter().flatten().max().map_or(0, |top| *top as usize + 1);
        let mut starts = vec![0u32; top + 1];
        for number in numbers.iter().flatten() {
            starts[*number as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut rows = vec![0u32; starts.last().copied().unwrap_or(0) as usize];
        for (row, number) in numbers.iter().enumerate() {
            if let Some(number) = number {
                let slot = &mut next[*number as usize];
                rows[*slot as usize] = row as u32;
                *slot += 1;
            }
        }
        Index { starts, rows }
    }

    pub(crate) fn rows(&self, number: u32) -> &[u32] {
        self.between(number, number)
    }

    /// The rows of these numbers and all between them.
    pub(crate) fn between(&self, first: u32, last: u32) -> &[u32] {
        let end = (last as usize + 1).min(self.starts.len() - 1);
        match (self.starts.get(first as usize), self.starts.get(end)) {
            (Some(from), Some(to)) if from <= to => &self.rows[*from as usize..*to as usize],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counts_are_exact(live in 0u32..5000, skew in 0u32..300) {
            let table = Table::generated_with_deleted(live, skew);
            let rows: Vec<u32> = table.range().filter(|r| table.live(*r)).collect();
            prop_assert_eq!(rows.len() as u32, live + skew);
            prop_assert_eq!(table.live_count(), u64::from(live + skew));
            for (n, row) in rows.iter().enumerate() {
                prop_assert_eq!(table.nth_live(n as u32), *row);
            }
            prop_assert_eq!(rows.iter().filter(|r| table.skewed(**r)).count() as u32, skew);
        }
    }
}
