//! Measures: what is computed of the values of the records of a cell.

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, RoundingMode};

use super::bucket::{of_scaled, plain};
use crate::block::{Block, Ints, Texts};
use crate::number::Number;

/// Averages, medians and percentiles have at most so many digits after the point.
const DIGITS: i64 = 10;

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// The number of records that have a value.
    Count,
    /// The exact sum.
    Sum,
    /// The mean, rounded half to even to 10 digits after the point.
    Average,
    /// The smallest value.
    Minimum,
    /// The greatest value.
    Maximum,
    /// The value below which so many percent of the values lie, 0 to 100, between two values in proportion; the median is 50.
    Percentile(u32),
}

/// A measure of the values at a path.
#[derive(Debug, Clone)]
pub struct Measure {
    /// What is computed.
    pub function: Function,
    /// The path.
    pub path: String,
    /// Whether the values are numbers, scaled or not; else whole numbers such as times.
    pub is_number: bool,
    /// The path of the currencies of amounts.
    pub currency: Option<String>,
}

/// The result of a measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// There was nothing to compute, or amounts have different currencies.
    None,
    /// The number of records.
    Count(u64),
    /// A whole number, such as a time.
    Integer(i64),
    /// A plain decimal, and the currency of the amounts, if they have one.
    Number(String, Option<String>),
}

/// A value of a record.
enum Value {
    Scaled(i64),
    Decimal(BigDecimal),
}

/// The values of a block.
pub(super) struct BlockMeasure<'b> {
    ints: Option<&'b Ints>,
    decimals: Option<&'b Texts>,
    /// Texts that are counted.
    texts: Option<&'b Texts>,
    currencies: Option<&'b Texts>,
    has_currencies: bool,
}

impl Measure {
    pub(super) fn begin<'b>(&self, block: &'b Block) -> BlockMeasure<'b> {
        let currency = self
            .currency
            .as_deref()
            .filter(|_| self.function != Function::Count);
        BlockMeasure {
            ints: block.ints(&self.path),
            decimals: block.decimals(&self.path),
            texts: block
                .texts(&self.path)
                .filter(|_| self.function == Function::Count),
            currencies: currency.and_then(|path| block.written(path).or(block.texts(path))),
            has_currencies: currency.is_some(),
        }
    }
}

impl BlockMeasure<'_> {
    fn value(&self, row: u32) -> Option<Value> {
        if let Some(scaled) = self.ints.and_then(|ints| ints.get(row)) {
            return Some(Value::Scaled(scaled));
        }
        if self.texts.is_some_and(|texts| texts.get(row).is_some()) {
            return Some(Value::Scaled(0));
        }
        let decimals = self.decimals?;
        let number = Number::from_ordered(decimals.text(decimals.get(row)?))?;
        Some(Value::Decimal(number.to_decimal()))
    }

    /// Adds the value of a row to accumulators.
    pub(super) fn add<'a>(&self, row: u32, to: impl Iterator<Item = &'a mut Accumulator>) {
        let Some(value) = self.value(row) else {
            return;
        };
        let currency = match self.currencies {
            Some(texts) => texts.get(row).map(|ord| texts.text(ord)),
            None => None,
        };
        for accumulator in to {
            if self.has_currencies {
                accumulator.note_currency(currency);
            }
            accumulator.add(&value);
        }
    }
}

/// Which currencies the amounts of a cell have.
#[derive(Clone, PartialEq, Eq)]
enum Currency {
    Unknown,
    One(Option<String>),
    Several,
}

/// Collects the values of a cell.
#[derive(Clone)]
pub(super) struct Accumulator {
    function: Function,
    count: u64,
    scaled: i128,
    decimals: BigDecimal,
    least: Option<BigDecimal>,
    scaled_values: Vec<i64>,
    decimal_values: Vec<BigDecimal>,
    bound: Option<i64>,
    currency: Currency,
    is_number: bool,
}

impl Accumulator {
    pub(super) fn new(measure: &Measure) -> Self {
        Self {
            function: measure.function,
            count: 0,
            scaled: 0,
            decimals: BigDecimal::from(0),
            least: None,
            scaled_values: Vec::new(),
            decimal_values: Vec::new(),
            bound: None,
            currency: Currency::Unknown,
            is_number: measure.is_number,
        }
    }

    fn note_currency(&mut self, currency: Option<&str>) {
        match &self.currency {
            Currency::Unknown => self.currency = Currency::One(currency.map(str::to_owned)),
            Currency::One(one) if one.as_deref() == currency => {}
            Currency::One(_) => self.currency = Currency::Several,
            Currency::Several => {}
        }
    }

