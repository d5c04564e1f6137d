//! Logins of the dummy: every name is accepted.
//!
//! A code or an API key is `user` or `user@organization`. Tokens contain the user and the number of refreshes.

use tether_connector_sdk::oauth::{Authorization, authorization_url};
use tether_connector_sdk::proto::{
    AuthKind, BeginAuthorizationRequest, BeginAuthorizationResponse, Connection, Credentials,
    ExchangeCodeRequest, Identity, LogInRequest, LoggedIn, RefreshResponse,
};
use tether_connector_sdk::{CallContext, Error};

use crate::crm::{Crm, Granted};
use crate::script::Settings;

const BASE_URL: &str = "https://api.dummy.invalid";

/// The user of a token, and the number of refreshes.
struct Token {
    user: String,
    organization: String,
    generation: u64,
}

impl Token {
    fn parse(text: &str, prefix: &str) -> Option<Self> {
        let mut parts = text.strip_prefix(prefix)?.strip_prefix('.')?.rsplitn(3, '.');
        let generation = parts.next()?.parse().ok()?;
        let organization = parts.next()?.to_owned();
        Some(Self {
            user: parts.next()?.to_owned(),
            organization,
            generation,
        })
    }

    fn credentials(&self, settings: &Settings, now_us: i64) -> Credentials {
        let Self {
            user,
            organization,
            generation,
        } = self;
        let life = settings.number("token_seconds", 3600).cast_signed();
        Credentials {
            access_token: format!("access.{user}.{organization}.{generation}"),
            refresh_token: format!("refresh.{user}.{organization}.{generation}"),
            expires_us: if life == 0 { 0 } else { now_us + life * 1_000_000 },
            extra: Vec::new(),
        }
    }
}

pub(crate) fn begin(
    settings: &Settings,
    request: &BeginAuthorizationRequest,
) -> Result<BeginAuthorizationResponse, Error> {
    let url = settings.text("authorize_url");
    let url = authorization_url(&Authorization {
        url: if url.is_empty() {
            "https://login.dummy.invalid/authorize"
        } else {
            url
        },
        client_id: settings.text("client_id"),
        redirect_uri: &request.redirect_uri,
        state: if settings.is_mutant("omits-state") {
            ""
        } else {
            &request.state
        },
        code_challenge: &request.code_challenge,
        scopes: &["read"],
        extra: &[("login_hint", &request.login_hint)],
    })?;
    Ok(BeginAuthorizationResponse { url })
}

pub(crate) async fn exchange(
    crm: &Crm,
    settings: &Settings,
    call: &CallContext,
    request: &ExchangeCodeRequest,
    now_us: i64,
) -> Result<LoggedIn, Error> {
    if let Some(error) = request.callback.get("error") {
        if settings.is_mutant("denial-is-transient") {
            return Err(Error::transient("the login failed"));
        }
        return Err(Error::invalid_input("the user denied the login in the browser").code(error.clone()));
    }
    if request.code_verifier.is_empty() {
        return Err(Error::invalid_input("the PKCE verifier is missing").code("invalid_grant"));
    }
    let code = request.callback.get("code").map_or("", String::as_str);
    if code.is_empty() {
        return Err(Error::invalid_input("the browser returned without a code").field("code"));
    }
    if settings.is_mutant("invalid-code-is-transient") {
        let granted = crm.token(settings, call, "code", code).await;
        granted.map_err(|_| Error::transient("the login failed"))?;
    }
    match crm.token(settings, call, "code", code).await? {
        Some(granted) => Ok(login(settings, granted, now_us)),
        None => logged_in(settings, code, now_us).map_err(|error| error.field("code")),
    }
}

pub(crate) async fn log_in(
    crm: &Crm,
    settings: &Settings,
    call: &CallContext,
    request: &LogInRequest,
    now_us: i64,
) -> Result<LoggedIn, Error> {
    if request.auth_kind() != AuthKind::ApiKey {
        return Err(Error::unsupported("the dummy supports API keys only"));
    }
    let key = request.parameters.get("api_key").map_or("", String::as_str);
    if settings.is_mutant("accepts-missing-key") {
        return logged_in(settings, "anybody", now_us);
    }
    if key.is_empty() {
        return Err(Error::invalid_input("the API key is missing").field("api_key"));
    }
    match crm
        .token(settings, call, "key", key)
        .await
        .map_err(|error| error.field("api_key"))?
    {
        Some(granted) => Ok(login(settings, granted, now_us)),
        None => logged_in(settings, key, now_us).map_err(|error| error.field("api_key")),
    }
}

fn logged_in(settings: &Settings, who: &str, now_us: i64) -> Result<LoggedIn, Error> {
    let (user, organization) = who.split_once('@').unwrap_or((who, "acme"));
    if user.is_empty() || who == "bad" {
        return Err(Error::invalid_input("the CRM does not know this code or key").code("invalid_grant"));
    }
    let granted = Granted {
        user: user.to_owned(),
        organization: organization.to_owned(),
        generation: 0,
    };
    Ok(login(settings, granted, now_us))
}

fn login(settings: &Settings, granted: Granted, now_us: i64) -> LoggedIn {
    let Granted {
        user,
        organization,
        generation,
    } = granted;
    let nonce = if settings.is_mutant("identity-changes") {
        generation
    } else {
        0
    };
    let identity = Identity {
        organization_id: format!("org-{organization}"),
        user_id: if nonce == 0 {
            format!("user-{user}")
        } else {
            format!("user-{user}-{nonce}")
        },
        organization_name: organization.clone(),
        username: format!("{user}@{organization}.invalid"),
        user_display_name: user.clone(),
    };
    let token = Token {
        user,
        organization,
        generation,
    };
    LoggedIn {
        credentials: Some(token.credentials(settings, now_us)),
        identity: Some(identity),
        base_url: settings.crm().unwrap_or(BASE_URL).to_owned(),
        scopes: vec!["read".to_owned()],
    }
}

pub(crate) async fn refresh(
    crm: &Crm,
    settings: &Settings,
    call: &CallContext,
    connection: &Connection,
    now_us: i64,
) -> Result<RefreshResponse, Error> {
    let text = connection.credentials.clone().unwrap_or_default().refresh_token;
    let Some(old) = Token::parse(&text, "refresh") else {
        return Err(
            Error::credentials_revoked("the CRM does not know the refresh token").code("invalid_grant"),
        );
    };
    let granted = crm.token(settings, call, "refresh", &text).await?;
    let new = Token {
        generation: granted.map_or(old.generation + 1, |granted| granted.generation),
        ..old
    };
    let mut credentials = new.credentials(settings, now_us);
    if settings.is_mutant("refresh-drops-refresh-token") {
        credentials.refresh_token.clear();
    }
    Ok(RefreshResponse {
        credentials: Some(credentials),
        // Unchanged.
        base_url: String::new(),
    })
}

/// Whether the CRM accepts the connection's access token.
pub(crate) fn check(settings: &Settings, connection: &Connection) -> Result<(), Error> {
    check_credentials(settings, &connection.credentials.clone().unwrap_or_default())
}

pub(crate) fn check_credentials(settings: &Settings, credentials: &Credentials) -> Result<(), Error> {
    let Some(token) = Token::parse(&credentials.access_token, "access") else {
        return Err(Error::credentials_revoked(
            "the CRM does not know the access token",
        ));
    };
    if token.generation < settings.number("valid_generation", 0) {
        return Err(Error::credentials_expired("the access token has expired").code("INVALID_SESSION"));
    }
    Ok(())
}
