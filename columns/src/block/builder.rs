//! Collects the rows of a block.

use hashbrown::HashMap;

use super::read::Block;
use super::text_builder::{Interner, TextBuilder};
use crate::Error;
use crate::rows::Rows;
use crate::text::words;

/// What is collected of one path.
#[derive(Default)]
pub(super) struct PathBuilder {
    pub(super) ints: Vec<(u16, i64)>,
    pub(super) decimals: TextBuilder,
    pub(super) texts: TextBuilder,
    /// The texts as they were written; empty while all are as folded.
    pub(super) shown: TextBuilder,
    /// The words of rows whose words are not those of their text.
    pub(super) words: Interner,
    pub(super) word_rows: Vec<(u32, u16)>,
    /// The rows whose words are those of their text.
    pub(super) derived: Option<Rows>,
    /// Words of the present row: whether they are those of its text is known when the text comes.
    waiting: Vec<String>,
}

impl PathBuilder {
    fn bytes(&self) -> usize {
        let texts = self.decimals.bytes() + self.texts.bytes() + self.shown.bytes() + self.words.bytes();
        texts + 16 * self.ints.capacity() + 8 * self.word_rows.capacity() + 8_192
    }

    fn add_words(&mut self, row: u16, folded: &str) {
        for word in words(folded) {
            let word = self.words.number(word);
            self.word_rows.push((word, row));
        }
    }

    /// The words that wait belong to this row after all.
    fn settle(&mut self, row: u16) {
        for text in std::mem::take(&mut self.waiting) {
            self.add_words(row, &text);
        }
    }
}

/// Collects the rows of a block.
#[derive(Default)]
pub struct BlockBuilder {
    pub(super) records: Vec<u32>,
    pub(super) companies: Vec<u32>,
    pub(super) parents: Vec<u32>,
    /// Where the parents of each row end.
    pub(super) parent_ends: Vec<i32>,
    pub(super) paths: Vec<(String, PathBuilder)>,
    by_path: HashMap<String, usize>,
    /// The path behind the one used last: most records have the same paths in the same order.
    next: usize,
}

impl BlockBuilder {
    /// Starts a row; the values that follow belong to it. A block has at most 65,535.
    pub fn row(&mut self, record: u32, company: u32, parents: &[u32]) {
        self.settle();
        self.records.push(record);
        self.companies.push(company);
        self.parents.extend_from_slice(parents);
        self.parent_ends.push(self.parents.len() as i32);
    }

    /// The present row.
    fn at(&self) -> u16 {
        self.records.len().saturating_sub(1) as u16
    }

    fn path(&mut self, path: &str) -> &mut PathBuilder {
        let last = self.next.saturating_sub(1);
        let is = |at: usize| self.paths.get(at).is_some_and(|(known, _)| known == path);
        let at = if is(last) {
            last
        } else if is(self.next) {
            self.next
        } else if let Some(at) = self.by_path.get(path) {
            *at
        } else {
            let at = self.paths.len();
            self.paths.push((path.to_owned(), PathBuilder::default()));
            self.by_path.insert(path.to_owned(), at);
            at
        };
        self.next = at + 1;
        &mut self.paths[at].1
    }

    /// Sets the integer at a path: a boolean, a time or a scaled number.
    pub fn int(&mut self, path: &str, value: i64) {
        let row = self.at();
        self.path(path).ints.push((row, value));
    }

    /// Sets the decimal at a path that is no scaled number, as a sortable text ([`crate::number::Number::ordered`]).
    pub fn decimal(&mut self, path: &str, ordered: &str) {
        let row = self.at();
        self.path(path).decimals.add(row, ordered);
    }

    /// Sets the text at a path, or the entries of a list: each folded.
    pub fn texts(&mut self, path: &str, folded: &[&str]) {
        self.texts_as_written(path, folded, folded);
    }

