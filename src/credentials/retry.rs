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

use super::refusal::uncured;
use super::{Credentials, Error, is_unavailable, message};
use crate::connectors;
use crate::domain::CredentialId;
use crate::store::{self, NewRefusal, Refusal};
use crate::time::now_us;
use std::time::Duration;
use tether_connector_proto::{self as proto, ErrorKind};
use tokio_util::sync::CancellationToken;

/// How often due attempts are looked for.
const LOOK: Duration = Duration::from_secs(2);
/// The maximum number of attempts that one look starts.
const BATCH: i64 = 20;
/// A retry on request is allowed if the last attempt is at least this many first pauses ago.
const WISH_GAP: u32 = 6;

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
        let code = error
            .failed()
            .map(|failed| failed.code.clone())
            .unwrap_or_default();
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
                error: mut failed,
            } => {
                failed.retry_us = refusal.next_try_us;
                Ok(connectors::Error::Failed {
                    connector,
                    error: failed,
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
