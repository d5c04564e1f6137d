//! Dates and times in conditions, `today` and `now` among them.

use super::form::Condition;
use crate::domain::{Micros, Zone};
use crate::index::moment;
use crate::query::ast::Value;
use crate::query::problem::Problem;
use time::Month;

type Result<T> = std::result::Result<T, Problem>;

/// The time of a query, and the time zone of its days.
#[derive(Debug, Clone, Copy)]
pub(in crate::query) struct Clock<'a> {
    pub(in crate::query) now_us: Micros,
    pub(in crate::query) zone: &'a Zone,
}

pub(super) enum When {
    Day(i64),
    Moment(i64),
}

/// The day or the time that a value stands for; `None` if it is neither.
pub(super) fn moment(condition: &Condition<'_>, clock: &Clock<'_>) -> Result<Option<When>> {
    let beyond = || condition.of_value("is outside the years 0 to 9999");
    Ok(match condition.value {
        Value::Date(day) => Some(When::Day(*day)),
        Value::Moment(us) => Some(When::Moment(*us)),
        Value::Relative { now, offset } => {
            let today = clock.zone.day(clock.now_us);
            let day = away(today, *offset).ok_or_else(beyond)?;
            Some(if *now {
                When::Moment(clock.zone.on_day(clock.now_us, day))
            } else {
                When::Day(day)
            })
        }
        _ => None,
    })
}

/// The date with the offset added. Where the month is too short, the last day of the month.
fn away(day: i64, offset: Option<(i64, char)>) -> Option<i64> {
    let Some((amount, unit)) = offset else {
        return Some(day);
    };
    let months = match unit {
        'd' => return checked(day.checked_add(amount)?),
        'w' => return checked(day.checked_add(amount.checked_mul(7)?)?),
        'm' => amount,
        _ => amount.checked_mul(12)?,
    };
    let date = moment::to_date(day)?;
    let count = i64::from(date.year()) * 12 + i64::from(u8::from(date.month())) - 1 + months;
    let (year, month) = (
        i32::try_from(count.div_euclid(12)).ok()?,
        count.rem_euclid(12) + 1,
    );
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let last = month.length(year);
    let date = time::Date::from_calendar_date(year, month, date.day().min(last)).ok()?;
    checked(moment::of_date(date))
}

/// The day, if it is in the years 0 to 9999.
fn checked(day: i64) -> Option<i64> {
    let year = moment::to_date(day)?.year();
    (0..=9_999).contains(&year).then_some(day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_that_a_month_lacks_become_its_last() {
        let day = |text| moment::day(text).unwrap();
        for (from, amount, unit, to) in [
            ("2026-03-31", -1, 'm', "2026-02-28"),
            ("2024-02-29", 1, 'y', "2025-02-28"),
            ("2026-01-31", 3, 'm', "2026-04-30"),
            ("2026-01-31", -2, 'w', "2026-01-17"),
        ] {
            assert_eq!(
                away(day(from), Some((amount, unit))),
                Some(day(to)),
                "{from}{amount}{unit}"
            );
        }
        assert_eq!(away(day("2026-01-31"), Some((9_000, 'y'))), None);
    }
}
