//! Converts one value to its canonical form: of the REST API from its JSON text, of Bulk from a text. Numbers stay text throughout, without
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

/// Appends the canonical form of a text, of Bulk. False, with nothing appended, if it is empty.
pub(crate) fn write_text(kind: FieldType, text: &str, out: &mut Vec<u8>) -> bool {
    match kind {
        _ if text.is_empty() => false,
        FieldType::MultiPicklist => many(text, out),
        FieldType::Reference => reference(text, "", out),
        _ => value_into(out, kind, text),
    }
}

/// Appends a compound field of its parts, of Bulk, in the order of [`ADDRESS`] or [`LOCATION`].
pub(crate) fn write_parts(kind: FieldType, parts: &[Cow<'_, str>], out: &mut Vec<u8>) -> bool {
    let text = |kind| move |part: &&str, out: &mut Vec<u8>| write_text(kind, part, out);
    let with = |names: &[(&'static str, &str)]| -> Vec<(&'static str, &str)> {
        let names = names.iter().map(|(key, _)| *key);
        names.zip(parts.iter().map(AsRef::as_ref)).collect()
    };
    match kind {
        FieldType::Address => object(&with(&ADDRESS), out, text(FieldType::Text)) > 0,
        _ => whole_location(&with(&LOCATION), out, text(FieldType::Decimal)),
    }
}

/// The parts of an address: their names in a payload, and in Salesforce. The fields that Bulk has instead are named with the same.
pub(crate) const ADDRESS: [(&str, &str); 7] = [
    ("city", "City"),
    ("country", "Country"),
    ("country_code", "CountryCode"),
    ("postal_code", "PostalCode"),
    ("state", "State"),
    ("state_code", "StateCode"),
    ("street", "Street"),
];
/// The same of a location.
pub(crate) const LOCATION: [(&str, &str); 2] = [("latitude", "Latitude"), ("longitude", "Longitude")];

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
    object(&named, out, json_part(FieldType::Text)) > 0
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
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
    let named = [("latitude", parts.latitude), ("longitude", parts.longitude)];
    whole_location(&named, out, json_part(FieldType::Decimal))
}

fn json_part(kind: FieldType) -> impl Fn(&Option<&RawValue>, &mut Vec<u8>) -> bool {
    move |part, out| part.is_some_and(|part| write(kind, part.get(), out))
}

/// A location with only one coordinate is invalid.
fn whole_location<T>(
    named: &[(&str, T)],
    out: &mut Vec<u8>,
    write: impl Fn(&T, &mut Vec<u8>) -> bool,
) -> bool {
    let start = out.len();
    let whole = object(named, out, write) == named.len();
    if !whole {
        out.truncate(start);
    }
    whole
}

/// Appends the parts that are set as an object, and returns their number; appends nothing if there is none.
fn object<T>(parts: &[(&str, T)], out: &mut Vec<u8>, write: impl Fn(&T, &mut Vec<u8>) -> bool) -> usize {
    let start = out.len();
    let mut set = 0;
    for (key, value) in parts {
        let before = out.len();
        out.extend_from_slice(if set == 0 { b"{\"" } else { b",\"" });
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"\":");
        if write(value, out) {
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

    #[test]
    fn a_text_of_bulk_has_the_same_form() {
        #[rustfmt::skip]
        let table = [
            (FieldType::Text, r#""a\n\"b\"\tc/\u007f\u2028é""#, "a\n\"b\"\tc/\u{7f}\u{2028}é"),
            (FieldType::Text, r#""NA""#, "NA"),
            (FieldType::Text, r#""null""#, "null"),
            (FieldType::Text, r#"" x ""#, " x "),
            (FieldType::Boolean, "true", "true"),
            (FieldType::Integer, "39000", "39000.0"),
            (FieldType::Currency, "1.0E10", "10000000000"),
            (FieldType::Decimal, r#""NaN""#, "NaN"),
            (FieldType::Date, r#""20222-01-01""#, "20222-01-01"),
            (FieldType::Timestamp, r#""2011-07-07T00:37:00.000+0000""#, "2011-07-07T00:37:00.000Z"),
            (FieldType::Time, r#""10:30:00.000Z""#, "10:30:00.000Z"),
            (FieldType::MultiPicklist, r#""b;a;""#, "b;a;"),
            (FieldType::Reference, r#""005x00000012Q9P""#, "005x00000012Q9PAAU"),
            (FieldType::Reference, r#""000000000000000AAA""#, "000000000000000AAA"),
            (FieldType::Text, "null", ""),
        ];
        for (kind, json, text) in table {
            let mut out = Vec::new();
            let set = write_text(kind, text, &mut out);
            let written = set.then(|| String::from_utf8(out).unwrap());
            assert_eq!(written, canonical(kind, json), "{kind:?} {json}");
        }
    }

    #[test]
    fn compounds_are_put_together() {
        let parts = |kind: FieldType, parts: &[&'static str]| {
            let parts: Vec<Cow<'_, str>> = parts.iter().map(|part| Cow::Borrowed(*part)).collect();
            let mut out = Vec::new();
            write_parts(kind, &parts, &mut out).then(|| String::from_utf8(out).unwrap())
        };
        let json = r#"{"city":"Berlin","country":"Germany","countryCode":"DE","postalCode":"10115","state":null,"street":"Weg 1\nHof"}"#;
        assert_eq!(
            parts(
                FieldType::Address,
                &["Berlin", "Germany", "DE", "10115", "", "", "Weg 1\nHof"]
            ),
            canonical(FieldType::Address, json)
        );
        assert_eq!(parts(FieldType::Address, &[""; 7]), None);
        assert_eq!(
            parts(FieldType::Location, &["52.5200", "-1.30E1"]).as_deref(),
            Some(r#"{"latitude":"52.52","longitude":"-13"}"#)
        );
        assert_eq!(parts(FieldType::Location, &["52.5", ""]), None);
    }
}
