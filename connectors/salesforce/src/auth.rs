//! Login, token refresh and revocation.
//!
//! Salesforce keeps five approvals per user and app and silently revokes the oldest. Therefore a new token that
//! cannot be used is revoked at once.

use std::collections::HashMap;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use tether_connector_sdk::CallContext;
use tether_connector_sdk::crm::{Login, browser};
use tether_connector_sdk::http::Request;
use tether_connector_sdk::oauth::{self, Authorization, ClientAuth, Token, TokenEndpoint};
use tether_connector_sdk::proto::{
    AuthKind, AuthMethod, BeginAuthorizationRequest, Connection, Credentials, Error, ErrorKind,
    ExchangeCodeRequest, LogInRequest, LoggedIn, RefreshResponse, Setting,
};
use tether_connector_sdk::settings::{self, Settings};
use url::Url;

use crate::rest::App;
use crate::{identity, options, token};

/// The smallest scopes that work: data, refresh token, identity.
const SCOPES: [&str; 3] = ["api", "refresh_token", "id"];
/// Lifetime of an assertion in seconds.
const ASSERTION_SECONDS: i64 = 180;

/// The login methods.
pub(crate) fn methods() -> Vec<AuthMethod> {
    let parameter = |key: &str, label: &str, description: &str, required: bool, secret: bool| Setting {
        key: key.to_owned(),
        label: label.to_owned(),
        description: description.to_owned(),
        required,
        secret,
        ..Setting::default()
    };
    let client_id = parameter(
        "client_id",
        "Client id",
        "The consumer key of an app of the organization's own; the operator's app where empty.",
        false,
        false,
    );
    let client_secret = parameter(
        "client_secret",
        "Client secret",
        "The consumer secret that belongs to the client id; needed with it, left out without.",
        false,
        true,
    );
    vec![
        browser(),
        AuthMethod {
            kind: AuthKind::ClientCredentials.into(),
            parameters: vec![client_id.clone(), client_secret],
        },
        AuthMethod {
            kind: AuthKind::JwtBearer.into(),
            parameters: vec![
                parameter(
                    "username",
                    "User name",
                    "The login name of the Salesforce user to act as; an administrator pre-authorizes the app for it.",
                    true,
                    false,
                ),
                parameter(
                    "private_key",
                    "Private key",
                    "The RSA key, in PEM, whose certificate was uploaded to the app. It signs a new assertion for each login.",
                    true,
                    true,
                ),
                client_id,
            ],
        },
    ]
}

/// The parameters for another login without a browser; sealed by the host with the tokens.
#[derive(Serialize, Deserialize, Default, Clone)]
struct Headless {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    client_id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    client_secret: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    username: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    private_key: String,
}

impl Headless {
    /// The error of a refused login with these parameters. If the app belongs to the group, errors of the operator's
    /// app become errors of the parameters. A refused login does not mean revoked credentials.
    fn at_fault(&self, kind: AuthKind, error: Error) -> Error {
        let own = !self.client_id.is_empty();
        let field = match (error.what(), error.code.as_str()) {
            (ErrorKind::Configuration, "invalid_client_id") if own => "client_id",
            (ErrorKind::Configuration, "invalid_client") if own => "client_secret",
            (ErrorKind::InvalidInput | ErrorKind::CredentialsRevoked, _) if kind == AuthKind::JwtBearer => {
                "private_key"
            }
            (ErrorKind::InvalidInput | ErrorKind::CredentialsRevoked, _) => "",
            _ => return error,
        };
        Error::invalid_input(error.message).code(error.code).field(field)
    }
}

