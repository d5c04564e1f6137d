//! Login, token refresh and revocation: the CRM's addresses, and whose login it is. A CRM whose logins have another form
//! implements the calls of `Login` itself.

use serde::Deserialize;
use tether_connector_sdk::Error;
use tether_connector_sdk::crm::{Login, api_key, browser};
use tether_connector_sdk::oauth::{self, ClientAuth, Token, TokenEndpoint};
use tether_connector_sdk::proto::{AuthMethod, Identity};
use tether_connector_sdk::settings;

use crate::api::{App, Session};

/// The login methods, the usual one first.
pub(crate) fn methods() -> Vec<AuthMethod> {
    vec![
        browser(),
        api_key("API key", "Made in the CRM's settings, with the right to read."),
    ]
}

#[derive(Deserialize)]
struct Me {
    organization: Named,
    user: Named,
    email: String,
}

#[derive(Deserialize)]
struct Named {
    id: u64,
    name: String,
}

impl Login for App {
    const KEYS: bool = true;

    fn app(&self) -> Result<oauth::App, Error> {
        let options = &self.options;
        settings::needed("client_id", &options.client_id)?;
        settings::needed("client_secret", &options.client_secret)?;
        Ok(oauth::App {
            authorize_url: format!("{}/oauth/authorize", options.login_url),
            endpoint: TokenEndpoint {
                url: format!("{}/oauth/token", options.login_url),
                client_id: options.client_id.clone(),
                client_secret: options.client_secret.clone(),
                // Or `Form`.
                client_auth: ClientAuth::Basic,
            },
            revoke_url: format!("{}/oauth/revoke", options.login_url),
            // The smallest that work, without write access.
            scopes: vec!["read".to_owned()],
            pkce: true,
        })
    }

    /// The reply with a token names the account's address of the API; accounts move.
    fn address(token: &Token) -> String {
        token.extra_text("api_domain").unwrap_or_default().to_owned()
    }

    /// Organization and user, by ids that never change.
    async fn identity(session: &Session) -> Result<Identity, Error> {
        let me: Me = session.json("/api/v1/me").await?;
        Ok(Identity {
            organization_id: me.organization.id.to_string(),
            user_id: me.user.id.to_string(),
            organization_name: me.organization.name,
            username: me.email,
            user_display_name: me.user.name,
        })
    }
}
