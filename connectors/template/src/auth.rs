//! Login, token refresh and revocation.

use std::sync::Arc;

use serde::Deserialize;
use tether_connector_sdk::oauth::{self, Authorization, ClientAuth, Token, TokenEndpoint, authorization_url};
use tether_connector_sdk::proto::{
    AuthKind, AuthMethod, BeginAuthorizationRequest, BeginAuthorizationResponse, Connection, Credentials,
    ErrorKind, ExchangeCodeRequest, Identity, LogInRequest, LoggedIn, RefreshResponse, RevokeResponse,
    Setting,
};
use tether_connector_sdk::{CallContext, Error};

use crate::api::{App, Session};

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

/// The URL for the browser login.
pub(crate) fn begin(
    app: &App,
    request: &BeginAuthorizationRequest,
) -> Result<BeginAuthorizationResponse, Error> {
    app.options.check_app()?;
    let url = authorization_url(&Authorization {
        url: &format!("{}/oauth/authorize", app.options.login_url),
        client_id: &app.options.client_id,
        redirect_uri: &request.redirect_uri,
        state: &request.state,
        code_challenge: &request.code_challenge,
        scopes: &SCOPES,
        extra: &[],
    })?;
    Ok(BeginAuthorizationResponse { url })
}

/// Completes a browser login.
pub(crate) async fn exchange(
    app: &Arc<App>,
    call: &CallContext,
    request: &ExchangeCodeRequest,
) -> Result<LoggedIn, Error> {
    app.options.check_app()?;
    if let Some(error) = request.callback.get("error") {
        let error = error
            .chars()
            .filter(char::is_ascii_graphic)
            .take(80)
            .collect::<String>();
        return Err(
            Error::invalid_input("the login was refused in the browser: try again and allow it").code(error),
        );
    }
    let Some(code) = request.callback.get("code").filter(|code| !code.is_empty()) else {
        return Err(Error::invalid_input("the browser brought no code: begin the login again").field("code"));
    };
    let token = endpoint(app)
        .exchange_code(
            &app.http,
            call,
            code,
            &request.code_verifier,
            &request.redirect_uri,
        )
        .await
        .map_err(oauth::TokenError::into_error)
        .map_err(|error| match error.what() {
            // There is no login yet that could have been revoked: the code is invalid.
            ErrorKind::CredentialsRevoked => Error {
                kind: ErrorKind::InvalidInput.into(),
                field: "code".to_owned(),
                ..error
            },
            _ => error,
        })?;
    let credentials = credentials(app, &token, "");
    logged_in(app, call, AuthKind::AuthorizationCode, credentials).await
}

/// A login without a browser.
pub(crate) async fn log_in(
    app: &Arc<App>,
    call: &CallContext,
    request: &LogInRequest,
) -> Result<LoggedIn, Error> {
    if request.auth_kind() != AuthKind::ApiKey {
        return Err(Error::unsupported(
            "this connector takes the browser's login and API keys",
        ));
    }
    let key = request.parameters.get(API_KEY).cloned().unwrap_or_default();
    let credentials = Credentials {
        access_token: key,
        ..Credentials::default()
    };
    let login = logged_in(app, call, AuthKind::ApiKey, credentials).await;
    login.map_err(|error| match error.what() {
        ErrorKind::CredentialsRevoked => {
            Error::invalid_input("the CRM does not know this API key").field(API_KEY)
        }
        _ => error,
    })
}

/// Replaces old credentials by new ones. The host stores them before they are used.
pub(crate) async fn refresh(
    app: &Arc<App>,
    call: &CallContext,
    connection: Connection,
) -> Result<RefreshResponse, Error> {
    let old = connection.credentials.clone().unwrap_or_default();
    if connection.auth_kind() == AuthKind::ApiKey {
        // A key does not expire, so it is either valid or revoked.
        me(&Session::new(app, call, Some(&connection))).await?;
        return Ok(RefreshResponse {
            credentials: Some(old),
            base_url: String::new(),
        });
    }
    if old.refresh_token.is_empty() {
        return Err(Error::credentials_revoked(
            "there is no refresh token: log in again",
        ));
    }
    let token = endpoint(app).refresh(&app.http, call, &old.refresh_token).await;
    let token = token.map_err(oauth::TokenError::into_error)?;
    Ok(RefreshResponse {
        credentials: Some(credentials(app, &token, &old.refresh_token)),
        base_url: String::new(),
    })
}

/// Revokes the access.
pub(crate) async fn revoke(
    app: &Arc<App>,
    call: &CallContext,
    connection: Connection,
) -> Result<RevokeResponse, Error> {
    if connection.auth_kind() == AuthKind::ApiKey {
        return Err(Error::unsupported(
            "API keys are taken back in the CRM's settings",
        ));
    }
    let credentials = connection.credentials.unwrap_or_default();
    let token = match credentials.refresh_token.is_empty() {
        true => credentials.access_token,
        false => credentials.refresh_token,
    };
    let url = format!("{}/oauth/revoke", app.options.login_url);
    let already_gone = oauth::revoke(&app.http, call, &url, &token)
        .await
        .map_err(oauth::TokenError::into_error)?;
    Ok(RevokeResponse { already_gone })
}

fn endpoint(app: &App) -> TokenEndpoint {
    TokenEndpoint {
        url: format!("{}/oauth/token", app.options.login_url),
        client_id: app.options.client_id.clone(),
        client_secret: app.options.client_secret.clone(),
        client_auth: ClientAuth::Form,
    }
}

/// A refresh token that was not rotated is kept.
fn credentials(app: &App, token: &Token, old_refresh_token: &str) -> Credentials {
    Credentials {
        access_token: token.access_token().to_owned(),
        refresh_token: token.refresh_token().unwrap_or(old_refresh_token).to_owned(),
        expires_us: token.expires_us(app.host.now_us()),
        extra: Vec::new(),
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
    session.get("me", &[]).await
}

/// The identity of the account: organization and user, by ids that never change.
async fn logged_in(
    app: &Arc<App>,
    call: &CallContext,
    auth_kind: AuthKind,
    credentials: Credentials,
) -> Result<LoggedIn, Error> {
    let session = Session::with(app, call, auth_kind, credentials.access_token.clone());
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
        base_url: app.options.api_url.clone(),
        scopes: SCOPES.map(str::to_owned).into(),
    })
}