impl Login for App {
    /// The URL for the browser login.
    fn authorization_url(&self, request: &BeginAuthorizationRequest) -> Result<String, Error> {
        settings::needed("client_id", &self.options.client_id)?;
        let url = format!(
            "{}/services/oauth2/authorize",
            self.options.login_base(&request.settings)?
        );
        let hint = [("login_hint", request.login_hint.as_str())];
        oauth::authorization_url(&Authorization {
            url: &url,
            client_id: &self.options.client_id,
            redirect_uri: &request.redirect_uri,
            state: &request.state,
            code_challenge: &request.code_challenge,
            scopes: &SCOPES,
            extra: if request.login_hint.is_empty() { &[] } else { &hint },
        })
    }

    /// Completes a browser login.
    async fn exchange_code(
        self: &Arc<Self>,
        call: &CallContext,
        request: &ExchangeCodeRequest,
    ) -> Result<LoggedIn, Error> {
        settings::needed("client_id", &self.options.client_id)?;
        let base = self.options.login_base(&request.settings)?;
        let code = oauth::callback_code(&request.callback).map_err(token::refusal)?;
        let exchanged = self
            .endpoint(&base, None)
            .exchange_code(
                &self.http,
                call,
                code,
                &request.code_verifier,
                &request.redirect_uri,
            )
            .await;
        let token = exchanged
            .map_err(token::refusal)
            .map_err(|error| match error.what() {
                // A code can be used once.
                ErrorKind::Transient if error.code == "invalid_grant" => {
                    Error::new(ErrorKind::InvalidInput, error.message.clone()).code(error.code)
                }
                ErrorKind::CredentialsRevoked => {
                    Error::new(ErrorKind::InvalidInput, error.message.clone()).code(error.code)
                }
                _ => error,
            })?;
        if token.refresh_token().is_none() {
            self.give_back(call, &base, &token).await;
            return Err(Error::admin_action(
                "Salesforce gave no refresh token, so the login would end within hours: the app must offer the scope \
                 refresh_token, and its refresh token policy must not be \"Immediately expire refresh token\"",
            ));
        }
        let kind = AuthKind::AuthorizationCode;
        self.log_in_done(call, kind, &base, &self.options.client_secret, token, Vec::new())
            .await
    }

    /// Logs in without a browser.
    async fn log_in(self: &Arc<Self>, call: &CallContext, request: &LogInRequest) -> Result<LoggedIn, Error> {
        let base = self.options.login_base(&request.settings)?;
        let given = Settings::new(&request.parameters);
        let headless = Headless {
            client_id: given.text("client_id"),
            client_secret: given.text("client_secret"),
            username: given.text("username"),
            private_key: given.text("private_key"),
        };
        let token = self
            .headless(call, request.auth_kind(), &request.settings, &headless)
            .await?;
        let extra = serde_json::to_vec(&headless).map_err(|_| Error::bug("the parameters cannot be kept"))?;
        let secret = self.endpoint(&base, Some(&headless)).client_secret;
        self.log_in_done(call, request.auth_kind(), &base, &secret, token, extra)
            .await
    }

    /// Gets a new access token, and possibly a new refresh token.
    async fn refresh(
        self: &Arc<Self>,
        call: &CallContext,
        connection: Connection,
    ) -> Result<RefreshResponse, Error> {
        let old = connection.credentials.clone().unwrap_or_default();
        let base = self.options.login_base(&connection.settings)?;
        let token = match connection.auth_kind() {
            kind @ (AuthKind::ClientCredentials | AuthKind::JwtBearer) => {
                let headless: Headless = serde_json::from_slice(&old.extra)
                    .map_err(|_| Error::credentials_revoked("what is needed to log in again was not kept"))?;
                let token = self.headless(call, kind, &connection.settings, &headless).await;
                // Credentials that were accepted before and are refused now were revoked: a new secret, another
                // certificate.
                token.map_err(|error| match error.what() {
                    ErrorKind::InvalidInput => Error::credentials_revoked(error.message).code(error.code),
                    _ => error,
                })?
            }
            _ => {
                let refresh_token = settings::refresh_token(&old)?;
                self.exchange_refresh_token(call, &base, refresh_token).await?
            }
        };
        // Without an address in the reply, the old one stays. An address that may not be called is rejected.
        let base_url = match token.extra_text("instance_url") {
            Some(instance) => self.instance(instance)?,
            None => connection.base_url,
        };
        Ok(RefreshResponse {
            credentials: Some(token.credentials(self.host.now_us(), old)),
            base_url,
        })
    }

