//! Makes a row of its cells, whichever API they came from: the same values give the same bytes.

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;
use tether_connector_sdk::payload::{money_into, timestamp_us};
use tether_connector_sdk::proto::FieldType;

use crate::plan::{Column, Role};
use crate::{ids, values};

/// One row.
#[derive(Debug, Default, Clone)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) modified_us: i64,
    pub(crate) deleted: bool,
    pub(crate) merged_into: String,
    pub(crate) parent: String,
    pub(crate) name: String,
    pub(crate) homepage: String,
    /// Its payload, including braces, in the page's buffer.
    pub(crate) payload: Range<usize>,
}

/// The value of a column.
pub(crate) enum Cell<'a> {
    /// A JSON value, of the REST API.
    Json(&'a str),
    /// A text, of Bulk; an empty one is no value.
    Text(&'a str),
    /// The parts of a compound field, of Bulk, in the order of [`values::ADDRESS`] or [`values::LOCATION`].
    Parts(&'a [Cow<'a, str>]),
}

impl Cell<'_> {
    fn scalar(&self) -> Cow<'_, str> {
        match self {
            Self::Json(json) => values::scalar(json),
            Self::Text(text) => Cow::Borrowed(text),
            Self::Parts(_) => Cow::Borrowed(""),
        }
    }

    fn is_null(&self) -> bool {
        match self {
            Self::Json(json) => *json == "null",
            Self::Text(text) => text.is_empty(),
            Self::Parts(_) => false,
        }
    }

    fn is_true(&self) -> bool {
        matches!(self, Self::Json("true") | Self::Text("true"))
    }

    fn is_empty(&self) -> bool {
        self.is_null() || matches!(self, Self::Json("\"\""))
    }

    /// The id of a reference; empty if there is none, or if it is not an id.
    fn reference(&self) -> String {
        match self.is_null() {
            true => String::new(),
            false => ids::normalise(&self.scalar()).unwrap_or_default(),
        }
    }

    /// Whether a reference is empty.
    fn is_no_reference(&self) -> bool {
        self.is_empty() || self.scalar().starts_with(ids::EMPTY_KEY)
    }

    /// The name of a related record.
    fn name(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Json(json) => named(json),
            Self::Text(text) => (!text.is_empty()).then_some(Cow::Borrowed(*text)),
            Self::Parts(_) => None,
        }
    }

    fn write(&self, kind: FieldType, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Json(json) => values::write(kind, json, out),
            Self::Text(text) => values::write_text(kind, text, out),
            Self::Parts(parts) => values::write_parts(kind, parts, out),
        }
    }
}

/// A value in the buffer, with its column.
type Placed = (usize, Range<usize>);

/// Makes rows with the same columns, one after another.
pub(crate) struct Maker<'c> {
    columns: &'c [Column],
    cells: Vec<Placed>,
    row: Row,
    name_place: u8,
    /// The column of a label whose reference is to come, and the label.
    label_at: Option<usize>,
    label: String,
    currency: String,
    start: usize,
    usable: bool,
}

impl<'c> Maker<'c> {
    pub(crate) fn new(columns: &'c [Column]) -> Self {
        Self {
            columns,
            cells: Vec::with_capacity(columns.len()),
            row: Row::default(),
            name_place: u8::MAX,
            label_at: None,
            label: String::new(),
            currency: String::new(),
            start: 0,
            usable: true,
        }
    }

    /// Begins a row, whose payload is appended to `buffer`.
    pub(crate) fn begin(&mut self, buffer: &[u8]) {
        self.cells.clear();
        self.row = Row::default();
        self.name_place = u8::MAX;
        self.label_at = None;
        self.currency.clear();
        self.start = buffer.len();
        self.usable = true;
    }

