//! Numbers of the companies that this process has seen, so that sets of companies of all indexes are bitmaps.
//!
//! The numbers are valid in this process only and are never reused.

use parking_lot::RwLock;

use crate::numbers::Numbers;

/// The dictionary between company ids and numbers.
#[derive(Default)]
pub struct Companies {
    inner: RwLock<Numbers>,
}

impl Companies {
    /// The numbers of these companies; companies without a number get a new one.
    pub fn numbers(&self, ids: impl Iterator<Item = u128>) -> Vec<u32> {
        let mut inner = self.inner.write();
        ids.map(|id| inner.number(id)).collect()
    }

    /// The number of a company, if it has one.
    #[must_use]
    pub fn find(&self, id: u128) -> Option<u32> {
        self.inner.read().find(id)
    }

    /// How many numbers are assigned.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.read().len() as usize
    }

    /// Whether no number is assigned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids of these numbers, as integers that sort like the ids.
    #[must_use]
    pub fn ids(&self, numbers: impl Iterator<Item = u32>) -> Vec<u128> {
        let inner = self.inner.read();
        numbers.map(|number| inner.keys()[number as usize]).collect()
    }

    /// The id of a number, as an integer that sorts like the id.
    #[must_use]
    pub fn id(&self, number: u32) -> u128 {
        self.inner.read().keys()[number as usize]
    }

    /// Calls `of` with the ids of all numbers. No number can be assigned meanwhile.
    pub fn with_ids<T>(&self, of: impl FnOnce(&[u128]) -> T) -> T {
        of(self.inner.read().keys())
    }
}
