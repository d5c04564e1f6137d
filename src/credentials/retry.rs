//! Failed refreshes: few attempts, with pauses that hold for all replicas; the cause is shown from the first
//! failure on.
//!
//! The CRM counts token requests, and a refusal that an administrator has to undo lasts for days. So a
//! failure is stored in the credential's row with the time of the next attempt; until then every caller gets
//! the stored message instead of another token request. After an administrator has acted, the integration
//! recovers without a user: [`Credentials::run_retries`] makes the attempts that are due.
//!
//! The attempts of all replicas are one series, so a lasting refusal costs few token requests: 5 instead of
//! 53 in the first 100 seconds. Only an administrator's refusal, or any other lasting one three times in a
//! row, pauses an integration; an outage of the CRM must not ask people to act. A refusal is compared with
//! the generation of the credentials that the refused call used: a login in between has replaced them and
//! must not be undone.

use super::{Credentials, Error, is_unavailable, message};
use crate::connectors;
use crate::domain::CredentialId;
use crate::store::{self, NewRefusal, Refusal};
use crate::time::now_us;
use std::time::Duration;
use tether_connector_proto::{self as proto, ErrorKind};
use tokio_util::sync::CancellationToken;

/// Each failure multiplies the pause by this factor.
const GROWTH: i64 = 3;
/// The longest pause after a temporary failure.
const LONGEST_PASSING: Duration = Duration::from_secs(900);
/// Failures at least this close together form one series.
const FORGET: Duration = Duration::from_secs(3_600);
/// How often due attempts are looked for.
const LOOK: Duration = Duration::from_secs(2);
/// The maximum number of attempts that one look starts.
const BATCH: i64 = 20;
/// A retry on request is allowed if the last attempt is at least this many first pauses ago.
const WISH_GAP: u32 = 6;
/// After this many failures in a row, a refusal that is neither temporary nor an administrator's counts as
/// lasting.
const LASTING: i64 = 3;

/// The kind of a refusal of tokens that had just been refreshed: another refresh does not cure it.
pub(super) fn uncured() -> &'static str {
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
    fn after(self, kind: ErrorKind, count: i64) -> i64 {
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
    fn forget(self) -> i64 {
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

/// The error that a stored refusal came from.
fn as_error(connector: &str, of: &Refusal) -> connectors::Error {
    let kind = ErrorKind::from_str_name(&of.kind).unwrap_or(ErrorKind::Transient);
    let error = proto::Error {
        kind: kind.into(),
        message: of.message.clone(),
        code: of.code.clone(),
        retry_us: of.next_try_us,
        ..proto::Error::default()
    };
    connectors::Error::from_connector(connector, error)
}

impl Credentials {
    /// The stored refusal whose pause has not ended, as an error.
    pub(super) fn to_wait_for(&self, credential: &store::Credential) -> Option<Error> {
        let waits = credential.refusal.is_some() && credential.refusal.next_try_us > now_us();
        waits.then(|| as_error(&credential.connector, &credential.refusal).into())
    }

    /// Stores a failure that does not revoke the credential. Returns the error for the caller, with the time
    /// of the next attempt.
    pub(super) async fn failed(
        &self,
        id: CredentialId,
        used_generation: i64,
        error: connectors::Error,
    ) -> Result<connectors::Error, Error> {
        let kind = error.kind();
        if is_unavailable(&error) || kind == ErrorKind::Cancelled {
            // The connector failed, not the credential, and the host has its own pauses for that.
            return Ok(error);
        }
        let code = error.failed().map(|said| said.code.clone()).unwrap_or_default();
        let new = NewRefusal {
            id,
            used_generation,
            kind: kind.as_str_name().to_owned(),
            code,
            message: message(&error),
            now_us: now_us(),
        };
        let (pauses, wish) = (self.pauses, super::retry_after(&error).unwrap_or_default());
        let pause = move |count| pauses.after(kind, count).max(wish.as_micros() as i64);
        let refusal = self.store.credential_refused(new, pauses.forget(), pause).await?;
        tracing::warn!(
            credential = %id,
            failures = refusal.count,
            "credential {id} is refused, the next try is in {:?}: {}",
            Duration::from_micros((refusal.next_try_us - now_us()).max(0) as u64),
            message(&error)
        );
        match error {
            connectors::Error::Failed {
                connector,
                error: mut said,
            } => {
                said.retry_us = refusal.next_try_us;
                Ok(connectors::Error::Failed {
                    connector,
                    error: said,
                })
            }
            other => Ok(other),
        }
    }

    /// Makes a refused credential due for another attempt, on a user's request, unless the last attempt was
    /// less than six first pauses ago.
    ///
    /// # Errors
    /// The database.
    pub async fn try_soon(&self, id: CredentialId) -> Result<(), Error> {
        let gap = (self.pauses.first * WISH_GAP).as_micros() as i64;
        Ok(self.store.credential_try_soon(id, now_us(), gap).await?)
    }

    /// Makes the attempts that are due until `stop` is cancelled. So an integration recovers without a call
    /// after its refusal has been resolved at the CRM.
    pub async fn run_retries(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let due = match self.store.credential_list_due(now_us(), uncured(), BATCH).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::warn!("refused credentials are tried later: {error}");
                    continue;
                }
            };
            for (id, generation) in due {
                if stop.is_cancelled() {
                    return;
                }
                match self.refresh(id, generation).await {
                    Ok(_) => tracing::info!(credential = %id, "credential {id} is accepted again"),
                    // The refresh has stored and logged the error.
                    Err(error) => {
                        tracing::debug!(credential = %id, "credential {id} is still refused: {error}")
                    }
                }
            }
        }
    }
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
