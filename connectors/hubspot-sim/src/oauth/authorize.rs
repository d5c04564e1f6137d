//! The page on which a user allows an app.

use std::sync::Arc;

use axum::extract::{Form, Query, State};
use axum::response::{IntoResponse, Response};
use sim_kit::oauth::{Consent, NoCode, Params, WayBack, decided, decision};

use super::READ_SCOPES;
use super::store::{Code, Grant, random};
use crate::app::App;

/// A checked request.
pub(crate) struct Request {
    client: String,
    back: WayBack,
    scopes: Vec<String>,
    optional: Vec<String>,
}

impl Request {
    /// Makes the checks that HubSpot makes before it shows the page.
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
            back: WayBack::of(params),
            scopes,
            optional,
        })
    }

    /// The redirect of the browser after the user's decision.
    pub(crate) fn decide(&self, app: &App, email: &str, allow: bool) -> Result<String, NoCode> {
        if !allow {
            return Err(self
                .back
                .refuse("access_denied", "The user has denied access to the app"));
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
        let redirect_uri = self.back.redirect_uri.clone();
        app.oauth
            .lock()
            .codes
            .insert(code.clone(), Code { grant, redirect_uri });
        Ok(self.back.with(&[("code", &code)]))
    }
}

/// `GET /oauth/authorize`: login and consent on one page.
pub(crate) async fn page(State(app): State<Arc<App>>, Query(params): Query<Params>) -> Response {
    let request = match Request::check(&app, &params) {
        Ok(request) => request,
        Err(refusal) => return refusal.into_response(),
    };
    let portals = app.portals.lock();
    let users = portals.iter().flat_map(|portal| {
        let of = |email: &str| (email.to_owned(), format!("{email}, portal {}", portal.id));
        portal.users.iter().map(move |user| of(&user.email))
    });
    let optional = request.optional.iter();
    let optional = optional.map(|scope| format!("{scope} (optional)"));
    Consent {
        title: "Connect app",
        crm: "HubSpot",
        headline: &format!("Connect {}?", request.client),
        lead: "It asks for:",
        scopes: request.scopes.iter().cloned().chain(optional).collect(),
        users: users.collect(),
        chosen: "",
        action: "/oauth/authorize",
        buttons: ["Cancel", "Connect app"],
    }
    .page(&params)
}

/// `POST /oauth/authorize`: the target of the page's form; a script may post the same form.
pub(crate) async fn decide(State(app): State<Arc<App>>, Form(params): Form<Params>) -> Response {
    let (email, allow) = decision(&params);
    decided(Request::check(&app, &params).and_then(|request| request.decide(&app, email, allow)))
}
