//! Record payloads in canonical form, as `Record.payload` in `connector.proto` defines it.
//!
//! The same value has the same bytes, whichever API of the CRM it came from, so that the host can detect unchanged
//! rows. Therefore numbers are never converted to floating point, and every time has one form.
//!
//! ```
//! use tether_connector_sdk::payload::Payload;
//! use tether_connector_sdk::proto::FieldType;
//!
//! let mut payload = Payload::new(["Name", "AnnualRevenue", "CreatedDate"]);
//! payload.text(0, "Acme");
//! payload.value(1, FieldType::Currency, "1.0E10");
//! payload.value(2, FieldType::Timestamp, "2011-07-07T00:37:00.000+0000");
//! assert_eq!(
//!     &payload.finish()[..],
//!     br#"{"AnnualRevenue":"10000000000","CreatedDate":"2011-07-07T00:37:00.000Z","Name":"Acme"}"#,
//! );
//! ```

mod item;
mod json;
mod moment;
mod number;
mod write;

use std::ops::Range;

use bytes::Bytes;

pub use self::item::Item;
pub use self::moment::{date, time, timestamp, timestamp_us};
pub use self::number::decimal;
use self::write::string;
use crate::proto::FieldType;

/// Builds the payloads of rows with the same fields. One builder is reused for all rows and allocates once per row.
///
/// Setters take the field's index in the list given to [`Payload::new`]. If a field is set twice, the last value
/// wins. Empty texts and unset fields are omitted. [`Payload::finish`] returns the row and starts the next one.
#[derive(Clone, Debug)]
pub struct Payload {
    /// The fields' names in the caller's order.
    names: Vec<String>,
    /// Indexes in sorted order, each with its name as written: `"Name":`.
    sorted: Vec<(usize, Vec<u8>)>,
    /// Encoded values, in the order of the setters.
    values: Vec<u8>,
    /// The range of each field's value in `values`; empty for unset.
    ranges: Vec<Range<usize>>,
}

/// Appends a value like [`Payload::value`], for connectors that build their rows themselves. Returns whether there is
/// a value.
pub fn value_into(out: &mut Vec<u8>, kind: FieldType, text: &str) -> bool {
    if text.is_empty() {
        return false;
    }
    let start = out.len();
    let any = match kind {
        FieldType::Unspecified
        | FieldType::Text
        | FieldType::Picklist
        | FieldType::Url
        | FieldType::Email
        | FieldType::Phone
        | FieldType::Html => text_into(out, text),
        FieldType::Boolean => boolean_into(out, text),
        FieldType::Integer => number::integer_into(out, text) || raw_into(out, text),
        FieldType::Decimal | FieldType::Currency | FieldType::Percent => {
            quoted(out, |out| number::decimal_into(out, text)) || raw_into(out, text)
        }
        FieldType::Date => quoted(out, |out| moment::date_into(out, text)) || raw_into(out, text),
        FieldType::Timestamp => quoted(out, |out| moment::timestamp_into(out, text)) || raw_into(out, text),
        FieldType::Time => quoted(out, |out| moment::time_into(out, text)) || raw_into(out, text),
        FieldType::Reference => reference_into(out, text, ""),
        FieldType::MultiPicklist | FieldType::Address | FieldType::Location => raw_into(out, text),
    };
    if !any {
        out.truncate(start);
    }
    any
}

/// Appends an amount with its currency. `amount` is the canonical form of an amount, as [`value_into`] appends it;
/// `code` the currency, as three letters of ISO 4217. Returns whether there is a value: an empty amount is none. An
/// amount that does not fit its type, or has no such currency, is appended as it is.
pub fn money_into(out: &mut Vec<u8>, amount: &[u8], code: &str) -> bool {
    let code = code.trim_ascii();
    let known = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    if !known || amount.first() != Some(&b'"') {
        out.extend_from_slice(amount);
        return !amount.is_empty();
    }
    out.extend_from_slice(b"{\"amount\":");
    out.extend_from_slice(amount);
    out.extend_from_slice(b",\"currency\":\"");
    out.extend_from_slice(code.as_bytes());
    out.extend_from_slice(b"\"}");
    true
}

