//! The REST API: one call in, one reply out. HTTP requests and composite requests both use [`dispatch`].

pub(crate) mod answers;
pub(crate) mod composite;
mod connect;
pub(crate) mod cursors;
mod feeds;
mod limits;
mod query;
mod record;

use axum::http::HeaderMap;
use parking_lot::RwLockReadGuard;
use serde_json::Value as Json;
use sim_kit::faults::{self, Asked, Fault, Kind};
use url::form_urlencoded;

use crate::app::{App, UserKey};
use crate::bulk;
use crate::errors::Error;
use crate::org::make::mix;
use crate::org::{Org, User};
use crate::schema::describe;
use crate::soql::Viewer;
use crate::value::{http_date, parse_http_date};

/// The supported API versions.
pub(crate) const VERSIONS: std::ops::RangeInclusive<u32> = 31..=64;

/// One call.
pub(crate) struct Call<'a> {
    pub(crate) app: &'a App,
    pub(crate) user: UserKey,
    /// The session of the call: further pages of a result are available to it only.
    pub(crate) session: u64,
    pub(crate) base: &'a str,
    pub(crate) method: &'a str,
    /// `/services/data/v62.0/query`, still encoded.
    pub(crate) path: &'a str,
    /// The query string after `?`, still encoded.
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
    pub(crate) inner: bool,
}

/// The reply. The body is JSON, or empty.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl Reply {
    pub(crate) fn ok(body: impl Into<String>) -> Reply {
        Reply {
            status: 200,
            body: body.into(),
            headers: Vec::new(),
        }
    }
}

impl From<Error> for Reply {
    fn from(error: Error) -> Reply {
        Reply {
            status: error.status,
            body: error.body(),
            headers: Vec::new(),
        }
    }
}

impl From<Json> for Reply {
    fn from(json: Json) -> Reply {
        Reply::ok(json.to_string())
    }
}

impl<'a> Call<'a> {
    pub(crate) fn org(&self) -> RwLockReadGuard<'a, Org> {
        self.app.orgs[self.user.org].read()
    }

    pub(crate) fn param(&self, name: &str) -> Option<String> {
        form_urlencoded::parse(self.query.as_bytes())
            .find(|(k, _)| k == name)
            .map(|(_, v)| v.into_owned())
    }

    /// The version in the path, as written (`62.0`).
    pub(crate) fn version(&self) -> &'a str {
        self.path
            .split('/')
            .nth(3)
            .map_or("", |v| v.trim_start_matches('v'))
    }

    pub(crate) fn viewer<'o>(&self, org: &'o Org) -> Result<Viewer<'o>, Error> {
        let user: &User = org.user(self.user.user).ok_or_else(Error::session)?;
        Ok(Viewer { org, user })
    }

    /// Rows per page, as requested by the client.
    pub(crate) fn batch(&self) -> usize {
        let options = self
            .headers
            .get("sforce-query-options")
            .and_then(|v| v.to_str().ok())
            .unwrap_or("");
        let asked = options
            .split(',')
            .find_map(|o| o.trim().strip_prefix("batchSize="));
        asked
            .and_then(|n| n.trim().parse::<usize>().ok())
            .unwrap_or(2000)
            .clamp(200, 2000)
    }
}

/// Answers one call.
pub(crate) fn dispatch(call: &Call<'_>) -> Reply {
    if call.inner {
        let text = decode(call.query) + &String::from_utf8_lossy(call.body);
        let (kind, _) = crate::journal::classify(call.method, call.path);
        let asked = Asked {
            method: call.method,
            path: call.path,
            kind: &kind,
            text: &text,
            inner: true,
        };
        let struck = faults::strike(&mut call.app.faults.lock(), &asked);
        if let Some(fault) = struck.filter(Fault::answers) {
            let body = match fault.kind {
                // Inside a composite, every body is JSON.
                Kind::Html => Json::from(fault.text(crate::edge::LOGIN)).to_string(),
                _ => fault.body.unwrap_or_else(|| "[]".to_owned()),
            };
            return Reply {
                status: fault.status.unwrap_or(500),
                body,
                headers: Vec::new(),
            };
        }
    }
    route(call).unwrap_or_else(Reply::from)
}

fn decode(text: &str) -> String {
    form_urlencoded::parse(text.as_bytes())
        .map(|(k, v)| format!("{k}={v}&"))
        .collect()
}

/// Decodes one path segment: `+` is a literal there.
fn segment(text: &str) -> String {
    let text = text.replace('+', "%2B");
    form_urlencoded::parse(text.as_bytes())
        .next()
        .map_or(String::new(), |(k, _)| k.into_owned())
}

