//! A checked count or sum over the records of a source.

use roaring::RoaringBitmap;

use super::problem::Error;
use crate::index::{Expr, Measure, Measured, NumberTest, Snapshot};

/// A count or sum over the matching records of each company.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Measurement {
    /// The source of the records.
    pub(super) source: usize,
    /// The condition that they must meet.
    pub(super) expr: Expr,
    /// What is computed of them.
    pub(super) measure: Measure,
}

impl Measurement {
    /// The value of each company that has one.
    pub(super) fn of(&self, snapshot: &Snapshot) -> Result<Measured, Error> {
        Ok(snapshot.measure(&self.expr, &self.measure)?)
    }

    /// The companies, of these, whose value passes the test.
    pub(super) fn passing(
        &self,
        snapshot: &Snapshot,
        test: &NumberTest,
        universe: &RoaringBitmap,
    ) -> Result<RoaringBitmap, Error> {
        let measured = self.of(snapshot)?;
        let mut found = measured.passing(test)?;
        if self.measure.unset().is_some_and(|value| test.passes(&value)) {
            found |= universe - measured.companies()?;
        }
        Ok(found & universe)
    }
}
