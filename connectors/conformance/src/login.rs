//! Logins according to `conformance.toml`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use tether_connector_host::proto::{
    AuthKind, BeginAuthorizationRequest, Connection, Credentials, ExchangeCodeRequest, LogInRequest, LoggedIn,
};

use crate::connector::{CALL_TIMEOUT, Connector, Failure};
use crate::finding::{Context as _, Halt, fails};
use crate::quirks::Method;
use crate::world::World;

/// One browser login. No Debug.
pub(crate) struct Attempt {
    pub(crate) state: String,
    pub(crate) verifier: String,
    pub(crate) challenge: String,
}

impl Attempt {
    /// An attempt with its own state and verifier.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let unique = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let random =
            |what: &str| URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{what} of attempt {unique}")));
        let verifier = random("verifier");
        Self {
            state: random("state"),
            challenge: URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier)),
            verifier,
        }
    }
}

impl World {
    /// The request for the URL of the browser login.
    pub(crate) fn begin_request(&self, attempt: &Attempt) -> BeginAuthorizationRequest {
        BeginAuthorizationRequest {
            settings: self.group(),
            redirect_uri: self.quirks.login.redirect_uri.clone(),
            state: attempt.state.clone(),
            code_challenge: attempt.challenge.clone(),
            login_hint: String::new(),
        }
    }

    /// Runs the browser login up to the callback. `decision` is `allow` or `deny`.
    pub(crate) async fn callback(
        &self,
        connector: &Connector,
        attempt: &Attempt,
        decision: &str,
    ) -> Result<HashMap<String, String>, Halt> {
        let begun = connector
            .begin_authorization(self.begin_request(attempt), CALL_TIMEOUT)
            .await;
        let url = begun.context("BeginAuthorization")?.url;
        let approve = self.quirks.login.approve.clone().unwrap_or_default();
        let approve = self
            .with_placeholders(&approve)
            .replace("{url}", &crate::secrets::percent(&url))
            .replace("{decision}", decision);
        let Some(proxy) = &self.proxy else {
            return Err(fails("the login in the browser needs a fixture that approves it"));
        };
        let answer = proxy
            .get(&approve)
            .await
            .map_err(|error| fails(format!("the fixture did not approve the login: {error}")))?;
        let to = ["redirectUrl", "redirect_url", "location"]
            .iter()
            .find_map(|name| answer.get(name)?.as_str())
            .ok_or_else(|| fails("the fixture's approval has no `redirectUrl`"))?;
        let to = url::Url::parse(to).map_err(|_| fails("the fixture's `redirectUrl` is not an address"))?;
        let mut callback: HashMap<String, String> = to.query_pairs().into_owned().collect();
        if callback.remove("state").as_ref() != Some(&attempt.state) {
            return Err(fails(
                "the redirect of the browser has another state than BeginAuthorization",
            ));
        }
        if let Some(code) = callback.get("code") {
            self.secrets.add("an authorization code", code);
        }
        self.secrets.add("a PKCE verifier", &attempt.verifier);
        Ok(callback)
    }

    /// The request that exchanges the parameters of the callback.
    pub(crate) fn exchange_request(
        &self,
        attempt: &Attempt,
        callback: HashMap<String, String>,
    ) -> ExchangeCodeRequest {
        ExchangeCodeRequest {
            settings: self.group(),
            redirect_uri: self.quirks.login.redirect_uri.clone(),
            callback,
            code_verifier: attempt.verifier.clone(),
        }
    }

    /// The request of a login without a browser.
    pub(crate) fn log_in_request(&self) -> LogInRequest {
        let parameters = self.quirks.login.parameters.iter();
        LogInRequest {
            settings: self.group(),
            auth_kind: self.quirks.login.method.kind().into(),
            parameters: parameters
                .map(|(key, value)| (key.clone(), self.with_placeholders(value)))
                .collect(),
        }
    }

    /// Logs in by the configured method. The inner error is the connector's.
    pub(crate) async fn try_log_in(&self, connector: &Connector) -> Result<Result<LoggedIn, Failure>, Halt> {
        let answer = if self.quirks.login.method == Method::AuthorizationCode {
            let attempt = Attempt::new();
            let callback = self.callback(connector, &attempt, "allow").await?;
            connector
                .exchange_code(self.exchange_request(&attempt, callback), CALL_TIMEOUT)
                .await
        } else {
            connector.log_in(self.log_in_request(), CALL_TIMEOUT).await
        };
        if let Ok(logged_in) = &answer {
            self.add_secrets(logged_in.credentials.as_ref());
        }
        Ok(answer)
    }

    /// The connection of a new login.
    pub(crate) async fn log_in(&self, connector: &Connector) -> Result<Connection, Halt> {
        let logged_in = self.try_log_in(connector).await?.context("logging in")?;
        Ok(self.connection(logged_in))
    }

    pub(crate) fn connection(&self, logged_in: LoggedIn) -> Connection {
        let kind: AuthKind = self.quirks.login.method.kind();
        Connection {
            settings: self.group(),
            auth_kind: kind.into(),
            credentials: logged_in.credentials,
            base_url: logged_in.base_url,
            identity: logged_in.identity,
        }
    }

    /// Records credentials as secrets.
    pub(crate) fn add_secrets(&self, credentials: Option<&Credentials>) {
        let Some(credentials) = credentials else { return };
        self.secrets.add("an access token", &credentials.access_token);
        self.secrets.add("a refresh token", &credentials.refresh_token);
        if let Ok(text) = std::str::from_utf8(&credentials.extra) {
            // Shorter texts may be a version or a flag instead of a secret.
            if text.len() >= 12 {
                self.secrets.add("the credentials' extra part", text);
            }
        }
    }
}
