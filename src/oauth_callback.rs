//! The only web page of tether: the browser returns to it after a login at the CRM.
//!
//! An attacker can send an authorize URL to a victim, whose CRM account would then be read through the attacker's
//! integration. Therefore the page shows the group and the integration of the login, and asks for confirmation before
//! the code is exchanged. The confirmation has a token that only this page contains; the attacker knows the state,
//! but not the token.

use crate::error::Error;
use crate::fair::{CallFlow, Flow};
use crate::service::Services;
use axum::Router;
use axum::extract::{Form, Query, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use std::collections::HashMap;

/// The path of the redirect URI that is registered with the CRM; it follows the public URL.
pub const PATH: &str = "/oauth/callback";
const MOST_PARAMETERS: usize = 16;
const MOST_BYTES: usize = 4_096;

/// The routes: the callback and its confirmation.
pub fn router(services: Services) -> Router {
    Router::new()
        .route(PATH, get(arrived))
        .route("/oauth/confirm", post(confirmed))
        // The page needs no token: all its requests are one flow, separate from the server's own work.
        .layer(from_fn(|request: Request, next: Next| {
            CallFlow::of(Flow::Callback).scope(next.run(request))
        }))
        .with_state(services)
}

async fn arrived(
    State(services): State<Services>,
    Query(mut callback): Query<HashMap<String, String>>,
) -> Response {
    let too_much =
        callback.len() > MOST_PARAMETERS || callback.values().any(|value| value.len() > MOST_BYTES);
    let Some(state) = callback.remove("state").filter(|_| !too_much) else {
        return page(
            StatusCode::BAD_REQUEST,
            "Nothing to do here",
            "<p>This page completes a login. Start the login on the platform.</p>",
        );
    };
    match services
        .login_arrived(&state, callback.into_iter().collect())
        .await
    {
        Ok(asked) => page(
            StatusCode::OK,
            "Connect this account?",
            &format!(
                "<p>You logged in to <b>{connector}</b>. If you continue, the group <b>{group}</b> can read what you can \
                 see there, through its integration <b>{integration}</b>. {user} started this login. Nothing is ever written to \
                 {connector}.</p><p>If you did not start this login yourself, close this page.</p>\
                 <form method=\"post\" action=\"/oauth/confirm\"><input type=\"hidden\" name=\"state\" value=\"{state}\">\
                 <input type=\"hidden\" name=\"token\" value=\"{token}\"><button>Connect</button></form>",
                connector = escape(&asked.connector),
                group = escape(&asked.group),
                integration = escape(&asked.integration),
                user = escape(&asked.begun_by),
                state = escape(&state),
                token = escape(&asked.token),
            ),
        ),
        Err(error) => refusal(&error),
    }
}

#[derive(serde::Deserialize)]
struct Confirmation {
    state: String,
    token: String,
}

async fn confirmed(State(services): State<Services>, Form(form): Form<Confirmation>) -> Response {
    match services.login_confirmed(&form.state, &form.token).await {
        Ok(integration) => page(
            StatusCode::OK,
            "Connected",
            &format!(
                "<p>The account is connected to the integration <b>{}</b>. You can close this page and continue where you \
                 came from.</p>",
                escape(&integration)
            ),
        ),
        Err(error) => refusal(&error),
    }
}

fn refusal(error: &Error) -> Response {
    let text = format!(
        "<p>{}</p><p class=\"small\">{}</p>",
        escape(&error.message),
        error.reason.as_str()
    );
    page(StatusCode::BAD_REQUEST, "The login failed", &text)
}

fn escape(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut out, c| {
            match c {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '"' => out.push_str("&quot;"),
                '\'' => out.push_str("&#39;"),
                _ => out.push(c),
            }
            out
        })
}

fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let headers: [(HeaderName, HeaderValue); 4] = [
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(
                "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
            ),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
    ];
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>body{{font:17px/1.5 system-ui,sans-serif;max-width:34rem;margin:12vh auto;padding:0 1rem;\
         color:#1c2430}}button{{font:inherit;padding:.5rem 1.4rem;border:0;border-radius:.4rem;background:#1457d9;color:#fff}}\
         .small{{color:#6a7380;font-size:.8rem}}</style><h1>{title}</h1>{body}</html>"
    );
    let mut response = (status, Html(html)).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, value);
    }
    response
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_cannot_become_markup() {
        assert_eq!(super::escape("<script>'\"&"), "&lt;script&gt;&#39;&quot;&amp;");
    }
}
