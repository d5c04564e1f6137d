//! An immutable state of the index of one integration: its segments, and the company of each document.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use roaring::RoaringBitmap;
use tantivy::columnar::{Column, StrColumn};
use tantivy::index::SegmentId;
use tantivy::{Searcher, SegmentReader};

use super::Error;
use super::cancel::check_at;
use super::companies::Companies;
use super::document::Fields;
use super::files::Files;
use super::paths::{external_id, sorted_name};
use super::position::Position;

/// Marks a missing number.
const NONE: u32 = u32::MAX;

/// The immutable data of a segment: which company each document belongs to.
pub(super) struct Table {
    /// By document, the company number; only for company records.
    company: Vec<u32>,
    /// By document, the number of the record; only for company records.
    record: Vec<u32>,
    /// By document, the index of its first parent in `parents`; one more entry at the end.
    first: Vec<u32>,
    /// The record numbers of the parents.
    parents: Vec<u32>,
}

/// Data shared by the snapshots of one index: the numbers of its records, and the tables of its segments.
#[derive(Default)]
pub(super) struct Shared {
    records: Mutex<HashMap<u128, u32>>,
    tables: Mutex<HashMap<SegmentId, Arc<Table>>>,
}

/// Which company each document belongs to, in one snapshot.
struct Join {
    tables: Vec<Arc<Table>>,
    /// By number of a company record, its company.
    company_of: Vec<u32>,
    /// The companies of which the integration has a record.
    companies: RoaringBitmap,
    /// By segment, the documents that give their company its name: of several records, the first by name and id.
    naming: Vec<RoaringBitmap>,
}

/// An immutable state of the index of one integration. Searches use it while newer changes are applied.
pub struct Snapshot {
    /// Unique among all snapshots of this process.
    pub id: u64,
    /// The position of the index in the change feed.
    pub position: Position,
    pub(super) searcher: Searcher,
    pub(super) fields: Fields,
    shared: Arc<Shared>,
    companies: Arc<Companies>,
    pub(super) files: Arc<Files>,
    join: OnceLock<Join>,
}

