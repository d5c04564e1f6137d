//! The token endpoints: v1, which ends in February 2027 and has tokens in paths, and its successor, which has all
//! parameters in the form.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::store::{Grant, NoCaller, OAuth};
use crate::app::{App, now_ms};
use crate::refusal::Refusal;

type Params = HashMap<String, String>;

fn check_client(oauth: &OAuth, form: &Params) -> Result<String, Refusal> {
    let get = |name: &str| form.get(name).map_or("", String::as_str);
    let Some(client) = oauth.client(get("client_id")) else {
        let message = "missing or invalid client id";
        return Err(Refusal::oauth(400, "invalid_client", "BAD_CLIENT_ID", message));
    };
    if client.secret != get("client_secret") {
        let message = "missing or invalid client secret";
        return Err(Refusal::oauth(
            400,
            "invalid_client",
            "BAD_CLIENT_SECRET",
            message,
        ));
    }
    Ok(client.id.clone())
}

/// `POST …/token`.
pub(crate) async fn token(State(app): State<Arc<App>>, Form(form): Form<Params>) -> Response {
    let mut oauth = app.oauth.lock();
    match exchange(&mut oauth, &form) {
        Ok(answer) => Json(answer).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

fn exchange(oauth: &mut OAuth, form: &Params) -> Result<Value, Refusal> {
    let get = |name: &str| form.get(name).map_or("", String::as_str);
    let client = check_client(oauth, form)?;
    let at = match get("grant_type") {
        "authorization_code" => {
            let unknown = || {
                Refusal::oauth(
                    400,
                    "invalid_grant",
                    "BAD_AUTH_CODE",
                    "missing or unknown auth code",
                )
            };
            let code = oauth.codes.remove(get("code")).ok_or_else(unknown)?;
            if code.grant.client != client {
                return Err(unknown());
            }
            if code.redirect_uri != get("redirect_uri") {
                let message = "redirect URI does not match the one the code was given for";
                return Err(Refusal::oauth(
                    400,
                    "invalid_grant",
                    "MISMATCH_REDIRECT_URI_AUTH_CODE",
                    message,
                ));
            }
            oauth.keep(code.grant)
        }
        "refresh_token" => {
            let live =
                |g: &Grant| g.refresh_token == get("refresh_token") && g.client == client && !g.revoked;
            oauth.grants.iter().position(live).ok_or_else(|| {
                let message = "refresh token is invalid, expired or revoked";
                Refusal::oauth(400, "invalid_grant", "BAD_REFRESH_TOKEN", message)
            })?
        }
        _ => {
            let message = "missing or unknown grant type";
            return Err(Refusal::oauth(
                400,
                "unsupported_grant_type",
                "BAD_GRANT_TYPE",
                message,
            ));
        }
    };
    let access_token = oauth.session(at);
    let grant = &oauth.grants[at];
    Ok(json!({
        "token_type": "bearer", "refresh_token": grant.refresh_token, "access_token": access_token,
        "hub_id": grant.hub_id, "scopes": grant.scopes, "expires_in": oauth.session_seconds,
    }))
}

/// The properties of a token, for both versions.
fn describe(app: &App, token: &str) -> Option<Value> {
    let oauth = app.oauth.lock();
    let session = oauth.sessions.get(token)?;
    let left = (session.expires_ms - now_ms()) / 1_000;
    let grant = &oauth.grants[session.grant];
    if left < 0 {
        return None;
    }
    let portals = app.portals.lock();
    let portal = portals.iter().find(|p| p.id == grant.hub_id)?;
    let email = portal
        .users
        .iter()
        .find(|u| u.id == grant.user_id)
        .map(|u| &u.email);
    Some(json!({
        "token": token, "user": email, "hub_domain": portal.domain, "scopes": grant.scopes, "hub_id": grant.hub_id,
        "app_id": oauth.client(&grant.client).map(|c| c.app_id), "expires_in": left, "user_id": grant.user_id,
        "token_type": "access", "is_private_distribution": false,
    }))
}

/// `GET /oauth/v1/access-tokens/{token}`.
pub(crate) async fn access_token(State(app): State<Arc<App>>, Path(token): Path<String>) -> Response {
    match describe(&app, &token) {
        Some(answer) => Json(answer).into_response(),
        None => Refusal::oauth(404, "invalid_token", "error", "access token not found").into_response(),
    }
}

/// `DELETE /oauth/v1/refresh-tokens/{token}`.
pub(crate) async fn forget(State(app): State<Arc<App>>, Path(token): Path<String>) -> Response {
    if app.oauth.lock().revoke(&token, false) {
        StatusCode::NO_CONTENT.into_response()
    } else {
        Refusal::oauth(404, "invalid_token", "error", "refresh token not found").into_response()
    }
}

/// `POST …/token/introspect`: 200 for any token.
pub(crate) async fn introspect(State(app): State<Arc<App>>, Form(form): Form<Params>) -> Response {
    if let Err(refusal) = check_client(&app.oauth.lock(), &form) {
        return refusal.into_response();
    }
    let token = form.get("token").map_or("", String::as_str);
    let Some(mut answer) = describe(&app, token) else {
        return Json(json!({ "active": false })).into_response();
    };
    answer["active"] = true.into();
    answer["token_use"] = "access_token".into();
    answer["token_type"] = "bearer".into();
    answer["client_id"] = form.get("client_id").cloned().into();
    Json(answer).into_response()
}

/// `POST …/token/revoke`: 200 for any token (RFC 7009).
pub(crate) async fn revoke(State(app): State<Arc<App>>, Form(form): Form<Params>) -> Response {
    let mut oauth = app.oauth.lock();
    if let Err(refusal) = check_client(&oauth, &form) {
        return refusal.into_response();
    }
    let token = form.get("token").map_or("", String::as_str);
    if !oauth.revoke(token, false) {
        oauth.sessions.remove(token);
    }
    StatusCode::OK.into_response()
}

/// `POST /oauth/v2/private-apps/get/access-token-info`.
pub(crate) async fn private_app(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let token = asked["tokenKey"].as_str().unwrap_or_default();
    let oauth = app.oauth.lock();
    match oauth.private_apps.iter().find(|a| a.token == token) {
        Some(known) => Json(json!({
            "userId": known.user_id, "hubId": known.hub_id, "appId": known.app_id, "scopes": known.scopes,
        }))
        .into_response(),
        None => Refusal::unauthenticated().into_response(),
    }
}

/// The caller of a request, or the error reply.
pub(crate) fn caller(app: &App, token: Option<&str>) -> Result<super::store::Caller, Refusal> {
    let token = token.ok_or_else(Refusal::unauthenticated)?;
    app.oauth.lock().caller(token).map_err(|why| match why {
        NoCaller::Unknown => Refusal::unauthenticated(),
        NoCaller::Expired(seconds) => Refusal::expired(seconds),
    })
}
