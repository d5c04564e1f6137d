//! The token endpoint, revocation and introspection.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use sha2::Sha256;
use url::form_urlencoded;

use super::Base;
use super::store::{Client, Grant};
use crate::app::{App, UserKey};
use crate::errors::OAuthError;
use crate::hosts;
use crate::value::now;

type Params = HashMap<String, String>;

/// `POST /services/oauth2/token`. The request completes even if the client has disconnected, as at Salesforce.
pub(crate) async fn token(
    State(app): State<Arc<App>>,
    Extension(base): Extension<Base>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, OAuthError> {
    let ended = tokio::spawn(give_token(app, base, headers, body)).await;
    ended.unwrap_or(Err(OAuthError::new("unknown_error", "retry your request")))
}

async fn give_token(
    app: Arc<App>,
    base: Base,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, OAuthError> {
    let params: Params = form_urlencoded::parse(&body).into_owned().collect();
    let get = |name: &str| params.get(name).map_or("", String::as_str);
    if let Some((error, description)) = app.oauth.lock().token_refusal.clone() {
        let body = json!({ "error": error, "error_description": description });
        return Ok((StatusCode::BAD_REQUEST, answer(&body)).into_response());
    }
    let delay = Duration::from_millis(*app.token_delay_ms.lock());
    if get("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer" {
        // The assertion authenticates the client: it is signed with the app's key.
        let (client, user) = assertion(&app, &base, get("assertion"))?;
        return issue(&app, &base, &client, user, "api id web", None);
    }
    let grant_type = get("grant_type");
    if !matches!(
        grant_type,
        "authorization_code" | "refresh_token" | "client_credentials"
    ) {
        return Err(OAuthError::new(
            "unsupported_grant_type",
            "grant type not supported",
        ));
    }
    let client = authenticate(&app, &headers, &params)?;
    match grant_type {
        "authorization_code" => {
            let code = get("code");
            let grant =
                app.oauth
                    .lock()
                    .exchange(code, &client.id, get("redirect_uri"), get("code_verifier"))?;
            let refresh = grant.refresh.clone();
            issue_for(&app, &base, &client, &grant, refresh)
        }
        "refresh_token" => {
            let token = get("refresh_token").to_owned();
            // Of two concurrent requests with one token, the second has to be repeated.
            if !app.oauth.lock().busy.insert(token.clone()) {
                return Err(OAuthError::new(
                    "invalid_grant",
                    "token request is already being processed",
                ));
            }
            tokio::time::sleep(delay).await;
            let refreshed = {
                let mut oauth = app.oauth.lock();
                oauth.busy.remove(&token);
                oauth.refresh(&token, &client.id)
            };
            let grant = refreshed?;
            let rotated = grant.refresh.clone().filter(|new| *new != token);
            issue_for(&app, &base, &client, &grant, rotated)
        }
        _ => {
            installed(&client)?;
            issue(&app, &base, &client, client.run_as, "api id web", None)
        }
    }
}

/// Checks that an administrator has installed the app.
fn installed(client: &Client) -> Result<(), OAuthError> {
    match client.installed {
        true => Ok(()),
        false => Err(OAuthError::new(
            "invalid_client",
            "app must be installed into org",
        )),
    }
}

/// Authenticates the client, by its secret in the body or in a Basic header.
fn authenticate(app: &App, headers: &HeaderMap, params: &Params) -> Result<Client, OAuthError> {
    let basic = headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok()?.strip_prefix("Basic "))
        .and_then(|v| String::from_utf8(STANDARD.decode(v).ok()?).ok());
    let decode = |text: &str| {
        form_urlencoded::parse(format!("v={text}").as_bytes())
            .next()
            .map_or(String::new(), |(_, v)| v.into_owned())
    };
    let (id, secret) = match basic.as_deref().and_then(|b| b.split_once(':')) {
        Some((id, secret)) => (decode(id), decode(secret)),
        None => {
            let get = |name: &str| params.get(name).cloned().unwrap_or_default();
            (get("client_id"), get("client_secret"))
        }
    };
    let oauth = app.oauth.lock();
    let client = oauth
        .client(&id)
        .ok_or(OAuthError::new("invalid_client_id", "client identifier invalid"))?;
    if client.secret != secret {
        return Err(OAuthError::new("invalid_client", "invalid client credentials"));
    }
    Ok(client.clone())
}

fn issue_for(
    app: &App,
    base: &Base,
    client: &Client,
    grant: &Grant,
    refresh: Option<String>,
) -> Result<Response, OAuthError> {
    let mut reply = reply(app, base, client, grant.user, &grant.scope, Some(grant.id))?;
    if let Some(refresh) = refresh {
        reply["refresh_token"] = refresh.into();
    }
    Ok(answer(&reply))
}

fn issue(
    app: &App,
    base: &Base,
    client: &Client,
    user: UserKey,
    scope: &str,
    grant: Option<u64>,
) -> Result<Response, OAuthError> {
    Ok(answer(&reply(app, base, client, user, scope, grant)?))
}

fn answer(reply: &Json) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json;charset=UTF-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, reply.to_string()).into_response()
}

