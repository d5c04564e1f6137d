//! Which values of a record are compared, under which paths, and in which form. One mapping for the documents of an index
//! and for rows in memory, so that a condition means the same for both.
//!
//! The values are made here, not by the library: integers and decimals as scaled whole numbers or as texts
//! that sort like the number, texts folded, long texts as a hash. The library would guess dates and floats,
//! and every comparison has to be exact.

use super::kind::{ADDRESS, Kind};
use super::moment;
use super::paths::{CompanyPaths, path};
use crate::value::Value;
use tether_columns::number::Number;
use tether_columns::text::{self, fold, words};

/// Takes the values of one row.
pub(super) trait Sink {
    /// Whether the row's values at this path are of use.
    fn wants(&self, path: &str) -> bool;
    /// A folded text of which each word is compared.
    fn words(&mut self, path: &str, folded: &str);
    /// Folded texts that are compared as wholes, each with the text as it was written.
    fn texts(&mut self, path: &str, texts: Vec<(String, &str)>);
    /// A boolean, a time or a scaled number.
    fn int(&mut self, path: &str, value: i64);
    /// A number that is no scaled number, as a sortable text.
    fn decimal(&mut self, path: &str, ordered: String);
}

/// The term for the equality test of a long text: its hash.
#[must_use]
pub fn whole(folded: &str) -> String {
    blake3::hash(folded.as_bytes()).to_hex().to_string()
}

/// A folded text as it is stored, and the text as it was written; long texts are cut.
fn stored(mut folded: String, written: &str) -> (String, &str) {
    folded.truncate(folded.floor_char_boundary(text::MOST_TEXT));
    (folded, &written[..written.floor_char_boundary(text::MOST_TEXT)])
}

fn text(to: &mut impl Sink, path: &str, text: &str) {
    if to.wants(path) {
        let folded = fold(text);
        to.words(path, &folded);
        to.texts(path, vec![stored(folded, text)]);
    }
}

/// Adds a part of a value, unless it is empty.
fn part(to: &mut impl Sink, path: &str, part: &str) {
    if !part.is_empty() {
        text(to, path, part);
    }
}

fn number(to: &mut impl Sink, path: &str, text: &str) {
    if let Some(number) = Number::parse(text) {
        match number.scaled() {
            Some(scaled) => to.int(path, scaled),
            None => to.decimal(path, number.ordered()),
        }
    }
}

fn long(to: &mut impl Sink, path: &str, text: &str) {
    let folded = fold(text);
    to.words(path, &folded);
    let hash = whole(&folded);
    to.texts(path, vec![(hash.clone(), &hash)]);
}

/// The values that a company itself has: its name, homepage and domain, and the words that it is found by.
pub(super) fn company(to: &mut impl Sink, paths: &CompanyPaths, name: &str, homepage: &str, domain: &str) {
    part(to, &paths.name, name);
    part(to, &paths.homepage, homepage);
    part(to, &paths.domain, domain);
    if to.wants(&paths.found_by) {
        let plain = text::plain(name);
        to.words(&paths.found_by, &plain);
        to.words(&paths.found_by, domain);
        let joined = words(&plain).collect::<Vec<_>>().join(" ");
        to.texts(&paths.found_by, vec![(joined.clone(), &joined)]);
    }
}

/// The values of a field.
pub(super) fn field(to: &mut impl Sink, object: &str, field: &str, kind: Kind, value: Value) {
    let whole_path = path(object, field, "");
    let of = |part| path(object, field, part);
    match value {
        Value::Text(long_text) if kind == Kind::Long => long(to, &whole_path, &long_text),
        Value::Text(short) => text(to, &whole_path, &short),
        Value::Html(html) => long(to, &whole_path, &text::of_html(&html)),
        Value::Integer(integer) => number(to, &whole_path, &integer.to_string()),
        Value::Decimal(decimal) => number(to, &whole_path, &decimal),
        Value::Money { amount, currency } => {
            number(to, &whole_path, &amount);
            part(to, &of("currency_code"), &currency);
        }
        Value::Boolean(yes) => to.int(&whole_path, i64::from(yes)),
        Value::Date(date) => {
            if let Some(day) = moment::day(&date) {
                to.int(&whole_path, day);
            }
        }
        Value::Time(time) => {
            if let Some(us) = moment::time_of_day(&time) {
                to.int(&whole_path, us);
            }
        }
        Value::Timestamp(us) => to.int(&whole_path, us),
        Value::List(entries) => {
            let texts: Vec<(String, &str)> = entries.iter().map(|entry| stored(fold(entry), entry)).collect();
            if !texts.is_empty() {
                to.texts(&whole_path, texts);
            }
        }
        Value::Reference { id, label } => {
            part(to, &of("id"), &id);
            // A record that the CRM does not name is compared by its id.
            part(to, &whole_path, if label.is_empty() { &id } else { &label });
        }
        Value::Address(address) => {
            let parts = [
                &address.street,
                &address.city,
                &address.postal_code,
                &address.state,
                &address.state_code,
                &address.country,
                &address.country_code,
            ];
            for (name, value) in ADDRESS.iter().zip(parts) {
                part(to, &of(name), value);
            }
        }
        Value::Location(latitude, longitude) => {
            number(to, &of("latitude"), &latitude);
            number(to, &of("longitude"), &longitude);
        }
        Value::Raw(_) => {}
    }
}
