//! The selection of a read: its objects, and changes of its fields since they were selected.

use std::borrow::Cow;

use crate::payload::Payload;
use crate::proto::{AmountCurrency, Error, Field, FieldType, ObjectSelection, SelectedField};

/// An object of the selection.
#[derive(Debug, Clone)]
pub struct Wanted<O> {
    /// The object.
    pub object: O,
    /// Its selected fields, as far as they are read.
    pub fields: Vec<SelectedField>,
    /// Since when its changes are read, by the CRM's clock: unix microseconds. None: everything is read, or the records of `ids`.
    pub since_us: Option<i64>,
    /// Keys of fields that stored records lack.
    pub unread: Vec<String>,
    /// Calculated fields are to be read for all records.
    pub calculated_due: bool,
    /// All ids are to be listed.
    pub sweep_due: bool,
    /// The records that are read, sorted, if only some are.
    pub ids: Vec<String>,
}

impl<O> Wanted<O> {
    /// Whether something of all records is read, so that a description of the fields is of use.
    #[must_use]
    pub fn is_of_all_records(&self) -> bool {
        let due = self.calculated_due || self.sweep_due || !self.unread.is_empty();
        self.ids.is_empty() && (self.since_us.is_none() || due)
    }
}

impl<O: Copy> Wanted<O> {
    /// The objects of a selection, in its order; if an object is named twice, its fields are merged.
    pub(super) fn all(
        selection: Vec<ObjectSelection>,
        find: impl Fn(&str) -> Result<O, Error>,
        key: impl Fn(O) -> &'static str,
    ) -> Result<Vec<Self>, Error> {
        let mut all: Vec<Self> = Vec::with_capacity(selection.len());
        for one in selection {
            let object = find(&one.object)?;
            match all.iter_mut().find(|wanted| key(wanted.object) == key(object)) {
                Some(wanted) => {
                    wanted.fields.extend(one.fields);
                    wanted.unread.extend(one.unread);
                    wanted.calculated_due |= one.calculated_due;
                    wanted.sweep_due |= one.sweep_due;
                }
                None => all.push(Self {
                    object,
                    fields: one.fields,
                    since_us: None,
                    unread: one.unread,
                    calculated_due: one.calculated_due,
                    sweep_due: one.sweep_due,
                    ids: Vec::new(),
                }),
            }
        }
        Ok(all)
    }
}

/// A selected field that has changed since it was selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It no longer exists, or the user may no longer see it.
    Missing(String),
    /// It has a new type.
    Type(String, FieldType),
}

/// The CRM's description of a selected field.
#[derive(Debug, Clone, Copy)]
pub enum Known<'a> {
    /// The CRM describes it.
    Field(&'a Field),
    /// The CRM's description is complete and does not contain the field.
    Gone,
    /// There is no description: the selection is used as it is.
    Unknown,
}

/// A selected field that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// Its key.
    pub key: String,
    /// Its type now.
    pub field_type: FieldType,
    /// The CRM computes it.
    pub calculated: bool,
    /// Where the currency of its amounts is. It is that of the selection, not of a newer description: so full and live
    /// reads return the same values.
    pub currency: Option<AmountCurrency>,
}

/// Adds the currencies to the amounts of a row whose values are set. The places of the payload are those of `fields`;
/// `read` returns the text of a value of the record, by [`AmountCurrency::field`].
pub fn add_currencies<'a>(payload: &mut Payload, fields: &[Selected], read: impl Fn(&str) -> Cow<'a, str>) {
    for (place, field) in fields.iter().enumerate() {
        let Some(currency) = &field.currency else {
            continue;
        };
        let own = match currency.field.as_str() {
            "" => Cow::Borrowed(""),
            field => read(field),
        };
        let code = if own.is_empty() {
            currency.code.as_str()
        } else {
            &own
        };
        payload.currency(place, code);
    }
}

/// The readable fields of a selection, each once and ordered by key, and the changes of the others since they were
/// selected.
pub fn compare<'a>(
    selection: &[SelectedField],
    known: impl Fn(&str) -> Known<'a>,
) -> (Vec<Selected>, Vec<Change>) {
    let mut changes = Vec::new();
    let mut selected: Vec<Selected> = Vec::with_capacity(selection.len());
    for field in selection {
        let described = match known(&field.key) {
            Known::Field(described) => Some(described),
            Known::Unknown => None,
            Known::Gone => {
                changes.push(Change::Missing(field.key.clone()));
                continue;
            }
        };
        let field_type = described.map_or(field.r#type(), Field::r#type);
        if field_type != field.r#type() {
            changes.push(Change::Type(field.key.clone(), field_type));
        }
        selected.push(Selected {
            key: field.key.clone(),
            field_type,
            calculated: described.is_some_and(|described| described.calculated),
            currency: field
                .currency
                .clone()
                .filter(|_| field_type == FieldType::Currency),
        });
    }
    selected.sort_by(|a, b| a.key.cmp(&b.key));
    selected.dedup_by(|a, b| a.key == b.key);
    (selected, changes)
}
