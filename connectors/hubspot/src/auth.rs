//! Login, token refresh and revocation.
//!
//! HubSpot documents no `code_challenge` for its login page, so neither a challenge nor a verifier is sent: a careful
//! server rejects a verifier without a challenge. The code is protected by the state, which the host checks, and by
//! the client secret, which is required for the exchange. Access tokens are valid for half an hour; refresh tokens do
//! not expire and are not rotated, so a refresh whose answer was lost is repeated.

use std::sync::Arc;

use tether_connector_sdk::crm::{API_KEY, Login, api_key, browser};
use tether_connector_sdk::http::{Method, Request, StatusCode};
use tether_connector_sdk::oauth::{self, Authorization, Token, TokenError};
use tether_connector_sdk::proto::{
    AuthKind, AuthMethod, BeginAuthorizationRequest, Connection, Credentials, Error, ErrorKind,
    ExchangeCodeRequest, LogInRequest, LoggedIn, RefreshResponse,
};
use tether_connector_sdk::{CallContext, settings};

use crate::objects::COMPANY;
use crate::options::OAuthApi;
use crate::rest::App;
use crate::token;

/// The login methods: a public app's login in the browser, and the token of a private app.
pub(crate) fn methods() -> Vec<AuthMethod> {
    let token = "The access token of a private app of the account, like pat-na1-…; it needs the scope \
                 crm.objects.companies.read, and those of the other objects that are wanted.";
    vec![browser(), api_key("Access token", token)]
}

impl Login for App {
    /// The URL for the browser login.
    fn authorization_url(&self, request: &BeginAuthorizationRequest) -> Result<String, Error> {
        settings::needed("client_id", &self.options.client_id)?;
        let scopes: Vec<&str> = self.options.scopes.iter().map(String::as_str).collect();
        let optional = self.options.optional_scopes.join(" ");
        let extra = [("optional_scope", optional.as_str())];
        oauth::authorization_url(&Authorization {
            url: &format!("{}/oauth/authorize", self.options.login_base),
            client_id: &self.options.client_id,
            redirect_uri: &request.redirect_uri,
            state: &request.state,
            code_challenge: "",
            scopes: &scopes,
            extra: if optional.is_empty() { &[] } else { &extra },
        })
    }

    /// Completes a browser login.
    async fn exchange_code(
        self: &Arc<Self>,
        call: &CallContext,
        request: &ExchangeCodeRequest,
    ) -> Result<LoggedIn, Error> {
        settings::needed("client_id", &self.options.client_id)?;
        let code = oauth::callback_code(&request.callback).map_err(|error| match error {
            TokenError::Refused { error, description } => token::refused(&error, &description),
            TokenError::Failed(error) => error,
        })?;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", request.redirect_uri.as_str()),
        ];
        let token = self
            .token(call, &form)
            .await
            .map_err(|error| match error.what() {
                // There is no login yet that could have been revoked.
                ErrorKind::CredentialsRevoked => Error::invalid_input(error.message).code(error.code),
                _ => error,
            })?;
        let scopes = token.scopes();
        let checked = async {
            if token.refresh_token().is_none() {
                return Err(Error::bug("HubSpot gave no refresh token"));
            }
            has_companies(&scopes)?;
            self.who(call, token.access_token()).await
        };
        let identity = match checked.await {
            Ok(identity) => identity,
            Err(error) => {
                self.give_back(call, &token).await;
                return Err(error);
            }
        };
        Ok(LoggedIn {
            credentials: Some(token.credentials(self.host.now_us(), Credentials::default())),
            identity: Some(identity),
            base_url: self.options.api_base.clone(),
            scopes,
        })
    }

    /// Logs in with the token of a private app.
    async fn log_in(self: &Arc<Self>, call: &CallContext, request: &LogInRequest) -> Result<LoggedIn, Error> {
        if request.auth_kind() != AuthKind::ApiKey {
            return Err(Error::unsupported("HubSpot offers no such way to log in"));
        }
        let key = request.parameters.get(API_KEY).map_or("", |key| key.trim());
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::invalid_input(
                "the access token of the private app is missing, or is no token",
            )
            .field(API_KEY));
        }
        let (identity, scopes) = self
            .whose_app(call, key)
            .await
            .map_err(|error| match error.what() {
                ErrorKind::CredentialsExpired | ErrorKind::Forbidden => {
                    Error::invalid_input("HubSpot does not know this access token, or it was replaced")
                        .field(API_KEY)
                }
                _ => error,
            })?;
        // If HubSpot does not report the scopes of a key, the list of fields will show them.
        if !scopes.is_empty() {
            has_companies(&scopes).map_err(|error| Error::invalid_input(error.message).field(API_KEY))?;
        }
        Ok(LoggedIn {
            credentials: Some(Credentials {
                access_token: key.to_owned(),
                ..Credentials::default()
            }),
            identity: Some(identity),
            base_url: self.options.api_base.clone(),
            scopes,
        })
    }

    /// Gets a new access token.
    async fn refresh(
        self: &Arc<Self>,
        call: &CallContext,
        connection: Connection,
    ) -> Result<RefreshResponse, Error> {
        let kind = connection.auth_kind();
        let old = connection.credentials.unwrap_or_default();
        let base_url = self.options.api_base.clone();
        if kind == AuthKind::ApiKey {
            // The token does not expire: either HubSpot had an error, or the token was revoked.
            return match self.whose_app(call, &old.access_token).await {
                Ok(_) => Ok(RefreshResponse {
                    credentials: Some(old),
                    base_url,
                }),
                Err(error) if matches!(error.what(), ErrorKind::CredentialsExpired | ErrorKind::Forbidden) => {
                    Err(Error::credentials_revoked(
                        "HubSpot no longer accepts the private app's access token: it was replaced, or the app was deleted",
                    )
                    .code(error.code))
                }
                Err(error) => Err(error),
            };
        }
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", settings::refresh_token(&old)?),
        ];
        let mut token = self.token(call, &form).await;
        if let Err(error) = &token
            && matches!(
                error.code.as_str(),
                "http.transport" | "http.timeout" | "oauth.garbage"
            )
        {
            token = self.token(call, &form).await;
        }
        Ok(RefreshResponse {
            credentials: Some(token?.credentials(self.host.now_us(), old)),
            base_url,
        })
    }

    /// Revokes the access. HubSpot ends the refresh token; the access token stays valid until its half hour is over.
    async fn revoke(self: &Arc<Self>, call: &CallContext, connection: Connection) -> Result<bool, Error> {
        if connection.auth_kind() == AuthKind::ApiKey {
            return Err(Error::unsupported(
                "HubSpot has no way to end a private app's token from outside: delete the app, or replace its token, in \
                 HubSpot's settings",
            ));
        }
        match connection.credentials.unwrap_or_default().refresh_token.as_str() {
            "" => Ok(true),
            refresh_token => self.end(call, refresh_token).await,
        }
    }
}

