//! The page on which a user allows an app, and the redirect of the browser to the app.

use std::collections::HashMap;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::json;
use url::{Url, form_urlencoded};

use crate::control::{Answer, Refusal, refuse};

/// The parameters of an authorization request.
pub type Params = HashMap<String, String>;

/// A request that must be refused.
#[derive(Debug)]
pub enum NoCode {
    /// Shown on the CRM's own page: there is no safe redirect target.
    Page(String),
    /// The browser is redirected to the app with the error.
    Redirect(String),
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

/// The redirect target.
#[derive(Debug, Clone)]
pub struct WayBack {
    /// The app's URL.
    pub redirect_uri: String,
    /// The app's `state`, returned unchanged.
    pub state: Option<String>,
}

impl WayBack {
    /// The redirect target of a request.
    #[must_use]
    pub fn of(params: &Params) -> Self {
        Self {
            redirect_uri: params.get("redirect_uri").cloned().unwrap_or_default(),
            state: params.get("state").cloned(),
        }
    }

    /// The app's URL with an answer.
    #[must_use]
    pub fn with(&self, answer: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(answer);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        let join = if self.redirect_uri.contains('?') { '&' } else { '?' };
        format!("{}{join}{}", self.redirect_uri, query.finish())
    }

    /// The error that is returned to the app.
    #[must_use]
    pub fn refuse(&self, error: &str, description: &str) -> NoCode {
        NoCode::Redirect(self.with(&[("error", error), ("error_description", description)]))
    }
}

/// Whether an app without registered URLs may redirect to this one: only loopback and reserved names.
#[must_use]
pub fn is_harmless(redirect_uri: &str) -> bool {
    Url::parse(redirect_uri).is_ok_and(|url| {
        let host = url.host_str().unwrap_or("");
        let reserved = [".example", ".example.com"];
        matches!(host, "localhost" | "[::1]")
            || host.starts_with("127.")
            || reserved.iter().any(|name| host.ends_with(name))
    })
}

/// Redirects the browser.
#[must_use]
pub fn found(to: &str) -> Response {
    (StatusCode::FOUND, [(header::LOCATION, to)]).into_response()
}

/// Escapes a text for a page.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// The page with login and consent. It escapes all texts.
#[derive(Debug)]
pub struct Consent<'a> {
    /// The title of the page, without the CRM's name.
    pub title: &'a str,
    /// The CRM's name.
    pub crm: &'a str,
    /// The headline.
    pub headline: &'a str,
    /// The text before the scopes.
    pub lead: &'a str,
    /// The requested scopes.
    pub scopes: Vec<String>,
    /// The users: the posted value, and the label.
    pub users: Vec<(String, String)>,
    /// The selected user; the first one if this name is unknown.
    pub chosen: &'a str,
    /// The target of the form.
    pub action: &'a str,
    /// The texts of the buttons, that of the refusing button first.
    pub buttons: [&'a str; 2],
}

impl Consent<'_> {
    /// The page for a request with these parameters.
    #[must_use]
    pub fn page(&self, params: &Params) -> Response {
        let chosen = self.users.iter().position(|(name, _)| name == self.chosen);
        let users: String = self
            .users
            .iter()
            .enumerate()
            .map(|(at, (name, text))| {
                let checked = if at == chosen.unwrap_or(0) { " checked" } else { "" };
                format!(
                    "<label><input type=\"radio\" name=\"username\" value=\"{}\"{checked}> {}</label><br>",
                    escape(name),
                    escape(text)
                )
            })
            .collect();
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
        let scopes: String = self
            .scopes
            .iter()
            .map(|s| format!("<li>{}</li>", escape(s)))
            .collect();
        Html(format!(
            "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} | Simulated {crm}</title>\
             <style>body{{font:16px sans-serif;max-width:34em;margin:4em auto}}</style></head><body>\
             <h1>{headline}</h1><p>{lead}</p><ul>{scopes}</ul>\
             <form method=\"post\" action=\"{action}\">{fields}<p>Log in as</p>{users}\
             <p><button name=\"decision\" value=\"deny\">{deny}</button> \
             <button name=\"decision\" value=\"allow\">{allow}</button></p></form></body></html>",
            title = escape(self.title),
            crm = escape(self.crm),
            headline = escape(self.headline),
            lead = escape(self.lead),
            action = escape(self.action),
            deny = escape(self.buttons[0]),
            allow = escape(self.buttons[1]),
        ))
        .into_response()
    }
}

