//! Processing of every request before and after its handler: journal, faults, limits of length, sessions, API usage,
//! gzip.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use sim_kit::faults::{self, Asked, Kind};
use sim_kit::wire::Line;
use url::form_urlencoded;

use crate::app::App;
use crate::errors::Error;
use crate::journal::{Entry, classify, inner_requests, job_query};
use crate::oauth::{Base, bearer};
use crate::rest::{self, Call, Reply};
use crate::value::http_date;
use crate::{bulk, gzip, hosts};

/// The URL limit of Salesforce.
const LONGEST: usize = 16_384;

/// The login page, shown when a session has ended.
pub(crate) const LOGIN: &str = "<!DOCTYPE html><html><head><title>Login | Salesforce</title></head><body>\
    <form name=\"login\" action=\"/\">Username <input name=\"username\"></form></body></html>";

/// The middleware of every route except the control routes.
pub(crate) async fn around(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let (mut parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, 50 << 20).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let scheme = parts.extensions.get::<Scheme>().map_or("http", |s| s.0);
    let host = parts
        .headers
        .get(header::HOST)
        .and_then(|h| h.to_str().ok())
        .unwrap_or("localhost");
    parts.extensions.insert(Base(format!("{scheme}://{host}")));
    let mut entry = entry(&app, &parts, &body);
    let text = faults::text(&parts.uri, &body);
    let asked = Asked {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        kind: &entry.kind,
        text: &text,
        inner: false,
    };
    let fault = faults::strike(&mut app.faults.lock(), &asked);
    entry.fault = fault.as_ref().map(|f| f.kind);
    let mut refused = None;
    if let Some(fault) = &fault {
        fault.wait().await;
        let control = || crate::control::router().with_state(app.clone());
        refused = fault.act(control).await.err().map(|refused| *refused);
    }
    let silent = fault.clone().filter(|fault| fault.is_silent());
    let line = parts.extensions.get::<Line>().cloned();
    let gzip = accepts_gzip(&parts.headers);
    let refusal = refused
        .or_else(|| too_long(&parts))
        .or_else(|| hosts::left(&app, &parts, host));
    let mut response = match (refusal, fault) {
        (Some(refusal), _) => refusal,
        (None, Some(fault)) if fault.kind == Kind::Hang => StatusCode::OK.into_response(),
        (None, Some(fault)) if fault.answers() => {
            // Salesforce's own error replies contain the allowance; those of a gateway do not.
            let own = fault.is_own() && parts.uri.path().starts_with("/services/data");
            let usage = usage(&app, &parts).filter(|_| own);
            let usage = usage.map(|usage| ("sforce-limit-info".to_owned(), usage));
            fault.instead(LOGIN, usage.as_slice())
        }
        (None, fault) => {
            let response = next.run(Request::from_parts(parts, Body::from(body))).await;
            let plain = fault
                .as_ref()
                .is_none_or(|f| matches!(f.kind, Kind::Act | Kind::Delay));
            let response = match fault {
                Some(fault) => fault.spoil(response, line.as_ref()).await,
                None => response,
            };
            if gzip && plain {
                gzip::compress(response).await
            } else {
                response
            }
        }
    };
    entry.status = if silent.is_some() {
        0
    } else {
        response.status().as_u16()
    };
    entry.bytes = response
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|l| l.to_str().ok()?.parse().ok())
        .unwrap_or(0);
    entry.took_ms = started.elapsed().as_millis() as u64;
    app.journal.lock().add(entry);
    if let Some(fault) = silent {
        fault.stay_silent().await;
    }
    dress(&app, response.headers_mut());
    chunked(response)
}

/// Adds the headers of every reply of Salesforce.
fn dress(app: &App, headers: &mut HeaderMap) {
    let date = http_date(app.clock.lock().date());
    let random = |length| crate::oauth::store::random(length).replace(['.', '_'], "0");
    let cookie = format!("BrowserId={}; path=/; Max-Age=31536000", random(22));
    let own = [
        ("date", date),
        ("x-sfdc-request-id", random(32).to_lowercase()),
        ("set-cookie", cookie),
    ];
    for (name, value) in own {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.entry(name).or_insert(value);
        }
    }
}

