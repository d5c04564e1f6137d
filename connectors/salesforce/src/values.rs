//! Converts one value of the REST API from its JSON text to its canonical form. Numbers stay text throughout, without
//! floating point. This module has the forms that are specific to Salesforce; the SDK has the rest.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use tether_connector_sdk::payload::value_into;
use tether_connector_sdk::proto::FieldType;

use crate::ids;

/// Appends the canonical form of `json`, a JSON value's text. False, with nothing appended, if there is no value:
/// null and the empty text are the same to Salesforce.
pub(crate) fn write(kind: FieldType, json: &str, out: &mut Vec<u8>) -> bool {
    if matches!(json.as_bytes().first(), None | Some(b'n')) || json == "\"\"" {
        return false;
    }
    match kind {
        FieldType::Address => address(json, out),
        FieldType::Location => location(json, out),
        _ if json.starts_with(['{', '[']) => raw(json, out),
        FieldType::MultiPicklist => many(&scalar(json), out),
        FieldType::Reference => reference(&scalar(json), "", out),
        FieldType::Boolean
        | FieldType::Integer
        | FieldType::Decimal
        | FieldType::Currency
        | FieldType::Percent
        | FieldType::Date
        | FieldType::Timestamp
        | FieldType::Time => value_into(out, kind, &scalar(json)),
        // Most texts have the same form in JSON, in memory and in a payload.
        _ if plain(json) => {
            out.extend_from_slice(json.as_bytes());
            true
        }
        _ => value_into(out, kind, &scalar(json)),
    }
}

/// A string without escapes.
fn plain(json: &str) -> bool {
    let bytes = json.as_bytes();
    bytes.len() >= 2 && bytes[0] == b'"' && !bytes.contains(&b'\\')
}

/// The text of a scalar: the content of a string, else the JSON text.
pub(crate) fn scalar(json: &str) -> Cow<'_, str> {
    if plain(json) {
        return Cow::Borrowed(&json[1..json.len() - 1]);
    }
    if !json.starts_with('"') {
        return Cow::Borrowed(json);
    }
    // The SDK has replaced lone surrogates, so every string can be read.
    let text = serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned());
    Cow::Owned(if text.contains('\0') {
        text.replace('\0', "")
    } else {
        text
    })
}

fn raw(json: &str, out: &mut Vec<u8>) -> bool {
    // A text is not a location: it becomes raw.
    value_into(out, FieldType::Location, &scalar(json))
}

fn many(text: &str, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    for value in text.split(';') {
        let before = out.len();
        out.push(if before == start { b'[' } else { b',' });
        if !value_into(out, FieldType::Picklist, value) {
            out.truncate(before);
        }
    }
    let any = out.len() > start;
    if any {
        out.push(b']');
    }
    any
}

/// Appends a reference, with the name of the record if it is known.
pub(crate) fn reference(text: &str, label: &str, out: &mut Vec<u8>) -> bool {
    let Some(id) = ids::normalise(text) else {
        let none = text.is_empty() || text == "null" || text.starts_with(ids::EMPTY_KEY);
        return !none && value_into(out, FieldType::Location, text);
    };
    let set = value_into(out, FieldType::Reference, &id);
    if set && !label.is_empty() {
        out.pop();
        out.extend_from_slice(b",\"label\":");
        value_into(out, FieldType::Text, label);
        out.push(b'}');
    }
    set
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

fn address(json: &str, out: &mut Vec<u8>) -> bool {
    let Ok(parts) = serde_json::from_str::<AddressParts<'_>>(json) else {
        return raw(json, out);
    };
    let named = [
        ("city", parts.city),
        ("country", parts.country),
        ("country_code", parts.country_code),
        ("postal_code", parts.postal_code),
        ("state", parts.state),
        ("state_code", parts.state_code),
        ("street", parts.street),
    ];
    object(FieldType::Text, &named, out) > 0
}

#[derive(Deserialize)]
struct LocationParts<'a> {
    #[serde(borrow, default)]
    latitude: Option<&'a RawValue>,
    #[serde(borrow, default)]
    longitude: Option<&'a RawValue>,
}

fn location(json: &str, out: &mut Vec<u8>) -> bool {
    let Ok(parts) = serde_json::from_str::<LocationParts<'_>>(json) else {
        return raw(json, out);
    };
    let start = out.len();
    let named = [("latitude", parts.latitude), ("longitude", parts.longitude)];
    // A location with only one coordinate is invalid.
    let whole = object(FieldType::Decimal, &named, out) == named.len();
    if !whole {
        out.truncate(start);
    }
    whole
}