/// The data posted by the page's buttons, or by a script: the user, and whether access is granted.
#[must_use]
pub fn decision(params: &Params) -> (&str, bool) {
    let allow = params.get("decision").is_some_and(|d| d == "allow");
    (params.get("username").map_or("", String::as_str), allow)
}

/// The answer to a decision: a redirect or a page.
#[must_use]
pub fn decided(outcome: Result<String, NoCode>) -> Response {
    match outcome {
        Ok(to) => found(&to),
        Err(refusal) => refusal.into_response(),
    }
}

/// `GET /control/oauth/approve?url=…&username=…&decision=allow|deny`: the redirect of the browser after the user's
/// decision. `decide` receives the parameters of the URL, the user's name (empty if not given) and whether access is
/// granted.
///
/// # Errors
/// The URL is missing, or the CRM shows a page instead.
pub fn approve(asked: &Params, decide: impl FnOnce(&Params, &str, bool) -> Result<String, NoCode>) -> Answer {
    let get = |name: &str| asked.get(name).map_or("", String::as_str);
    let Ok(url) = Url::parse(get("url")) else {
        return refuse("give the authorize URL as url=");
    };
    let params: Params = url.query_pairs().into_owned().collect();
    match decide(&params, get("username"), get("decision") != "deny") {
        Ok(to) | Err(NoCode::Redirect(to)) => {
            let answer: Params = Url::parse(&to)
                .map(|u| u.query_pairs().into_owned().collect())
                .unwrap_or_default();
            Ok(Json(json!({
                "redirectUrl": to, "code": answer.get("code"), "state": answer.get("state"),
                "error": answer.get("error"),
            })))
        }
        Err(NoCode::Page(text)) => Err(Refusal(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    #[test]
    fn the_browser_goes_back_with_the_apps_word() {
        for (uri, state, right) in [
            (
                "http://a.example/x",
                Some("s&t"),
                "http://a.example/x?code=1&state=s%26t",
            ),
            ("http://a.example/x?y=1", None, "http://a.example/x?y=1&code=1"),
        ] {
            let mut asked = params(&[("redirect_uri", uri)]);
            asked.extend(state.map(|state| ("state".to_owned(), state.to_owned())));
            assert_eq!(WayBack::of(&asked).with(&[("code", "1")]), right);
        }
    }

    #[test]
    fn only_loopback_and_examples_need_no_registration() {
        for (uri, harmless) in [
            ("http://127.0.0.1:1/x", true),
            ("http://localhost/x", true),
            ("http://[::1]:1/", true),
            ("https://app.example/x", true),
            ("https://evil.com/", false),
            ("no", false),
        ] {
            assert_eq!(is_harmless(uri), harmless, "{uri}");
        }
    }

    #[tokio::test]
    async fn the_page_escapes_what_it_shows_and_checks_one_user() {
        let consent = Consent {
            title: "Allow?",
            crm: "Toy",
            headline: "Allow <b>?",
            lead: "It asks for:",
            scopes: vec!["a\"b".to_owned()],
            users: vec![
                ("ada".to_owned(), "Ada".to_owned()),
                ("bob".to_owned(), "Bob".to_owned()),
            ],
            chosen: "bob",
            action: "/authorize",
            buttons: ["Deny", "Allow"],
        };
        let body = consent.page(&params(&[("state", "<x>")])).into_body();
        let page = axum::body::to_bytes(body, 1 << 16).await.unwrap();
        let page = String::from_utf8_lossy(&page);
        for part in [
            "Allow &lt;b&gt;?",
            "a&quot;b",
            "value=\"&lt;x&gt;\"",
            "value=\"bob\" checked",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert_eq!(page.matches("checked").count(), 1);
    }

    #[test]
    fn an_approval_tells_where_the_browser_would_go() {
        let asked = params(&[
            ("url", "http://crm.example/authorize?client_id=c"),
            ("username", "ada"),
        ]);
        let answer = approve(&asked, |params, user, allow| {
            assert_eq!((params["client_id"].as_str(), user, allow), ("c", "ada", true));
            Ok("http://a.example/?code=1".to_owned())
        });
        assert_eq!(answer.unwrap().0["code"], "1");
        let denied = params(&[("url", "http://crm.example/"), ("decision", "deny")]);
        let answer = approve(&denied, |_, _, allow| {
            assert!(!allow);
            Err(NoCode::Page("no".to_owned()))
        });
        assert_eq!(answer.unwrap_err().0, "no");
        assert!(approve(&Params::new(), |_, _, _| Ok(String::new())).is_err());
    }
}
