//! Sorting of companies: the values of sort keys, and the values at which a page ends.

use std::cmp::Ordering;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::order::{By, SortKey};
use super::problem::Error;
use super::rank_cache::RankCache;
use super::tracked::Row;
use crate::index::number::Number;
use crate::index::{self, Exact, Key, Ranks, Snapshot, Texts};

/// The value of one sort key at the end of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The company has no value.
    None,
    /// An integer or a scaled number.
    Integer(i64),
    /// Text, cut to the length that is used for sorting.
    Text(String),
    /// A decimal that is not an exact scaled number: the largest scaled number below it, and its sortable text.
    Decimal(i64, String),
}

/// The values of one sort key for all companies that matched, by their index in the set.
pub(super) struct SortColumn {
    keys: Vec<Option<Key>>,
    ranks: Option<Arc<Ranks>>,
    /// Sorted texts that are in no index: those of companies that only the group's own list has, labels of
    /// picklists, and sums that are no scaled numbers.
    own: Vec<String>,
    descending: bool,
    decimal: bool,
}

/// What columns are computed from.
pub(super) struct SortContext<'a> {
    /// The companies that matched.
    pub(super) matched: &'a RoaringBitmap,
    /// The snapshots that give companies their names, in order of precedence, each with the companies it names.
    pub(super) naming: Vec<(&'a Snapshot, RoaringBitmap)>,
    /// The rows of the group's own list that give companies their names.
    pub(super) rows: Vec<&'a Row<'a>>,
    /// The snapshots of all sources.
    pub(super) snapshots: &'a [Option<Arc<Snapshot>>],
    /// The classes of matches, best first.
    pub(super) classes: &'a [RoaringBitmap],
    pub(super) cache: &'a parking_lot::Mutex<RankCache>,
}

impl SortContext<'_> {
    pub(super) fn column(&self, key: &SortKey) -> Result<SortColumn, Error> {
        let count = usize::try_from(self.matched.len()).unwrap_or(usize::MAX);
        let mut column = SortColumn {
            keys: vec![None; count],
            ranks: None,
            own: Vec::new(),
            descending: key.descending,
            decimal: false,
        };
        let place = |company: u32| {
            self.matched
                .contains(company)
                .then(|| (self.matched.rank(company) - 1) as usize)
        };
        let snapshot = |source: usize| -> Result<&Snapshot, Error> {
            self.snapshots[source]
                .as_deref()
                .ok_or_else(|| index::Error::Broken("a source is not open".to_owned()).into())
        };
        let mut keys = std::mem::take(&mut column.keys);
        // Of several values, the smallest counts in ascending order, the largest in descending order.
        let mut put = |company: u32, value: Key| {
            if let Some(at) = place(company) {
                let better =
                    keys[at].is_none_or(|old| if key.descending { value > old } else { value < old });
                if better {
                    keys[at] = Some(value);
                }
            }
        };
        match &key.by {
            By::Class => {
                for (class, companies) in self.classes.iter().enumerate() {
                    for company in companies {
                        put(company, (class as i64, 0));
                    }
                }
            }
            By::Int(source, path) => snapshot(*source)?.each_int(path, put)?,
            By::Text(source, path) => {
                let snapshot = snapshot(*source)?;
                let ranks = RankCache::get(self.cache, &[snapshot], path, Texts::Texts)?;
                snapshot.each_text(&ranks, put)?;
                column.ranks = Some(ranks);
            }
            By::Label(source, path, labels) => {
                let snapshot = snapshot(*source)?;
                let ranks = RankCache::get(self.cache, &[snapshot], path, Texts::Texts)?;
                let mut shown = Vec::with_capacity(ranks.len());
                for place in (2..).step_by(2).take(ranks.len()) {
                    let text = ranks.text_at(place)?;
                    shown.push(labels.get(&text).cloned().unwrap_or(text));
                }
                let mut own = shown.clone();
                own.sort_unstable();
                own.dedup();
                column.own = own;
                let keys = shown.iter().map(|text| column.key_of(text));
                let keys = keys.collect::<Result<Vec<Key>, Error>>()?;
                snapshot.each_text(&ranks, |company, (place, _)| {
                    put(company, keys[(place / 2 - 1) as usize]);
                })?;
            }
            By::Number(source, path) => {
                let snapshot = snapshot(*source)?;
                let ranks = RankCache::get(self.cache, &[snapshot], path, Texts::Decimals)?;
                snapshot.each_int(path, &mut put)?;
                snapshot.each_decimal(path, &ranks, put)?;
                column.ranks = Some(ranks);
                column.decimal = true;
            }
            By::Measured(of) => {
                let measured = of.of(snapshot(of.source)?)?;
                column.decimal = true;
                column.own = measured.decimals();
                if let Some(Exact::Scaled(value)) = of.measure.unset() {
                    for company in self.matched - measured.companies()? {
                        put(company, (value, 0));
                    }
                }
                for (company, value) in measured.values() {
                    put(*company, column.key_of_number(value));
                }
            }
            By::Name | By::Domain => {
                let path = if key.by == By::Name {
                    index::sorted_name()
                } else {
                    index::domain()
                };
                let text = |row: &Row<'_>| {
                    let text = if key.by == By::Name {
                        &row.of.name_key
                    } else {
                        &row.of.domain
                    };
                    text.to_owned()
                };
                let snapshots: Vec<&Snapshot> = self.naming.iter().map(|(snapshot, _)| *snapshot).collect();
                let ranks = RankCache::get(self.cache, &snapshots, &path, Texts::Texts)?;
                let mut first = 0;
                for (snapshot, named) in &self.naming {
                    snapshot.each_name(|segment, document, company| {
                        if named.contains(company)
                            && let Some(rank) = ranks.of(first + segment, document)
                        {
                            put(company, (i64::from(rank), 0));
                        }
                    })?;
                    first += snapshot.segment_count();
                }
                let mut own: Vec<String> = self.rows.iter().map(|row| text(row)).collect();
                own.sort_unstable();
                own.dedup();
                column.own = own;
                column.ranks = Some(ranks);
                for row in &self.rows {
                    let text = text(row);
                    if !text.is_empty() {
                        put(row.number, column.key_of(&text)?);
                    }
                }
            }
        }
        column.keys = keys;
        Ok(column)
    }
}

