//! The REST API of one account: sends requests, retries them, and reads the replies.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tether_connector_sdk::http::{HttpClient, ReadSet, Request, Response, back_off, jitter};
use tether_connector_sdk::proto::{Connection, Error, ErrorKind};
use tether_connector_sdk::{CallContext, Host, settings};

use crate::composite::{self, Answer};
use crate::errors::Failed;
use crate::options::Options;
use crate::page::{self, Page};
use crate::plan::Column;
use crate::{errors, limits, soql};

/// The state shared by all calls.
pub(crate) struct App {
    pub(crate) host: Host,
    pub(crate) http: HttpClient,
    pub(crate) options: Options,
}

/// All requests that the connector may send to Salesforce.
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

/// One account during one call. No Debug, because it contains the token.
#[derive(Clone)]
pub(crate) struct Session {
    app: Arc<App>,
    call: CallContext,
    base_url: String,
    token: String,
    attempts: u32,
}

/// The kind of a request.
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
        let (connection, token) = settings::signed_in(connection)?;
        Ok(Self::with(app, call, &connection.base_url, token))
    }

    /// Creates a session with a new token.
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

    /// Fewer retries, for calls that users wait for.
    pub(crate) fn impatient(mut self) -> Self {
        self.attempts = 3;
        self
    }

    /// Continues with other credentials and another base URL.
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

    /// The path of any other resource.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/services/data/{}/{rest}", self.app.options.api_version)
    }

    /// A page of records.
    pub(crate) async fn page(&self, path: &str, columns: &[Column]) -> Result<Page, Error> {
        let (mut page, read_us) = self.ask(Ask::Get(path), |text| page::read(text, columns)).await?;
        page.read_us = read_us;
        Ok(page)
    }

    /// Any other JSON.
    pub(crate) async fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        Ok(self
            .ask(Ask::Get(path), |text| serde_json::from_str(text))
            .await?
            .0)
    }

    /// Sends several GETs in one call and reads each answer with `read`, which receives its index. Answers that are
    /// no evidence are requested again. Also returns the earliest time of the replies by Salesforce's clock; 0 if
    /// unknown.
    pub(crate) async fn parts<T>(
        &self,
        paths: &[String],
        read: impl Fn(usize, &str) -> Result<T, serde_json::Error>,
    ) -> Result<(Vec<Result<T, Error>>, i64), Error> {
        let mut results: Vec<Result<T, Error>> = Vec::with_capacity(paths.len());
        let mut open: Vec<usize> = (0..paths.len()).collect();
        let (mut attempt, mut read_us) = (0, 0);
        loop {
            attempt += 1;
            let asked: Vec<String> = open.iter().map(|&index| paths[index].clone()).collect();
            let asked = self
                .ask(Ask::Composite(&composite::body(&asked)), composite::read)
                .await;
            let (answers, at) = match asked {
                Ok(answered) => answered,
                // Earlier answers stay valid.
                Err(_) if attempt > 1 => break,
                Err(error) => return Err(error),
            };
            read_us = earlier(read_us, at);
            let mut longest: Option<Duration> = None;
            let mut left = Vec::new();
            for (place, &index) in open.iter().enumerate() {
                let answer = answers.iter().find(|answer| answer.index == place);
                let result = match answer {
                    Some(answer) if answer.status == 200 => read(index, &answer.body).map_err(|_| {
                        Error::transient("a part of Salesforce's answer cannot be read")
                            .code("http.unreadable")
                    }),
                    Some(answer) => Err(self.classify(answer)),
                    None => Err(Error::transient(
                        "Salesforce left a part of a composite call unanswered",
                    )),
                };
                if let Err(error) = &result
                    && let Some(wait) = self.wait(attempt, error, None)
                {
                    longest = longest.max(Some(wait));
                    left.push(index);
                }
                match results.get_mut(index) {
                    Some(before) => *before = result,
                    None => results.push(result),
                }
            }
            open = left;
            let remaining = self.call.remaining();
            match longest {
                Some(wait) if attempt < self.attempts && remaining.is_none_or(|left| wait < left) => {
                    self.call.sleep(wait).await?;
                }
                _ => break,
            }
        }
        let now_us = self.app.host.now_us();
        let results = results
            .into_iter()
            .map(|result| result.map_err(|error| errors::exhausted(error, now_us)));
        Ok((results.collect(), read_us))
    }

    /// Classifies a failed part of a composite. The allowance is in the headers of the whole reply.
    fn classify(&self, answer: &Answer) -> Error {
        let usage = self.call.usage();
        errors::classify(Failed {
            status: answer.status,
            body: answer.body.as_bytes(),
            readable: true,
            retry_after_us: None,
            usage: (usage.limit > 0).then_some((usage.used, usage.limit)),
            now_us: self.app.host.now_us(),
        })
    }

    /// Sends a request until a reply can be read or retries do not help. Also returns the time of the reply by
    /// Salesforce's clock; 0 if unknown.
    async fn ask<T>(
        &self,
        ask: Ask<'_>,
        read: impl Fn(&str) -> Result<T, serde_json::Error>,
    ) -> Result<(T, i64), Error> {
        let (mut attempt, mut probed) = (0, false);
        loop {
            attempt += 1;
            let failure = match self.attempt(ask).await {
                Ok(response) => match read(&response.text()) {
                    Ok(value) => return Ok((value, response.made_us().unwrap_or(0))),
                    Err(error) => Failure::from(response.unreadable("Salesforce", &error)),
                },
                Err(failure) => failure,
            };
            // A single such page comes from a gateway; a second one may come from the old host of a moved
            // organization.
            if attempt > 1 && !probed && errors::may_be_left(&failure.error, failure.status) {
                probed = true;
                if !self.is_salesforce().await {
                    return Err(errors::host_left(failure.status));
                }
            }
            let wait = self.wait(attempt, &failure.error, failure.wish);
            let remaining = self.call.remaining();
            match wait {
                Some(wait) if attempt < self.attempts && remaining.is_none_or(|left| wait < left) => {
                    tracing::debug!(attempt, kind = failure.error.label(), "trying again");
                    self.call.sleep(wait).await?;
                }
                _ => return Err(errors::exhausted(failure.error, self.app.host.now_us())),
            }
        }
    }

    /// Whether the account's host answers as Salesforce: the list of versions needs no login and is not counted. True
    /// if it cannot be determined.
    async fn is_salesforce(&self) -> bool {
        #[derive(Deserialize)]
        struct Version {
            #[expect(
                dead_code,
                reason = "that it is there tells Salesforce's list from other JSON"
            )]
            version: String,
        }
        let Ok(request) = Request::get(&format!("{}/services/data", self.base_url)) else {
            return true;
        };
        match self
            .app
            .http
            .send(&self.call, request.accept("application/json"))
            .await
        {
            Ok(response) if response.status.is_server_error() => true,
            Ok(response) => response
                .own::<Vec<Version>>()
                .is_some_and(|list| !list.is_empty()),
            Err(_) => true,
        }
    }

    /// The pause before the next attempt; None if a retry does not help. `wish` is the pause requested by the reply.
    fn wait(&self, attempt: u32, error: &Error, wish: Option<Duration>) -> Option<Duration> {
        let base = match error.what() {
            ErrorKind::Transient => self.app.options.back_off,
            ErrorKind::RateLimited => self.app.options.back_off * 5,
            _ => return None,
        };
        let wait = back_off(base, attempt, jitter());
        // The requested pause is observed, unless it is so long that the host should wait instead.
        let wish = wish.unwrap_or_default();
        (wish <= Duration::from_secs(60)).then_some(wait.max(wish))
    }

    /// Waits before a request is repeated in another form; false if there is not enough time.
    pub(crate) async fn pause(&self, attempt: u32) -> Result<bool, Error> {
        let wait = back_off(self.app.options.back_off, attempt, jitter());
        if self.call.remaining().is_some_and(|left| wait >= left) {
            return Ok(false);
        }
        self.call.sleep(wait).await?;
        Ok(true)
    }

    async fn attempt(&self, ask: Ask<'_>) -> Result<Response, Failure> {
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
        Err(Failure {
            status: response.status.as_u16(),
            error: errors::classify(Failed::new(&response, usage, self.app.host.now_us())),
            wish: response.retry_after(),
        })
    }
}

/// The reason of a failed attempt.
struct Failure {
    error: Error,
    /// The status of the reply; 0 without a reply.
    status: u16,
    /// The pause requested by the reply.
    wish: Option<Duration>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            status: 0,
            wish: None,
        }
    }
}

/// The earlier of two times; 0 means unknown.
pub(crate) fn earlier(a: i64, b: i64) -> i64 {
    match (a, b) {
        (0, other) | (other, 0) => other,
        (a, b) => a.min(b),
    }
}
