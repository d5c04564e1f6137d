//! The columns of a block, in the file's memory.

use arrow_array::{Array as _, StringArray};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};

use crate::rows::Rows;

/// Integers of one width.
pub(super) enum Width {
    One(ScalarBuffer<i8>),
    Two(ScalarBuffer<i16>),
    Four(ScalarBuffer<i32>),
    Eight(ScalarBuffer<i64>),
}

/// The integers at a path.
pub struct Ints {
    pub(super) values: Width,
    pub(super) nulls: Option<NullBuffer>,
    pub(super) min: i64,
    pub(super) max: i64,
}

/// Adds the rows whose value passes.
fn select<T: Copy>(values: &[T], nulls: Option<&NullBuffer>, rows: &mut Rows, passes: impl Fn(T) -> bool) {
    let words = rows.words_mut();
    let mut valid = nulls.map(|nulls| nulls.inner().bit_chunks());
    let mut chunks = valid.as_mut().map(|chunks| chunks.iter_padded());
    for (word, chunk) in words.iter_mut().zip(values.chunks(64)) {
        let mut bits = 0;
        for (at, value) in chunk.iter().enumerate() {
            bits |= u64::from(passes(*value)) << at;
        }
        let valid = match &mut chunks {
            Some(chunks) => chunks.next().unwrap_or(0),
            None => u64::MAX,
        };
        *word |= bits & valid;
    }
}

/// Adds the rows that have a value.
fn present(count: usize, nulls: Option<&NullBuffer>, rows: &mut Rows) {
    match nulls {
        None => rows.or(&Rows::full(count as u32)),
        Some(nulls) => {
            let chunks = nulls.inner().bit_chunks();
            for (word, valid) in rows.words_mut().iter_mut().zip(chunks.iter_padded()) {
                *word |= valid;
            }
        }
    }
}

impl Ints {
    /// The smallest value.
    #[must_use]
    pub fn min(&self) -> i64 {
        self.min
    }

    /// The greatest value.
    #[must_use]
    pub fn max(&self) -> i64 {
        self.max
    }

    fn len(&self) -> usize {
        match &self.values {
            Width::One(values) => values.len(),
            Width::Two(values) => values.len(),
            Width::Four(values) => values.len(),
            Width::Eight(values) => values.len(),
        }
    }

    /// The value of a row.
    #[must_use]
    pub fn get(&self, row: u32) -> Option<i64> {
        let row = row as usize;
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return None;
        }
        Some(match &self.values {
            Width::One(values) => i64::from(values[row]),
            Width::Two(values) => i64::from(values[row]),
            Width::Four(values) => i64::from(values[row]),
            Width::Eight(values) => values[row],
        })
    }

    /// Adds the rows with a value in this range, both ends included.
    pub fn range(&self, from: i64, to: i64, rows: &mut Rows) {
        if to < self.min || from > self.max || from > to {
            return;
        }
        if from <= self.min && self.max <= to {
            return self.present(rows);
        }
        let nulls = self.nulls.as_ref();
        // Within the bounds of the values, the ends fit into their type.
        let (from, to) = (from.max(self.min), to.min(self.max));
        match &self.values {
            Width::One(values) => {
                let (from, to) = (from as i8, to as i8);
                select(values, nulls, rows, |value| (from <= value) & (value <= to));
            }
            Width::Two(values) => {
                let (from, to) = (from as i16, to as i16);
                select(values, nulls, rows, |value| (from <= value) & (value <= to));
            }
            Width::Four(values) => {
                let (from, to) = (from as i32, to as i32);
                select(values, nulls, rows, |value| (from <= value) & (value <= to));
            }
            Width::Eight(values) => select(values, nulls, rows, |value| (from <= value) & (value <= to)),
        }
    }

    /// Adds the rows that have a value.
    pub fn present(&self, rows: &mut Rows) {
        present(self.len(), self.nulls.as_ref(), rows);
    }
}

/// The number of the text of each row or entry.
pub(super) enum Ords {
    Single(ScalarBuffer<u16>),
    List(OffsetBuffer<i32>, ScalarBuffer<u32>),
}

