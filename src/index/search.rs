//! Finds the records of an integration that match a condition: the tests of the values of an index.
//!
//! Conditions are evaluated on bitmaps of documents, not as queries of the library: NOT, conditions on the
//! same record, parents, and sets over several indexes are then plain set operations, and a range outside all
//! values of a column is handled correctly.

use std::ops::Bound;

use roaring::RoaringBitmap;
use tantivy::columnar::{Column, StrColumn};
use tantivy::schema::IndexRecordOption;
use tantivy::{SegmentReader, TERMINATED, Term};

use super::Error;
use super::cancel::{check, check_at};
use super::document::Fields;
use super::expr::{Comparison, Expr, Rows, Test, TextTest, WordTest, ordered_test, scaled_range};
use super::snapshot::{Snapshot, decimals, ints, texts};
use super::typo::AfterHead;

impl Snapshot {
    /// The companies that have a matching record.
    ///
    /// # Errors
    /// A file of the index cannot be read.
    pub fn search(&self, expr: &Expr) -> Result<RoaringBitmap, Error> {
        let found = self.documents(expr)?;
        self.companies_of(&found)
    }

    /// The companies whose name-giving record matches.
    ///
    /// # Errors
    /// A file of the index cannot be read.
    pub fn search_names(&self, expr: &Expr) -> Result<RoaringBitmap, Error> {
        let mut found = self.documents(expr)?;
        for (found, naming) in found.iter_mut().zip(self.naming()?) {
            *found &= naming;
        }
        self.companies_of(&found)
    }

    /// By segment, the documents that match.
    pub(super) fn documents(&self, expr: &Expr) -> Result<Vec<RoaringBitmap>, Error> {
        let segments = self.segments().iter();
        segments
            .map(|segment| {
                let fields = &self.fields;
                let mut found = expr.rows(&Documents { fields, segment })?;
                if segment.has_deletes() {
                    let dead: RoaringBitmap = found.iter().filter(|at| segment.is_deleted(*at)).collect();
                    found -= dead;
                }
                Ok(found)
            })
            .collect()
    }
}

/// The documents of one segment of an index.
pub(super) struct Documents<'a> {
    pub(super) fields: &'a Fields,
    pub(super) segment: &'a SegmentReader,
}

impl Rows for Documents<'_> {
    fn of_object(&self, object: &str) -> Result<RoaringBitmap, Error> {
        let term = Term::from_field_text(self.fields.object, object);
        postings(self.segment, &term)
    }

    fn passing(&self, path: &str, test: &Test) -> Result<RoaringBitmap, Error> {
        let segment = self.segment;
        let mut found = RoaringBitmap::new();
        match test {
            Test::Set => {
                for column in [texts(segment, path)?, decimals(segment, path)?]
                    .into_iter()
                    .flatten()
                {
                    found |= range(column.ords(), 0, u64::MAX);
                }
                if let Some(column) = ints(segment, path)? {
                    found |= range(&column, i64::MIN, i64::MAX);
                }
            }
            Test::Int(from, to) => {
                if let Some(column) = ints(segment, path)?
                    && from <= to
                {
                    found = range(&column, *from, *to);
                }
            }
            Test::Number(comparison, number) => {
                if let Some(column) = ints(segment, path)?
                    && let Some((from, to)) = scaled_range(*comparison, number)
                {
                    found = range(&column, from, to);
                }
                if let Some(column) = decimals(segment, path)? {
                    found |= text(&column, &ordered_test(*comparison, number))?;
                }
            }
            Test::Text(TextTest::Is(is)) => {
                let mut term = Term::from_field_json_path(self.fields.values, &format!("{path}/t"), false);
                term.append_type_and_str(is);
                found = postings(segment, &term)?;
            }
            Test::Text(test) => {
                if let Some(column) = texts(segment, path)? {
                    found = text(&column, test)?;
                }
            }
            Test::Words(all) => {
                for (at, one) in all.iter().enumerate() {
                    let with = self.with_word(path, one)?;
                    found = if at == 0 { with } else { found & with };
                    if found.is_empty() {
                        break;
                    }
                }
            }
        }
        Ok(found)
    }
}