/// A postal address. Empty parts are omitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Address<'a> {
    /// City.
    pub city: &'a str,
    /// Country, by name.
    pub country: &'a str,
    /// Country, by code.
    pub country_code: &'a str,
    /// Postal code.
    pub postal_code: &'a str,
    /// State or province, by name.
    pub state: &'a str,
    /// State or province, by code.
    pub state_code: &'a str,
    /// Street; several lines are separated by line breaks.
    pub street: &'a str,
}

impl Payload {
    /// Creates a builder for these fields.
    pub fn new<I>(fields: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let names: Vec<String> = fields.into_iter().map(Into::into).collect();
        let mut sorted: Vec<_> = (0..names.len()).collect();
        sorted.sort_by(|&a, &b| names[a].as_bytes().cmp(names[b].as_bytes()));
        let sorted = sorted
            .into_iter()
            .map(|place| {
                let mut name = Vec::new();
                string(&mut name, &names[place]);
                name.push(b':');
                (place, name)
            })
            .collect();
        let ranges = vec![0..0; names.len()];
        Self {
            names,
            sorted,
            values: Vec::new(),
            ranges,
        }
    }

    /// The index of a field.
    #[must_use]
    pub fn place(&self, field: &str) -> Option<usize> {
        let found = self
            .sorted
            .binary_search_by(|(place, _)| self.names[*place].as_bytes().cmp(field.as_bytes()));
        found.ok().map(|at| self.sorted[at].0)
    }

    /// Sets a value from the text form of CRMs (a CSV cell, the content of a JSON string), by its field's type.
    ///
    /// An empty text is unset. A text that does not fit the type is written as `{"raw":…}`, also for types that are
    /// not a single text (multi-picklist, address, location) and have their own setters. A reference is its id.
    pub fn value(&mut self, place: usize, kind: FieldType, text: &str) {
        self.set(place, |out| value_into(out, kind, text));
    }

    /// Sets a value from JSON (`serde_json::value::RawValue::get`), by its field's type. `null` is unset. Objects and
    /// arrays are accepted in the form that this module writes.
    pub fn json(&mut self, place: usize, kind: FieldType, json: &str) {
        json::set(self, place, kind, json.trim_ascii());
    }

    /// A text.
    pub fn text(&mut self, place: usize, text: &str) {
        if !text.is_empty() {
            self.set(place, |out| text_into(out, text));
        }
    }

    /// Yes or no.
    pub fn boolean(&mut self, place: usize, value: bool) {
        self.set(place, |out| {
            out.extend_from_slice(if value { b"true" } else { b"false" });
            true
        });
    }

    /// A whole number.
    pub fn integer(&mut self, place: usize, value: i64) {
        self.set(place, |out| {
            write::integer(out, value);
            true
        });
    }

    /// A time in unix microseconds, stored in milliseconds.
    pub fn timestamp(&mut self, place: usize, unix_us: i64) {
        self.set(place, |out| {
            quoted(out, |out| moment::write_timestamp(out, unix_us.div_euclid(1_000)))
                || raw_into(out, &unix_us.to_string())
        });
    }

