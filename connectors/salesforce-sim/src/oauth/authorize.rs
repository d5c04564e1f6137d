//! The page where a user lets an app in.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Form, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use url::form_urlencoded;

use crate::app::App;

type Params = HashMap<String, String>;

/// What an app may ask for.
const SCOPES: [&str; 16] = [
    "api",
    "web",
    "full",
    "id",
    "profile",
    "email",
    "address",
    "phone",
    "openid",
    "refresh_token",
    "offline_access",
    "chatter_api",
    "custom_permissions",
    "content",
    "lightning",
    "visualforce",
];

/// A checked request.
pub(crate) struct Request {
    client: String,
    redirect_uri: String,
    scope: String,
    challenge: String,
    state: Option<String>,
}

/// A request that cannot go on.
pub(crate) enum Refusal {
    /// Shown on Salesforce's own page: there is nowhere safe to send the browser.
    Page(&'static str, &'static str),
    Redirect(String),
}

impl Request {
    /// Checks what Salesforce checks before anybody is asked anything.
    pub(crate) fn check(app: &App, params: &Params) -> Result<Request, Refusal> {
        let get = |name: &str| params.get(name).map_or("", String::as_str);
        let oauth = app.oauth.lock();
        let Some(client) = oauth.client(get("client_id")) else {
            return Err(Refusal::Page("invalid_client_id", "client identifier invalid"));
        };
        if !client.allows(get("redirect_uri")) {
            return Err(Refusal::Page(
                "redirect_uri_mismatch",
                "redirect_uri must match configuration",
            ));
        }
        let scope = match get("scope") {
            "" => "refresh_token api id web",
            scope => scope,
        };
        let request = Request {
            client: client.id.clone(),
            redirect_uri: get("redirect_uri").to_owned(),
            scope: scope.split_whitespace().collect::<Vec<_>>().join(" "),
            challenge: get("code_challenge").to_owned(),
            state: params.get("state").cloned(),
        };
        if let Some((error, description)) = &oauth.callback_refusal {
            return Err(request.refuse(error, description));
        }
        if !client.installed {
            return Err(request.refuse("invalid_client", "app must be installed into org"));
        }
        if get("response_type") != "code" {
            return Err(request.refuse("unsupported_response_type", "response type not supported"));
        }
        if request.challenge.is_empty() {
            return Err(request.refuse("invalid_request", "missing required code challenge"));
        }
        // S256 is the only method, and what is meant when none is named (jsforce names none).
        if !matches!(get("code_challenge_method"), "" | "S256") {
            return Err(request.refuse("invalid_request", "invalid code challenge method"));
        }
        if request.scope.split(' ').any(|s| !SCOPES.contains(&s)) {
            return Err(request.refuse("invalid_scope", "the requested scope is not allowed"));
        }
        Ok(request)
    }

    fn redirect(&self, answer: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(answer);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        let join = if self.redirect_uri.contains('?') { '&' } else { '?' };
        format!("{}{join}{}", self.redirect_uri, query.finish())
    }

    fn refuse(&self, error: &str, description: &str) -> Refusal {
        Refusal::Redirect(self.redirect(&[("error", error), ("error_description", description)]))
    }

    /// The address the browser goes back to once a user has decided.
    pub(crate) fn decide(&self, app: &App, username: &str, allow: bool) -> Result<String, Refusal> {
        if !allow {
            return Err(self.refuse("access_denied", "end-user denied authorization"));
        }
        let Some(user) = app.find_user(username) else {
            return Err(Refusal::Page("invalid_grant", "authentication failure"));
        };
        {
            let org = app.orgs[user.org].read();
            if !org.active {
                return Err(self.refuse("inactive_org", "organization locked"));
            }
            if !org.user(user.user).is_some_and(|u| u.active) {
                return Err(self.refuse("inactive_user", "user is inactive"));
            }
        }
        let code = app.oauth.lock().code(
            &self.client,
            user,
            &self.redirect_uri,
            &self.scope,
            &self.challenge,
        );
        Ok(self.redirect(&[("code", &code)]))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Refusal::Page(error, description) => {
                let page = format!(
                    "<!DOCTYPE html><title>Error</title><p>error={error}&amp;error_description={description}</p>"
                );
                (StatusCode::BAD_REQUEST, Html(page)).into_response()
            }
            Refusal::Redirect(to) => found(&to),
        }
    }
}

fn found(to: &str) -> Response {
    (StatusCode::FOUND, [(header::LOCATION, to)]).into_response()
}

/// `GET /services/oauth2/authorize`: log in and consent, on one page.
pub(crate) async fn page(State(app): State<Arc<App>>, Query(params): Query<Params>) -> Response {
    let request = match Request::check(&app, &params) {
        Ok(request) => request,
        Err(refusal) => return refusal.into_response(),
    };
    let hint = params.get("login_hint").map_or("", String::as_str);
    let mut users = String::new();
    for org in &app.orgs {
        let org = org.read();
        for user in &org.users {
            let checked = if hint == user.username || users.is_empty() && hint.is_empty() {
                " checked"
            } else {
                ""
            };
            users.push_str(&format!(
                "<label><input type=\"radio\" name=\"username\" value=\"{name}\"{checked}> {first} {last} \
                 &lt;{name}&gt;, {org}</label><br>",
                name = escape(&user.username),
                first = escape(&user.first_name),
                last = escape(&user.last_name),
                org = escape(&org.name),
            ));
        }
    }
    let fields: String = params
        .iter()
        .map(|(k, v)| {
            format!(
                "<input type=\"hidden\" name=\"{}\" value=\"{}\">",
                escape(k),
                escape(v)
            )
        })
        .collect();
    let scopes: String = request
        .scope
        .split(' ')
        .map(|s| format!("<li>{}</li>", escape(s)))
        .collect();
    Html(format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Allow access? | Simulated Salesforce\
         </title><style>body{{font:16px sans-serif;max-width:34em;margin:4em auto}}</style></head><body>\
         <h1>Allow access?</h1><p>{client} asks to:</p><ul>{scopes}</ul>\
         <form method=\"post\" action=\"/services/oauth2/authorize\">{fields}<p>Log in as</p>{users}\
         <p><button name=\"decision\" value=\"deny\">Deny</button> \
         <button name=\"decision\" value=\"allow\">Allow</button></p></form></body></html>",
        client = escape(&request.client)
    ))
    .into_response()
}

/// `POST /services/oauth2/authorize`: what the page's buttons do; a script may post the same form.
pub(crate) async fn decide(State(app): State<Arc<App>>, Form(params): Form<Params>) -> Response {
    let allow = params.get("decision").is_some_and(|d| d == "allow");
    let username = params.get("username").map_or("", String::as_str);
    match Request::check(&app, &params).and_then(|request| request.decide(&app, username, allow)) {
        Ok(to) => found(&to),
        Err(refusal) => refusal.into_response(),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
