//! HubSpot's API for one account: sends requests, retries them, and reads the replies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tether_connector_sdk::http::{HttpClient, Method, ReadSet, Request, Response, back_off, jitter};
use tether_connector_sdk::proto::{Connection, Error, ErrorKind};
use tether_connector_sdk::{CallContext, Host, settings};

use crate::limits::{self, Standing, Turns};
use crate::objects::{COMPANY, OBJECTS};
use crate::options::Options;
use crate::{bodies, errors};

/// The state shared by all calls.
pub(crate) struct App {
    pub(crate) host: Host,
    pub(crate) http: HttpClient,
    pub(crate) options: Options,
    pub(crate) searches: Turns,
    /// Records per request for links: fewer after HubSpot has refused more.
    pub(crate) links_a_request: AtomicUsize,
}

/// All requests that the connector may send to HubSpot.
pub(crate) fn read_set() -> ReadSet {
    let mut set = ReadSet::new()
        .get("/account-info/v3/details")
        .get("/oauth/v1/access-tokens/*")
        .rule(Method::DELETE, "/oauth/v1/refresh-tokens/*", None)
        .post_checked("/oauth/v1/token", bodies::check_token)
        .post_checked("/oauth/2026-03/token", bodies::check_token)
        .post_checked("/oauth/2026-03/token/introspect", bodies::check_token)
        .post_checked("/oauth/2026-03/token/revoke", bodies::check_token)
        .post_checked(PRIVATE_APP, bodies::check_private_app);
    for object in &OBJECTS {
        let records = format!("/crm/v3/objects/{}", object.key);
        set = set
            .get(&format!("/crm/v3/properties/{}", object.key))
            .get(&records)
            .get(&format!("{records}/*"))
            .post_checked(&format!("{records}/batch/read"), bodies::check_batch)
            .post_checked(&format!("{records}/search"), bodies::check_search);
        if !object.is_company() {
            for (from, to) in [(object.key, COMPANY.key), (COMPANY.key, object.key)] {
                let path = format!("/crm/v4/associations/{from}/{to}/batch/read");
                set = set.post_checked(&path, bodies::check_associations);
            }
        }
    }
    set
}

/// HubSpot's window of ten seconds, as a multiple of the first pause.
const WINDOW: u32 = 10;

/// The endpoint for the owner of a private app's token.
pub(crate) const PRIVATE_APP: &str = "/oauth/v2/private-apps/get/access-token-info";

/// One account during one call. No Debug, because it contains the token.
#[derive(Clone)]
pub(crate) struct Session {
    app: Arc<App>,
    call: CallContext,
    /// HubSpot's number of the account; empty while unknown.
    account: String,
    token: String,
    attempts: u32,
    patience: Duration,
    /// Leaves a part of every window to other calls.
    yielding: bool,
}

/// The kind of a request.
#[derive(Clone, Copy)]
enum Ask<'a> {
    Get(&'a str),
    Post(&'a str, &'a str),
}

impl Session {
    /// For a call on behalf of an account.
    pub(crate) fn new(
        app: &Arc<App>,
        call: &CallContext,
        connection: Option<&Connection>,
    ) -> Result<Self, Error> {
        let (connection, token) = settings::signed_in(connection)?;
        let identity = connection.identity.clone().unwrap_or_default();
        Ok(Self {
            account: identity.organization_id,
            ..Self::with(app, call, token)
        })
    }

    /// Creates a session with a new token.
    pub(crate) fn with(app: &Arc<App>, call: &CallContext, token: String) -> Self {
        Self {
            app: Arc::clone(app),
            call: call.clone(),
            account: String::new(),
            token,
            attempts: limits::ATTEMPTS,
            patience: limits::PATIENCE,
            yielding: false,
        }
    }

    /// Fewer retries, for calls that users wait for.
    pub(crate) fn impatient(mut self) -> Self {
        self.attempts = limits::FEW_ATTEMPTS;
        self.patience = limits::IMPATIENCE;
        self
    }

    /// Leaves a part of HubSpot's window to other calls: for long reads.
    pub(crate) fn yielding(mut self) -> Self {
        self.yielding = true;
        self
    }

    /// Continues with another token.
    pub(crate) fn renew(&mut self, token: String) {
        self.token = token;
    }

    /// Largest size of a URL in bytes.
    pub(crate) fn address_budget(&self) -> usize {
        self.app.options.address_budget
    }

    /// Gets a reply and reads it with `read`; also returns its time by HubSpot's clock, 0 if unknown.
    pub(crate) async fn get<T>(
        &self,
        path: &str,
        read: impl Fn(&str) -> Result<T, serde_json::Error>,
    ) -> Result<(T, i64), Error> {
        self.ask(Ask::Get(path), read).await
    }

    /// Posts a query and reads the reply with `read`.
    pub(crate) async fn post<T>(
        &self,
        path: &str,
        body: &str,
        read: impl Fn(&str) -> Result<T, serde_json::Error>,
    ) -> Result<(T, i64), Error> {
        self.ask(Ask::Post(path, body), read).await
    }

    /// Waits before the failed part of a reply is requested again; false after too many attempts.
    pub(crate) async fn pause(&self, attempt: u32) -> Result<bool, Error> {
        if attempt >= self.attempts {
            return Ok(false);
        }
        let wait = back_off(self.app.options.back_off, attempt, jitter());
        self.call.sleep(wait).await?;
        Ok(true)
    }

    /// Records per request for links.
    pub(crate) fn links_a_request(&self) -> usize {
        self.app.links_a_request.load(Ordering::Relaxed)
    }

