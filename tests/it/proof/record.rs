//! The slow, obvious evaluator: the values of a record, and whether they pass.

use jiff::tz::TimeZone;
use serde_json::Value as Json;
use tether::domain::*;
use tether::index::text::{fold, words};

use super::condition::{FUNCTIONS, Val};
use super::values::*;
use super::world::*;

/// A value, as the evaluator compares it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Atom {
    Whole(i128),
    Text(String),
}

/// A decimal in billionths of a thousandth.
pub(super) fn decimal(text: &str) -> i128 {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let number: i128 = format!("{whole}{fraction:0<12}").parse().unwrap();
    if negative { -number } else { number }
}

pub(super) fn moment(text: &str) -> i64 {
    let at = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).unwrap();
    (at.unix_timestamp_nanos() / 1_000) as i64
}

pub(super) fn clock(text: &str) -> i128 {
    decimal(&text[6..])
        + i128::from(text[3..5].parse::<i64>().unwrap() * 60 + text[..2].parse::<i64>().unwrap() * 3_600)
            * 1_000_000_000_000
}

/// A date as (year, month, day) in one number.
pub(super) fn date(text: &str) -> i128 {
    text.replace('-', "").parse().unwrap()
}

/// The time that the clocks of a zone show.
fn clocks(us: i64, zone: &TimeZone) -> jiff::civil::DateTime {
    zone.to_datetime(jiff::Timestamp::from_microsecond(us).unwrap())
}

pub(super) fn date_of(us: i64, zone: &TimeZone) -> i128 {
    date(&clocks(us, zone).date().to_string())
}

/// A day some units away from today, step by step.
pub(super) fn away(amount: i64, unit: char, zone: &TimeZone) -> time::Date {
    let today = clocks(NOW, zone).date();
    let month = time::Month::try_from(today.month() as u8).unwrap();
    let today = time::Date::from_calendar_date(today.year().into(), month, today.day() as u8).unwrap();
    let months = match unit {
        'd' => return today + time::Duration::days(amount),
        'w' => return today + time::Duration::weeks(amount),
        'm' => amount,
        _ => amount * 12,
    };
    let (mut year, mut month) = (today.year(), i64::from(u8::from(today.month())) + months);
    while month < 1 {
        (year, month) = (year - 1, month + 12);
    }
    while month > 12 {
        (year, month) = (year + 1, month - 12);
    }
    let month = time::Month::try_from(month as u8).unwrap();
    let mut day = today.day();
    loop {
        if let Ok(date) = time::Date::from_calendar_date(year, month, day) {
            return date;
        }
        day -= 1;
    }
}

/// The values of a field, or a part, of a record: none where it is unset or does not fit.
pub(super) fn atoms(rec: &Rec, key: &str, part: &str, kind: FieldType) -> Vec<Atom> {
    use FieldType as T;
    let Some(json) = rec.payload.get(key) else {
        return Vec::new();
    };
    if json.get("raw").is_some() {
        return Vec::new();
    }
    let text = |json: &Json| json.as_str().map(|text| Atom::Text(fold(text)));
    if kind == T::Currency {
        let amount = json.get("amount").unwrap_or(json);
        return match part {
            "currency_code" => json.get("currency").and_then(text).into_iter().collect(),
            _ => vec![Atom::Whole(decimal(amount.as_str().unwrap()))],
        };
    }
    let filled = |json: Option<&Json>| {
        json.and_then(Json::as_str)
            .filter(|text| !text.is_empty())
            .map(|text| Atom::Text(fold(text)))
    };
    match kind {
        T::Text | T::Picklist | T::Url | T::Email | T::Phone => text(json).into_iter().collect(),
        T::Html => vec![Atom::Text(fold(&tether::index::text::of_html(
            json.as_str().unwrap(),
        )))],
        T::MultiPicklist => json.as_array().unwrap().iter().filter_map(text).collect(),
        T::Integer => vec![Atom::Whole(decimal(&json.to_string()))],
        T::Decimal | T::Percent | T::Currency => vec![Atom::Whole(decimal(json.as_str().unwrap()))],
        T::Boolean => vec![Atom::Whole(i128::from(json.as_bool().unwrap()))],
        T::Date => vec![Atom::Whole(date(json.as_str().unwrap()))],
        T::Timestamp => vec![Atom::Whole(i128::from(moment(json.as_str().unwrap())))],
        T::Time => vec![Atom::Whole(clock(json.as_str().unwrap()))],
        T::Reference => {
            let shown = if part == "id" {
                None
            } else {
                filled(json.get("label"))
            };
            shown.or_else(|| filled(json.get("id"))).into_iter().collect()
        }
        T::Address => filled(json.get(part)).into_iter().collect(),
        T::Location => json
            .get(part)
            .map(|json| Atom::Whole(decimal(json.as_str().unwrap())))
            .into_iter()
            .collect(),
    }
}