/// The reply to a successful token request: no `expires_in`, `issued_at` a text of milliseconds.
fn reply(
    app: &App,
    base: &Base,
    client: &Client,
    user: UserKey,
    scope: &str,
    grant: Option<u64>,
) -> Result<Json, OAuthError> {
    {
        let org = app.orgs[user.org].read();
        if !org.active {
            return Err(OAuthError::new("inactive_org", "organization locked"));
        }
        if !org.user(user.user).is_some_and(|u| u.active) {
            return Err(OAuthError::new("invalid_grant", "inactive user"));
        }
    }
    let (org, user_id) = app.ids_of(user);
    let token = app.oauth.lock().session(&org, user, scope, grant);
    let id = format!("{}/id/{org}/{user_id}", base.0);
    let issued_at = format!("{}", app.now() * 1000);
    Ok(json!({
        "access_token": token,
        "signature": sign(&client.secret, &format!("{id}{issued_at}")),
        "scope": scope,
        "instance_url": hosts::instance(app, &base.0),
        "id": id,
        "token_type": "Bearer",
        "issued_at": issued_at,
    }))
}

/// base64(HMAC-SHA256(secret, id + issued_at)).
pub(crate) fn sign(secret: &str, message: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return String::new();
    };
    mac.update(message.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Json,
    /// A number; simple-salesforce sends it as text, and Salesforce accepts that.
    exp: Json,
}

/// The user of a JWT assertion. The signature is verified with the key registered for the client; a real app
/// registers a certificate, here it is only the public key.
fn assertion(app: &App, base: &Base, jwt: &str) -> Result<(Client, UserKey), OAuthError> {
    let invalid = OAuthError::new("invalid_grant", "invalid assertion");
    let mut validation = Validation::new(Algorithm::RS256);
    validation.validate_exp = false;
    validation.required_spec_claims.clear();
    validation.validate_aud = false;
    let claims: Claims = {
        let unchecked =
            jsonwebtoken::dangerous::insecure_decode::<Claims>(jwt).map_err(|_| invalid.clone())?;
        unchecked.claims
    };
    let client = app.oauth.lock().client(&claims.iss).cloned();
    let client = client.ok_or(OAuthError::new("invalid_client_id", "client identifier invalid"))?;
    installed(&client)?;
    let key = client
        .public_key
        .as_ref()
        .and_then(|pem| DecodingKey::from_rsa_pem(pem.as_bytes()).ok());
    let key = key.ok_or_else(|| invalid.clone())?;
    jsonwebtoken::decode::<Claims>(jwt, &key, &validation).map_err(|_| invalid.clone())?;
    let audiences = [
        "https://login.salesforce.com",
        "https://test.salesforce.com",
        base.0.as_str(),
    ];
    let fits = |a: &Json| {
        a.as_str()
            .is_some_and(|a| audiences.contains(&a.trim_end_matches('/')))
    };
    if !(fits(&claims.aud) || claims.aud.as_array().is_some_and(|all| all.iter().any(fits))) {
        return Err(OAuthError::new("invalid_grant", "Audience validation failed"));
    }
    // Three minutes, and some seconds for clock skew.
    let exp = claims
        .exp
        .as_i64()
        .or_else(|| claims.exp.as_str()?.parse().ok())
        .unwrap_or(0);
    if exp < now() || exp > now() + 240 {
        return Err(invalid);
    }
    let user = app.find_user(&claims.sub);
    let user = user.ok_or(OAuthError::new(
        "invalid_grant",
        "user hasn't approved this consumer",
    ))?;
    Ok((client, user))
}

/// `POST /services/oauth2/revoke` (also GET with `?token=`).
pub(crate) async fn revoke(State(app): State<Arc<App>>, uri: axum::http::Uri, body: Bytes) -> Response {
    let find = |text: &[u8]| {
        form_urlencoded::parse(text)
            .find(|(k, _)| k == "token")
            .map(|(_, v)| v.into_owned())
    };
    let token = find(&body)
        .or_else(|| find(uri.query().unwrap_or("").as_bytes()))
        .unwrap_or_default();
    if app.oauth.lock().revoke(&token) {
        return StatusCode::OK.into_response();
    }
    let form = [(header::CONTENT_TYPE, "application/x-www-form-urlencoded")];
    (
        StatusCode::BAD_REQUEST,
        form,
        "error=invalid_token&error_description=invalid+token%3A+token",
    )
        .into_response()
}

/// `POST /services/oauth2/introspect`.
pub(crate) async fn introspect(
    State(app): State<Arc<App>>,
    Extension(base): Extension<Base>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, OAuthError> {
    let params: Params = form_urlencoded::parse(&body).into_owned().collect();
    let client = authenticate(&app, &headers, &params)?;
    let token = params.get("token").map_or("", String::as_str);
    let session = app
        .oauth
        .lock()
        .sessions
        .get(token)
        .filter(|s| s.expires > now())
        .cloned();
    let described = |user: UserKey, scope: &str, kind: &str| {
        let (org, user_id) = app.ids_of(user);
        let username = app.orgs[user.org]
            .read()
            .user(user.user)
            .map(|u| u.username.clone());
        json!({
            "active": true, "scope": scope, "client_id": client.id, "username": username,
            "sub": format!("{}/id/{org}/{user_id}", base.0), "token_type": kind,
        })
    };
    let reply = if let Some(s) = session {
        let mut reply = described(s.user, &s.scope, "access_token");
        reply["exp"] = s.expires.into();
        reply["iat"] = s.issued.into();
        reply["nbf"] = s.issued.into();
        reply
    } else {
        let oauth = app.oauth.lock();
        let grant = oauth
            .grants
            .iter()
            .find(|g| g.refresh.as_deref() == Some(token) && !g.revoked)
            .cloned();
        drop(oauth);
        match grant {
            Some(g) => described(g.user, &g.scope, "refresh_token"),
            None => json!({ "active": false }),
        }
    };
    Ok(answer(&reply))
}
