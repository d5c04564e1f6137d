//! Exact numbers: from the text forms of CRMs to one canonical text, without floating point.

use super::write;

/// More digits than any CRM stores; limits the text that a large exponent could produce.
const MAX_DIGITS: i64 = 128;

/// A decimal in canonical form (no exponent, no insignificant zeros, no `-0`), or None if the text is not a decimal.
///
/// ```
/// use tether_connector_sdk::payload::decimal;
///
/// assert_eq!(decimal("1.0E10").as_deref(), Some("10000000000"));
/// assert_eq!(decimal("-0.50").as_deref(), Some("-0.5"));
/// assert_eq!(decimal("-0.0").as_deref(), Some("0"));
/// assert_eq!(decimal("1,5"), None);
/// ```
#[must_use]
pub fn decimal(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    decimal_into(&mut out, text)
        .then(|| String::from_utf8(out).ok())
        .flatten()
}

/// The significant digits of a decimal and where its point is.
struct Decimal<'a> {
    negative: bool,
    /// Digits before and after the point of the text, without leading and trailing zeros.
    before: &'a [u8],
    after: &'a [u8],
    /// The number of digits before the point, after the exponent is applied; may be negative or larger than the
    /// number of digits.
    point: i64,
}

fn parse(text: &str) -> Option<Decimal<'_>> {
    let mut rest = text.trim_ascii().as_bytes();
    let negative = rest.first() == Some(&b'-');
    if let Some(b'-' | b'+') = rest.first() {
        rest = &rest[1..];
    }
    let digits = |bytes: &[u8]| bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (mut before, mut rest) = rest.split_at(digits(rest));
    let mut after: &[u8] = &[];
    if let Some((b'.', fraction)) = rest.split_first() {
        (after, rest) = fraction.split_at(digits(fraction));
    }
    if before.is_empty() && after.is_empty() {
        return None;
    }
    let mut exponent = 0;
    if let Some((b'e' | b'E', power)) = rest.split_first() {
        let power = std::str::from_utf8(power).ok()?;
        exponent = power
            .parse::<i64>()
            .ok()
            .filter(|power| power.abs() < 1_000_000)?;
    } else if !rest.is_empty() {
        return None;
    }
    before = trim_start(before);
    let mut point = before.len() as i64 + exponent;
    if before.is_empty() {
        let significant = trim_start(after);
        point -= (after.len() - significant.len()) as i64;
        after = significant;
    }
    after = trim_end(after);
    if after.is_empty() {
        before = trim_end(before);
    }
    Some(Decimal {
        negative,
        before,
        after,
        point,
    })
}

fn trim_start(digits: &[u8]) -> &[u8] {
    &digits[digits.iter().take_while(|&&digit| digit == b'0').count()..]
}

fn trim_end(digits: &[u8]) -> &[u8] {
    &digits[..digits.len() - digits.iter().rev().take_while(|&&digit| digit == b'0').count()]
}

/// Writes a decimal; returns whether the text is one.
pub(super) fn decimal_into(out: &mut Vec<u8>, text: &str) -> bool {
    let Some(Decimal {
        negative,
        before,
        after,
        point,
    }) = parse(text)
    else {
        return false;
    };
    let count = (before.len() + after.len()) as i64;
    if count == 0 {
        out.push(b'0');
        return true;
    }
    if point.max(count) - point.min(0) > MAX_DIGITS {
        return false;
    }
    if negative {
        out.push(b'-');
    }
    let digits = || before.iter().chain(after).copied();
    if point <= 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', point.unsigned_abs() as usize));
        out.extend(digits());
    } else if point >= count {
        out.extend(digits());
        out.extend(std::iter::repeat_n(b'0', (point - count) as usize));
    } else {
        out.extend(digits().take(point as usize));
        out.push(b'.');
        out.extend(digits().skip(point as usize));
    }
    true
}

/// Writes a 64-bit integer; returns whether the text is one.
pub(super) fn integer_into(out: &mut Vec<u8>, text: &str) -> bool {
    if let Ok(value) = text.parse::<i64>() {
        write::integer(out, value);
        return true;
    }
    // "5.0" and "1E3" are integers too.
    let value = decimal(text).and_then(|text| text.parse::<i64>().ok());
    if let Some(value) = value {
        write::integer(out, value);
    }
    value.is_some()
}