    fn add(&mut self, value: &Value) {
        self.count += 1;
        match (self.function, value) {
            (Function::Count, _) => {}
            (Function::Sum | Function::Average, Value::Scaled(scaled)) => self.scaled += i128::from(*scaled),
            (Function::Sum | Function::Average, Value::Decimal(decimal)) => self.decimals += decimal,
            (Function::Minimum, Value::Scaled(scaled)) => {
                self.bound = Some(self.bound.map_or(*scaled, |bound| bound.min(*scaled)));
            }
            (Function::Maximum, Value::Scaled(scaled)) => {
                self.bound = Some(self.bound.map_or(*scaled, |bound| bound.max(*scaled)));
            }
            (Function::Minimum | Function::Maximum, Value::Decimal(decimal)) => {
                let better = |known: &BigDecimal| match self.function {
                    Function::Minimum => decimal < known,
                    _ => decimal > known,
                };
                if self.least.as_ref().is_none_or(better) {
                    self.least = Some(decimal.clone());
                }
            }
            (Function::Percentile(_), Value::Scaled(scaled)) => self.scaled_values.push(*scaled),
            (Function::Percentile(_), Value::Decimal(decimal)) => self.decimal_values.push(decimal.clone()),
        }
    }

    pub(super) fn finish(mut self) -> Outcome {
        if self.function == Function::Count {
            return Outcome::Count(self.count);
        }
        if self.count == 0 || self.currency == Currency::Several {
            return Outcome::None;
        }
        let number = match self.function {
            Function::Count => return Outcome::Count(self.count),
            Function::Sum => self.sum(),
            Function::Average => rounded(self.sum() / BigDecimal::from(self.count)),
            Function::Minimum | Function::Maximum => match (self.bound, self.is_number) {
                (Some(bound), false) => return Outcome::Integer(bound),
                (bound, _) => {
                    let both = bound.map(of_scaled).into_iter().chain(self.least.take());
                    let best = match self.function {
                        Function::Minimum => both.min(),
                        _ => both.max(),
                    };
                    best.unwrap_or_default()
                }
            },
            Function::Percentile(percent) => rounded(self.percentile(percent)),
        };
        let currency = match self.currency {
            Currency::One(currency) => currency,
            Currency::Unknown | Currency::Several => None,
        };
        Outcome::Number(plain(&number), currency)
    }

    fn sum(&self) -> BigDecimal {
        of_scaled(BigInt::from(self.scaled)) + &self.decimals
    }

    fn percentile(&mut self, percent: u32) -> BigDecimal {
        let mut values: Vec<BigDecimal> = std::mem::take(&mut self.decimal_values);
        let scaled = &mut self.scaled_values;
        let last = (scaled.len() + values.len()).saturating_sub(1) as u64;
        let position = last * u64::from(percent);
        let (lower, part) = ((position / 100) as usize, position % 100);
        let mut at = |index: usize| -> BigDecimal {
            if values.is_empty() {
                let (_, value, _) = scaled.select_nth_unstable(index);
                return of_scaled(*value);
            }
            values.extend(scaled.drain(..).map(of_scaled));
            values.sort_unstable();
            values[index].clone()
        };
        let low = at(lower);
        if part == 0 {
            return low;
        }
        let high = at(lower + 1);
        let step = (high - &low) * BigDecimal::new(BigInt::from(part), 2);
        low + step
    }
}

fn rounded(number: BigDecimal) -> BigDecimal {
    number.with_scale_round(DIGITS, RoundingMode::HalfEven)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compute(function: Function, values: &[&str]) -> Outcome {
        let measure = Measure {
            function,
            path: String::new(),
            is_number: true,
            currency: None,
        };
        let mut accumulator = Accumulator::new(&measure);
        for text in values {
            let number = Number::parse(text).unwrap();
            accumulator.add(&match number.scaled() {
                Some(scaled) => Value::Scaled(scaled),
                None => Value::Decimal(number.to_decimal()),
            });
        }
        accumulator.finish()
    }

    #[test]
    fn results_are_exact() {
        let number = |text: &str| Outcome::Number(text.to_owned(), None);
        let large = [
            "999999999999.999999",
            "0.00000000000000000001",
            "123456789012345678901234567890",
        ];
        for (function, values, result) in [
            (Function::Sum, &["0.1", "0.2"][..], number("0.3")),
            (
                Function::Sum,
                &large,
                number("123456789012345679901234567889.99999900000000000001"),
            ),
            (Function::Average, &["1", "1", "2"], number("1.3333333333")),
            (Function::Average, &["-2", "-3"], number("-2.5")),
            (
                Function::Minimum,
                &["2", "1.00000001", "1.00000002"],
                number("1.00000001"),
            ),
            (Function::Maximum, &["2", "1.00000001"], number("2")),
            (Function::Percentile(50), &["4", "1", "3", "2"], number("2.5")),
            (Function::Percentile(50), &["4", "1.00000001", "3"], number("3")),
            (
                Function::Percentile(90),
                &["1", "2", "3", "4", "5", "6"],
                number("5.5"),
            ),
            (Function::Percentile(100), &["1", "2"], number("2")),
            (Function::Count, &["1", "2"], Outcome::Count(2)),
            (Function::Sum, &[], Outcome::None),
            (Function::Count, &[], Outcome::Count(0)),
        ] {
            assert_eq!(compute(function, values), result, "{function:?} {values:?}");
        }
    }
}
