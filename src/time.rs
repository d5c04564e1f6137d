//! Now, in the one unit of the database, and when something was read.

use crate::domain::{ReadClock, ReadTime};
use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Unix microseconds.
#[must_use]
pub fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The moment of a reading: by the CRM's clock where it told (not 0), else by a clock of this process that never goes back,
/// whatever becomes of the host's.
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