impl App {
    /// One request to the token endpoint.
    async fn token(&self, call: &CallContext, form: &[(&str, &str)]) -> Result<Token, Error> {
        let url = format!("{}{}", self.options.api_base, self.options.token_path(""));
        let client = [
            ("client_id", self.options.client_id.as_str()),
            ("client_secret", self.options.client_secret.as_str()),
        ];
        let request = Request::post_form(&url, form.iter().copied().chain(client))?;
        let response = self.http.send(call, request.accept("application/json")).await?;
        token::read(&response)
    }

    /// Ends a refresh token; returns whether HubSpot no longer knew it.
    async fn end(&self, call: &CallContext, refresh_token: &str) -> Result<bool, Error> {
        let base = &self.options.api_base;
        let request = match self.options.oauth_api {
            OAuthApi::V1 => {
                let url = format!("{base}/oauth/v1/refresh-tokens/{refresh_token}");
                Request::new(Method::DELETE, &url)?
            }
            OAuthApi::Dated => {
                let url = format!("{base}{}", self.options.token_path("/revoke"));
                let form = [
                    ("client_id", self.options.client_id.as_str()),
                    ("client_secret", self.options.client_secret.as_str()),
                    ("token", refresh_token),
                    ("token_type_hint", "refresh_token"),
                ];
                Request::post_form(&url, form)?
            }
        };
        let response = self.http.send(call, request.accept("application/json")).await?;
        if response.status.is_success() {
            return Ok(false);
        }
        if response.status == StatusCode::NOT_FOUND {
            return Ok(true);
        }
        match token::refusal(&response) {
            error if error.is(ErrorKind::CredentialsRevoked) => Ok(true),
            error => Err(error),
        }
    }

    /// Ends a token that is not kept. Errors are ignored: the original error is more important.
    async fn give_back(&self, call: &CallContext, token: &Token) {
        let Some(refresh_token) = token.refresh_token() else {
            return;
        };
        if let Err(error) = self.end(call, refresh_token).await {
            tracing::warn!(
                kind = error.label(),
                "a token that was not kept could not be revoked"
            );
        }
    }
}

/// Companies are required, because all other objects belong to them. If HubSpot does not list the scopes, the login
/// is accepted.
fn has_companies(scopes: &[String]) -> Result<(), Error> {
    if scopes.is_empty() || scopes.iter().any(|scope| scope == COMPANY.scope) {
        return Ok(());
    }
    Err(Error::admin_action(format!(
        "the login lacks the scope {}, without which there are no companies: add it to the app, and log in again",
        COMPANY.scope
    )))
}
