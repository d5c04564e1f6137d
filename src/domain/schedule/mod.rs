//! When an integration syncs by itself.
//!
//! The times are computed from the schedule, the integration's id and a moment, and nothing else: every replica computes the same,
//! and tests need no clock.

mod cron;
#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use diesel::{AsExpression, FromSqlRow, sql_types::Text};
use jiff::Timestamp;

use super::{IntegrationId, Invalid, Micros, text_column, zone};
use cron::Cron;

const MINUTE_US: Micros = 60_000_000;
/// The shortest time between two syncs, in minutes.
const SHORTEST: i64 = 5;
/// The longest interval, in minutes: 30 days. CRMs end logins that are not used for about that long.
const LONGEST: i64 = 30 * 24 * 60;
/// The longest delay that spreads integrations over time.
const LONGEST_DELAY_US: Micros = 5 * MINUTE_US;

/// When an integration syncs by itself.
#[derive(Debug, Clone, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub struct Schedule {
    spec: ScheduleSpec,
    /// The stored form.
    text: String,
}

/// The kinds of schedules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScheduleSpec {
    /// Never by itself.
    Manual,
    /// So long after the end of the last sync.
    Every {
        /// Minutes.
        minutes: i64,
    },
    /// At the times of a cron expression.
    Cron {
        /// Five fields, separated by single blanks.
        expression: String,
        /// The IANA name of the time zone.
        time_zone: String,
    },
}

/// Why a schedule is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct Unfit {
    /// The part: `interval`, `cron` or `time_zone`.
    pub field: &'static str,
    /// What is wrong, and the way out.
    pub why: String,
}

impl Unfit {
    fn of(field: &'static str, why: impl Into<String>) -> Self {
        Self {
            field,
            why: why.into(),
        }
    }
}

impl From<ScheduleSpec> for Schedule {
    fn from(spec: ScheduleSpec) -> Self {
        let text = match &spec {
            ScheduleSpec::Manual => "MANUAL".to_owned(),
            ScheduleSpec::Every { minutes } => format!("EVERY {minutes}"),
            ScheduleSpec::Cron {
                expression,
                time_zone,
            } => format!("CRON {time_zone} {expression}"),
        };
        Self { spec, text }
    }
}

impl Schedule {
    /// Only on request.
    #[must_use]
    pub fn manual() -> Self {
        ScheduleSpec::Manual.into()
    }

    /// Every hour: the schedule of a new integration whose owner chose none.
    #[must_use]
    pub fn hourly() -> Self {
        ScheduleSpec::Every { minutes: 60 }.into()
    }

    /// So long after the end of the last sync: 5 minutes to 30 days, in whole minutes.
    ///
    /// # Errors
    /// [`Unfit`] for another interval.
    pub fn every(seconds: i64, nanos: i32) -> Result<Self, Unfit> {
        let refused = |why: &str| {
            let why = format!("{why}; for syncs on request only, set manual_only");
            Err(Unfit::of("interval", why))
        };
        if seconds % 60 != 0 || nanos != 0 {
            return refused("must be whole minutes");
        }
        match seconds / 60 {
            minutes if minutes < SHORTEST => refused("must be at least 5 minutes (300s)"),
            minutes if minutes > LONGEST => {
                refused("may be at most 30 days (2592000s), because CRMs end logins that are not used")
            }
            minutes => Ok(ScheduleSpec::Every { minutes }.into()),
        }
    }

