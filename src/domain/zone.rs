//! Time zones: when the days of a zone begin.
//!
//! Time zones are those compiled into the binary: all replicas then agree, and a container without a time zone database
//! works.

use std::sync::LazyLock;

use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp};

use super::Micros;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

const EPOCH: Date = Date::constant(1970, 1, 1);
const DAY_US: i64 = 86_400_000_000;

/// What is wrong with a name that is no time zone, and the way out.
pub const NO_ZONE: &str =
    "is no time zone of the IANA database; names look like Europe/Berlin, America/New_York or UTC";

/// A time zone by its IANA name, with the name in its official spelling.
pub(super) fn named(name: &str) -> Option<(TimeZone, String)> {
    let zone = ZONES.get(name).ok().filter(|zone| !zone.is_unknown())?;
    let spelt = zone.iana_name()?.to_owned();
    Some((zone, spelt))
}

/// The time zone of days. The default is UTC.
///
/// A day lasts from its first moment to the first moment of the next one: from midnight or, where the clocks skip
/// midnight, from the first time after it; if the clocks show midnight twice, from the first time. A day that a zone
/// skipped has no moment.
#[derive(Debug, Clone, Default)]
pub struct Zone(Option<TimeZone>);

impl Zone {
    /// The zone of an IANA name; UTC if the name is empty. `None` if there is no such zone.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if name.is_empty() {
            return Some(Self::default());
        }
        let (zone, spelt) = named(name)?;
        Some(Self(Some(zone).filter(|_| spelt != "UTC")))
    }

    /// The first moment of a day, which is given in days since 1970-01-01.
    #[must_use]
    pub fn begin_us(&self, day: i64) -> Micros {
        let plain = day.saturating_mul(DAY_US);
        let Some(zone) = &self.0 else {
            return plain;
        };
        first(zone, day).unwrap_or_else(|| {
            // At the ends of the years that the library knows, offsets no longer change.
            let edge = if day < 0 { Timestamp::MIN } else { Timestamp::MAX };
            plain.saturating_sub(i64::from(zone.to_offset(edge).seconds()) * 1_000_000)
        })
    }

    /// The day of a moment, in days since 1970-01-01.
    #[must_use]
    pub fn day(&self, at: Micros) -> i64 {
        let plain = at.div_euclid(DAY_US);
        let Some(zone) = &self.0 else {
            return plain;
        };
        let local = Timestamp::from_microsecond(at).map(|at| zone.to_datetime(at).date());
        let day = local.ok().and_then(to_day).unwrap_or(plain);
        // The clocks may show the end of a day again after the next one has begun.
        day + i64::from(at >= self.begin_us(day + 1))
    }

    /// The moment of another day at which the clocks show the same time. A time that is skipped on that day moves on by
    /// as much as the clocks do; of two such moments, the first.
    #[must_use]
    pub fn on_day(&self, at: Micros, day: i64) -> Micros {
        let days = day - self.day(at);
        let plain = at.saturating_add(days.saturating_mul(DAY_US));
        let Some(zone) = self.0.as_ref().filter(|_| days != 0) else {
            return plain;
        };
        let moved = || {
            let clock = zone.to_datetime(Timestamp::from_microsecond(at).ok()?).time();
            let moved = to_date(day)?.to_datetime(clock).to_zoned(zone.clone()).ok()?;
            Some(moved.timestamp().as_microsecond())
        };
        moved().unwrap_or(plain)
    }
}

fn to_date(day: i64) -> Option<Date> {
    EPOCH.checked_add(Span::new().try_days(day).ok()?).ok()
}

fn to_day(date: Date) -> Option<i64> {
    Some(i64::from(EPOCH.until(date).ok()?.get_days()))
}

