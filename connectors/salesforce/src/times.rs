//! Days and moments as Salesforce writes them. REST says `+0000` without a colon, Bulk says `Z`; both are read.

use std::io::Write as _;

const DAY_US: i64 = 86_400_000_000;

/// Checks a day, `2026-01-31`, and gives its number since 1970.
pub(crate) fn date(text: &str) -> Option<i64> {
    let b = text.as_bytes();
    if b.len() != 10 || b[4] != b'-' || b[7] != b'-' {
        return None;
    }
    let (year, month, day) = (digits(&b[..4])?, digits(&b[5..7])?, digits(&b[8..])?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    (year > 0 && (1..=last).contains(&day)).then(|| days(year, month, day))
}

/// A moment in unix microseconds: ISO with `Z`, `+0000` or `+00:00`, or milliseconds since 1970.
pub(crate) fn timestamp(text: &str) -> Option<i64> {
    let b = text.as_bytes();
    if b.len() < 20 || b.get(10) != Some(&b'T') {
        let millis: i64 = text.parse().ok()?;
        return millis.checked_mul(1000);
    }
    let zone = b[11..].iter().position(|c| matches!(c, b'Z' | b'+' | b'-'))? + 11;
    let offset = match &b[zone..] {
        b"Z" => 0,
        [sign, h1, h2, rest @ ..] => {
            let minutes = rest.strip_prefix(b":").unwrap_or(rest);
            let offset = digits(&[*h1, *h2])? * 60 + digits(minutes)?;
            if minutes.len() != 2 || offset > 15 * 60 {
                return None;
            }
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    let day = date(text.get(..10)?)?;
    Some(day * DAY_US + clock(&b[11..zone])? - offset * 60_000_000)
}

/// Milliseconds since midnight of `10:30:00.000Z`.
pub(crate) fn time_of_day(text: &str) -> Option<i64> {
    Some(clock(text.strip_suffix('Z').unwrap_or(text).as_bytes())? / 1000)
}

/// Appends `2026-01-31T09:30:00.000Z`; nothing for years that do not fit four digits.
pub(crate) fn write_utc(us: i64, out: &mut Vec<u8>) -> Option<()> {
    let (day, rest) = (us.div_euclid(DAY_US), us.rem_euclid(DAY_US) / 1000);
    let (year, month, date) = civil(day);
    if !(1..=9999).contains(&year) {
        return None;
    }
    let (seconds, millis) = (rest / 1000, rest % 1000);
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    for (at, width, value) in
        [(0, 4, year), (5, 2, month), (8, 2, date), (11, 2, h), (14, 2, m), (17, 2, s), (20, 3, millis)]
    {
        let mut value = value;
        for slot in text[at..at + width].iter_mut().rev() {
            *slot = b'0' + (value % 10) as u8;
            value /= 10;
        }
    }
    out.write_all(&text).ok()
}

/// The `Date` header: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) fn http_date(text: &str) -> Option<i64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut words = text.split_ascii_whitespace().skip(1);
    let (day, month, year) = (words.next()?, words.next()?, words.next()?);
    let month = MONTHS.find(month).filter(|at| month.len() == 3 && at % 3 == 0)? / 3 + 1;
    let day = date(&format!("{year}-{month:02}-{day:0>2}"))?;
    Some(day * DAY_US + clock(words.next()?.as_bytes())?)
}

/// Microseconds since midnight of `09:30:00` with or without a fraction.
fn clock(b: &[u8]) -> Option<i64> {
    if b.len() < 8 || b[2] != b':' || b[5] != b':' {
        return None;
    }
    let (h, m, s) = (digits(&b[..2])?, digits(&b[3..5])?, digits(&b[6..8])?);
    let fraction = match &b[8..] {
        [] => 0,
        [b'.', fraction @ ..] if !fraction.is_empty() && fraction.len() <= 9 => {
            let kept = &fraction[..fraction.len().min(6)];
            digits(fraction)?;
            digits(kept)? * 10_i64.pow(6 - kept.len() as u32)
        }
        _ => return None,
    };
    (h < 24 && m < 60 && s < 60).then_some((h * 3600 + m * 60 + s) * 1_000_000 + fraction)
}

fn digits(b: &[u8]) -> Option<i64> {
    b.iter().try_fold(0, |n, c| c.is_ascii_digit().then(|| n * 10 + i64::from(c - b'0')))
}

/// Days since 1970 of a day of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let of_era = y.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let mp = (5 * of_year + 2) / 153;
    let day = of_year - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_checked() {
        assert_eq!(date("1970-01-01"), Some(0));
        assert_eq!(date("2000-03-01"), Some(11_017));
        assert_eq!(date("0001-01-01"), Some(-719_162));
        for bad in ["2023-02-29", "2023-13-01", "0000-01-01", "2023-1-01", "2023-01-01T", "20222-01-01"] {
            assert_eq!(date(bad), None, "{bad}");
        }
        assert!(date("2024-02-29").is_some());
    }

    #[test]
    fn moments_in_all_forms() {
        let us = 1_310_000_000_123_000;
        for text in [
            "2011-07-07T00:53:20.123+0000",
            "2011-07-07T00:53:20.123Z",
            "2011-07-07T00:53:20.123000+00:00",
            "2011-07-06T19:23:20.123-0530",
            "1310000000123",
        ] {
            assert_eq!(timestamp(text), Some(us), "{text}");
        }
        for bad in ["2011-07-07", "2011-07-07T00:53:20", "2011-07-07T24:00:00Z", "2011-07-07T00:53:20.Z", "é"] {
            assert_eq!(timestamp(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_date_header() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777_000_000));
        for bad in ["", "Sun", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 anF 1994 08:49:37 GMT"] {
            assert_eq!(http_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn days_and_back() {
        for day in (-719_162..2_900_000).step_by(97) {
            let (y, m, d) = civil(day);
            assert_eq!(days(y, m, d), day);
        }
        let mut out = Vec::new();
        write_utc(1_310_000_000_123_456, &mut out).unwrap();
        assert_eq!(out, b"2011-07-07T00:53:20.123Z");
    }
}