impl Documents<'_> {
    fn with_word(&self, path: &str, test: &WordTest) -> Result<RoaringBitmap, Error> {
        let segment = self.segment;
        let head = format!("{path}\0");
        if !(test.before || test.after || test.forgiving) {
            return postings(
                segment,
                &Term::from_field_text(self.fields.words, &(head + &test.word)),
            );
        }
        let index = segment.inverted_index(self.fields.words)?;
        let terms = index.terms();
        let mut found = RoaringBitmap::new();
        let mut add = |info: &tantivy::postings::TermInfo| -> Result<(), Error> {
            let mut list = index.read_postings_from_terminfo(info, IndexRecordOption::Basic)?;
            found |= drain(&mut list);
            Ok(())
        };
        if test.forgiving {
            let automaton = AfterHead {
                head: head.into_bytes(),
                typo: test.automaton(),
            };
            let mut stream = terms.search(automaton).into_stream()?;
            while let Some((_, info)) = stream.next() {
                check()?;
                add(info)?;
            }
            return Ok(found);
        }
        let from = if test.before {
            head.clone()
        } else {
            format!("{head}{}", test.word)
        };
        let mut stream = terms.range().ge(from.as_bytes()).into_stream()?;
        let mut turn = 0;
        while let Some((term, info)) = stream.next() {
            turn += 1;
            check_at(turn)?;
            // Without an open beginning, all terms in the range start with the word.
            let begins = if test.before {
                head.as_bytes()
            } else {
                from.as_bytes()
            };
            if !term.starts_with(begins) {
                break;
            }
            let word = std::str::from_utf8(&term[head.len()..]).unwrap_or_default();
            if test.passes(word) {
                add(info)?;
            }
        }
        Ok(found)
    }
}

fn drain(list: &mut impl tantivy::DocSet) -> RoaringBitmap {
    let mut documents = Vec::with_capacity(list.size_hint() as usize);
    let mut document = list.doc();
    while document != TERMINATED {
        documents.push(document);
        document = list.advance();
    }
    documents.into_iter().collect()
}

fn postings(segment: &SegmentReader, term: &Term) -> Result<RoaringBitmap, Error> {
    let index = segment.inverted_index(term.field())?;
    let list = index.read_postings(term, IndexRecordOption::Basic)?;
    Ok(list.map(|mut list| drain(&mut list)).unwrap_or_default())
}

fn range<
    T: tantivy::columnar::MonotonicallyMappableToU64
        + PartialOrd
        + Copy
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
>(
    column: &Column<T>,
    from: T,
    to: T,
) -> RoaringBitmap {
    let mut documents = Vec::new();
    // Tantivy treats a range outside all values as one that contains the nearest value.
    if to < column.min_value() || from > column.max_value() {
        return RoaringBitmap::new();
    }
    column.get_docids_for_value_range(from..=to, 0..column.num_docs(), &mut documents);
    documents.into_iter().collect()
}

fn text(column: &StrColumn, test: &TextTest) -> Result<RoaringBitmap, Error> {
    let dictionary = column.dictionary();
    type Bytes = Bound<Vec<u8>>;
    let bounds: Option<(Bytes, Bytes)> = match test {
        TextTest::Is(is) => Some((
            Bound::Included(is.clone().into()),
            Bound::Included(is.clone().into()),
        )),
        TextTest::Compare(comparison, with) => {
            let with: Vec<u8> = with.clone().into();
            Some(match comparison {
                Comparison::Equal => (Bound::Included(with.clone()), Bound::Included(with)),
                Comparison::Less => (Bound::Unbounded, Bound::Excluded(with)),
                Comparison::LessOrEqual => (Bound::Unbounded, Bound::Included(with)),
                Comparison::Greater => (Bound::Excluded(with), Bound::Unbounded),
                Comparison::GreaterOrEqual => (Bound::Included(with), Bound::Unbounded),
            })
        }
        TextTest::Like {
            before: false,
            text,
            after: true,
        } => {
            let mut end: Vec<u8> = text.clone().into();
            // UTF-8 contains no byte 0xff, so this sorts after all texts with this prefix.
            end.push(0xff);
            Some((Bound::Included(text.clone().into()), Bound::Excluded(end)))
        }
        TextTest::Like { .. } | TextTest::OneOf(_) => None,
    };
    if let Some((from, to)) = bounds {
        let (from, to) = dictionary.term_bounds_to_ord(from, to)?;
        let from = match from {
            Bound::Included(ord) => Some(ord),
            Bound::Excluded(ord) => ord.checked_add(1),
            Bound::Unbounded => Some(0),
        };
        let to = match to {
            Bound::Included(ord) => Some(ord),
            Bound::Excluded(ord) => ord.checked_sub(1),
            Bound::Unbounded => Some(u64::MAX),
        };
        return Ok(match (from, to) {
            (Some(from), Some(to)) if from <= to => range(column.ords(), from, to),
            _ => RoaringBitmap::new(),
        });
    }
    let mut ords = RoaringBitmap::new();
    let mut stream = dictionary.stream()?;
    while stream.advance() {
        check_at(stream.term_ord() as usize)?;
        if test.passes(std::str::from_utf8(stream.key()).unwrap_or_default()) {
            ords.insert(stream.term_ord() as u32);
        }
    }
    if ords.is_empty() {
        return Ok(ords);
    }
    let column = column.ords();
    let documents = (0..column.num_docs()).filter(|document| {
        column
            .values_for_doc(*document)
            .any(|ord| ords.contains(ord as u32))
    });
    Ok(documents.collect())
}
