//! Conditions on the values of one record, and their one evaluator: for the blocks of an index and for rows in memory.

use std::collections::BTreeSet;

use roaring::RoaringBitmap;

use crate::Error;
use crate::cancel::check;
use crate::number::Number;
use crate::text::words;
use crate::typo::Typo;

/// A condition on one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// Matches each record of this object.
    All(String),
    /// All conditions hold.
    And(Vec<Self>),
    /// At least one condition holds.
    Or(Vec<Self>),
    /// The first condition holds and the second does not.
    AndNot(Box<Self>, Box<Self>),
    /// A value at this path passes the test.
    Value(String, Test),
}

/// A test of the values at one path; it passes if one of them passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// A value exists.
    Set,
    /// An integer in this range, both ends included.
    Int(i64, i64),
    /// A comparison with a decimal.
    Number(Comparison, Number),
    /// A test of a folded text.
    Text(TextTest),
    /// The text has all these words.
    Words(Vec<WordTest>),
}

/// How a value compares with another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Equal,
    /// Less than.
    Less,
    /// Less than or equal.
    LessOrEqual,
    /// Greater than.
    Greater,
    /// Greater than or equal.
    GreaterOrEqual,
}

/// A test of a folded text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextTest {
    /// Equal to this text.
    Is(String),
    /// Matches this text, with any text allowed before it, after it, or both.
    Like {
        /// Any text may come before.
        before: bool,
        /// The text.
        text: String,
        /// Any text may come after.
        after: bool,
    },
    /// Compares with this text by code points.
    Compare(Comparison, String),
    /// Equal to one of these texts.
    OneOf(BTreeSet<String>),
}

impl TextTest {
    /// Whether a folded text passes the test.
    #[must_use]
    pub fn passes(&self, text: &str) -> bool {
        match self {
            Self::Is(is) => text == is,
            Self::Like {
                before,
                text: part,
                after,
            } => match (before, after) {
                (false, false) => text == part,
                (false, true) => text.starts_with(part),
                (true, false) => text.ends_with(part),
                (true, true) => text.contains(part.as_str()),
            },
            // UTF-8 bytes sort in the order of the code points.
            Self::Compare(comparison, with) => match comparison {
                Comparison::Equal => text == with,
                Comparison::Less => text < with.as_str(),
                Comparison::LessOrEqual => text <= with.as_str(),
                Comparison::Greater => text > with.as_str(),
                Comparison::GreaterOrEqual => text >= with.as_str(),
            },
            Self::OneOf(texts) => texts.contains(text),
        }
    }
}

/// A test of words; it passes if one word of the text passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WordTest {
    /// The word.
    pub word: String,
    /// Any characters may come before the word.
    pub before: bool,
    /// Any characters may come after the word.
    pub after: bool,
    /// One typing error is allowed: a letter missing, added, replaced, or swapped with the next.
    pub forgiving: bool,
}

impl WordTest {
    /// Whether a word passes the test.
    #[must_use]
    pub fn passes(&self, word: &str) -> bool {
        if self.forgiving {
            return self.automaton().passes(word);
        }
        let of = |text: &str| match (self.before, self.after) {
            (false, false) => text == self.word,
            (false, true) => text.starts_with(&self.word),
            (true, false) => text.ends_with(&self.word),
            (true, true) => text.contains(&self.word),
        };
        of(word)
    }

    pub(crate) fn automaton(&self) -> Typo {
        Typo {
            word: self.word.chars().collect(),
            prefix: self.after,
        }
    }

    /// Whether one of the words of a folded text passes the test.
    #[must_use]
    pub fn passes_in(&self, text: &str) -> bool {
        words(text).any(|word| self.passes(word))
    }
}

/// A set of rows, by their numbers.
pub trait Set {
    /// Whether it has no row.
    fn is_empty(&self) -> bool;
    /// Keeps the rows that the other set has, too.
    fn and(&mut self, other: &Self);
    /// Adds the rows of the other set.
    fn or(&mut self, other: &Self);
    /// Removes the rows of the other set.
    fn and_not(&mut self, other: &Self);
}

impl Set for RoaringBitmap {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    fn and(&mut self, other: &Self) {
        *self &= other;
    }

    fn or(&mut self, other: &Self) {
        *self |= other;
    }

    fn and_not(&mut self, other: &Self) {
        *self -= other;
    }
}

/// Values that conditions are evaluated on.
pub trait Values {
    /// Their rows.
    type Rows: Set + Default;

    /// The rows of this object.
    ///
    /// # Errors
    /// Nobody waits for the result any more.
    fn of_object(&self, object: &str) -> Result<Self::Rows, Error>;

    /// The rows with a value at this path that passes the test.
    ///
    /// # Errors
    /// Nobody waits for the result any more.
    fn passing(&self, path: &str, test: &Test) -> Result<Self::Rows, Error>;
}

impl Expr {
    /// The rows that match.
    ///
    /// # Errors
    /// Nobody waits for the result any more.
    pub fn rows<V: Values>(&self, of: &V) -> Result<V::Rows, Error> {
        check()?;
        Ok(match self {
            Self::All(object) => of.of_object(object)?,
            Self::And(all) => {
                let mut all = all.iter();
                let Some(first) = all.next() else {
                    return Ok(V::Rows::default());
                };
                let mut found = first.rows(of)?;
                for one in all {
                    if found.is_empty() {
                        break;
                    }
                    found.and(&one.rows(of)?);
                }
                found
            }
            Self::Or(any) => {
                let mut found = V::Rows::default();
                for one in any {
                    found.or(&one.rows(of)?);
                }
                found
            }
            Self::AndNot(from, without) => {
                let mut from = from.rows(of)?;
                if !from.is_empty() {
                    from.and_not(&without.rows(of)?);
                }
                from
            }
            Self::Value(path, test) => of.passing(path, test)?,
        })
    }

    /// The paths of the values that it tests, each as often as it stands there.
    #[must_use]
    pub fn paths(&self) -> Vec<&str> {
        match self {
            Self::All(_) => Vec::new(),
            Self::And(list) | Self::Or(list) => list.iter().flat_map(Self::paths).collect(),
            Self::AndNot(from, without) => [from.paths(), without.paths()].concat(),
            Self::Value(path, _) => vec![path],
        }
    }
}

/// The test of decimals that are stored as sortable texts.
#[must_use]
pub fn ordered_test(comparison: Comparison, number: &Number) -> TextTest {
    match comparison {
        Comparison::Equal => TextTest::Is(number.ordered()),
        _ => TextTest::Compare(comparison, number.ordered()),
    }
}

/// The first and the last scaled number of this comparison.
#[must_use]
pub fn scaled_range(comparison: Comparison, number: &Number) -> Option<(i64, i64)> {
    let (floor, exact) = number.floor();
    match comparison {
        Comparison::Equal => exact.then_some((floor, floor)),
        Comparison::Less if exact => Some((i64::MIN, floor.checked_sub(1)?)),
        Comparison::Less | Comparison::LessOrEqual => Some((i64::MIN, floor)),
        Comparison::GreaterOrEqual if exact => Some((floor, i64::MAX)),
        Comparison::Greater | Comparison::GreaterOrEqual => Some((floor.checked_add(1)?, i64::MAX)),
    }
}
