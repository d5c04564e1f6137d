//! Counts and exact sums over the records of each company.

use std::collections::HashMap;

use roaring::RoaringBitmap;
use tantivy::columnar::StrColumn;

use super::Error;
use super::cancel::check_at;
use super::expr::{Comparison, Expr, ordered_test, scaled_range};
use super::number::{Exact, Number};
use super::snapshot::{Snapshot, decimals, ints, texts};
use super::sum::Sum;

/// What is computed of the records of a company.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measure {
    /// The number of records.
    Count,
    /// The sum of the numbers at a path.
    Sum {
        /// The path of the numbers.
        path: String,
        /// For amounts, the path of their currencies. Amounts in several currencies have no sum; an amount without a
        /// currency is in one of its own.
        currency: Option<String>,
    },
}

impl Measure {
    /// The value of a company of which no record was measured.
    #[must_use]
    pub fn unset(&self) -> Option<Exact> {
        match self {
            Self::Count => Some(Exact::Scaled(0)),
            Self::Sum { .. } => None,
        }
    }
}

/// The measured values, by company.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Ascending by company; each once.
    values: Vec<(u32, Exact)>,
}

impl Measured {
    /// These values of companies, each of another company.
    #[must_use]
    pub fn new(mut values: Vec<(u32, Exact)>) -> Self {
        values.sort_unstable_by_key(|(company, _)| *company);
        Self { values }
    }

    /// The values, ascending by company.
    #[must_use]
    pub fn values(&self) -> &[(u32, Exact)] {
        &self.values
    }

    /// The companies that have a value.
    ///
    /// # Errors
    /// Nobody waits for the result any more.
    pub fn companies(&self) -> Result<RoaringBitmap, Error> {
        self.select(|_| true)
    }

    /// The companies whose value passes.
    ///
    /// # Errors
    /// Nobody waits for the result any more.
    pub fn passing(&self, test: &NumberTest) -> Result<RoaringBitmap, Error> {
        self.select(|value| test.passes(value))
    }

    fn select(&self, passes: impl Fn(&Exact) -> bool) -> Result<RoaringBitmap, Error> {
        let mut found = RoaringBitmap::new();
        for (at, (company, value)) in self.values.iter().enumerate() {
            check_at(at)?;
            if passes(value) {
                found.insert(*company);
            }
        }
        Ok(found)
    }

    /// The values that are no scaled numbers, sorted, each once.
    #[must_use]
    pub fn decimals(&self) -> Vec<String> {
        let decimals = self.values.iter().filter_map(|(_, value)| match value {
            Exact::Decimal(text) => Some(text.clone()),
            Exact::Scaled(_) => None,
        });
        let mut decimals: Vec<String> = decimals.collect();
        decimals.sort_unstable();
        decimals.dedup();
        decimals
    }
}

/// A test of a number: at least one of these lists of comparisons holds as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberTest(Vec<Vec<(Comparison, Number)>>);

impl NumberTest {
    /// One comparison.
    #[must_use]
    pub fn new(comparison: Comparison, number: Number) -> Self {
        Self(vec![vec![(comparison, number)]])
    }

    /// Passed by every number.
    #[must_use]
    pub fn set() -> Self {
        Self(vec![Vec::new()])
    }

    /// At least one of these tests is passed.
    #[must_use]
    pub fn any(tests: Vec<Self>) -> Self {
        Self(tests.into_iter().flat_map(|test| test.0).collect())
    }

    /// All of these tests are passed.
    #[must_use]
    pub fn all(tests: Vec<Self>) -> Self {
        let mut all = Self::set();
        for test in &tests {
            let mut both = Vec::new();
            for one in &all.0 {
                for other in &test.0 {
                    both.push([one.as_slice(), other.as_slice()].concat());
                }
            }
            all = Self(both);
        }
        all
    }