pub(super) fn like(text: &str, before: bool, part: &str, after: bool) -> bool {
    match (before, after) {
        (false, false) => text == part,
        (true, false) => text.ends_with(part),
        (false, true) => text.starts_with(part),
        (true, true) => text.contains(part),
    }
}

pub(super) fn by_operator(op: &str, order: std::cmp::Ordering) -> bool {
    match op {
        "=" | ":" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    }
}

pub(super) fn text_passes(text: &str, op: &str, value: &Val, by_words: bool) -> bool {
    let Val::Text(before, part, after) = value else {
        panic!("{value:?}")
    };
    if FUNCTIONS.contains(&op) {
        let star = |is: &bool| if *is { "*" } else { "" };
        let part = &fold(&format!("{}{part}{}", star(before), star(after)));
        return match op {
            "starts_with" => text.starts_with(part),
            "ends_with" => text.ends_with(part),
            _ => text.contains(part),
        };
    }
    let part = &fold(part);
    match op {
        ":" if by_words => {
            let all: Vec<&str> = words(part).collect();
            let begins = *before && part.starts_with(char::is_alphanumeric);
            let ends = *after && part.ends_with(char::is_alphanumeric);
            all.iter().enumerate().all(|(at, word)| {
                words(text).any(|one| like(one, at == 0 && begins, word, at + 1 == all.len() && ends))
            })
        }
        "=" | ":" => like(text, *before, part, *after),
        "!=" => !like(text, *before, part, *after),
        _ => by_operator(op, text.cmp(part)),
    }
}

/// Whether one of the values of `in` passes, or both ends of `between`, or the one value.
pub(super) fn each_value(op: &str, value: &Val, passes: &dyn Fn(&str, &Val) -> bool) -> bool {
    match value {
        Val::List(all) => all.iter().any(|one| passes("=", one)),
        Val::Range(from, to) => passes(">=", from) && passes("<=", to),
        value => passes(op, value),
    }
}

pub(super) fn record_passes(
    zone: &TimeZone,
    rec: &Rec,
    key: &str,
    part: &str,
    op: &str,
    value: &Val,
) -> bool {
    use FieldType as T;
    let kind = FIELDS
        .iter()
        .find(|def| def.object == rec.object && def.key == key)
        .unwrap();
    if matches!(value, Val::Any) {
        let parts: &[&str] = match (kind.kind, part) {
            (T::Reference, "") => &["id", "label"],
            (T::Address, "") => &["city", "country_code"],
            (T::Location, "") => &["latitude"],
            (_, part) => &[part],
        };
        return parts
            .iter()
            .any(|part| !atoms(rec, key, part, kind.kind).is_empty());
    }
    let atoms = atoms(rec, key, part, kind.kind);
    let list = kind.kind == T::MultiPicklist;
    let passes = |atom: &Atom, op: &str| match (atom, value) {
        (Atom::Text(text), value) if kind.labelled => match (op, label_of(text)) {
            (_, None) => text_passes(text, op, value, !list),
            ("<" | "<=" | ">" | ">=", Some(label)) => text_passes(&label, op, value, !list),
            (_, Some(label)) => text_passes(text, op, value, !list) || text_passes(&label, op, value, !list),
        },
        (Atom::Text(text), value) => text_passes(text, op, value, !list),
        (Atom::Whole(whole), Val::Plain(text)) => match kind.kind {
            T::Boolean => by_operator(op, whole.cmp(&i128::from(text == "true"))),
            T::Date => by_operator(op, whole.cmp(&date(text))),
            T::Time => by_operator(op, whole.cmp(&clock(text))),
            T::Timestamp if text.len() == 10 => {
                by_operator(op, date_of(*whole as i64, zone).cmp(&date(text)))
            }
            T::Timestamp => by_operator(op, (*whole as i64).cmp(&moment(text))),
            _ => by_operator(op, whole.cmp(&decimal(text))),
        },
        (Atom::Whole(whole), Val::Relative(now, amount, unit)) => {
            let day = away(*amount, *unit, zone);
            let number = date(&day.to_string());
            match (kind.kind, now) {
                (T::Date, _) => by_operator(op, whole.cmp(&number)),
                (_, false) => by_operator(op, date_of(*whole as i64, zone).cmp(&number)),
                (_, true) => {
                    let day: jiff::civil::Date = day.to_string().parse().unwrap();
                    let clock = clocks(NOW, zone).time();
                    let at = day.to_datetime(clock).to_zoned(zone.clone()).unwrap().timestamp();
                    by_operator(op, (*whole as i64).cmp(&at.as_microsecond()))
                }
            }
        }
        other => panic!("{other:?}"),
    };
    if op == "!=" {
        return !atoms.is_empty() && !atoms.iter().any(|atom| passes(atom, "="));
    }
    atoms.iter().any(|atom| passes(atom, op))
}
