//! What a stored refusal means: whether it lasts, and how long to wait before the next attempt.

use crate::store::Refusal;
use std::time::Duration;
use tether_connector_proto::ErrorKind;

/// Each failure multiplies the pause by this factor.
const GROWTH: i64 = 3;
/// The longest pause after a temporary failure.
const LONGEST_PASSING: Duration = Duration::from_secs(900);
/// Failures at least this close together form one series.
const FORGET: Duration = Duration::from_secs(3_600);
/// After this many failures in a row, a refusal that is neither temporary nor an administrator's counts as
/// lasting.
const LASTING: i64 = 3;

/// The kind of a refusal of tokens that had just been refreshed: another refresh does not cure it, and its pause ends it.
#[must_use]
pub fn uncured() -> &'static str {
    ErrorKind::CredentialsExpired.as_str_name()
}

/// The pauses between failed refreshes.
#[derive(Debug, Clone, Copy)]
pub struct Pauses {
    /// The pause after the first failure.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Pauses {
    /// The pause before the next attempt, in microseconds, after `count` failures in a row. Up to a fifth is
    /// subtracted at random.
    pub(super) fn after(self, kind: ErrorKind, count: i64) -> i64 {
        let longest = match passes(kind) {
            true => self.longest.min(LONGEST_PASSING),
            false => self.longest,
        };
        let (first, longest) = (self.first.as_micros() as i64, longest.as_micros() as i64);
        let growth = GROWTH.saturating_pow(u32::try_from(count - 1).unwrap_or(0));
        let pause = first.saturating_mul(growth).min(longest.max(first));
        pause - rand::Rng::random_range(&mut rand::rng(), 0..=pause / 5)
    }

    /// Failures further apart than this, in microseconds, belong to different series.
    pub(super) fn forget(self) -> i64 {
        (2 * self.longest.max(self.first)).max(FORGET).as_micros() as i64
    }
}

/// Whether errors of this kind are temporary: they usually end without an action.
#[must_use]
pub fn passes(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Transient
            | ErrorKind::RateLimited
            | ErrorKind::AllowanceExhausted
            | ErrorKind::DeadlineExceeded
            | ErrorKind::Cancelled
            | ErrorKind::CredentialsExpired
    )
}

/// The kind of a stored refusal; `None` without one. A refusal of tokens that had just been refreshed ends
/// with its pause, because only another call can show whether the CRM accepts them.
#[must_use]
pub fn refusal_kind(of: &Refusal, now_us: i64) -> Option<ErrorKind> {
    let kind = ErrorKind::from_str_name(&of.kind)?;
    (kind != ErrorKind::CredentialsExpired || of.next_try_us > now_us).then_some(kind)
}

/// Whether a refusal lasts until somebody acts: `ADMIN_ACTION` at once, any other that is not temporary after
/// three failures in a row.
#[must_use]
pub fn lasts(of: &Refusal, now_us: i64) -> bool {
    refusal_kind(of, now_us)
        .is_some_and(|kind| kind == ErrorKind::AdminAction || (!passes(kind) && of.count >= LASTING))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_growing() {
        let pauses = Pauses {
            first: Duration::from_secs(5),
            longest: Duration::from_secs(3_600),
        };
        let seconds = |kind, count| pauses.after(kind, count) / 1_000_000;
        for (count, least, most) in [
            (1, 4, 5),
            (2, 12, 15),
            (3, 36, 45),
            (7, 2_880, 3_600),
            (400, 2_880, 3_600),
        ] {
            for _ in 0..50 {
                let pause = seconds(ErrorKind::AdminAction, count);
                assert!((least..=most).contains(&pause), "{count}: {pause}");
            }
        }
        assert!(seconds(ErrorKind::Transient, 40) <= 900);
        // A first pause that exceeds the longest one is kept.
        let long = Pauses {
            first: Duration::from_secs(3_600),
            longest: Duration::from_secs(60),
        };
        assert!(long.after(ErrorKind::Transient, 9) >= 2_880_000_000);
    }

    #[test]
    fn what_lasts_is_what_somebody_has_to_undo() {
        let refusal = |kind: ErrorKind, count| Refusal {
            kind: kind.as_str_name().to_owned(),
            count,
            next_try_us: 10,
            ..Refusal::default()
        };
        assert!(lasts(&refusal(ErrorKind::AdminAction, 1), 0));
        assert!(!lasts(&refusal(ErrorKind::Configuration, 2), 0));
        assert!(lasts(&refusal(ErrorKind::Configuration, 3), 0));
        assert!(!lasts(&refusal(ErrorKind::Transient, 300), 0));
        assert!(!lasts(&Refusal::default(), 0));
        let uncured = refusal(ErrorKind::CredentialsExpired, 9);
        assert_eq!(refusal_kind(&uncured, 9), Some(ErrorKind::CredentialsExpired));
        assert_eq!(refusal_kind(&uncured, 10), None);
    }
}
