//! The companies this process has met, each under a small number, so that sets of them are bitmaps.

use std::collections::HashMap;

use parking_lot::RwLock;

use crate::domain::CompanyId;

/// The dictionary: company ↔ number. Numbers are never given twice while the process lives.
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
    /// The numbers of companies, new ones where there were none.
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

    /// How many numbers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.read().ids.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids of numbers, as numbers that sort as they do.
    #[must_use]
    pub fn ids(&self, numbers: impl Iterator<Item = u32>) -> Vec<u128> {
        let inner = self.inner.read();
        numbers.map(|number| inner.ids[number as usize]).collect()
    }

    /// The id of a number.
    #[must_use]
    pub fn id(&self, number: u32) -> CompanyId {
        CompanyId::from_uuid(uuid::Uuid::from_u128(self.inner.read().ids[number as usize]))
    }
}
