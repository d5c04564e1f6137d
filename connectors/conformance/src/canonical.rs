//! A strict check of the canonical form of payloads, written from the contract only: `Record.payload` in
//! `connector.proto`.

use std::collections::HashMap;

use serde_json::{Map, Value};
use tether_connector_host::proto::FieldType;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// The contract's limit for a payload.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// The form of the values of a selected field.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    pub(crate) kind: FieldType,
    /// The host asked for amounts with their currency.
    pub(crate) currency: bool,
}

/// The violation of a payload, or None. `forms` are the forms of the selected fields.
pub(crate) fn violation(payload: &[u8], forms: &HashMap<&str, Form>) -> Option<String> {
    if payload.len() > MOST_BYTES {
        return Some(format!(
            "the payload has {} bytes; 4 MiB are allowed",
            payload.len()
        ));
    }
    let value: Value = match serde_json::from_slice(payload) {
        Ok(value) => value,
        Err(error) => return Some(format!("the payload is not JSON: {error}")),
    };
    let Value::Object(members) = &value else {
        return Some("the payload is not a JSON object".to_owned());
    };
    for (key, value) in members {
        let Some(form) = forms.get(key.as_str()) else {
            return Some(format!("the payload has {key}, which was not selected"));
        };
        if let Some(what) = value_violation(value, *form) {
            return Some(format!(
                "{key} ({}): {what}",
                form.kind.as_str_name().trim_start_matches("FIELD_TYPE_")
            ));
        }
    }
    // Finds white space, a wrong order, duplicates and other escapes.
    let canonical = written(&value);
    (canonical.as_bytes() != payload).then(|| {
        let same = canonical.bytes().zip(payload).take_while(|(one, other)| one == *other).count();
        let around = |bytes: &[u8]| {
            let from = same.saturating_sub(12).min(bytes.len());
            String::from_utf8_lossy(&bytes[from..(same + 12).min(bytes.len())]).into_owned()
        };
        format!(
            "not canonical at byte {same}: …{}…, expected …{}… (keys sorted by bytes, no white space, short escapes)",
            around(payload),
            around(canonical.as_bytes())
        )
    })
}

fn value_violation(value: &Value, form: Form) -> Option<String> {
    if value.is_null() {
        return Some("null; expected an absent member, as for all unset fields".to_owned());
    }
    if let Some(raw) = value.as_object().and_then(|members| members.get("raw"))
        && value.as_object().is_some_and(|members| members.len() == 1)
    {
        return (!raw.is_string()).then(|| "`raw` is not a text".to_owned());
    }
    let text = value.as_str();
    let must = |holds: bool, what: &str| (!holds).then(|| format!("{}; expected {what}", short(value)));
    use FieldType::*;
    match form.kind {
        Boolean => must(value.is_boolean(), "true or false"),
        Integer => must(value.is_i64(), "a JSON integer"),
        Currency if form.currency && value.is_object() => {
            let part = |name: &str| value.get(name).and_then(Value::as_str);
            let both = part("amount").is_some_and(is_decimal)
                && part("currency").is_some_and(is_currency)
                && value.as_object().is_some_and(|members| members.len() == 2);
            must(both, "{\"amount\":\"1234.5\",\"currency\":\"EUR\"}")
        }
        Decimal | Currency | Percent => must(text.is_some_and(is_decimal), "a text like \"1234.5\""),
        Date => must(text.is_some_and(is_date), "a text like \"2026-01-31\""),
        Timestamp => must(
            text.is_some_and(is_timestamp),
            "a text like \"2026-01-31T09:30:00.000Z\"",
        ),
        Time => must(text.is_some_and(is_time), "a text like \"09:30:00.000\""),
        MultiPicklist => must(
            value
                .as_array()
                .is_some_and(|values| values.iter().all(Value::is_string)),
            "an array of texts",
        ),
        Reference => must(
            texts(value, &["id", "label"]) && value.get("id").is_some(),
            "{\"id\":…,\"label\":…}",
        ),
        Address => must(
            texts(
                value,
                &[
                    "city",
                    "country",
                    "country_code",
                    "postal_code",
                    "state",
                    "state_code",
                    "street",
                ],
            ),
            "an object of city, country, country_code, postal_code, state, state_code and street",
        ),
        Location => {
            let part = |name: &str| value.get(name).and_then(Value::as_str).is_some_and(is_decimal);
            let both = part("latitude")
                && part("longitude")
                && value.as_object().is_some_and(|members| members.len() == 2);
            must(both, "{\"latitude\":…,\"longitude\":…} of decimal texts")
        }
        Unspecified | Text | Picklist | Url | Email | Phone | Html => must(
            text.is_some_and(|text| !text.contains('\0')),
            "a text without NUL",
        ),
    }
}

/// A value for a report: its kind, and its beginning.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// Whether a value is an object of non-empty texts with no other keys than these.
fn texts(value: &Value, keys: &[&str]) -> bool {
    value.as_object().is_some_and(|members| {
        !members.is_empty()
            && members.iter().all(|(key, value)| {
                keys.contains(&key.as_str()) && value.as_str().is_some_and(|text| !text.is_empty())
            })
    })
}

/// Without exponent, leading or trailing zeros, or a negative zero.
fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits
        .split_once('.')
        .map_or((digits, None), |(whole, fraction)| (whole, Some(fraction)));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all_digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(|fraction| all_digits(fraction) && !fraction.ends_with('0'))
        && text != "-0"
}

