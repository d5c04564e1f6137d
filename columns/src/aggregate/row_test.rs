//! Which records are counted: the condition that their companies matched, with the conditions on the same object applied to
//! the record itself.

use roaring::RoaringBitmap;

use crate::Error;
use crate::expr::Expr;
use crate::rows::Rows;
use crate::search::matching;
use crate::state::Held;

/// A condition on a record and one of its companies.
#[derive(Debug, Clone)]
pub enum RowTest {
    /// The record matches.
    Record(Expr),
    /// The company is in this set.
    Company(RoaringBitmap),
    /// All conditions hold; without any, it always holds.
    And(Vec<Self>),
    /// At least one condition holds.
    Or(Vec<Self>),
    /// The condition does not hold.
    Not(Box<Self>),
}

/// The condition on the records of one block.
pub(super) enum BlockTest<'a> {
    Rows(Rows),
    Company(&'a RoaringBitmap),
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
}

impl RowTest {
    pub(super) fn of_block<'a>(&'a self, held: &Held) -> Result<BlockTest<'a>, Error> {
        let all = |list: &'a [Self]| {
            list.iter()
                .map(|one| one.of_block(held))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(match self {
            Self::Record(expr) => BlockTest::Rows(matching(held, expr)?),
            Self::Company(set) => BlockTest::Company(set),
            Self::And(list) => BlockTest::And(all(list)?),
            Self::Or(list) => BlockTest::Or(all(list)?),
            Self::Not(one) => BlockTest::Not(Box::new(one.of_block(held)?)),
        })
    }
}

impl BlockTest<'_> {
    pub(super) fn passes(&self, row: u32, company: u32) -> bool {
        match self {
            Self::Rows(rows) => rows.contains(row),
            Self::Company(set) => set.contains(company),
            Self::And(all) => all.iter().all(|one| one.passes(row, company)),
            Self::Or(any) => any.iter().any(|one| one.passes(row, company)),
            Self::Not(one) => !one.passes(row, company),
        }
    }

    /// Whether it always holds.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::And(all) if all.is_empty())
    }
}
