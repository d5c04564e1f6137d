//! The identity of a login. The ids identify the account for the limit of five, so they are required; names are
//! optional.

use std::sync::Arc;

use serde::Deserialize;
use tether_connector_sdk::CallContext;
use tether_connector_sdk::http::{Request, StatusCode};
use tether_connector_sdk::proto::{AuthKind, Error, Identity};
use tether_connector_sdk::session::Urgency;

use crate::bodies::{self, PrivateApp};
use crate::errors;
use crate::options::OAuthApi;
use crate::rest::{App, PRIVATE_APP, Session};
use crate::token;

/// The reply about an access token, of both API generations.
#[derive(Deserialize)]
struct Described {
    /// The newer one always has it; the older one refuses inactive tokens.
    active: Option<bool>,
    hub_id: Option<u64>,
    user_id: Option<u64>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    hub_domain: Option<String>,
}

/// The reply about a private app's token.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AppDescribed {
    hub_id: u64,
    user_id: u64,
    app_id: Option<u64>,
    #[serde(default)]
    scopes: Vec<String>,
}

/// `GET /account-info/v3/details`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    portal_id: u64,
}

impl App {
    /// Requests the user who installed the app.
    pub(crate) async fn who(&self, call: &CallContext, access_token: &str) -> Result<Identity, Error> {
        let base = &self.options.api_base;
        let request = match self.options.oauth_api {
            OAuthApi::V1 => Request::get(&format!("{base}/oauth/v1/access-tokens/{access_token}"))?,
            OAuthApi::Dated => {
                let url = format!("{base}{}", self.options.token_path("/introspect"));
                let form = [
                    ("client_id", self.options.client_id.as_str()),
                    ("client_secret", self.options.client_secret.as_str()),
                    ("token", access_token),
                    ("token_type_hint", "access_token"),
                ];
                Request::post_form(&url, form)?
            }
        };
        let response = self.http.send(call, request.accept("application/json")).await?;
        if !response.status.is_success() {
            return Err(token::refusal(&response));
        }
        let said: Described = serde_json::from_slice(&response.body)
            .map_err(|_| Error::transient("HubSpot did not say whose login it is").code("oauth.garbage"))?;
        let active = said.active.unwrap_or(self.options.oauth_api == OAuthApi::V1);
        let both = said.hub_id.zip(said.user_id).filter(|_| active);
        let (hub_id, user_id) = both.ok_or_else(|| Error::bug("HubSpot did not say whose login it is"))?;
        Ok(Identity {
            organization_id: hub_id.to_string(),
            user_id: user_id.to_string(),
            organization_name: said.hub_domain.unwrap_or_else(|| portal(hub_id)),
            username: said.user.unwrap_or_default(),
            user_display_name: String::new(),
        })
    }

    /// Requests the account, user and scopes of a private app's token. The user is the creator of the app: the token
    /// has the scopes granted at that time, and ends when the app is deleted.
    pub(crate) async fn whose_app(
        self: &Arc<Self>,
        call: &CallContext,
        key: &str,
    ) -> Result<(Identity, Vec<String>), Error> {
        let url = format!("{}{PRIVATE_APP}", self.options.api_base);
        let body = bodies::text(&PrivateApp {
            token_key: key.to_owned(),
        });
        let request = Request::post_json(&url, body)?
            .bearer(key)?
            .accept("application/json");
        let response = self.http.send(call, request).await?;
        let described = response
            .status
            .is_success()
            .then(|| serde_json::from_slice::<AppDescribed>(&response.body).ok())
            .flatten();
        if let Some(app) = described {
            let name = match app.app_id {
                Some(id) => format!("private app {id} of user {}", app.user_id),
                None => format!("private app of user {}", app.user_id),
            };
            let identity = Identity {
                organization_id: app.hub_id.to_string(),
                user_id: app.user_id.to_string(),
                organization_name: portal(app.hub_id),
                username: name,
                user_display_name: String::new(),
            };
            return Ok((identity, app.scopes));
        }
        let status = response.status;
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status.is_success() {
            let said = errors::read(&response.body);
            return Err(Error::transient(format!(
                "HubSpot could not say whose the token is ({status} {})",
                said.text
            )));
        }
        // Newer kinds of keys may be valid but unknown to this endpoint. Then all keys of a portal count as one
        // account: the count is rather too high than too low.
        let session = Session::with_token(self, call, AuthKind::ApiKey, "", key.to_owned());
        let session = session.with_urgency(Urgency::User);
        let details: Details = session.json("/account-info/v3/details").await?;
        let identity = Identity {
            organization_id: details.portal_id.to_string(),
            user_id: format!("key-of-{}", details.portal_id),
            organization_name: portal(details.portal_id),
            username: format!("access key of portal {}", details.portal_id),
            user_display_name: String::new(),
        };
        Ok((identity, Vec::new()))
    }
}

fn portal(hub_id: u64) -> String {
    format!("portal {hub_id}")
}
