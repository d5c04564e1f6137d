//! Converts values and their types to the public API.

use crate::domain::FieldType;
use crate::proto::google_type::{Date, TimeOfDay};
use crate::proto::v1::{self, value::Kind};
use crate::value::{Shown, Value};
use prost_types::Timestamp;

/// A point in time.
#[must_use]
pub fn timestamp(us: i64) -> Timestamp {
    Timestamp {
        seconds: us.div_euclid(1_000_000),
        nanos: (us.rem_euclid(1_000_000) * 1_000) as i32,
    }
}

/// A point in time in microseconds; times beyond their range become the nearest one in it.
#[must_use]
pub fn micros(of: Timestamp) -> i64 {
    of.seconds
        .saturating_mul(1_000_000)
        .saturating_add(i64::from(of.nanos) / 1_000)
}

/// A duration; negative ones become 0.
#[must_use]
pub fn duration(us: i64) -> prost_types::Duration {
    let us = us.max(0);
    prost_types::Duration {
        seconds: us / 1_000_000,
        nanos: (us % 1_000_000 * 1_000) as i32,
    }
}

/// A value; an unset one has no kind.
#[must_use]
pub fn value(shown: Option<Shown>) -> v1::Value {
    let part = shown.as_ref().and_then(|shown| shown.part);
    let label = match &shown {
        Some(Shown {
            value: Value::Text(_),
            labels,
            ..
        }) => labels.first().cloned(),
        _ => None,
    };
    v1::Value {
        label: label.unwrap_or_default(),
        part: part.map(|part| v1::ValuePart {
            offset: i64::try_from(part.from).unwrap_or(i64::MAX),
            length: i64::try_from(part.length).unwrap_or(i64::MAX),
        }),
        kind: shown.map(|Shown { value, labels, .. }| match value {
            Value::Text(text) => Kind::Text(text),
            Value::Html(html) => Kind::Html(html),
            Value::Integer(number) => Kind::Integer(number),
            Value::Decimal(number) => Kind::Decimal(number),
            Value::Money { amount, currency } => Kind::Money(v1::Money {
                amount,
                currency_code: currency,
            }),
            Value::Boolean(boolean) => Kind::Boolean(boolean),
            Value::Date(text) => date(&text).map_or(Kind::Raw(text), Kind::Date),
            Value::Timestamp(us) => Kind::Timestamp(timestamp(us)),
            Value::Time(text) => time_of_day(&text).map_or(Kind::Raw(text), Kind::Time),
            Value::List(values) => Kind::List(v1::TextList { values, labels }),
            Value::Reference { id, label } => Kind::Reference(v1::Reference { id, label }),
            Value::Address(address) => Kind::Address(v1::Address {
                street: address.street,
                city: address.city,
                postal_code: address.postal_code,
                state: address.state,
                state_code: address.state_code,
                country: address.country,
                country_code: address.country_code,
            }),
            Value::Location(latitude, longitude) => Kind::Location(v1::Location { latitude, longitude }),
            Value::Raw(text) => Kind::Raw(text),
        }),
    }
}

fn date(text: &str) -> Option<Date> {
    let (year, rest) = text.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    Some(Date {
        year: year.parse().ok()?,
        month: month.parse().ok()?,
        day: day.parse().ok()?,
    })
}

fn time_of_day(text: &str) -> Option<TimeOfDay> {
    let (hours, rest) = text.split_once(':')?;
    let (minutes, rest) = rest.split_once(':')?;
    let (seconds, fraction) = rest.split_once('.').unwrap_or((rest, "0"));
    let nanos = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(TimeOfDay {
        hours: hours.parse().ok()?,
        minutes: minutes.parse().ok()?,
        seconds: seconds.parse().ok()?,
        nanos,
    })
}

/// A field's type.
#[must_use]
pub fn field_type(of: FieldType) -> v1::FieldType {
    use FieldType as C;
    match of {
        C::Text => v1::FieldType::Text,
        C::Picklist => v1::FieldType::Picklist,
        C::MultiPicklist => v1::FieldType::MultiPicklist,
        C::Boolean => v1::FieldType::Boolean,
        C::Integer => v1::FieldType::Integer,
        C::Decimal => v1::FieldType::Decimal,
        C::Currency => v1::FieldType::Currency,
        C::Percent => v1::FieldType::Percent,
        C::Date => v1::FieldType::Date,
        C::Timestamp => v1::FieldType::Timestamp,
        C::Time => v1::FieldType::Time,
        C::Url => v1::FieldType::Url,
        C::Email => v1::FieldType::Email,
        C::Phone => v1::FieldType::Phone,
        C::Reference => v1::FieldType::Reference,
        C::Address => v1::FieldType::Address,
        C::Location => v1::FieldType::Location,
        C::Html => v1::FieldType::Html,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times() {
        assert_eq!(
            date("2026-01-31"),
            Some(Date {
                year: 2026,
                month: 1,
                day: 31
            })
        );
        assert_eq!(
            time_of_day("09:30:00.25"),
            Some(TimeOfDay {
                hours: 9,
                minutes: 30,
                seconds: 0,
                nanos: 250_000_000
            })
        );
        assert_eq!(
            timestamp(-1),
            Timestamp {
                seconds: -1,
                nanos: 999_999_000
            }
        );
        assert!(matches!(
            value(Some(Value::Date("soon".into()).shown(0, 10))).kind,
            Some(Kind::Raw(_))
        ));
    }
}
