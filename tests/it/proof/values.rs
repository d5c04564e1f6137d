//! The fields of the random sources, and random values of their types.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::{Value as Json, json};
use tether::domain::*;
use tether::index::text::fold;

/// A field of the random sources.
#[derive(Clone, Copy)]
pub(super) struct Def {
    pub(super) object: &'static str,
    pub(super) key: &'static str,
    pub(super) kind: FieldType,
    pub(super) long: bool,
    /// A picklist whose entries have [`LABELS`].
    pub(super) labelled: bool,
}

pub(super) const fn def(object: &'static str, key: &'static str, kind: FieldType) -> Def {
    Def {
        object,
        key,
        kind,
        long: false,
        labelled: false,
    }
}

const fn labelled(object: &'static str, key: &'static str, kind: FieldType) -> Def {
    Def {
        labelled: true,
        ..def(object, key, kind)
    }
}

/// The labels of some values of picklists. Some are the values of other entries.
pub(super) const LABELS: &[(&str, &str)] = &[
    ("10", "Gold Partner"),
    ("Banking", "Won"),
    ("fine", "Zebra crossing"),
    ("Straße", "10"),
    ("日本", "Japan & more"),
    ("never used", "Closed Won"),
    ("Won", "Won"),
];

/// The label that is shown for a folded value, folded.
pub(super) fn label_of(value: &str) -> Option<String> {
    let own = |(entry, label): &&(&str, &str)| entry != label && fold(entry) == value;
    LABELS.iter().find(own).map(|(_, label)| fold(label))
}

/// The alias of a key; empty if it has none.
pub(super) fn alias_of(key: &str) -> &'static str {
    match key {
        "Last Name" => "last_name",
        // Another field's alias, so this field has one too.
        "last_name" => "last_name_2",
        _ => "",
    }
}

pub(super) const FIELDS: &[Def] = &[
    labelled("Account", "Industry", FieldType::Picklist),
    def("Account", "Motto", FieldType::Text),
    Def {
        long: true,
        ..def("Account", "Story", FieldType::Text)
    },
    def("Account", "Page", FieldType::Html),
    labelled("Account", "Tags", FieldType::MultiPicklist),
    def("Account", "Staff", FieldType::Integer),
    def("Account", "Revenue", FieldType::Currency),
    def("Account", "Ratio", FieldType::Decimal),
    def("Account", "Open", FieldType::Boolean),
    def("Account", "Founded", FieldType::Date),
    def("Account", "Seen", FieldType::Timestamp),
    def("Account", "Bell", FieldType::Time),
    def("Account", "Owner", FieldType::Reference),
    def("Account", "Seat", FieldType::Address),
    def("Account", "Place", FieldType::Location),
    def("Opportunity", "Stage", FieldType::Picklist),
    def("Opportunity", "Amount", FieldType::Currency),
    def("Opportunity", "Weight", FieldType::Decimal),
    def("Opportunity", "Close", FieldType::Date),
    def("Contact", "Last Name", FieldType::Text),
    def("Contact", "last_name", FieldType::Text),
    def("Contact", "NOT", FieldType::Text),
];

