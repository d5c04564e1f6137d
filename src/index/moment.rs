//! Dates, timestamps and times of day as integers.

use time::{Date, Month};

/// Microseconds in a day.
pub const DAY_US: i64 = 86_400_000_000;

/// Parses `2026-01-31` into days since 1970-01-01.
#[must_use]
pub fn day(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let number = |range| digits(text.get(range)?);
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(i32::try_from(year).ok()?, month, u8::try_from(day).ok()?).ok()?;
    Some(of_date(date))
}

/// Days since 1970-01-01.
#[must_use]
pub fn of_date(date: Date) -> i64 {
    i64::from(date.to_julian_day()) - 2_440_588
}

/// The date this many days after 1970-01-01; `None` if it is out of range.
#[must_use]
pub fn to_date(days: i64) -> Option<Date> {
    Date::from_julian_day(i32::try_from(days.checked_add(2_440_588)?).ok()?).ok()
}

/// Parses `09:30:00` or `09:30:00.5` into microseconds since midnight.
#[must_use]
pub fn time_of_day(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (clock, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let bytes = clock.as_bytes();
    if bytes.len() != 8 || bytes[2] != b':' || bytes[5] != b':' || fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let number = |range| digits(clock.get(range)?);
    let (hours, minutes, seconds) = (number(0..2)?, number(3..5)?, number(6..8)?);
    let nanos = digits(&format!("{fraction:0<9}"))?;
    (hours < 24 && minutes < 60 && seconds < 60)
        .then(|| ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + nanos / 1_000)
}

/// A time of day as text: `09:30:00`, with a fraction of a second if there is one.
#[must_use]
pub fn clock(us: i64) -> String {
    let (seconds, fraction) = (us.div_euclid(1_000_000), us.rem_euclid(1_000_000));
    let text = format!(
        "{:02}:{:02}:{:02}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    );
    match fraction {
        0 => text,
        fraction => format!("{text}.{fraction:06}").trim_end_matches('0').to_owned(),
    }
}

fn digits(text: &str) -> Option<i64> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_times() {
        assert_eq!((day("1970-01-01"), day("2026-01-31")), (Some(0), Some(20_484)));
        assert_eq!(to_date(20_484).map(of_date), Some(20_484));
        for bad in ["2026-02-30", "2026-1-31", "soon", "2026-01-3é", "26-01-2030"] {
            assert_eq!(day(bad), None, "{bad}");
        }
        assert_eq!(time_of_day("09:30:00.25"), Some(34_200_250_000));
        assert_eq!(
            (clock(34_200_250_000), clock(0)),
            ("09:30:00.25".to_owned(), "00:00:00".to_owned())
        );
        assert_eq!((time_of_day("24:00:00"), time_of_day("9:30")), (None, None));
    }
}