    /// Adds the value of a column.
    pub(crate) fn take(&mut self, at: usize, cell: &Cell<'_>, buffer: &mut Vec<u8>) {
        let column = &self.columns[at];
        self.note(at, column.role, cell);
        let Some(kind) = column.kind else { return };
        let from = buffer.len();
        buffer.extend_from_slice(&column.prefix);
        let is_own =
            |label: &mut usize| column.key.strip_suffix("Id") == Some(self.columns[*label].key.as_str());
        let set = match self.label_at.take_if(is_own) {
            Some(_) => values::reference(&cell.scalar(), &self.label, buffer),
            None => cell.write(kind, buffer),
        };
        if set {
            self.cells.push((at, from..buffer.len()));
        } else {
            buffer.truncate(from);
        }
    }

    /// Notes what a column says besides the payload.
    fn note(&mut self, at: usize, role: Role, cell: &Cell<'_>) {
        let row = &mut self.row;
        match role {
            Role::None => {}
            Role::Id => row.id = ids::normalise(&cell.scalar()).unwrap_or_default(),
            Role::Modified => row.modified_us = timestamp_us(&cell.scalar()).unwrap_or(0),
            Role::Deleted => row.deleted = cell.is_true(),
            Role::MergedInto => row.merged_into = cell.reference(),
            Role::Parent => {
                row.parent = cell.reference();
                // The parent is not a record id, so the parent is unknown.
                self.usable &= !row.parent.is_empty() || cell.is_no_reference();
            }
            Role::Name(place) if place < self.name_place && !cell.is_empty() => {
                row.name = cell.scalar().into_owned();
                self.name_place = place;
            }
            Role::Name(_) => {}
            Role::Homepage if !cell.is_null() => row.homepage = cell.scalar().into_owned(),
            Role::Homepage => {}
            Role::Label => {
                self.label_at = None;
                if let Some(name) = cell.name() {
                    self.label.clear();
                    self.label.push_str(&name);
                    self.label_at = Some(at);
                }
            }
            Role::Currency if !cell.is_null() => self.currency = cell.scalar().into_owned(),
            Role::Currency => {}
        }
    }

    /// Ends the row. None if it cannot be used.
    pub(crate) fn finish(&mut self, buffer: &mut Vec<u8>) -> Option<Row> {
        let (columns, start) = (self.columns, self.start);
        if self.row.id.is_empty() || !self.usable {
            buffer.truncate(start);
            return None;
        }
        let is_amount = |cell: &Placed| columns[cell.0].currency.is_some();
        if self.cells.iter().any(is_amount) || !self.cells.is_sorted_by_key(|cell| cell.0) {
            arrange(columns, &mut self.cells, &self.currency, buffer, start);
        }
        // Each value is preceded by a comma; that of the first value is replaced by the opening brace.
        if buffer.len() == start {
            buffer.push(b'{');
        } else {
            buffer[start] = b'{';
        }
        buffer.push(b'}');
        self.row.payload = start..buffer.len();
        Some(std::mem::take(&mut self.row))
    }
}

/// The name of a related record.
fn named(json: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Named<'a> {
        #[serde(borrow)]
        name: Option<&'a RawValue>,
    }
    let name = serde_json::from_str::<Option<Named<'_>>>(json).ok()??.name?.get();
    (name != "null").then(|| values::scalar(name))
}

/// Adds the record's currency to the amounts of a row, and sorts its values in the order of the columns: the reply may
/// have another order than the query, and the currency may come after an amount.
fn arrange(columns: &[Column], cells: &mut [Placed], currency: &str, buffer: &mut Vec<u8>, start: usize) {
    cells.sort_by_key(|cell| cell.0);
    let mut arranged = Vec::with_capacity(buffer.len() - start);
    for (at, range) in cells.iter() {
        let (column, value) = (&columns[*at], &buffer[range.clone()]);
        match &column.currency {
            Some(own) => {
                let (prefix, amount) = value.split_at(column.prefix.len());
                arranged.extend_from_slice(prefix);
                money_into(
                    &mut arranged,
                    amount,
                    if currency.is_empty() { own } else { currency },
                );
            }
            None => arranged.extend_from_slice(value),
        }
    }
    buffer.truncate(start);
    buffer.extend_from_slice(&arranged);
}
