//! The log of requests, so that tests can check which requests were sent and that there were no writes.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

/// A request in a log.
pub trait Entry: Serialize + Send + Sync + 'static {
    /// Sets its number.
    fn number(&mut self, seq: u64);

    /// Its number.
    fn seq(&self) -> u64;

    /// The kind of the request.
    fn kind(&self) -> &str;

    /// Whether it would have changed data.
    fn is_write(&self) -> bool;

    /// The names under which it is counted: its own, and `inner:…` for each request inside it.
    fn counted(&self) -> Vec<String> {
        vec![self.kind().to_owned()]
    }
}

/// The last requests, and counts of all.
#[derive(Debug)]
pub struct Journal<E> {
    next: u64,
    entries: VecDeque<E>,
    counts: BTreeMap<String, u64>,
    writes: u64,
}

impl<E> Default for Journal<E> {
    fn default() -> Self {
        Self {
            next: 0,
            entries: VecDeque::new(),
            counts: BTreeMap::new(),
            writes: 0,
        }
    }
}

/// Number of stored requests.
const KEPT: usize = 100_000;

impl<E: Entry> Journal<E> {
    /// Adds a request.
    pub fn add(&mut self, mut entry: E) {
        entry.number(self.next);
        self.next += 1;
        for name in entry.counted() {
            *self.counts.entry(name).or_default() += 1;
        }
        self.writes += u64::from(entry.is_write());
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// Removes all requests; numbering continues.
    pub fn clear(&mut self) {
        *self = Self {
            next: self.next,
            ..Self::default()
        };
    }

    /// The numbers of requests, by name.
    #[must_use]
    pub fn counts(&self) -> &BTreeMap<String, u64> {
        &self.counts
    }

    /// The number of requests, without those inside others.
    #[must_use]
    pub fn total(&self) -> u64 {
        let outer = self.counts.iter().filter(|(name, _)| !name.starts_with("inner:"));
        outer.map(|(_, count)| count).sum()
    }

    /// The number of requests that would have changed data.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// The last requests, in their order.
    pub fn entries(&self) -> impl Iterator<Item = &E> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Asked(u64, &'static str);

    impl Entry for Asked {
        fn number(&mut self, seq: u64) {
            self.0 = seq;
        }

        fn seq(&self) -> u64 {
            self.0
        }

        fn kind(&self) -> &str {
            self.1
        }

        fn is_write(&self) -> bool {
            self.1 == "write"
        }

        fn counted(&self) -> Vec<String> {
            vec![self.1.to_owned(), "inner:part".to_owned()]
        }
    }

    #[test]
    fn requests_are_counted_and_the_last_are_kept() {
        let mut journal = Journal::default();
        for kind in ["list", "write", "list"] {
            journal.add(Asked(0, kind));
        }
        assert_eq!((journal.total(), journal.writes()), (3, 1));
        assert_eq!(journal.counts()["inner:part"], 3);
        for _ in 0..KEPT {
            journal.add(Asked(0, "list"));
        }
        assert_eq!(journal.entries().count(), KEPT);
        assert_eq!(journal.entries().next().map(Entry::seq), Some(3));
        journal.clear();
        journal.add(Asked(0, "list"));
        assert_eq!((journal.total(), journal.writes()), (1, 0));
        assert_eq!(journal.entries().next().map(Entry::seq), Some(KEPT as u64 + 3));
    }
}
