//! The value of a cell, and its form in replies.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write as _;

use serde_json::Value as Json;
use time::{Date, Duration, OffsetDateTime, UtcDateTime};

use crate::ids;

/// The value of a cell. Dates are in days and times in seconds since 1970, because the years 0001 and 4000 occur.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Num(f64),
    Text(Cow<'static, str>),
    /// A reference: key prefix and row. A separate variant, so that lookups need no text.
    Id(&'static str, u32),
    Date(i32),
    Instant(i64),
    Millis(i32),
    Address(Box<[(&'static str, Value); 10]>),
    Location(f64, f64),
}

/// Stands in a text for a byte that is not UTF-8: Bulk results contain the byte, everything else U+FFFD.
pub(crate) const INVALID: char = '\u{e0ff}';

/// The form of cells.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The form of Salesforce's REST replies.
    Wire,
    /// One form per value: numbers without exponent or trailing zeros, times as in RFC 3339.
    Canonical,
}

impl Value {
    pub(crate) fn text(s: impl Into<Cow<'static, str>>) -> Value {
        Value::Text(s.into())
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Value::Int(n) => Some(*n as f64),
            Value::Num(n) => Some(*n),
            Value::Bool(b) => Some(f64::from(u8::from(*b))),
            _ => None,
        }
    }

    pub(crate) fn as_text(&self) -> Cow<'_, str> {
        match self {
            Value::Text(t) => Cow::Borrowed(t),
            Value::Id(prefix, row) => Cow::Owned(ids::text(prefix, *row)),
            Value::Null => Cow::Borrowed(""),
            other => {
                let mut out = String::new();
                other.write(&mut out, Form::Wire);
                Cow::Owned(out.trim_matches('"').to_owned())
            }
        }
    }

    /// Appends the value as JSON.
    pub(crate) fn write(&self, out: &mut String, form: Form) {
        match self {
            Value::Null => out.push_str("null"),
            Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Value::Int(n) => _ = write!(out, "{n}"),
            Value::Num(n) => write_number(*n, out, form),
            Value::Text(t) if t.contains(INVALID) => {
                write_text(&t.replace(INVALID, "\u{fffd}"), out);
            }
            Value::Text(t) => write_text(t, out),
            Value::Id(prefix, row) => {
                out.push('"');
                out.extend(ids::encode(prefix, *row).iter().map(|b| *b as char));
                out.push('"');
            }
            Value::Date(days) => {
                out.push('"');
                write_date(*days, out);
                out.push('"');
            }
            Value::Instant(seconds) => {
                out.push('"');
                write_date(seconds.div_euclid(86_400) as i32, out);
                let s = seconds.rem_euclid(86_400);
                let zone = if form == Form::Wire { ".000+0000" } else { "Z" };
                _ = write!(out, "T{:02}:{:02}:{:02}{zone}\"", s / 3600, s / 60 % 60, s % 60);
            }
            Value::Millis(ms) => {
                let s = ms / 1000;
                let (h, m) = (s / 3600, s / 60 % 60);
                _ = write!(out, "\"{h:02}:{m:02}:{:02}.{:03}Z\"", s % 60, ms % 1000);
            }
            Value::Address(parts) => {
                out.push('{');
                for (at, (name, part)) in parts.iter().enumerate() {
                    _ = write!(out, "{}\"{name}\":", if at == 0 { "" } else { "," });
                    part.write(out, form);
                }
                out.push('}');
            }
            Value::Location(lat, lon) => {
                out.push_str("{\"latitude\":");
                write_number(*lat, out, form);
                out.push_str(",\"longitude\":");
                write_number(*lon, out, form);
                out.push('}');
            }
        }
    }

    /// Order within one column. Text ignores case, as SOQL does; ids do not.
    pub(crate) fn order(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Date(a), Value::Date(b)) => a.cmp(b),
            (Value::Instant(a), Value::Instant(b)) => a.cmp(b),
            (Value::Millis(a), Value::Millis(b)) => a.cmp(b),
            (Value::Int(a), Value::Int(b)) => a.cmp(b),
            (Value::Id(p, a), Value::Id(q, b)) => p.cmp(q).then(a.cmp(b)),
            (Value::Id(..), Value::Text(t)) => self.as_text()[..15].cmp(id15(t)),
            (Value::Text(t), Value::Id(..)) => id15(t).cmp(&other.as_text()[..15]),
            (Value::Text(a), Value::Text(b)) => order_text(a, b),
            (a, b) => match (a.number(), b.number()) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                _ => order_text(&a.as_text(), &b.as_text()),
            },
        }
    }
}

fn id15(text: &str) -> &str {
    text.get(..15).unwrap_or(text)
}

/// Case-insensitive comparison without copies.
fn order_text(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() {
        return a
            .bytes()
            .map(|c| c.to_ascii_lowercase())
            .cmp(b.bytes().map(|c| c.to_ascii_lowercase()));
    }
    a.chars()
        .flat_map(char::to_lowercase)
        .cmp(b.chars().flat_map(char::to_lowercase))
}

fn write_number(n: f64, out: &mut String, form: Form) {
    if !n.is_finite() {
        out.push_str("null");
    } else if form == Form::Canonical {
        _ = write!(out, "{n}");
    } else if n.abs() >= 1e10 {
        // Salesforce writes large numbers like Java: 1.0E10, never 1e10.
        let text = format!("{n:E}");
        let (mantissa, exponent) = text.split_once('E').unwrap_or((&text, "0"));
        let point = if mantissa.contains('.') { "" } else { ".0" };
        _ = write!(out, "{mantissa}{point}E{exponent}");
    } else {
        _ = write!(out, "{n:?}");
    }
}

