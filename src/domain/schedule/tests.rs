use jiff::{Timestamp, civil, tz::TimeZone};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

/// An id with the shortest, and one with the longest delay.
fn ids() -> [IntegrationId; 2] {
    [Uuid::nil(), Uuid::max()].map(IntegrationId::from_uuid)
}

fn soon() -> IntegrationId {
    ids()[0]
}

fn us(text: &str) -> Micros {
    text.parse::<Timestamp>().unwrap().as_microsecond()
}

fn text(us: Micros) -> String {
    Timestamp::from_microsecond(us).unwrap().to_string()
}

/// The next times of a schedule, each computed when the one before is reached.
fn times(schedule: &Schedule, from: &str, count: usize) -> Vec<String> {
    let mut now = us(from);
    let next = |_| {
        now = schedule.first(soon(), now).unwrap();
        text(now)
    };
    (0..count).map(next).collect()
}

fn why(refused: Result<Schedule, Unfit>) -> (&'static str, String) {
    let unfit = refused.unwrap_err();
    (unfit.field, unfit.why)
}

#[test]
fn an_interval_counts_from_a_moment_and_has_a_delay() {
    let now = us("2026-11-30T12:00:00Z");
    let [least, most] = ids();
    for (minutes, delay) in [(5, 30), (60, 300), (30 * 24 * 60, 300)] {
        let every = Schedule::every(minutes * 60, 0).unwrap();
        let due = now + minutes * MINUTE_US;
        assert_eq!(every.first(least, now), Some(due));
        let latest = every.first(most, now).unwrap();
        assert!(latest < due + delay * 1_000_000 && latest > due + (delay - 1) * 1_000_000);
        assert_eq!(every.after_end(least, now), Some(due));
        assert_eq!(every.after_run(least, now), Some(due));
    }
    assert_eq!(Schedule::manual().first(least, now), None);
    assert_eq!(Schedule::manual().after_run(least, now), None);
}

#[test]
fn schedules_out_of_bounds_are_refused_with_the_way_out() {
    for (seconds, nanos) in [(0, 0), (-300, 0), (240, 0), (301, 0), (300, 1), (2_592_060, 0)] {
        let (field, why) = why(Schedule::every(seconds, nanos));
        assert_eq!(field, "interval");
        assert!(why.contains("manual_only"), "{why}");
    }
    for often in [
        "* * * * *",
        "*/4 * * * *",
        "0,58 * * * *",
        "1,58 0,23 * * *",
        "*/7 * * * *",
    ] {
        let (field, why) = why(Schedule::cron(often, "UTC"));
        assert_eq!(field, "cron");
        assert!(
            why.contains("at least 5") && why.contains("*/5"),
            "{often}: {why}"
        );
    }
    for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
        let (field, why) = why(Schedule::cron(never, "UTC"));
        assert_eq!(field, "cron");
        assert!(
            why.contains("never fires") && why.contains("manual_only"),
            "{never}: {why}"
        );
    }
    for malformed in [
        "",
        "0 6 * *",
        "0 6 * * * *",
        "0 6 * * * Europe/Berlin",
        "@hourly",
        "60 * * * *",
        "0 24 * * *",
        "0 6 * * 8",
        "a b c d e",
        "H * * * *",
        "0 6 ? * *",
    ] {
        let (field, why) = why(Schedule::cron(malformed, "UTC"));
        assert_eq!(field, "cron");
        assert!(
            why.contains("five fields, for example") && !why.contains('\n'),
            "{malformed}: {why}"
        );
    }
    for zone in ["Mars/Olympus", "Etc/Unknown", "+01:00", "../etc/passwd", "CEST"] {
        let (field, why) = why(Schedule::cron("0 6 * * *", zone));
        assert_eq!(field, "time_zone");
        assert!(why.contains("Europe/Berlin"), "{zone}: {why}");
    }
}

#[test]
fn the_stored_form_comes_back() {
    let cron = Schedule::cron("  30  6 * *  MON-FRI ", "europe/berlin").unwrap();
    assert_eq!(cron.as_str(), "CRON Europe/Berlin 30 6 * * MON-FRI");
    assert_eq!(
        Schedule::cron("0 6 * * *", "").unwrap().as_str(),
        "CRON UTC 0 6 * * *"
    );
    for schedule in [Schedule::manual(), Schedule::hourly(), cron] {
        assert_eq!(schedule.as_str().parse(), Ok(schedule.clone()));
    }
    for bad in ["", "manual", "EVERY", "EVERY x", "CRON", "CRON UTC"] {
        assert!(bad.parse::<Schedule>().is_err(), "{bad}");
    }
}

