//! The CRM's API: checks the token, the scopes and the limits, then answers.

mod associations;
mod objects;
mod order;
mod properties;
mod search;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};
use url::form_urlencoded;

use crate::app::App;
use crate::limits::Standing;
use crate::oauth::store::Caller;
use crate::oauth::{bearer, token};
use crate::portal::Portal;
use crate::portal::schema::Object;
use crate::refusal::{Refusal, correlation_id};

/// A parsed request.
pub(crate) struct Call<'a> {
    pub(crate) caller: &'a Caller,
    query: Vec<(String, String)>,
    body: Bytes,
}

/// An answer: its status and body.
pub(crate) type Answer = Result<(u16, Json), Refusal>;

impl Call<'_> {
    /// A query parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(k, _)| k == name)
            .map(|(_, v)| v.as_str())
    }

    /// A list parameter: repeated, or separated by commas.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let values = self.query.iter().filter(|(k, _)| k == name);
        values
            .flat_map(|(_, v)| v.split(',').map(|v| v.trim().to_owned()))
            .filter(|v| !v.is_empty())
            .collect()
    }

    pub(crate) fn json(&self) -> Result<Json, Refusal> {
        serde_json::from_slice(&self.body)
            .map_err(|_| Refusal::invalid("Invalid input JSON on line 1, column 1: Cannot deserialize value"))
    }

    pub(crate) fn needs(&self, objects: &[Object]) -> Result<(), Refusal> {
        let missing: Vec<&str> = objects
            .iter()
            .map(|o| o.scope())
            .filter(|scope| !self.caller.scopes.iter().any(|s| s == scope))
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(Refusal::scopes(&missing))
        }
    }
}

/// Handles all requests without another route.
pub(crate) async fn serve(State(app): State<Arc<App>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, 16 << 20).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let caller = match token::caller(&app, bearer(&parts.headers)) {
        Ok(caller) => caller,
        Err(refusal) => return refusal.into_response(),
    };
    let path = parts.uri.path().to_owned();
    let (standing, refused) =
        app.limits
            .lock()
            .pass(caller.app_id, caller.private, path.ends_with("/search"));
    let answer = match refused {
        Some(refusal) => Err(refusal),
        None => {
            let call = Call {
                caller: &caller,
                query: form_urlencoded::parse(parts.uri.query().unwrap_or("").as_bytes())
                    .into_owned()
                    .collect(),
                body,
            };
            let portals = app.portals.lock();
            match portals.iter().find(|p| p.id == caller.hub_id) {
                Some(portal) => route(portal, &call, parts.method.as_str(), &path),
                None => Err(Refusal::unauthenticated()),
            }
        }
    };
    let mut response = match answer {
        Ok((status, body)) => {
            let status = StatusCode::from_u16(status).unwrap_or_default();
            let kind = [(header::CONTENT_TYPE, "application/json;charset=utf-8")];
            (status, kind, order::text(&body)).into_response()
        }
        Err(refusal) => refusal.into_response(),
    };
    put_headers(
        &app,
        &mut response,
        (!path.ends_with("/search")).then_some(&standing),
    );
    response
}

/// The headers of HubSpot's replies, as recorded. Replies to searches have none for the limits.
fn put_headers(app: &App, response: &mut Response, standing: Option<&Standing>) {
    let mut headers = vec![
        ("x-hubspot-correlation-id", correlation_id()),
        ("access-control-allow-credentials", "false".to_owned()),
        ("cf-cache-status", "DYNAMIC".to_owned()),
        ("server", "cloudflare".to_owned()),
        (
            "set-cookie",
            "__cf_bm=x; path=/; domain=.hubapi.com; HttpOnly; Secure; SameSite=None".to_owned(),
        ),
        (
            "strict-transport-security",
            "max-age=31536000; includeSubDomains; preload".to_owned(),
        ),
        ("vary", "origin, Accept-Encoding".to_owned()),
        ("x-content-type-options", "nosniff".to_owned()),
    ];
    if let Some(standing) = standing {
        headers.extend(limit_headers(app, standing));
    }
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    if let Ok(date) = HeaderValue::try_from(http_date()) {
        response.headers_mut().insert(header::DATE, date);
    }
}

fn limit_headers(app: &App, standing: &Standing) -> Vec<(&'static str, String)> {
    let limits = app.limits.lock();
    let (second, second_left) = standing.secondly;
    let mut headers = vec![
        (
            "x-hubspot-ratelimit-interval-milliseconds",
            limits.interval_ms.to_string(),
        ),
        ("x-hubspot-ratelimit-max", limits.burst.to_string()),
        ("x-hubspot-ratelimit-remaining", standing.remaining.to_string()),
        ("x-hubspot-ratelimit-secondly", second.to_string()),
        ("x-hubspot-ratelimit-secondly-remaining", second_left.to_string()),
    ];
    if let Some((daily, left)) = standing.daily {
        headers.push(("x-hubspot-ratelimit-daily", daily.to_string()));
        headers.push(("x-hubspot-ratelimit-daily-remaining", left.to_string()));
    }
    headers
}

fn http_date() -> String {
    let now = time::UtcDateTime::now();
    let (day, month) = (now.weekday().to_string(), now.month().to_string());
    format!(
        "{}, {:02} {} {} {:02}:{:02}:{:02} GMT",
        &day[..3],
        now.day(),
        &month[..3],
        now.year(),
        now.hour(),
        now.minute(),
        now.second()
    )
}

fn route(portal: &Portal, call: &Call<'_>, method: &str, path: &str) -> Answer {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let object = |name: &str| {
        Object::named(name)
            .ok_or_else(|| Refusal::invalid(format!("Unable to infer object type from: {name}")))
    };
    match (method, parts.as_slice()) {
        ("GET", ["account-info", "v3", "details"]) => Ok((
            200,
            json!({
                "portalId": portal.id, "accountType": "STANDARD", "timeZone": "US/Eastern", "companyCurrency": "USD",
                "additionalCurrencies": [], "utcOffset": "-05:00", "utcOffsetMilliseconds": -18_000_000,
                "uiDomain": "app.hubspot.com", "dataHostingLocation": "na1",
            }),
        )),
        ("GET", ["crm", "v3", "properties", name]) => properties::list(portal, call, object(name)?),
        ("GET", ["crm", "v3", "objects", name]) => objects::list(portal, call, object(name)?),
        ("GET", ["crm", "v3", "objects", name, id]) => objects::get(portal, call, object(name)?, id),
        ("POST", ["crm", "v3", "objects", name, "batch", "read"]) => {
            objects::batch(portal, call, object(name)?)
        }
        ("POST", ["crm", "v3", "objects", name, "search"]) => search::search(portal, call, object(name)?),
        ("POST", ["crm", "v4", "associations", from, to, "batch", "read"]) => {
            associations::batch(portal, call, object(from)?, object(to)?)
        }
        ("GET", ["crm", "v4", "objects", from, id, "associations", to]) => {
            associations::of(portal, call, object(from)?, id, object(to)?)
        }
        ("GET", _) => Err(Refusal::not_found()),
        // The simulator refuses writes; the journal records them.
        _ => Err(Refusal::new(
            403,
            "FORBIDDEN",
            "the simulator takes no writes: use its control plane",
        )),
    }
}

/// The index of an `after`.
pub(crate) fn offset(after: Option<&str>) -> Result<usize, Refusal> {
    match after {
        None | Some("") => Ok(0),
        Some(text) => text
            .parse()
            .map_err(|_| Refusal::invalid(format!("invalid paging offset: {text}"))),
    }
}
