//! Dates and times: from the forms of CRMs to the canonical form. Hand-written for speed, because every row has
//! several.

use super::write::{integer, padded};

const DAY_MS: i64 = 86_400_000;

/// A date in canonical form.
#[must_use]
pub fn date(text: &str) -> Option<String> {
    written(|out| date_into(out, text))
}

/// A time of day in canonical form.
#[must_use]
pub fn time(text: &str) -> Option<String> {
    written(|out| time_into(out, text))
}

/// A time in unix microseconds, to the millisecond: from ISO 8601 with `Z` or an offset (`+0000`, `+00:00`), without
/// one (UTC), with a space instead of `T`, or from milliseconds since the epoch.
///
/// ```
/// use tether_connector_sdk::payload::timestamp_us;
///
/// assert_eq!(timestamp_us("2011-07-07T00:37:00.000+0000"), Some(1_309_999_020_000_000));
/// assert_eq!(timestamp_us("1309999020000"), Some(1_309_999_020_000_000));
/// assert_eq!(timestamp_us("2011-07-07"), None);
/// ```
#[must_use]
pub fn timestamp_us(text: &str) -> Option<i64> {
    parse_timestamp(text.trim_ascii().as_bytes()).map(|milliseconds| milliseconds * 1_000)
}

/// A time in canonical form, in milliseconds; None if the year has not four digits.
#[must_use]
pub fn timestamp(unix_us: i64) -> Option<String> {
    written(|out| write_timestamp(out, unix_us.div_euclid(1_000)))
}

fn written(write: impl FnOnce(&mut Vec<u8>) -> bool) -> Option<String> {
    let mut out = Vec::new();
    write(&mut out).then(|| String::from_utf8(out).ok()).flatten()
}

/// Writes a date; a timestamp at midnight UTC is accepted too.
pub(super) fn date_into(out: &mut Vec<u8>, text: &str) -> bool {
    let text = text.trim_ascii().as_bytes();
    let days = match parse_date(text) {
        Some((days, [])) => Some(days),
        Some(_) => parse_timestamp(text)
            .filter(|moment| moment % DAY_MS == 0)
            .map(|moment| moment.div_euclid(DAY_MS)),
        None => None,
    };
    days.is_some_and(|days| write_date(out, days))
}

/// Writes a time of day.
pub(super) fn time_into(out: &mut Vec<u8>, text: &str) -> bool {
    match parse_time(text.trim_ascii().as_bytes()) {
        Some((milliseconds, b"" | b"Z" | b"z")) => {
            write_time(out, milliseconds);
            true
        }
        _ => false,
    }
}

/// Writes a timestamp.
pub(super) fn timestamp_into(out: &mut Vec<u8>, text: &str) -> bool {
    parse_timestamp(text.trim_ascii().as_bytes()).is_some_and(|moment| write_timestamp(out, moment))
}

/// Writes a timestamp in milliseconds, if its year has four digits.
pub(super) fn write_timestamp(out: &mut Vec<u8>, unix_ms: i64) -> bool {
    if !write_date(out, unix_ms.div_euclid(DAY_MS)) {
        return false;
    }
    out.push(b'T');
    write_time(out, unix_ms.rem_euclid(DAY_MS) as u32);
    out.push(b'Z');
    true
}

fn write_time(out: &mut Vec<u8>, milliseconds: u32) {
    padded(out, milliseconds / 3_600_000, 2);
    out.push(b':');
    padded(out, milliseconds / 60_000 % 60, 2);
    out.push(b':');
    padded(out, milliseconds / 1_000 % 60, 2);
    out.push(b'.');
    padded(out, milliseconds % 1_000, 3);
}

fn write_date(out: &mut Vec<u8>, days: i64) -> bool {
    let (year, month, day) = civil_from_days(days);
    if !(1..=9999).contains(&year) {
        return false;
    }
    padded(out, year as u32, 4);
    out.push(b'-');
    padded(out, month, 2);
    out.push(b'-');
    padded(out, day, 2);
    true
}

fn parse_timestamp(text: &[u8]) -> Option<i64> {
    let Some((days, rest)) = parse_date(text) else {
        return parse_epoch(text);
    };
    let rest = match rest.split_first()? {
        (b'T' | b't' | b' ', rest) => rest,
        _ => return None,
    };
    let (milliseconds, zone) = parse_time(rest)?;
    Some(days * DAY_MS + i64::from(milliseconds) - parse_offset(zone)?)
}

fn parse_epoch(text: &[u8]) -> Option<i64> {
    // A number of ten digits is more likely in seconds, and a short one is probably not a time: both are rejected.
    let digits = text.strip_prefix(b"-").unwrap_or(text).len();
    if !(11..=15).contains(&digits) {
        return None;
    }
    let value = std::str::from_utf8(text).ok()?.parse().ok()?;
    let mut canonical = Vec::new();
    integer(&mut canonical, value);
    (canonical == text).then_some(value)
}

/// Days since the epoch, and the text after the date.
fn parse_date(text: &[u8]) -> Option<(i64, &[u8])> {
    let (date, rest) = text.split_at_checked(10)?;
    if date[4] != b'-' || date[7] != b'-' {
        return None;
    }
    let (year, month, day) = (number(&date[..4])?, number(&date[5..7])?, number(&date[8..])?);
    let days = days_from_civil(i64::from(year), month, day);
    // A 30th of February would change when it is written again.
    (year > 0 && civil_from_days(days) == (i64::from(year), month, day)).then_some((days, rest))
}

/// Milliseconds of the day, and the text after the time.
fn parse_time(text: &[u8]) -> Option<(u32, &[u8])> {
    let (time, mut rest) = text.split_at_checked(5)?;
    if time[2] != b':' {
        return None;
    }
    let (hour, minute) = (number(&time[..2])?, number(&time[3..])?);
    let (mut second, mut thousandths) = (0, 0);
    if let Some((seconds, after)) = rest.split_at_checked(3)
        && seconds[0] == b':'
    {
        second = number(&seconds[1..])?;
        rest = after;
        if let Some((b'.' | b',', fraction)) = rest.split_first() {
            let count = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if count == 0 {
                return None;
            }
            let digits = fraction[..count].iter().chain(b"00").take(3);
            thousandths = digits.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
            rest = &fraction[count..];
        }
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some((((hour * 60 + minute) * 60 + second) * 1_000 + thousandths, rest))
}

fn parse_offset(zone: &[u8]) -> Option<i64> {
    let (sign, digits) = match zone {
        b"" | b"Z" | b"z" => return Some(0),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits {
        [_, _] => (number(digits)?, 0),
        [_, _, _, _] => (number(&digits[..2])?, number(&digits[2..])?),
        [_, _, b':', _, _] => (number(&digits[..2])?, number(&digits[3..])?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(sign * i64::from(hours * 60 + minutes) * 60_000)
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, byte| {
        byte.is_ascii_digit().then(|| value * 10 + u32::from(byte - b'0'))
    })
}

/// Days since the epoch of a day of the Gregorian calendar (Howard Hinnant's algorithm).
fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}