    /// Whether a number passes.
    #[must_use]
    pub fn passes(&self, value: &Exact) -> bool {
        let compare = |(comparison, number): &(Comparison, Number)| match value {
            Exact::Scaled(scaled) => {
                scaled_range(*comparison, number).is_some_and(|(from, to)| (from..=to).contains(scaled))
            }
            Exact::Decimal(text) => ordered_test(*comparison, number).passes(text),
        };
        self.0.iter().any(|all| all.iter().all(compare))
    }
}

impl Snapshot {
    /// Measures the records that match, for each company that has one. A record of several companies counts once for
    /// each of them.
    ///
    /// # Errors
    /// A file of the index cannot be read, or nobody waits for the result any more.
    pub fn measure(&self, expr: &Expr, measure: &Measure) -> Result<Measured, Error> {
        let found = self.documents(expr)?;
        match measure {
            Measure::Count => self.count_each(&found),
            Measure::Sum { path, currency } => self.sum_each(&found, path, currency.as_deref()),
        }
    }

    fn count_each(&self, found: &[RoaringBitmap]) -> Result<Measured, Error> {
        let mut companies: Vec<u32> = Vec::new();
        self.each_company_of(found, |_, _, company| {
            companies.push(company);
            Ok(())
        })?;
        companies.sort_unstable();
        let same = companies.chunk_by(|a, b| a == b);
        let counted = same.map(|all| (all[0], Exact::whole(all.len() as u32)));
        Ok(Measured::new(counted.collect()))
    }

    fn sum_each(
        &self,
        found: &[RoaringBitmap],
        path: &str,
        currency: Option<&str>,
    ) -> Result<Measured, Error> {
        let segments = self.segments().iter();
        let mut columns = segments
            .map(|segment| {
                let currencies = currency.map(|path| texts(segment, path)).transpose()?.flatten();
                Ok((
                    ints(segment, path)?,
                    decimals(segment, path)?,
                    Currencies::new(currencies),
                ))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let (mut sums, mut known) = (HashMap::<u32, Sum>::new(), HashMap::new());
        self.each_company_of(found, |segment, document, company| {
            let (ints, decimals, currencies) = &mut columns[segment];
            let scaled = ints.as_ref().and_then(|column| column.first(document));
            let decimal = match (scaled, decimals) {
                (None, Some(column)) => decimal(column, document)?,
                _ => None,
            };
            if scaled.is_none() && decimal.is_none() {
                return Ok(());
            }
            let sum = sums.entry(company).or_default();
            sum.in_currency(currencies.of(document, &mut known)?);
            if let Some(scaled) = scaled {
                sum.add_scaled(scaled);
            }
            if let Some(decimal) = decimal {
                sum.add(&decimal);
            }
            Ok(())
        })?;
        let totals = sums
            .into_iter()
            .filter_map(|(company, sum)| Some((company, sum.total()?)));
        Ok(Measured::new(totals.collect()))
    }
}

fn decimal(column: &StrColumn, document: u32) -> Result<Option<Number>, Error> {
    let Some(ord) = column.ords().first(document) else {
        return Ok(None);
    };
    let mut text = String::new();
    column.ord_to_str(ord, &mut text)?;
    Ok(Number::from_ordered(&text))
}

/// The currencies of the documents of a segment.
struct Currencies {
    column: Option<StrColumn>,
    /// By the number of a currency in the column, its number among all.
    numbers: HashMap<u64, u32>,
}

impl Currencies {
    fn new(column: Option<StrColumn>) -> Self {
        Self {
            column,
            numbers: HashMap::new(),
        }
    }

    /// The number of a document's currency; 0 if it has none.
    fn of(&mut self, document: u32, known: &mut HashMap<String, u32>) -> Result<u32, Error> {
        let Some(column) = &self.column else {
            return Ok(0);
        };
        let Some(ord) = column.ords().first(document) else {
            return Ok(0);
        };
        if let Some(number) = self.numbers.get(&ord) {
            return Ok(*number);
        }
        let mut text = String::new();
        column.ord_to_str(ord, &mut text)?;
        let next = known.len() as u32 + 1;
        let number = *known.entry(text).or_insert(next);
        self.numbers.insert(ord, number);
        Ok(number)
    }
}
