//! Sorting of companies: the values of sort keys, and the values at which a page ends.

use std::collections::HashMap;

use roaring::RoaringBitmap;

use super::order::{By, SortKey};
use super::problem::Error;
use super::sets::Search;
use crate::index::number::Number;
use crate::index::{
    self, Exact, Snapshot, SortKind, SortPath, SortRef, SortValue, Top, check, check_at, cut,
};

/// One sort key, and where its values are.
pub(super) struct SortColumn<'a> {
    values: Values<'a>,
    descending: bool,
}

enum Values<'a> {
    /// Values of the records of one source.
    Source(&'a Snapshot, SortPath),
    /// Values of the records that name companies, each index with the companies it names, and of rows of the group's own
    /// list.
    Naming(
        &'a [(&'a Snapshot, RoaringBitmap)],
        SortPath,
        HashMap<u32, &'a str>,
    ),
    /// The number of the first of these sets that has the company.
    Classes(&'a [RoaringBitmap]),
    /// Computed values, and the value of companies that have none of these.
    Computed(HashMap<u32, SortValue>, Option<SortValue>),
}

/// A number as a value to sort by.
fn sort_value(of: &Exact) -> SortValue {
    match of {
        Exact::Scaled(number) => SortValue::Integer(*number),
        Exact::Decimal(text) => SortValue::Decimal(Number::floor_of_ordered(text), text.clone()),
    }
}

impl<'a> SortColumn<'a> {
    pub(super) fn new(
        key: &SortKey,
        search: &'a Search<'a>,
        classes: &'a [RoaringBitmap],
    ) -> Result<Self, Error> {
        let path = |path: &str, kind, naming| SortPath {
            path: path.to_owned(),
            kind,
            labels: std::collections::BTreeMap::new(),
            naming,
            descending: key.descending,
        };
        let values = match &key.by {
            By::Class => Values::Classes(classes),
            By::Measured(of) => {
                let measured = of.of(search.snapshot(of.source)?)?;
                let values = measured
                    .values()
                    .iter()
                    .map(|(company, value)| (*company, sort_value(value)));
                Values::Computed(values.collect(), of.measure.unset().as_ref().map(sort_value))
            }
            By::Name | By::Domain => {
                let of_rows = search.rows.iter().map(|row| {
                    let text = if key.by == By::Name {
                        &row.of.name_key
                    } else {
                        &row.of.domain
                    };
                    (row.number, cut(text))
                });
                let of_rows = of_rows.filter(|(_, text)| !text.is_empty()).collect();
                let of = if key.by == By::Name {
                    index::sorted_name()
                } else {
                    index::domain()
                };
                Values::Naming(&search.naming, path(&of, SortKind::Text, true), of_rows)
            }
            By::Int(source, of) => {
                Values::Source(search.snapshot(*source)?, path(of, SortKind::Integer, false))
            }
            By::Number(source, of) => {
                Values::Source(search.snapshot(*source)?, path(of, SortKind::Number, false))
            }
            By::Text(source, of) => {
                Values::Source(search.snapshot(*source)?, path(of, SortKind::Text, false))
            }
            By::Label(source, of, labels) => {
                let labels = labels.clone();
                let path = SortPath {
                    labels,
                    ..path(of, SortKind::Text, false)
                };
                Values::Source(search.snapshot(*source)?, path)
            }
        };
        Ok(Self {
            values,
            descending: key.descending,
        })
    }

    /// The value of a company.
    fn value(&self, company: u32) -> Option<SortRef<'_>> {
        match &self.values {
            Values::Source(snapshot, path) => snapshot.sort_value(path, company),
            Values::Naming(naming, path, rows) => {
                match naming.iter().find(|(_, named)| named.contains(company)) {
                    Some((snapshot, _)) => snapshot.sort_value(path, company),
                    None => rows.get(&company).map(|text| SortRef::Text(text)),
                }
            }
            Values::Classes(classes) => {
                let class = classes.iter().position(|class| class.contains(company));
                class.map(|class| SortRef::Integer(class as i64))
            }
            Values::Computed(values, unset) => values.get(&company).or(unset.as_ref()).map(SortValue::as_ref),
        }
    }

    fn is_better(&self, one: SortRef<'_>, than: SortRef<'_>) -> bool {
        if self.descending { one > than } else { one < than }
    }

    /// Of these companies, those that have a value.
    fn valued(&self, of: &RoaringBitmap) -> Result<RoaringBitmap, Error> {
        Ok(match &self.values {
            Values::Source(snapshot, path) => snapshot.valued(path)? & of,
            Values::Naming(naming, path, rows) => {
                let mut valued: RoaringBitmap = rows.keys().copied().collect();
                for (snapshot, named) in *naming {
                    valued |= snapshot.valued(path)? & named;
                }
                valued & of
            }
            Values::Classes(classes) => {
                let mut valued = RoaringBitmap::new();
                classes.iter().for_each(|class| valued |= class);
                valued & of
            }
            Values::Computed(_, Some(_)) => of.clone(),
            Values::Computed(values, None) => values.keys().copied().collect::<RoaringBitmap>() & of,
        })
    }

    /// Offers the companies that have a value, those first that come first.
    fn scan(&self, from: Option<SortRef<'_>>, top: &mut Best<'_, 'a>) -> Result<(), Error> {
        match &self.values {
            Values::Source(snapshot, path) => snapshot.scan(path, from, top)?,
            Values::Naming(naming, path, rows) => {
                for (snapshot, named) in *naming {
                    top.among = Some(named);
                    snapshot.scan(path, from, top)?;
                }
                top.among = None;
                for (turn, (company, text)) in rows.iter().enumerate() {
                    check_at(turn)?;
                    if top.wants(*company) {
                        top.offer(*company, SortRef::Text(text));
                    }
                }
            }
            Values::Classes(classes) => {
                let mut before = RoaringBitmap::new();
                for (class, companies) in classes.iter().enumerate() {
                    check()?;
                    let value = SortRef::Integer(class as i64);
                    if top.worst().is_some_and(|worst| self.is_better(worst, value)) {
                        break;
                    }
                    for company in (companies - &before) & top.matched {
                        top.offer(company, value);
                    }
                    before |= companies;
                }
            }
            Values::Computed(..) => {
                for (turn, company) in top.matched.iter().enumerate() {
                    check_at(turn)?;
                    if let Some(value) = self.value(company) {
                        top.offer(company, value);
                    }
                }
            }
        }
        Ok(())
    }
}

