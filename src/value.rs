//! Typed values from canonical payloads. The comment of `tether.connector.v1.Record.payload` defines their grammar.

use crate::domain::FieldType;
use crate::picklist::Picklist;
use serde_json::Value as Json;

/// A value of a field of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text, including picklist values, links, e-mail addresses and telephone numbers.
    Text(String),
    /// Text with HTML.
    Html(String),
    /// An integer.
    Integer(i64),
    /// An exact decimal, in its canonical form.
    Decimal(String),
    /// An amount of money.
    Money {
        /// The exact amount, in its canonical form.
        amount: String,
        /// The currency as three letters of ISO 4217; empty if it is not known.
        currency: String,
    },
    /// A boolean.
    Boolean(bool),
    /// A date: `2026-01-31`.
    Date(String),
    /// A timestamp, in Unix microseconds.
    Timestamp(i64),
    /// A time of day: `09:30:00.000`.
    Time(String),
    /// The selected values of a picklist.
    List(Vec<String>),
    /// A reference to a record of the CRM.
    Reference {
        /// Its id.
        id: String,
        /// Its name, if the CRM returned it.
        label: String,
    },
    /// A postal address; missing parts are empty.
    Address(Box<Address>),
    /// Latitude and longitude, as decimals.
    Location(String, String),
    /// The value from the CRM, if it does not match the type of the field.
    Raw(String),
}

/// A value as a response shows it: complete or in part.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// The value, or the part that is shown.
    pub value: Value,
    /// Which part it is; `None` if the value is complete.
    pub part: Option<Part>,
    /// The labels of the shown values of a picklist, each empty if the value is shown as it is. No labels for other
    /// types, and if all would be empty.
    pub labels: Vec<String>,
}

/// Which part of a value is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Number of characters skipped before the part.
    pub from: usize,
    /// Number of characters of the complete value; for a list or an address, of all its texts.
    pub length: usize,
}

/// Maximum length of the label of a reference, of a picklist's entry, and of a part of an address, in characters.
const MOST_NAME: usize = 1_000;
/// Maximum length of a number, a date and similar values, in characters. A longer one is shown as [`Value::Raw`].
const MOST_NUMBER: usize = 1_000;

impl Value {
    /// At most `most` characters of a value, starting at `from`. Labels and addresses always start at the beginning.
    #[must_use]
    pub fn shown(self, from: usize, most: usize) -> Shown {
        let of = |text: String, make: fn(String) -> Self| {
            let (text, part) = part_of(text, from, most);
            Shown::new(make(text), part)
        };
        match self {
            Self::Text(text) => of(text, Self::Text),
            Self::Html(text) => of(text, Self::Html),
            Self::Raw(text) => of(text, Self::Raw),
            Self::Decimal(text) | Self::Money { amount: text, .. } | Self::Date(text) | Self::Time(text)
                if text.len() > MOST_NUMBER =>
            {
                of(text, Self::Raw)
            }
            Self::Location(latitude, longitude) if latitude.len() + longitude.len() > MOST_NUMBER => {
                of(format!("{latitude}, {longitude}"), Self::Raw)
            }
            Self::List(texts) => list(texts, from, most),
            Self::Reference { id, label } => {
                let (label, part) = part_of(label, 0, most.min(MOST_NAME));
                Shown::new(Self::Reference { id, label }, part)
            }
            Self::Address(mut address) => {
                let parts = [
                    &mut address.street,
                    &mut address.city,
                    &mut address.postal_code,
                    &mut address.state,
                    &mut address.state_code,
                    &mut address.country,
                    &mut address.country_code,
                ];
                let (mut cut, mut length, mut left) = (false, 0, most);
                for text in parts {
                    let (shown, part) = part_of(std::mem::take(text), 0, left.min(MOST_NAME));
                    let characters = shown.chars().count();
                    length += part.map_or(characters, |part| part.length);
                    left -= characters;
                    cut |= part.is_some();
                    *text = shown;
                }
                Shown::new(Self::Address(address), cut.then_some(Part { from: 0, length }))
            }
            value => Shown::new(value, None),
        }
    }
}

