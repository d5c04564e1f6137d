//! The values by which companies are sorted.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::block::Block;
use crate::number::Number;
use crate::numbers::NONE;
use crate::snapshot::Snapshot;
use crate::text::MOST_SORTED;

/// A value by which companies are sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SortValue {
    /// An integer or a scaled number.
    Integer(i64),
    /// A decimal that is not a scaled number: the largest scaled number below it, and its sortable text.
    Decimal(i64, String),
    /// A text, cut to the length that sorting compares.
    Text(String),
}

/// A value by which companies are sorted, in the files of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortRef<'a> {
    /// See [`SortValue::Integer`].
    Integer(i64),
    /// See [`SortValue::Decimal`].
    Decimal(i64, &'a str),
    /// See [`SortValue::Text`].
    Text(&'a str),
}

impl SortRef<'_> {
    /// A copy of the value.
    #[must_use]
    pub fn to_value(self) -> SortValue {
        match self {
            Self::Integer(number) => SortValue::Integer(number),
            Self::Decimal(below, text) => SortValue::Decimal(below, text.to_owned()),
            Self::Text(text) => SortValue::Text(text.to_owned()),
        }
    }

    /// The number and, for a decimal that lies above it, its text.
    fn number(&self) -> Option<(i64, Option<&str>)> {
        match self {
            Self::Integer(number) => Some((*number, None)),
            Self::Decimal(below, text) => Some((*below, Some(text))),
            Self::Text(_) => None,
        }
    }
}

impl SortValue {
    /// The value by reference.
    #[must_use]
    pub fn as_ref(&self) -> SortRef<'_> {
        match self {
            Self::Integer(number) => SortRef::Integer(*number),
            Self::Decimal(below, text) => SortRef::Decimal(*below, text),
            Self::Text(text) => SortRef::Text(text),
        }
    }
}

impl PartialOrd for SortRef<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SortRef<'_> {
    /// Numbers in numeric order, texts by their bytes, which is the order of the code points. Numbers come before texts; one
    /// key has only one of both.
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            _ => self
                .number()
                .cmp(&other.number())
                .then_with(|| matches!(self, Self::Text(_)).cmp(&matches!(other, Self::Text(_)))),
        }
    }
}

/// Which values of a path are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortKind {
    /// Integers: booleans and times.
    Integer,
    /// Numbers: scaled ones, and decimals that are not.
    Number,
    /// Texts.
    Text,
}

/// The values of a path that companies are sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortPath {
    /// The path.
    pub path: String,
    /// Which values are compared.
    pub kind: SortKind,
    /// By folded text, the text that is compared in its place.
    pub labels: BTreeMap<String, String>,
    /// Of the records of a company only the one that names it counts.
    pub naming: bool,
    /// Of several values of a company, the greatest counts, and greater ones come first; else the smallest.
    pub descending: bool,
}

/// The part of a text that sorting compares.
#[must_use]
pub fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MOST_SORTED)]
}

impl SortPath {
    /// The text that is compared in place of this one.
    pub(crate) fn text<'a>(&'a self, text: &'a str) -> &'a str {
        let shown = match self.labels.is_empty() {
            true => text,
            false => self.labels.get(text).map_or(text, String::as_str),
        };
        cut(shown)
    }

    /// Whether the first value comes before the second one, or takes its place.
    #[must_use]
    pub fn is_better(&self, one: SortRef<'_>, than: SortRef<'_>) -> bool {
        if self.descending { one > than } else { one < than }
    }

    /// The value of a row.
    pub(crate) fn value<'a>(&'a self, block: &'a Block, row: u32) -> Option<SortRef<'a>> {
        let integer = || block.ints(&self.path)?.get(row).map(SortRef::Integer);
        match self.kind {
            SortKind::Integer => integer(),
            SortKind::Number => integer().or_else(|| {
                let decimals = block.decimals(&self.path)?;
                let text = decimals.text(decimals.get(row)?);
                Some(SortRef::Decimal(Number::floor_of_ordered(text), text))
            }),
            SortKind::Text => {
                let texts = block.texts(&self.path)?;
                Some(SortRef::Text(self.text(texts.text(texts.get(row)?))))
            }
        }
    }
}

impl Snapshot {
    /// The value of a company, given by its number in this process; `None` if it has none here.
    #[must_use]
    pub fn sort_value<'a>(&'a self, path: &'a SortPath, company: u32) -> Option<SortRef<'a>> {
        let tables = self.tables();
        let company = tables.local.get(company);
        if company == NONE {
            return None;
        }
        let of = |record: u32| {
            let (block, row) = self.row(record)?;
            path.value(block, row)
        };
        if path.naming {
            return of(tables.naming(company)?);
        }
        let mut best: Option<SortRef<'_>> = None;
        for record in tables.records(company).as_slice() {
            if let Some(value) = of(*record)
                && best.is_none_or(|best| path.is_better(value, best))
            {
                best = Some(value);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_lie_between_the_scaled_numbers() {
        let (a, b) = (Number::parse("1.00000001"), Number::parse("1.00000002"));
        let texts = [a, b].map(|number| number.map(|number| number.ordered()).unwrap_or_default());
        let decimal = |at: usize| SortRef::Decimal(1_000_000, &texts[at]);
        let sorted = [
            SortRef::Integer(1_000_000),
            decimal(0),
            decimal(1),
            SortRef::Integer(1_000_001),
        ];
        assert!(sorted.is_sorted_by(|a, b| a < b));
    }
}
