use proptest::prelude::*;

use super::*;

fn one(kind: FieldType, text: &str) -> String {
    let mut payload = Payload::new(["f"]);
    payload.value(0, kind, text);
    String::from_utf8(payload.finish().to_vec()).unwrap()
}

fn one_json(kind: FieldType, json: &str) -> String {
    let mut payload = Payload::new(["f"]);
    payload.json(0, kind, json);
    String::from_utf8(payload.finish().to_vec()).unwrap()
}

const KINDS: [FieldType; 19] = [
    FieldType::Unspecified,
    FieldType::Text,
    FieldType::Picklist,
    FieldType::MultiPicklist,
    FieldType::Boolean,
    FieldType::Integer,
    FieldType::Decimal,
    FieldType::Currency,
    FieldType::Percent,
    FieldType::Date,
    FieldType::Timestamp,
    FieldType::Time,
    FieldType::Url,
    FieldType::Email,
    FieldType::Phone,
    FieldType::Reference,
    FieldType::Address,
    FieldType::Location,
    FieldType::Html,
];

#[test]
fn each_type_has_one_form() {
    for (kind, from, to) in [
        (FieldType::Text, "a\"\\\u{0}\u{1}\n\u{e9}", r#""a\"\\\u0001\né""#),
        (FieldType::Boolean, "TRUE", "true"),
        (FieldType::Boolean, "yes", r#"{"raw":"yes"}"#),
        (FieldType::Integer, "007", "7"),
        (FieldType::Integer, "-9223372036854775808", "-9223372036854775808"),
        (FieldType::Integer, "1.5E1", "15"),
        (
            FieldType::Integer,
            "9223372036854775808",
            r#"{"raw":"9223372036854775808"}"#,
        ),
        (FieldType::Decimal, "0.0", r#""0""#),
        (FieldType::Decimal, "-0.00E5", r#""0""#),
        (FieldType::Decimal, "+012.3400", r#""12.34""#),
        (FieldType::Decimal, ".5", r#""0.5""#),
        (FieldType::Decimal, "12.5E-3", r#""0.0125""#),
        (FieldType::Decimal, "0.00125e2", r#""0.125""#),
        (FieldType::Currency, "1.0E10", r#""10000000000""#),
        (FieldType::Currency, "1E999999", r#"{"raw":"1E999999"}"#),
        (FieldType::Percent, "12,5", r#"{"raw":"12,5"}"#),
        (FieldType::Date, "2024-02-29", r#""2024-02-29""#),
        (FieldType::Date, "2024-02-29T00:00:00.000Z", r#""2024-02-29""#),
        (FieldType::Date, "2023-02-29", r#"{"raw":"2023-02-29"}"#),
        (
            FieldType::Timestamp,
            "2011-07-07T00:37:00.000+0000",
            r#""2011-07-07T00:37:00.000Z""#,
        ),
        (
            FieldType::Timestamp,
            "2011-07-07T02:37:00+02:00",
            r#""2011-07-07T00:37:00.000Z""#,
        ),
        (
            FieldType::Timestamp,
            "2011-07-07 00:37:00",
            r#""2011-07-07T00:37:00.000Z""#,
        ),
        (
            FieldType::Timestamp,
            "1309999020000",
            r#""2011-07-07T00:37:00.000Z""#,
        ),
        (
            FieldType::Timestamp,
            "1969-12-31T23:59:59.9996Z",
            r#""1969-12-31T23:59:59.999Z""#,
        ),
        (FieldType::Timestamp, "soon", r#"{"raw":"soon"}"#),
        (FieldType::Time, "09:30", r#""09:30:00.000""#),
        (FieldType::Time, "09:30:00.000Z", r#""09:30:00.000""#),
        (FieldType::Reference, "001", r#"{"id":"001"}"#),
    ] {
        assert_eq!(one(kind, from), format!("{{\"f\":{to}}}"), "{kind:?} of {from:?}");
    }
    assert_eq!(one(FieldType::Text, ""), "{}");
    assert_eq!(one_json(FieldType::Decimal, "12.50"), r#"{"f":"12.5"}"#);
    assert_eq!(one_json(FieldType::Text, "null"), "{}");
}

#[test]
fn rows_do_not_see_each_other() {
    let mut payload = Payload::new(["b", "a", "b2"]);
    assert_eq!(payload.place("b2"), Some(2));
    payload.text(0, "first");
    payload.integer(0, 2);
    payload.reference(1, "id", "label");
    payload.list(2, ["x", "y"]);
    payload.text(9, "no such field");
    assert_eq!(
        &payload.finish()[..],
        br#"{"a":{"id":"id","label":"label"},"b":2,"b2":["x","y"]}"#
    );
    payload.location(1, "1.50", "-0.0");
    assert_eq!(
        &payload.finish()[..],
        br#"{"a":{"latitude":"1.5","longitude":"0"}}"#
    );
    assert_eq!(&payload.finish()[..], b"{}");
}

#[test]
fn amounts_with_their_currency() {
    let with = |amount: &str, code: &str| {
        let mut payload = Payload::new(["b", "a"]);
        payload.value(0, FieldType::Currency, amount);
        payload.currency(0, code);
        payload.integer(1, 7);
        String::from_utf8(payload.finish().to_vec()).unwrap()
    };
    for (amount, code, to) in [
        (
            "12.50",
            "EUR",
            r#"{"a":7,"b":{"amount":"12.5","currency":"EUR"}}"#,
        ),
        ("12.50", "", r#"{"a":7,"b":"12.5"}"#),
        ("12.50", "euro", r#"{"a":7,"b":"12.5"}"#),
        ("much", "EUR", r#"{"a":7,"b":{"raw":"much"}}"#),
        ("", "EUR", r#"{"a":7}"#),
    ] {
        assert_eq!(with(amount, code), to, "{amount} {code}");
    }
    let given = r#"{"currency":"CHF","amount":"1.0"}"#;
    let canonical = r#"{"f":{"amount":"1","currency":"CHF"}}"#;
    assert_eq!(one_json(FieldType::Currency, given), canonical);
    assert_eq!(
        one_json(FieldType::Currency, r#"{"amount":"1","currency":"","more":1}"#),
        r#"{"f":{"raw":"{\"amount\":\"1\",\"currency\":\"\",\"more\":1}"}}"#
    );
}

/// `cargo test --release -p tether-connector-sdk --lib figures -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn figures() {
    const ROWS: u32 = 1_000_000;
    let kinds = [
        (FieldType::Text, "A text of a usual length, with \"quotes\""),
        (FieldType::Picklist, "Software"),
        (FieldType::Currency, "1234567.50"),
        (FieldType::Timestamp, "2011-07-07T00:37:00.000+0000"),
        (FieldType::Boolean, "true"),
        (FieldType::Integer, "4711"),
    ];
    let mut payload = Payload::new((0..30).map(|field| format!("Field_{field}__c")));
    let (started, mut bytes) = (std::time::Instant::now(), 0);
    for _ in 0..ROWS {
        for place in 0..30 {
            let (kind, text) = kinds[place % kinds.len()];
            payload.value(place, kind, std::hint::black_box(text));
        }
        bytes += payload.finish().len();
    }
    println!(
        "row of 30 fields: {:?}, {} bytes",
        started.elapsed() / ROWS,
        bytes / ROWS as usize
    );
}

fn kinds() -> impl Strategy<Value = FieldType> {
    prop::sample::select(&KINDS[..])
}

/// Texts that are often almost a number or a time.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[-+]?[0-9]{0,20}(\\.[0-9]{0,12})?([eE][-+]?[0-9]{1,3})?",
        "[0-9]{4}-[01][0-9]-[0-3][0-9]([T ][0-2][0-9]:[0-5][0-9](:[0-5][0-9](\\.[0-9]{1,9})?)?(Z|[-+][0-9]{4})?)?",
        "[0-9]{2}:[0-9]{2}(:[0-9]{2}(\\.[0-9]{1,6})?)?Z?",
    ]
}

proptest! {
    #[test]
    fn canonical_form_is_a_fixed_point(kind in kinds(), text in texts()) {
        let first = one(kind, &text);
        let row: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> =
            serde_json::from_str(&first).expect("valid JSON");
        if let Some(value) = row.get("f") {
            prop_assert_eq!(one_json(kind, value.get()), first);
        }
    }

    #[test]
    fn texts_come_back(text in any::<String>()) {
        let row: serde_json::Value = serde_json::from_str(&one(FieldType::Text, &text)).unwrap();
        let kept = text.replace('\0', "");
        prop_assert_eq!(row.get("f").and_then(|value| value.as_str()).unwrap_or(""), kept);
    }

    #[test]
    fn equal_decimals_have_equal_bytes(digits in any::<i64>(), scale in 0_u32..12, shift in 0_u32..12, zeros in 0_usize..5) {
        let plain = {
            let text = format!("{:0>13}", digits.unsigned_abs());
            let (whole, fraction) = text.split_at(text.len() - scale as usize);
            format!("{}{whole}.{fraction}{}", if digits < 0 { "-" } else { "" }, "0".repeat(zeros))
        };
        let shifted = format!("{digits}E-{scale}");
        let padded = format!("{digits}{}.0e-{}", "0".repeat(shift as usize), scale + shift);
        prop_assert_eq!(decimal(&plain), decimal(&shifted));
        prop_assert_eq!(decimal(&plain), decimal(&padded));
        prop_assert!(decimal(&plain).is_some());
    }

    #[test]
    fn moments_come_back(unix_ms in -62_135_596_800_000_i64..253_402_300_799_999) {
        let mut payload = Payload::new(["f"]);
        payload.timestamp(0, unix_ms * 1_000);
        let row = String::from_utf8(payload.finish().to_vec()).unwrap();
        let text = row.strip_prefix("{\"f\":\"").and_then(|rest| rest.strip_suffix("\"}")).unwrap();
        prop_assert_eq!(timestamp_us(text), Some(unix_ms * 1_000));
        prop_assert_eq!(one(FieldType::Timestamp, text), row);
    }
}
