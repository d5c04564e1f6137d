//! Sessions, grants, clients, users and limits.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::json;
use sim_kit::oauth;

use super::{Answer, Given, Refusal, done};
use crate::app::App;
use crate::hosts;
use crate::oauth::authorize::Request;
use crate::oauth::store::Client;

/// `GET /control/oauth/approve?url=…&username=…&decision=allow|deny`: the redirect of the browser after the user's
/// decision.
pub(crate) async fn approve(
    State(app): State<Arc<App>>,
    Query(asked): Query<HashMap<String, String>>,
) -> Answer {
    oauth::approve(&asked, |params, username, allow| {
        let username = match (username, params.get("login_hint")) {
            ("", Some(hint)) => hint.as_str(),
            ("", None) => "admin@acme.example",
            (name, _) => name,
        };
        Request::check(&app, params).and_then(|request| request.decide(&app, username, allow))
    })
}

#[derive(Deserialize)]
pub(crate) struct Who {
    user: Option<String>,
}

/// Issues an access token without a login, for scripts that test other features.
pub(crate) async fn token(State(app): State<Arc<App>>, headers: HeaderMap, Given(who): Given<Who>) -> Answer {
    let user = app.named_user(who.user.as_deref())?;
    let (org, id) = app.ids_of(user);
    let host = headers
        .get(header::HOST)
        .and_then(|h| h.to_str().ok())
        .unwrap_or("localhost");
    let mut oauth = app.oauth.lock();
    let token = oauth.session(&org, user, "api id web", None);
    Ok(Json(json!({
        "access_token": token, "instance_url": format!("http://{host}"), "organization_id": org, "user_id": id,
    })))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    rotation: Option<bool>,
    session_seconds: Option<i64>,
    token_delay_ms: Option<u64>,
    end_sessions: Option<bool>,
}

