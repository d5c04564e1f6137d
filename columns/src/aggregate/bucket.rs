//! Buckets: the values of one dimension.

use std::collections::{BTreeMap, HashMap};

use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;
use roaring::RoaringBitmap;

use super::join::Dense;
use super::{Bucket, Dimension, Keep, Subject};
use crate::Error;
use crate::block::{Block, Ints, Texts};
use crate::number::Number;

/// The number of decimal places of scaled numbers.
const SCALE: i64 = 6;

/// A decimal without trailing zeros and exponent.
pub(super) fn plain(number: &BigDecimal) -> String {
    number.normalized().to_plain_string()
}

/// A scaled number as a decimal.
pub(super) fn of_scaled(scaled: impl Into<BigInt>) -> BigDecimal {
    BigDecimal::new(scaled.into(), SCALE)
}

/// The buckets of one dimension. Each has a number; the first two are [`Bucket::Unset`] and [`Bucket::Other`].
pub(super) struct Buckets<'a> {
    dimension: &'a Dimension,
    buckets: Vec<Bucket>,
    numbers: HashMap<Bucket, u32>,
    /// By number of a bucket, its companies; while they are counted.
    companies: Vec<RoaringBitmap>,
    /// By number of a bucket, how often each spelling of its text was used.
    spellings: Vec<HashMap<String, u64>>,
    /// By number of a bucket, the number of the bucket that is kept for it.
    kept: Vec<u32>,
    /// The intervals that were needed: by first value, the first one behind, and the bucket.
    intervals: BTreeMap<i64, (i64, u32)>,
    /// By number of a bucket that is kept, its place in the answer.
    places: HashMap<u32, usize>,
}

/// Records without a value.
pub(super) const UNSET: u32 = 0;
/// Buckets that are not kept.
const OTHER: u32 = 1;

/// The buckets of the rows of one block.
pub(super) enum BlockBuckets<'b> {
    /// By number of a text, its bucket; and the texts as they were written.
    Texts(Option<&'b Texts>, Option<&'b Texts>, Vec<u32>),
    Integers(Option<&'b Ints>),
    Numbers(Option<&'b Ints>, Option<&'b Texts>),
    Companies,
}

impl<'a> Buckets<'a> {
    pub(super) fn new(dimension: &'a Dimension) -> Self {
        let mut this = Self {
            dimension,
            buckets: Vec::new(),
            numbers: HashMap::new(),
            companies: Vec::new(),
            spellings: Vec::new(),
            kept: Vec::new(),
            intervals: BTreeMap::new(),
            places: HashMap::new(),
        };
        this.number(Bucket::Unset);
        this.number(Bucket::Other);
        this
    }

    fn number(&mut self, bucket: Bucket) -> u32 {
        if let Some(number) = self.numbers.get(&bucket) {
            return *number;
        }
        let number = self.buckets.len() as u32;
        self.buckets.push(bucket.clone());
        self.numbers.insert(bucket, number);
        number
    }

