//! An immutable state of an index, which searches use while newer changes are applied.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use roaring::RoaringBitmap;

use crate::Error;
use crate::block::Block;
use crate::folder::Folder;
use crate::numbers::NONE;
use crate::position::Position;
use crate::rows::Rows;
use crate::state::{Held, State};
use crate::tables::Tables;

/// An immutable state of an index.
pub struct Snapshot {
    /// Unique among all snapshots of this process.
    pub id: u64,
    /// The position of the index in the change feed.
    pub position: Position,
    state: State,
    folder: Arc<Folder>,
}

impl Snapshot {
    pub(crate) fn new(position: Position, state: State, folder: Arc<Folder>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            position,
            state,
            folder,
        }
    }

    /// The files.
    #[must_use]
    pub fn folder(&self) -> &Arc<Folder> {
        &self.folder
    }

    /// Checks that the files have the content that was written. The result of a search is valid only if this passes both
    /// before and after it. Takes about a microsecond a file.
    ///
    /// # Errors
    /// [`Error::Damaged`], or an error of the operating system.
    pub fn check(&self) -> Result<(), Error> {
        self.folder.check()
    }

    /// The companies that have a record.
    #[must_use]
    pub fn companies(&self) -> &RoaringBitmap {
        &self.tables().live
    }

    pub(crate) fn tables(&self) -> &Tables {
        &self.state.tables
    }

    /// The blocks with the rows of this object, or of all.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = &Held> {
        self.state.blocks()
    }

    /// The block and the row of a live record.
    pub(crate) fn row(&self, record: u32) -> Option<(&Block, u32)> {
        let location = self.tables().location.get(record);
        if location == NONE {
            return None;
        }
        let held = self.state.block((location >> 16) as u16)?;
        Some((&held.block, location & 0xffff))
    }

    /// An empty set that has room for the companies of this index.
    pub(crate) fn none(&self) -> CompanySet {
        CompanySet {
            words: vec![0; (self.tables().local.end() as usize).div_ceil(64)],
        }
    }

    /// Adds the companies of these rows: of a company record its company, of another record those of its parents.
    pub(crate) fn add_companies(&self, block: &Block, rows: &Rows, to: &mut CompanySet) {
        let tables = self.tables();
        let companies = block.companies();
        for row in rows.iter() {
            let company = companies[row as usize];
            if company != NONE {
                to.insert(tables.global.get(company));
                continue;
            }
            for parent in block.parents(row) {
                let company = tables.company_of.get(*parent);
                if company != NONE {
                    to.insert(tables.global.get(company));
                }
            }
        }
    }
}

/// A dense set of companies, by their numbers in this process.
pub(crate) struct CompanySet {
    words: Vec<u64>,
}

impl CompanySet {
    pub(crate) fn insert(&mut self, company: u32) {
        if let Some(word) = self.words.get_mut(company as usize / 64) {
            *word |= 1 << (company % 64);
        }
    }

    pub(crate) fn into_bitmap(self) -> RoaringBitmap {
        let bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut found = RoaringBitmap::from_lsb0_bytes(0, &bytes);
        found.optimize();
        found
    }
}
