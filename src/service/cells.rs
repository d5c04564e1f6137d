//! The cells of a list of companies: for each column the smallest values, from rows that are read one by one.
//!
//! Texts are cut to a length that depends only on the number of columns: so the returned part of a value does
//! not depend on other values, and a company always fits into an answer.

use std::collections::HashMap;
use std::sync::Arc;

use super::LimitPlace;
use crate::domain::CompanyId;
use crate::error::{Error, Result};
use crate::index::{CancelOnDrop, number::Number, text};
use crate::picklist::Picklist;
use crate::query::{self, Column};
use crate::store::{RecordContent, Store};
use crate::value::{self, Shown, Value};

/// The maximum number of values of a cell.
const MOST_VALUES: usize = 10;
/// The maximum length of a value in a list, in characters.
const MOST_CHARACTERS: usize = 1_000;
/// The maximum length of one value of each column, added up over all columns, in characters: more columns get
/// shorter values, so that a company always fits into an answer.
const MOST_CHARACTERS_OF_COLUMNS: usize = 20_000;

/// The values of one column for one company.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cell {
    /// The values, ascending.
    pub values: Vec<Shown>,
    /// Whether the cell has more values than these.
    pub more: bool,
    /// The sort key of each value.
    keys: Vec<Key>,
}

/// A sort key. Of long texts it has only the beginning.
type Key = (i64, String);

impl Cell {
    /// Adds a value if it is among the smallest. Of equal values, the first one stays first.
    fn put(&mut self, value: Value, picklist: &Picklist, most_characters: usize) {
        let key = sorted(&value, picklist);
        let at = self.keys.partition_point(|known| *known <= key);
        if at < MOST_VALUES {
            self.keys.insert(at, key);
            let shown = value.shown(0, most_characters);
            self.values.insert(at, shown.labelled(picklist, most_characters));
        }
        self.more |= self.keys.len() > MOST_VALUES || at >= MOST_VALUES;
        self.keys.truncate(MOST_VALUES);
        self.values.truncate(MOST_VALUES);
    }
}

/// The maximum length of a value with this number of columns.
fn most_characters(columns: usize) -> usize {
    (MOST_CHARACTERS_OF_COLUMNS / columns.max(1)).min(MOST_CHARACTERS)
}

/// The arguments of reading cells.
pub(super) struct Reading<'a> {
    pub(super) store: &'a Store,
    pub(super) about: &'a [query::Source],
    pub(super) columns: &'a [Column],
    /// Held by the work on the database, which may go on after its call has ended.
    pub(super) place: &'a Arc<LimitPlace>,
}

type Cells = HashMap<CompanyId, Vec<Cell>>;

impl Reading<'_> {
    /// The cells of these companies: for each company, one for each column.
    pub(super) async fn cells(&self, ids: &[CompanyId]) -> Result<Cells> {
        let empty = |id: &CompanyId| (*id, vec![Cell::default(); self.columns.len()]);
        let mut cells: Cells = ids.iter().map(empty).collect();
        let mut tables: Vec<(usize, &str)> = self
            .columns
            .iter()
            .map(|column| (column.source, column.object.as_str()))
            .collect();
        tables.sort_unstable();
        tables.dedup();
        for (source, object) in tables {
            cells = self.table(source, object, ids, cells).await?;
        }
        Ok(cells)
    }

    /// Adds the values of one object's records.
    async fn table(&self, source: usize, object: &str, ids: &[CompanyId], cells: Cells) -> Result<Cells> {
        let about = &self.about[source];
        let own = self
            .store
            .record_company_keys(about.integration, ids.to_vec())
            .await?;
        // If the connector is not loaded, its company object is taken from the records.
        let company_object = own
            .first()
            .map_or_else(|| about.company_object.clone(), |key| key.object.clone());
        let company_of: HashMap<String, CompanyId> = own
            .into_iter()
            .filter_map(|key| Some((key.external_id, key.company_id?)))
            .collect();
        let mut companies_of: HashMap<String, Vec<CompanyId>> = HashMap::new();
        if object == company_object {
            companies_of.extend(company_of.into_iter().map(|(id, company)| (id, vec![company])));
        } else {
            let parents = company_of.keys().cloned().collect();
            let links = self
                .store
                .record_links(about.integration, &company_object, parents, object)
                .await?;
            for (parent, child) in links {
                if let Some(company) = company_of.get(&parent) {
                    let companies = companies_of.entry(child).or_default();
                    // A record below two records of one company counts once.
                    if !companies.contains(company) {
                        companies.push(*company);
                    }
                }
            }
        }
        let mut external_ids: Vec<String> = companies_of.keys().cloned().collect();
        external_ids.sort_unstable();
        let columns = self.columns.iter().enumerate();
        let columns: Vec<(usize, Column)> = columns
            .filter(|(_, column)| column.source == source && column.object == object)
            .map(|(at, column)| (at, column.clone()))
            .collect();
        let most = most_characters(self.columns.len());
        let waiter = CancelOnDrop::default();
        let (cancelled, place) = (waiter.cancelled(), Arc::clone(self.place));
        let each = move |(cells, failed): &mut (Cells, Option<serde_json::Error>), row: RecordContent| {
            let _place = &place;
            if cancelled.is() {
                return false;
            }
            let payload: serde_json::Map<String, serde_json::Value> = match serde_json::from_str(&row.payload)
            {
                Ok(payload) => payload,
                Err(error) => {
                    *failed = Some(error);
                    return false;
                }
            };
            for company in companies_of.get(&row.external_id).into_iter().flatten() {
                let Some(cells) = cells.get_mut(company) else {
                    continue;
                };
                for (at, column) in &columns {
                    if let Some(value) = value::read(&payload, &column.key, column.field_type) {
                        cells[*at].put(value, column.picklist.get(), most);
                    }
                }
            }
            true
        };
        let made = (cells, None);
        let read = self
            .store
            .record_each(about.integration, object, external_ids, made, each);
        match read.await? {
            (_, Some(error)) => Err(Error::internal(error)),
            (cells, None) => Ok(cells),
        }
    }
}

