//! The words of a path, each with the rows that have it.

use std::collections::BTreeMap;

use arrow_array::{Array as _, BinaryArray, StringArray};

use super::column::Texts;
use super::text_builder::{Interner, TextBuilder};
use crate::rows::Rows;
use crate::text::words;

/// So few distinct texts are looked through when words are searched; no words are stored for them.
pub(super) const MOST_DERIVED: usize = 4_096;
/// Length of the bitmap of all rows of a block, in bytes. A list of rows is shorter.
const BITMAP: usize = 8_192;

/// The rows of a word: a list of 16-bit numbers, little-endian, or a bitmap of 8 KiB.
pub(super) struct Postings;

impl Postings {
    pub(super) fn encode(rows: &[u16]) -> Vec<u8> {
        if rows.len() * 2 < BITMAP {
            return rows.iter().flat_map(|row| row.to_le_bytes()).collect();
        }
        let mut bits = vec![0; BITMAP];
        for row in rows {
            bits[usize::from(*row) / 8] |= 1 << (row % 8);
        }
        bits
    }

    /// Adds the rows. Bytes that no encoding gives add nothing.
    pub(super) fn add(bytes: &[u8], to: &mut Rows) {
        if bytes.len() == BITMAP {
            for (word, bytes) in to.words_mut().iter_mut().zip(bytes.as_chunks::<8>().0) {
                *word |= u64::from_le_bytes(*bytes);
            }
            return;
        }
        for row in bytes.as_chunks::<2>().0 {
            to.insert(u32::from(u16::from_le_bytes(*row)));
        }
    }
}

/// Words to be stored: by path and word, the rows.
#[derive(Default)]
pub(super) struct WordLists {
    paths: BTreeMap<String, BTreeMap<String, Vec<u16>>>,
}

impl WordLists {
    pub(super) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Adds words with their rows.
    pub(super) fn add(&mut self, path: &str, of: &Interner, rows: &[(u32, u16)]) {
        if of.len() == 0 {
            return;
        }
        let mut lists: Vec<Vec<u16>> = vec![Vec::new(); of.len()];
        for (word, row) in rows {
            lists[*word as usize].push(*row);
        }
        let to = self.paths.entry(path.to_owned()).or_default();
        for (number, list) in lists.into_iter().enumerate() {
            merge(to.entry(of.get(number as u32).to_owned()).or_default(), list);
        }
    }

    /// Adds the words of the texts of these rows.
    pub(super) fn add_derived(&mut self, path: &str, of: &TextBuilder, rows: &Rows) {
        let mut of_text: Vec<Vec<u16>> = vec![Vec::new(); of.texts.len()];
        for (row, text) in &of.entries {
            if rows.contains(u32::from(*row)) {
                of_text[*text as usize].push(*row);
            }
        }
        let mut found = Interner::default();
        let mut pairs = Vec::new();
        for (text, rows) in of_text.iter().enumerate() {
            if rows.is_empty() {
                continue;
            }
            for word in words(of.texts.get(text as u32)) {
                let word = found.number(word);
                pairs.extend(rows.iter().map(|row| (word, *row)));
            }
        }
        self.add(path, &found, &pairs);
    }

    pub(super) fn into_paths(self) -> impl Iterator<Item = (String, BTreeMap<String, Vec<u16>>)> {
        self.paths.into_iter()
    }
}

fn merge(to: &mut Vec<u16>, mut more: Vec<u16>) {
    to.append(&mut more);
    to.sort_unstable();
    to.dedup();
}

/// Words that are not stored but found by looking through the dictionary of a text column.
pub(super) struct Derived {
    terms: Vec<String>,
    /// For each word the numbers of the texts that have it, ascending.
    ords: Vec<Vec<u32>>,
}

impl Derived {
    pub(super) fn of(texts: &Texts) -> Self {
        let mut all: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for ord in 0..texts.len() {
            for word in words(texts.text(ord)) {
                let ords = all.entry(word).or_default();
                if ords.last() != Some(&ord) {
                    ords.push(ord);
                }
            }
        }
        let (terms, ords) = all
            .into_iter()
            .map(|(word, ords)| (word.to_owned(), ords))
            .unzip();
        Self { terms, ords }
    }
}

/// The sorted words of a path.
pub struct Words<'a> {
    pub(super) form: Form<'a>,
}

pub(super) enum Form<'a> {
    /// Rows of the words file, from the first to before the second number.
    Stored(&'a StringArray, &'a BinaryArray, u32, u32),
    Derived(&'a Derived, &'a Texts),
}

impl Words<'_> {
    /// The number of words.
    #[must_use]
    pub fn len(&self) -> u32 {
        match &self.form {
            Form::Stored(_, _, from, to) => to - from,
            Form::Derived(derived, _) => derived.terms.len() as u32,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether they are found by looking through the texts.
    #[must_use]
    pub fn is_derived(&self) -> bool {
        matches!(self.form, Form::Derived(..))
    }

    /// One of the words, by its index.
    #[must_use]
    pub fn term(&self, at: u32) -> &str {
        match &self.form {
            Form::Stored(terms, _, from, _) => terms.value((from + at) as usize),
            Form::Derived(derived, _) => &derived.terms[at as usize],
        }
    }

    /// The index of a word, or that of the first greater one.
    pub fn find(&self, word: &str) -> Result<u32, u32> {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from + (to - from) / 2;
            match self.term(middle).cmp(word) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => to = middle,
                std::cmp::Ordering::Equal => return Ok(middle),
            }
        }
        Err(from)
    }

    /// Adds the rows that have a word, by its index.
    pub fn add(&self, at: u32, rows: &mut Rows) {
        match &self.form {
            Form::Stored(_, lists, from, _) => Postings::add(lists.value((from + at) as usize), rows),
            Form::Derived(derived, texts) => texts.any_of(&derived.ords[at as usize], rows),
        }
    }
}

/// Checks that a words file is what was written: sorted words within each range, rows that the block has.
pub(super) fn check(
    terms: &StringArray,
    lists: &BinaryArray,
    ranges: &[(String, u32, u32)],
    rows: u32,
) -> bool {
    let in_order =
        |from: u32, to: u32| (from + 1..to).all(|at| terms.value(at as usize - 1) < terms.value(at as usize));
    let fits = |bytes: &[u8]| {
        if bytes.len() == BITMAP {
            let mut all = Rows::default();
            Postings::add(bytes, &mut all);
            return all.iter().last().is_none_or(|row| row < rows);
        }
        let list = bytes.as_chunks::<2>().0;
        bytes.len().is_multiple_of(2) && list.iter().all(|row| u32::from(u16::from_le_bytes(*row)) < rows)
    };
    let count = terms.len() as u32;
    terms.len() == lists.len()
        && ranges
            .iter()
            .all(|(_, from, to)| from <= to && *to <= count && in_order(*from, *to))
        && (0..lists.len()).all(|at| fits(lists.value(at)))
}
