//! One value of the REST API, taken from its JSON text to its canonical form. Numbers are carried as text from end to end:
//! they never become floats.

use std::borrow::Cow;
use std::io::Write as _;

use serde::Deserialize;
use serde_json::value::RawValue;
use tether_connector_sdk::proto::FieldType;

use crate::{ids, times};

/// Digits an exponent may unfold to before a number counts as broken.
const MOST_DIGITS: i64 = 400;

/// How a field's values are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Text,
    Many,
    Boolean,
    Integer,
    Decimal,
    Date,
    Timestamp,
    Time,
    Reference,
    Address,
    Location,
}

impl From<FieldType> for Shape {
    fn from(field_type: FieldType) -> Self {
        match field_type {
            FieldType::MultiPicklist => Shape::Many,
            FieldType::Boolean => Shape::Boolean,
            FieldType::Integer => Shape::Integer,
            FieldType::Decimal | FieldType::Currency | FieldType::Percent => Shape::Decimal,
            FieldType::Date => Shape::Date,
            FieldType::Timestamp => Shape::Timestamp,
            FieldType::Time => Shape::Time,
            FieldType::Reference => Shape::Reference,
            FieldType::Address => Shape::Address,
            FieldType::Location => Shape::Location,
            _ => Shape::Text,
        }
    }
}

/// Appends the canonical form of `json`, a JSON value's text. False, and nothing appended, where there is no value: null
/// and the empty text are the same to Salesforce.
pub(crate) fn write(shape: Shape, json: &str, out: &mut Vec<u8>) -> bool {
    match json.as_bytes().first() {
        None | Some(b'n') => return false,
        Some(b'"') if json == "\"\"" => return false,
        _ => {}
    }
    if shape == Shape::Text && plain(json) {
        out.extend_from_slice(json.as_bytes());
        return true;
    }
    let start = out.len();
    match convert(shape, json, out) {
        Some(set) => set,
        None => {
            out.truncate(start);
            out.extend_from_slice(b"{\"raw\":");
            write_text(&scalar(json), out);
            out.push(b'}');
            true
        }
    }
}

/// A string that stands in JSON as it stands in memory.
fn plain(json: &str) -> bool {
    let bytes = json.as_bytes();
    bytes.len() >= 2 && bytes[0] == b'"' && !bytes.contains(&b'\\')
}

/// The text of a scalar: of a string what it says, of anything else its JSON.
pub(crate) fn scalar(json: &str) -> Cow<'_, str> {
    if plain(json) {
        return Cow::Borrowed(&json[1..json.len() - 1]);
    }
    if !json.starts_with('"') {
        return Cow::Borrowed(json);
    }
    let text = serde_json::from_str::<String>(json).unwrap_or_else(|_| lenient(&json[1..json.len().max(2) - 1]));
    Cow::Owned(if text.contains('\0') { text.replace('\0', "") } else { text })
}

/// Unescapes a string that the strict parser refuses: half of a surrogate pair becomes U+FFFD.
fn lenient(inner: &str) -> String {
    let mut units: Vec<u16> = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('u') => {
                    let hex: String = chars.by_ref().take(4).collect();
                    units.push(u16::from_str_radix(&hex, 16).unwrap_or(0xfffd));
                    continue;
                }
                Some(c) => c,
                None => break,
            },
            c => c,
        };
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16_lossy(&units)
}

