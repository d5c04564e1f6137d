//! Exact decimals: up to 12 digits before and 6 after the decimal point are stored as scaled integers, all others as
//! texts that sort in numeric order.

use std::fmt;

/// Number of decimal places of a scaled number.
pub const SCALE: usize = 6;
/// Maximum number of digits before the decimal point of a scaled number.
const WHOLE: usize = 12;
/// Maximum length of a number that is read, in characters.
const MOST_DIGITS: usize = 30_000;

/// A number in one of the two forms in which an index stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exact {
    /// A scaled number.
    Scaled(i64),
    /// The sortable text of a number that is no scaled number.
    Decimal(String),
}

impl Exact {
    /// A whole number.
    #[must_use]
    pub fn whole(number: u32) -> Self {
        Self::Scaled(i64::from(number) * 10_i64.pow(SCALE as u32))
    }

    /// A number of so many millionths; `None` if it has too many digits for a scaled number.
    #[must_use]
    pub fn of_scaled(millionths: i128) -> Option<Self> {
        let fits = millionths.unsigned_abs() < 10_u128.pow((WHOLE + SCALE) as u32);
        Some(Self::Scaled(i64::try_from(millionths).ok().filter(|_| fits)?))
    }
}

impl From<Number> for Exact {
    fn from(number: Number) -> Self {
        match number.scaled() {
            Some(scaled) => Self::Scaled(scaled),
            None => Self::Decimal(number.ordered()),
        }
    }
}

/// The parts of a decimal. There are no leading or trailing zeros; zero has no digits and is not negative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number {
    negative: bool,
    whole: String,
    fraction: String,
}

impl Number {
    /// Parses `-1234.5`, without an exponent.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // A longer number would not fit into a term of the index.
        let length = text.strip_prefix('-').unwrap_or(text).len();
        Some(text)
            .filter(|_| length <= MOST_DIGITS)
            .and_then(Self::from_digits)
    }

    /// Parses a number of any length.
    #[must_use]
    pub fn from_digits(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !all(whole) || !all(fraction) {
            return None;
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        Some(Self {
            negative: negative && !(whole.is_empty() && fraction.is_empty()),
            whole: whole.to_owned(),
            fraction: fraction.to_owned(),
        })
    }

    /// The scaled number; `None` if it would not be exact.
    #[must_use]
    pub fn scaled(&self) -> Option<i64> {
        (self.whole.len() <= WHOLE && self.fraction.len() <= SCALE).then(|| self.floor().0)
    }

    /// The largest scaled number that is not above this number, limited to 64 bits, and whether it is equal to it.
    #[must_use]
    pub fn floor(&self) -> (i64, bool) {
        let mut scaled: i128 = 0;
        let padded = self.fraction.bytes().chain(std::iter::repeat(b'0')).take(SCALE);
        for digit in self.whole.bytes().chain(padded) {
            scaled = scaled.saturating_mul(10).saturating_add(i128::from(digit - b'0'));
        }
        let exact = self.fraction.len() <= SCALE;
        if self.negative {
            scaled = -scaled - i128::from(!exact);
        }
        match i64::try_from(scaled) {
            Ok(scaled) => (scaled, exact),
            Err(_) if self.negative => (i64::MIN, false),
            Err(_) => (i64::MAX, false),
        }
    }

    /// The largest scaled number that is not above the number of a sortable text.
    #[must_use]
    pub fn floor_of_ordered(text: &str) -> i64 {
        Self::from_ordered(text).map_or(0, |number| number.floor().0)
    }

    /// Parses a sortable text.
    #[must_use]
    pub fn from_ordered(text: &str) -> Option<Self> {
        let negative = text.starts_with('m');
        let body: String = match (text.strip_prefix('p'), text.strip_prefix('m')) {
            (Some(body), _) => body.to_owned(),
            (_, Some(body)) => {
                let turned = body.strip_suffix('~')?.bytes();
                turned.map(|b| (b'0' + b'9' - b) as char).collect()
            }
            _ => return Self::parse("0"),
        };
        let (exponent, digits) = (body.get(..5)?, body.get(5..)?);
        let exponent: i64 = exponent.parse::<i64>().ok()? - 50_000;
        let number = match usize::try_from(exponent) {
            Ok(whole) if digits.len() <= whole => format!("{digits:0<whole$}"),
            Ok(0) => format!("0.{digits}"),
            Ok(whole) => format!("{}.{}", &digits[..whole], &digits[whole..]),
            Err(_) => format!("0.{}{digits}", "0".repeat(exponent.unsigned_abs() as usize)),
        };
        let number = Self::from_digits(&number)?;
        Some(Self { negative, ..number })
    }

    /// Whether it is above 0.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        !(self.negative || self.whole.is_empty() && self.fraction.is_empty())
    }

    /// The number as a decimal to compute with.
    #[must_use]
    pub fn to_decimal(&self) -> bigdecimal::BigDecimal {
        let digits = format!(
            "{}{}{}",
            if self.negative { "-" } else { "" },
            self.whole,
            self.fraction
        );
        // Only digits: it can be parsed, unless there are none.
        let whole = digits.parse().unwrap_or_default();
        bigdecimal::BigDecimal::new(whole, self.fraction.len() as i64)
    }

    /// A text that sorts in numeric order among the others.
    #[must_use]
    pub fn ordered(&self) -> String {
        let mantissa = format!("{}{}", self.whole, self.fraction);
        let digits = mantissa.trim_start_matches('0');
        if digits.is_empty() {
            return "n".to_owned();
        }
        let zeros = mantissa.len() - digits.len();
        let exponent = if self.whole.is_empty() {
            50_000 - zeros
        } else {
            50_000 + self.whole.len()
        };
        let text = format!("{exponent:05}{}", digits.trim_end_matches('0'));
        if self.negative {
            let turned: String = text.bytes().map(|b| (b'0' + b'9' - b) as char).collect();
            format!("m{turned}~")
        } else {
            format!("p{text}")
        }
    }
}

