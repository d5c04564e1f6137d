//! Days, weeks, months, quarters and years, of dates and of moments in a time zone.

use time::{Date, Month};

use crate::domain::{Micros, Zone};
use crate::index::moment::{of_date, to_date};

/// The length of a bucket of dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A day.
    Day,
    /// A week, which begins on Monday (ISO 8601).
    Week,
    /// A month.
    Month,
    /// A quarter of the calendar year.
    Quarter,
    /// A calendar year.
    Year,
}

/// A unit of days in a time zone.
#[derive(Debug, Clone)]
pub struct Calendar {
    /// The unit.
    pub unit: Unit,
    /// The time zone in which moments become days.
    pub zone: Zone,
}

impl Calendar {
    /// The first day of the unit that has this day, and the first day behind it, in days since 1970-01-01. `None` for days
    /// that are no dates.
    #[must_use]
    pub fn days(&self, day: i64) -> Option<(i64, i64)> {
        let months = |count: u8| {
            let date = to_date(day)?;
            let month = (u8::from(date.month()) - 1) / count * count;
            let first = |year: i32, month: u8| {
                let month = Month::try_from(month + 1).ok()?;
                Some(of_date(Date::from_calendar_date(year, month, 1).ok()?))
            };
            let begin = first(date.year(), month)?;
            let next = if month + count < 12 {
                first(date.year(), month + count)
            } else {
                first(date.year() + 1, 0)
            };
            // After the last year that dates have.
            Some((begin, next.unwrap_or(i64::MAX)))
        };
        match self.unit {
            Unit::Day => Some((day, day.checked_add(1)?)),
            Unit::Week => {
                // 1970-01-01 was a Thursday.
                let monday = day - (day + 3).rem_euclid(7);
                Some((monday, monday + 7))
            }
            Unit::Month => months(1),
            Unit::Quarter => months(3),
            Unit::Year => months(12),
        }
    }

    /// The unit of a moment, as the first moment and the first one behind it, in Unix microseconds.
    #[must_use]
    pub fn moments(&self, at: Micros) -> Option<(Micros, Micros)> {
        let (begin, end) = self.days(self.zone.day(at))?;
        let end = if end == i64::MAX {
            i64::MAX
        } else {
            self.zone.begin_us(end)
        };
        Some((self.zone.begin_us(begin), end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::moment::day;
    use proptest::prelude::*;

    const UNITS: [Unit; 5] = [Unit::Day, Unit::Week, Unit::Month, Unit::Quarter, Unit::Year];

    #[test]
    fn units_of_a_day() {
        let day = |text| day(text).unwrap();
        for (unit, of, begin, end) in [
            (Unit::Day, "2026-12-31", "2026-12-31", "2027-01-01"),
            (Unit::Week, "2026-12-31", "2026-12-28", "2027-01-04"),
            (Unit::Week, "1969-12-29", "1969-12-29", "1970-01-05"),
            (Unit::Month, "2024-02-29", "2024-02-01", "2024-03-01"),
            (Unit::Quarter, "2026-06-30", "2026-04-01", "2026-07-01"),
            (Unit::Year, "2026-06-30", "2026-01-01", "2027-01-01"),
        ] {
            let calendar = Calendar {
                unit,
                zone: Zone::default(),
            };
            assert_eq!(
                calendar.days(day(of)),
                Some((day(begin), day(end))),
                "{unit:?} {of}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_moment_is_in_its_unit_and_units_join(
            at in -62_000_000_000_i64..200_000_000_000,
            zone in prop::sample::select(vec!["Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia", "UTC"]),
            unit in prop::sample::select(UNITS.to_vec()),
        ) {
            let at = at * 1_000_000;
            let calendar = Calendar { unit, zone: Zone::parse(zone).unwrap() };
            let (begin, end) = calendar.moments(at).unwrap();
            prop_assert!(begin <= at && at < end);
            prop_assert_eq!(calendar.moments(end).unwrap().0, end);
            prop_assert_eq!(calendar.moments(end - 1).unwrap(), (begin, end));
        }
    }
}