impl SortColumn {
    /// The sort key of a text, which may be in no index.
    fn key_of(&self, text: &str) -> Result<Key, Error> {
        let text = &text[..text.floor_char_boundary(index::text::MOST_SORTED)];
        let place = match &self.ranks {
            Some(ranks) => ranks.place(text)?,
            None => 1,
        };
        if place % 2 == 0 {
            return Ok((i64::from(place), 0));
        }
        Ok((i64::from(place), self.among_own(text)))
    }

    /// The sort key of a number that was computed.
    fn key_of_number(&self, value: &Exact) -> Key {
        match value {
            Exact::Scaled(number) => (*number, 0),
            Exact::Decimal(text) => (Number::floor_of_ordered(text), self.among_own(text)),
        }
    }

    /// The rank of a text among those that are in no index: even for one of them, else the odd number between its
    /// neighbours.
    fn among_own(&self, text: &str) -> u32 {
        match self.own.binary_search_by(|own| own.as_str().cmp(text)) {
            Ok(at) => 2 * at as u32 + 2,
            Err(at) => 2 * at as u32 + 1,
        }
    }

    /// The sort key for the value at the end of an earlier page.
    pub(super) fn key(&self, place: &Place) -> Result<Option<Key>, Error> {
        Ok(Some(match place {
            Place::None => return Ok(None),
            Place::Integer(number) => (*number, 0),
            Place::Text(text) => self.key_of(text)?,
            Place::Decimal(below, text) => {
                let place = match &self.ranks {
                    Some(ranks) => ranks.place(text)?,
                    None => self.among_own(text),
                };
                (*below, place)
            }
        }))
    }

    /// The value of the company at this index, for a page token.
    pub(super) fn place(&self, at: usize) -> Result<Place, Error> {
        let Some((number, among)) = self.keys[at] else {
            return Ok(Place::None);
        };
        let Some(ranks) = &self.ranks else {
            return Ok(match self.own.get((among / 2).wrapping_sub(1) as usize) {
                Some(decimal) if self.decimal => Place::Decimal(number, decimal.clone()),
                Some(label) => Place::Text(label.clone()),
                None => Place::Integer(number),
            });
        };
        if self.decimal {
            return Ok(if among == 0 {
                Place::Integer(number)
            } else {
                Place::Decimal(number, ranks.text_at(among)?)
            });
        }
        if number % 2 == 0 {
            return Ok(Place::Text(ranks.text_at(number as u32)?));
        }
        Ok(Place::Text(
            self.own[(among / 2).saturating_sub(1) as usize].clone(),
        ))
    }

    pub(super) fn at(&self, at: usize) -> Option<Key> {
        self.keys[at]
    }

    /// Companies without a value come last in both directions.
    pub(super) fn compare(&self, a: Option<Key>, b: Option<Key>) -> Ordering {
        match (a, b) {
            (Some(a), Some(b)) if self.descending => b.cmp(&a),
            (Some(a), Some(b)) => a.cmp(&b),
            (a, b) => a.is_none().cmp(&b.is_none()),
        }
    }
}
