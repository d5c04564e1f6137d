//! The current time in the unit of the database, and read times.

use crate::domain::{ReadClock, ReadTime};
use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The current time in Unix microseconds.
#[must_use]
pub fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The time of a read: from the CRM's clock if it gave one (not 0), else from a clock of this process that is
/// monotonic even if the clock of the host is changed.
#[must_use]
pub fn read_time(crm_us: i64) -> ReadTime {
    static BEGAN: LazyLock<(Instant, i64, ReadClock)> =
        LazyLock::new(|| (Instant::now(), now_us(), ReadClock::of_process(rand::random())));
    if crm_us > 0 {
        return ReadTime::crm(crm_us);
    }
    let (began, began_us, clock) = *BEGAN;
    let since = i64::try_from(began.elapsed().as_micros()).unwrap_or_default();
    ReadTime {
        us: began_us.saturating_add(since),
        clock,
    }
}
