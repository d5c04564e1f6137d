//! When something was read from a CRM, and by which clock: what decides between two readings of one record.

use super::Micros;

/// Whose clock a time of reading is of. Times of two clocks say nothing about each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReadClock(i64);

impl ReadClock {
    /// Not known: rows of before clocks were kept.
    pub const UNKNOWN: Self = Self(0);
    /// The CRM's, as its replies tell it.
    pub const CRM: Self = Self(1);

    /// The monotonic clock of one process, which has this number: a random one, so that no two have the same.
    #[must_use]
    pub fn of_process(number: i64) -> Self {
        Self((number & i64::MAX).max(2))
    }

    /// As it is stored.
    #[must_use]
    pub fn number(self) -> i64 {
        self.0
    }

    /// Out of the database.
    #[must_use]
    pub fn from_number(number: i64) -> Self {
        Self(number)
    }
}

/// When something was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadTime {
    /// The moment, by that clock.
    pub us: Micros,
    /// Whose clock.
    pub clock: ReadClock,
}

impl ReadTime {
    /// Longest time from a reading to the moment it is stored. What is said to have been read longer before what is stored
    /// already was not: the clock that said when was put right in between.
    pub const LONGEST: Micros = 24 * 3_600 * 1_000_000;

    /// By the CRM's clock.
    #[must_use]
    pub fn crm(us: Micros) -> Self {
        let clock = ReadClock::CRM;
        Self { us, clock }
    }

    /// Whether this is known to have been read before the other. Where it is not known (two clocks, the same second), it was
    /// not: what arrives later counts.
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
            // A clock that was days ahead.
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
