//! Exact sums of stored numbers.

use std::str::FromStr as _;

use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;

use crate::number::{Exact, Number, SCALE};

/// The sum of numbers in one currency.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    scaled: i128,
    /// The sum of those that are no scaled numbers.
    rest: Option<BigDecimal>,
    currency: Option<u32>,
    mixed: bool,
}

impl Sum {
    /// Says the currency of a number that is added.
    pub(crate) fn in_currency(&mut self, currency: u32) {
        let first = *self.currency.get_or_insert(currency);
        self.mixed |= first != currency;
    }

    pub(crate) fn add_scaled(&mut self, number: i64) {
        // 2^64 numbers would fit.
        self.scaled += i128::from(number);
    }

    pub(crate) fn add(&mut self, number: &Number) {
        // Its digits are always those of a decimal.
        if let Ok(number) = BigDecimal::from_str(&number.to_string()) {
            self.rest = Some(match self.rest.take() {
                Some(rest) => rest + number,
                None => number,
            });
        }
    }

    /// The sum; `None` if the numbers were in several currencies.
    pub(crate) fn total(self) -> Option<Exact> {
        if self.mixed {
            return None;
        }
        let whole = BigDecimal::new(BigInt::from(self.scaled), SCALE as i64);
        match (self.rest, Exact::of_scaled(self.scaled)) {
            (None, Some(exact)) => Some(exact),
            (rest, _) => {
                let sum = rest.map_or_else(|| whole.clone(), |rest| &whole + rest);
                Some(Number::from_digits(&sum.to_plain_string())?.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn added(texts: &[String]) -> Exact {
        let mut sum = Sum::default();
        for text in texts {
            let number = Number::parse(text).unwrap();
            match number.scaled() {
                Some(scaled) => sum.add_scaled(scaled),
                None => sum.add(&number),
            }
        }
        sum.total().unwrap()
    }

    proptest! {
        /// Compared with whole numbers of ten decimal places.
        #[test]
        fn sums_are_exact(numbers in prop::collection::vec(prop_oneof![
            -20_000_000_000_i128..20_000_000_000,
            -10_i128.pow(26)..10_i128.pow(26),
            (-10_i128.pow(8)..10_i128.pow(8)).prop_map(|n| n * 10_000),
        ], 1..12)) {
            let text = |n: i128| {
                let digits = format!("{:0>11}", n.unsigned_abs());
                let (whole, fraction) = digits.split_at(digits.len() - 10);
                format!("{}{whole}.{fraction}", if n < 0 { "-" } else { "" })
            };
            let texts: Vec<String> = numbers.iter().map(|n| text(*n)).collect();
            let expected = Number::parse(&text(numbers.iter().sum())).unwrap();
            prop_assert_eq!(added(&texts), Exact::from(expected));
        }
    }

    #[test]
    fn sums_of_any_length() {
        let text = |text: &str| text.to_owned();
        let exact = |text: &str| Exact::from(Number::parse(text).unwrap());
        assert_eq!(added(&[text("0.0000001"), text("-0.0000001")]), Exact::Scaled(0));
        assert_eq!(added(&[text("999999999999"), text("1")]), exact("1000000000000"));
        // The longest numbers: their sum has more digits than a number may be written with.
        let (large, small) = ("9".repeat(29_999), format!("0.{}1", "0".repeat(29_990)));
        let Exact::Decimal(sum) = added(&[large.clone(), large, small]) else {
            panic!("not scaled")
        };
        assert!(
            sum.starts_with("p8000019999") && sum.len() > 59_000,
            "{}",
            &sum[..20]
        );
        let mut mixed = Sum::default();
        for currency in [1, 2] {
            mixed.in_currency(currency);
            mixed.add_scaled(5);
        }
        assert_eq!(mixed.total(), None);
    }
}
