//! Sorting of companies: sort keys, their values, and the values at which a page ends.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::ast::Name;
use super::check::{field, target};
use super::parse::OrderKey;
use super::run::Row;
use super::{Error, Fault, Problem, Source};
use crate::index::{self, Key, Kind, Ranks, Snapshot, Texts};

/// What a sort key compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum By {
    /// The displayed name.
    Name,
    /// The displayed domain.
    Domain,
    /// How well the search words match.
    Class,
    /// Text of a source at this path.
    Text(usize, String),
    /// Integers of a source at this path.
    Int(usize, String),
    /// Decimals of a source at this path.
    Number(usize, String),
}

/// One sort key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SortKey {
    pub(super) by: By,
    pub(super) descending: bool,
}

impl SortKey {
    /// The source that the key depends on.
    pub(super) fn source(&self) -> Option<usize> {
        match &self.by {
            By::Text(source, _) | By::Int(source, _) | By::Number(source, _) => Some(*source),
            By::Name | By::Domain | By::Class => None,
        }
    }
}

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

pub(super) fn sort_key(sources: &[Source], (names, descending): OrderKey) -> Result<SortKey, Problem> {
    let fault = |at: &Name, message: &str| Problem::new(Fault::Syntax, at.spot.clone(), message);
    let by = match names.as_slice() {
        [name] if name.text == "display_name" => By::Name,
        [name] if name.text == "domain" => By::Domain,
        [label, object, key, part @ ..] => {
            let (source, field) = field(sources, label, object, key)?;
            if field.object != sources[source].company_object {
                return Err(fault(
                    object,
                    "is a related object: only fields of companies can be sorted by",
                ));
            }
            let target = target(field, part.first())?;
            let path = target.paths[0].clone();
            match target.kind {
                Some(Kind::Text | Kind::Reference) => By::Text(source, path),
                Some(Kind::Number) => By::Number(source, path),
                Some(Kind::Boolean | Kind::Date | Kind::Timestamp | Kind::Time) => By::Int(source, path),
                None => return Err(fault(key, "needs a part, such as .city, to be sorted by")),
                Some(_) => return Err(fault(key, "cannot be sorted by: it is a list, HTML or long text")),
            }
        }
        names => {
            return Err(fault(
                &names[0],
                "is not a sort key: write display_name, domain or source.Object.Field",
            ));
        }
    };
    Ok(SortKey { by, descending })
}

/// Cache of text ranks, so that the next pages of a query do not compute them again.
#[derive(Default)]
pub(super) struct Kept {
    /// Each entry with the turn of its last use.
    ranks: HashMap<Made, (Arc<Ranks>, u64)>,
    turn: u64,
}

/// Cache key: the ids of the snapshots, the path, and the kind of texts.
type Made = (Vec<u64>, String, Texts);

/// Maximum number of cached ranks.
const MOST_KEPT: usize = 32;

impl Kept {
    pub(super) fn get(
        of: &parking_lot::Mutex<Self>,
        snapshots: &[&Snapshot],
        path: &str,
        which: Texts,
    ) -> Result<Arc<Ranks>, Error> {
        let key = (
            snapshots.iter().map(|snapshot| snapshot.id).collect::<Vec<_>>(),
            path.to_owned(),
            which,
        );
        {
            let mut kept = of.lock();
            kept.turn += 1;
            let turn = kept.turn;
            if let Some((ranks, used)) = kept.ranks.get_mut(&key) {
                *used = turn;
                return Ok(Arc::clone(ranks));
            }
        }
        let ranks = Arc::new(Ranks::new(snapshots, path, which)?);
        let mut kept = of.lock();
        if kept.ranks.len() >= MOST_KEPT
            && let Some(oldest) = kept
                .ranks
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(key, _)| key.clone())
        {
            kept.ranks.remove(&oldest);
        }
        let turn = kept.turn;
        kept.ranks.insert(key, (Arc::clone(&ranks), turn));
        Ok(ranks)
    }
}

/// The values of one sort key for all companies that matched, by their index in the set.
pub(super) struct Column {
    keys: Vec<Option<Key>>,
    ranks: Option<Arc<Ranks>>,
    /// Sorted texts that are in no index: those of companies that only the group's own list has.
    own: Vec<String>,
    descending: bool,
    decimal: bool,
}

/// What columns are computed from.
pub(super) struct Ground<'a> {
    /// The companies that matched.
    pub(super) matched: &'a RoaringBitmap,
    /// The snapshots that give companies their names, in order of precedence, each with the companies it names.
    pub(super) naming: Vec<(&'a Snapshot, RoaringBitmap)>,
    /// The rows of the group's own list that give companies their names.
    pub(super) rows: Vec<&'a Row>,
    /// The snapshots of all sources.
    pub(super) snapshots: &'a [Option<Arc<Snapshot>>],
    /// The classes of matches, best first.
    pub(super) classes: &'a [RoaringBitmap],
    pub(super) kept: &'a parking_lot::Mutex<Kept>,
}

impl Ground<'_> {
    pub(super) fn column(&self, key: &SortKey) -> Result<Column, Error> {
        let count = usize::try_from(self.matched.len()).unwrap_or(usize::MAX);
        let mut column = Column {
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
                let ranks = Kept::get(self.kept, &[snapshot], path, Texts::Texts)?;
                snapshot.each_text(&ranks, put)?;
                column.ranks = Some(ranks);
            }
            By::Number(source, path) => {
                let snapshot = snapshot(*source)?;
                let ranks = Kept::get(self.kept, &[snapshot], path, Texts::Decimals)?;
                snapshot.each_int(path, &mut put)?;
                snapshot.each_decimal(path, &ranks, put)?;
                column.ranks = Some(ranks);
                column.decimal = true;
            }
            By::Name | By::Domain => {
                let path = if key.by == By::Name {
                    index::sorted_name()
                } else {
                    index::domain()
                };
                let text = |row: &Row| {
                    let text = if key.by == By::Name {
                        &row.sorted_name
                    } else {
                        &row.domain
                    };
                    text.clone()
                };
                let snapshots: Vec<&Snapshot> = self.naming.iter().map(|(snapshot, _)| *snapshot).collect();
                let ranks = Kept::get(self.kept, &snapshots, &path, Texts::Texts)?;
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

impl Column {
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
        let among = match self.own.binary_search_by(|own| own.as_str().cmp(text)) {
            Ok(at) => 2 * at + 2,
            Err(at) => 2 * at + 1,
        };
        Ok((i64::from(place), among as u32))
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
                    None => 1,
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
            return Ok(Place::Integer(number));
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
