//! Credentials of accounts: sealed in the database, refreshed one at a time, revoked when no integration
//! needs them.
//!
//! The connector calls the CRM; this module stores, locks and decides. A refresh is a write: it takes the
//! lease of the credential's row, reads the row again, calls the CRM without an open transaction, and stores
//! the result by compare-and-swap on the credential's generation before anything uses it.
//!
//! What is sealed is the whole `Connection` (settings, identity, credentials), not the token alone: a
//! revocation after the integration is deleted needs all of it. A login without a browser keeps its
//! parameters there, and its refresh is another login; so there is one kind of stored login, one lease and
//! one limit per account.

mod idle;
mod organization;
pub mod outbox;
mod refresh;
mod refusal;
mod retry;
pub mod rotate;
pub mod seal;

pub use organization::{Answer, Purpose, outcome_of, said};
pub use refusal::{Pauses, lasts, passes, refusal_kind, uncured};

use crate::connectors::{self, Connector, Registry};
use crate::domain::{AllowanceRules, AuthKind, CredentialId, CredentialState, IntegrationId, OverBudget};
use crate::store::{
    self, Breaker, Credential, NewCredential, NewOutbox, OrganizationKey, Rollback, Store, Tx,
};
use crate::time::now_us;
use prost::Message as _;
use seal::Sealer;
use secrecy::ExposeSecret as _;
use std::sync::Arc;
use std::time::Duration;
use tether_connector_proto::{self as proto, Connection, ErrorKind, LoggedIn};
use tokio::sync::{Notify, RwLock};

/// An access token is refreshed this long before its known expiry.
const RENEW_BEFORE_US: i64 = 60_000_000;

/// Why a credential cannot be read, refreshed or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A sealed secret does not open.
    #[error(transparent)]
    Seal(#[from] seal::Error),
    /// The connector, or the CRM through it.
    #[error(transparent)]
    Connector(#[from] connectors::Error),
    /// The CRM no longer accepts the credential.
    #[error("{message}")]
    Revoked {
        /// The reason, a constant such as CREDENTIALS_REVOKED.
        cause: String,
        /// The CRM's own error code; empty unless this call received it.
        code: String,
        /// A sentence for the owner.
        message: String,
    },
    /// Another process has held the refresh lease for longer than a refresh may take.
    #[error("the credentials are being refreshed by another process; try again in a moment")]
    Busy,
    /// The call would use more of the allowance than it may, for this integration.
    #[error("{}", .1.limit)]
    OverBudget(IntegrationId, OverBudget),
}

/// A credential with its tokens unsealed.
#[derive(Clone)]
pub struct Access {
    /// The credential.
    pub credential_id: CredentialId,
    /// The generation of its tokens.
    pub generation: i64,
    /// The tokens, settings and identity, as the connector needs them.
    pub connection: Connection,
    /// The organization of its account.
    pub organization: OrganizationKey,
    /// Whether the CRM refused tokens right after a refresh: an accepted call then has to clear this refusal.
    refused: bool,
}

/// Options of [`Credentials`].
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The time limit of one refresh: long enough for a slow CRM, because a rotated token is lost if its
    /// answer is not awaited.
    pub refresh_timeout: Duration,
    /// The pauses between failed refreshes.
    pub pauses: Pauses,
    /// A login that was not used for so long is refreshed.
    pub refresh_after: Duration,
    /// The pauses while a CRM is down or refuses calls.
    pub breaker: Breaker,
    /// How much of the allowance is used.
    pub allowance: AllowanceRules,
}

/// The credentials of all accounts.
#[derive(Clone)]
pub struct Credentials {
    store: Store,
    registry: Registry,
    sealer: Sealer,
    /// The id of this process in leases.
    owner: String,
    /// Wakes the outbox.
    due: Arc<Notify>,
    refresh_timeout: Duration,
    refresh_after: Duration,
    pauses: Pauses,
    breaker: Breaker,
    allowance: AllowanceRules,
    /// Held for reading by every refresh in progress; [`settle`](Self::settle) waits for all of them.
    under_way: Arc<RwLock<()>>,
}

/// The associated data that an account's sealed secrets are bound to.
fn account(connector: &str, auth: AuthKind, client: &str, organization: &str, user: &str) -> String {
    format!("grant\n{connector}\n{auth}\n{client}\n{organization}\n{user}")
}

fn account_of(credential: &store::Credential) -> String {
    account(
        &credential.connector,
        credential.auth_kind,
        &credential.client_id,
        &credential.organization_id,
        &credential.user_id,
    )
}

