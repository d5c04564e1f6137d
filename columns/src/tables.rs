//! What joins the blocks of an index: where the live row of each record is, and which records a company has.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::chunked::Chunked;
use crate::numbers::NONE;

/// Stands for several records, which [`Tables::several`] has.
const SEVERAL: u32 = u32::MAX - 1;

/// The tables of one state of an index. Local numbers of companies are those of the index; the others are those of the
/// process ([`crate::Companies`]).
#[derive(Clone, Default)]
pub(crate) struct Tables {
    /// By number of a record, where its live row is: the slot of the block in the upper half, the row in the lower.
    pub(crate) location: Chunked,
    /// By number of a live company record, the local number of its company.
    pub(crate) company_of: Chunked,
    /// By local number of a company, its record, [`SEVERAL`] or [`NONE`].
    record_of: Chunked,
    /// The records of companies that have several.
    several: Arc<BTreeMap<u32, Vec<u32>>>,
    /// Of the records of a company that has several, the one that names it.
    pub(crate) naming: Arc<HashMap<u32, u32>>,
    /// By local number, the number of the company in this process.
    pub(crate) global: Chunked,
    /// By number of a company in this process, its local number.
    pub(crate) local: Chunked,
    /// The companies that have a record, by their numbers in this process.
    pub(crate) live: Arc<RoaringBitmap>,
}

/// The records of one company.
pub(crate) enum Records<'a> {
    /// At most one.
    One(Option<u32>),
    /// Several.
    Several(&'a [u32]),
}

impl Records<'_> {
    pub(crate) fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(one) => one.as_slice(),
            Self::Several(all) => all,
        }
    }
}

impl Tables {
    /// The records of a company, by its local number.
    pub(crate) fn records(&self, company: u32) -> Records<'_> {
        match self.record_of.get(company) {
            NONE => Records::One(None),
            SEVERAL => Records::Several(self.several.get(&company).map_or(&[], Vec::as_slice)),
            record => Records::One(Some(record)),
        }
    }

    /// Whether a company has several records.
    pub(crate) fn is_several(&self, company: u32) -> bool {
        self.record_of.get(company) == SEVERAL
    }

    /// The companies that have several records, by their local numbers.
    pub(crate) fn several(&self) -> impl Iterator<Item = (u32, &[u32])> {
        self.several
            .iter()
            .map(|(company, records)| (*company, records.as_slice()))
    }

    /// The record that names a company.
    pub(crate) fn naming(&self, company: u32) -> Option<u32> {
        match self.records(company) {
            Records::One(one) => one,
            Records::Several(all) => self.naming.get(&company).or(all.first()).copied(),
        }
    }

    /// Whether this record names this company.
    pub(crate) fn names(&self, record: u32, company: u32) -> bool {
        match self.record_of.get(company) {
            SEVERAL => self.naming(company) == Some(record),
            one => one == record,
        }
    }

    /// Notes that a live company record is of this company.
    pub(crate) fn attach(&mut self, record: u32, company: u32) {
        self.company_of.set(record, company);
        match self.record_of.get(company) {
            NONE => self.record_of.set(company, record),
            SEVERAL => {
                if let Some(all) = Arc::make_mut(&mut self.several).get_mut(&company)
                    && !all.contains(&record)
                {
                    all.push(record);
                }
            }
            one if one == record => {}
            one => {
                self.record_of.set(company, SEVERAL);
                Arc::make_mut(&mut self.several).insert(company, vec![one, record]);
            }
        }
    }

    /// Notes that a record is not of its company any more. Returns the company.
    pub(crate) fn detach(&mut self, record: u32) -> Option<u32> {
        let company = self.company_of.get(record);
        if company == NONE {
            return None;
        }
        self.company_of.set(record, NONE);
        match self.record_of.get(company) {
            SEVERAL => {
                let several = Arc::make_mut(&mut self.several);
                if let Some(all) = several.get_mut(&company) {
                    all.retain(|one| *one != record);
                    if let [one] = all[..] {
                        self.record_of.set(company, one);
                        several.remove(&company);
                        Arc::make_mut(&mut self.naming).remove(&company);
                    }
                }
            }
            one if one == record => self.record_of.set(company, NONE),
            _ => {}
        }
        Some(company)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_companies() {
        let mut tables = Tables::default();
        tables.attach(5, 0);
        tables.attach(6, 0);
        tables.attach(6, 0);
        tables.attach(7, 1);
        assert_eq!(tables.records(0).as_slice(), [5, 6]);
        assert!(tables.is_several(0) && !tables.is_several(1));
        assert_eq!(tables.detach(5), Some(0));
        assert_eq!(tables.detach(5), None);
        assert_eq!(tables.records(0).as_slice(), [6]);
        assert!(tables.names(6, 0) && !tables.names(5, 0));
        assert_eq!(tables.detach(6), Some(0));
        assert!(tables.records(0).as_slice().is_empty());
        assert_eq!(tables.records(1).as_slice(), [7]);
    }
}
