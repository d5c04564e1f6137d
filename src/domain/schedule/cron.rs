//! The times of a cron expression in a time zone.
//!
//! The library evaluates the expression without a time zone; what daylight saving makes of its times is decided here,
//! because libraries differ in it.

use cronexpr::Crontab;
use jiff::{
    Timestamp, ToSpan as _,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};

/// Minutes of a day.
const DAY: i64 = 24 * 60;

/// A cron expression in a time zone.
#[derive(Debug)]
pub(super) struct Cron {
    table: Crontab,
    zone: TimeZone,
    /// The minutes of a day at which it fires, on the days on which it does. Empty if it never fires.
    minutes: Vec<i64>,
    /// It fires in each hour of these days: such a schedule means a pace, others mean times of the day.
    each_hour: bool,
}

impl Cron {
    /// Five fields. The error is the library's reason.
    pub(super) fn parse(expression: &str, zone: TimeZone) -> Result<Self, String> {
        let fields = expression.split_whitespace().count();
        if fields != 5 {
            return Err(format!("it has {fields} fields"));
        }
        // Without a time zone: `UTC` has no daylight saving.
        let table = cronexpr::parse_crontab(&format!("{expression} UTC")).map_err(|error| {
            let text = error.to_string();
            let reason = text.rsplit_once("^ ").map_or(text.as_str(), |(_, reason)| reason);
            reason.trim().to_owned()
        })?;
        let mut cron = Self {
            table,
            zone,
            minutes: Vec::new(),
            each_hour: false,
        };
        cron.minutes = cron.minutes_of_a_day().unwrap_or_default();
        cron.each_hour = (0..24).all(|hour| cron.minutes.iter().any(|minute| minute / 60 == hour));
        Ok(cron)
    }

    /// Whether there is a time at which it fires.
    pub(super) fn fires(&self) -> bool {
        !self.minutes.is_empty()
    }

    /// The shortest time between two of its times, in minutes, the last one of a day and the first one of the next included.
    pub(super) fn shortest_gap(&self) -> i64 {
        let (first, last) = (self.minutes.first(), self.minutes.last());
        let night = first.zip(last).map(|(first, last)| DAY - last + first);
        let gaps = self.minutes.windows(2).map(|pair| pair[1] - pair[0]);
        gaps.chain(night).min().unwrap_or(DAY)
    }

    /// Its first time after another.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match self.each_hour {
            true => self.next_at_a_pace(after),
            false => self.next_on_the_clock(after),
        }
    }

    /// The first local time after another.
    fn next_local(&self, after: DateTime) -> Option<DateTime> {
        let after = after.to_zoned(TimeZone::UTC).ok()?.timestamp();
        Some(self.table.find_next(after).ok()?.datetime())
    }

    fn minutes_of_a_day(&self) -> Option<Vec<i64>> {
        // Any day will do; the search goes on for four years.
        let day = self
            .next_local(DateTime::constant(2026, 1, 1, 0, 0, 0, 0))?
            .date();
        let mut at = day.to_datetime(jiff::civil::Time::midnight());
        at = at.checked_sub(1.minute()).ok()?;
        let mut minutes = Vec::new();
        loop {
            at = match self.next_local(at) {
                Some(next) if next.date() == day => next,
                _ => return Some(minutes),
            };
            minutes.push(i64::from(at.hour()) * 60 + i64::from(at.minute()));
        }
    }

    /// Times of the day: each local time happens once.
    fn next_on_the_clock(&self, after: Timestamp) -> Option<Timestamp> {
        let mut local = self.zone.to_datetime(after);
        loop {
            local = self.next_local(local)?;
            let at = self.instant(local)?;
            if at > after {
                return Some(at);
            }
        }
    }

    /// When the clocks show a time: the first time if they do twice, and the end of the gap if they skip it.
    fn instant(&self, local: DateTime) -> Option<Timestamp> {
        match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok(),
            AmbiguousOffset::Gap { after, .. } => {
                let before_the_gap = after.to_timestamp(local).ok()?;
                Some(self.zone.following(before_the_gap).next()?.timestamp())
            }
        }
    }

    /// A pace, such as each half hour: an hour that is skipped lacks its times, one that happens twice has them twice.
    fn next_at_a_pace(&self, after: Timestamp) -> Option<Timestamp> {
        let (mut from, mut includes_from) = (after, false);
        loop {
            let offset = self.zone.to_offset(from);
            let mut local = offset.to_datetime(from);
            if includes_from {
                local = local.checked_sub(1.second()).ok()?;
            }
            let at = offset.to_timestamp(self.next_local(local)?).ok()?;
            match self.zone.following(from).next() {
                // The clocks change before: from there on with the other offset.
                Some(change) if change.timestamp() <= at => {
                    (from, includes_from) = (change.timestamp(), true);
                }
                _ => return Some(at),
            }
        }
    }
}
