//! The library under check: instances, and typed calls without retries or interpretation.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use tether_connector_host::proto::{
    BeginAuthorizationRequest, BeginAuthorizationResponse, CallRequest, CallResponse, CountRecordsRequest,
    CountRecordsResponse, DescribeRequest, DescribeResponse, Error, ErrorKind, ExchangeCodeRequest,
    FetchCompanyRequest, FetchCompanyResponse, ListFieldsRequest, ListFieldsResponse, LogInRequest, LoggedIn,
    ProvideCredentialsRequest, ProvideCredentialsResponse, ReadRequest, ReadResponse, RefreshRequest,
    RefreshResponse, RevokeRequest, RevokeResponse, call_request::Call, call_response::Result as Answer,
};
use tether_connector_host::raw;
use tokio::time::timeout;

/// Time limit for a call without faults.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long after its deadline an answer may come: the grace period of the host.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

/// The reason of a failed call.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The connector's error.
    Reported(Box<Error>),
    /// There was no answer, not even after the deadline.
    TimedOut(Duration),
    /// There will be no answer: the process ended, or the instance was closed.
    Lost(String),
    /// The answer does not belong to the request.
    Malformed(&'static str),
}

impl Failure {
    /// The error kind, if there is an error.
    pub(crate) fn kind(&self) -> Option<ErrorKind> {
        self.reported().map(Error::what)
    }

    /// The connector's error, if there is one.
    pub(crate) fn reported(&self) -> Option<&Error> {
        match self {
            Self::Reported(error) => Some(error),
            _ => None,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reported(error) => write!(f, "{} ({error})", error.label().to_uppercase()),
            Self::TimedOut(after) => write!(f, "no answer after {} ms", after.as_millis()),
            Self::Lost(why) => write!(f, "the answer was lost: {why}"),
            Self::Malformed(what) => write!(f, "{what}"),
        }
    }
}

/// Texts received from connectors, which must not contain secrets: the context and the text.
#[derive(Default)]
pub(crate) struct ReceivedTexts(Mutex<Vec<(String, String)>>);

impl ReceivedTexts {
    /// Records a text.
    pub(crate) fn note(&self, context: impl Into<String>, text: impl Into<String>) {
        self.0.lock().push((context.into(), text.into()));
    }

    /// Everything so far.
    pub(crate) fn all(&self) -> Vec<(String, String)> {
        self.0.lock().clone()
    }
}

/// An open instance. Clones refer to the same instance.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) raw: raw::Instance,
    pub(crate) received: Arc<ReceivedTexts>,
}

macro_rules! calls {
    ($($name:ident: $call:ident($request:ty) -> $answer:ident($response:ty);)+) => {
        impl Connector {$(
            pub(crate) async fn $name(&self, request: $request, limit: Duration) -> Result<$response, Failure> {
                match self.ask(Call::$call(request), limit).await? {
                    Answer::$answer(response) => Ok(response),
                    _ => Err(Failure::Malformed("the answer is not of the call's type")),
                }
            }
        )+}
    };
}

calls! {
    describe: Describe(DescribeRequest) -> Describe(DescribeResponse);
    begin_authorization: BeginAuthorization(BeginAuthorizationRequest) -> BeginAuthorization(BeginAuthorizationResponse);
    exchange_code: ExchangeCode(ExchangeCodeRequest) -> LoggedIn(LoggedIn);
    log_in: LogIn(LogInRequest) -> LoggedIn(LoggedIn);
    refresh: Refresh(RefreshRequest) -> Refresh(RefreshResponse);
    revoke: Revoke(RevokeRequest) -> Revoke(RevokeResponse);
    list_fields: ListFields(ListFieldsRequest) -> ListFields(ListFieldsResponse);
    count_records: CountRecords(CountRecordsRequest) -> CountRecords(CountRecordsResponse);
    fetch_company: FetchCompany(FetchCompanyRequest) -> FetchCompany(FetchCompanyResponse);
    read: Read(ReadRequest) -> Read(ReadResponse);
    provide_credentials: ProvideCredentials(ProvideCredentialsRequest) -> ProvideCredentials(ProvideCredentialsResponse);
}

impl Connector {
    /// A call with a deadline; waits as long as the host.
    pub(crate) async fn ask(&self, call: Call, limit: Duration) -> Result<Answer, Failure> {
        let name = name(&call);
        let mut waiting = self.start(call, limit);
        self.finish(name, &mut waiting, limit + GRACE).await
    }

    /// Starts a call. A stream has no deadline here, because it would apply to the whole stream.
    pub(crate) fn start(&self, call: Call, limit: Duration) -> raw::Waiting {
        let deadline_us = if matches!(call, Call::Read(_)) {
            0
        } else {
            now_us() + micros(limit)
        };
        let request = CallRequest {
            deadline_us,
            call: Some(call),
        };
        self.raw.call(&request.encode_to_vec())
    }

    /// Waits for the answer to a call, at most for `limit`.
    pub(crate) async fn finish(
        &self,
        name: &str,
        waiting: &mut raw::Waiting,
        limit: Duration,
    ) -> Result<Answer, Failure> {
        let Ok(answer) = timeout(limit, waiting.answer()).await else {
            return Err(Failure::TimedOut(limit));
        };
        let answer = answer.map_err(|error| self.lost(&error.to_string()))?;
        let answer = decode(answer)?;
        if let Answer::Error(error) = answer {
            return Err(self.reported(name, error));
        }
        Ok(answer)
    }

    /// Records the text of the connector's error.
    pub(crate) fn reported(&self, context: &str, error: Error) -> Failure {
        let text = format!(
            "{} {} {} {}",
            error.message, error.code, error.object, error.field
        );
        self.received.note(format!("an error of {context}"), text);
        Failure::Reported(Box::new(error))
    }

    pub(crate) fn lost(&self, why: &str) -> Failure {
        Failure::Lost(self.raw.failure().unwrap_or_else(|| why.to_owned()))
    }
}

fn decode(answer: Bytes) -> Result<Answer, Failure> {
    match CallResponse::decode(answer).map(|answer| answer.result) {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(Failure::Malformed("the answer is empty")),
        Err(_) => Err(Failure::Malformed("the answer is not a CallResponse")),
    }
}

/// The name of a call in reports.
pub(crate) fn name(call: &Call) -> &'static str {
    match call {
        Call::Describe(_) => "Describe",
        Call::BeginAuthorization(_) => "BeginAuthorization",
        Call::ExchangeCode(_) => "ExchangeCode",
        Call::LogIn(_) => "LogIn",
        Call::Refresh(_) => "Refresh",
        Call::Revoke(_) => "Revoke",
        Call::ListFields(_) => "ListFields",
        Call::CountRecords(_) => "CountRecords",
        Call::FetchCompany(_) => "FetchCompany",
        Call::Read(_) => "Read",
        Call::ProvideCredentials(_) => "ProvideCredentials",
    }
}

/// The current time in unix microseconds.
pub(crate) fn now_us() -> i64 {
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

pub(crate) fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