    /// Lowers it after HubSpot has refused more.
    pub(crate) fn set_links_a_request(&self, most: usize) {
        self.app.links_a_request.store(most, Ordering::Relaxed);
    }

    /// Sends a request until a reply can be read or retries do not help.
    async fn ask<T>(
        &self,
        ask: Ask<'_>,
        read: impl Fn(&str) -> Result<T, serde_json::Error>,
    ) -> Result<(T, i64), Error> {
        let (mut attempt, mut waited) = (0, Duration::ZERO);
        loop {
            attempt += 1;
            let error = match self.attempt(ask).await {
                Ok(response) => match read(&response.text()) {
                    Ok(value) => {
                        return Ok((value, response.made_us().unwrap_or(0)));
                    }
                    Err(error) => response.unreadable("HubSpot", &error),
                },
                Err(error) => error,
            };
            let remaining = self.call.remaining();
            match self.wait(attempt, &error) {
                Some(wait) if waited + wait <= self.patience && remaining.is_none_or(|left| wait < left) => {
                    tracing::debug!(attempt, kind = error.label(), "trying again");
                    waited += wait;
                    self.call.sleep(wait).await?;
                }
                _ => return Err(error),
            }
        }
    }

    /// The pause before the next attempt; None if a retry does not help.
    fn wait(&self, attempt: u32, error: &Error) -> Option<Duration> {
        let wish = error.retry_us.saturating_sub(self.app.host.now_us()).max(0);
        let wish = Duration::from_micros(u64::try_from(wish).unwrap_or(0));
        match error.what() {
            // As often as the time limit allows: of many calls that wait for the next second or window, each window
            // serves some. Slightly longer than requested, and randomized.
            ErrorKind::RateLimited if !wish.is_zero() && attempt < limits::TOLD_ATTEMPTS => {
                Some(wish.mul_f64(1.0 + jitter() / 4.0))
            }
            ErrorKind::Transient | ErrorKind::RateLimited if attempt < self.attempts => {
                Some(wish.max(back_off(self.app.options.back_off, attempt, jitter())))
            }
            _ => None,
        }
    }

    async fn attempt(&self, ask: Ask<'_>) -> Result<Response, Error> {
        let base = &self.app.options.api_base;
        let request = match ask {
            Ask::Get(path) => Request::get(&format!("{base}{path}"))?,
            Ask::Post(path, body) => Request::post_json(&format!("{base}{path}"), body.to_owned())?,
        };
        let request = request.bearer(&self.token)?.accept("application/json");
        let turn = match ask {
            Ask::Post(path, _) if path.ends_with("/search") => {
                Some(self.call.run(self.app.searches.next(&self.account)).await?)
            }
            _ => None,
        };
        let response = self.app.http.send(&self.call, request).await?;
        drop(turn);
        let standing = Standing::of(&response.headers, self.app.options.back_off * WINDOW);
        if let Some((used, limit)) = standing.daily {
            self.call.set_allowance(used, limit);
        }
        if response.status.is_success() {
            if self.yielding && standing.low {
                self.call.sleep(standing.window / 10).await?;
            }
            return Ok(response);
        }
        // HubSpot's edge reports limits too, in any form.
        if response.status.as_u16() != 429 && !(response.is_json() && errors::is_own(&response.body)) {
            return Err(response.foreign("HubSpot"));
        }
        let error = errors::classify(
            response.status.as_u16(),
            &response.body,
            response.retry_after(),
            standing.window,
            self.app.host.now_us(),
        );
        Err(match (error.what(), standing.daily) {
            (ErrorKind::AllowanceExhausted, Some((used, limit))) => error.allowance(used, limit),
            _ => error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tether_connector_sdk::http::Url;

    #[test]
    fn nothing_that_writes_is_in_the_read_set() {
        let url = |path: &str| {
            Url::parse(&format!("https://api.hubapi.com{path}")).unwrap_or_else(|e| panic!("{e}"))
        };
        let set = read_set();
        let batch = br#"{"inputs":[{"id":"1"}],"properties":["name"]}"#;
        let read = [
            (Method::GET, "/crm/v3/objects/companies?limit=100", &b""[..]),
            (Method::GET, "/crm/v3/objects/tickets/17", b""),
            (Method::POST, "/crm/v3/objects/deals/batch/read", batch),
            (
                Method::POST,
                "/crm/v4/associations/contacts/companies/batch/read",
                br#"{"inputs":[{"id":"1"}]}"#,
            ),
        ];
        for (method, path, body) in read {
            assert_eq!(set.check(&method, &url(path), body), Ok(()), "{method} {path}");
        }
        let written = [
            (Method::POST, "/crm/v3/objects/companies", &batch[..]),
            (Method::PATCH, "/crm/v3/objects/companies/1", b"{}"),
            (Method::DELETE, "/crm/v3/objects/companies/1", b""),
            (Method::POST, "/crm/v3/objects/companies/batch/create", batch),
            (Method::POST, "/crm/v3/objects/companies/batch/archive", batch),
            (Method::POST, "/crm/v3/objects/companies/merge", batch),
            (
                Method::POST,
                "/crm/v3/objects/companies/batch/read",
                br#"{"inputs":[{"id":"1","properties":{"name":"x"}}]}"#,
            ),
            (
                Method::POST,
                "/crm/v4/associations/contacts/companies/batch/create",
                br#"{"inputs":[{"id":"1"}]}"#,
            ),
            (Method::GET, "/crm/v3/objects/quotes", b""),
            (Method::GET, "/crm/v3/owners", b""),
        ];
        for (method, path, body) in written {
            assert!(set.check(&method, &url(path), body).is_err(), "{method} {path}");
        }
    }
}