/// A value's sort key: of texts the first 256 bytes after folding, as in `order_by`; of a picklist's entries those of
/// their labels.
fn sorted(value: &Value, picklist: &Picklist) -> Key {
    let number = |text: &str| Number::parse(text).map_or_else(|| text.to_owned(), |number| number.ordered());
    let (number, mut text) = match value {
        Value::Boolean(yes) => (i64::from(*yes), String::new()),
        Value::Timestamp(us) => (*us, String::new()),
        Value::Integer(whole) => (0, number(&whole.to_string())),
        Value::Decimal(text) | Value::Money { amount: text, .. } | Value::Location(text, _) => {
            (0, number(text))
        }
        Value::Text(text) | Value::Html(text) => {
            let shown = picklist.label(text).unwrap_or(text);
            (0, text::fold(beginning(shown)))
        }
        Value::Date(text) | Value::Time(text) | Value::Raw(text) => (0, beginning(text).to_owned()),
        Value::List(entries) => {
            let shown = entries.iter().map(|one| picklist.label(one).unwrap_or(one));
            let shown: Vec<&str> = shown.collect();
            (0, text::fold(beginning(&shown.join("\n"))))
        }
        Value::Reference { id, label } => {
            let shown = if label.is_empty() { id } else { label };
            (0, text::fold(beginning(shown)))
        }
        Value::Address(address) => (
            0,
            text::fold(&format!(
                "{}\n{}",
                beginning(&address.country),
                beginning(&address.city)
            )),
        ),
    };
    text.truncate(text.floor_char_boundary(text::MOST_SORTED));
    (number, text)
}

/// The part of a text that decides its sort key: folding shortens no text to less than a third.
fn beginning(of: &str) -> &str {
    &of[..of.floor_char_boundary(4 * text::MOST_SORTED)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_keeps_the_smallest_values() {
        let mut cell = Cell::default();
        for number in (0..25).rev() {
            cell.put(Value::Integer(number), &Picklist::default(), 10);
        }
        let kept: Vec<Value> = cell.values.iter().map(|one| one.value.clone()).collect();
        assert_eq!(kept, (0..10).map(Value::Integer).collect::<Vec<_>>());
        assert!(cell.more);
        let mut cell = Cell::default();
        (0..10).for_each(|number| cell.put(Value::Integer(number), &Picklist::default(), 10));
        assert!(!cell.more);
    }

    #[test]
    fn a_company_fits_into_an_answer_however_many_columns_it_has() {
        for columns in [1, 20, 21, 50, 100] {
            // A character has at most four bytes; labels have as many characters as values.
            let bytes = columns * MOST_VALUES * 4 * 2 * most_characters(columns);
            assert!(bytes <= 1_600_000, "{columns}: {bytes}");
        }
    }
}
