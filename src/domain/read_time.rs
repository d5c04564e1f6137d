//! When a record was read from a CRM, and by which clock. This decides which of two reads of a record is newer.
//!
//! Of two reads of a record the later one wins, whatever the record's own timestamp says: imports keep old
//! timestamps and triggers may not touch them, but what is read now is the record's state now.
//!
//! Only times of the same clock are compared; otherwise the later arrival wins. A host that was two hours
//! ahead once froze rows for two hours, and a rule such as "not in the future" would need a clock to trust. A
//! CRM's dates are whole seconds, so within one second the arrival decides. A time more than a day before the
//! stored one proves nothing even by the same clock: no read takes that long to be stored, so the clock was
//! corrected in between. Connectors give no time while the CRM's clock and theirs are minutes apart (STREAM-15).

use super::Micros;

/// The clock of a read time. Times of two different clocks cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReadClock(i64);

impl ReadClock {
    /// Unknown: the row was stored before clocks were recorded.
    pub const UNKNOWN: Self = Self(0);
    /// The clock of the CRM, as given in its replies.
    pub const CRM: Self = Self(1);

    /// The monotonic clock of one process. The number is random, so that no two processes have the same.
    #[must_use]
    pub fn of_process(number: i64) -> Self {
        Self((number & i64::MAX).max(2))
    }

    /// The number that is stored.
    #[must_use]
    pub fn number(self) -> i64 {
        self.0
    }

    /// The clock for a stored number.
    #[must_use]
    pub fn from_number(number: i64) -> Self {
        Self(number)
    }
}

/// When a record was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadTime {
    /// The time, by that clock.
    pub us: Micros,
    /// The clock.
    pub clock: ReadClock,
}

impl ReadTime {
    /// Maximum time from reading a record to storing it. If a read seems to be older than the stored one by more than
    /// this, the clock was corrected between the two reads, and the comparison is not used.
    pub const LONGEST: Micros = 24 * 3_600 * 1_000_000;

    /// A time by the CRM's clock.
    #[must_use]
    pub fn crm(us: Micros) -> Self {
        let clock = ReadClock::CRM;
        Self { us, clock }
    }

    /// Whether this read is known to be older than the other one. If that is unknown (two clocks, the same second),
    /// it counts as not older: the later arrival is used.
    #[must_use]
    pub fn is_before(self, other: Self) -> bool {
        self.clock == other.clock
            && self.clock != ReadClock::UNKNOWN
            && self.us < other.us
            && other.us.saturating_sub(self.us) <= Self::LONGEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_times_of_one_clock_are_compared() {
        let at = |us, clock| ReadTime { us, clock };
        let (one, other) = (ReadClock::of_process(7), ReadClock::of_process(-7));
        assert_ne!(one, other);
        assert!(ReadTime::crm(1).is_before(ReadTime::crm(2)));
        assert!(at(1, one).is_before(at(2, one)));
        for (a, b) in [
            (ReadTime::crm(2), ReadTime::crm(1)),
            (ReadTime::crm(1), ReadTime::crm(1)),
            (at(1, one), at(2, other)),
            (at(1, one), ReadTime::crm(2)),
            (at(1, ReadClock::UNKNOWN), at(2, ReadClock::UNKNOWN)),
            // The clock was days ahead.
            (ReadTime::crm(1), ReadTime::crm(2 + ReadTime::LONGEST)),
        ] {
            assert!(!a.is_before(b), "{a:?} {b:?}");
        }
        for number in [0, 1, i64::MIN, i64::MAX, -1] {
            let clock = ReadClock::of_process(number);
            assert!(clock != ReadClock::UNKNOWN && clock != ReadClock::CRM, "{number}");
        }
    }
}
