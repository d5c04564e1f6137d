//! The identity of a token.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::{Base, bearer};
use crate::app::{App, UserKey};

/// `GET /id/{org}/{user}`. Errors are plain text, not JSON.
pub(crate) async fn identity(
    State(app): State<Arc<App>>,
    Extension(base): Extension<Base>,
    Path((org, user)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let Some(token) = bearer(&headers) else {
        return refuse("Missing_OAuth_Token");
    };
    let Some(session) = app.oauth.lock().touch(token) else {
        return refuse("Bad_OAuth_Token");
    };
    let (own_org, own_user) = app.ids_of(session.user);
    let same = |a: &str, b: &str| a.get(..15) == b.get(..15) && a.len() >= 15;
    if !same(&org, &own_org) {
        return refuse("Wrong_Org");
    }
    if !same(&user, &own_user) {
        return refuse("Bad_Id");
    }
    Json(describe(&app, &base, session.user)).into_response()
}

fn refuse(word: &'static str) -> Response {
    (
        StatusCode::FORBIDDEN,
        [(header::CONTENT_TYPE, "text/html;charset=UTF-8")],
        word,
    )
        .into_response()
}

fn describe(app: &App, base: &Base, key: UserKey) -> Value {
    let (org_id, user_id) = app.ids_of(key);
    let org = app.orgs[key.org].read();
    let Some(user) = org.user(key.user) else {
        return Value::Null;
    };
    let base = &base.0;
    let id = format!("{base}/id/{org_id}/{user_id}");
    let rest = format!("{base}/services/data/v{{version}}");
    let soap = |kind: &str| format!("{base}/services/Soap/{kind}/{{version}}/{}", &org_id[..15]);
    json!({
        "id": id,
        "asserted_user": true,
        "user_id": user_id,
        "organization_id": org_id,
        "username": user.username,
        "nick_name": user.first_name.to_lowercase(),
        "display_name": format!("{} {}", user.first_name, user.last_name),
        "email": user.username,
        "email_verified": true,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "timezone": "Europe/Paris",
        "photos": {
            "picture": format!("{base}/profilephoto/005/F"), "thumbnail": format!("{base}/profilephoto/005/T"),
        },
        "addr_street": null, "addr_city": null, "addr_state": null, "addr_country": "FR", "addr_zip": null,
        "mobile_phone": null,
        "mobile_phone_verified": false,
        "is_lightning_login_user": false,
        "status": { "created_date": null, "body": null },
        "urls": {
            "enterprise": soap("c"), "metadata": soap("m"), "partner": soap("u"),
            "rest": format!("{rest}/"),
            "sobjects": format!("{rest}/sobjects/"),
            "search": format!("{rest}/search/"),
            "query": format!("{rest}/query/"),
            "recent": format!("{rest}/recent/"),
            "tooling_soap": soap("T"),
            "tooling_rest": format!("{rest}/tooling/"),
            "profile": format!("{base}/{user_id}"),
            "feeds": format!("{rest}/chatter/feeds"),
            "groups": format!("{rest}/chatter/groups"),
            "users": format!("{rest}/chatter/users"),
            "feed_items": format!("{rest}/chatter/feed-items"),
            "feed_elements": format!("{rest}/chatter/feed-elements"),
            "custom_domain": base,
        },
        "active": user.active,
        "user_type": "STANDARD",
        "language": "en_US",
        "locale": "en_US",
        "utcOffset": 3_600_000,
        "last_modified_date": "2025-01-15T09:30:00Z",
    })
}

/// `GET` or `POST /services/oauth2/userinfo`: the same user with the keys of OpenID.
pub(crate) async fn userinfo(
    State(app): State<Arc<App>>,
    Extension(base): Extension<Base>,
    headers: HeaderMap,
) -> Response {
    let session = bearer(&headers).and_then(|token| app.oauth.lock().touch(token));
    let Some(session) = session else {
        return refuse("Bad_OAuth_Token");
    };
    let me = describe(&app, &base, session.user);
    Json(json!({
        "sub": me["id"],
        "user_id": me["user_id"],
        "organization_id": me["organization_id"],
        "preferred_username": me["username"],
        "nickname": me["nick_name"],
        "name": me["display_name"],
        "email": me["email"],
        "email_verified": true,
        "given_name": me["first_name"],
        "family_name": me["last_name"],
        "zoneinfo": me["timezone"],
        "photos": me["photos"],
        "profile": me["urls"]["profile"],
        "picture": me["photos"]["picture"],
        "urls": me["urls"],
        "active": me["active"],
        "user_type": me["user_type"],
        "language": me["language"],
        "locale": me["locale"],
        "utcOffset": me["utcOffset"],
        "updated_at": me["last_modified_date"],
        "is_app_installed": true,
    }))
    .into_response()
}