    pub(super) fn begin<'b>(&mut self, block: &'b Block) -> BlockBuckets<'b> {
        match self.dimension {
            Dimension::Text(path) => {
                let texts = block.texts(path);
                let count = texts.map_or(0, Texts::len);
                BlockBuckets::Texts(texts, block.written(path), vec![u32::MAX; count as usize])
            }
            Dimension::Integer(path) | Dimension::Intervals(path, _) => {
                BlockBuckets::Integers(block.ints(path))
            }
            Dimension::Number(path) | Dimension::Width(path, _) => {
                BlockBuckets::Numbers(block.ints(path), block.decimals(path))
            }
            Dimension::Companies(_) => BlockBuckets::Companies,
        }
    }

    /// Puts the numbers of a row's buckets into `to`.
    pub(super) fn of_row(
        &mut self,
        block: &mut BlockBuckets<'_>,
        row: u32,
        companies: &[u32],
        to: &mut Vec<u32>,
    ) {
        to.clear();
        match block {
            BlockBuckets::Texts(texts, _, known) => {
                for ord in texts
                    .iter()
                    .flat_map(|texts| texts.all(row).map(move |ord| (texts, ord)))
                {
                    let (texts, ord) = ord;
                    let known = &mut known[ord as usize];
                    if *known == u32::MAX {
                        *known = self.number(Bucket::Text(texts.text(ord).to_owned()));
                    }
                    to.push(*known);
                }
            }
            BlockBuckets::Integers(ints) => {
                if let Some(value) = ints.and_then(|ints| ints.get(row)) {
                    match self.dimension {
                        Dimension::Intervals(_, of) => to.extend(self.interval(value, &**of)),
                        _ => to.push(self.number(Bucket::Integer(value))),
                    }
                }
            }
            BlockBuckets::Numbers(ints, decimals) => {
                let scaled = ints.and_then(|ints| ints.get(row)).map(of_scaled);
                let decimal =
                    || decimals.and_then(|decimals| Number::from_ordered(decimals.text(decimals.get(row)?)));
                if let Some(value) = scaled.or_else(|| Some(decimal()?.to_decimal())) {
                    let value = match self.dimension {
                        Dimension::Width(_, width) => floor(&value, &width.to_decimal()),
                        _ => value,
                    };
                    to.push(self.number(Bucket::Number(plain(&value))));
                }
            }
            BlockBuckets::Companies => {
                if let Dimension::Companies(sets) = self.dimension {
                    for (at, set) in sets.iter().enumerate() {
                        if companies.iter().any(|company| set.contains(*company)) {
                            to.push(self.number(Bucket::Companies(at)));
                        }
                    }
                }
            }
        }
        if to.is_empty() {
            to.push(UNSET);
        }
        to.sort_unstable();
        to.dedup();
    }

    /// The bucket of the interval of a value.
    fn interval(&mut self, value: i64, of: &super::IntervalOf) -> Option<u32> {
        if let Some((_, (end, bucket))) = self.intervals.range(..=value).next_back()
            && value < *end
        {
            return Some(*bucket);
        }
        let (first, end) = of(value)?;
        let bucket = self.number(Bucket::Integer(first));
        self.intervals.insert(first, (end, bucket));
        Some(bucket)
    }

    /// Whether the companies of a record, not its values, decide its buckets.
    pub(super) fn is_of_companies(&self) -> bool {
        matches!(self.dimension, Dimension::Companies(_))
    }

    /// Notes how the texts of a row were written.
    pub(super) fn note_spelling(&mut self, block: &BlockBuckets<'_>, row: u32) {
        let BlockBuckets::Texts(Some(texts), written, known) = block else {
            return;
        };
        let shown = written.unwrap_or(texts);
        for (ord, written) in texts.all(row).zip(shown.all(row)) {
            let number = self.keep_of(known[ord as usize]);
            if number == OTHER {
                continue;
            }
            if self.spellings.len() <= number as usize {
                self.spellings.resize_with(number as usize + 1, HashMap::new);
            }
            let text = shown.text(written);
            match self.spellings[number as usize].get_mut(text) {
                Some(count) => *count += 1,
                None => {
                    self.spellings[number as usize].insert(text.to_owned(), 1);
                }
            }
        }
    }

    /// Counts the companies of each bucket.
    pub(super) fn count(
        &mut self,
        subject: &Subject<'_>,
        matched: &RoaringBitmap,
        companies: usize,
    ) -> Result<(), Error> {
        let matched = Dense::of(matched, companies);
        let this = std::cell::RefCell::new(self);
        let mut numbers = Vec::new();
        let mut lists: Vec<Vec<u32>> = Vec::new();
        subject.each(
            &matched,
            |block| this.borrow_mut().begin(block),
            |block, row, companies| {
                let mut this = this.borrow_mut();
                let most = if this.is_of_companies() {
                    1
                } else {
                    companies.len()
                };
                for companies in companies.chunks(most) {
                    this.of_row(block, row, companies, &mut numbers);
                    for number in &numbers {
                        if lists.len() <= *number as usize {
                            lists.resize_with(*number as usize + 1, Vec::new);
                        }
                        lists[*number as usize].extend_from_slice(companies);
                    }
                }
            },
        )?;
        this.into_inner().companies = lists.into_iter().map(set_of).collect();
        Ok(())
    }

    /// Counts the companies of each bucket that is a set of companies.
    pub(super) fn count_companies(&mut self, matched: &RoaringBitmap) {
        let mut left = matched.clone();
        self.companies = vec![RoaringBitmap::new(); 2];
        if let Dimension::Companies(sets) = self.dimension {
            for (at, set) in sets.iter().enumerate() {
                let set = set & matched;
                left -= &set;
                if !set.is_empty() {
                    let number = self.number(Bucket::Companies(at)) as usize;
                    self.companies.resize(number + 1, RoaringBitmap::new());
                    self.companies[number] = set;
                }
            }
        }
        self.companies[UNSET as usize] = left;
    }

    /// Decides which buckets are kept; the others become [`Bucket::Other`].
    pub(super) fn keep(&mut self, keep: Keep) {
        let companies = std::mem::take(&mut self.companies);
        let count = |number: u32| companies.get(number as usize).map_or(0, RoaringBitmap::len);
        let mut order: Vec<u32> = (2..self.buckets.len() as u32).collect();
        if keep.last {
            order.sort_by(|a, b| compare(&self.buckets[*b as usize], &self.buckets[*a as usize]));
        } else {
            order.sort_by(|a, b| {
                let by_count = count(*b).cmp(&count(*a));
                by_count.then_with(|| compare(&self.buckets[*a as usize], &self.buckets[*b as usize]))
            });
        }
        self.kept = vec![OTHER; self.buckets.len()];
        self.kept[UNSET as usize] = UNSET;
        order.truncate(keep.most);
        if keep.last {
            order.reverse();
        }
        for (place, number) in order.into_iter().enumerate() {
            self.kept[number as usize] = number;
            self.places.insert(number, place);
        }
    }

    pub(super) fn keep_of(&self, number: u32) -> u32 {
        self.kept.get(number as usize).copied().unwrap_or(OTHER)
    }

    /// The sets of companies of a dimension of companies, by bucket that is kept.
    pub(super) fn companies(&mut self, matched: &RoaringBitmap) -> Vec<(u32, RoaringBitmap)> {
        self.count_companies(matched);
        let sets = std::mem::take(&mut self.companies).into_iter().enumerate();
        sets.filter(|(_, set)| !set.is_empty())
            .map(|(number, set)| (self.keep_of(number as u32), set))
            .collect()
    }

    pub(super) fn bucket(&self, number: u32) -> Bucket {
        self.buckets[number as usize].clone()
    }

    /// The spelling of a bucket's text that most of its records use; of several, the first.
    pub(super) fn shown(&self, number: u32) -> Option<String> {
        let spellings = self.spellings.get(number as usize)?;
        let best = spellings
            .iter()
            .max_by(|a, b| a.1.cmp(b.1).then_with(|| b.0.cmp(a.0)));
        best.map(|(text, _)| text.clone())
    }

    /// The order of buckets in the answer: by value, or those with the most companies first; then those of records without a
    /// value, and all others.
    pub(super) fn order(&self, a: u32, b: u32) -> std::cmp::Ordering {
        let place = |bucket: u32| (self.places.get(&bucket).copied().unwrap_or(usize::MAX), bucket);
        place(a).cmp(&place(b))
    }
}