pub(super) const TEXTS: &[&str] = &[
    "Banking",
    "BANKING",
    "banking & more",
    "Straße",
    "STRASSE",
    "Société",
    "Societe",
    "a*b",
    "*",
    "Closed Won",
    "closed lost",
    "Won",
    "x\"y'z\\",
    "Ünïcode",
    "ünïcode",
    "日本",
    "ﬁne",
    "fine",
    "10",
    "2026-01-31",
    "today",
    "e\u{301}tat",
    "état",
    "zebra",
    "Zebra crossing",
];
pub(super) const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "1.5",
    "-1.5",
    "1000000",
    "999999999999",
    "1000000000000",
    "-1000000000000",
    "0.000001",
    "0.0000001",
    "-0.0000001",
    "12345678901234567890",
    "-12345678901234567890",
    "1.0000001",
    "1.0000002",
    "7",
    "42",
    "100.25",
    "0.1234567891",
];
pub(super) const CURRENCIES: &[&str] = &["CHF", "EUR", "USD"];
pub(super) const DATES: &[&str] = &[
    "2026-09-21",
    "2026-09-20",
    "2025-09-21",
    "2026-08-31",
    "2024-02-29",
    "1999-12-31",
    "1969-07-20",
    "2026-09-22",
    // The clocks change in Berlin and in São Paulo; Samoa skipped the day.
    "2025-10-26",
    "2018-11-04",
    "2011-12-30",
];
pub(super) const ZONES: &[&str] = &[
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Pacific/Kiritimati",
];
pub(super) const MOMENTS: &[&str] = &[
    "2026-09-21T00:00:00Z",
    "2026-09-21T23:59:59.999Z",
    "2026-09-20T23:59:59.999Z",
    "2026-09-21T14:15:23.456789Z",
    "2025-09-21T12:00:00Z",
    "1969-12-31T23:59:59.999Z",
    "2026-09-21T01:30:00+02:00",
    "2026-09-21T03:59:59.999999Z",
    "2026-09-21T04:00:00Z",
    "2025-10-25T22:00:00Z",
    "2025-10-26T22:59:59.999999Z",
    "2025-10-26T23:00:00Z",
    "2018-11-04T02:59:59.999999Z",
    "2018-11-04T03:00:00Z",
    "2011-12-30T09:59:59.999999Z",
    "2011-12-30T10:00:00Z",
];
pub(super) const TIMES: &[&str] = &["00:00:00", "09:30:00", "09:30:00.5", "23:59:59"];
pub(super) const NAMES: &[&str] = &[
    "Acme Corp",
    "ACME",
    "Acme",
    "Market Makers",
    "Markets Ltd",
    "Narket",
    "Société Générale",
    "Societe",
    "Zoo",
    "Crème Brûlée",
    "",
    "Acme  Holding",
    "makret",
];

pub(super) fn pick<'a>(rng: &mut StdRng, from: &[&'a str]) -> &'a str {
    from.choose(rng).copied().unwrap_or_default()
}

pub(super) fn random_value(rng: &mut StdRng, kind: FieldType) -> Option<Json> {
    if rng.random_ratio(1, 4) {
        return None;
    }
    use FieldType as T;
    if rng.random_ratio(1, 25) && !matches!(kind, T::Text | T::Picklist | T::Html) {
        return Some(json!({"raw": "odd"}));
    }
    Some(match kind {
        T::Text | T::Picklist | T::Url | T::Email | T::Phone => {
            let one = pick(rng, TEXTS).to_owned();
            if rng.random_ratio(1, 5) {
                json!(format!("{one} {}", pick(rng, TEXTS)))
            } else {
                json!(one)
            }
        }
        T::Html => json!(format!(
            "<p class='won'>{}</p><b>{}</b>",
            pick(rng, TEXTS),
            pick(rng, TEXTS)
        )),
        T::MultiPicklist => json!(
            (0..rng.random_range(0..4))
                .map(|_| pick(rng, TEXTS))
                .collect::<Vec<_>>()
        ),
        T::Integer => json!(*[0_i64, 1, -1, 7, 42, i64::MAX, i64::MIN, 1_000_000_000_000].choose(rng)?),
        T::Currency if rng.random_bool(0.7) => {
            json!({"amount": pick(rng, NUMBERS), "currency": pick(rng, CURRENCIES)})
        }
        T::Decimal | T::Currency | T::Percent => json!(pick(rng, NUMBERS)),
        T::Boolean => json!(rng.random_bool(0.5)),
        T::Date => json!(pick(rng, DATES)),
        T::Timestamp => json!(pick(rng, MOMENTS)),
        T::Time => json!(pick(rng, TIMES)),
        T::Reference => {
            if rng.random_bool(0.3) {
                json!({"id": pick(rng, &["A1", "a1", "B2"])})
            } else {
                json!({"id": pick(rng, &["A1", "a1", "B2"]), "label": pick(rng, TEXTS)})
            }
        }
        T::Address => json!({"city": pick(rng, TEXTS), "country_code": pick(rng, &["DE", "FR", ""])}),
        T::Location => json!({"latitude": pick(rng, NUMBERS), "longitude": pick(rng, NUMBERS)}),
    })
}