pub(crate) fn write_text(t: &str, out: &mut String) {
    out.push('"');
    let mut plain = 0;
    for (at, c) in t.bytes().enumerate() {
        let escape = match c {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..=0x1f => "",
            _ => continue,
        };
        out.push_str(&t[plain..at]);
        out.push_str(escape);
        if escape.is_empty() {
            _ = write!(out, "\\u{c:04x}");
        }
        plain = at + 1;
    }
    out.push_str(&t[plain..]);
    out.push('"');
}

fn write_date(days: i32, out: &mut String) {
    let (y, m, d) = civil(i64::from(days));
    _ = write!(out, "{y:04}-{m:02}-{d:02}");
}

/// Year, month and day of a day number: simple arithmetic for speed, because every row has several of them.
pub(crate) fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (
        yoe + era * 400 + i64::from(month <= 2),
        month,
        doy - (153 * mp + 2) / 5 + 1,
    )
}

/// Days since 1970 of `YYYY-MM-DD`.
pub(crate) fn parse_date(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u16>().ok();
    let month = time::Month::try_from(u8::try_from(number(5..7)?).ok()?).ok()?;
    let date = Date::from_calendar_date(
        i32::from(number(0..4)?),
        month,
        u8::try_from(number(8..10)?).ok()?,
    )
    .ok()?;
    Some((date - Date::from_calendar_date(1970, time::Month::January, 1).ok()?).whole_days() as i32)
}

/// Seconds since 1970 of a time in any form that Salesforce accepts: `Z`, `+00:00`, `+0000`, with or without
/// milliseconds.
pub(crate) fn parse_instant(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once('T')?;
    let days = i64::from(parse_date(date)?);
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at(zone_at);
    let clock = clock.split('.').next()?;
    let mut parts = clock
        .split(':')
        .map(|p| if p.len() == 2 { p.parse::<i64>().ok() } else { None });
    let (h, m, s) = (parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?);
    if parts.next().is_some() || h > 23 || m > 59 || s > 60 {
        return None;
    }
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let digits: String = zone[1..].chars().filter(|c| *c != ':').collect();
            if digits.len() != 4 {
                return None;
            }
            let minutes = digits[..2].parse::<i64>().ok()? * 60 + digits[2..].parse::<i64>().ok()?;
            if zone.starts_with('-') { -minutes } else { minutes }
        }
    };
    Some(days * 86_400 + h * 3600 + m * 60 + s - offset * 60)
}

/// The current time in seconds since 1970.
pub(crate) fn now() -> i64 {
    UtcDateTime::now().unix_timestamp()
}

/// An HTTP date (RFC 9110).
pub(crate) fn http_date(seconds: i64) -> String {
    let at = OffsetDateTime::UNIX_EPOCH + Duration::seconds(seconds);
    let weekday = &at.weekday().to_string()[..3];
    let month = &at.month().to_string()[..3];
    let (h, m, s) = at.to_hms();
    format!(
        "{weekday}, {:02} {month} {} {h:02}:{m:02}:{s:02} GMT",
        at.day(),
        at.year()
    )
}

/// Parses an HTTP date; the weekday is ignored, because some clients send a wrong one.
pub(crate) fn parse_http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut parts = text.split_once(", ")?.1.split(' ');
    let (day, month, year, clock) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let month = MONTHS.iter().position(|m| *m == month)? + 1;
    parse_instant(&format!("{year}-{month:02}-{day:0>2}T{clock}Z"))
}

/// A value from a control route, parsed by the field's type; a value that does not fit stays text, so that invalid
/// rows (`20222-01-01` in a date) can be created.
pub(crate) fn from_json(kind: &str, json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => match (kind, n.as_i64()) {
            ("int" | "long", Some(i)) => Value::Int(i),
            _ => Value::Num(n.as_f64().unwrap_or(0.0)),
        },
        Json::String(s) => match kind {
            "date" => parse_date(s).map_or_else(|| Value::text(s.clone()), Value::Date),
            "datetime" => parse_instant(s).map_or_else(|| Value::text(s.clone()), Value::Instant),
            _ if s.is_empty() => Value::Null,
            _ => Value::text(s.clone()),
        },
        other => Value::text(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(v: &Value) -> String {
        let mut out = String::new();
        v.write(&mut out, Form::Wire);
        out
    }

    #[test]
    fn numbers_look_like_javas() {
        assert_eq!(wire(&Value::Num(1e10)), "1.0E10");
        assert_eq!(wire(&Value::Num(12_345_678_901.5)), "1.23456789015E10");
        assert_eq!(wire(&Value::Num(950_000_000.0)), "950000000.0");
        assert_eq!(wire(&Value::Num(0.25)), "0.25");
        assert_eq!(wire(&Value::Int(39000)), "39000");
    }

    #[test]
    fn times_have_no_colon_in_the_zone_and_any_year() {
        assert_eq!(
            wire(&Value::Instant(1_309_999_020)),
            "\"2011-07-07T00:37:00.000+0000\""
        );
        for date in ["0001-01-01", "1970-01-01", "2024-02-29", "4000-12-31"] {
            assert_eq!(
                wire(&Value::Date(parse_date(date).unwrap())),
                format!("\"{date}\"")
            );
        }
        let at = parse_instant("2024-01-02T03:04:05Z");
        assert!(at.is_some());
        for same in [
            "2024-01-02T03:04:05.000+0000",
            "2024-01-02T04:04:05+01:00",
            "2024-01-01T22:04:05-05:00",
        ] {
            assert_eq!(parse_instant(same), at, "{same}");
        }
        assert_eq!(parse_http_date(&http_date(1_427_068_800)), Some(1_427_068_800));
        assert_eq!(http_date(1_427_068_800), "Mon, 23 Mar 2015 00:00:00 GMT");
    }
}