#[test]
fn what_a_later_version_stored_and_this_one_cannot_read_has_no_next_time() {
    let schedule: Schedule = "CRON Mars/Olympus 0 6 * * *".parse().unwrap();
    assert_eq!(schedule.first(soon(), 0), None);
    let schedule: Schedule = "CRON UTC every morning".parse().unwrap();
    assert_eq!(schedule.first(soon(), 0), None);
}

#[test]
fn a_time_that_the_clocks_skip_runs_at_the_next_one_that_exists() {
    // 2026-03-29: 02:00 CET is followed by 03:00 CEST, at 01:00 UTC.
    let daily = Schedule::cron("30 2 * * *", "Europe/Berlin").unwrap();
    assert_eq!(
        times(&daily, "2026-03-27T12:00:00Z", 4),
        [
            "2026-03-28T01:30:00Z",
            "2026-03-29T01:00:00Z",
            "2026-03-30T00:30:00Z",
            "2026-03-31T00:30:00Z"
        ]
    );
    // 2026-03-08: 02:00 EST is followed by 03:00 EDT, at 07:00 UTC. Two skipped times and the one they move to are one.
    let several = Schedule::cron("0,30 2,3 * * *", "America/New_York").unwrap();
    assert_eq!(
        times(&several, "2026-03-08T06:00:00Z", 3),
        [
            "2026-03-08T07:00:00Z",
            "2026-03-08T07:30:00Z",
            "2026-03-09T06:00:00Z"
        ]
    );
}

