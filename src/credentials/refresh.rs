//! Refreshes: one at a time per credential, over all processes.
//!
//! A refresh is a task of its own, and a shutdown waits for it: the CRM may have replaced the token when the
//! caller disconnects. All attempts of a refresh share one deadline, and its lease is a quarter longer, so
//! two processes never use the same token at the same time.

use super::{Access, Credentials, Error, account_of, deadline, is_dead, refusal, revocation};
use crate::domain::{CredentialId, CredentialState};
use crate::store;
use crate::time::now_us;
use prost::Message as _;
use rand::Rng as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tether_connector_proto::{self as proto, ErrorKind};
use tracing::Instrument as _;

/// Attempts of a credential's first failing refresh, as long as the errors are transient; later refreshes
/// make one attempt each.
const REFRESH_TRIES: u32 = 3;
/// A pause between these attempts that the CRM asks for is cut to this.
const TRY_PAUSE: Duration = Duration::from_secs(5);

impl Credentials {
    /// Replaces the tokens of the generation `refused` by new ones. If another caller has refreshed them
    /// meanwhile, returns those.
    ///
    /// # Errors
    /// [`Error::Revoked`] if the CRM no longer accepts the credential; this is stored and shown by its
    /// integrations. Any other failure revokes nothing: it is stored with the time of the next attempt, and
    /// until then it is returned without a call to the CRM.
    pub async fn refresh(&self, id: CredentialId, refused: i64) -> Result<Access, Error> {
        // A task of its own: if the caller disconnects, the CRM's answer must still be stored, because the
        // old token may be used up.
        let (credentials, under_way) = (self.clone(), Arc::clone(&self.under_way).read_owned().await);
        let task = async move {
            let outcome = credentials.refresh_to_the_end(id, refused).await;
            drop(under_way);
            outcome
        };
        // A spawned task counts as the server's own work: storing a new token must not wait behind its
        // group's calls.
        tokio::spawn(task.in_current_span())
            .await
            .unwrap_or_else(|error| {
                tracing::error!(credential = %id, "the refresh of {id} ended: {error}");
                Err(Error::Busy)
            })
    }

    /// Waits until no refresh is in progress.
    pub async fn settle(&self) {
        drop(self.under_way.write().await);
    }

    async fn refresh_to_the_end(&self, id: CredentialId, refused: i64) -> Result<Access, Error> {
        let begun = Instant::now();
        // No lease is needed while a stored refusal lasts.
        let known = self.store.credential_get(id).await?;
        if known.generation <= refused
            && known.state != CredentialState::Revoked
            && let Some(error) = self.to_wait_for(&known)
        {
            return Err(error);
        }
        // The lease lasts longer than the refresh.
        let lease = self.refresh_timeout + self.refresh_timeout / 4;
        let leased = loop {
            let now = now_us();
            match self
                .store
                .credential_lease(id, &self.owner, now, now + lease.as_micros() as i64)
                .await?
            {
                Some(credential)
                    if credential.generation > refused || credential.state == CredentialState::Revoked =>
                {
                    self.store.credential_release(id, &self.owner).await?;
                    return self.unseal(&credential);
                }
                Some(credential) => match self.to_wait_for(&credential) {
                    Some(error) => {
                        self.store.credential_release(id, &self.owner).await?;
                        return Err(error);
                    }
                    None => break credential,
                },
                None => {
                    let credential = self.store.credential_get(id).await?;
                    if credential.generation > refused || credential.state == CredentialState::Revoked {
                        return self.unseal(&credential);
                    }
                    if begun.elapsed() > lease {
                        return Err(Error::Busy);
                    }
                    let pause = rand::rng().random_range(50..200);
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
            }
        };
        let outcome = self.renew(&leased).await;
        let seconds = begun.elapsed().as_secs_f64();
        let word = match &outcome {
            Ok(_) => "refreshed",
            Err(Error::Revoked { .. }) => "revoked",
            Err(_) => "failed",
        };
        metrics::counter!("tether_grant_refresh_total", "connector" => leased.connector.clone(), "outcome" => word)
            .increment(1);
        metrics::histogram!("tether_grant_refresh_seconds", "connector" => leased.connector.clone())
            .record(seconds);
        if outcome.is_err() {
            self.store.credential_release(id, &self.owner).await?;
        }
        outcome
    }

    /// Refreshes at the CRM and stores the new tokens. The caller holds the lease.
    async fn renew(&self, leased: &store::Credential) -> Result<Access, Error> {
        let connector = self.registry.get(&leased.connector)?;
        let mut access = self.unseal(leased)?;
        let (mut tries, until) = (1, deadline(self.refresh_timeout));
        let answer = loop {
            let request = proto::RefreshRequest {
                connection: Some(access.connection.clone()),
            };
            match connector.refresh(request, until).await {
                Ok(answer) => break answer,
                Err(error) if is_dead(error.kind()) => {
                    return Err(self.lost(leased.id, leased.generation, &error).await?);
                }
                Err(error)
                    if error.kind() == ErrorKind::Transient
                        && tries < REFRESH_TRIES
                        && !leased.refusal.is_some() =>
                {
                    let pause =
                        Duration::from_millis(rand::rng().random_range(500..1_500) * u64::from(tries));
                    let wish = super::retry_after(&error).unwrap_or_default().min(TRY_PAUSE);
                    tracing::info!(credential = %leased.id, tries, "refresh of credential {} will be tried again: {error}", leased.id);
                    tokio::time::sleep(pause.max(wish)).await;
                    tries += 1;
                }
                Err(error) => {
                    return Err(self.failed(leased.id, leased.generation, error).await?.into());
                }
            }
        };
        access.connection.credentials = answer.credentials;
        if !answer.base_url.is_empty() {
            access.connection.base_url = answer.base_url;
        }
        let sealed = self
            .sealer
            .seal(&account_of(leased), &access.connection.encode_to_vec())?;
        // The old token may be used up, so the new one must be stored: retries while the database is busy.
        let stored = loop {
            let attempt = self
                .store
                .credential_store(
                    leased.id,
                    leased.generation,
                    &self.owner,
                    sealed.clone(),
                    &self.sealer.key_id(),
                    &access.connection.base_url,
                    refusal::uncured(),
                    now_us(),
                )
                .await;
            match attempt {
                Err(error) if error.is_retryable() => {
                    tracing::warn!(credential = %leased.id, "new tokens of credential {} not stored yet: {error}", leased.id);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                other => break other,
            }
        };
        match stored {
            Ok(credential) => {
                access.generation = credential.generation;
                Ok(access)
            }
            Err(store::Error::Conflict { .. }) => {
                // A login has replaced the tokens meanwhile: it is kept, and the new token of this refresh is
                // revoked.
                let sealed = self
                    .sealer
                    .seal(&account_of(leased), &access.connection.encode_to_vec())?;
                let new = revocation(leased.id, sealed, self.sealer.key_id());
                self.store.outbox_add(new, now_us()).await?;
                self.open(leased.id).await
            }
            Err(error) => Err(error.into()),
        }
    }
}