impl Credentials {
    /// The credentials of a store.
    #[must_use]
    pub fn new(store: Store, registry: Registry, sealer: Sealer, options: Options) -> Self {
        Self {
            store,
            registry,
            sealer,
            owner: uuid::Uuid::new_v4().to_string(),
            due: Arc::new(Notify::new()),
            refresh_timeout: options.refresh_timeout,
            refresh_after: options.refresh_after,
            pauses: options.pauses,
            breaker: options.breaker,
            allowance: options.allowance,
            under_way: Arc::default(),
        }
    }

    /// Reads and unseals a credential.
    ///
    /// # Errors
    /// The credential does not exist, is revoked, or cannot be unsealed.
    pub async fn open(&self, id: CredentialId) -> Result<Access, Error> {
        let credential = self.store.credential_get(id).await?;
        self.unseal(&credential)
    }

    fn unseal(&self, credential: &store::Credential) -> Result<Access, Error> {
        if credential.state == CredentialState::Revoked {
            return Err(Error::Revoked {
                cause: credential.cause.clone(),
                code: String::new(),
                message: "the CRM does not accept the login any more: log in again".to_owned(),
            });
        }
        let opened = self.sealer.open(&account_of(credential), &credential.sealed)?;
        let connection = Connection::decode(opened.expose_secret()).map_err(|_| seal::Error::Damaged)?;
        Ok(Access {
            credential_id: credential.id,
            generation: credential.generation,
            connection,
            organization: credential.organization(),
            refused: credential.refusal.kind == refusal::uncured(),
        })
    }

    /// Calls the CRM with a credential's tokens, for an integration, if the allowance lets it and the CRM is not known to be down, and
    /// counts its API calls. If the CRM answers that the tokens have expired, they are refreshed and the call is
    /// repeated once. It is never repeated twice, because a refusal that a refresh does not cure would become a
    /// loop.
    ///
    /// # Errors
    /// As the call, or as [`refresh`](Self::refresh); [`Error::OverBudget`]; the CRM of the organization is down or refuses calls.
    pub async fn call<T, F, Fut>(&self, of: Purpose, connector: &str, call: F) -> Result<T, Error>
    where
        T: Answer,
        F: Fn(Connector, Connection) -> Fut,
        Fut: Future<Output = Result<T, connectors::Error>>,
    {
        let (connector, id) = (self.registry.get(connector)?, of.credential_id);
        let mut access = self.open(id).await?;
        // Before the refresh, which calls the CRM too.
        let must_probe = self.admits(&of, &access.organization).await?;
        let mut refreshed = false;
        let (ends, now) = (access.ends_us(), now_us());
        if ends != 0 && ends < now + RENEW_BEFORE_US {
            match self.refresh(id, access.generation).await {
                Ok(renewed) => (access, refreshed) = (renewed, true),
                // A token that is still valid is used although its refresh failed.
                Err(Error::Connector(_)) if ends > now => {}
                Err(error) => return Err(error),
            }
        }
        loop {
            // Right before the call: nothing else may use the probe up.
            let probe = match must_probe {
                true => self.probe(&access.organization).await?,
                false => None,
            };
            let begin_us = now_us();
            let ended = call(connector.clone(), access.connection.clone()).await;
            self.count(&of, &access.organization, &ended).await;
            self.concluded(&of, &access.organization, begin_us, &ended)
                .await?;
            if let Some(probe) = probe {
                probe.end().await;
            }
            match ended {
                Err(error) if error.kind() == ErrorKind::CredentialsExpired && !refreshed => {
                    access = self.refresh(id, access.generation).await?;
                    refreshed = true;
                }
                Err(error) => return Err(self.refused(id, access.generation, error).await?),
                Ok(answer) => {
                    if access.refused {
                        self.store.credential_accepted(id, access.generation).await?;
                    }
                    return Ok(answer);
                }
            }
        }
    }

    /// Handles the error of a call that no refresh cures. A revoked or suspended login revokes the
    /// credential. Tokens that are refused as expired right after a refresh are not refreshed again before a
    /// pause. `used_generation` is the generation of the [`Access`] that the call used. Returns the error for
    /// the caller.
    ///
    /// # Errors
    /// The database.
    pub async fn refused(
        &self,
        id: CredentialId,
        used_generation: i64,
        error: connectors::Error,
    ) -> Result<Error, Error> {
        match error.kind() {
            kind if is_dead(kind) => self.lost(id, used_generation, &error).await,
            ErrorKind::CredentialsExpired => Ok(self.failed(id, used_generation, error).await?.into()),
            _ => Ok(error.into()),
        }
    }

