//! Decides how a sync reacts to an error of a connector: whether it retries, how often, after which pause, and which
//! error reason it reports.

use std::time::Duration;
use tether_connector_proto::ErrorKind;

/// What an error of a connector means for a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Temporary: wait and continue.
    Passing,
    /// A limit of the CRM, for the number of calls a day or at a time: wait until it allows calls again, without a limit on
    /// attempts.
    Patience,
    /// An unknown error: retry a few times, then treat it as final.
    Unknown,
    /// The credentials no longer work.
    Dead,
    /// A retry would fail in the same way.
    Final,
}

impl Verdict {
    pub(super) fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Transient
            | ErrorKind::CursorGone
            | ErrorKind::DeadlineExceeded
            | ErrorKind::Cancelled
            | ErrorKind::CredentialsExpired => Self::Passing,
            ErrorKind::RateLimited | ErrorKind::AllowanceExhausted => Self::Patience,
            ErrorKind::Bug | ErrorKind::Unspecified => Self::Unknown,
            ErrorKind::CredentialsRevoked | ErrorKind::Suspended => Self::Dead,
            ErrorKind::AdminAction
            | ErrorKind::Forbidden
            | ErrorKind::FieldGone
            | ErrorKind::ObjectGone
            | ErrorKind::RecordGone
            | ErrorKind::QueryTooBig
            | ErrorKind::InvalidInput
            | ErrorKind::Configuration
            | ErrorKind::Unsupported
            | ErrorKind::ReadOnly => Self::Final,
        }
    }

    /// Whether a retry may succeed.
    pub(super) fn passes(self) -> bool {
        matches!(self, Self::Passing | Self::Patience | Self::Unknown)
    }
}

/// Maximum attempts after an unknown error of a sync or an object; for an object, after any error.
pub(super) const FEW_TRIES: i64 = 3;

/// The pause after this many consecutive attempts: three times longer each time, from `first` up to ten minutes, with
/// a random variation of a quarter, so that syncs that failed together do not retry together.
pub(super) fn pause(first: Duration, tries: i64, chance: f64) -> Duration {
    const LONGEST: Duration = Duration::from_secs(600);
    let power = u32::try_from(tries.clamp(1, 17) - 1).unwrap_or_default();
    let pause = first.saturating_mul(3_u32.saturating_pow(power)).min(LONGEST);
    pause.mul_f64(0.75 + chance.clamp(0.0, 1.0) / 2.0)
}

/// The wait after an error for which the CRM named this wait, if any. Waits for a limit are no tries, so nothing else ends
/// them: a CRM that names none, or one that is over already, is not called again at once.
pub(super) fn wait_for_limit(
    kind: ErrorKind,
    named: Option<Duration>,
    waits: i64,
    chance: f64,
) -> Option<Duration> {
    const SHORTEST: Duration = Duration::from_millis(500);
    const ALLOWANCE: Duration = Duration::from_secs(60);
    match kind {
        ErrorKind::RateLimited => {
            let real = named.filter(|named| *named >= SHORTEST);
            Some(real.unwrap_or_else(|| limit_pause(waits, chance)))
        }
        ErrorKind::AllowanceExhausted => named.map(|named| match named < SHORTEST {
            true => ALLOWANCE,
            false => named,
        }),
        _ => named,
    }
}

/// The pause after a limit for calls at a time whose end the CRM does not name: seconds, up to a minute.
fn limit_pause(waits: i64, chance: f64) -> Duration {
    const FIRST: Duration = Duration::from_secs(5);
    const LONGEST: Duration = Duration::from_secs(60);
    pause(FIRST, waits, chance).min(LONGEST)
}

/// The name in `tether.v1.ErrorReason` for an error kind of the connector.
pub(super) fn reason(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::CredentialsRevoked => "CREDENTIALS_REVOKED",
        ErrorKind::Suspended => "ACCOUNT_SUSPENDED",
        ErrorKind::AdminAction => "CRM_ADMIN_ACTION_NEEDED",
        ErrorKind::Forbidden | ErrorKind::ObjectGone => "CRM_FORBIDDEN",
        ErrorKind::RateLimited => "CRM_RATE_LIMITED",
        ErrorKind::AllowanceExhausted => "CRM_ALLOWANCE_EXHAUSTED",
        ErrorKind::Configuration => "CONNECTOR_MISCONFIGURED",
        // If a token expires repeatedly although it is refreshed each time, the CRM has a problem. The login is still
        // valid: otherwise the refresh would have failed.
        ErrorKind::Transient
        | ErrorKind::CursorGone
        | ErrorKind::DeadlineExceeded
        | ErrorKind::Cancelled
        | ErrorKind::CredentialsExpired => "CRM_UNAVAILABLE",
        _ => "CONNECTOR_FAULT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_ten_minutes() {
        let first = Duration::from_secs(1);
        let pauses: Vec<u64> = (1..=9).map(|tries| pause(first, tries, 0.5).as_secs()).collect();
        assert_eq!(pauses, [1, 3, 9, 27, 81, 243, 600, 600, 600]);
        assert_eq!(pause(first, 0, 0.5), first);
        assert_eq!(pause(first, i64::MAX, 1.0).as_secs(), 750);
        assert_eq!(pause(first, 2, 0.0).as_millis(), 2_250);
        let limits: Vec<u64> = (1..=5).map(|waits| limit_pause(waits, 0.5).as_secs()).collect();
        assert_eq!(limits, [5, 15, 45, 60, 60]);
    }

    #[test]
    fn a_limit_without_a_real_end_is_waited_for() {
        use ErrorKind::{AllowanceExhausted, RateLimited, Transient};
        let millis = Duration::from_millis;
        let wait = |kind, named: Option<u64>| wait_for_limit(kind, named.map(millis), 1, 0.5);
        for over in [None, Some(0), Some(499)] {
            assert_eq!(wait(RateLimited, over), Some(millis(5_000)), "{over:?}");
        }
        assert_eq!(wait(RateLimited, Some(500)), Some(millis(500)));
        assert_eq!(wait(RateLimited, Some(90_000)), Some(millis(90_000)));
        assert_eq!(wait(AllowanceExhausted, Some(0)), Some(millis(60_000)));
        assert_eq!(wait(AllowanceExhausted, Some(61_000)), Some(millis(61_000)));
        // Tries end a wait of any other kind.
        assert_eq!(wait(Transient, Some(0)), Some(millis(0)));
        assert_eq!(
            (wait(AllowanceExhausted, None), wait(Transient, None)),
            (None, None)
        );
    }

    #[test]
    fn only_what_is_known_to_be_dead_ends_a_login() {
        for number in 0..=40 {
            let Ok(kind) = ErrorKind::try_from(number) else {
                continue;
            };
            let dead = matches!(kind, ErrorKind::CredentialsRevoked | ErrorKind::Suspended);
            assert_eq!(Verdict::of(kind) == Verdict::Dead, dead, "{kind:?}");
            assert_eq!(
                reason(kind) == "CREDENTIALS_REVOKED",
                kind == ErrorKind::CredentialsRevoked
            );
        }
    }
}