impl Shown {
    fn new(value: Value, part: Option<Part>) -> Self {
        Self {
            value,
            part,
            labels: Vec::new(),
        }
    }

    /// The same value with fewer characters.
    #[must_use]
    pub fn shorter(self, most: usize) -> Self {
        let shown = self.value.shown(0, most);
        Self {
            value: shown.value,
            part: self.part.or(shown.part),
            labels: shortened(self.labels.iter().map(String::as_str), most),
        }
    }

    /// The same value of a picklist with the labels of its entries, which have at most `most` characters together.
    /// An entry of which only a part is shown has no label.
    #[must_use]
    pub fn labelled(self, picklist: &Picklist, most: usize) -> Self {
        let label = |value: &String| picklist.label(value).unwrap_or_default();
        let labels = match &self.value {
            Value::Text(text) => shortened(std::iter::once(label(text)), most),
            Value::List(texts) => shortened(texts.iter().map(label), most),
            _ => Vec::new(),
        };
        Self { labels, ..self }
    }
}

/// Labels with at most `most` characters together; empty if no label is left.
fn shortened<'a>(labels: impl Iterator<Item = &'a str>, most: usize) -> Vec<String> {
    let mut left = most;
    let cut = |label: &str| {
        let label: String = label.chars().take(left.min(MOST_NAME)).collect();
        left -= label.chars().count();
        label
    };
    let labels: Vec<String> = labels.map(cut).collect();
    if labels.iter().all(String::is_empty) {
        return Vec::new();
    }
    labels
}

fn part_of(text: String, from: usize, most: usize) -> (String, Option<Part>) {
    if from == 0 && text.len() <= most {
        return (text, None);
    }
    let length = text.chars().count();
    if from == 0 && length <= most {
        return (text, None);
    }
    let shown = text.chars().skip(from).take(most).collect();
    (shown, Some(Part { from, length }))
}

fn list(texts: Vec<String>, from: usize, most: usize) -> Shown {
    let length: usize = texts.iter().map(|text| text.chars().count()).sum();
    // Empty entries have no characters but still need space, so the number of entries is limited, too.
    let fits = length <= most && texts.len() <= most;
    if from == 0 && fits {
        return Shown::new(Value::List(texts), None);
    }
    let (mut skip, mut left, mut shown) = (from, most, Vec::new());
    for text in texts {
        let characters = text.chars().count();
        if skip >= characters {
            skip -= characters;
            continue;
        }
        if left == 0 || shown.len() == most {
            break;
        }
        let some: String = text.chars().skip(skip).take(left).collect();
        left -= some.chars().count();
        skip = 0;
        shown.push(some);
    }
    Shown::new(Value::List(shown), Some(Part { from, length }))
}

/// A postal address; missing parts are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Address {
    pub street: String,
    pub city: String,
    pub postal_code: String,
    pub state: String,
    pub state_code: String,
    pub country: String,
    pub country_code: String,
}

/// The value of a field in a payload; `None` if it is not set.
///
/// A value that does not match the type of the field is returned as [`Value::Raw`]: the type may have changed since
/// the record was stored.
#[must_use]
pub fn read(payload: &serde_json::Map<String, Json>, key: &str, field_type: FieldType) -> Option<Value> {
    let json = payload.get(key)?;
    if json.is_null() {
        return None;
    }
    Some(typed(json, field_type).unwrap_or_else(|| Value::Raw(raw(json))))
}

fn raw(json: &Json) -> String {
    match json {
        Json::String(text) => text.clone(),
        Json::Object(parts) if parts.len() == 1 => match parts.get("raw") {
            Some(Json::String(text)) => text.clone(),
            _ => json.to_string(),
        },
        _ => json.to_string(),
    }
}