    /// Revokes a credential that the CRM no longer accepts; its integrations then need a new login.
    async fn lost(
        &self,
        id: CredentialId,
        used_generation: i64,
        error: &connectors::Error,
    ) -> Result<Error, Error> {
        let cause = if error.kind() == ErrorKind::Suspended {
            "ACCOUNT_SUSPENDED"
        } else {
            "CREDENTIALS_REVOKED"
        };
        let message = message(error);
        let revoked = self
            .store
            .credential_revoked(id, used_generation, cause, &message, now_us())
            .await?;
        if revoked.revoked {
            tracing::warn!(
                credential = %id,
                integrations = revoked.integrations.len(),
                "credential {id} is not accepted any more ({cause}); its integrations need a login: {message}"
            );
        }
        Ok(Error::Revoked {
            cause: cause.to_owned(),
            code: error
                .failed()
                .map(|failed| failed.code.clone())
                .unwrap_or_default(),
            message,
        })
    }

    /// Seals the result of a login for [`put`](Self::put).
    ///
    /// # Errors
    /// The secret cannot be sealed.
    pub fn login(
        &self,
        connector: &str,
        client_id: &str,
        auth_kind: AuthKind,
        connection: Connection,
    ) -> Result<Login, Error> {
        let identity = connection.identity.clone().unwrap_or_default();
        let account = account(
            connector,
            auth_kind,
            client_id,
            &identity.organization_id,
            &identity.user_id,
        );
        let sealed = self.sealer.seal(&account, &connection.encode_to_vec())?;
        let refreshable = connection
            .credentials
            .as_ref()
            .is_some_and(|c| !c.refresh_token.is_empty());
        let new = NewCredential {
            connector: connector.to_owned(),
            auth_kind,
            client_id: client_id.to_owned(),
            organization_id: identity.organization_id,
            user_id: identity.user_id,
            organization_name: identity.organization_name,
            username: identity.username,
            user_display_name: identity.user_display_name,
            base_url: connection.base_url.clone(),
            sealed,
            key_id: self.sealer.key_id(),
            refreshable,
        };
        Ok(Login {
            new,
            account,
            connection,
        })
    }

    /// Stores the result of an integration's login. Of two tokens of one account, the one that is not kept is
    /// revoked through the outbox, in the same transaction.
    ///
    /// # Errors
    /// The database, or the sealing.
    pub fn put(
        &self,
        tx: &mut Tx<'_>,
        of: IntegrationId,
        login: Login,
    ) -> Result<Credential, Rollback<Error>> {
        let Login {
            new,
            account,
            connection,
        } = login;
        let before = tx.integration_lock(of)?.credential_id;
        let put = tx.credential_put(new, before, now_us())?;
        if !put.stored {
            let sealed = self
                .sealer
                .seal(&account_of(&put.credential), &connection.encode_to_vec())
                .map_err(|error| Rollback::By(error.into()))?;
            tx.outbox_add(
                revocation(put.credential.id, sealed, self.sealer.key_id()),
                now_us(),
            )?;
        }
        if let Some((sealed, key_id)) = put.replaced
            && !self.same_token(&account, &sealed, &connection)
        {
            tx.outbox_add(revocation(put.credential.id, sealed, key_id), now_us())?;
        }
        Ok(put.credential)
    }

    /// Some CRMs answer a second login with the token of the first: revoking it would end both.
    fn same_token(&self, account: &str, sealed: &[u8], connection: &Connection) -> bool {
        let old = self.sealer.open(account, sealed).ok();
        let old = old.and_then(|old| Connection::decode(old.expose_secret()).ok());
        let token = |of: &Connection| {
            let all = of.credentials.as_ref()?;
            let token = match all.refresh_token.is_empty() {
                true => &all.access_token,
                false => &all.refresh_token,
            };
            (!token.is_empty()).then(|| token.clone())
        };
        old.as_ref()
            .and_then(token)
            .is_some_and(|old| Some(old) == token(connection))
    }

