//! Schedules in requests and answers.

use super::validate;
use crate::domain::{Schedule, ScheduleSpec};
use crate::error::Error;
use crate::proto::v1;

/// The maximum length of a cron expression, in characters.
const CRON_LENGTH: usize = 100;

/// The schedule that a request describes; every hour if it has none. `path` is the path of the schedule in the request.
pub fn read(path: &str, wanted: Option<&v1::SyncSchedule>) -> Result<Schedule, Error> {
    let Some(wanted) = wanted else {
        return Ok(Schedule::hourly());
    };
    validate::text(&format!("{path}.cron"), &wanted.cron, CRON_LENGTH)?;
    validate::text(
        &format!("{path}.time_zone"),
        &wanted.time_zone,
        validate::ZONE_LENGTH,
    )?;
    if wanted.manual_only {
        return Ok(Schedule::manual());
    }
    let refused = |field: &str, why: &str| Err(Error::invalid(format!("{path}.{field}"), why));
    let schedule = match (&wanted.interval, wanted.cron.as_str()) {
        (Some(_), cron) if !cron.is_empty() => {
            return refused("cron", "give either interval or cron");
        }
        (_, "") if !wanted.time_zone.is_empty() => {
            return refused("time_zone", "is for cron only: leave it empty, or give cron too");
        }
        (None, "") => return Ok(Schedule::hourly()),
        (Some(interval), _) => Schedule::every(interval.seconds, interval.nanos),
        (None, cron) => Schedule::cron(cron, &wanted.time_zone),
    };
    schedule.map_err(|unfit| Error::invalid(format!("{path}.{}", unfit.field), unfit.why))
}

/// A schedule as callers see it.
pub fn message(of: &Schedule) -> v1::SyncSchedule {
    let mut schedule = v1::SyncSchedule::default();
    match of.spec() {
        ScheduleSpec::Manual => schedule.manual_only = true,
        ScheduleSpec::Every { minutes } => {
            schedule.interval = Some(prost_types::Duration {
                seconds: minutes * 60,
                nanos: 0,
            });
        }
        ScheduleSpec::Cron {
            expression,
            time_zone,
        } => {
            schedule.cron.clone_from(expression);
            schedule.time_zone.clone_from(time_zone);
        }
    }
    schedule
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_comes_back_as_it_was_sent() {
        let interval = |seconds| v1::SyncSchedule {
            interval: Some(prost_types::Duration { seconds, nanos: 0 }),
            ..Default::default()
        };
        let manual = v1::SyncSchedule {
            manual_only: true,
            ..Default::default()
        };
        let cron = v1::SyncSchedule {
            cron: "30 6 * * 1-5".to_owned(),
            time_zone: "Europe/Berlin".to_owned(),
            ..Default::default()
        };
        for sent in [interval(300), interval(2_592_000), manual.clone(), cron.clone()] {
            assert_eq!(message(&read("schedule", Some(&sent)).unwrap()), sent);
        }
        // What is not set is every hour.
        for nothing in [None, Some(&v1::SyncSchedule::default())] {
            assert_eq!(message(&read("schedule", nothing).unwrap()), interval(3_600));
        }
        // The rest is ignored.
        let with_rest = v1::SyncSchedule {
            manual_only: true,
            ..cron
        };
        assert_eq!(message(&read("schedule", Some(&with_rest)).unwrap()), manual);
    }

    #[test]
    fn a_part_that_does_not_fit_is_named() {
        let refused = |schedule: v1::SyncSchedule| {
            let error = read("integration.schedule", Some(&schedule)).unwrap_err();
            error.message.split(':').next().unwrap_or_default().to_owned()
        };
        let interval = Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        });
        let cron = "0 6 * * *".to_owned();
        let some = v1::SyncSchedule::default;
        assert_eq!(
            refused(v1::SyncSchedule { interval, ..some() }),
            "integration.schedule.interval"
        );
        let both = v1::SyncSchedule {
            interval,
            cron: cron.clone(),
            ..some()
        };
        assert_eq!(refused(both), "integration.schedule.cron");
        let zone = v1::SyncSchedule {
            time_zone: "UTC".to_owned(),
            ..some()
        };
        assert_eq!(refused(zone), "integration.schedule.time_zone");
        let zone = v1::SyncSchedule {
            cron,
            time_zone: "Mars".to_owned(),
            ..some()
        };
        assert_eq!(refused(zone), "integration.schedule.time_zone");
    }
}
