//! Requests to a CRM's API on behalf of one account: address, credentials, retries, and the meaning of failed replies.
//!
//! A connector implements [`Api`] for the state that its calls share. [`Session`] is one account during one call:
//!
//! | what a session does | the connector's part |
//! |---|---|
//! | keeps the API's address of the account, also when the account moves | [`Api::base_url`] if it is not that of the login |
//! | sends the access token | [`Api::authorize`] if it is not `Authorization: Bearer` |
//! | classifies failed replies; a gateway's page is never evidence | [`Api::refusal`], or [`Api::classify`] |
//! | repeats what may succeed later, and observes the pause that the CRM asks for | [`Api::retries`] |
//! | remembers for some minutes what the CRM said about fields | none; see [`Session::remembered`] |

mod memory;
mod once;
mod retry;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::future::{Future, ready};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

pub use self::memory::Asked;
pub(crate) use self::memory::Memory;
use self::memory::Whose;
pub use self::retry::{Refusal, Retries, Urgency};
use crate::http::{HttpClient, Request, Response, StatusCode, back_off, jitter};
use crate::proto::{AuthKind, Connection, Error, Identity};
use crate::{CallContext, Host, settings};

/// The pause after a rate limit if the reply does not ask for one.
const RATE_PAUSE: Duration = Duration::from_secs(30);

/// A CRM's API, and what calls to it share.
pub trait Api: Send + Sync + Sized + 'static {
    /// The CRM's name, for errors.
    const CRM: &'static str;

    /// The host.
    fn host(&self) -> &Host;

    /// The HTTP client, with the connector's read set.
    fn http(&self) -> &HttpClient;

    /// How often a failed request is repeated.
    fn retries(&self, urgency: Urgency) -> Retries {
        Retries::new(Duration::from_secs(1), urgency)
    }

    /// The API's address for an account whose login or last refresh named `base_url`; that may be empty. By default it
    /// is the address.
    fn base_url(&self, base_url: &str) -> String {
        base_url.to_owned()
    }

    /// Puts the access token into a request, as `Authorization: Bearer …` by default. For a key in a header of the
    /// CRM's own, see [`Request::secret_header`].
    fn authorize(&self, request: Request, auth_kind: AuthKind, token: &str) -> Result<Request, Error> {
        let _ = auth_kind;
        request.bearer(token)
    }

    /// Sends one request. Override it to wait for a turn before, or to note the allowance in the reply's headers.
    fn send(
        session: &Session<Self>,
        request: Request,
    ) -> impl Future<Output = Result<Response, Error>> + Send {
        session.api.http().send(&session.call, request)
    }

    /// What a failed reply says, for users, if it has the form of the CRM's own errors; empty if it says nothing more
    /// than its status. None for everything else, such as a gateway's page: it makes no statement about the data. See
    /// [`Response::own`].
    fn refusal(&self, response: &Response) -> Option<String> {
        let _ = response;
        None
    }

    /// The meaning of a failed reply. The default is that of its HTTP status, if [`Api::refusal`] finds it to be the
    /// CRM's own. An API that says with codes of its own what happened overrides it.
    fn classify(session: &Session<Self>, response: &Response) -> Refusal {
        let text = session.api.refusal(response);
        by_status(Self::CRM, session.auth_kind, response, text.as_deref())
    }

    /// Called after the second failed attempt at a request and later ones, until it returns true: it has found out
    /// whether the address is still the API's. An error ends the request.
    fn doubt(session: &Session<Self>, refusal: &Refusal) -> impl Future<Output = Result<bool, Error>> + Send {
        let _ = (session, refusal);
        ready(Ok(false))
    }

    /// The error for the host after the last attempt.
    fn gave_up(&self, error: Error) -> Error {
        error
    }
}

/// One account during one call. No Debug, because it contains the token.
pub struct Session<A: Api> {
    api: Arc<A>,
    call: CallContext,
    auth_kind: AuthKind,
    identity: Identity,
    base_url: String,
    token: String,
    urgency: Urgency,
    memory: Arc<Memory>,
}

impl<A: Api> Clone for Session<A> {
    fn clone(&self) -> Self {
        Self {
            api: Arc::clone(&self.api),
            call: self.call.clone(),
            auth_kind: self.auth_kind,
            identity: self.identity.clone(),
            base_url: self.base_url.clone(),
            token: self.token.clone(),
            urgency: self.urgency,
            memory: Arc::clone(&self.memory),
        }
    }
}