/// Three letters of ISO 4217.
fn is_currency(code: &str) -> bool {
    code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

const DATE: &[BorrowedFormatItem<'_>] = format_description!("[year repr:full sign:automatic]-[month]-[day]");
const TIME: &[BorrowedFormatItem<'_>] = format_description!("[hour]:[minute]:[second].[subsecond digits:3]");

fn is_date(text: &str) -> bool {
    text.len() == 10 && time::Date::parse(text, DATE).is_ok()
}

fn is_time(text: &str) -> bool {
    text.len() == 12 && time::Time::parse(text, TIME).is_ok()
}

fn is_timestamp(text: &str) -> bool {
    let parts = text.strip_suffix('Z').and_then(|text| text.split_once('T'));
    parts.is_some_and(|(date, time)| is_date(date) && is_time(time))
}

/// JSON in the canonical form: members sorted by the bytes of their keys, no white space, the short escapes.
fn written(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let sorted = sorted(members);
            let members: Vec<_> = sorted
                .iter()
                .map(|(key, value)| format!("{}:{}", Value::from(*key), written(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(written).collect();
            format!("[{}]", values.join(","))
        }
        // serde_json writes texts and integers in this form.
        other => other.to_string(),
    }
}

fn sorted(members: &Map<String, Value>) -> Vec<(&str, &Value)> {
    let mut sorted: Vec<_> = members.iter().map(|(key, value)| (key.as_str(), value)).collect();
    sorted.sort_unstable_by_key(|(key, _)| *key);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;
    use FieldType::*;

    fn of(kind: FieldType, value: &str) -> Option<String> {
        violation(
            format!("{{\"F\":{value}}}").as_bytes(),
            &HashMap::from([("F", Form { kind, currency: true })]),
        )
    }

    #[test]
    fn canonical_values_pass() {
        #[rustfmt::skip]
        let table = [
            (Text, "\"a\\u0001\\n\\\"é\""), (Picklist, "\"x\""), (Boolean, "true"), (Integer, "-9223372036854775808"),
            (Decimal, "\"-0.5\""), (Currency, "\"1234.5\""), (Percent, "\"0\""), (Date, "\"2026-01-31\""),
            (Timestamp, "\"2026-01-31T09:30:00.000Z\""), (Time, "\"09:30:00.000\""), (MultiPicklist, "[\"b\",\"a\"]"),
            (Reference, "{\"id\":\"1\",\"label\":\"x\"}"), (Reference, "{\"id\":\"1\"}"), (Address, "{\"city\":\"Basel\"}"),
            (Location, "{\"latitude\":\"47.5\",\"longitude\":\"-7\"}"), (Integer, "{\"raw\":\"many\"}"),
            (Currency, "{\"amount\":\"-0.5\",\"currency\":\"EUR\"}"), (Currency, "{\"raw\":\"some\"}"),
        ];
        for (kind, value) in table {
            assert_eq!(of(kind, value), None, "{kind:?} {value}");
        }
    }

    #[test]
    fn other_values_are_reported() {
        #[rustfmt::skip]
        let table = [
            (Text, "null"), (Text, "1"), (Text, "\"a\\u0000\""), (Text, "\"\\u000a\""), (Text, "\"\\/\""), (Boolean, "\"true\""),
            (Integer, "1.0"), (Integer, "\"1\""), (Integer, "9223372036854775808"), (Decimal, "1.5"), (Decimal, "\"1.50\""),
            (Decimal, "\"1.\""), (Decimal, "\".5\""), (Decimal, "\"-0\""), (Decimal, "\"01\""), (Decimal, "\"1e3\""), (Decimal, "\"+1\""),
            (Date, "\"2026-02-30\""), (Date, "\"31.01.2026\""), (Timestamp, "\"2026-01-31T09:30:00Z\""),
            (Timestamp, "\"2026-01-31T09:30:00.000+00:00\""), (Timestamp, "\"2026-01-31 09:30:00.000Z\""), (Time, "\"9:30\""),
            (MultiPicklist, "\"a;b\""), (MultiPicklist, "[1]"), (Reference, "\"1\""), (Reference, "{\"label\":\"x\"}"),
            (Reference, "{\"label\":\"x\",\"id\":\"1\"}"), (Address, "{}"), (Address, "{\"town\":\"Basel\"}"), (Address, "{\"city\":\"\"}"),
            (Location, "{\"latitude\":47.5,\"longitude\":7}"), (Location, "{\"latitude\":\"1\"}"), (Text, " \"a\""), (Integer, "{\"raw\":1}"),
            (Currency, "{\"amount\":\"1\"}"), (Currency, "{\"amount\":\"1\",\"currency\":\"eur\"}"), (Currency, "{\"amount\":1,\"currency\":\"EUR\"}"),
            (Currency, "{\"currency\":\"EUR\",\"amount\":\"1\"}"), (Currency, "{\"amount\":\"1\",\"code\":\"EUR\"}"), (Decimal, "{\"amount\":\"1\",\"currency\":\"EUR\"}"),
        ];
        for (kind, value) in table {
            assert!(of(kind, value).is_some(), "{kind:?} {value} passes");
        }
        let text = Form {
            kind: Text,
            currency: false,
        };
        let amount = Form {
            kind: Currency,
            currency: false,
        };
        let types = HashMap::from([("A", text), ("B", text), ("M", amount)]);
        for payload in [
            "{\"B\":\"1\",\"A\":\"2\"}",
            "{\"A\":\"1\",\"A\":\"1\"}",
            "{\"C\":\"1\"}",
            "{\"M\":{\"amount\":\"1\",\"currency\":\"EUR\"}}",
            "[]",
            "{",
            "{\"A\": \"1\"}",
        ] {
            assert!(
                violation(payload.as_bytes(), &types).is_some(),
                "{payload} passes"
            );
        }
    }
}