fn first(zone: &TimeZone, day: i64) -> Option<Micros> {
    let midnight = to_date(day)?.to_datetime(Time::midnight());
    let offset = match zone.to_ambiguous_timestamp(midnight).offset() {
        AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => offset,
        AmbiguousOffset::Gap { after, .. } => {
            // By the later offset, midnight would be before the clocks change; the day begins when they do.
            let sooner = after.to_timestamp(midnight).ok()?;
            let change = zone.following(sooner).next()?;
            return Some(change.timestamp().as_microsecond());
        }
    };
    Some(offset.to_timestamp(midnight).ok()?.as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn us(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    fn day(text: &str) -> i64 {
        to_day(text.parse().unwrap()).unwrap()
    }

    #[test]
    fn days_begin_when_the_clocks_say_so() {
        for (zone, date, begin) in [
            ("", "2026-03-29", "2026-03-29T00:00:00Z"),
            ("UTC", "2026-03-29", "2026-03-29T00:00:00Z"),
            ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00:00Z"),
            // A day of 23 hours, and one of 25.
            ("Europe/Berlin", "2026-03-30", "2026-03-29T22:00:00Z"),
            ("Europe/Berlin", "2025-10-26", "2025-10-25T22:00:00Z"),
            ("Europe/Berlin", "2025-10-27", "2025-10-26T23:00:00Z"),
            ("Asia/Kathmandu", "2026-01-01", "2025-12-31T18:15:00Z"),
            // Midnight is skipped: the day begins at 01:00, or at 00:30.
            ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z"),
            ("America/Toronto", "1919-03-31", "1919-03-31T04:30:00Z"),
            // Midnight comes twice.
            ("America/Havana", "2025-11-02", "2025-11-02T04:00:00Z"),
            // A day that was skipped is empty.
            ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z"),
            ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00Z"),
            // At the ends of the years.
            ("Asia/Tokyo", "9999-12-31", "9999-12-30T15:00:00Z"),
        ] {
            let begin_us = Zone::parse(zone).unwrap().begin_us(day(date));
            assert_eq!(begin_us, us(begin), "{zone} {date}");
        }
        let last = Zone::parse("America/New_York")
            .unwrap()
            .begin_us(day("9999-12-31"));
        assert_eq!(last, day("9999-12-31") * DAY_US + 5 * 3_600_000_000);
        for unknown in ["Mars", "Europe", "+02:00", "Etc/Unknown", " "] {
            assert!(Zone::parse(unknown).is_none(), "{unknown}");
        }
    }

    #[test]
    fn the_same_time_of_another_day() {
        let zone = Zone::parse("Europe/Berlin").unwrap();
        for (at, date, same) in [
            ("2026-07-01T10:00:00Z", "2026-01-01", "2026-01-01T11:00:00Z"),
            ("2026-03-28T01:30:00Z", "2026-03-29", "2026-03-29T01:30:00Z"),
            ("2025-10-25T00:30:00Z", "2025-10-26", "2025-10-26T00:30:00Z"),
            // The second 02:30 of a day stays what it is.
            ("2025-10-26T01:30:00Z", "2025-10-26", "2025-10-26T01:30:00Z"),
        ] {
            assert_eq!(zone.on_day(us(at), day(date)), us(same), "{at} {date}");
        }
        assert_eq!(Zone::default().on_day(DAY_US + 5, 9), 9 * DAY_US + 5);
    }

    proptest! {
        /// Every moment is in exactly the day that it is said to be in.
        #[test]
        fn days_join(
            at in -62_000_000_000_i64..200_000_000_000,
            zone in prop::sample::select(vec![
                "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "America/St_Johns", "Asia/Kathmandu",
                "Pacific/Apia", "Pacific/Kiritimati", "Africa/Cairo", "Australia/Lord_Howe", "America/Havana", "UTC",
            ]),
        ) {
            let (zone, at) = (Zone::parse(zone).unwrap(), at * 1_000_000);
            let day = zone.day(at);
            prop_assert!(zone.begin_us(day) <= at && at < zone.begin_us(day + 1));
        }
    }
}