impl fmt::Display for Number {
    /// Writes the number in a form that [`Self::from_digits`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        write!(f, "{sign}0{}.{}0", self.whole, self.fraction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cmp::Ordering;

    /// Compares digit by digit after aligning the decimal points; slow, but obviously correct.
    fn slow(a: &str, b: &str) -> Ordering {
        fn parts(text: &str) -> (bool, String, String) {
            let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
            let (whole, fraction) = rest.split_once('.').unwrap_or((rest, ""));
            (negative, format!("{whole:0>60}"), format!("{fraction:0<60}"))
        }
        let ((na, wa, fa), (nb, wb, fb)) = (parts(a), parts(b));
        let zero = |w: &str, f: &str| w.bytes().chain(f.bytes()).all(|b| b == b'0');
        let sign = |n: bool, w: &str, f: &str| {
            if zero(w, f) {
                0
            } else if n {
                -1
            } else {
                1
            }
        };
        let (sa, sb) = (sign(na, &wa, &fa), sign(nb, &wb, &fb));
        let size = (wa, fa).cmp(&(wb, fb));
        sa.cmp(&sb).then(if sa < 0 {
            size.reverse()
        } else if sa == 0 {
            Ordering::Equal
        } else {
            size
        })
    }

    proptest! {
        #[test]
        fn texts_and_scaled_numbers_sort_as_the_numbers(
            a in "-?[0-9]{1,20}(\\.[0-9]{1,12})?", b in "-?[0-9]{1,20}(\\.[0-9]{1,12})?",
        ) {
            let (x, y) = (Number::parse(&a).unwrap(), Number::parse(&b).unwrap());
            prop_assert_eq!(x.ordered().cmp(&y.ordered()), slow(&a, &b));
            if let (Some(p), Some(q)) = (x.scaled(), y.scaled()) {
                prop_assert_eq!(p.cmp(&q), slow(&a, &b));
            }
            prop_assert_eq!(Number::floor_of_ordered(&x.ordered()), x.floor().0);
            prop_assert_eq!(Number::from_ordered(&x.ordered()), Some(x.clone()));
            prop_assert_eq!(Number::from_digits(&x.to_string()), Some(x.clone()));
            // The scaled numbers keep the order of the numbers.
            if slow(&a, &b) == Ordering::Less {
                prop_assert!(x.floor().0 <= y.floor().0);
            }
        }
    }

    #[test]
    fn forms() {
        assert_eq!(Number::parse("007.50"), Number::parse("7.5"));
        assert_eq!(Number::parse("-0.0"), Number::parse("0"));
        assert_eq!(Number::parse("1.5").unwrap().scaled(), Some(1_500_000));
        assert_eq!(Number::parse("1.0000001").unwrap().scaled(), None);
        assert_eq!(Number::parse("-1.0000001").unwrap().floor(), (-1_000_001, false));
        for bad in ["", "-", "1e5", "1.2.3", "+1", " 1", "."] {
            assert_eq!(Number::parse(bad), None, "{bad}");
        }
    }
}
