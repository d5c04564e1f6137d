//! HubSpot's API on behalf of one account: a request is sent, retried where that helps, and its reply read.

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tether_connector_sdk::http::{HeaderMap, HttpClient, Method, ReadSet, Request, Response, header};
use tether_connector_sdk::payload::timestamp_us;
use tether_connector_sdk::proto::{Connection, Error, ErrorKind};
use tether_connector_sdk::{CallContext, Host};

use crate::limits::{self, Standing};
use crate::objects::{COMPANY, OBJECTS};
use crate::options::Options;
use crate::{bodies, errors};

/// What all calls share.
pub(crate) struct App {
    pub(crate) host: Host,
    pub(crate) http: HttpClient,
    pub(crate) options: Options,
}

/// Everything the connector will ever ask of HubSpot.
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

/// Whose a private app's token is.
pub(crate) const PRIVATE_APP: &str = "/oauth/v2/private-apps/get/access-token-info";

/// One account during one call. It has no Debug: the token is in it.
#[derive(Clone)]
pub(crate) struct Session {
    app: Arc<App>,
    call: CallContext,
    token: String,
    attempts: u32,
    /// It leaves a part of every window to others.
    yielding: bool,
}

/// What a request is.
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
        let connection = connection.ok_or_else(|| Error::bug("a call without a connection"))?;
        let token = connection
            .credentials
            .as_ref()
            .map(|c| c.access_token.clone())
            .unwrap_or_default();
        if token.is_empty() {
            return Err(Error::credentials_expired("there is no access token yet"));
        }
        Ok(Self::with(app, call, token))
    }

    /// With a token that was just given.
    pub(crate) fn with(app: &Arc<App>, call: &CallContext, token: String) -> Self {
        Self {
            app: Arc::clone(app),
            call: call.clone(),
            token,
            attempts: limits::ATTEMPTS,
            yielding: false,
        }
    }

    /// Giving up sooner: for calls that somebody waits for.
    pub(crate) fn impatient(mut self) -> Self {
        self.attempts = 3;
        self
    }

    /// Leaving a part of HubSpot's window to others: for reads that take long.
    pub(crate) fn yielding(mut self) -> Self {
        self.yielding = true;
        self
    }

    /// Goes on with another token.
    pub(crate) fn renew(&mut self, token: String) {
        self.token = token;
    }

    /// Most bytes of an address.
    pub(crate) fn address_budget(&self) -> usize {
        self.app.options.address_budget
    }

    /// Gets a reply and reads it with `read`; says also when it was made, by HubSpot's clock.
    pub(crate) async fn get<T>(
        &self,
        path: &str,
        read: impl Fn(&str) -> Result<T, serde_json::Error>,
    ) -> Result<(T, i64), Error> {
        self.ask(Ask::Get(path), read).await
    }

    /// Posts a question and reads the reply with `read`.
    pub(crate) async fn post<T>(
        &self,
        path: &str,
        body: &str,
        read: impl Fn(&str) -> Result<T, serde_json::Error>,
    ) -> Result<(T, i64), Error> {
        self.ask(Ask::Post(path, body), read).await
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
                Ok(response) => match read(&text(&response.body)) {
                    Ok(value) => return Ok((value, self.date_us(&response.headers))),
                    // A gateway's page, a cut body: the next attempt may be luckier.
                    Err(error) => unreadable(&response.body, &error),
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
        if !matches!(error.what(), ErrorKind::Transient | ErrorKind::RateLimited) {
            return None;
        }
        let random = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
        let wait = limits::back_off(self.app.options.back_off, attempt, random);
        // A wish of the reply itself is honoured, unless the host had better wait instead of us.
        let wish = error.retry_us.saturating_sub(self.app.host.now_us()).max(0);
        let wish = Duration::from_micros(u64::try_from(wish).unwrap_or(0));
        (wish <= Duration::from_secs(60)).then_some(wait.max(wish))
    }

    async fn attempt(&self, ask: Ask<'_>) -> Result<Response, Error> {
        let base = &self.app.options.api_base;
        let request = match ask {
            Ask::Get(path) => Request::get(&format!("{base}{path}"))?,
            Ask::Post(path, body) => Request::post_json(&format!("{base}{path}"), body.to_owned())?,
        };
        let request = request.bearer(&self.token)?.accept("application/json");
        let response = self.app.http.send(&self.call, request).await?;
        let standing = Standing::of(&response.headers);
        if let Some((used, limit)) = standing.daily {
            self.call.set_allowance(used, limit);
        }
        if response.status.is_success() {
            if self.yielding && standing.low {
                self.call.sleep(standing.window / 10).await?;
            }
            return Ok(response);
        }
        let header = |name| response.headers.get(name).and_then(|value| value.to_str().ok());
        let retry_after = header(header::RETRY_AFTER).and_then(|seconds| seconds.trim().parse::<u64>().ok());
        let error = errors::classify(
            response.status.as_u16(),
            &response.body,
            retry_after.map(|seconds| Duration::from_secs(seconds.min(86_400))),
            standing.window,
            self.app.host.now_us(),
        );
        Err(match (error.what(), standing.daily) {
            (ErrorKind::AllowanceExhausted, Some((used, limit))) => error.allowance(used, limit),
            _ => error,
        })
    }

    /// When a reply was made: by HubSpot's clock, else by ours.
    fn date_us(&self, headers: &HeaderMap) -> i64 {
        let date = headers.get(header::DATE).and_then(|value| value.to_str().ok());
        date.and_then(http_date).unwrap_or_else(|| self.app.host.now_us())
    }
}

/// The `Date` header, `Sun, 06 Nov 1994 08:49:37 GMT`, in unix microseconds.
fn http_date(text: &str) -> Option<i64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut words = text.split_ascii_whitespace().skip(1);
    let (day, month, year, clock) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.find(month).filter(|at| month.len() == 3 && at % 3 == 0)? / 3 + 1;
    timestamp_us(&format!("{year}-{month:02}-{day:0>2}T{clock}Z"))
}

/// The body as text: broken UTF-8 is mended.
fn text(body: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(body)
}

fn unreadable(body: &[u8], error: &serde_json::Error) -> Error {
    let what = if body.trim_ascii_start().starts_with(b"<") {
        "a web page"
    } else {
        "what is not the JSON expected"
    };
    let place = format!(
        "line {} column {} of {} bytes",
        error.line(),
        error.column(),
        body.len()
    );
    Error::transient(format!("HubSpot answered with {what} ({place})")).code("hubspot.unreadable")
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

    #[test]
    fn the_date_header() {
        assert_eq!(
            http_date("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(784_111_777_000_000)
        );
        for bad in ["", "Sun", "Sun, 06 Foo 1994 08:49:37 GMT"] {
            assert_eq!(http_date(bad), None, "{bad}");
        }
    }
}