impl<A: Api> Session<A> {
    /// For a call on behalf of an account.
    ///
    /// # Errors
    /// BUG without a connection; CREDENTIALS_EXPIRED without a token, so that the host refreshes.
    pub fn new(api: &Arc<A>, call: &CallContext, connection: Option<&Connection>) -> Result<Self, Error> {
        let (connection, token) = settings::signed_in(connection)?;
        let session = Self::with_token(api, call, connection.auth_kind(), &connection.base_url, token);
        Ok(Self {
            identity: connection.identity.clone().unwrap_or_default(),
            ..session
        })
    }

    /// For a token that was just given and belongs to no connection yet.
    #[must_use]
    pub fn with_token(
        api: &Arc<A>,
        call: &CallContext,
        auth_kind: AuthKind,
        base_url: &str,
        token: String,
    ) -> Self {
        Self {
            api: Arc::clone(api),
            call: call.clone(),
            auth_kind,
            identity: Identity::default(),
            base_url: address(&**api, base_url),
            token,
            urgency: Urgency::Usual,
            memory: Arc::default(),
        }
    }

    /// With what is remembered beyond the call.
    pub(crate) fn with_memory(mut self, memory: &Arc<Memory>) -> Self {
        self.memory = Arc::clone(memory);
        self
    }

    /// For a call that a user waits for, or for a long read in the background.
    #[must_use]
    pub fn with_urgency(mut self, urgency: Urgency) -> Self {
        self.urgency = urgency;
        self
    }

    /// Continues with another access token, and with another address if that is not empty: empty means unchanged.
    pub fn renew(&mut self, token: String, base_url: &str) {
        self.token = token;
        if !base_url.is_empty() {
            self.base_url = address(&*self.api, base_url);
        }
    }

    /// The connector's shared state.
    #[must_use]
    pub fn api(&self) -> &Arc<A> {
        &self.api
    }

    /// The call.
    #[must_use]
    pub fn call(&self) -> &CallContext {
        &self.call
    }

    /// The account; empty ids before the login has ended.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// How urgent the call is.
    #[must_use]
    pub fn urgency(&self) -> Urgency {
        self.urgency
    }

    /// The URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url)
    }

    /// How often a failed request is repeated.
    #[must_use]
    pub fn retries(&self) -> Retries {
        self.api.retries(self.urgency)
    }

    /// What the CRM said about an object within the last five minutes to this account with this access token. It may be
    /// outdated: that a field is missing must be asked anew.
    #[must_use]
    pub fn remembered<T: Any + Send + Sync>(&self, object: &str) -> Option<Arc<T>> {
        let found = self
            .memory
            .find(self.whose()?, object, self.api.host().now_us())?;
        found.downcast().ok()
    }

    /// Call it before the CRM is asked for what [`Session::remember`] keeps.
    #[must_use]
    pub fn asked(&self) -> Asked {
        self.memory.ask(self.api.host().now_us())
    }

    /// Remembers what the CRM said about an object; `bytes` is its approximate size. Not kept if the account has logged
    /// in or listed its fields since it was asked.
    pub fn remember<T: Any + Send + Sync>(&self, object: &str, asked: Asked, bytes: usize, value: &Arc<T>) {
        if let Some(whose) = self.whose() {
            let value: Arc<dyn Any + Send + Sync> = Arc::<T>::clone(value);
            self.memory.put(whose, object, asked, bytes, value);
        }
    }

    /// Forgets everything that is remembered of the account.
    pub fn forget(&self) {
        if let Some(whose) = self.whose() {
            self.memory.forget(whose);
        }
    }

    fn whose(&self) -> Option<Whose> {
        self.memory.whose(&self.identity, &self.base_url, &self.token)
    }

    /// Gets JSON.
    pub async fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        Ok(self.get(path, |text| serde_json::from_str(text)).await?.0)
    }

    /// Gets a reply and reads it; see [`Session::ask`].
    pub async fn get<T>(
        &self,
        path: &str,
        read: impl Fn(&str) -> Result<T, serde_json::Error>,
    ) -> Result<(T, i64), Error> {
        self.ask(|| Request::get(&self.url(path)), read).await
    }

    /// Gets JSON with query parameters. Also returns the time of the reply, as [`Session::ask`] does.
    pub async fn query<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<(T, i64), Error> {
        let request = || {
            let request = Request::get(&self.url(path))?;
            let with = |request: Request, (key, value): &(&str, &str)| request.query(key, value);
            Ok(query.iter().fold(request, with))
        };
        self.ask(request, |text| serde_json::from_str(text)).await
    }

    /// Posts JSON that asks for data, and reads the reply; see [`Session::ask`].
    pub async fn post<T>(
        &self,
        path: &str,
        json: &str,
        read: impl Fn(&str) -> Result<T, serde_json::Error>,
    ) -> Result<(T, i64), Error> {
        self.ask(|| Request::post_json(&self.url(path), json.to_owned()), read)
            .await
    }

    /// Sends a request until a reply can be read or a repetition does not help. Also returns the time of the reply by
    /// the CRM's clock, in unix microseconds; 0 if unknown.
    ///
    /// # Errors
    /// As [`Api::classify`] says; TRANSIENT for a reply that `read` cannot read.
    pub async fn ask<T>(
        &self,
        request: impl Fn() -> Result<Request, Error>,
        read: impl Fn(&str) -> Result<T, serde_json::Error>,
    ) -> Result<(T, i64), Error> {
        let retries = self.retries();
        let (mut attempt, mut waited, mut certain) = (0, Duration::ZERO, false);
        loop {
            attempt += 1;
            let refusal = match self.attempt(request()?).await {
                Ok(response) => match read(&response.text()) {
                    Ok(value) => return Ok((value, response.made_us().unwrap_or(0))),
                    Err(error) => Refusal::from(response.unreadable(A::CRM, &error)),
                },
                Err(refusal) => refusal,
            };
            if attempt > 1 && !certain {
                certain = A::doubt(self, &refusal).await?;
            }
            match retries.wait(attempt, &refusal, jitter()) {
                Some(wait) if waited + wait <= retries.longest && self.has(wait) => {
                    tracing::debug!(attempt, kind = refusal.error.label(), "trying again");
                    waited += wait;
                    self.call.sleep(wait).await?;
                }
                _ => return Err(self.api.gave_up(refusal.error)),
            }
        }
    }

    async fn attempt(&self, request: Request) -> Result<Response, Refusal> {
        let request = self.api.authorize(request, self.auth_kind, &self.token)?;
        let sent_us = self.api.host().now_us();
        let response = A::send(self, request.accept("application/json")).await?;
        if let Some(made_us) = response.made_us() {
            self.call.note_clock(made_us, sent_us, self.api.host().now_us());
        }
        if response.status.is_success() {
            return Ok(response);
        }
        Err(A::classify(self, &response))
    }

    /// Waits before a request is sent again in another form; false if there is not enough time.
    pub async fn pause(&self, attempt: u32) -> Result<bool, Error> {
        let wait = back_off(self.retries().pause, attempt, jitter());
        if !self.has(wait) {
            return Ok(false);
        }
        self.call.sleep(wait).await?;
        Ok(true)
    }

    /// Whether the call has time for a pause.
    #[must_use]
    pub fn has(&self, wait: Duration) -> bool {
        self.call.remaining().is_none_or(|left| wait < left)
    }
}