/// Appends a text as a JSON string.
pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) {
    // Writing into memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// None where the value does not fit.
fn convert(shape: Shape, json: &str, out: &mut Vec<u8>) -> Option<bool> {
    if matches!(shape, Shape::Address | Shape::Location) {
        return if shape == Shape::Address { address(json, out) } else { location(json, out) };
    }
    if json.starts_with(['{', '[']) {
        return None;
    }
    let text = scalar(json);
    if text.is_empty() {
        return Some(false);
    }
    match shape {
        Shape::Text => write_text(&text, out),
        Shape::Many => {
            let start = out.len();
            out.push(b'[');
            for value in text.split(';').filter(|value| !value.is_empty()) {
                if out.len() > start + 1 {
                    out.push(b',');
                }
                write_text(value, out);
            }
            if out.len() == start + 1 {
                out.truncate(start);
                return Some(false);
            }
            out.push(b']');
        }
        Shape::Boolean => match &*text {
            "true" => out.extend_from_slice(b"true"),
            "false" => out.extend_from_slice(b"false"),
            _ => return None,
        },
        Shape::Integer => {
            let start = out.len();
            decimal(&text, out)?;
            std::str::from_utf8(&out[start..]).ok()?.parse::<i64>().ok()?;
        }
        Shape::Decimal => {
            out.push(b'"');
            decimal(&text, out)?;
            out.push(b'"');
        }
        Shape::Date => {
            times::date(&text)?;
            write_text(&text, out);
        }
        Shape::Timestamp => {
            out.push(b'"');
            times::write_utc(times::timestamp(&text)?, out)?;
            out.push(b'"');
        }
        Shape::Time => {
            let millis = times::time_of_day(&text)?;
            let (s, ms) = (millis / 1000, millis % 1000);
            let _ = write!(out, "\"{:02}:{:02}:{:02}.{ms:03}\"", s / 3600, s / 60 % 60, s % 60);
        }
        Shape::Reference => match ids::normalise(&text) {
            Some(id) => {
                let _ = write!(out, "{{\"id\":\"{id}\"}}");
            }
            None if text.starts_with("000000000000000") => return Some(false),
            None => return None,
        },
        Shape::Address | Shape::Location => return None,
    }
    Some(true)
}

/// Appends a number without exponent, leading or trailing zeros.
pub(crate) fn decimal(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], unsigned[at + 1..].parse::<i64>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.len() + fraction.len() == 0
        || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit())
        || exponent.abs() > MOST_DIGITS
        || (whole.len() + fraction.len()) as i64 > MOST_DIGITS
    {
        return None;
    }
    if exponent == 0 {
        sign_and_digits(negative, whole, fraction, out);
        return Some(());
    }
    // The point moves by the exponent.
    let digits = format!("{whole}{fraction}");
    let point = whole.len() as i64 + exponent;
    if point <= 0 {
        let fraction = format!("{}{digits}", "0".repeat(usize::try_from(-point).ok()?));
        sign_and_digits(negative, "", &fraction, out);
    } else {
        let point = usize::try_from(point).ok()?;
        let padded = format!("{digits:0<point$}");
        let (whole, fraction) = padded.split_at(point);
        sign_and_digits(negative, whole, fraction, out);
    }
    Some(())
}

fn sign_and_digits(negative: bool, whole: &str, fraction: &str, out: &mut Vec<u8>) {
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    if negative && !(whole.is_empty() && fraction.is_empty()) {
        out.push(b'-');
    }
    out.extend_from_slice(if whole.is_empty() { b"0" } else { whole.as_bytes() });
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AddressParts<'a> {
    #[serde(borrow, default)]
    city: Option<&'a RawValue>,
    #[serde(borrow, default)]
    country: Option<&'a RawValue>,
    #[serde(borrow, default)]
    country_code: Option<&'a RawValue>,
    #[serde(borrow, default)]
    postal_code: Option<&'a RawValue>,
    #[serde(borrow, default)]
    state: Option<&'a RawValue>,
    #[serde(borrow, default)]
    state_code: Option<&'a RawValue>,
    #[serde(borrow, default)]
    street: Option<&'a RawValue>,
}

fn address(json: &str, out: &mut Vec<u8>) -> Option<bool> {
    let parts: AddressParts<'_> = serde_json::from_str(json).ok()?;
    let named = [
        ("\"city\":", parts.city),
        ("\"country\":", parts.country),
        ("\"country_code\":", parts.country_code),
        ("\"postal_code\":", parts.postal_code),
        ("\"state\":", parts.state),
        ("\"state_code\":", parts.state_code),
        ("\"street\":", parts.street),
    ];
    Some(object(out, named.map(|(key, value)| (key, value.map(RawValue::get))), Shape::Text))
}

#[derive(Deserialize)]
struct LocationParts<'a> {
    #[serde(borrow, default)]
    latitude: Option<&'a RawValue>,
    #[serde(borrow, default)]
    longitude: Option<&'a RawValue>,
}

fn location(json: &str, out: &mut Vec<u8>) -> Option<bool> {
    let parts: LocationParts<'_> = serde_json::from_str(json).ok()?;
    let named = [("\"latitude\":", parts.latitude), ("\"longitude\":", parts.longitude)];
    Some(object(out, named.map(|(key, value)| (key, value.map(RawValue::get))), Shape::Decimal))
}