    /// At the times of a cron expression of five fields, in a time zone; without one in UTC.
    ///
    /// # Errors
    /// [`Unfit`] for an expression that is malformed, never fires or fires more often than every 5 minutes, and for an unknown
    /// time zone.
    pub fn cron(expression: &str, time_zone: &str) -> Result<Self, Unfit> {
        const FORM: &str =
            "five fields, for example `30 6 * * 1-5`: minute, hour, day of month, month, day of week";
        let name = if time_zone.is_empty() { "UTC" } else { time_zone };
        let Some((zone, time_zone)) = zone::named(name) else {
            return Err(Unfit::of("time_zone", zone::NO_ZONE));
        };
        let fields: Vec<&str> = expression.split_whitespace().collect();
        let expression = fields.join(" ");
        let cron = Cron::parse(&expression, zone).map_err(|reason| {
            Unfit::of("cron", format!("is no cron expression ({reason}); it has {FORM}"))
        })?;
        if !cron.fires() {
            let why = "never fires: no date has this day, month and day of week; for syncs on request only, set manual_only";
            return Err(Unfit::of("cron", why));
        }
        let gap = cron.shortest_gap();
        if gap < SHORTEST {
            let why = format!(
                "has times {gap} minutes apart, midnight included; at least 5 are needed: for example `*/5 * * * *`, or an interval"
            );
            return Err(Unfit::of("cron", why));
        }
        Ok(ScheduleSpec::Cron {
            expression,
            time_zone,
        }
        .into())
    }

    /// Its kind.
    #[must_use]
    pub fn spec(&self) -> &ScheduleSpec {
        &self.spec
    }

    /// The stored form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The time of the next sync of an integration whose schedule begins now. `None` if it has none.
    #[must_use]
    pub fn first(&self, id: IntegrationId, now_us: Micros) -> Option<Micros> {
        self.next(id, now_us, now_us)
    }

    /// The time of the sync after one that is queued now. However many times passed before, the next one is in the future, and
    /// about 5 minutes away or more.
    #[must_use]
    pub fn after_run(&self, id: IntegrationId, now_us: Micros) -> Option<Micros> {
        // Two times that are 5 minutes apart must both count, though the first may be noticed up to half a minute late.
        self.next(id, now_us, now_us + SHORTEST * MINUTE_US - MINUTE_US / 2)
    }

    /// The time of the next sync, where it depends on the end of a sync.
    #[must_use]
    pub fn after_end(&self, id: IntegrationId, end_us: Micros) -> Option<Micros> {
        matches!(self.spec, ScheduleSpec::Every { .. })
            .then(|| self.first(id, end_us))
            .flatten()
    }

    /// The first time after `now_us` that is not before `least_us`.
    fn next(&self, id: IntegrationId, now_us: Micros, least_us: Micros) -> Option<Micros> {
        match &self.spec {
            ScheduleSpec::Manual => None,
            ScheduleSpec::Every { minutes } => {
                let interval = minutes * MINUTE_US;
                Some(now_us + interval + delay(id, interval))
            }
            ScheduleSpec::Cron {
                expression,
                time_zone,
            } => {
                let cron = Cron::parse(expression, zone::named(time_zone)?.0).ok()?;
                let mut at = cron.next(Timestamp::from_microsecond(now_us).ok()?)?;
                loop {
                    let following = cron.next(at)?;
                    let gap = following.as_microsecond() - at.as_microsecond();
                    let due = at.as_microsecond() + delay(id, gap);
                    if due >= least_us {
                        return Some(due);
                    }
                    at = following;
                }
            }
        }
    }
}

/// The delay of an integration, so that not all start at the same minute: up to a tenth of the time between two syncs, at most 5
/// minutes; always the same for the same integration.
fn delay(id: IntegrationId, gap: Micros) -> Micros {
    // The end of an id is random.
    let [.., a, b, c, d] = *id.uuid().as_bytes();
    let share = i64::from(u32::from_be_bytes([a, b, c, d]));
    ((gap / 10).min(LONGEST_DELAY_US) * share) >> 32
}

impl FromStr for Schedule {
    type Err = Invalid;

    /// The stored form.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new(text, "a schedule");
        let spec = match text.split_once(' ') {
            None if text == "MANUAL" => ScheduleSpec::Manual,
            Some(("EVERY", minutes)) => ScheduleSpec::Every {
                minutes: minutes.parse().map_err(|_| invalid())?,
            },
            Some(("CRON", rest)) => {
                let (time_zone, expression) = rest.split_once(' ').ok_or_else(invalid)?;
                ScheduleSpec::Cron {
                    expression: expression.to_owned(),
                    time_zone: time_zone.to_owned(),
                }
            }
            _ => return Err(invalid()),
        };
        Ok(spec.into())
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

text_column!(Schedule);
