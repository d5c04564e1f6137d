//! The CRM's API: the allowed requests, how they are sent, and the meaning of errors.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tether_connector_sdk::http::{HttpClient, ReadSet, Request, Response, StatusCode, Url};
use tether_connector_sdk::proto::{AuthKind, Connection, ErrorKind};
use tether_connector_sdk::{CallContext, Error, Host};

use crate::options::Options;
use crate::rows::Item;

/// Attempts at a request after transient failures.
const ATTEMPTS: u32 = 3;
/// The pause after the first failure; it grows.
const PAUSE: Duration = Duration::from_millis(250);
/// The pause after a rate limit if the CRM does not report one.
const RATE_PAUSE: Duration = Duration::from_secs(10);

/// The state shared by all calls.
pub(crate) struct App {
    pub(crate) host: Host,
    pub(crate) http: HttpClient,
    pub(crate) options: Options,
}

/// All requests that this connector may send to the CRM. Other requests are refused before they are sent.
pub(crate) fn read_set() -> ReadSet {
    ReadSet::new()
        .get("/api/v1/me")
        .get("/api/v1/fields")
        .get("/api/v1/*")
        .get("/api/v1/*/*")
        .post("/oauth/token")
        .post("/oauth/revoke")
}

/// One account during one call. No Debug, because it contains the token.
pub(crate) struct Session {
    pub(crate) app: Arc<App>,
    pub(crate) call: CallContext,
    auth_kind: AuthKind,
    token: String,
}

/// A page of a list.
#[derive(Deserialize)]
pub(crate) struct Page {
    /// Records, ordered by id.
    pub(crate) items: Vec<Item>,
    /// The total number of records.
    pub(crate) total: u64,
    /// There are further records.
    pub(crate) more: bool,
}

impl Session {
    /// For a call on behalf of an account.
    pub(crate) fn new(app: &Arc<App>, call: &CallContext, connection: Option<&Connection>) -> Self {
        let credentials = connection.and_then(|connection| connection.credentials.as_ref());
        let token = credentials.map(|credentials| credentials.access_token.clone());
        let auth_kind = connection.map_or(AuthKind::Unspecified, Connection::auth_kind);
        Self::with(app, call, auth_kind, token.unwrap_or_default())
    }

    /// Creates a session with a new token.
    pub(crate) fn with(app: &Arc<App>, call: &CallContext, auth_kind: AuthKind, token: String) -> Self {
        Self {
            app: Arc::clone(app),
            call: call.clone(),
            auth_kind,
            token,
        }
    }

    /// Continues with a new token.
    pub(crate) fn renew(&mut self, token: String) {
        self.token = token;
    }

    /// A page of a list that begins after an id.
    pub(crate) async fn page(&self, path: &str, query: &[(&str, &str)]) -> Result<Page, Error> {
        self.get(path, query).await
    }

    /// Any other resource; None if it does not exist.
    pub(crate) async fn find<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Error> {
        match self.get(path, &[]).await {
            Err(error) if error.is(ErrorKind::RecordGone) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Sends the request until there is an answer or retries do not help.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, Error> {
        let mut attempt = 1;
        loop {
            let error = match self.attempt(path, query).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if !error.is(ErrorKind::Transient) || attempt == ATTEMPTS {
                return Err(error);
            }
            tracing::debug!(attempt, "trying again");
            self.call.sleep(PAUSE * attempt).await?;
            attempt += 1;
        }
    }

    async fn attempt<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, Error> {
        let mut request = Request::get(&format!("{}/api/v1/{path}", self.app.options.api_url))?;
        for (key, value) in query {
            request = request.query(key, value);
        }
        let request = request.bearer(&self.token)?.accept("application/json");
        let response = self.app.http.send(&self.call, request).await?;
        if !response.status.is_success() {
            return Err(self.classify(&response));
        }
        // Most likely a gateway's page: a retry may succeed.
        serde_json::from_slice(&response.body).map_err(|error| {
            Error::transient(format!(
                "the CRM answered with what is not the JSON expected (line {} column {})",
                error.line(),
                error.column()
            ))
        })
    }

    /// Classifies an unsuccessful answer. The kind determines the host's reaction.
    fn classify(&self, response: &Response) -> Error {
        // Gateways answer with 403 and 404 too. Only the CRM's own reply proves that something is deleted or
        // forbidden.
        let said = match response.own::<Said>() {
            Some(Said { error }) => error
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect::<String>(),
            None if response.status != StatusCode::UNAUTHORIZED => return response.foreign("the CRM"),
            None => String::new(),
        };
        let with = |what: &str| {
            if said.is_empty() {
                what.to_owned()
            } else {
                format!("{what} ({said})")
            }
        };
        match response.status {
            // A key cannot be refreshed; a token can.
            StatusCode::UNAUTHORIZED if self.auth_kind == AuthKind::ApiKey => {
                Error::credentials_revoked(with("the CRM no longer accepts the API key: log in again"))
            }
            StatusCode::UNAUTHORIZED => {
                Error::credentials_expired(with("the CRM no longer accepts the access token"))
            }
            StatusCode::FORBIDDEN => Error::forbidden(with(
                "the logged-in user may not see this: an administrator of the CRM has to allow it",
            )),
            StatusCode::NOT_FOUND => Error::record_gone(with("the CRM has no such record")),
            StatusCode::TOO_MANY_REQUESTS => {
                let wait = response.retry_after().unwrap_or(RATE_PAUSE);
                Error::rate_limited(with("the CRM asks to be called more slowly")).retry_after(wait)
            }
            status if status.is_server_error() => {
                Error::transient(format!("the CRM cannot answer now ({})", status.as_u16()))
            }
            status => Error::bug(with(&format!("the CRM did not understand ({})", status.as_u16()))),
        }
    }
}

/// An error of the CRM: `{"error": "…"}`. The key is required: it distinguishes the CRM's JSON from a gateway's.
#[derive(Deserialize)]
struct Said {
    error: String,
}

/// An id as a path segment.
pub(crate) fn segment(id: &str) -> String {
    let mut url = match Url::parse("http://localhost/") {
        Ok(url) => url,
        Err(_) => return String::new(),
    };
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.clear().push(id);
    }
    url.path().trim_start_matches('/').to_owned()
}