impl Snapshot {
    pub(super) fn new(
        position: Position,
        searcher: Searcher,
        fields: Fields,
        shared: Arc<Shared>,
        companies: Arc<Companies>,
        files: Arc<Files>,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            position,
            searcher,
            fields,
            shared,
            companies,
            files,
            join: OnceLock::new(),
        }
    }

    /// Checks that the index files have the content that was written. A search result is valid only if this check
    /// passes both before and after the search. Blocks for about a microsecond per file.
    ///
    /// # Errors
    /// [`Error::Damaged`], or a temporary error of the operating system.
    pub fn check(&self) -> Result<(), Error> {
        self.files.check()
    }

    pub(super) fn segments(&self) -> &[SegmentReader] {
        self.searcher.segment_readers()
    }

    /// The companies of which the integration has a record.
    ///
    /// # Errors
    /// A file of the index cannot be read.
    pub fn companies(&self) -> Result<&RoaringBitmap, Error> {
        Ok(&self.join()?.companies)
    }

    /// The companies of these documents, which are given by segment.
    pub(super) fn companies_of(&self, found: &[RoaringBitmap]) -> Result<RoaringBitmap, Error> {
        let mut companies = Vec::new();
        self.each_company_of(found, |_, _, company| {
            companies.push(company);
            Ok(())
        })?;
        companies.sort_unstable();
        companies.dedup();
        RoaringBitmap::from_sorted_iter(companies).map_err(|error| Error::Broken(error.to_string()))
    }

    /// Calls `each` with (segment, document, company) for each company of each of these documents, which are given by
    /// segment.
    pub(super) fn each_company_of(
        &self,
        found: &[RoaringBitmap],
        mut each: impl FnMut(usize, u32, u32) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let join = self.join()?;
        let mut companies = Vec::new();
        for (segment, (table, documents)) in join.tables.iter().zip(found).enumerate() {
            for (turn, document) in documents.iter().enumerate() {
                check_at(turn)?;
                let at = document as usize;
                if table.company[at] != NONE {
                    each(segment, document, table.company[at])?;
                    continue;
                }
                let parents = &table.parents[table.first[at] as usize..table.first[at + 1] as usize];
                let of = |parent: &u32| join.company_of.get(*parent as usize).copied().unwrap_or(NONE);
                companies.clear();
                companies.extend(parents.iter().map(of).filter(|company| *company != NONE));
                companies.sort_unstable();
                companies.dedup();
                for company in &companies {
                    each(segment, document, *company)?;
                }
            }
        }
        Ok(())
    }

    /// Calls `each` with (segment, document, company) for each live company record.
    pub(super) fn each_company_record(&self, mut each: impl FnMut(usize, u32, u32)) -> Result<(), Error> {
        for (at, (table, segment)) in self.join()?.tables.iter().zip(self.segments()).enumerate() {
            for (document, company) in table.company.iter().enumerate() {
                check_at(document)?;
                let document = document as u32;
                if *company != NONE && !segment.is_deleted(document) {
                    each(at, document, *company);
                }
            }
        }
        Ok(())
    }

    /// By segment, the documents that give their companies their names.
    pub(super) fn naming(&self) -> Result<&[RoaringBitmap], Error> {
        Ok(&self.join()?.naming)
    }

    /// The company of a company record.
    pub(super) fn company(&self, segment: usize, document: u32) -> Result<u32, Error> {
        Ok(self.join()?.tables[segment].company[document as usize])
    }

    fn join(&self) -> Result<&Join, Error> {
        if let Some(join) = self.join.get() {
            return Ok(join);
        }
        let made = self.make_join()?;
        Ok(self.join.get_or_init(|| made))
    }

    fn make_join(&self) -> Result<Join, Error> {
        let mut tables = Vec::new();
        let mut kept = HashMap::new();
        for segment in self.segments() {
            let known = self.shared.tables.lock().get(&segment.segment_id()).cloned();
            let table = match known {
                Some(table) => table,
                None => Arc::new(self.table(segment)?),
            };
            kept.insert(segment.segment_id(), Arc::clone(&table));
            tables.push(table);
        }
        *self.shared.tables.lock() = kept;
        let mut company_of = vec![NONE; self.shared.records.lock().len()];
        let mut companies = RoaringBitmap::new();
        let mut several = RoaringBitmap::new();
        let mut all: Vec<u32> = Vec::new();
        for (table, segment) in tables.iter().zip(self.segments()) {
            for (document, company) in table.company.iter().enumerate() {
                if *company != NONE && !segment.is_deleted(document as u32) {
                    company_of[table.record[document] as usize] = *company;
                    all.push(*company);
                }
            }
        }
        all.sort_unstable();
        for pair in all.windows(2) {
            if pair[0] == pair[1] {
                several.insert(pair[0]);
            }
        }
        companies.extend(all);
        let naming = self.find_naming(&tables, &several)?;
        Ok(Join {
            tables,
            company_of,
            companies,
            naming,
        })
    }

    fn find_naming(
        &self,
        tables: &[Arc<Table>],
        several: &RoaringBitmap,
    ) -> Result<Vec<RoaringBitmap>, Error> {
        type First = (String, String, usize, u32);
        let mut naming: Vec<RoaringBitmap> = Vec::new();
        let mut first: HashMap<u32, First> = HashMap::new();
        for (at, (table, segment)) in tables.iter().zip(self.segments()).enumerate() {
            let mut of_segment = Vec::new();
            let (name, id) = (texts(segment, &sorted_name())?, texts(segment, &external_id())?);
            for (document, company) in table.company.iter().enumerate() {
                let document = document as u32;
                if *company == NONE || segment.is_deleted(document) {
                    continue;
                }
                if !several.contains(*company) {
                    of_segment.push(document);
                    continue;
                }
                let this = (text_of(&name, document)?, text_of(&id, document)?, at, document);
                match first.entry(*company) {
                    std::collections::hash_map::Entry::Vacant(entry) => {
                        entry.insert(this);
                    }
                    std::collections::hash_map::Entry::Occupied(mut entry) => {
                        if (&this.0, &this.1) < (&entry.get().0, &entry.get().1) {
                            entry.insert(this);
                        }
                    }
                }
            }
            naming.push(of_segment.into_iter().collect());
        }
        for (_, _, segment, document) in first.into_values() {
            naming[segment].insert(document);
        }
        Ok(naming)
    }

    fn table(&self, segment: &SegmentReader) -> Result<Table, Error> {
        let column = |name: &str| {
            let found = segment.fast_fields().column_opt::<u64>(name)?;
            Ok::<_, Error>(found.unwrap_or_else(|| Column::build_empty_column(segment.max_doc())))
        };
        let pair = |of: [&str; 2]| Ok::<_, Error>([column(of[0])?, column(of[1])?]);
        let (id, company, parents) = (
            pair(["id0", "id1"])?,
            pair(["company0", "company1"])?,
            pair(["parent0", "parent1"])?,
        );
        let number = |of: &[Column<u64>; 2], document: u32| {
            Some(u128::from(of[0].first(document)?) << 64 | u128::from(of[1].first(document)?))
        };
        let documents = segment.max_doc();
        let ids: Vec<Option<u128>> = (0..documents)
            .map(|document| number(&company, document))
            .collect();
        let mut numbers = self.companies.numbers(ids.iter().flatten().copied()).into_iter();
        let company: Vec<u32> = ids
            .iter()
            .map(|id| id.and_then(|_| numbers.next()).unwrap_or(NONE))
            .collect();
        let mut records = self.shared.records.lock();
        let mut number_of = |id: u128| {
            let next = records.len() as u32;
            *records.entry(id).or_insert(next)
        };
        let mut table = Table {
            record: vec![NONE; documents as usize],
            first: Vec::with_capacity(documents as usize + 1),
            parents: Vec::new(),
            company,
        };
        for document in 0..documents {
            table.first.push(table.parents.len() as u32);
            if table.company[document as usize] != NONE {
                if let Some(id) = number(&id, document) {
                    table.record[document as usize] = number_of(id);
                }
                continue;
            }
            let halves = parents[0]
                .values_for_doc(document)
                .zip(parents[1].values_for_doc(document));
            for (high, low) in halves {
                table
                    .parents
                    .push(number_of(u128::from(high) << 64 | u128::from(low)));
            }
        }
        table.first.push(table.parents.len() as u32);
        Ok(table)
    }
}

/// The text column of a path in a segment, if it exists.
pub(super) fn texts(segment: &SegmentReader, path: &str) -> Result<Option<StrColumn>, Error> {
    Ok(segment.fast_fields().str(&format!("v.{path}/t"))?)
}

/// The integer column of a path in a segment, if it exists.
pub(super) fn ints(segment: &SegmentReader, path: &str) -> Result<Option<Column<i64>>, Error> {
    Ok(segment.fast_fields().column_opt::<i64>(&format!("v.{path}/i"))?)
}

/// The column of a path in a segment with the decimals that are not scaled numbers, if it exists.
pub(super) fn decimals(segment: &SegmentReader, path: &str) -> Result<Option<StrColumn>, Error> {
    Ok(segment.fast_fields().str(&format!("v.{path}/d"))?)
}

pub(super) fn text_of(column: &Option<StrColumn>, document: u32) -> Result<String, Error> {
    let mut text = String::new();
    if let Some(column) = column
        && let Some(ord) = column.ords().first(document)
    {
        column.ord_to_str(ord, &mut text)?;
    }
    Ok(text)
}