    /// Revokes the access.
    async fn revoke(self: &Arc<Self>, call: &CallContext, connection: Connection) -> Result<bool, Error> {
        let credentials = connection.credentials.unwrap_or_default();
        let token = oauth::revocable(&credentials);
        if token.is_empty() {
            return Ok(true);
        }
        let base = self.options.login_base(&connection.settings)?;
        let url = format!("{base}/services/oauth2/revoke");
        oauth::revoke(&self.http, call, &url, token)
            .await
            .or_else(|error| match token::refusal(error) {
                error if error.is(ErrorKind::CredentialsRevoked) => Ok(true),
                error => Err(error),
            })
    }
}

impl App {
    /// If the answer of a refresh is lost, its outcome is unknown: the old token may already be used up. The refresh
    /// is tried once more, and the second result counts.
    async fn exchange_refresh_token(
        &self,
        call: &CallContext,
        base: &str,
        refresh_token: &str,
    ) -> Result<Token, Error> {
        let endpoint = self.endpoint(base, None);
        let first = endpoint
            .refresh(&self.http, call, refresh_token)
            .await
            .map_err(token::refusal);
        match first {
            Err(error) if matches!(error.code.as_str(), "http.transport" | "http.timeout") => {
                let second = endpoint
                    .refresh(&self.http, call, refresh_token)
                    .await
                    .map_err(token::refusal);
                second.map_err(|error| match error.what() {
                    ErrorKind::CredentialsRevoked => Error::credentials_revoked(
                        "the answer to a refresh was lost on its way and Salesforce had already replaced the token; log in \
                         again",
                    )
                    .code(error.code),
                    _ => error,
                })
            }
            other => other,
        }
    }

    /// Login with client credentials or a signed assertion.
    async fn headless(
        &self,
        call: &CallContext,
        kind: AuthKind,
        settings: &HashMap<String, String>,
        headless: &Headless,
    ) -> Result<Token, Error> {
        let base = self.options.login_base(settings)?;
        let endpoint = self.endpoint(&base, Some(headless));
        if endpoint.client_id.is_empty() {
            return Err(Error::invalid_input(
                "there is no client id: neither a parameter nor the operator's",
            )
            .field("client_id"));
        }
        let token = match kind {
            AuthKind::ClientCredentials => {
                if !options::has_own_domain(settings) {
                    return Err(Error::invalid_input(
                        "client credentials work only on the organization's My Domain; set environment to domain, and domain",
                    ));
                }
                endpoint.client_credentials(&self.http, call, &[]).await
            }
            AuthKind::JwtBearer => {
                let assertion = assertion(
                    &endpoint.client_id,
                    &audience(settings, &base),
                    headless,
                    self.host.now_us(),
                )?;
                endpoint.assertion(&self.http, call, &assertion).await
            }
            _ => return Err(Error::unsupported("Salesforce offers no such way to log in")),
        };
        token.map_err(|error| headless.at_fault(kind, token::refusal(error)))
    }

    /// Checks a new token and finds its account. A token that fails the check is revoked.
    async fn log_in_done(
        self: &Arc<Self>,
        call: &CallContext,
        kind: AuthKind,
        base: &str,
        client_secret: &str,
        token: Token,
        extra: Vec<u8>,
    ) -> Result<LoggedIn, Error> {
        let checked = async {
            if !token::signature_holds(&token, client_secret) {
                return Err(Error::bug(
                    "the signature of Salesforce's token reply does not hold",
                ));
            }
            let instance = token.extra_text("instance_url");
            let base_url =
                self.instance(instance.ok_or_else(|| Error::bug("the token reply has no instance_url"))?)?;
            let identity = identity::find(self, call, kind, &base_url, &token).await?;
            Ok((base_url, identity))
        };
        let (base_url, identity) = match checked.await {
            Ok(found) => found,
            Err(error) => {
                self.give_back(call, base, &token).await;
                return Err(error);
            }
        };
        Ok(LoggedIn {
            credentials: Some(token.credentials(
                self.host.now_us(),
                Credentials {
                    extra,
                    ..Credentials::default()
                },
            )),
            identity: Some(identity),
            base_url,
            scopes: token.scopes(),
        })
    }

