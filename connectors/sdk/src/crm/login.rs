//! How people and programs log in to a CRM.

use std::future::{Future, ready};
use std::sync::Arc;

use crate::CallContext;
use crate::oauth::{self, App, Token, TokenError};
use crate::proto::{
    AuthKind, AuthMethod, BeginAuthorizationRequest, Connection, Credentials, Error, ErrorKind,
    ExchangeCodeRequest, Identity, LogInRequest, LoggedIn, RefreshResponse, Setting,
};
use crate::session::{Api, Session};
use crate::settings;

/// The parameter of [`api_key`].
pub const API_KEY: &str = "api_key";

/// The login method in the browser.
#[must_use]
pub fn browser() -> AuthMethod {
    AuthMethod {
        kind: AuthKind::AuthorizationCode.into(),
        parameters: Vec::new(),
    }
}

/// The login method with a key, in the parameter [`API_KEY`].
#[must_use]
pub fn api_key(label: &str, description: &str) -> AuthMethod {
    let parameter = Setting {
        key: API_KEY.to_owned(),
        label: label.to_owned(),
        description: description.to_owned(),
        required: true,
        secret: true,
        ..Setting::default()
    };
    AuthMethod {
        kind: AuthKind::ApiKey.into(),
        parameters: vec![parameter],
    }
}

/// How people and programs log in to a CRM.
///
/// The calls have the forms of OAuth 2.0 and of API keys: [`Login::app`] gives the CRM's addresses, [`Login::identity`]
/// whose login it is. A CRM with logins of another form implements the calls itself.
pub trait Login: Api {
    /// Whether a login with an API key is offered.
    const KEYS: bool = false;

    /// The operator's app at the CRM, for logins in the browser.
    ///
    /// # Errors
    /// CONFIGURATION if the operator has configured none; see [`settings::needed`]. UNSUPPORTED by default.
    fn app(&self) -> Result<App, Error> {
        unsupported("authorization in the browser")
    }

    /// The API's address of the account, if the reply with a token names it; empty means that there is none, or that it
    /// is unchanged.
    fn address(token: &Token) -> String {
        let _ = token;
        String::new()
    }

    /// Whose login it is, by ids that never change.
    fn identity(session: &Session<Self>) -> impl Future<Output = Result<Identity, Error>> + Send {
        let _ = session;
        ready(unsupported("a login"))
    }

    /// The URL for the browser login.
    fn authorization_url(&self, request: &BeginAuthorizationRequest) -> Result<String, Error> {
        self.app()?.authorization_url(request)
    }

    /// Completes a browser login. A token that is not kept is revoked.
    fn exchange_code(
        self: &Arc<Self>,
        call: &CallContext,
        request: &ExchangeCodeRequest,
    ) -> impl Future<Output = Result<LoggedIn, Error>> + Send {
        exchange_code(self, call, request)
    }

    /// Logs in without a browser.
    fn log_in(
        self: &Arc<Self>,
        call: &CallContext,
        request: &LogInRequest,
    ) -> impl Future<Output = Result<LoggedIn, Error>> + Send {
        log_in(self, call, request)
    }

    /// Gets new credentials. An empty `base_url` in the answer means that it is unchanged.
    fn refresh(
        self: &Arc<Self>,
        call: &CallContext,
        connection: Connection,
    ) -> impl Future<Output = Result<RefreshResponse, Error>> + Send {
        refresh(self, call, connection)
    }

    /// Revokes the credentials; returns whether the CRM no longer knew them.
    fn revoke(
        self: &Arc<Self>,
        call: &CallContext,
        connection: Connection,
    ) -> impl Future<Output = Result<bool, Error>> + Send {
        revoke(self, call, connection)
    }
}

fn unsupported<T>(what: &str) -> Result<T, Error> {
    Err(Error::unsupported(format!(
        "this connector does not offer {what}"
    )))
}

