//! Counts and exact sums over the records of each company.

use std::collections::HashMap;

use roaring::RoaringBitmap;

use crate::Error;
use crate::block::{Block, Texts};
use crate::cancel::check_at;
use crate::expr::{Comparison, Expr, ordered_test, scaled_range};
use crate::number::{Exact, Number};
use crate::numbers::NONE;
use crate::search::matching;
use crate::snapshot::Snapshot;
use crate::sum::Sum;

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
    /// Nobody waits for the result any more.
    pub fn measure(&self, expr: &Expr, measure: &Measure) -> Result<Measured, Error> {
        match measure {
            Measure::Count => self.count_each(expr),
            Measure::Sum { path, currency } => self.sum_each(expr, path, currency.as_deref()),
        }
    }

    fn count_each(&self, expr: &Expr) -> Result<Measured, Error> {
        let mut companies: Vec<u32> = Vec::new();
        self.each_company_of(expr, |_| (), |(), _, company| companies.push(company))?;
        companies.sort_unstable();
        let same = companies.chunk_by(|a, b| a == b);
        let counted = same.map(|all| (all[0], Exact::whole(all.len() as u32)));
        Ok(Measured::new(counted.collect()))
    }

    fn sum_each(&self, expr: &Expr, path: &str, currency: Option<&str>) -> Result<Measured, Error> {
        let (mut sums, mut known) = (HashMap::<u32, Sum>::new(), HashMap::new());
        self.each_company_of(
            expr,
            |block| {
                (
                    block,
                    Currencies::new(currency.and_then(|path| block.texts(path))),
                )
            },
            |(block, currencies), row, company| {
                let scaled = block.ints(path).and_then(|ints| ints.get(row));
                let decimal = || {
                    let decimals = block.decimals(path)?;
                    Number::from_ordered(decimals.text(decimals.get(row)?))
                };
                let decimal = if scaled.is_none() { decimal() } else { None };
                if scaled.is_none() && decimal.is_none() {
                    return;
                }
                let sum = sums.entry(company).or_default();
                sum.in_currency(currencies.of(row, &mut known));
                if let Some(scaled) = scaled {
                    sum.add_scaled(scaled);
                }
                if let Some(decimal) = decimal {
                    sum.add(&decimal);
                }
            },
        )?;
        let totals = sums
            .into_iter()
            .filter_map(|(company, sum)| Some((company, sum.total()?)));
        Ok(Measured::new(totals.collect()))
    }

    /// Calls `each` with the row and the company for each company of each record that matches; `begin` makes what it needs of
    /// a block.
    fn each_company_of<'s, S>(
        &'s self,
        expr: &Expr,
        begin: impl Fn(&'s Block) -> S,
        mut each: impl FnMut(&mut S, u32, u32),
    ) -> Result<(), Error> {
        let tables = self.tables();
        let mut companies = Vec::new();
        for held in self.blocks() {
            let rows = matching(held, expr)?;
            let block = &*held.block;
            let mut state = begin(block);
            for (turn, row) in rows.iter().enumerate() {
                check_at(turn)?;
                let own = block.companies()[row as usize];
                if own != NONE {
                    each(&mut state, row, tables.global.get(own));
                    continue;
                }
                companies.clear();
                let parents = block
                    .parents(row)
                    .iter()
                    .map(|parent| tables.company_of.get(*parent));
                companies.extend(parents.filter(|company| *company != NONE));
                companies.sort_unstable();
                companies.dedup();
                for company in &companies {
                    each(&mut state, row, tables.global.get(*company));
                }
            }
        }
        Ok(())
    }
}

/// The currencies of the rows of a block.
struct Currencies<'a> {
    texts: Option<&'a Texts>,
    /// By the number of a currency in the block, its number among all.
    numbers: HashMap<u32, u32>,
}

impl<'a> Currencies<'a> {
    fn new(texts: Option<&'a Texts>) -> Self {
        Self {
            texts,
            numbers: HashMap::new(),
        }
    }

    /// The number of a row's currency; 0 if it has none.
    fn of(&mut self, row: u32, known: &mut HashMap<String, u32>) -> u32 {
        let Some((texts, ord)) = self.texts.and_then(|texts| Some((texts, texts.get(row)?))) else {
            return 0;
        };
        let next = known.len() as u32 + 1;
        let number = || *known.entry(texts.text(ord).to_owned()).or_insert(next);
        *self.numbers.entry(ord).or_insert_with(number)
    }
}
