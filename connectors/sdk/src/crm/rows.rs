//! The selected fields of an object, and the payloads of its records.

use bytes::Bytes;

use crate::payload::{Item, Payload};
use crate::proto::SelectedField;
use crate::reading::{Change, Known, Selected, add_currencies, compare};

/// The selected fields of an object, and the builder of its payloads.
#[derive(Debug)]
pub struct Rows<O: 'static> {
    /// The object.
    pub object: &'static O,
    fields: Vec<Selected>,
    payload: Payload,
}

impl<O> Clone for Rows<O> {
    fn clone(&self) -> Self {
        Self::of(self.object, self.fields.clone())
    }
}

impl<O> Rows<O> {
    /// For the selected fields as the CRM describes them now; also returns how they have changed since they were
    /// selected.
    pub fn now<'a>(
        object: &'static O,
        selection: &[SelectedField],
        known: impl Fn(&str) -> Known<'a>,
    ) -> (Self, Vec<Change>) {
        let (fields, changes) = compare(selection, known);
        (Self::of(object, fields), changes)
    }

    /// For the selected fields, with the types that the host knows.
    #[must_use]
    pub fn as_selected(object: &'static O, selection: &[SelectedField]) -> Self {
        Self::now(object, selection, |_| Known::Unknown).0
    }

    fn of(object: &'static O, fields: Vec<Selected>) -> Self {
        Self {
            object,
            payload: Payload::new(fields.iter().map(|field| field.key.clone())),
            fields,
        }
    }

    /// The fields, ordered by key.
    #[must_use]
    pub fn fields(&self) -> &[Selected] {
        &self.fields
    }

    /// The payload of a JSON object whose members have the fields' keys and their values in a form that
    /// [`Payload::json`] reads. A currency is the member that [`AmountCurrency::field`] names.
    ///
    /// [`AmountCurrency::field`]: crate::proto::AmountCurrency
    pub fn payload(&mut self, item: &Item) -> Bytes {
        for (place, field) in self.fields.iter().enumerate() {
            if let Some(value) = item.get(&field.key) {
                self.payload.json(place, field.field_type, value.get());
            }
        }
        add_currencies(&mut self.payload, &self.fields, |key| item.text(key).into());
        self.payload.finish()
    }

    /// A payload; `set` sets the value of the field at a place, or nothing if the record has none. Of an amount with
    /// [`Selected::currency`] it also sets the currency, with [`Payload::currency`].
    pub fn payload_with(&mut self, mut set: impl FnMut(&mut Payload, usize, &Selected)) -> Bytes {
        for (place, field) in self.fields.iter().enumerate() {
            set(&mut self.payload, place, field);
        }
        self.payload.finish()
    }
}
