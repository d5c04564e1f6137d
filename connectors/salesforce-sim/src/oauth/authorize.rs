//! The page on which a user allows an app.

use std::sync::Arc;

use axum::extract::{Form, Query, State};
use axum::response::{IntoResponse, Response};
use sim_kit::oauth::{Consent, NoCode, Params, WayBack, decided, decision};

use crate::app::App;

/// The scopes that an app may request.
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
    back: WayBack,
    scope: String,
    challenge: String,
}

/// The page for a request that cannot be redirected to the app.
fn page_of(error: &str, description: &str) -> NoCode {
    NoCode::Page(format!("error={error}&error_description={description}"))
}

impl Request {
    /// Makes the checks that Salesforce makes before it shows the page.
    pub(crate) fn check(app: &App, params: &Params) -> Result<Request, NoCode> {
        let get = |name: &str| params.get(name).map_or("", String::as_str);
        let oauth = app.oauth.lock();
        let Some(client) = oauth.client(get("client_id")) else {
            return Err(page_of("invalid_client_id", "client identifier invalid"));
        };
        if !client.allows(get("redirect_uri")) {
            return Err(page_of(
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
            back: WayBack::of(params),
            scope: scope.split_whitespace().collect::<Vec<_>>().join(" "),
            challenge: get("code_challenge").to_owned(),
        };
        if let Some((error, description)) = &oauth.callback_refusal {
            return Err(request.back.refuse(error, description));
        }
        if !client.installed {
            return Err(request
                .back
                .refuse("invalid_client", "app must be installed into org"));
        }
        if get("response_type") != "code" {
            return Err(request
                .back
                .refuse("unsupported_response_type", "response type not supported"));
        }
        if request.challenge.is_empty() {
            return Err(request
                .back
                .refuse("invalid_request", "missing required code challenge"));
        }
        // S256 is the only method, and the default (jsforce names none).
        if !matches!(get("code_challenge_method"), "" | "S256") {
            return Err(request
                .back
                .refuse("invalid_request", "invalid code challenge method"));
        }
        if request.scope.split(' ').any(|s| !SCOPES.contains(&s)) {
            return Err(request
                .back
                .refuse("invalid_scope", "the requested scope is not allowed"));
        }
        Ok(request)
    }

    /// The redirect of the browser after the user's decision.
    pub(crate) fn decide(&self, app: &App, username: &str, allow: bool) -> Result<String, NoCode> {
        if !allow {
            return Err(self.back.refuse("access_denied", "end-user denied authorization"));
        }
        let Some(user) = app.find_user(username) else {
            return Err(page_of("invalid_grant", "authentication failure"));
        };
        {
            let org = app.orgs[user.org].read();
            if !org.active {
                return Err(self.back.refuse("inactive_org", "organization locked"));
            }
            if !org.user(user.user).is_some_and(|u| u.active) {
                return Err(self.back.refuse("inactive_user", "user is inactive"));
            }
        }
        let code = app.oauth.lock().code(
            &self.client,
            user,
            &self.back.redirect_uri,
            &self.scope,
            &self.challenge,
        );
        Ok(self.back.with(&[("code", &code)]))
    }
}

/// `GET /services/oauth2/authorize`: login and consent on one page.
pub(crate) async fn page(State(app): State<Arc<App>>, Query(params): Query<Params>) -> Response {
    let request = match Request::check(&app, &params) {
        Ok(request) => request,
        Err(refusal) => return refusal.into_response(),
    };
    let mut users = Vec::new();
    for org in &app.orgs {
        let org = org.read();
        users.extend(org.users.iter().map(|user| {
            let (name, first, last) = (&user.username, &user.first_name, &user.last_name);
            (name.clone(), format!("{first} {last} <{name}>, {}", org.name))
        }));
    }
    Consent {
        title: "Allow access?",
        crm: "Salesforce",
        headline: "Allow access?",
        lead: &format!("{} asks to:", request.client),
        scopes: request.scope.split(' ').map(str::to_owned).collect(),
        users,
        chosen: params.get("login_hint").map_or("", String::as_str),
        action: "/services/oauth2/authorize",
        buttons: ["Deny", "Allow"],
    }
    .page(&params)
}

/// `POST /services/oauth2/authorize`: the target of the page's form; a script may post the same form.
pub(crate) async fn decide(State(app): State<Arc<App>>, Form(params): Form<Params>) -> Response {
    let (username, allow) = decision(&params);
    decided(Request::check(&app, &params).and_then(|request| request.decide(&app, username, allow)))
}
