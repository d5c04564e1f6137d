//! Numbers the companies seen by this process, so that sets of companies are bitmaps.
//!
//! The numbers are valid in this process only and are never reused.

use std::collections::HashMap;

use parking_lot::RwLock;

use crate::domain::CompanyId;

/// The dictionary between company ids and numbers. A number is never reused while the process runs.
#[derive(Default)]
pub struct Companies {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    numbers: HashMap<u128, u32>,
    ids: Vec<u128>,
}

impl Companies {
    /// The numbers of these companies; companies without a number get a new one.
    pub fn numbers(&self, ids: impl Iterator<Item = u128>) -> Vec<u32> {
        let mut inner = self.inner.write();
        let inner = &mut *inner;
        ids.map(|id| {
            *inner.numbers.entry(id).or_insert_with(|| {
                inner.ids.push(id);
                (inner.ids.len() - 1) as u32
            })
        })
        .collect()
    }

    /// How many numbers are assigned.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.read().ids.len()
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
        numbers.map(|number| inner.ids[number as usize]).collect()
    }

    /// The id for a number.
    #[must_use]
    pub fn id(&self, number: u32) -> CompanyId {
        CompanyId::from_uuid(uuid::Uuid::from_u128(self.inner.read().ids[number as usize]))
    }
}
