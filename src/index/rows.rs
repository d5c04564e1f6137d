//! Rows in memory, compared like the records of an index: the companies of a group's own list.

use std::collections::HashMap;

use roaring::RoaringBitmap;
use tether_columns::{Error, Test, Values as Valued, WordTest, check_at, ordered_test, scaled_range};

use super::mapping::{self, Sink};
use super::paths::CompanyPaths;

/// The values at one path, each with the number of its row.
#[derive(Default)]
struct Values {
    words: Vec<(u32, String)>,
    texts: Vec<(u32, String)>,
    ints: Vec<(u32, i64)>,
    decimals: Vec<(u32, String)>,
}

/// Rows in memory, with their values at some paths.
pub struct MemoryRows {
    paths: CompanyPaths,
    values: HashMap<String, Values>,
}

impl MemoryRows {
    /// No rows; of those that are added, the values at these paths are kept.
    #[must_use]
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a str>) -> Self {
        let kept = |path: &str| (path.to_owned(), Values::default());
        Self {
            paths: CompanyPaths::new(),
            values: paths.into_iter().map(kept).collect(),
        }
    }

    /// Adds a company, by its number.
    pub fn add_company(&mut self, row: u32, name: &str, homepage: &str, domain: &str) {
        let Self { paths, values } = self;
        mapping::company(&mut Row { row, values }, paths, name, homepage, domain);
    }
}

/// One row that is being added.
struct Row<'a> {
    row: u32,
    values: &'a mut HashMap<String, Values>,
}

impl Sink for Row<'_> {
    fn wants(&self, path: &str) -> bool {
        self.values.contains_key(path)
    }

    fn words(&mut self, path: &str, folded: &str) {
        if let Some(values) = self.values.get_mut(path) {
            values.words.push((self.row, folded.to_owned()));
        }
    }

    fn texts(&mut self, path: &str, texts: Vec<(String, &str)>) {
        if let Some(values) = self.values.get_mut(path) {
            values
                .texts
                .extend(texts.into_iter().map(|(folded, _)| (self.row, folded)));
        }
    }

    fn int(&mut self, path: &str, value: i64) {
        if let Some(values) = self.values.get_mut(path) {
            values.ints.push((self.row, value));
        }
    }

    fn decimal(&mut self, path: &str, ordered: String) {
        if let Some(values) = self.values.get_mut(path) {
            values.decimals.push((self.row, ordered));
        }
    }
}

impl Valued for MemoryRows {
    type Rows = RoaringBitmap;

    fn of_object(&self, _: &str) -> Result<RoaringBitmap, Error> {
        // They are companies, and records of no object.
        Ok(RoaringBitmap::new())
    }

    fn passing(&self, path: &str, test: &Test) -> Result<RoaringBitmap, Error> {
        let Some(values) = self.values.get(path) else {
            return Err(Error::Broken(format!("the values at {path} were not kept")));
        };
        match test {
            Test::Set => {
                let mut found = select(&values.texts, |_| true)?;
                found |= select(&values.decimals, |_| true)?;
                found |= select(&values.ints, |_| true)?;
                Ok(found)
            }
            Test::Int(from, to) => select(&values.ints, |value| (from..=to).contains(&value)),
            Test::Number(comparison, number) => {
                let ordered = ordered_test(*comparison, number);
                let mut found = select(&values.decimals, |value| ordered.passes(value))?;
                if let Some((from, to)) = scaled_range(*comparison, number) {
                    found |= select(&values.ints, |value| (from..=to).contains(value))?;
                }
                Ok(found)
            }
            Test::Text(test) => select(&values.texts, |value| test.passes(value)),
            Test::Words(all) => {
                let with = |test: &WordTest| select(&values.words, |text| test.passes_in(text));
                let mut found = match all.first() {
                    Some(first) => with(first)?,
                    None => RoaringBitmap::new(),
                };
                for test in all.iter().skip(1) {
                    found &= with(test)?;
                }
                Ok(found)
            }
        }
    }
}

/// The rows with a value that passes.
fn select<T>(values: &[(u32, T)], passes: impl Fn(&T) -> bool) -> Result<RoaringBitmap, Error> {
    let mut found = RoaringBitmap::new();
    for (at, (row, value)) in values.iter().enumerate() {
        check_at(at)?;
        if passes(value) {
            found.insert(*row);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