/// A company of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) values: Vec<Option<SortValue>>,
    /// Its id, as an integer that sorts like it.
    pub(super) id: u128,
}

/// Where a page begins: behind the company with these values and this id.
type After<'a> = (&'a [Option<SortValue>], u128);

/// The best companies by some keys, in order.
struct Best<'a, 'k> {
    columns: &'a [SortColumn<'k>],
    matched: &'a RoaringBitmap,
    /// If set, only companies of this set, too.
    among: Option<&'k RoaringBitmap>,
    after: Option<After<'a>>,
    ids: &'a [u128],
    most: usize,
    entries: Vec<Entry>,
}

impl Best<'_, '_> {
    fn compare(
        &self,
        a: (&[Option<SortValue>], u128),
        b: (&[Option<SortValue>], u128),
    ) -> std::cmp::Ordering {
        let by_key = self
            .columns
            .iter()
            .zip(a.0.iter().zip(b.0))
            .map(|(column, (a, b))| match (a, b) {
                // Companies without a value come last in both directions.
                (Some(a), Some(b)) if column.descending => b.as_ref().cmp(&a.as_ref()),
                (Some(a), Some(b)) => a.as_ref().cmp(&b.as_ref()),
                (a, b) => a.is_none().cmp(&b.is_none()),
            });
        by_key
            .into_iter()
            .find(|order| order.is_ne())
            .unwrap_or_else(|| a.1.cmp(&b.1))
    }

    fn add(&mut self, company: u32, first: Option<SortRef<'_>>) {
        let id = self.ids[company as usize];
        let is_full = self.entries.len() >= self.most;
        let later = self.columns.iter().skip(1).map(|column| column.value(company));
        let values = std::iter::once(first).take(self.columns.len()).chain(later);
        let values: Vec<_> = values.map(|value| value.map(SortRef::to_value)).collect();
        if let Some(after) = self.after
            && self.compare((&values, id), after).is_le()
        {
            return;
        }
        let at = self
            .entries
            .partition_point(|entry| self.compare((&entry.values, entry.id), (&values, id)).is_lt());
        if at >= self.most {
            return;
        }
        if is_full {
            self.entries.pop();
        }
        self.entries.insert(at, Entry { values, id });
    }
}

impl Top for Best<'_, '_> {
    fn wants(&self, company: u32) -> bool {
        self.among.is_none_or(|among| among.contains(company)) && self.matched.contains(company)
    }

    fn size(&self) -> usize {
        self.most
    }

    fn worst(&self) -> Option<SortRef<'_>> {
        if self.entries.len() < self.most {
            return None;
        }
        self.entries
            .last()?
            .values
            .first()?
            .as_ref()
            .map(SortValue::as_ref)
    }

    fn offer(&mut self, company: u32, value: SortRef<'_>) {
        if let (Some(column), Some(worst)) = (self.columns.first(), self.worst())
            && column.is_better(worst, value)
        {
            return;
        }
        self.add(company, Some(value));
    }
}

/// So few companies are compared directly.
const FEW: u64 = 4_096;

/// The first `most` of these companies, in order, behind `after`.
pub(super) fn first(
    columns: &[SortColumn<'_>],
    matched: &RoaringBitmap,
    after: Option<After<'_>>,
    ids: &[u128],
    most: usize,
) -> Result<Vec<Entry>, Error> {
    let mut best = Best {
        columns,
        matched,
        among: None,
        after,
        ids,
        most,
        entries: Vec::new(),
    };
    if most == 0 {
        return Ok(Vec::new());
    }
    let Some(column) = columns.first() else {
        for (turn, company) in matched.iter().enumerate() {
            check_at(turn)?;
            let id = ids[company as usize];
            let is_late = best.entries.len() >= most && best.entries.last().is_some_and(|last| last.id < id);
            if !is_late {
                best.add(company, None);
            }
        }
        return Ok(best.entries);
    };
    if matched.len() <= FEW {
        for company in matched {
            match column.value(company) {
                Some(value) => best.offer(company, value),
                None => best.add(company, None),
            }
        }
        return Ok(best.entries);
    }
    let first_after = after.map(|(values, _)| values.first().and_then(Option::as_ref));
    if !matches!(first_after, Some(None)) {
        let from = first_after.flatten().map(SortValue::as_ref);
        column.scan(from, &mut best)?;
    }
    let mut entries = best.entries;
    if entries.len() < most {
        let without = matched - column.valued(matched)?;
        let after = match after {
            Some((values, id)) if matches!(first_after, Some(None)) => Some((&values[1..], id)),
            _ => None,
        };
        let rest = first(&columns[1..], &without, after, ids, most - entries.len())?;
        entries.extend(rest.into_iter().map(|mut entry| {
            entry.values.insert(0, None);
            entry
        }));
    }
    Ok(entries)
}
