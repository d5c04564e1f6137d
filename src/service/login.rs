//! Logins: in the browser with state and PKCE, without a browser, and again for an integration that has an
//! account.
//!
//! Several browser logins of an integration may be in progress, at most five: people open two tabs, and a
//! retry after a lost answer must not invalidate the first one. The first that succeeds ends the others. A
//! login locks its integration, then the credentials that it touches in the order of their ids.

use super::account_limit::{ACCOUNT_LIMIT, account_full};
use super::audit::names;
use super::errors::of_integration;
use super::field::logged_in;
use super::view::settings;
use super::{AuditChange, Author, IntegrationView, Services};
use crate::connectors;
use crate::credentials::{self, deadline, seal};
use crate::domain::{
    AuthKind, AuthorizationHash, IntegrationId, IntegrationState, Landing, SyncMode, SyncTrigger,
};
use crate::error::{Detail, Error, Reason, Result, echo};
use crate::store::{
    AttachCredential, Authorization, Conflict, Integration, NewAuthorization, NewSync, Rollback,
};
use crate::time::now_us;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngCore as _;
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tether_connector_proto::{
    self as proto, BeginAuthorizationRequest, ExchangeCodeRequest, Identity, LogInRequest, LoggedIn,
};

/// The parameter that names an app of the customer, by the connector protocol.
const CLIENT_ID: &str = "client_id";
/// The time limit of the CRM for a login.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where the CRM sends the browser after the login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReturnTo {
    /// To this address of the platform, which passes the parameters to CompleteAuthorization.
    Platform(String),
    /// To tether's own page.
    Tether,
}

/// The result of beginning a login.
#[derive(Clone)]
pub struct AuthorizationStarted {
    /// The URL to open in the browser.
    pub url: String,
    /// The `state` parameter of the callback.
    pub state: String,
    /// When the login expires.
    pub expire_us: i64,
}

/// The result of a completed login.
#[derive(Debug, Clone)]
pub struct LoginOutcome {
    /// The integration with its account.
    pub integration: IntegrationView,
    /// Whether the integration had another account before.
    pub account_changed: bool,
}

/// The question of the callback page.
#[derive(Debug, Clone)]
pub struct ConfirmationPrompt {
    /// The connector's name.
    pub connector: String,
    /// The group's name.
    pub group: String,
    /// The integration's name.
    pub integration: String,
    /// The user who began the login.
    pub begun_by: String,
    /// Proves that the page was displayed: only the page contains it.
    pub token: String,
}

/// The parameters of a callback that waits for its confirmation. They are stored sealed.
#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    token: String,
    callback: BTreeMap<String, String>,
}

