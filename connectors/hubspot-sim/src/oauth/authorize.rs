//! The page where a user lets an app in.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Form, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use url::form_urlencoded;

use super::READ_SCOPES;
use super::store::{Code, Grant, random};
use crate::app::App;

type Params = HashMap<String, String>;

/// A checked request.
pub(crate) struct Request {
    client: String,
    redirect_uri: String,
    scopes: Vec<String>,
    optional: Vec<String>,
    state: Option<String>,
}

/// A request that cannot go on.
pub(crate) enum NoCode {
    /// Shown on HubSpot's own page: there is nowhere safe to send the browser.
    Page(String),
    Redirect(String),
}

impl Request {
    /// Checks what HubSpot checks before anybody is asked anything.
    pub(crate) fn check(app: &App, params: &Params) -> Result<Request, NoCode> {
        let get = |name: &str| params.get(name).map_or("", String::as_str);
        let oauth = app.oauth.lock();
        let Some(client) = oauth.client(get("client_id")) else {
            return Err(NoCode::Page(
                "Authorization failed because the client ID is invalid".to_owned(),
            ));
        };
        if !client.allows(get("redirect_uri")) {
            return Err(NoCode::Page(
                "Authorization failed because the redirect URL is not one of the app's".to_owned(),
            ));
        }
        let split = |text: &str| -> Vec<String> {
            text.split([' ', ','])
                .filter(|s| !s.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let (scopes, optional) = (split(get("scope")), split(get("optional_scope")));
        if scopes.is_empty()
            || scopes
                .iter()
                .chain(&optional)
                .any(|s| !READ_SCOPES.contains(&s.as_str()))
        {
            return Err(NoCode::Page(
                "Authorization failed because there is a mismatch between the scopes in the install URL and the app's \
                 configured scopes"
                    .to_owned(),
            ));
        }
        Ok(Request {
            client: client.id.clone(),
            redirect_uri: get("redirect_uri").to_owned(),
            scopes,
            optional,
            state: params.get("state").cloned(),
        })
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

    /// The address the browser goes back to once a user has decided.
    pub(crate) fn decide(&self, app: &App, email: &str, allow: bool) -> Result<String, NoCode> {
        if !allow {
            return Err(NoCode::Redirect(self.redirect(&[
                ("error", "access_denied"),
                ("error_description", "The user has denied access to the app"),
            ])));
        }
        let found = {
            let portals = app.portals.lock();
            portals.iter().find_map(|p| {
                p.users
                    .iter()
                    .find(|u| u.email == email)
                    .map(|u| (p.id, u.clone()))
            })
        };
        let Some((hub_id, user)) = found else {
            return Err(NoCode::Page("There is no such user".to_owned()));
        };
        let may = |scope: &String| user.may_grant_tickets || scope != "tickets";
        if let Some(lacking) = self.scopes.iter().find(|s| !may(s)) {
            return Err(NoCode::Page(format!(
                "Authorization failed because your account lacks access to the required scopes [{lacking}]"
            )));
        }
        let mut scopes = self.scopes.clone();
        scopes.extend(self.optional.iter().filter(|s| may(s)).cloned());
        let code = format!("na1-{}", random(32));
        let grant = Grant {
            refresh_token: format!("na1-{}", random(32)),
            client: self.client.clone(),
            hub_id,
            user_id: user.id,
            scopes,
            revoked: false,
        };
        let redirect_uri = self.redirect_uri.clone();
        app.oauth
            .lock()
            .codes
            .insert(code.clone(), Code { grant, redirect_uri });
        Ok(self.redirect(&[("code", &code)]))
    }
}

impl IntoResponse for NoCode {
    fn into_response(self) -> Response {
        match self {
            NoCode::Page(text) => {
                let page = format!("<!DOCTYPE html><title>Error</title><p>{}</p>", escape(&text));
                (StatusCode::BAD_REQUEST, Html(page)).into_response()
            }
            NoCode::Redirect(to) => found(&to),
        }
    }
}

fn found(to: &str) -> Response {
    (StatusCode::FOUND, [(header::LOCATION, to)]).into_response()
}

/// `GET /oauth/authorize`: log in and consent, on one page.
pub(crate) async fn page(State(app): State<Arc<App>>, Query(params): Query<Params>) -> Response {
    let request = match Request::check(&app, &params) {
        Ok(request) => request,
        Err(refusal) => return refusal.into_response(),
    };
    let mut users = String::new();
    for portal in app.portals.lock().iter() {
        for user in &portal.users {
            let checked = if users.is_empty() { " checked" } else { "" };
            users.push_str(&format!(
                "<label><input type=\"radio\" name=\"username\" value=\"{name}\"{checked}> {name}, portal {hub}</label><br>",
                name = escape(&user.email),
                hub = portal.id,
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
        .scopes
        .iter()
        .map(|s| format!("<li>{}</li>", escape(s)))
        .chain(
            request
                .optional
                .iter()
                .map(|s| format!("<li>{} (optional)</li>", escape(s))),
        )
        .collect();
    Html(format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Connect app | Simulated HubSpot</title>\
         <style>body{{font:16px sans-serif;max-width:34em;margin:4em auto}}</style></head><body><h1>Connect {client}?</h1>\
         <p>It asks for:</p><ul>{scopes}</ul><form method=\"post\" action=\"/oauth/authorize\">{fields}<p>Log in as</p>{users}\
         <p><button name=\"decision\" value=\"deny\">Cancel</button> \
         <button name=\"decision\" value=\"allow\">Connect app</button></p></form></body></html>",
        client = escape(&request.client)
    ))
    .into_response()
}

/// `POST /oauth/authorize`: what the page's buttons do; a script may post the same form.
pub(crate) async fn decide(State(app): State<Arc<App>>, Form(params): Form<Params>) -> Response {
    let allow = params.get("decision").is_some_and(|d| d == "allow");
    let email = params.get("username").map_or("", String::as_str);
    match Request::check(&app, &params).and_then(|request| request.decide(&app, email, allow)) {
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
