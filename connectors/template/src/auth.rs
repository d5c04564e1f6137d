//! Login, token refresh and revocation.

use std::sync::Arc;

use serde::Deserialize;
use tether_connector_sdk::crm::Login;
use tether_connector_sdk::oauth::{self, Authorization, ClientAuth, TokenEndpoint, TokenError};
use tether_connector_sdk::proto::{
    AuthKind, AuthMethod, BeginAuthorizationRequest, Connection, Credentials, ErrorKind, ExchangeCodeRequest,
    Identity, LogInRequest, LoggedIn, RefreshResponse, Setting,
};
use tether_connector_sdk::settings;
use tether_connector_sdk::{CallContext, Error};

use crate::api::{self, App, Session};

/// The smallest scopes that work, without write access.
const SCOPES: [&str; 1] = ["read"];
/// The parameter of a login with a key.
const API_KEY: &str = "api_key";

/// The login methods, the usual one first.
pub(crate) fn methods() -> Vec<AuthMethod> {
    let api_key = Setting {
        key: API_KEY.to_owned(),
        label: "API key".to_owned(),
        description: "Made in the CRM's settings, with the right to read.".to_owned(),
        required: true,
        secret: true,
        ..Setting::default()
    };
    vec![
        AuthMethod {
            kind: AuthKind::AuthorizationCode.into(),
            parameters: Vec::new(),
        },
        AuthMethod {
            kind: AuthKind::ApiKey.into(),
            parameters: vec![api_key],
        },
    ]
}

impl Login for App {
    /// The URL for the browser login.
    fn authorization_url(&self, request: &BeginAuthorizationRequest) -> Result<String, Error> {
        check_app(self)?;
        oauth::authorization_url(&Authorization {
            url: &format!("{}/oauth/authorize", self.options.login_url),
            client_id: &self.options.client_id,
            redirect_uri: &request.redirect_uri,
            state: &request.state,
            code_challenge: &request.code_challenge,
            scopes: &SCOPES,
            extra: &[],
        })
    }

    /// Completes a browser login.
    async fn exchange_code(
        self: &Arc<Self>,
        call: &CallContext,
        request: &ExchangeCodeRequest,
    ) -> Result<LoggedIn, Error> {
        check_app(self)?;
        // There is no login yet that could have been revoked: the user tries again.
        let refused = |error: TokenError| {
            let error = error.into_error();
            match error.what() {
                ErrorKind::CredentialsRevoked => {
                    Error::invalid_input(error.message).code(error.code).field("code")
                }
                _ => error,
            }
        };
        let code = oauth::callback_code(&request.callback).map_err(refused)?;
        let token = endpoint(self)
            .exchange_code(
                &self.http,
                call,
                code,
                &request.code_verifier,
                &request.redirect_uri,
            )
            .await
            .map_err(refused)?;
        let credentials = token.credentials(self.host.now_us(), Credentials::default());
        // If the reply names an API address of the account, such as `api_domain`, use it instead of "".
        logged_in(self, call, AuthKind::AuthorizationCode, "", credentials).await
    }

    /// A login without a browser.
    async fn log_in(self: &Arc<Self>, call: &CallContext, request: &LogInRequest) -> Result<LoggedIn, Error> {
        if request.auth_kind() != AuthKind::ApiKey {
            return Err(Error::unsupported(
                "this connector takes the browser's login and API keys",
            ));
        }
        let credentials = Credentials {
            access_token: settings::Settings::new(&request.parameters).text(API_KEY),
            ..Credentials::default()
        };
        let login = logged_in(self, call, AuthKind::ApiKey, "", credentials).await;
        login.map_err(|error| match error.what() {
            ErrorKind::CredentialsRevoked => {
                Error::invalid_input("the CRM does not know this API key").field(API_KEY)
            }
            _ => error,
        })
    }

    /// Replaces old credentials by new ones. The host stores them before they are used.
    async fn refresh(
        self: &Arc<Self>,
        call: &CallContext,
        connection: Connection,
    ) -> Result<RefreshResponse, Error> {
        let credentials = match connection.auth_kind() {
            AuthKind::ApiKey => {
                // A key does not expire, so it is either valid or revoked.
                me(&Session::new(self, call, Some(&connection))?).await?;
                connection.credentials.unwrap_or_default()
            }
            _ => {
                let old = connection.credentials.unwrap_or_default();
                let refresh_token = settings::refresh_token(&old)?;
                let token = endpoint(self).refresh(&self.http, call, refresh_token).await;
                let token = token.map_err(TokenError::into_error)?;
                token.credentials(self.host.now_us(), old)
            }
        };
        Ok(RefreshResponse {
            credentials: Some(credentials),
            // Empty means unchanged. If the reply names the address of the API, return it: the account may have moved.
            base_url: String::new(),
        })
    }

    /// Revokes the access; returns whether the CRM no longer knew it.
    async fn revoke(self: &Arc<Self>, call: &CallContext, connection: Connection) -> Result<bool, Error> {
        if connection.auth_kind() == AuthKind::ApiKey {
            return Err(Error::unsupported(
                "API keys are taken back in the CRM's settings",
            ));
        }
        let credentials = connection.credentials.unwrap_or_default();
        let url = format!("{}/oauth/revoke", self.options.login_url);
        let token = oauth::revocable(&credentials);
        let revoked = endpoint(self).revoke(&self.http, call, &url, token).await;
        revoked.map_err(TokenError::into_error)
    }
}

/// Fails if the operator has configured no app.
fn check_app(app: &App) -> Result<(), Error> {
    settings::needed("client_id", &app.options.client_id)?;
    settings::needed("client_secret", &app.options.client_secret)
}

fn endpoint(app: &App) -> TokenEndpoint {
    TokenEndpoint {
        url: format!("{}/oauth/token", app.options.login_url),
        client_id: app.options.client_id.clone(),
        client_secret: app.options.client_secret.clone(),
        // Or `Basic`, as HTTP basic authentication.
        client_auth: ClientAuth::Form,
    }
}

#[derive(Deserialize)]
struct Me {
    organization: Named,
    user: Named,
    email: String,
}

#[derive(Deserialize)]
struct Named {
    id: String,
    name: String,
}

async fn me(session: &Session) -> Result<Me, Error> {
    api::get(session, "me", &[]).await
}

/// The identity of the account: organization and user, by ids that never change.
async fn logged_in(
    app: &Arc<App>,
    call: &CallContext,
    auth_kind: AuthKind,
    base_url: &str,
    credentials: Credentials,
) -> Result<LoggedIn, Error> {
    let session = Session::with_token(app, call, auth_kind, base_url, credentials.access_token.clone());
    let me = me(&session).await?;
    Ok(LoggedIn {
        credentials: Some(credentials),
        identity: Some(Identity {
            organization_id: me.organization.id,
            user_id: me.user.id,
            organization_name: me.organization.name,
            username: me.email,
            user_display_name: me.user.name,
        }),
        base_url: session.url(""),
        scopes: SCOPES.map(str::to_owned).into(),
    })
}