fn random() -> String {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Only the hash of a state is stored, so that a reader of the database cannot complete a login.
fn hash(state: &str) -> Result<AuthorizationHash> {
    let digest = Sha256::digest(state.as_bytes());
    digest
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>()
        .parse()
        .map_err(Error::internal)
}

fn unknown_state() -> Error {
    Error::new(
        Reason::AuthorizationStateInvalid,
        "this login is not known here, was used already or belongs to somebody else: begin it again",
    )
}

impl Services {
    /// Begins a login in the browser. Other logins of the integration stay valid until the first of them
    /// succeeds.
    ///
    /// # Errors
    /// NOT_FOUND, NOT_OWNER, CONNECTOR_DISABLED, CONNECTOR_UNSUPPORTED, REDIRECT_URI_NOT_ALLOWED, and errors
    /// of the connector.
    pub async fn login_begin(
        &self,
        author: &Author,
        id: IntegrationId,
        return_to: ReturnTo,
        login_hint: &str,
    ) -> Result<AuthorizationStarted> {
        let row = self.owned(author, id).await?;
        self.require_enabled(&row.group_id, &row.connector).await?;
        let (connector, describe) = self.usable(&row.connector)?;
        offers(&describe, &row.connector, proto::AuthKind::AuthorizationCode)?;
        let (landing, redirect_uri) = match return_to {
            ReturnTo::Tether => (Landing::Tether, self.options.callback_url.clone()),
            ReturnTo::Platform(uri) => {
                self.check_redirect(&uri)?;
                (Landing::Platform, uri)
            }
        };
        let (state, verifier) = (random(), random());
        let request = BeginAuthorizationRequest {
            settings: settings(&row)?.into_iter().collect(),
            redirect_uri: redirect_uri.clone(),
            state: state.clone(),
            code_challenge: URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes())),
            login_hint: login_hint.to_owned(),
        };
        let url = connector
            .begin_authorization(request, deadline(TIMEOUT))
            .await?
            .url;
        let (hash, now) = (hash(&state)?, now_us());
        let new = NewAuthorization {
            sealed: self
                .sealer
                .seal(&seal::verifier_of(&hash), verifier.as_bytes())
                .map_err(Error::internal)?,
            key_id: self.sealer.key_id(),
            state_hash: hash,
            integration_id: row.id,
            group_id: row.group_id,
            create_by: author.subject.clone(),
            redirect_uri,
            landing,
            create_us: now,
            expire_us: now + self.options.login_life_us,
        };
        self.change(author, move |tx| {
            tx.authorization_create(new)?;
            Ok(((), Some(AuditChange::of(id.name()))))
        })
        .await?;
        Ok(AuthorizationStarted {
            url,
            state,
            expire_us: now + self.options.login_life_us,
        })
    }

    fn check_redirect(&self, uri: &str) -> Result<()> {
        let on_loopback = || {
            crate::address::plain(uri)
                .is_some_and(|url| url.scheme() == "http" && crate::address::is_loopback(&url))
        };
        if self.options.redirect_uris.iter().any(|allowed| allowed == uri)
            || (self.options.loopback_redirects && on_loopback())
        {
            return Ok(());
        }
        let description = format!(
            "{} is not among the redirect_uris that the operator allows",
            echo(uri)
        );
        Err(Error::new(
            Reason::RedirectUriNotAllowed,
            format!("redirect_uri: {description}"),
        )
        .detail(Detail::Fields(vec![("redirect_uri".to_owned(), description)])))
    }

    /// Completes a login with the parameters that the browser brought to the platform. Only the user who
    /// began it can complete it.
    ///
    /// # Errors
    /// AUTHORIZATION_STATE_INVALID, AUTHORIZATION_EXPIRED, AUTHORIZATION_DENIED, AUTHORIZATION_REJECTED,
    /// DIFFERENT_ORGANIZATION, and errors of the connector.
    pub async fn login_complete(
        &self,
        author: &Author,
        state: &str,
        callback: HashMap<String, String>,
    ) -> Result<LoginOutcome> {
        let row = self.under_way(state).await?;
        let theirs =
            author.group.as_deref() == Some(row.group_id.as_str()) && author.subject == row.create_by;
        if !theirs || row.landing != Landing::Platform {
            return Err(unknown_state());
        }
        let integration = self.owned(author, row.integration_id).await?;
        let (integration, account_changed) = self.exchange(author, row, integration, callback).await?;
        Ok(LoginOutcome {
            integration: self.view(&integration.group_id, integration.id).await?,
            account_changed,
        })
    }

    /// The browser opened tether's own callback page: stores the parameters until the user confirms.
    ///
    /// # Errors
    /// As [`login_complete`](Self::login_complete).
    pub async fn login_arrived(
        &self,
        state: &str,
        callback: BTreeMap<String, String>,
    ) -> Result<ConfirmationPrompt> {
        let row = self.under_way(state).await?;
        if row.landing != Landing::Tether {
            return Err(unknown_state());
        }
        let integration = self.store.integration_get(row.integration_id).await?;
        if callback.contains_key("error") || !callback.contains_key("code") {
            // There is nothing to confirm; the connector explains the error.
            let author = confirmer(&row);
            self.exchange(&author, row, integration, callback.into_iter().collect())
                .await?;
            return Err(unknown_state());
        }
        let group = self.store.group_get(&integration.group_id).await?;
        let (_, describe) = self.usable(&integration.connector)?;
        let kept = Kept {
            token: random(),
            callback,
        };
        let sealed = serde_json::to_vec(&kept).map_err(Error::internal)?;
        let sealed = self
            .sealer
            .seal(&seal::callback_of(&row.state_hash), &sealed)
            .map_err(Error::internal)?;
        match self
            .store
            .authorization_callback(&row.state_hash, sealed, now_us())
            .await
        {
            Ok(_) => {}
            Err(error) if error.is_not_found() => return Err(unknown_state()),
            Err(error) => return Err(error.into()),
        }
        Ok(ConfirmationPrompt {
            connector: describe.display_name,
            group: group.display_name,
            integration: integration.display_name,
            begun_by: row.create_by,
            token: kept.token,
        })
    }

    /// The user confirmed on tether's own callback page. Returns the integration's name.
    ///
    /// # Errors
    /// As [`login_complete`](Self::login_complete).
    pub async fn login_confirmed(&self, state: &str, token: &str) -> Result<String> {
        let row = self.under_way(state).await?;
        let sealed = row
            .callback
            .as_deref()
            .filter(|_| row.landing == Landing::Tether)
            .ok_or_else(unknown_state)?;
        let opened = self
            .sealer
            .open(&seal::callback_of(&row.state_hash), sealed)
            .map_err(Error::internal)?;
        let kept: Kept = serde_json::from_slice(opened.expose_secret()).map_err(Error::internal)?;
        // Compares hashes, so that the time does not depend on the first difference.
        if Sha256::digest(kept.token.as_bytes()) != Sha256::digest(token.as_bytes()) {
            return Err(unknown_state());
        }
        let integration = self.store.integration_get(row.integration_id).await?;
        let author = confirmer(&row);
        let (integration, _) = self
            .exchange(&author, row, integration, kept.callback.into_iter().collect())
            .await?;
        Ok(integration.display_name)
    }

    /// A login that has been neither used nor expired.
    async fn under_way(&self, state: &str) -> Result<Authorization> {
        let hash = hash(state)?;
        // Reads expired rows too, so that a late login gets AUTHORIZATION_EXPIRED.
        match self.store.authorization_get(&hash, i64::MIN).await {
            Ok(row) if row.expire_us <= now_us() => Err(Error::new(
                Reason::AuthorizationExpired,
                format!(
                    "this login took longer than its {} minutes: begin it again",
                    self.options.login_life_us / 60_000_000
                ),
            )),
            Ok(row) => Ok(row),
            Err(error) if error.is_not_found() => Err(unknown_state()),
            Err(error) => Err(error.into()),
        }
    }

    /// Marks the login as used, exchanges the code and attaches the account.
    async fn exchange(
        &self,
        author: &Author,
        row: Authorization,
        integration: Integration,
        mut callback: HashMap<String, String>,
    ) -> Result<(Integration, bool)> {
        let used = match self.store.authorization_use(&row.state_hash, now_us()).await {
            Ok(used) => used,
            Err(error) if error.is_not_found() => return Err(unknown_state()),
            Err(error) => return Err(error.into()),
        };
        self.require_enabled(&integration.group_id, &integration.connector)
            .await?;
        let (connector, _) = self.usable(&integration.connector)?;
        let verifier = self
            .sealer
            .open(&seal::verifier_of(&used.state_hash), &used.sealed)
            .map_err(Error::internal)?;
        callback.remove("state");
        let denied = callback.contains_key("error");
        let request = ExchangeCodeRequest {
            settings: settings(&integration)?.into_iter().collect(),
            redirect_uri: used.redirect_uri,
            callback,
            code_verifier: String::from_utf8_lossy(verifier.expose_secret()).into_owned(),
        };
        let logged_in = connector
            .exchange_code(request, deadline(TIMEOUT))
            .await
            .map_err(|error| {
                let mut error = refused(error, integration.id, "callback_parameters");
                if denied && error.reason == Reason::AuthorizationRejected {
                    error.reason = Reason::AuthorizationDenied;
                }
                error
            })?;
        self.attach(
            author,
            integration,
            AuthKind::AuthorizationCode,
            None,
            logged_in,
            None,
        )
        .await
    }

    /// Logs in without a browser.
    ///
    /// # Errors
    /// NOT_FOUND, NOT_OWNER, CONNECTOR_DISABLED, CONNECTOR_UNSUPPORTED, AUTHORIZATION_REJECTED,
    /// DIFFERENT_ORGANIZATION, and errors of the connector.
    pub async fn login_with_credentials(
        &self,
        author: &Author,
        id: IntegrationId,
        auth_kind: AuthKind,
        parameters: HashMap<String, String>,
    ) -> Result<LoginOutcome> {
        let row = self.owned(author, id).await?;
        self.require_enabled(&row.group_id, &row.connector).await?;
        let (connector, describe) = self.usable(&row.connector)?;
        let kind = credentials::auth_kind_proto(auth_kind);
        let method = offers(&describe, &row.connector, kind)?;
        for parameter in &method.parameters {
            if parameter.required && parameters.get(&parameter.key).is_none_or(String::is_empty) {
                return Err(Error::invalid(
                    format!("parameters[{:?}]", parameter.key),
                    "is required",
                ));
            }
        }
        if let Some(unknown) = parameters
            .keys()
            .find(|key| !method.parameters.iter().any(|one| one.key == **key))
        {
            return Err(Error::invalid(
                format!("parameters[{:?}]", echo(unknown)),
                "is no parameter of this way to log in",
            ));
        }
        let own_client = parameters
            .get(CLIENT_ID)
            .map(|id| id.trim().to_owned())
            .filter(|id| !id.is_empty());
        let given = names(parameters.keys());
        let request = LogInRequest {
            settings: settings(&row)?.into_iter().collect(),
            auth_kind: kind as i32,
            parameters,
        };
        let logged_in = connector
            .log_in(request, deadline(TIMEOUT))
            .await
            .map_err(|error| refused(error, row.id, "parameters"))?;
        let (integration, account_changed) = self
            .attach(author, row, auth_kind, own_client, logged_in, Some(given))
            .await?;
        Ok(LoginOutcome {
            integration: self.view(&integration.group_id, integration.id).await?,
            account_changed,
        })
    }

    /// Stores a login's credential and attaches it to the integration.
    async fn attach(
        &self,
        author: &Author,
        row: Integration,
        auth_kind: AuthKind,
        own_client: Option<String>,
        logged_in_as: LoggedIn,
        parameters: Option<String>,
    ) -> Result<(Integration, bool)> {
        let connection = credentials::connection(&settings(&row)?, auth_kind, logged_in_as);
        let identity = connection.identity.clone().unwrap_or_default();
        let client_id = own_client
            .or_else(|| self.options.client_ids.get(&row.connector).cloned())
            .unwrap_or_default();
        let refuse = || {
            let credentials = &self.credentials;
            credentials.refuse(&row.connector, &client_id, auth_kind, &connection)
        };
        // Refused before anything is stored, so the credential of the other integrations is not replaced.
        if let Err(refusal) = self.check_identity(&row, &identity).await {
            refuse().await?;
            return Err(refusal);
        }
        let login = self
            .credentials
            .login(&row.connector, &client_id, auth_kind, connection.clone())?;
        let mut made = AuditChange::of(row.id.name()).with("username", &identity.username);
        if let Some(parameters) = parameters {
            made = made.with("auth_kind", auth_kind).with("parameters", parameters);
        }
        let (before, credentials, by) = (row.clone(), self.credentials.clone(), author.subject.clone());
        let attached = self.change(author, move |tx| {
            let credential = credentials
                .put(tx, before.id, login)
                .map_err(|error| error.map(Error::from))?;
            let attach = AttachCredential {
                id: before.id,
                credential_id: credential.id,
                account_limit: ACCOUNT_LIMIT,
                now_us: now_us(),
            };
            let attached = tx.integration_attach_credential(&attach)?;
            if before.state != IntegrationState::Draft {
                tx.sync_enqueue(NewSync {
                    integration_id: before.id,
                    trigger: SyncTrigger::Reauthorization,
                    create_by: by,
                    due_us: now_us(),
                    confirms: None,
                    mode: SyncMode::Auto,
                    now_us: now_us(),
                })?;
            }
            let moved = before.credential_id.is_some() && attached.moved;
            Ok((
                (attached.integration, moved),
                Some(made.with("account_changed", moved)),
            ))
        });
        let (integration, moved) = match attached.await {
            Ok(attached) => attached,
            Err(Rollback::Store(error)) if error.is_conflict(Conflict::AccountFull) => {
                // Another integration became the account's last after the check above.
                refuse().await?;
                return Err(account_full());
            }
            Err(error) => return Err(error.into()),
        };
        self.wake.notify_one();
        tracing::info!(
            integration = %row.id,
            organization = identity.organization_id,
            by = author.subject,
            "integration {} logged in as {}",
            row.id,
            identity.username
        );
        Ok((integration, moved))
    }

    /// Whether an integration may belong to the account that was logged into.
    async fn check_identity(&self, row: &Integration, identity: &Identity) -> Result<()> {
        if identity.organization_id.is_empty() || identity.user_id.is_empty() {
            return Err(Error::new(
                Reason::ConnectorFault,
                "the connector does not say whose account was logged into",
            ));
        }
        if row.state != IntegrationState::Draft
            && let Ok(old) = logged_in(row)
        {
            let old = self.store.credential_get(old).await?;
            if old.organization_id != identity.organization_id {
                return Err(Error::new(
                    Reason::DifferentOrganization,
                    format!(
                        "{} belongs to the organization {} ({}); this login is of {} ({}). Create another integration for it",
                        row.id.name(),
                        old.organization_name,
                        old.organization_id,
                        identity.organization_name,
                        identity.organization_id
                    ),
                )
                .with("organization_name", old.organization_name));
            }
        }
        self.check_login_account(row, identity).await
    }
}

