//! The records that are counted, with their companies.

use roaring::RoaringBitmap;

use super::Subject;
use crate::Error;
use crate::block::Block;
use crate::cancel::check_at;
use crate::numbers::NONE;
use crate::rows::Rows;

/// A set of companies in which each look-up is one memory access.
pub(super) struct Dense {
    words: Vec<u64>,
}

impl Dense {
    pub(super) fn of(set: &RoaringBitmap, companies: usize) -> Self {
        let mut words = vec![0; companies.div_ceil(64)];
        for company in set {
            if let Some(word) = words.get_mut(company as usize / 64) {
                *word |= 1 << (company % 64);
            }
        }
        Self { words }
    }

    pub(super) fn contains(&self, company: u32) -> bool {
        self.words
            .get(company as usize / 64)
            .is_some_and(|word| word >> (company % 64) & 1 == 1)
    }
}

impl Subject<'_> {
    /// Calls `each` with the block, the row and the companies of each record that is counted; a company stands there once.
    /// Before a block's first record, `begin` gets the block.
    pub(super) fn each<'s, S>(
        &'s self,
        matched: &Dense,
        mut begin: impl FnMut(&'s Block) -> S,
        mut each: impl FnMut(&mut S, u32, &[u32]),
    ) -> Result<(), Error> {
        let tables = self.snapshot.tables();
        let mut companies: Vec<u32> = Vec::new();
        for held in self.snapshot.blocks() {
            let block = &*held.block;
            if block.object() != self.object {
                continue;
            }
            let test = self.test.of_block(held)?;
            let always = test.is_empty();
            let mut rows = Rows::full(block.rows());
            rows.and_not(&held.dead);
            let mut state = begin(block);
            for (turn, row) in rows.iter().enumerate() {
                check_at(turn)?;
                companies.clear();
                let mut add = |company: u32| {
                    if company != NONE && matched.contains(company) && (always || test.passes(row, company)) {
                        companies.push(company);
                    }
                };
                match block.companies()[row as usize] {
                    NONE => {
                        for parent in block.parents(row) {
                            let company = tables.company_of.get(*parent);
                            add(if company == NONE {
                                NONE
                            } else {
                                tables.global.get(company)
                            });
                        }
                    }
                    company => add(tables.global.get(company)),
                }
                if companies.len() > 1 {
                    companies.sort_unstable();
                    companies.dedup();
                }
                if !companies.is_empty() {
                    each(&mut state, row, &companies);
                }
            }
        }
        Ok(())
    }
}