async fn exchange_code<L: Login>(
    crm: &Arc<L>,
    call: &CallContext,
    request: &ExchangeCodeRequest,
) -> Result<LoggedIn, Error> {
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
    let app = crm.app()?;
    let code = oauth::callback_code(&request.callback).map_err(refused)?;
    let verifier = if app.pkce {
        request.code_verifier.as_str()
    } else {
        ""
    };
    let exchanged = app
        .endpoint
        .exchange_code(crm.http(), call, code, verifier, &request.redirect_uri);
    let token = exchanged.await.map_err(refused)?;
    let (kind, address) = (AuthKind::AuthorizationCode, L::address(&token));
    let session = Session::with_token(crm, call, kind, &address, token.access_token().to_owned());
    let identity = match L::identity(&session).await {
        Ok(identity) => identity,
        Err(error) => {
            give_back(crm, call, &app, &token).await;
            return Err(error);
        }
    };
    let granted = token.scopes();
    Ok(LoggedIn {
        credentials: Some(token.credentials(crm.host().now_us(), Credentials::default())),
        identity: Some(identity),
        base_url: session.url(""),
        scopes: if granted.is_empty() { app.scopes } else { granted },
    })
}

/// Revokes a token that is not kept. Errors are ignored: the original error is more important.
async fn give_back<L: Login>(crm: &Arc<L>, call: &CallContext, app: &App, token: &Token) {
    if app.revoke_url.is_empty() {
        return;
    }
    let secret = token.refresh_token().unwrap_or(token.access_token());
    let revoked = app.endpoint.revoke(crm.http(), call, &app.revoke_url, secret);
    if let Err(error) = revoked.await {
        let kind = error.into_error().label();
        tracing::warn!(kind, "a token that was not kept could not be revoked");
    }
}

async fn log_in<L: Login>(
    crm: &Arc<L>,
    call: &CallContext,
    request: &LogInRequest,
) -> Result<LoggedIn, Error> {
    let kind = request.auth_kind();
    if !(L::KEYS && kind == AuthKind::ApiKey) {
        return unsupported("this way to log in");
    }
    let wrong = |text: String| Error::invalid_input(text).field(API_KEY);
    let key = settings::Settings::new(&request.parameters).text(API_KEY);
    if key.is_empty() {
        return Err(wrong("the API key is missing".to_owned()));
    }
    let session = Session::with_token(crm, call, kind, "", key.clone());
    let identity = L::identity(&session).await.map_err(|error| match error.what() {
        ErrorKind::CredentialsRevoked | ErrorKind::CredentialsExpired => {
            wrong(format!("{} does not know this API key", L::CRM))
        }
        _ => error,
    })?;
    Ok(LoggedIn {
        credentials: Some(Credentials {
            access_token: key,
            ..Credentials::default()
        }),
        identity: Some(identity),
        base_url: session.url(""),
        scopes: Vec::new(),
    })
}

async fn refresh<L: Login>(
    crm: &Arc<L>,
    call: &CallContext,
    connection: Connection,
) -> Result<RefreshResponse, Error> {
    if connection.auth_kind() == AuthKind::ApiKey {
        // A key does not expire, so it is either valid or revoked.
        L::identity(&Session::new(crm, call, Some(&connection))?).await?;
        return Ok(RefreshResponse {
            credentials: connection.credentials,
            base_url: String::new(),
        });
    }
    let app = crm.app()?;
    let old = connection.credentials.unwrap_or_default();
    let refresh_token = settings::refresh_token(&old)?;
    let refreshed = app.endpoint.refresh(crm.http(), call, refresh_token).await;
    let token = refreshed.map_err(TokenError::into_error)?;
    Ok(RefreshResponse {
        base_url: L::address(&token),
        credentials: Some(token.credentials(crm.host().now_us(), old)),
    })
}

async fn revoke<L: Login>(crm: &Arc<L>, call: &CallContext, connection: Connection) -> Result<bool, Error> {
    if connection.auth_kind() == AuthKind::ApiKey {
        let text = format!("an API key is revoked in the settings of {}", L::CRM);
        return Err(Error::unsupported(text));
    }
    let app = crm.app()?;
    if app.revoke_url.is_empty() {
        return unsupported("revoking credentials");
    }
    let credentials = connection.credentials.unwrap_or_default();
    match oauth::revocable(&credentials) {
        "" => Ok(true),
        token => {
            let revoked = app.endpoint.revoke(crm.http(), call, &app.revoke_url, token);
            revoked.await.map_err(TokenError::into_error)
        }
    }
}