/// The author of a login that is completed on tether's own page.
fn confirmer(row: &Authorization) -> Author {
    Author::of_page(row.create_by.clone(), &row.group_id, "ConfirmAuthorization")
}

/// The error of a refused login, with the parameter that the connector names.
fn refused(error: connectors::Error, id: IntegrationId, parameters: &str) -> Error {
    let field = error
        .failed()
        .map(|failed| failed.field.clone())
        .unwrap_or_default();
    let error = of_integration(id)(error);
    if field.is_empty() || error.reason != Reason::AuthorizationRejected {
        return error;
    }
    let fields = vec![(format!("{parameters}[{:?}]", echo(&field)), error.message.clone())];
    error.detail(Detail::Fields(fields))
}

fn offers<'a>(
    describe: &'a proto::DescribeResponse,
    connector: &str,
    kind: proto::AuthKind,
) -> Result<&'a proto::AuthMethod> {
    describe
        .auth_methods
        .iter()
        .find(|method| method.kind() == kind)
        .ok_or_else(|| {
            Error::new(
                Reason::ConnectorUnsupported,
                format!(
                    "connectors/{connector} does not offer {}: GetConnector lists what it does",
                    kind.as_str_name()
                ),
            )
            .with("connector", format!("connectors/{connector}"))
        })
}