pub(crate) async fn settings(State(app): State<Arc<App>>, Given(settings): Given<Settings>) -> Answer {
    let mut oauth = app.oauth.lock();
    oauth.rotation = settings.rotation.unwrap_or(oauth.rotation);
    oauth.session_seconds = settings.session_seconds.unwrap_or(oauth.session_seconds);
    oauth.end_sessions = settings.end_sessions.unwrap_or(oauth.end_sessions);
    if let Some(delay) = settings.token_delay_ms {
        *app.token_delay_ms.lock() = delay;
    }
    let delay = *app.token_delay_ms.lock();
    Ok(Json(json!({
        "rotation": oauth.rotation, "sessionSeconds": oauth.session_seconds, "tokenDelayMs": delay,
        "endSessions": oauth.end_sessions,
    })))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Refused {
    callback: Option<String>,
    token: Option<String>,
    description: Option<String>,
}

/// Sets the error of logins and refreshes, until it is changed; `{}` for none.
pub(crate) async fn refusal(State(app): State<Arc<App>>, Given(refused): Given<Refused>) -> Answer {
    let with = |code: Option<String>| {
        code.map(|code| {
            let usual = crate::refusals::description(&code).unwrap_or_default();
            let text = refused.description.clone().unwrap_or_else(|| usual.to_owned());
            (code, text)
        })
    };
    let mut oauth = app.oauth.lock();
    oauth.callback_refusal = with(refused.callback.clone());
    oauth.token_refusal = with(refused.token.clone());
    done()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Move {
    from: String,
    to: String,
    how: hosts::How,
}

/// The org leaves a host: data is served at another one, which token replies name from now on.
pub(crate) async fn leave(State(app): State<Arc<App>>, Given(left): Given<Move>) -> Answer {
    let host = |text: &str| {
        text.trim_start_matches("http://")
            .trim_end_matches('/')
            .to_owned()
    };
    *app.left.lock() = Some(hosts::Left {
        from: host(&left.from),
        to: host(&left.to),
        how: left.how,
    });
    done()
}

/// Ends the move.
pub(crate) async fn come_back(State(app): State<Arc<App>>) -> Answer {
    *app.left.lock() = None;
    done()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewClient {
    id: String,
    secret: Option<String>,
    redirect_uris: Option<Vec<String>>,
    public_key: Option<String>,
    run_as: Option<String>,
    installed: Option<bool>,
}

/// Registers an app, or changes one.
pub(crate) async fn client(State(app): State<Arc<App>>, Given(new): Given<NewClient>) -> Answer {
    let run_as = app.named_user(new.run_as.as_deref())?;
    let mut oauth = app.oauth.lock();
    if !oauth.clients.iter().any(|c| c.id == new.id) {
        let (id, secret) = (new.id.clone(), new.secret.clone().unwrap_or_default());
        let (redirect_uris, public_key) = (Vec::new(), None);
        oauth.clients.push(Client {
            id,
            secret,
            redirect_uris,
            public_key,
            run_as,
            installed: true,
        });
    }
    for client in oauth.clients.iter_mut().filter(|c| c.id == new.id) {
        client.secret = new.secret.clone().unwrap_or(client.secret.clone());
        client.redirect_uris = new.redirect_uris.clone().unwrap_or(client.redirect_uris.clone());
        client.public_key = new.public_key.clone().or(client.public_key.clone());
        client.installed = new.installed.unwrap_or(client.installed);
        if new.run_as.is_some() {
            client.run_as = run_as;
        }
    }
    done()
}

/// The approvals and sessions, without secrets.
pub(crate) async fn state(State(app): State<Arc<App>>) -> Answer {
    let oauth = app.oauth.lock();
    let name = |user: crate::app::UserKey| {
        app.orgs[user.org]
            .read()
            .user(user.user)
            .map(|u| u.username.clone())
    };
    let grants: Vec<_> = oauth
        .grants
        .iter()
        .map(|g| {
            json!({
                "id": g.id, "client": g.client, "user": name(g.user), "scope": g.scope,
                "revoked": g.revoked, "spentTokens": g.spent.len(),
            })
        })
        .collect();
    let sessions: Vec<_> = oauth
        .sessions
        .values()
        .map(|s| json!({ "user": name(s.user), "grant": s.grant, "expires": s.expires }))
        .collect();
    Ok(Json(json!({
        "rotation": oauth.rotation, "rotated": oauth.rotated, "reused": oauth.reused,
        "grants": grants, "sessions": sessions,
    })))
}

/// Ends access tokens, of one user or of all. Refresh tokens stay valid.
pub(crate) async fn expire(State(app): State<Arc<App>>, Given(who): Given<Who>) -> Answer {
    let user = who.user.as_deref().map(|u| app.named_user(Some(u))).transpose()?;
    let mut oauth = app.oauth.lock();
    let before = oauth.sessions.len();
    oauth.sessions.retain(|_, s| user.is_some_and(|u| u != s.user));
    Ok(Json(json!({ "expired": before - oauth.sessions.len() })))
}

/// Revokes the approvals of a user, as an administrator can: ends refresh tokens and sessions.
pub(crate) async fn revoke(State(app): State<Arc<App>>, Given(who): Given<Who>) -> Answer {
    let user = app.named_user(who.user.as_deref())?;
    let mut oauth = app.oauth.lock();
    let ids: Vec<u64> = oauth
        .grants
        .iter()
        .filter(|g| g.user == user && !g.revoked)
        .map(|g| g.id)
        .collect();
    ids.iter().for_each(|id| oauth.revoke_grant(*id));
    Ok(Json(json!({ "revoked": ids.len() })))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct UserChange {
    user: String,
    active: Option<bool>,
    api_enabled: Option<bool>,
}

pub(crate) async fn user(State(app): State<Arc<App>>, Given(change): Given<UserChange>) -> Answer {
    let key = app.named_user(Some(&change.user))?;
    let mut org = app.orgs[key.org].write();
    let user = org.users.iter_mut().find(|u| u.row == key.user);
    let user = user.ok_or_else(|| Refusal("there is no such user".to_owned()))?;
    user.active = change.active.unwrap_or(user.active);
    user.api_enabled = change.api_enabled.unwrap_or(user.api_enabled);
    if !user.active {
        app.oauth.lock().sessions.retain(|_, s| s.user != key);
    }
    done()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Limits {
    org: Option<String>,
    max: Option<u64>,
    used: Option<u64>,
    /// False locks the whole org.
    active: Option<bool>,
    /// The allowance of the app alone, shown after that of the org. A `max` of 0 ends it.
    app: Option<AppLimit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AppLimit {
    name: String,
    used: u64,
    max: u64,
}

pub(crate) async fn limits(State(app): State<Arc<App>>, Given(limits): Given<Limits>) -> Answer {
    let mut org = app.named_org(limits.org.as_deref())?.write();
    org.api_max = limits.max.unwrap_or(org.api_max);
    org.api_used = Arc::new(limits.used.unwrap_or(org.used()).into());
    if let Some(app) = limits.app {
        org.app_limit = (app.max > 0).then_some((app.name, app.used, app.max));
    }
    org.active = limits.active.unwrap_or(org.active);
    Ok(Json(
        json!({ "max": org.api_max, "used": org.used(), "active": org.active }),
    ))
}

/// Invalidates every open query: the next page is an INVALID_QUERY_LOCATOR.
pub(crate) async fn drop_cursors(State(app): State<Arc<App>>) -> Answer {
    app.cursors.lock().clear();
    done()
}