    /// Revokes a token that is not kept. Errors are ignored: the original error is more important.
    async fn give_back(&self, call: &CallContext, base: &str, token: &Token) {
        let url = format!("{base}/services/oauth2/revoke");
        let secret = token.refresh_token().unwrap_or(token.access_token());
        if let Err(error) = oauth::revoke(&self.http, call, &url, secret).await {
            tracing::warn!(
                kind = token::refusal(error).label(),
                "a token that was not kept could not be revoked"
            );
        }
    }

    /// An `instance_url`, if the policy allows the address.
    fn instance(&self, given: &str) -> Result<String, Error> {
        let wrong = || Error::bug("Salesforce named an instance that is not one of its own hosts");
        let url = Url::parse(given).map_err(|_| wrong())?;
        // A site can be used for the login, but has no API of the organization.
        let site = url.host_str().is_some_and(|host| host.ends_with(".my.site.com"));
        if site || url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong());
        }
        let base = url.as_str().trim_end_matches('/').to_owned();
        self.http
            .check(&Request::get(&format!("{base}/services/data"))?)
            .map_err(|_| wrong())?;
        Ok(base)
    }

    fn endpoint(&self, base: &str, headless: Option<&Headless>) -> TokenEndpoint {
        let own = headless.filter(|headless| !headless.client_id.is_empty());
        TokenEndpoint {
            url: format!("{base}/services/oauth2/token"),
            client_id: own.map_or(&self.options.client_id, |own| &own.client_id).clone(),
            client_secret: own
                .map_or(&self.options.client_secret, |own| &own.client_secret)
                .clone(),
            client_auth: ClientAuth::Form,
        }
    }
}

/// The audience of an assertion: the public name of the login host, also if another host replaces it.
fn audience(settings: &HashMap<String, String>, base: &str) -> String {
    match settings.get(options::ENVIRONMENT).map(String::as_str) {
        Some("sandbox") => "https://test.salesforce.com".to_owned(),
        Some("domain") => base.to_owned(),
        _ => "https://login.salesforce.com".to_owned(),
    }
}

/// A PEM key. Line ends may be written as `\n`, as in environment variables and JSON files.
fn pem(given: &str) -> String {
    given
        .trim_matches(['"', '\'', ' '])
        .replace("\\r\\n", "\n")
        .replace("\\n", "\n")
}

fn assertion(client_id: &str, audience: &str, headless: &Headless, now_us: i64) -> Result<String, Error> {
    #[derive(Serialize)]
    struct Claims<'a> {
        iss: &'a str,
        sub: &'a str,
        aud: &'a str,
        exp: i64,
    }
    if headless.username.is_empty() {
        return Err(Error::invalid_input("the parameter username is missing").field("username"));
    }
    // The error does not repeat the cause: it may quote the key.
    let key = EncodingKey::from_rsa_pem(pem(&headless.private_key).as_bytes()).map_err(|_| {
        Error::invalid_input("the parameter private_key is not an RSA key in PEM").field("private_key")
    })?;
    let exp = now_us / 1_000_000 + ASSERTION_SECONDS;
    let claims = Claims {
        iss: client_id,
        sub: &headless.username,
        aud: audience,
        exp,
    };
    jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key)
        .map_err(|_| Error::invalid_input("the private key cannot sign").field("private_key"))
}