#[test]
fn a_time_that_the_clocks_show_twice_runs_once() {
    // 2026-10-25: 03:00 CEST is followed by 02:00 CET, at 01:00 UTC.
    let daily = Schedule::cron("30 2 * * *", "Europe/Berlin").unwrap();
    assert_eq!(
        times(&daily, "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
    // Also for one who looks between the first time and the second.
    assert_eq!(times(&daily, "2026-10-25T01:10:00Z", 1), ["2026-10-26T01:30:00Z"]);
    // 2026-11-01: 02:00 EDT is followed by 01:00 EST, at 06:00 UTC.
    let several = Schedule::cron("0,30 1,2 * * *", "America/New_York").unwrap();
    assert_eq!(
        times(&several, "2026-11-01T04:30:00Z", 5),
        [
            "2026-11-01T05:00:00Z",
            "2026-11-01T05:30:00Z",
            "2026-11-01T07:00:00Z",
            "2026-11-01T07:30:00Z",
            "2026-11-02T06:00:00Z"
        ]
    );
}

#[test]
fn a_pace_goes_on_when_the_clocks_change() {
    for (zone, from) in [
        ("Europe/Berlin", "2026-03-29T00:00:00Z"),
        ("Europe/Berlin", "2026-10-25T00:00:00Z"),
        ("America/New_York", "2026-03-08T06:00:00Z"),
        ("America/New_York", "2026-11-01T05:00:00Z"),
        ("UTC", "2026-06-01T00:00:00Z"),
    ] {
        let schedule = Schedule::cron("*/30 * * * *", zone).unwrap();
        let mut now = us(from);
        for _ in 0..8 {
            let next = schedule.first(soon(), now).unwrap();
            assert_eq!(next - now, 30 * MINUTE_US, "{zone} after {}", text(now));
            now = next;
        }
    }
    // Its days are those of the zone; half a year away, the clocks have changed.
    let new_year = Schedule::cron("0 * 1 1 *", "America/New_York").unwrap();
    assert_eq!(
        times(&new_year, "2026-06-01T00:00:00Z", 1),
        ["2027-01-01T05:00:00Z"]
    );
}

#[test]
fn what_was_missed_counts_once() {
    let daily = Schedule::cron("0 6 * * *", "UTC").unwrap();
    // Three days late, and only then: the next one is tomorrow's.
    let late = us("2026-11-30T07:10:00Z");
    assert_eq!(daily.after_run(soon(), late), Some(us("2026-12-01T06:00:00Z")));
    // So late that the next one is near: that one is left out.
    let late = us("2026-12-01T05:58:00Z");
    assert_eq!(daily.after_run(soon(), late), Some(us("2026-12-02T06:00:00Z")));
    // A schedule that is chosen then has it.
    assert_eq!(daily.first(soon(), late), Some(us("2026-12-01T06:00:00Z")));
    // At the pace of five minutes none is left out, as long as they are noticed in time.
    let often = Schedule::cron("*/5 * * * *", "UTC").unwrap();
    for id in ids() {
        let mut due = often.first(id, late).unwrap();
        for _ in 0..20 {
            let next = often.after_run(id, due + 5_000_000).unwrap();
            assert_eq!(next - due, 5 * MINUTE_US);
            due = next;
        }
    }
}

/// All times of a month, by a clock that jumps from one to the next.
fn month(schedule: &Schedule, id: IntegrationId, from: &str, to: &str) -> Vec<Micros> {
    let (mut now, end) = (us(from), us(to));
    let mut all = Vec::new();
    while let Some(due) = schedule.after_run(id, now).filter(|due| *due < end) {
        all.push(due);
        now = due;
    }
    all
}

#[test]
fn a_month_with_a_change_of_clocks_has_each_working_day_once() {
    for (zone, from, to, expected) in [
        (
            "Europe/Berlin",
            "2026-02-28T23:00:00Z",
            "2026-03-31T22:00:00Z",
            22,
        ),
        (
            "Europe/Berlin",
            "2026-09-30T22:00:00Z",
            "2026-10-31T23:00:00Z",
            22,
        ),
        (
            "America/New_York",
            "2026-03-01T05:00:00Z",
            "2026-04-01T04:00:00Z",
            22,
        ),
        (
            "America/New_York",
            "2026-11-01T04:00:00Z",
            "2026-12-01T05:00:00Z",
            21,
        ),
    ] {
        let schedule = Schedule::cron("15 6 * * 1-5", zone).unwrap();
        let of_the_zone = TimeZone::get(zone).unwrap();
        for id in ids() {
            let all = month(&schedule, id, from, to);
            assert_eq!(all.len(), expected, "{zone} {from}");
            let mut days = std::collections::BTreeSet::new();
            for due in all {
                let local = of_the_zone.to_datetime(Timestamp::from_microsecond(due).unwrap());
                let late = local.time().duration_since(civil::time(6, 15, 0, 0));
                assert!((0..=300).contains(&late.as_secs()), "{local}");
                assert!(local.weekday().to_monday_one_offset() <= 5, "{local}");
                assert!(days.insert(local.date()), "{local}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_next_time_is_after_now_and_not_too_soon(
        minute in prop::sample::select(vec!["0", "30", "*/5", "*/15", "7,22,50", "3-58/5"]),
        hour in prop::sample::select(vec!["*", "2", "1-3", "*/2", "0,23", "2,3"]),
        day in prop::sample::select(vec!["*", "1", "*/2", "28-31"]),
        weekday in prop::sample::select(vec!["*", "1-5", "0", "MON,SUN"]),
        zone in prop::sample::select(vec![
            "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca",
        ]),
        // 2026 to 2030.
        now in 1_767_225_600_000_000_i64..1_893_456_000_000_000,
        id in any::<u128>(),
    ) {
        let id = IntegrationId::from_uuid(Uuid::from_u128(id));
        let schedule = Schedule::cron(&format!("{minute} {hour} {day} * {weekday}"), zone).unwrap();
        let first = schedule.first(id, now).unwrap();
        prop_assert!(first > now);
        prop_assert_eq!(schedule.first(id, now), Some(first));
        let mut due = first;
        for _ in 0..20 {
            let next = schedule.after_run(id, due).unwrap();
            // The delay is less than half a minute where times are five minutes apart.
            prop_assert!(next - due >= 4 * MINUTE_US + MINUTE_US / 2, "{} after {}", text(next), text(due));
            due = next;
        }
        prop_assert!(due - first >= 20 * (5 * MINUTE_US - MINUTE_US / 10), "{} to {}", text(first), text(due));
    }

    #[test]
    fn a_delay_is_at_most_a_tenth_and_five_minutes(id in any::<u128>(), gap in 1_i64..10_000_000_000_000) {
        let id = IntegrationId::from_uuid(Uuid::from_u128(id));
        let delay = delay(id, gap);
        prop_assert!((0..=gap / 10).contains(&delay) && delay <= LONGEST_DELAY_US);
    }
}