fn route(call: &Call<'_>) -> Result<Reply, Error> {
    let parts: Vec<String> = call
        .path
        .split('/')
        .filter(|p| !p.is_empty())
        .map(segment)
        .collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let ["services", "data", version, rest @ ..] = parts.as_slice() else {
        return Err(Error::not_found());
    };
    check_version(version)?;
    let get = matches!(call.method, "GET" | "HEAD");
    match (get, call.method, rest) {
        (true, _, []) => Ok(resources(call).into()),
        (true, _, ["sobjects"]) => conditional(call, |viewer| {
            Some(describe::global(
                &viewer.org.schema,
                &viewer.user.hidden,
                call.version(),
            ))
        }),
        (true, _, ["sobjects", name, "describe"]) => conditional(call, |viewer| {
            let (_, object) = viewer.object(name)?;
            let hidden = &viewer.user.hidden;
            let mut json = describe::object(&viewer.org.schema, object, hidden, call.version(), call.base);
            answers::describe(call, object.name, &mut json);
            Some(json)
        }),
        (true, _, ["sobjects", name]) => {
            let org = call.org();
            let (_, object) = call.viewer(&org)?.object(name).ok_or_else(Error::not_found)?;
            let summary = describe::summary(object, call.version());
            Ok(serde_json::json!({ "objectDescribe": summary, "recentItems": [] }).into())
        }
        (true, _, ["sobjects", name, "updated"]) => feeds::updated(call, name),
        (true, _, ["sobjects", name, "deleted"]) => feeds::deleted(call, name),
        (true, _, ["sobjects", name, id]) => record::get(call, name, id),
        (true, _, ["sobjects", name, id, more]) => record::get_more(call, name, id, more),
        (true, _, ["query"]) => query::run(call, false),
        (true, _, ["queryAll"]) => query::run(call, true),
        (true, _, ["query" | "queryAll", locator]) => query::more(call, locator),
        (true, _, ["limits"]) => Ok(limits::limits(call).into()),
        (true, _, ["limits", "recordCount"]) => limits::record_count(call),
        (_, _, ["jobs", "query", rest @ ..]) => bulk::route(call, rest),
        (true, _, ["connect", "organization"]) => Ok(connect::organization(call).into()),
        (_, "POST", ["composite"]) => composite::composite(call),
        (_, "POST", ["composite", "batch"]) => composite::batch(call),
        (_, "POST", ["composite", "sobjects", name]) => record::collection(call, name),
        // Writes are refused; the journal records the attempt.
        (_, "POST", ["sobjects", name]) | (_, "PATCH" | "DELETE", ["sobjects", name, ..]) => {
            let org = call.org();
            call.viewer(&org)?.object(name).ok_or_else(Error::not_found)?;
            let message = "insufficient access rights on object id";
            Err(Error::new(403, "INSUFFICIENT_ACCESS_OR_READONLY", message))
        }
        (_, method, ["sobjects"] | ["sobjects", _]) => Err(Error::method(method, "HEAD,GET,POST")),
        (_, method, ["sobjects", ..]) => Err(Error::method(method, "HEAD,GET,PATCH,DELETE")),
        (_, method, ["query" | "queryAll" | "limits" | "connect", ..]) => {
            Err(Error::method(method, "HEAD,GET"))
        }
        (_, method, ["composite", ..]) => Err(Error::method(method, "POST")),
        _ => Err(Error::not_found()),
    }
}

pub(crate) fn check_version(version: &str) -> Result<(), Error> {
    let number = version
        .strip_prefix('v')
        .and_then(|v| v.strip_suffix(".0"))
        .and_then(|v| v.parse::<u32>().ok());
    match number {
        Some(n) if VERSIONS.contains(&n) => Ok(()),
        Some(n) if n < *VERSIONS.start() => Err(Error::new(
            410,
            "GONE",
            "The requested API version is no longer supported",
        )),
        _ => Err(Error::not_found()),
    }
}

/// A describe, or 304 if nothing was added or removed since.
fn conditional(call: &Call<'_>, make: impl Fn(Viewer<'_>) -> Option<Json>) -> Result<Reply, Error> {
    let org = call.org();
    let changed = org.schema_changed;
    let modified = ("last-modified", http_date(changed));
    let tag = ("etag", format!("\"{:x}\"", mix(changed as u64)));
    let since = call
        .headers
        .get("if-modified-since")
        .and_then(|v| parse_http_date(v.to_str().ok()?));
    let same = call
        .headers
        .get("if-none-match")
        .is_some_and(|known| known.as_bytes() == tag.1.as_bytes());
    if same || since.is_some_and(|since| changed <= since) {
        return Ok(Reply {
            status: 304,
            body: String::new(),
            headers: vec![modified, tag],
        });
    }
    let json = make(call.viewer(&org)?).ok_or_else(Error::not_found)?;
    Ok(Reply {
        status: 200,
        body: json.to_string(),
        headers: vec![modified, tag],
    })
}

fn resources(call: &Call<'_>) -> Json {
    let base = format!("/services/data/v{}", call.version());
    ["sobjects", "query", "queryAll", "limits", "composite", "jobs"]
        .into_iter()
        .map(|name| (name.to_owned(), Json::from(format!("{base}/{name}"))))
        .chain([("identity".to_owned(), {
            let (org, user) = call.app.ids_of(call.user);
            Json::from(format!("{}/id/{org}/{user}", call.base))
        })])
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// `GET /services/data/`: every version, without authentication.
pub(crate) fn versions() -> Json {
    let label = |n: u32| {
        let year = 11 + (n - 20) / 3;
        ["Winter '", "Spring '", "Summer '"][((n - 20) % 3) as usize].to_owned() + &year.to_string()
    };
    VERSIONS
        .map(|n| serde_json::json!({ "label": label(n), "url": format!("/services/data/v{n}.0"), "version": format!("{n}.0") }))
        .collect::<Vec<_>>()
        .into()
}
