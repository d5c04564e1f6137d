//! Logins, tokens, apps and limits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::json;
use sim_kit::oauth;

use super::{Answer, Given, Refusal, done, portal};
use crate::app::{App, now_ms};
use crate::oauth::READ_SCOPES;
use crate::oauth::authorize::Request;
use crate::oauth::store::{Client, Grant, PrivateApp, random};

/// `GET /control/oauth/approve?url=…&username=…&decision=allow|deny`: the redirect of the browser after the user's
/// decision.
pub(crate) async fn approve(
    State(app): State<Arc<App>>,
    Query(asked): Query<HashMap<String, String>>,
) -> Answer {
    oauth::approve(&asked, |params, username, allow| {
        let username = match username {
            "" => "admin@acme.example",
            name => name,
        };
        Request::check(&app, params).and_then(|request| request.decide(&app, username, allow))
    })
}

#[derive(Deserialize)]
pub(crate) struct Who {
    user: Option<String>,
}

/// The user's hub and id.
fn find(app: &App, email: Option<&str>) -> Result<(u64, u64), Refusal> {
    let email = email.unwrap_or("admin@acme.example");
    let portals = app.portals.lock();
    portals
        .iter()
        .find_map(|p| p.users.iter().find(|u| u.email == email).map(|u| (p.id, u.id)))
        .ok_or_else(|| Refusal(format!("there is no user {email}")))
}

