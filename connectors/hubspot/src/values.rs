//! Converts one value from HubSpot's text to its canonical form. HubSpot writes every value as a text, or null.

use std::borrow::Cow;

use serde_json::value::RawValue;
use tether_connector_sdk::payload::{Payload, decimal, timestamp_us, value_into};
use tether_connector_sdk::proto::FieldType;

/// Sets a value. Null and the empty text are no value.
pub(crate) fn set(payload: &mut Payload, place: usize, kind: FieldType, value: &RawValue) {
    if !is_text(kind) && text(value).trim().is_empty() {
        return;
    }
    match kind {
        FieldType::Timestamp if whole(&text(value)).len() < text(value).len() => {
            payload.value(place, kind, whole(&text(value)));
        }
        FieldType::MultiPicklist => {
            let text = text(value);
            payload.list(place, text.split(';').filter(|one| !one.is_empty()));
        }
        FieldType::Percent => match decimal(&text(value)) {
            // HubSpot stores 0.25 and displays 25 %.
            Some(share) => payload.value(place, kind, &format!("{share}E2")),
            None => payload.json(place, kind, value.get()),
        },
        FieldType::Date => match day(whole(&text(value))) {
            Some(day) => payload.value(place, kind, &day),
            None => payload.json(place, kind, value.get()),
        },
        FieldType::Reference => payload.reference(place, &text(value), ""),
        _ => payload.json(place, kind, value.get()),
    }
}

/// Whether white space is a value of this type.
fn is_text(kind: FieldType) -> bool {
    use FieldType as T;
    matches!(
        kind,
        T::Text | T::Html | T::Picklist | T::Url | T::Email | T::Phone
    )
}

/// Milliseconds without the zero fraction that some times have: `1633996800000.0`.
pub(crate) fn whole(text: &str) -> &str {
    match text.split_once('.') {
        Some((whole, fraction))
            if !whole.is_empty()
                && whole.bytes().all(|b| b.is_ascii_digit())
                && fraction.bytes().all(|b| b == b'0') =>
        {
            whole
        }
        _ => text,
    }
}

/// The text of a value: the content of a string, empty for null, else the JSON text.
pub(crate) fn text(value: &RawValue) -> Cow<'_, str> {
    let json = value.get();
    match json.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(json).map_or(Cow::Borrowed(""), Cow::Owned),
        Some(b'n') | None => Cow::Borrowed(""),
        Some(_) => Cow::Borrowed(json),
    }
}

/// A date in milliseconds of its midnight, the form of older properties.
fn day(text: &str) -> Option<String> {
    if text.contains('-') {
        return None;
    }
    timestamp_us(text)?;
    let mut out = Vec::new();
    value_into(&mut out, FieldType::Timestamp, text);
    let moment = String::from_utf8(out).ok()?;
    let day = moment.trim_matches('"').strip_suffix("T00:00:00.000Z")?;
    Some(day.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(kind: FieldType, json: &str) -> String {
        let raw: Box<RawValue> = serde_json::from_str(json).unwrap_or_else(|e| panic!("{e}"));
        let mut payload = Payload::new(["f"]);
        set(&mut payload, 0, kind, &raw);
        let row = String::from_utf8_lossy(&payload.finish()).into_owned();
        row.strip_prefix("{\"f\":")
            .and_then(|rest| rest.strip_suffix('}'))
            .unwrap_or("")
            .to_owned()
    }

    #[test]
    fn each_type() {
        use FieldType::*;
        #[rustfmt::skip]
        let table = [
            (Text, r#""Müller \u0026 S\u00f6hne""#, r#""Müller & Söhne""#),
            (Text, "null", ""), (Text, r#""""#, ""), (MultiPicklist, "null", ""), (Reference, "null", ""), (Percent, "null", ""),
            (Decimal, r#""1.0E7""#, r#""10000000""#),
            (Decimal, r#""12.50""#, r#""12.5""#),
            (Decimal, "12.50", r#""12.5""#),
            (Currency, r#""9007199254740993.01""#, r#""9007199254740993.01""#),
            (Currency, r#""n/a""#, r#"{"raw":"n/a"}"#),
            (Percent, r#""0.255""#, r#""25.5""#),
            (Percent, r#""1""#, r#""100""#),
            (Percent, r#""1.5E-3""#, r#""0.15""#),
            (Percent, r#""half""#, r#"{"raw":"half"}"#),
            (Boolean, r#""true""#, "true"), (Boolean, r#""maybe""#, r#"{"raw":"maybe"}"#),
            (MultiPicklist, r#""b;a;""#, r#"["b","a"]"#), (MultiPicklist, r#"";""#, ""),
            (Picklist, r#""A;B""#, r#""A;B""#),
            (Date, r#""2024-02-29""#, r#""2024-02-29""#),
            (Date, r#""1709164800000""#, r#""2024-02-29""#),
            (Date, r#""1709164800001""#, r#"{"raw":"1709164800001"}"#),
            (Timestamp, r#""2024-02-29T10:00:00Z""#, r#""2024-02-29T10:00:00.000Z""#),
            (Timestamp, r#""1709164800123""#, r#""2024-02-29T00:00:00.123Z""#),
            (Timestamp, r#""1633996800000.0""#, r#""2021-10-12T00:00:00.000Z""#),
            (Timestamp, "1633996800000.0", r#""2021-10-12T00:00:00.000Z""#),
            (Date, r#""1633996800000.0""#, r#""2021-10-12""#),
            (Decimal, r#"" ""#, ""), (Currency, r#""""#, ""), (Percent, r#""  ""#, ""), (Date, r#"" ""#, ""), (Timestamp, r#"" ""#, ""),
            (Boolean, r#"" ""#, ""), (Text, r#"" ""#, r#"" ""#),
            (Decimal, r#""12.0""#, r#""12""#),
            (Reference, r#""81000001""#, r#"{"id":"81000001"}"#),
            (Html, r#""<p>x</p>""#, r#""<p>x</p>""#),
        ];
        for (kind, json, expected) in table {
            assert_eq!(canonical(kind, json), expected, "{kind:?} {json}");
        }
    }
}