/// Appends the parts that are set as an object, and returns their number; appends nothing if there is none.
fn object(kind: FieldType, parts: &[(&str, Option<&RawValue>)], out: &mut Vec<u8>) -> usize {
    let start = out.len();
    let mut set = 0;
    for (key, value) in parts {
        let Some(value) = value else { continue };
        let before = out.len();
        out.extend_from_slice(if set == 0 { b"{\"" } else { b",\"" });
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"\":");
        if write(kind, value.get(), out) {
            set += 1;
        } else {
            out.truncate(before);
        }
    }
    if set == 0 {
        out.truncate(start);
    } else {
        out.push(b'}');
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(kind: FieldType, json: &str) -> Option<String> {
        let mut out = b"x".to_vec();
        let set = write(kind, json, &mut out);
        assert_eq!(out[0], b'x');
        assert_eq!(set, out.len() > 1, "{json}");
        set.then(|| String::from_utf8(out[1..].to_vec()).unwrap())
    }

    #[test]
    fn null_and_empty_are_no_value() {
        for kind in [
            FieldType::Text,
            FieldType::MultiPicklist,
            FieldType::Decimal,
            FieldType::Date,
            FieldType::Reference,
            FieldType::Address,
        ] {
            assert_eq!(canonical(kind, "null"), None);
            assert_eq!(canonical(kind, "\"\""), None);
        }
        assert_eq!(canonical(FieldType::MultiPicklist, "\";\""), None);
        assert_eq!(canonical(FieldType::Reference, "\"000000000000000AAA\""), None);
        assert_eq!(
            canonical(FieldType::Address, r#"{"city":null,"geocodeAccuracy":null}"#),
            None
        );
        assert_eq!(canonical(FieldType::Text, r#""\u0000""#), None);
    }

    #[test]
    fn each_shape() {
        #[rustfmt::skip]
        let table = [
            (FieldType::Text, r#""Müller \u0026 S\u00f6hne\/x""#, r#""Müller & Söhne/x""#),
            (FieldType::Text, r#""a\nb\u0000c""#, r#""a\nbc""#),
            (FieldType::Text, r#""\ud83d\ude00""#, "\"😀\""),
            (FieldType::Text, "12.50", r#""12.50""#),
            (FieldType::Text, r#"{"a":1}"#, r#"{"raw":"{\"a\":1}"}"#),
            (FieldType::MultiPicklist, r#""four;six""#, r#"["four","six"]"#),
            (FieldType::MultiPicklist, r#""b;a;""#, r#"["b","a"]"#),
            (FieldType::Boolean, "true", "true"),
            (FieldType::Boolean, r#""false""#, "false"),
            (FieldType::Boolean, "1", r#"{"raw":"1"}"#),
            (FieldType::Integer, "39000", "39000"),
            (FieldType::Integer, "23.0", "23"),
            (FieldType::Integer, r#""-7""#, "-7"),
            (FieldType::Integer, "0.5", r#"{"raw":"0.5"}"#),
            (FieldType::Integer, "1e30", r#"{"raw":"1e30"}"#),
            (FieldType::Decimal, "950000000.0", r#""950000000""#),
            (FieldType::Decimal, "1.0E10", r#""10000000000""#),
            (FieldType::Decimal, "1.25e-3", r#""0.00125""#),
            (FieldType::Decimal, "-0.0", r#""0""#),
            (FieldType::Decimal, "0.10", r#""0.1""#),
            (FieldType::Decimal, "-12.3450E1", r#""-123.45""#),
            (FieldType::Decimal, "12345678901234567890.123456789", r#""12345678901234567890.123456789""#),
            (FieldType::Decimal, r#""NaN""#, r#"{"raw":"NaN"}"#),
            (FieldType::Decimal, "1e999999", r#"{"raw":"1e999999"}"#),
            (FieldType::Date, r#""2010-01-01""#, r#""2010-01-01""#),
            (FieldType::Date, r#""20222-01-01""#, r#"{"raw":"20222-01-01"}"#),
            (FieldType::Date, r#""2023-02-29""#, r#"{"raw":"2023-02-29"}"#),
            (FieldType::Timestamp, r#""2011-07-07T00:37:00.000+0000""#, r#""2011-07-07T00:37:00.000Z""#),
            (FieldType::Timestamp, r#""2011-07-07T02:37:00+02:00""#, r#""2011-07-07T00:37:00.000Z""#),
            (FieldType::Timestamp, r#""yesterday""#, r#"{"raw":"yesterday"}"#),
            (FieldType::Time, r#""10:30:00.000Z""#, r#""10:30:00.000""#),
            (FieldType::Time, r#""25:00:00.000Z""#, r#"{"raw":"25:00:00.000Z"}"#),
            (FieldType::Reference, r#""005x00000012Q9P""#, r#"{"id":"005x00000012Q9PAAU"}"#),
            (FieldType::Reference, r#""some text""#, r#"{"raw":"some text"}"#),
            (FieldType::Address, r#"{"city":"Berlin","country":"Germany","countryCode":"DE","geocodeAccuracy":null,"latitude":1.5,"longitude":2,"postalCode":"10115","state":null,"stateCode":null,"street":"Weg 1\nHof"}"#,
             r#"{"city":"Berlin","country":"Germany","country_code":"DE","postal_code":"10115","street":"Weg 1\nHof"}"#),
            (FieldType::Address, r#""Berlin""#, r#"{"raw":"Berlin"}"#),
            (FieldType::Location, r#"{"latitude":52.5200,"longitude":-1.30E1}"#, r#"{"latitude":"52.52","longitude":"-13"}"#),
        ];
        for (kind, json, expected) in table {
            assert_eq!(
                canonical(kind, json).as_deref(),
                Some(expected),
                "{kind:?} {json}"
            );
        }
    }
}
