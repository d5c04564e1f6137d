//! Counts and measures of records by buckets, for graphs. All results are exact.
//!
//! The records of one object are put into buckets ([`Dimension`]); a cell is a combination of buckets, and has companies.
//! Records of the same object are measured where they are counted. Those of another object are measured through companies: in
//! each cell that has one of their companies. A record counts once in a cell, whatever number of companies leads to it.

mod bucket;
mod cells;
mod join;
mod measure;
mod row_test;

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::Error;
use crate::number::Number;
use crate::snapshot::Snapshot;
use bucket::Buckets;
use cells::Cells;
pub use measure::{Function, Measure, Outcome};
pub use row_test::RowTest;

/// Records of one object that are counted or measured: those whose company matched and that pass a test.
#[derive(Clone)]
pub struct Subject<'a> {
    /// The index that has them.
    pub snapshot: &'a Snapshot,
    /// Their object.
    pub object: String,
    /// The test.
    pub test: RowTest,
}

/// Gives the interval of a value: its first value, and the first one behind it.
pub type IntervalOf = dyn Fn(i64) -> Option<(i64, i64)> + Send + Sync;

/// How records, or their companies, are put into buckets. A record can be in several.
#[derive(Clone)]
pub enum Dimension {
    /// One bucket for each text at this path; of lists, for each entry.
    Text(String),
    /// One bucket for each integer at this path.
    Integer(String),
    /// One bucket for each number at this path.
    Number(String),
    /// Integers of one interval. Those that have none are in the bucket of records without a value.
    Intervals(String, Arc<IntervalOf>),
    /// Numbers from a multiple of this width up to the next one.
    Width(String, Number),
    /// One bucket for each of these sets of companies.
    Companies(Vec<RoaringBitmap>),
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bucket {
    /// The folded text.
    Text(String),
    /// The integer; of [`Dimension::Intervals`] the first of the interval.
    Integer(i64),
    /// The number, as a plain decimal; of [`Dimension::Width`] the lower bound.
    Number(String),
    /// The set of companies, by its index.
    Companies(usize),
    /// Records without a value.
    Unset,
    /// All buckets that are not kept.
    Other,
}

/// How many buckets of a dimension are kept.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// At most so many.
    pub most: usize,
    /// Keep the last ones in their order; else those with the most companies.
    pub last: bool,
}

/// The question.
pub struct Aggregate<'a> {
    /// The companies that matched.
    pub matched: &'a RoaringBitmap,
    /// The records that are counted; `None` if only companies are.
    pub subject: Option<Subject<'a>>,
    /// The dimensions, at most two, and how many buckets are kept of each.
    pub dimensions: Vec<(Dimension, Keep)>,
    /// The measures, each with the records that are measured; `None` if these are those that are counted.
    pub measures: Vec<(Measure, Option<Subject<'a>>)>,
    /// How many companies this process knows: their numbers are smaller.
    pub companies: usize,
}

/// One cell of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The buckets, one for each dimension.
    pub buckets: Vec<Bucket>,
    /// For each bucket of texts the spelling that most of its records use.
    pub shown: Vec<Option<String>>,
    /// The number of distinct companies.
    pub companies: u64,
    /// The number of records.
    pub records: u64,
    /// The result of each measure.
    pub results: Vec<Outcome>,
}

/// The answer: the cells, ordered by the buckets of the first and then of the second dimension, and the total.
pub struct Aggregated {
    /// The cells.
    pub groups: Vec<Group>,
    /// Everything, each company and each record once.
    pub total: Group,
}

impl Aggregate<'_> {
    /// Computes the answer.
    ///
    /// # Errors
    /// Nobody waits for the result any more.
    pub fn run(&self) -> Result<Aggregated, Error> {
        let mut buckets = Vec::with_capacity(self.dimensions.len());
        for (dimension, keep) in &self.dimensions {
            let mut all = Buckets::new(dimension);
            if let Some(subject) = &self.subject {
                all.count(subject, self.matched, self.companies)?;
            } else {
                all.count_companies(self.matched);
            }
            all.keep(*keep);
            buckets.push(all);
        }
        let mut cells = Cells::new(
            buckets,
            self.companies,
            self.measures.iter().map(|(measure, _)| measure),
        );
        match &self.subject {
            Some(subject) => {
                let own: Vec<(usize, &Measure)> = self
                    .measures
                    .iter()
                    .enumerate()
                    .filter(|(_, (_, of))| of.is_none())
                    .map(|(at, (measure, _))| (at, measure))
                    .collect();
                cells.fill(subject, self.matched, &own)?;
            }
            None => cells.fill_companies(self.matched)?,
        }
        cells.total_companies(self.matched);
        let others = self.measures.iter().enumerate();
        let others: Vec<(usize, &Measure, &Subject<'_>)> = others
            .filter_map(|(at, (measure, of))| Some((at, measure, of.as_ref()?)))
            .collect();
        if !others.is_empty() {
            cells.measure_through_companies(&others, self.matched)?;
        }
        Ok(cells.finish())
    }
}
