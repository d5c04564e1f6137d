//! `/composite` and `/composite/batch`: many requests in one call.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::{Call, Reply, dispatch};
use crate::errors::Error;
use crate::journal::classify;
use crate::value::write_text;

const MOST: usize = 25;
const MOST_QUERIES: usize = 5;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Composite {
    #[serde(default)]
    all_or_none: bool,
    composite_request: Vec<Sub>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sub {
    method: String,
    url: String,
    reference_id: String,
    #[serde(default)]
    http_headers: HashMap<String, String>,
    #[serde(default)]
    body: Json,
}

fn parse<'a, T: Deserialize<'a>>(call: &Call<'a>) -> Result<T, Error> {
    serde_json::from_slice(call.body).map_err(|e| Error::new(400, "JSON_PARSER_ERROR", e.to_string()))
}

pub(crate) fn composite(call: &Call<'_>) -> Result<Reply, Error> {
    let wanted: Composite = parse(call)?;
    check(&wanted)?;
    let mut replies: Vec<Reply> = Vec::new();
    let mut bodies: HashMap<String, Json> = HashMap::new();
    for sub in &wanted.composite_request {
        let reply = match (
            substitute(&sub.url, &bodies),
            substitute(&sub.body.to_string(), &bodies),
        ) {
            (Ok(url), Ok(body)) => {
                let body = if body == "null" { "" } else { &body };
                one(call, &sub.method, &url, &sub.http_headers, body)
            }
            (Err(message), _) | (_, Err(message)) => Error::new(400, "PROCESSING_HALTED", message).into(),
        };
        // Bodies are parsed only if a later request refers to this one.
        let mark = format!("@{{{}.", sub.reference_id);
        let referred = wanted
            .composite_request
            .iter()
            .any(|s| s.url.contains(&mark) || s.body.to_string().contains(&mark));
        if reply.status < 300 && referred {
            bodies.insert(
                sub.reference_id.clone(),
                serde_json::from_str(&reply.body).unwrap_or_default(),
            );
        }
        replies.push(reply);
    }
    if wanted.all_or_none && replies.iter().any(|r| r.status >= 400) {
        let halted =
            "The transaction was rolled back since another operation in the same transaction failed.";
        for reply in replies.iter_mut().filter(|r| r.status < 400) {
            *reply = Error::new(400, "PROCESSING_HALTED", halted).into();
        }
    }
    let mut out = String::from("{\"compositeResponse\":[");
    for (at, (sub, reply)) in wanted.composite_request.iter().zip(&replies).enumerate() {
        let body = if reply.body.is_empty() {
            "null"
        } else {
            &reply.body
        };
        _ = write!(
            out,
            "{}{{\"body\":{body},\"httpHeaders\":{{}},\"httpStatusCode\":{},\"referenceId\":",
            if at == 0 { "" } else { "," },
            reply.status
        );
        write_text(&sub.reference_id, &mut out);
        out.push('}');
    }
    out.push_str("]}");
    Ok(Reply::ok(out))
}

/// Errors for which Salesforce refuses the whole call. The texts of the two limits are unconfirmed, the status is
/// confirmed.
fn check(wanted: &Composite) -> Result<(), Error> {
    let subs = &wanted.composite_request;
    let refuse = |code, message: String| Err(Error::new(400, code, message));
    if subs.is_empty() || subs.len() > MOST {
        return refuse(
            "INVALID_INPUT",
            format!(
                "A composite request holds 1 to {MOST} subrequests, not {}",
                subs.len()
            ),
        );
    }
    let query_like = |s: &&Sub| {
        let path = s.url.split('?').next().unwrap_or("");
        matches!(
            classify(&s.method, path).0.as_str(),
            "query" | "query_all" | "query_more" | "collections"
        )
    };
    if subs.iter().filter(query_like).count() > MOST_QUERIES {
        let message =
            format!("Limit exceeded: at most {MOST_QUERIES} query or sObject Collections subrequests");
        return refuse("LIMIT_EXCEEDED", message);
    }
    let mut seen = HashSet::new();
    for sub in subs {
        let id = &sub.reference_id;
        let good = id.len() <= 60
            && id.starts_with(|c: char| c.is_ascii_alphabetic())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !good {
            let message = format!(
                "Provided referenceId ('{id}') must start with a letter or a number, and it can contain only letters, numbers and underscores ('_')."
            );
            return refuse("INVALID_INPUT", message);
        }
        if !seen.insert(id) {
            return refuse(
                "INVALID_INPUT",
                format!("Duplicate referenceId provided in request: {id}"),
            );
        }
    }
    Ok(())
}

fn one(call: &Call<'_>, method: &str, url: &str, extra: &HashMap<String, String>, body: &str) -> Reply {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let kind = classify(method, path).0;
    if !path.starts_with("/services/data/v") || matches!(kind.as_str(), "composite" | "batch") {
        return Error::not_found().into();
    }
    let mut headers = HeaderMap::new();
    for (name, value) in extra {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    let method = method.to_uppercase();
    dispatch(&Call {
        method: &method,
        path,
        query,
        headers: &headers,
        body: body.as_bytes(),
        inner: true,
        ..*call
    })
}

/// Replaces `@{reference.path}`.
fn substitute(text: &str, bodies: &HashMap<String, Json>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("@{") {
        let (mark, after) = after.split_once('}').ok_or("Invalid reference")?;
        let (reference, path) = mark.split_once('.').unwrap_or((mark, ""));
        let pointer: String = path
            .replace('[', ".")
            .replace(']', "")
            .split('.')
            .map(|p| format!("/{p}"))
            .collect();
        let value = bodies.get(reference).and_then(|b| b.pointer(&pointer));
        let value = value.ok_or_else(|| {
            format!("Invalid reference specified. No value for {mark} found in {reference}")
        })?;
        out.push_str(before);
        match value {
            Json::String(text) => out.push_str(text),
            other => out.push_str(&other.to_string()),
        }
        rest = after;
    }
    Ok(out + rest)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Batch {
    #[serde(default)]
    halt_on_error: bool,
    batch_requests: Vec<BatchSub>,
}

#[derive(Deserialize)]
struct BatchSub {
    method: String,
    url: String,
}

pub(crate) fn batch(call: &Call<'_>) -> Result<Reply, Error> {
    let wanted: Batch = parse(call)?;
    if wanted.batch_requests.len() > MOST {
        return Err(Error::new(
            400,
            "INVALID_INPUT",
            format!("A batch holds at most {MOST} subrequests"),
        ));
    }
    let mut failed = false;
    let mut results = Vec::new();
    for sub in &wanted.batch_requests {
        let reply = if failed && wanted.halt_on_error {
            Error::new(
                412,
                "BATCH_PROCESSING_HALTED",
                "Batch processing halted per request",
            )
            .into()
        } else {
            // `v62.0/…`, or the whole path.
            let url = sub.url.trim_start_matches('/');
            let url = if url.starts_with('v') {
                format!("/services/data/{url}")
            } else {
                format!("/{url}")
            };
            one(call, &sub.method, &url, &HashMap::new(), "")
        };
        failed |= reply.status >= 400;
        let body = if reply.body.is_empty() {
            "null"
        } else {
            &reply.body
        };
        results.push(format!("{{\"statusCode\":{},\"result\":{body}}}", reply.status));
    }
    let head = json!(failed);
    Ok(Reply::ok(format!(
        "{{\"hasErrors\":{head},\"results\":[{}]}}",
        results.join(",")
    )))
}
