//! Revokes access through a durable outbox: a revocation survives crashes and outages of the CRM, and no
//! caller waits for it.

use super::{Credentials, Error, account_of, deadline, seal};
use crate::domain::{CredentialId, OutboxId};
use crate::store::{Outbox, Revocation};
use crate::time::now_us;
use prost::Message as _;
use secrecy::ExposeSecret as _;
use std::time::Duration;
use tether_connector_proto::{Connection, ErrorKind, RevokeRequest};
use tokio_util::sync::CancellationToken;

const IDLE: Duration = Duration::from_secs(2);
const LEASE_US: i64 = 120_000_000;
const TIMEOUT: Duration = Duration::from_secs(60);
/// The longest pause between attempts. Entries are kept and retried until they succeed.
const LONGEST_PAUSE_US: i64 = 3_600_000_000;

impl Credentials {
    /// Processes the outbox until `stop` is cancelled.
    pub async fn run_outbox(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.tell_one().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!("the outbox waits: {error}"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.due.notified() => {}
                () = tokio::time::sleep(IDLE) => {}
            }
        }
    }

    /// Wakes the outbox and waits at most `patience` until an entry is over; returns its outcome.
    /// # Errors
    /// The database.
    pub async fn given_back(&self, id: OutboxId, patience: Duration) -> Result<Revocation, Error> {
        const LOOK: Duration = Duration::from_millis(50);
        self.due.notify_one();
        let until = tokio::time::Instant::now() + patience;
        loop {
            let outcome = self.store.outbox_outcome(id).await?;
            if outcome != Revocation::Pending || tokio::time::Instant::now() >= until {
                return Ok(outcome);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Processes the entry that has been due the longest; returns false if none is due.
    async fn tell_one(&self) -> Result<bool, Error> {
        let now = now_us();
        let Some(entry) = self
            .store
            .outbox_lease_due(&self.owner, now, now + LEASE_US)
            .await?
        else {
            return Ok(false);
        };
        match self.revoke(&entry).await {
            Ok(outcome) => {
                self.store
                    .outbox_done(entry.id, &self.owner, outcome, now_us())
                    .await?;
                match outcome {
                    Revocation::Impossible => {
                        tracing::info!(outbox = %entry.id, "access cannot be revoked by tether ({})", entry.id);
                    }
                    _ => tracing::info!(outbox = %entry.id, "access was given back ({})", entry.id),
                }
            }
            Err(error) => {
                let pause = 1_000_000_i64
                    .saturating_mul(1 << entry.attempt.clamp(0, 12))
                    .min(LONGEST_PAUSE_US);
                tracing::warn!(outbox = %entry.id, attempt = entry.attempt, "access not given back yet ({}): {error}", entry.id);
                self.store
                    .outbox_retry(entry.id, &self.owner, now_us() + pause, &error.to_string())
                    .await?;
            }
        }
        Ok(true)
    }

    /// Revokes; returns `Done` or `Impossible`.
    async fn revoke(&self, entry: &Outbox) -> Result<Revocation, Error> {
        // The subject is a credential's id or, for a refused login, the account.
        let (account, connector) = match entry.subject.parse::<CredentialId>() {
            Ok(id) => {
                let credential = self.store.credential_get(id).await?;
                (account_of(&credential), credential.connector)
            }
            Err(_) => {
                let connector = entry.subject.split('\n').nth(1).unwrap_or_default().to_owned();
                (entry.subject.clone(), connector)
            }
        };
        let opened = self.sealer.open(&account, &entry.sealed)?;
        let connection = Connection::decode(opened.expose_secret()).map_err(|_| seal::Error::Damaged)?;
        let connector = self.registry.get(&connector)?;
        match connector
            .revoke(
                RevokeRequest {
                    connection: Some(connection),
                },
                deadline(TIMEOUT),
            )
            .await
        {
            Ok(_) => Ok(Revocation::Done),
            Err(error) => match error.kind() {
                // The CRM does not know the token: treated as already revoked.
                ErrorKind::CredentialsRevoked | ErrorKind::Suspended => Ok(Revocation::Done),
                ErrorKind::Unsupported => Ok(Revocation::Impossible),
                _ => Err(error.into()),
            },
        }
    }
}
