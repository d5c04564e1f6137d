//! The identity of a login. The ids identify the account for the limit of five, so they are required; names are
//! optional.

use std::sync::Arc;

use serde::Deserialize;
use tether_connector_sdk::CallContext;
use tether_connector_sdk::oauth::Token;
use tether_connector_sdk::proto::{AuthKind, Error, Identity};
use tether_connector_sdk::session::Urgency;

use crate::rest::{App, Session};
use crate::{ids, token};

/// The replies of the identity address and of userinfo, with the names of either.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Said {
    organization_id: Option<String>,
    user_id: Option<String>,
    #[serde(alias = "preferred_username")]
    username: Option<String>,
    #[serde(alias = "name")]
    display_name: Option<String>,
}

#[derive(Deserialize)]
struct Organizations {
    #[serde(default)]
    records: Vec<Organization>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Organization {
    #[serde(default)]
    name: Option<String>,
}

/// Requests the identity of the login.
pub(crate) async fn find(
    app: &Arc<App>,
    call: &CallContext,
    auth_kind: AuthKind,
    base_url: &str,
    token: &Token,
) -> Result<Identity, Error> {
    let access_token = token.access_token().to_owned();
    let session =
        Session::with_token(app, call, auth_kind, base_url, access_token).with_urgency(Urgency::User);
    let ids = token.extra_text("id").and_then(token::identity_ids);
    // The identity address names a login host. Only its path is used, because the instance answers it too.
    let path = match &ids {
        Some((organization, user)) => format!("/id/{organization}/{user}"),
        None => "/services/oauth2/userinfo".to_owned(),
    };
    let said = session.json::<Said>(&path).await;
    let (organization_id, user_id) = match (ids, &said) {
        (Some(ids), _) => ids,
        (None, Ok(said)) => {
            let id = |id: &Option<String>| id.as_deref().and_then(ids::normalise);
            let both = id(&said.organization_id).zip(id(&said.user_id));
            both.ok_or_else(|| Error::bug("Salesforce did not say whose login it is"))?
        }
        (None, Err(error)) => return Err(error.clone()),
    };
    let said = said.unwrap_or_default();
    let query = session.api().query_path("SELECT Name FROM Organization", false);
    let organizations = session
        .json::<Organizations>(&query)
        .await
        .map(|found| found.records)
        .unwrap_or_default();
    let organization_name = organizations
        .into_iter()
        .next()
        .and_then(|organization| organization.name);
    Ok(Identity {
        organization_id,
        user_id,
        organization_name: organization_name.unwrap_or_default(),
        username: said.username.unwrap_or_default(),
        user_display_name: said.display_name.unwrap_or_default(),
    })
}