/// The texts at a path: a sorted dictionary, and a number for each row or entry of a list.
pub struct Texts {
    pub(super) dictionary: StringArray,
    pub(super) ords: Ords,
    pub(super) nulls: Option<NullBuffer>,
}

impl Texts {
    /// The number of distinct texts.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.dictionary.len() as u32
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A text by its number.
    #[must_use]
    pub fn text(&self, ord: u32) -> &str {
        self.dictionary.value(ord as usize)
    }

    /// The number of a text, or that of the first greater one.
    pub fn ord(&self, text: &str) -> Result<u32, u32> {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from + (to - from) / 2;
            match self.text(middle).cmp(text) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => to = middle,
                std::cmp::Ordering::Equal => return Ok(middle),
            }
        }
        Err(from)
    }

    /// The number of the text of a row; of a list, that of its first entry.
    #[must_use]
    pub fn get(&self, row: u32) -> Option<u32> {
        match &self.ords {
            Ords::Single(ords) => {
                let missing = self
                    .nulls
                    .as_ref()
                    .is_some_and(|nulls| nulls.is_null(row as usize));
                (!missing).then(|| u32::from(ords[row as usize]))
            }
            Ords::List(..) => self.all(row).next(),
        }
    }

    /// The numbers of the texts of a row.
    pub fn all(&self, row: u32) -> impl Iterator<Item = u32> + '_ {
        let (single, list): (Option<u32>, &[u32]) = match &self.ords {
            Ords::Single(_) => (self.get(row), &[]),
            Ords::List(ends, ords) => {
                let row = row as usize;
                (None, &ords[ends[row] as usize..ends[row + 1] as usize])
            }
        };
        single.into_iter().chain(list.iter().copied())
    }

    /// Whether rows can have several texts.
    #[must_use]
    pub fn is_list(&self) -> bool {
        matches!(self.ords, Ords::List(..))
    }

    /// Adds the rows with a text whose number is in this range, both ends included.
    pub fn range(&self, from: u32, to: u32, rows: &mut Rows) {
        let to = to.min(self.len().saturating_sub(1));
        if from > to {
            return;
        }
        match &self.ords {
            Ords::Single(_) if from == 0 && to + 1 == self.len() => self.present(rows),
            Ords::Single(ords) => {
                let (from, to) = (from as u16, to as u16);
                select(ords, self.nulls.as_ref(), rows, |ord| (from <= ord) & (ord <= to));
            }
            Ords::List(..) => self.rows_with(rows, |ord| from <= ord && ord <= to),
        }
    }

    /// Adds the rows with one of these texts, given by their numbers in ascending order.
    pub fn any_of(&self, wanted: &[u32], rows: &mut Rows) {
        let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else {
            return;
        };
        if (last - first) as usize + 1 == wanted.len() {
            return self.range(*first, *last, rows);
        }
        let mut bits = vec![0_u64; self.len() as usize / 64 + 1];
        for ord in wanted {
            bits[*ord as usize / 64] |= 1 << (ord % 64);
        }
        let is = |ord: u32| bits[ord as usize / 64] >> (ord % 64) & 1 == 1;
        match &self.ords {
            Ords::Single(ords) => select(ords, self.nulls.as_ref(), rows, |ord| is(u32::from(ord))),
            Ords::List(..) => self.rows_with(rows, is),
        }
    }

    fn rows_with(&self, rows: &mut Rows, passes: impl Fn(u32) -> bool) {
        if let Ords::List(ends, ords) = &self.ords {
            for (row, ends) in ends.windows(2).enumerate() {
                if ords[ends[0] as usize..ends[1] as usize]
                    .iter()
                    .any(|ord| passes(*ord))
                {
                    rows.insert(row as u32);
                }
            }
        }
    }

    /// Adds the rows that have a text.
    pub fn present(&self, rows: &mut Rows) {
        let count = match &self.ords {
            Ords::Single(ords) => ords.len(),
            Ords::List(ends, _) => ends.len() - 1,
        };
        present(count, self.nulls.as_ref(), rows);
    }
}
