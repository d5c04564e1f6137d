//! Finds the records that match a condition.
//!
//! Conditions are evaluated block by block on dense sets of rows: NOT, conditions on the same record, and parents are plain
//! set operations. There are no postings of values: equality is a search in a sorted dictionary and a scan of small numbers.

use std::ops::ControlFlow;

use roaring::RoaringBitmap;

use crate::Error;
use crate::block::{Block, Texts, Words};
use crate::cancel::{check, check_at};
use crate::expr::{Comparison, Expr, Set, Test, TextTest, Values, WordTest, ordered_test, scaled_range};
use crate::rows::Rows;
use crate::snapshot::Snapshot;
use crate::state::Held;
use crate::typo::Terms;

impl Snapshot {
    /// The companies that have a matching record.
    ///
    /// # Errors
    /// Nobody waits for the result any more.
    pub fn search(&self, expr: &Expr) -> Result<RoaringBitmap, Error> {
        let mut found = self.none();
        for held in self.blocks() {
            let rows = matching(held, expr)?;
            self.add_companies(&held.block, &rows, &mut found);
        }
        Ok(found.into_bitmap())
    }

    /// The companies whose name-giving record matches.
    ///
    /// # Errors
    /// Nobody waits for the result any more.
    pub fn search_names(&self, expr: &Expr) -> Result<RoaringBitmap, Error> {
        let mut found = self.none();
        for held in self.blocks() {
            let rows = matching(held, expr)?;
            let (records, companies) = (held.block.records(), held.block.companies());
            for row in rows.iter() {
                let (record, company) = (records[row as usize], companies[row as usize]);
                if self.tables().names(record, company) {
                    found.insert(self.tables().global.get(company));
                }
            }
        }
        Ok(found.into_bitmap())
    }
}

/// The live rows of a block that match.
pub(crate) fn matching(held: &Held, expr: &Expr) -> Result<Rows, Error> {
    let mut rows = expr.rows(&BlockValues(&held.block))?;
    if !rows.is_empty() && !held.dead.is_empty() {
        rows.and_not(&held.dead);
    }
    Ok(rows)
}

impl Set for Rows {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    fn and(&mut self, other: &Self) {
        self.and(other);
    }

    fn or(&mut self, other: &Self) {
        self.or(other);
    }

    fn and_not(&mut self, other: &Self) {
        self.and_not(other);
    }
}

/// The values of a block.
struct BlockValues<'a>(&'a Block);

impl Values for BlockValues<'_> {
    type Rows = Rows;

    fn of_object(&self, object: &str) -> Result<Rows, Error> {
        Ok(if self.0.object() == object {
            Rows::full(self.0.rows())
        } else {
            Rows::default()
        })
    }

    fn passing(&self, path: &str, test: &Test) -> Result<Rows, Error> {
        let block = self.0;
        let mut found = Rows::default();
        match test {
            Test::Set => {
                for texts in [block.texts(path), block.decimals(path)].into_iter().flatten() {
                    texts.present(&mut found);
                }
                if let Some(ints) = block.ints(path) {
                    ints.present(&mut found);
                }
            }
            Test::Int(from, to) => {
                if let Some(ints) = block.ints(path)
                    && from <= to
                {
                    ints.range(*from, *to, &mut found);
                }
            }
            Test::Number(comparison, number) => {
                if let Some(ints) = block.ints(path)
                    && let Some((from, to)) = scaled_range(*comparison, number)
                {
                    ints.range(from, to, &mut found);
                }
                if let Some(decimals) = block.decimals(path) {
                    passing_text(decimals, &ordered_test(*comparison, number), &mut found)?;
                }
            }
            Test::Text(test) => {
                if let Some(texts) = block.texts(path) {
                    passing_text(texts, test, &mut found)?;
                }
            }
            Test::Words(all) => {
                if let Some(words) = block.words(path) {
                    for (at, one) in all.iter().enumerate() {
                        let with = with_word(&words, one)?;
                        if at == 0 {
                            found = with;
                        } else {
                            found.and(&with);
                        }
                        if found.is_empty() {
                            break;
                        }
                    }
                }
            }
        }
        Ok(found)
    }
}

/// The index of the first text that does not pass, of texts that pass first.
pub(crate) fn partition(texts: &Texts, passes: impl Fn(&str) -> bool) -> u32 {
    let (mut from, mut to) = (0, texts.len());
    while from < to {
        let middle = from + (to - from) / 2;
        if passes(texts.text(middle)) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    from
}

/// Adds the rows with a text that passes.
fn passing_text(texts: &Texts, test: &TextTest, found: &mut Rows) -> Result<(), Error> {
    let below = |text: &str| partition(texts, |one| one < text);
    let up_to = |text: &str| partition(texts, |one| one <= text);
    let (from, to) = match test {
        TextTest::Is(is) | TextTest::Compare(Comparison::Equal, is) => (below(is), up_to(is)),
        TextTest::Compare(Comparison::Less, with) => (0, below(with)),
        TextTest::Compare(Comparison::LessOrEqual, with) => (0, up_to(with)),
        TextTest::Compare(Comparison::Greater, with) => (up_to(with), texts.len()),
        TextTest::Compare(Comparison::GreaterOrEqual, with) => (below(with), texts.len()),
        TextTest::Like {
            before: false,
            text,
            after: true,
        } => {
            let head = |one: &str| one < text.as_str() || one.starts_with(text.as_str());
            (below(text), partition(texts, head))
        }
        TextTest::OneOf(wanted) if (wanted.len() as u64) < u64::from(texts.len()) / 8 => {
            let ords: Vec<u32> = wanted.iter().filter_map(|text| texts.ord(text).ok()).collect();
            texts.any_of(&ords, found);
            return Ok(());
        }
        TextTest::Like { .. } | TextTest::OneOf(_) => {
            let mut ords = Vec::new();
            for ord in 0..texts.len() {
                check_at(ord as usize)?;
                if test.passes(texts.text(ord)) {
                    ords.push(ord);
                }
            }
            texts.any_of(&ords, found);
            return Ok(());
        }
    };
    if from < to {
        texts.range(from, to - 1, found);
    }
    Ok(())
}

impl Terms for Words<'_> {
    fn len(&self) -> u32 {
        self.len()
    }

    fn term(&self, at: u32) -> &str {
        self.term(at)
    }
}

/// The rows with a word that passes.
fn with_word(words: &Words<'_>, test: &WordTest) -> Result<Rows, Error> {
    let mut found = Rows::default();
    if test.forgiving {
        let ended = test.automaton().find(words, |at| {
            words.add(at, &mut found);
            match check() {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            }
        });
        return match ended {
            ControlFlow::Continue(()) => Ok(found),
            ControlFlow::Break(error) => Err(error),
        };
    }
    match (test.before, test.after) {
        (false, false) => {
            if let Ok(at) = words.find(&test.word) {
                words.add(at, &mut found);
            }
        }
        (false, true) => {
            let first = words.find(&test.word).unwrap_or_else(|at| at);
            for at in first..words.len() {
                check_at(at as usize)?;
                if !words.term(at).starts_with(&test.word) {
                    break;
                }
                words.add(at, &mut found);
            }
        }
        (true, _) => {
            for at in 0..words.len() {
                check_at(at as usize)?;
                if test.passes(words.term(at)) {
                    words.add(at, &mut found);
                }
            }
        }
    }
    Ok(found)
}
