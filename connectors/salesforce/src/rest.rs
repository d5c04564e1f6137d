//! One account's REST API: a request is sent, retried where that helps, and its reply read.

use std::sync::Arc;
use std::time::Duration;

use tether_connector_sdk::http::{HttpClient, ReadSet, Request, Response, back_off, jitter};
use tether_connector_sdk::proto::{Connection, Error, ErrorKind};
use tether_connector_sdk::{CallContext, Host};

use crate::composite::{self, Answer};
use crate::options::Options;
use crate::page::{self, Page};
use crate::plan::Column;
use crate::{errors, limits, soql};

/// What all calls share.
pub(crate) struct App {
    pub(crate) host: Host,
    pub(crate) http: HttpClient,
    pub(crate) options: Options,
}

/// Everything the connector will ever ask of Salesforce.
pub(crate) fn read_set() -> ReadSet {
    ReadSet::new()
        .get("/services/data")
        .get("/services/data/**")
        .get("/services/oauth2/userinfo")
        .get("/id/*/*")
        .post("/services/oauth2/token")
        .post("/services/oauth2/revoke")
        .post_checked("/services/data/v*/composite", composite::check)
}

/// One account during one call. It has no Debug: the token is in it.
#[derive(Clone)]
pub(crate) struct Session {
    app: Arc<App>,
    call: CallContext,
    base_url: String,
    token: String,
    attempts: u32,
}

/// What a request is.
#[derive(Clone, Copy)]
enum Ask<'a> {
    Get(&'a str),
    Composite(&'a str),
}

impl Session {
    /// For a call on behalf of an account.
    pub(crate) fn new(
        app: &Arc<App>,
        call: &CallContext,
        connection: Option<&Connection>,
    ) -> Result<Self, Error> {
        let connection = connection.ok_or_else(|| Error::bug("a call without a connection"))?;
        let token = connection
            .credentials
            .as_ref()
            .map(|c| c.access_token.clone())
            .unwrap_or_default();
        if token.is_empty() {
            return Err(Error::credentials_expired("there is no access token yet"));
        }
        Ok(Self::with(app, call, &connection.base_url, token))
    }

    /// With a token that was just given.
    pub(crate) fn with(app: &Arc<App>, call: &CallContext, base_url: &str, token: String) -> Self {
        let base_url = base_url.trim_end_matches('/').to_owned();
        Self {
            app: Arc::clone(app),
            call: call.clone(),
            base_url,
            token,
            attempts: limits::ATTEMPTS,
        }
    }

    /// Giving up sooner: for calls that somebody waits for.
    pub(crate) fn impatient(mut self) -> Self {
        self.attempts = 3;
        self
    }

    /// Goes on with other credentials, at another place.
    pub(crate) fn renew(&mut self, token: String, base_url: &str) {
        self.token = token;
        if !base_url.is_empty() {
            base_url.trim_end_matches('/').clone_into(&mut self.base_url);
        }
    }

    /// The path of a query; `all` includes deleted rows.
    pub(crate) fn query_path(&self, soql: &str, all: bool) -> String {
        let resource = if all { "queryAll" } else { "query" };
        format!(
            "/services/data/{}/{resource}?q={}",
            self.app.options.api_version,
            soql::encode(soql)
        )
    }

    /// The path of anything else.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/services/data/{}/{rest}", self.app.options.api_version)
    }

    /// A page of records.
    pub(crate) async fn page(&self, path: &str, columns: &[Column]) -> Result<Page, Error> {
        let (page, _) = self.ask(Ask::Get(path), |text| page::read(text, columns)).await?;
        Ok(page)
    }

    /// Any other JSON.
    pub(crate) async fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        Ok(self
            .ask(Ask::Get(path), |text| serde_json::from_str(text))
            .await?
            .0)
    }

    /// Several GETs in one call; and when they were answered, by Salesforce's clock.
    pub(crate) async fn composite(&self, paths: &[String]) -> Result<(Vec<Answer>, i64), Error> {
        self.ask(Ask::Composite(&composite::body(paths)), composite::read)
            .await
    }

    /// What a failed part of a composite means.
    pub(crate) fn classify(&self, answer: &Answer) -> Error {
        errors::classify(
            answer.status,
            answer.body.as_bytes(),
            None,
            self.app.host.now_us(),
        )
    }

    /// Sends until there is a reply that can be read, or no hope.
    async fn ask<T>(
        &self,
        ask: Ask<'_>,
        read: impl Fn(&str) -> Result<T, serde_json::Error>,
    ) -> Result<(T, i64), Error> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let error = match self.attempt(ask).await {
                Ok(response) => match read(&response.text()) {
                    Ok(value) => {
                        let made_us = response.made_us();
                        return Ok((value, made_us.unwrap_or_else(|| self.app.host.now_us())));
                    }
                    Err(error) => response.unreadable("Salesforce", &error),
                },
                Err(error) => error,
            };
            let wait = self.wait(attempt, &error);
            let remaining = self.call.remaining();
            match wait {
                Some(wait) if attempt < self.attempts && remaining.is_none_or(|left| wait < left) => {
                    tracing::debug!(attempt, kind = error.label(), "trying again");
                    self.call.sleep(wait).await?;
                }
                _ => return Err(error),
            }
        }
    }

    /// How long to wait before another attempt; none where it would not help.
    fn wait(&self, attempt: u32, error: &Error) -> Option<Duration> {
        let base = match error.what() {
            ErrorKind::Transient => self.app.options.back_off,
            ErrorKind::RateLimited => self.app.options.back_off * 5,
            _ => return None,
        };
        let wait = back_off(base, attempt, jitter());
        // A wish of the reply itself is honoured, unless the host had better wait instead of us.
        let wish = match (error.what(), error.code.as_str()) {
            (ErrorKind::RateLimited, "REQUEST_LIMIT_EXCEEDED" | "") => 0,
            _ => error.retry_us.saturating_sub(self.app.host.now_us()).max(0),
        };
        let wish = Duration::from_micros(u64::try_from(wish).unwrap_or(0));
        (wish <= Duration::from_secs(60)).then_some(wait.max(wish))
    }

    async fn attempt(&self, ask: Ask<'_>) -> Result<Response, Error> {
        let request = match ask {
            Ask::Get(path) => Request::get(&format!("{}{path}", self.base_url))?,
            Ask::Composite(body) => Request::post_json(
                &format!("{}{}", self.base_url, self.path("composite")),
                body.to_owned(),
            )?,
        };
        let request = request.bearer(&self.token)?.accept("application/json");
        let response = self.app.http.send(&self.call, request).await?;
        let usage = response
            .headers
            .get("sforce-limit-info")
            .and_then(|value| value.to_str().ok());
        let usage = usage.and_then(limits::api_usage);
        if let Some((used, limit)) = usage {
            self.call.set_allowance(used, limit);
        }
        if response.status.is_success() {
            return Ok(response);
        }
        let retry_after = response.retry_after();
        let retry_after_us = retry_after.and_then(|wait| i64::try_from(wait.as_micros()).ok());
        let error = errors::classify(
            response.status.as_u16(),
            &response.body,
            retry_after_us,
            self.app.host.now_us(),
        );
        Err(match (error.what(), usage) {
            (ErrorKind::AllowanceExhausted, Some((used, limit))) => error.allowance(used, limit),
            _ => error,
        })
    }
}