fn address<A: Api>(api: &A, base_url: &str) -> String {
    let address = api.base_url(base_url);
    address.trim_end_matches('/').to_owned()
}

/// The meaning of a failed reply by its HTTP status. `text` is as in [`Api::refusal`].
#[must_use]
pub fn by_status(crm: &str, auth_kind: AuthKind, response: &Response, text: Option<&str>) -> Refusal {
    let status = response.status;
    // Whoever answered with it: a refresh shows whether it is true.
    let Some(text) = text.or((status == StatusCode::UNAUTHORIZED).then_some("")) else {
        return Refusal::of(response.foreign(crm), response);
    };
    let with = |sentence: String| match text {
        "" => sentence,
        text => format!("{sentence} ({text})"),
    };
    let error = match status {
        // A key cannot be refreshed.
        StatusCode::UNAUTHORIZED if auth_kind == AuthKind::ApiKey => {
            Error::credentials_revoked(with(format!("{crm} no longer accepts the API key: log in again")))
        }
        StatusCode::UNAUTHORIZED => {
            Error::credentials_expired(with(format!("{crm} no longer accepts the access token")))
        }
        StatusCode::FORBIDDEN => Error::forbidden(with(format!(
            "the logged-in user may not see this: an administrator of {crm} has to allow it"
        ))),
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            Error::record_gone(with(format!("{crm} has no such record")))
        }
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::URI_TOO_LONG => {
            Error::query_too_big(with(format!("{crm} found the request too large")))
        }
        StatusCode::TOO_MANY_REQUESTS => {
            Error::rate_limited(with(format!("{crm} asks to be called more slowly")))
                .retry_after(response.retry_after().unwrap_or(RATE_PAUSE))
        }
        status if status.is_server_error() => Error::transient(with(format!(
            "{crm} cannot answer now (HTTP {})",
            status.as_u16()
        ))),
        status => Error::bug(with(format!(
            "{crm} did not understand (HTTP {})",
            status.as_u16()
        ))),
    };
    Refusal::of(error, response)
}
