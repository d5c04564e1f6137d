//! The rank of each text of a path among all texts, over segments and indexes. Sorting compares ranks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tantivy::columnar::StrColumn;

use super::Error;
use super::cancel::check_at;
use super::snapshot::{Snapshot, decimals, ints, texts};
use super::text::MOST_SORTED;

/// Which texts are ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Texts {
    /// The texts themselves, by the bytes at their beginning.
    Texts,
    /// The decimals that are not scaled numbers.
    Decimals,
}

/// A sort key, ascending. For numbers: the scaled number, and the rank among the decimals that are not scaled
/// numbers.
pub type Key = (i64, u32);

/// The sorted texts of a path.
pub struct Ranks {
    columns: Vec<Option<StrColumn>>,
    /// The rank of each text, by column and the number of the text in the column.
    ranks: Vec<Vec<u32>>,
    /// For each rank, a column that has the text, and the number of the text there.
    at: Vec<(u32, u64)>,
    which: Texts,
}

fn sorted(which: Texts, text: &str) -> &str {
    match which {
        Texts::Texts => &text[..text.floor_char_boundary(MOST_SORTED)],
        Texts::Decimals => text,
    }
}

impl Ranks {
    /// Sorts the texts of a path over all segments of these indexes.
    ///
    /// # Errors
    /// A file of the index cannot be read.
    pub fn new(snapshots: &[&Snapshot], path: &str, which: Texts) -> Result<Self, Error> {
        let mut columns = Vec::new();
        for segment in snapshots.iter().flat_map(|snapshot| snapshot.segments()) {
            columns.push(match which {
                Texts::Texts => texts(segment, path)?,
                Texts::Decimals => decimals(segment, path)?,
            });
        }
        let mut streams = Vec::new();
        let mut ranks: Vec<Vec<u32>> = Vec::new();
        for column in &columns {
            ranks.push(Vec::with_capacity(
                column
                    .as_ref()
                    .map_or(0, |column| column.dictionary().num_terms()),
            ));
            streams.push(
                column
                    .as_ref()
                    .map(|column| column.dictionary().stream())
                    .transpose()?,
            );
        }
        let mut heap = BinaryHeap::new();
        for (which, stream) in streams.iter_mut().enumerate() {
            if let Some(stream) = stream
                && stream.advance()
            {
                heap.push(Reverse((stream.key().to_vec(), which)));
            }
        }
        let mut at: Vec<(u32, u64)> = Vec::new();
        let mut last: Option<Vec<u8>> = None;
        while let Some(Reverse((mut term, column))) = heap.pop() {
            let text = std::str::from_utf8(&term).unwrap_or_default();
            let text = sorted(which, text).as_bytes();
            if last.as_deref() != Some(text) {
                last = Some(text.to_vec());
                at.push((column as u32, ranks[column].len() as u64));
            }
            check_at(ranks[column].len())?;
            ranks[column].push((at.len() - 1) as u32);
            if let Some(stream) = &mut streams[column]
                && stream.advance()
            {
                term.clear();
                term.extend_from_slice(stream.key());
                heap.push(Reverse((term, column)));
            }
        }
        drop(streams);
        Ok(Self {
            columns,
            ranks,
            at,
            which,
        })
    }

    /// The rank of the text of a document. Columns are numbered like the segments, over all indexes.
    #[must_use]
    pub fn of(&self, column: usize, document: u32) -> Option<u32> {
        let ord = self.columns[column].as_ref()?.ords().first(document)?;
        Some(2 * self.ranks[column][ord as usize] + 2)
    }

    /// The number of distinct texts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.at.len()
    }

    /// Whether there are no texts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// The rank of any text: an even number for a text that is in the index, else the odd number between its
    /// neighbours.
    ///
    /// # Errors
    /// A file of the index cannot be read.
    pub fn place(&self, text: &str) -> Result<u32, Error> {
        let text = sorted(self.which, text);
        let (mut from, mut to) = (0, self.at.len());
        while from < to {
            let middle = usize::midpoint(from, to);
            match self.text(middle)?.as_str().cmp(text) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => to = middle,
                std::cmp::Ordering::Equal => return Ok(2 * middle as u32 + 2),
            }
        }
        Ok(2 * from as u32 + 1)
    }

    /// The text of an even rank.
    ///
    /// # Errors
    /// A file of the index cannot be read.
    pub fn text_at(&self, place: u32) -> Result<String, Error> {
        self.text((place / 2).saturating_sub(1) as usize)
    }

    fn text(&self, rank: usize) -> Result<String, Error> {
        let (column, ord) = self.at[rank];
        let mut text = String::new();
        if let Some(column) = &self.columns[column as usize] {
            column.ord_to_str(ord, &mut text)?;
        }
        Ok(sorted(self.which, &text).to_owned())
    }
}

impl Snapshot {
    /// The number of segments.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments().len()
    }

    /// Calls `each` with (segment, document, company) for each document that determines the name of its
    /// company.
    ///
    /// # Errors
    /// A file of the index cannot be read.
    pub fn each_name(&self, mut each: impl FnMut(usize, u32, u32)) -> Result<(), Error> {
        for (segment, documents) in self.naming()?.iter().enumerate() {
            for document in documents {
                each(segment, document, self.company(segment, document)?);
            }
        }
        Ok(())
    }

    /// Calls `each` with (company, key) for each company record that has text at this path.
    ///
    /// # Errors
    /// A file of the index cannot be read.
    pub fn each_text(&self, ranks: &Ranks, mut each: impl FnMut(u32, Key)) -> Result<(), Error> {
        self.each_company_record(|segment, document, company| {
            if let Some(place) = ranks.of(segment, document) {
                each(company, (i64::from(place), 0));
            }
        })
    }

    /// Calls `each` with (company, key) for each company record that has an integer at this path.
    ///
    /// # Errors
    /// A file of the index cannot be read.
    pub fn each_int(&self, path: &str, mut each: impl FnMut(u32, Key)) -> Result<(), Error> {
        let columns = self.segments().iter().map(|segment| ints(segment, path));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        self.each_company_record(|segment, document, company| {
            if let Some(number) = columns[segment]
                .as_ref()
                .and_then(|column| column.first(document))
            {
                each(company, (number, 0));
            }
        })
    }
}

impl Snapshot {
    /// Calls `each` with (company, key) for each company record that has a decimal at this path that is not a scaled
    /// number.
    ///
    /// # Errors
    /// A file of the index cannot be read.
    pub fn each_decimal(
        &self,
        path: &str,
        ranks: &Ranks,
        mut each: impl FnMut(u32, Key),
    ) -> Result<(), Error> {
        let columns = self.segments().iter().map(|segment| decimals(segment, path));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        if columns.iter().all(Option::is_none) {
            return Ok(());
        }
        // There are few such numbers: compute the scaled number below each of them once.
        let mut below = Vec::new();
        for rank in 0..ranks.len() {
            below.push(super::number::Number::floor_of_ordered(&ranks.text(rank)?));
        }
        self.each_company_record(|segment, document, company| {
            if let Some(place) = ranks.of(segment, document) {
                each(company, (below[(place / 2 - 1) as usize], place));
            }
        })
    }
}
