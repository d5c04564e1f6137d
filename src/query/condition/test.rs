//! A condition as a test of indexed values: which types take which operators and values.

use super::date::{Clock, When, moment};
use super::form::Condition;
use super::text::pattern;
use crate::index::number::Number;
use crate::index::text::fold;
use crate::index::{self, Comparison, Kind, Test, TextTest};
use crate::query::ast::{Operator, Value};
use crate::query::problem::Problem;

type Result<T> = std::result::Result<T, Problem>;

/// The test for a condition; for `!=`, the test of `=`.
pub(in crate::query) fn test(kind: Kind, condition: &Condition<'_>, clock: &Clock<'_>) -> Result<Test> {
    let comparison = match condition.operator {
        Operator::Equal | Operator::NotEqual | Operator::Has => None,
        Operator::Less => Some(Comparison::Less),
        Operator::LessOrEqual => Some(Comparison::LessOrEqual),
        Operator::Greater => Some(Comparison::Greater),
        Operator::GreaterOrEqual => Some(Comparison::GreaterOrEqual),
        Operator::StartsWith => return within(kind, condition, (false, true)),
        Operator::EndsWith => return within(kind, condition, (true, false)),
        Operator::Contains => return within(kind, condition, (true, true)),
    };
    if comparison.is_some() && matches!(kind, Kind::List | Kind::Boolean | Kind::Long) {
        return Err(condition.of_operator("cannot compare lists, booleans, HTML or long text by order"));
    }
    let has = condition.operator == Operator::Has;
    let between = |first: i64, last: i64| match comparison {
        None | Some(Comparison::Equal) => Test::Int(first, last),
        Some(Comparison::Less) => before(first),
        Some(Comparison::LessOrEqual) => Test::Int(i64::MIN, last),
        Some(Comparison::Greater) => after(last),
        Some(Comparison::GreaterOrEqual) => Test::Int(first, i64::MAX),
    };
    match kind {
        Kind::Text | Kind::Reference | Kind::List => {
            let pattern = pattern(condition)?;
            Ok(match comparison {
                Some(comparison) => Test::Text(TextTest::Compare(comparison, fold(&pattern.whole()))),
                None if has && kind != Kind::List => pattern.words(condition)?,
                None => pattern.like(),
            })
        }
        Kind::Long => {
            let pattern = pattern(condition)?;
            if has {
                return pattern.words(condition);
            }
            if pattern.before || pattern.after {
                return Err(condition.of_value("has *, which HTML and long text allow only with :"));
            }
            Ok(Test::Text(TextTest::Is(index::whole(&fold(&pattern.text)))))
        }
        Kind::Number => {
            let number = number(condition)?;
            Ok(Test::Number(comparison.unwrap_or(Comparison::Equal), number))
        }
        Kind::Boolean => {
            let yes = i64::from(boolean(condition.value, condition)?);
            Ok(Test::Int(yes, yes))
        }
        Kind::Date => match moment(condition, clock)? {
            Some(When::Day(day)) => Ok(between(day, day)),
            _ => Err(condition.of_value("must be a date such as 2026-01-31, or today, without quotes")),
        },
        Kind::Timestamp => match moment(condition, clock)? {
            Some(When::Day(day)) => {
                let (first, next) = (clock.zone.begin_us(day), clock.zone.begin_us(day + 1));
                Ok(between(first, next.saturating_sub(1)))
            }
            Some(When::Moment(us)) => Ok(between(us, us)),
            None => Err(condition.of_value(
                "must be a time such as 2026-01-31T09:30:00Z, a date, today or now, without quotes",
            )),
        },
        Kind::Time => match condition.value {
            Value::Time(us) => Ok(between(*us, *us)),
            _ => Err(condition.of_value("must be a time of day such as 09:30:00, without quotes")),
        },
        Kind::Address | Kind::Location => Err(condition.of_operator("needs a part of the field")),
    }
}

/// The test of a function on texts: any text may come before the value, after it, or both.
fn within(kind: Kind, condition: &Condition<'_>, (before, after): (bool, bool)) -> Result<Test> {
    match kind {
        Kind::Text | Kind::Reference | Kind::List => Ok(pattern(condition)?.within(before, after)),
        Kind::Long => {
            Err(condition.of_operator("cannot be used with HTML or long text: find their words with :"))
        }
        _ => Err(condition.of_operator("needs a field with text")),
    }
}

/// A value that is a number.
pub(in crate::query) fn number(condition: &Condition<'_>) -> Result<Number> {
    match condition.value {
        Value::Number(text) => Number::parse(text).ok_or_else(|| condition.of_value("is not a number")),
        _ => Err(condition.of_value("must be a number, without quotes")),
    }
}

fn before(first: i64) -> Test {
    match first.checked_sub(1) {
        Some(last) => Test::Int(i64::MIN, last),
        None => Test::Int(1, 0),
    }
}

fn after(last: i64) -> Test {
    match last.checked_add(1) {
        Some(first) => Test::Int(first, i64::MAX),
        None => Test::Int(1, 0),
    }
}

pub(in crate::query) fn boolean(value: &Value, condition: &Condition<'_>) -> Result<bool> {
    match value {
        Value::Word(word) if word == "true" => Ok(true),
        Value::Word(word) if word == "false" => Ok(false),
        _ => Err(condition.of_value("must be true or false")),
    }
}