    /// Sets the text at a path, or the entries of a list: each folded, and as it was written.
    pub fn texts_as_written(&mut self, path: &str, folded: &[&str], written: &[&str]) {
        let row = self.at();
        let to = self.path(path);
        if let ([text], [words]) = (folded, to.waiting.as_slice())
            && words == text
        {
            to.waiting.clear();
            to.derived.get_or_insert_default().insert(u32::from(row));
        }
        if folded != written && to.shown.entries.is_empty() {
            // From now on both differ: the texts before were written as they were folded.
            for (row, text) in &to.texts.entries {
                to.shown.add(*row, to.texts.texts.get(*text));
            }
        }
        let both = folded != written || !to.shown.entries.is_empty();
        for text in folded {
            to.texts.add(row, text);
        }
        if both {
            for text in written {
                to.shown.add(row, text);
            }
        }
    }

    /// Adds words by which the row is found at a path. May be called before the path gets its text.
    pub fn words(&mut self, path: &str, folded: &str) {
        let to = self.path(path);
        to.waiting.push(folded.to_owned());
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.records.len() as u32
    }

    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let paths: usize = self.paths.iter().map(|(_, path)| path.bytes()).sum();
        paths + 16 * self.records.capacity()
    }

    /// Words that wait for their text are words of their own.
    pub(super) fn settle(&mut self) {
        let row = self.at();
        for (_, path) in &mut self.paths {
            if !path.waiting.is_empty() {
                path.settle(row);
            }
        }
    }

    /// Copies the rows of a block for which `live` holds, in their order.
    ///
    /// # Errors
    /// The block is damaged.
    pub fn append(&mut self, block: &Block, live: &dyn Fn(u32) -> bool) -> Result<(), Error> {
        const DEAD: u32 = u32::MAX;
        let mut to = vec![DEAD; block.rows() as usize];
        for row in (0..block.rows()).filter(|row| live(*row)) {
            to[row as usize] = self.rows();
            let at = row as usize;
            self.row(block.records()[at], block.companies()[at], block.parents(row));
        }
        let new = |row: u32| {
            Some(to[row as usize])
                .filter(|row| *row != DEAD)
                .map(|row| row as u16)
        };
        for path in block.paths() {
            let path_builder = self.path(path);
            if let Some(ints) = block.ints(path) {
                let values = (0..block.rows()).filter_map(|row| Some((new(row)?, ints.get(row)?)));
                path_builder.ints.extend(values);
            }
            if let Some(decimals) = block.decimals(path) {
                copy(decimals, &mut path_builder.decimals, &to);
            }
            let Some(texts) = block.texts(path) else {
                continue;
            };
            let before = path_builder.texts.entries.len();
            copy(texts, &mut path_builder.texts, &to);
            match block.written(path) {
                Some(written) => {
                    if path_builder.shown.entries.is_empty() {
                        for (row, text) in &path_builder.texts.entries[..before] {
                            path_builder.shown.add(*row, path_builder.texts.texts.get(*text));
                        }
                    }
                    copy(written, &mut path_builder.shown, &to);
                }
                None if !path_builder.shown.entries.is_empty() => copy(texts, &mut path_builder.shown, &to),
                None => {}
            }
        }
        for path in block.worded() {
            let Some(words) = block.words(path) else { continue };
            let path_builder = self.path(path);
            if words.is_derived() {
                let derived = path_builder.derived.get_or_insert_default();
                let mut rows = Rows::default();
                if let Some(texts) = block.texts(path) {
                    texts.present(&mut rows);
                }
                rows.iter()
                    .filter_map(new)
                    .for_each(|row| derived.insert(u32::from(row)));
                continue;
            }
            for at in 0..words.len() {
                let mut rows = Rows::default();
                words.add(at, &mut rows);
                let word = path_builder.words.number(words.term(at));
                path_builder
                    .word_rows
                    .extend(rows.iter().filter_map(new).map(|row| (word, row)));
            }
        }
        Ok(())
    }
}

/// Copies texts; `to` has the new number of each row.
fn copy(from: &super::column::Texts, to: &mut TextBuilder, rows: &[u32]) {
    let mut numbers = vec![u32::MAX; from.len() as usize];
    for (row, new) in rows.iter().enumerate() {
        if *new == u32::MAX {
            continue;
        }
        for ord in from.all(row as u32) {
            let number = &mut numbers[ord as usize];
            if *number == u32::MAX {
                *number = to.texts.number(from.text(ord));
            }
            to.entries.push((*new as u16, *number));
        }
    }
}