    /// Revokes the tokens of a login that is refused, without having stored them, unless the account's
    /// credential uses the same token.
    ///
    /// # Errors
    /// The database, or the sealing.
    pub async fn refuse(
        &self,
        connector: &str,
        client_id: &str,
        auth_kind: AuthKind,
        connection: &Connection,
    ) -> Result<(), Error> {
        let identity = connection.identity.clone().unwrap_or_default();
        let account = account(
            connector,
            auth_kind,
            client_id,
            &identity.organization_id,
            &identity.user_id,
        );
        let known = self
            .store
            .credential_of_account(
                connector,
                auth_kind,
                client_id,
                &identity.organization_id,
                &identity.user_id,
            )
            .await?;
        if let Some(credential) = known
            && credential.state == CredentialState::Live
            && self.same_token(&account, &credential.sealed, connection)
        {
            return Ok(());
        }
        let sealed = self.sealer.seal(&account, &connection.encode_to_vec())?;
        self.store
            .outbox_add(revocation(account, sealed, self.sealer.key_id()), now_us())
            .await?;
        Ok(())
    }
}

/// An outbox entry that revokes a token.
fn revocation(subject: impl ToString, sealed: Vec<u8>, key_id: String) -> NewOutbox {
    NewOutbox {
        kind: crate::domain::OutboxKind::Revoke,
        subject: subject.to_string(),
        detail: "{}".to_owned(),
        sealed,
        key_id,
    }
}

/// The sealed result of a login, before it is stored.
pub struct Login {
    new: NewCredential,
    account: String,
    connection: Connection,
}

impl Access {
    /// When the access token expires, in microseconds since the epoch; 0 if unknown.
    fn ends_us(&self) -> i64 {
        self.connection
            .credentials
            .as_ref()
            .map_or(0, |credentials| credentials.expires_us)
    }
}

/// The deadline of a call that may take this long.
#[must_use]
pub fn deadline(within: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + within
}

/// The maximum length of a connector's message, in characters.
const MESSAGE_LENGTH: usize = 500;

/// The message of a connector's error for the integration's owner: one line, cut at 500 characters, without
/// invisible and bidirectional control characters.
#[must_use]
pub fn message(error: &connectors::Error) -> String {
    let invisible = |c: &char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let words = words(error);
    let plain = words.chars().map(|c| if c.is_whitespace() { ' ' } else { c });
    let mut plain = plain.filter(|c| !invisible(c));
    let mut shown: String = plain.by_ref().take(MESSAGE_LENGTH).collect();
    if plain.next().is_some() {
        shown.push('…');
    }
    shown
}

fn words(error: &connectors::Error) -> String {
    match error.failed() {
        Some(failed) if failed.message.is_empty() => {
            format!(
                "the connector {} gave no reason ({})",
                error.connector(),
                failed.label()
            )
        }
        Some(failed) => failed.message.clone(),
        None => error.to_string(),
    }
}

/// How long a connector asks to wait before the next attempt.
#[must_use]
pub fn retry_after(error: &connectors::Error) -> Option<Duration> {
    match error {
        connectors::Error::Poisoned { retry_after, .. } => Some(*retry_after),
        connectors::Error::Failed { error, .. } if error.retry_us > 0 => {
            Some(Duration::from_micros((error.retry_us - now_us()).max(0) as u64))
        }
        _ => None,
    }
}

/// Whether the connector cannot be called now: it is unknown, unusable, poisoned or its process has ended.
#[must_use]
pub fn is_unavailable(error: &connectors::Error) -> bool {
    use connectors::Error as E;
    matches!(
        error,
        E::Unknown { .. } | E::Unusable { .. } | E::Poisoned { .. } | E::Lost(_)
    )
}

fn is_dead(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::CredentialsRevoked | ErrorKind::Suspended)
}

/// The `Connection` of a new login, as connectors receive it.
#[must_use]
pub fn connection(
    settings: &std::collections::BTreeMap<String, String>,
    auth_kind: AuthKind,
    logged_in: LoggedIn,
) -> Connection {
    Connection {
        settings: settings
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        auth_kind: auth_kind_proto(auth_kind) as i32,
        credentials: logged_in.credentials,
        base_url: logged_in.base_url,
        identity: logged_in.identity,
    }
}

/// Converts a login method to the connector protocol.
#[must_use]
pub fn auth_kind_proto(kind: AuthKind) -> proto::AuthKind {
    match kind {
        AuthKind::AuthorizationCode => proto::AuthKind::AuthorizationCode,
        AuthKind::ClientCredentials => proto::AuthKind::ClientCredentials,
        AuthKind::JwtBearer => proto::AuthKind::JwtBearer,
        AuthKind::ApiKey => proto::AuthKind::ApiKey,
    }
}