/// Appends the parts that are set as an object; false where none is.
fn object<const N: usize>(out: &mut Vec<u8>, parts: [(&str, Option<&str>); N], shape: Shape) -> bool {
    let start = out.len();
    out.push(b'{');
    for (key, value) in parts {
        let Some(value) = value else { continue };
        let before = out.len();
        if before > start + 1 {
            out.push(b',');
        }
        out.extend_from_slice(key.as_bytes());
        if !write(shape, value, out) {
            out.truncate(before);
        }
    }
    if out.len() == start + 1 {
        out.truncate(start);
        return false;
    }
    out.push(b'}');
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(shape: Shape, json: &str) -> Option<String> {
        let mut out = b"x".to_vec();
        let set = write(shape, json, &mut out);
        assert_eq!(out[0], b'x');
        assert_eq!(set, out.len() > 1, "{json}");
        set.then(|| String::from_utf8(out[1..].to_vec()).unwrap())
    }

    #[test]
    fn null_and_empty_are_no_value() {
        for shape in [Shape::Text, Shape::Many, Shape::Decimal, Shape::Date, Shape::Reference, Shape::Address] {
            assert_eq!(canonical(shape, "null"), None);
            assert_eq!(canonical(shape, "\"\""), None);
        }
        assert_eq!(canonical(Shape::Many, "\";\""), None);
        assert_eq!(canonical(Shape::Reference, "\"000000000000000AAA\""), None);
        assert_eq!(canonical(Shape::Address, r#"{"city":null,"geocodeAccuracy":null}"#), None);
        assert_eq!(canonical(Shape::Text, r#""\u0000""#), None);
    }

    #[test]
    fn each_shape() {
        #[rustfmt::skip]
        let table = [
            (Shape::Text, r#""Müller \u0026 S\u00f6hne\/x""#, r#""Müller & Söhne/x""#),
            (Shape::Text, r#""a\nb\u0000c""#, r#""a\nbc""#),
            (Shape::Text, r#""half \ud83d pair""#, "\"half \u{fffd} pair\""),
            (Shape::Text, r#""\ud83d\ude00""#, "\"😀\""),
            (Shape::Text, "12.50", r#""12.50""#),
            (Shape::Text, r#"{"a":1}"#, r#"{"raw":"{\"a\":1}"}"#),
            (Shape::Many, r#""four;six""#, r#"["four","six"]"#),
            (Shape::Many, r#""b;a;""#, r#"["b","a"]"#),
            (Shape::Boolean, "true", "true"),
            (Shape::Boolean, r#""false""#, "false"),
            (Shape::Boolean, "1", r#"{"raw":"1"}"#),
            (Shape::Integer, "39000", "39000"),
            (Shape::Integer, "23.0", "23"),
            (Shape::Integer, r#""-7""#, "-7"),
            (Shape::Integer, "0.5", r#"{"raw":"0.5"}"#),
            (Shape::Integer, "1e30", r#"{"raw":"1e30"}"#),
            (Shape::Decimal, "950000000.0", r#""950000000""#),
            (Shape::Decimal, "1.0E10", r#""10000000000""#),
            (Shape::Decimal, "1.25e-3", r#""0.00125""#),
            (Shape::Decimal, "-0.0", r#""0""#),
            (Shape::Decimal, "0.10", r#""0.1""#),
            (Shape::Decimal, "-12.3450E1", r#""-123.45""#),
            (Shape::Decimal, "12345678901234567890.123456789", r#""12345678901234567890.123456789""#),
            (Shape::Decimal, r#""NaN""#, r#"{"raw":"NaN"}"#),
            (Shape::Decimal, "1e999999", r#"{"raw":"1e999999"}"#),
            (Shape::Date, r#""2010-01-01""#, r#""2010-01-01""#),
            (Shape::Date, r#""20222-01-01""#, r#"{"raw":"20222-01-01"}"#),
            (Shape::Date, r#""2023-02-29""#, r#"{"raw":"2023-02-29"}"#),
            (Shape::Timestamp, r#""2011-07-07T00:37:00.000+0000""#, r#""2011-07-07T00:37:00.000Z""#),
            (Shape::Timestamp, r#""2011-07-07T02:37:00+02:00""#, r#""2011-07-07T00:37:00.000Z""#),
            (Shape::Timestamp, r#""yesterday""#, r#"{"raw":"yesterday"}"#),
            (Shape::Time, r#""10:30:00.000Z""#, r#""10:30:00.000""#),
            (Shape::Time, r#""25:00:00.000Z""#, r#"{"raw":"25:00:00.000Z"}"#),
            (Shape::Reference, r#""005x00000012Q9P""#, r#"{"id":"005x00000012Q9PAAU"}"#),
            (Shape::Reference, r#""some text""#, r#"{"raw":"some text"}"#),
            (Shape::Address, r#"{"city":"Berlin","country":"Germany","countryCode":"DE","geocodeAccuracy":null,"latitude":1.5,"longitude":2,"postalCode":"10115","state":null,"stateCode":null,"street":"Weg 1\nHof"}"#,
             r#"{"city":"Berlin","country":"Germany","country_code":"DE","postal_code":"10115","street":"Weg 1\nHof"}"#),
            (Shape::Address, r#""Berlin""#, r#"{"raw":"Berlin"}"#),
            (Shape::Location, r#"{"latitude":52.5200,"longitude":-1.30E1}"#, r#"{"latitude":"52.52","longitude":"-13"}"#),
        ];
        for (shape, json, expected) in table {
            assert_eq!(canonical(shape, json).as_deref(), Some(expected), "{shape:?} {json}");
        }
    }
}