/// Issues an access token without a login, for scripts that test other features.
pub(crate) async fn token(State(app): State<Arc<App>>, Given(who): Given<Who>) -> Answer {
    let (hub_id, user_id) = find(&app, who.user.as_deref())?;
    let mut oauth = app.oauth.lock();
    let client = oauth.clients[0].id.clone();
    let refresh_token = format!("na1-{}", random(32));
    let scopes = READ_SCOPES.map(str::to_owned).to_vec();
    let at = oauth.keep(Grant {
        refresh_token,
        client,
        hub_id,
        user_id,
        scopes,
        revoked: false,
    });
    let access_token = oauth.session(at);
    Ok(Json(json!({
        "access_token": access_token, "refresh_token": oauth.grants[at].refresh_token, "hub_id": hub_id,
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Settings {
    portal: Option<String>,
    session_seconds: Option<i64>,
    same_refresh_token: Option<bool>,
    scrambled: Option<bool>,
    index_lag_ms: Option<i64>,
    index_stopped: Option<bool>,
    associations_a_page: Option<usize>,
    association_inputs: Option<usize>,
}

pub(crate) async fn settings(State(app): State<Arc<App>>, Given(settings): Given<Settings>) -> Answer {
    let stopped_ms = settings.index_stopped.map(|stopped| stopped.then(now_ms));
    if settings.index_stopped == Some(true) {
        // The next change is in another millisecond.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut portals = app.portals.lock();
    let quirks = &mut portal(&mut portals, settings.portal.as_deref())?.quirks;
    quirks.scrambled = settings.scrambled.unwrap_or(quirks.scrambled);
    quirks.index_lag_ms = settings.index_lag_ms.unwrap_or(quirks.index_lag_ms);
    quirks.index_stopped_ms = stopped_ms.unwrap_or(quirks.index_stopped_ms);
    quirks.associations_a_page = settings.associations_a_page.unwrap_or(quirks.associations_a_page);
    quirks.association_inputs = settings.association_inputs.unwrap_or(quirks.association_inputs);
    let mut oauth = app.oauth.lock();
    oauth.session_seconds = settings.session_seconds.unwrap_or(oauth.session_seconds);
    oauth.same_refresh_token = settings.same_refresh_token.unwrap_or(oauth.same_refresh_token);
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct NewClient {
    id: String,
    secret: Option<String>,
    redirect_uris: Option<Vec<String>>,
}

/// Registers an app, or changes one.
pub(crate) async fn client(State(app): State<Arc<App>>, Given(new): Given<NewClient>) -> Answer {
    let mut oauth = app.oauth.lock();
    if oauth.client(&new.id).is_none() {
        let app_id = 456_789 + oauth.clients.len() as u64;
        oauth.clients.push(Client {
            id: new.id.clone(),
            secret: String::new(),
            app_id,
            redirect_uris: Vec::new(),
        });
    }
    for client in oauth.clients.iter_mut().filter(|c| c.id == new.id) {
        client.secret = new.secret.clone().unwrap_or(client.secret.clone());
        client.redirect_uris = new.redirect_uris.clone().unwrap_or(client.redirect_uris.clone());
    }
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct NewPrivateApp {
    user: Option<String>,
    token: Option<String>,
    scopes: Option<Vec<String>>,
    #[serde(default)]
    delete: bool,
}

/// Creates a private app, changes its scopes, or deletes it; returns its token.
pub(crate) async fn private_app(State(app): State<Arc<App>>, Given(new): Given<NewPrivateApp>) -> Answer {
    let (hub_id, user_id) = find(&app, new.user.as_deref())?;
    let mut oauth = app.oauth.lock();
    let id = crate::refusal::correlation_id();
    let token = new.token.unwrap_or_else(|| format!("pat-na1-{id}"));
    let old = oauth.private_apps.iter().position(|a| a.token == token);
    let old = old.map(|at| oauth.private_apps.remove(at));
    if !new.delete {
        let scopes = new
            .scopes
            .unwrap_or_else(|| READ_SCOPES.map(str::to_owned).to_vec());
        let app_id = old
            .as_ref()
            .map_or(777_100 + oauth.private_apps.len() as u64, |a| a.app_id);
        oauth.private_apps.push(PrivateApp {
            token: token.clone(),
            hub_id: old.as_ref().map_or(hub_id, |a| a.hub_id),
            user_id: old.as_ref().map_or(user_id, |a| a.user_id),
            app_id,
            scopes,
        });
    }
    Ok(Json(json!({ "token": token })))
}

/// The grants and access tokens, without secrets.
pub(crate) async fn state(State(app): State<Arc<App>>) -> Answer {
    let portals = app.portals.lock();
    let name = |id: u64| {
        portals
            .iter()
            .flat_map(|p| &p.users)
            .find(|u| u.id == id)
            .map(|u| u.email.clone())
    };
    let oauth = app.oauth.lock();
    let grants: Vec<_> = oauth
        .grants
        .iter()
        .map(|g| json!({ "user": name(g.user_id), "client": g.client, "scopes": g.scopes, "revoked": g.revoked }))
        .collect();
    let private: Vec<_> = oauth
        .private_apps
        .iter()
        .map(|a| json!({ "user": name(a.user_id), "appId": a.app_id, "scopes": a.scopes }))
        .collect();
    Ok(Json(json!({
        "grants": grants, "privateApps": private, "sessions": oauth.sessions.len(),
    })))
}

/// Ends access tokens, of one user or of all. Refresh tokens stay valid.
pub(crate) async fn expire(State(app): State<Arc<App>>, Given(who): Given<Who>) -> Answer {
    let user = who.user.as_deref().map(|u| find(&app, Some(u))).transpose()?;
    let mut oauth = app.oauth.lock();
    let mine: Vec<bool> = oauth
        .grants
        .iter()
        .map(|g| user.is_none_or(|(_, id)| g.user_id == id))
        .collect();
    let now = now_ms();
    let mut expired = 0;
    for session in oauth.sessions.values_mut().filter(|s| mine[s.grant]) {
        session.expires_ms = now;
        expired += 1;
    }
    Ok(Json(json!({ "expired": expired })))
}

/// Uninstalls the app for a user: ends its refresh and access tokens.
pub(crate) async fn revoke(State(app): State<Arc<App>>, Given(who): Given<Who>) -> Answer {
    let (_, user_id) = find(&app, who.user.as_deref())?;
    let mut oauth = app.oauth.lock();
    let tokens: Vec<String> = oauth
        .grants
        .iter()
        .filter(|g| g.user_id == user_id && !g.revoked)
        .map(|g| g.refresh_token.clone())
        .collect();
    let revoked = tokens.iter().filter(|token| oauth.revoke(token, true)).count();
    Ok(Json(json!({ "revoked": revoked })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct NewLimits {
    burst: Option<u32>,
    interval_ms: Option<i64>,
    searches: Option<u32>,
    daily: Option<u64>,
    daily_used: Option<u64>,
}

/// Sets the windows, and restarts them.
pub(crate) async fn limits(State(app): State<Arc<App>>, Given(new): Given<NewLimits>) -> Answer {
    let mut limits = app.limits.lock();
    limits.burst = new.burst.unwrap_or(limits.burst);
    limits.interval_ms = new.interval_ms.unwrap_or(limits.interval_ms);
    limits.searches = new.searches.unwrap_or(limits.searches);
    limits.daily = new.daily.unwrap_or(limits.daily);
    limits.daily_used = new.daily_used.unwrap_or(limits.daily_used);
    limits.forget();
    done()
}