fn typed(json: &Json, field_type: FieldType) -> Option<Value> {
    use FieldType as T;
    let text = || json.as_str().map(str::to_owned);
    Some(match field_type {
        T::Text | T::Picklist | T::Url | T::Email | T::Phone => Value::Text(text()?),
        T::Html => Value::Html(text()?),
        T::Boolean => Value::Boolean(json.as_bool()?),
        T::Integer => Value::Integer(json.as_i64()?),
        T::Decimal | T::Percent => Value::Decimal(decimal(json)?),
        T::Currency => money(json)?,
        T::Date => Value::Date(text()?),
        T::Time => Value::Time(text()?),
        T::Timestamp => Value::Timestamp(timestamp_us(json.as_str()?)?),
        T::MultiPicklist => Value::List(
            json.as_array()?
                .iter()
                .map(|one| one.as_str().map(str::to_owned))
                .collect::<Option<_>>()?,
        ),
        T::Reference => Value::Reference {
            id: part(json, "id")?,
            label: part(json, "label").unwrap_or_default(),
        },
        T::Address => {
            let of = |name| part(json, name).unwrap_or_default();
            json.as_object().filter(|parts| !parts.contains_key("raw"))?;
            Value::Address(Box::new(Address {
                street: of("street"),
                city: of("city"),
                postal_code: of("postal_code"),
                state: of("state"),
                state_code: of("state_code"),
                country: of("country"),
                country_code: of("country_code"),
            }))
        }
        T::Location => Value::Location(part(json, "latitude")?, part(json, "longitude")?),
    })
}

fn part(json: &Json, name: &str) -> Option<String> {
    json.get(name)?.as_str().map(str::to_owned)
}

/// Parses an amount: an object with its currency, or a decimal if the currency is not known. A currency in another form
/// than that of ISO 4217 counts as unknown.
fn money(json: &Json) -> Option<Value> {
    let Json::Object(parts) = json else {
        return Some(Value::Money {
            amount: decimal(json)?,
            currency: String::new(),
        });
    };
    let currency = part(json, "currency").filter(|code| is_currency(code));
    Some(Value::Money {
        amount: decimal(parts.get("amount")?)?,
        currency: currency.unwrap_or_default(),
    })
}

/// Whether a text has the form of a currency in ISO 4217.
fn is_currency(code: &str) -> bool {
    code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Parses a decimal. Decimals are stored as text; an integer is also accepted, stored when the field was an integer.
fn decimal(json: &Json) -> Option<String> {
    match json {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) if number.is_i64() => Some(number.to_string()),
        _ => None,
    }
}