/// Long bodies are chunked, without a length.
fn chunked(response: Response) -> Response {
    const SHORT: u64 = 1_000;
    const PIECE: usize = 64 << 10;
    let (mut parts, body) = response.into_parts();
    if HttpBody::size_hint(&body)
        .exact()
        .is_none_or(|length| length <= SHORT)
    {
        return Response::from_parts(parts, body);
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    let pieces = body.into_data_stream().map(|piece| {
        let pieces = piece.map(|piece| {
            let from = (0..piece.len()).step_by(PIECE);
            from.map(|from| piece.slice(from..piece.len().min(from + PIECE)))
                .collect::<Vec<_>>()
        });
        stream::iter(match pieces {
            Ok(pieces) => pieces.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        })
    });
    Response::from_parts(parts, Body::from_stream(pieces.flatten()))
}

/// The value of `Sforce-Limit-Info` for the holder of a session.
fn usage(app: &App, parts: &Parts) -> Option<String> {
    let session = app.oauth.lock().touch(bearer(&parts.headers)?)?;
    let org = app.orgs[session.user.org].read();
    Some(org.usage())
}

/// `http` or `https`, by listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scheme(pub(crate) &'static str);

fn entry(app: &App, parts: &Parts, body: &[u8]) -> Entry {
    let (method, path) = (parts.method.as_str(), parts.uri.path());
    let (kind, route) = classify(method, path);
    let inner = if matches!(kind.as_str(), "composite" | "batch") {
        inner_requests(body)
    } else {
        Vec::new()
    };
    let find = |text: &[u8], name: &str| {
        form_urlencoded::parse(text)
            .find(|(k, _)| k == name)
            .map(|(_, v)| v.into_owned())
    };
    let session = bearer(&parts.headers).and_then(|t| app.oauth.lock().sessions.get(t).cloned());
    let user = session.and_then(|s| {
        app.orgs[s.user.org]
            .read()
            .user(s.user.user)
            .map(|u| u.username.clone())
    });
    Entry {
        at_ms: (time::UtcDateTime::now().unix_timestamp_nanos() / 1_000_000) as i64,
        method: method.to_owned(),
        path: path.to_owned(),
        write: kind == "write" || inner.iter().any(|i| i.kind == "write"),
        soql: if kind == "bulk_create" {
            job_query(body)
        } else {
            find(parts.uri.query().unwrap_or("").as_bytes(), "q")
        },
        grant_type: if kind == "token" {
            find(body, "grant_type")
        } else {
            None
        },
        user,
        inner,
        kind,
        route,
        ..Entry::default()
    }
}

fn too_long(parts: &Parts) -> Option<Response> {
    let uri = parts.uri.path_and_query().map_or(0, |p| p.as_str().len());
    let headers: usize = parts
        .headers
        .iter()
        .map(|(k, v)| k.as_str().len() + v.len() + 4)
        .sum();
    let refuse = |status: StatusCode, what: &str| {
        let html = [(header::CONTENT_TYPE, "text/html;charset=iso-8859-1")];
        (
            status,
            html,
            format!(
                "<h1>Bad Message {}</h1><pre>reason: {what}</pre>",
                status.as_u16()
            ),
        )
            .into_response()
    };
    if uri > LONGEST {
        return Some(refuse(StatusCode::URI_TOO_LONG, "URI Too Long"));
    }
    let too_large = uri + headers > LONGEST;
    too_large.then(|| {
        refuse(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "Request Header Fields Too Large",
        )
    })
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.contains("gzip"))
}

/// Everything under `/services/data`.
pub(crate) async fn data(
    State(app): State<Arc<App>>,
    Extension(base): Extension<Base>,
    parts: Parts,
    body: Bytes,
) -> Response {
    if matches!(parts.uri.path(), "/services/data" | "/services/data/") {
        return answer(rest::versions().into(), None);
    }
    let session = bearer(&parts.headers).and_then(|token| app.oauth.lock().touch(token));
    let Some(session) = session else {
        return answer(Error::session().into(), None);
    };
    let usage = {
        let org = app.orgs[session.user.org].read();
        let api_enabled = org.user(session.user.user).is_some_and(|u| u.api_enabled);
        if !api_enabled {
            let message = "The REST API is not enabled for this Organization.";
            return answer(Error::new(403, "API_DISABLED_FOR_ORG", message).into(), None);
        }
        let counted = org.count_call();
        let usage = org.usage();
        if !counted {
            let refusal = Error::new(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.");
            return answer(refusal.into(), Some(usage));
        }
        usage
    };
    let failed = Some(usage.clone());
    let work = move || {
        let call = Call {
            app: &app,
            user: session.user,
            session: session.number,
            base: &base.0,
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or(""),
            headers: &parts.headers,
            body: &body,
            inner: false,
        };
        match bulk::results(&call) {
            Some(Ok(pages)) => pages.into_response(usage),
            Some(Err(error)) => answer(error.into(), Some(usage)),
            None => answer(rest::dispatch(&call), Some(usage)),
        }
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(response) => response,
        Err(_) => {
            let message =
                "An unexpected error occurred. Please include this ErrorId if you contact support: 1 (1)";
            answer(Error::new(500, "UNKNOWN_EXCEPTION", message).into(), failed)
        }
    }
}

fn answer(reply: Reply, usage: Option<String>) -> Response {
    let length = reply.body.len();
    let status = StatusCode::from_u16(reply.status).unwrap_or_default();
    let mut response = (status, reply.body).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json;charset=UTF-8"),
    );
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if status != StatusCode::NOT_MODIFIED {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let usage = usage.map(|u| ("sforce-limit-info", u));
    for (name, value) in reply.headers.into_iter().chain(usage) {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    response
}