    /// Several values of a picklist, in the CRM's order. An empty list is unset.
    pub fn list<'a>(&mut self, place: usize, values: impl IntoIterator<Item = &'a str>) {
        self.set(place, |out| {
            let start = out.len();
            for value in values {
                out.push(if out.len() == start { b'[' } else { b',' });
                string(out, value);
            }
            let any = out.len() > start;
            if any {
                out.push(b']');
            }
            any
        });
    }

    /// A reference to a record of the CRM. An empty id is unset, an empty label is omitted.
    pub fn reference(&mut self, place: usize, id: &str, label: &str) {
        self.set(place, |out| reference_into(out, id, label));
    }

    /// A postal address. Without any part it is unset.
    pub fn address(&mut self, place: usize, address: &Address<'_>) {
        self.set(place, |out| {
            object_into(
                out,
                &[
                    ("city", address.city),
                    ("country", address.country),
                    ("country_code", address.country_code),
                    ("postal_code", address.postal_code),
                    ("state", address.state),
                    ("state_code", address.state_code),
                    ("street", address.street),
                ],
            )
        });
    }

    /// A geographic location, as decimal texts. Unset unless both are given; raw if one of them is not a decimal.
    pub fn location(&mut self, place: usize, latitude: &str, longitude: &str) {
        if latitude.is_empty() || longitude.is_empty() {
            return;
        }
        self.set(place, |out| {
            let start = out.len();
            out.extend_from_slice(br#"{"latitude":"#);
            let fits = quoted(out, |out| number::decimal_into(out, latitude)) && {
                out.extend_from_slice(br#","longitude":"#);
                quoted(out, |out| number::decimal_into(out, longitude))
            };
            if fits {
                out.push(b'}');
                return true;
            }
            out.truncate(start);
            raw_into(out, &format!("{latitude},{longitude}"))
        });
    }

    /// Adds the currency to the amount that was set before, as three letters of ISO 4217. Without an amount, or if the
    /// text has another form, nothing changes.
    pub fn currency(&mut self, place: usize, code: &str) {
        let Some(range) = self.ranges.get(place).cloned() else {
            return;
        };
        let value = self.values[range].to_vec();
        self.set(place, |out| money_into(out, &value, code));
    }

    /// A value that does not fit its type.
    pub fn raw(&mut self, place: usize, text: &str) {
        self.set(place, |out| raw_into(out, text));
    }

    /// Returns the row and starts an empty one.
    pub fn finish(&mut self) -> Bytes {
        let names: usize = self.sorted.iter().map(|(_, name)| name.len() + 1).sum();
        let mut out = Vec::with_capacity(self.values.len() + names + 2);
        out.push(b'{');
        for (place, name) in &self.sorted {
            let range = std::mem::replace(&mut self.ranges[*place], 0..0);
            if range.is_empty() {
                continue;
            }
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend_from_slice(name);
            out.extend_from_slice(&self.values[range]);
        }
        out.push(b'}');
        self.values.clear();
        Bytes::from(out)
    }

    /// Writes a value; `write` returns whether there is one.
    fn set(&mut self, place: usize, write: impl FnOnce(&mut Vec<u8>) -> bool) {
        let start = self.values.len();
        if write(&mut self.values)
            && let Some(range) = self.ranges.get_mut(place)
        {
            *range = start..self.values.len();
        } else {
            self.values.truncate(start);
        }
    }
}

fn text_into(out: &mut Vec<u8>, text: &str) -> bool {
    string(out, text);
    !blank(text)
}

/// Whether a text is empty after its NULs are removed.
fn blank(text: &str) -> bool {
    text.bytes().all(|byte| byte == 0)
}

fn boolean_into(out: &mut Vec<u8>, text: &str) -> bool {
    for (word, json) in [("true", &b"true"[..]), ("false", &b"false"[..])] {
        if text.eq_ignore_ascii_case(word) {
            out.extend_from_slice(json);
            return true;
        }
    }
    raw_into(out, text)
}

fn raw_into(out: &mut Vec<u8>, text: &str) -> bool {
    object_into(out, &[("raw", text)])
}

fn reference_into(out: &mut Vec<u8>, id: &str, label: &str) -> bool {
    !blank(id) && object_into(out, &[("id", id), ("label", label)])
}

/// An object of texts with sorted keys. Returns whether it has any.
fn object_into(out: &mut Vec<u8>, parts: &[(&str, &str)]) -> bool {
    let start = out.len();
    for (key, value) in parts.iter().filter(|(_, value)| !blank(value)) {
        out.extend_from_slice(if out.len() == start { b"{\"" } else { b",\"" });
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"\":");
        string(out, value);
    }
    let any = out.len() > start;
    if any {
        out.push(b'}');
    }
    any
}

/// Writes the output of `write` in quotes; nothing if it returns false.
fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
    let start = out.len();
    out.push(b'"');
    if write(out) {
        out.push(b'"');
        return true;
    }
    out.truncate(start);
    false
}

#[cfg(test)]
mod tests;