/// Parses an RFC 3339 timestamp into Unix microseconds.
#[must_use]
pub fn timestamp_us(text: &str) -> Option<i64> {
    let at = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
    i64::try_from(at.unix_timestamp_nanos() / 1_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_the_whole() {
        let text = "äöü-0123456789".repeat(50);
        let (mut whole, mut from) = (String::new(), 0);
        loop {
            let shown = Value::Text(text.clone()).shown(from, 60);
            let Value::Text(some) = shown.value else {
                unreachable!()
            };
            assert_eq!(shown.part.unwrap(), Part { from, length: 700 });
            if some.is_empty() {
                break;
            }
            from += some.chars().count();
            whole += &some;
        }
        assert_eq!(whole, text);
        assert_eq!(Value::Text(text.clone()).shown(0, 700).part, None);
        let entries: Vec<String> = ["abc", "", "defgh", "ij"].map(str::to_owned).to_vec();
        let shown = |from, most| Value::List(entries.clone()).shown(from, most);
        assert_eq!(shown(0, 10).part, None);
        assert_eq!(shown(0, 5).value, Value::List(vec!["abc".into(), "de".into()]));
        assert_eq!(shown(5, 5).value, Value::List(vec!["fgh".into(), "ij".into()]));
        assert_eq!(shown(5, 5).part, Some(Part { from: 5, length: 10 }));
        let long = Value::Decimal("1".repeat(5_000)).shown(0, 100);
        assert_eq!(long.value, Value::Raw("1".repeat(100)));
        let shorter = Value::Text("x".repeat(500)).shown(0, 300).shorter(100);
        assert_eq!(shorter.value, Value::Text("x".repeat(100)));
        assert_eq!(shorter.part, Some(Part { from: 0, length: 500 }));
    }

    #[test]
    fn labels_of_shown_entries() {
        let picklist = Picklist::of(
            r#"{"picklist_values":[{"value":"17","label":"Gold"},{"value":"18","label":"Silver"},{"value":"19","label":"19"}]}"#,
        );
        let text = |value: &str| Value::Text(value.to_owned()).shown(0, 100);
        assert_eq!(text("17").labelled(&picklist, 100).labels, ["Gold"]);
        assert_eq!(text("17").labelled(&picklist, 2).labels, ["Go"]);
        assert!(text("19").labelled(&picklist, 100).labels.is_empty());
        let list = |values: [&str; 3]| Value::List(values.map(str::to_owned).to_vec());
        let shown = list(["17", "20", "18"]).shown(0, 100).labelled(&picklist, 100);
        assert_eq!(shown.labels, ["Gold", "", "Silver"]);
        assert_eq!(shown.shorter(6).labels, ["Gold", "", "Si"]);
        // Of the last entry only a part is shown.
        let shown = list(["17", "20", "18"]).shown(0, 5).labelled(&picklist, 100);
        assert_eq!(
            shown.value,
            Value::List(["17", "20", "1"].map(str::to_owned).to_vec())
        );
        assert_eq!(shown.labels, ["Gold", "", ""]);
    }

    #[test]
    fn each_type_and_what_does_not_fit() {
        let payload: serde_json::Map<String, Json> = serde_json::from_str(
            r#"{"a":"x","b":true,"c":7,"d":"1.5","e":"2026-01-31T09:30:00.000Z","f":["p","q"],"g":{"id":"1","label":"L"},
                "h":{"city":"Bonn"},"i":{"raw":"4711-99-99"},"j":{"latitude":"1.5","longitude":"-2"},"k":null,
                "l":{"amount":"-2.5","currency":"EUR"},"m":{"amount":"3","currency":"Points"}}"#,
        )
        .unwrap();
        let read = |key, kind| super::read(&payload, key, kind);
        assert_eq!(read("a", FieldType::Text), Some(Value::Text("x".into())));
        assert_eq!(read("b", FieldType::Boolean), Some(Value::Boolean(true)));
        assert_eq!(read("c", FieldType::Integer), Some(Value::Integer(7)));
        assert_eq!(
            read("c", FieldType::Decimal),
            Some(Value::Decimal("7".into())),
            "was an integer once"
        );
        let money = |amount: &str, currency: &str| {
            let (amount, currency) = (amount.to_owned(), currency.to_owned());
            Some(Value::Money { amount, currency })
        };
        assert_eq!(read("d", FieldType::Currency), money("1.5", ""));
        assert_eq!(read("c", FieldType::Currency), money("7", ""));
        assert_eq!(read("l", FieldType::Currency), money("-2.5", "EUR"));
        assert_eq!(
            read("m", FieldType::Currency),
            money("3", ""),
            "no currency of ISO 4217"
        );
        assert_eq!(
            read("i", FieldType::Currency),
            Some(Value::Raw("4711-99-99".into()))
        );
        assert_eq!(
            read("e", FieldType::Timestamp),
            Some(Value::Timestamp(1_769_851_800_000_000))
        );
        assert_eq!(
            read("f", FieldType::MultiPicklist),
            Some(Value::List(vec!["p".into(), "q".into()]))
        );
        assert_eq!(
            read("g", FieldType::Reference),
            Some(Value::Reference {
                id: "1".into(),
                label: "L".into()
            })
        );
        let Some(Value::Address(address)) = read("h", FieldType::Address) else {
            panic!()
        };
        assert_eq!(address.city, "Bonn");
        assert_eq!(read("i", FieldType::Date), Some(Value::Raw("4711-99-99".into())));
        assert_eq!(
            read("j", FieldType::Location),
            Some(Value::Location("1.5".into(), "-2".into()))
        );
        assert_eq!(
            read("a", FieldType::Integer),
            Some(Value::Raw("x".into())),
            "the type changed since"
        );
        assert_eq!(
            (read("k", FieldType::Text), read("z", FieldType::Text)),
            (None, None)
        );
    }
}