/// The order of buckets: numbers by value.
fn compare(a: &Bucket, b: &Bucket) -> std::cmp::Ordering {
    match (a, b) {
        (Bucket::Number(a), Bucket::Number(b)) => {
            let of = |text: &str| text.parse::<BigDecimal>().unwrap_or_default();
            of(a).cmp(&of(b))
        }
        _ => a.cmp(b),
    }
}

/// The greatest multiple of the width that is not above the value.
fn floor(value: &BigDecimal, width: &BigDecimal) -> BigDecimal {
    let rest = value % width;
    if rest < 0 {
        value - rest - width
    } else {
        value - rest
    }
}

pub(super) fn set_of(mut companies: Vec<u32>) -> RoaringBitmap {
    companies.sort_unstable();
    companies.dedup();
    companies.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_bounds_are_multiples_of_the_width() {
        for (value, width, bound) in [
            ("7.5", "2.5", "7.5"),
            ("7.49999999999", "2.5", "5"),
            ("-0.1", "1", "-1"),
            ("-1", "1", "-1"),
            ("0", "0.3", "0"),
            ("123456789012345678901.5", "0.25", "123456789012345678901.5"),
        ] {
            let of = |text: &str| text.parse::<BigDecimal>().unwrap_or_default();
            assert_eq!(plain(&floor(&of(value), &of(width))), bound, "{value} by {width}");
        }
    }
}
