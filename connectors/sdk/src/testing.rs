//! For tests of connectors: runs a connector in the same process, through the SDK but without the C ABI.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prost::Message;
use tokio::sync::oneshot;

use crate::instance::{Instance, Outlet};
use crate::proto::{
    BeginAuthorizationRequest, BeginAuthorizationResponse, CallRequest, CallResponse, CountRecordsRequest,
    CountRecordsResponse, DescribeRequest, DescribeResponse, Error, ExchangeCodeRequest, FetchCompanyRequest,
    FetchCompanyResponse, ListFieldsRequest, ListFieldsResponse, LogInRequest, LoggedIn, OpenRequest,
    ProvideCredentialsRequest, ProvideCredentialsResponse, ReadRequest, ReadResponse, RefreshRequest,
    RefreshResponse, RevokeRequest, RevokeResponse, StreamEvent, StreamNext, call_request::Call,
    call_response::Result as Answer,
};
use crate::{Connector, Host};

/// An open connector without a library.
pub struct Native<C: Connector> {
    instance: Instance<C>,
    waiting: Arc<Waiting>,
    next: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    calls: Mutex<HashMap<u64, oneshot::Sender<Vec<u8>>>>,
    poisoned: AtomicBool,
}

impl Outlet for Arc<Waiting> {
    fn complete(&self, call: u64, answer: Vec<u8>) {
        let waiting = self
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&call);
        if let Some(waiting) = waiting {
            // There is no receiver if the future of the call was dropped.
            let _ = waiting.send(answer);
        }
    }

    fn poisoned(&self) {
        self.poisoned.store(true, Ordering::Release);
    }
}

/// Makes a method of each call, without a deadline.
macro_rules! calls {
    ($($(#[$doc:meta])* $visible:vis $name:ident: $call:ident($request:ty) -> $answer:ident($message:ty);)+) => {
        impl<C: Connector> Native<C> {
            $(
                $(#[$doc])*
                $visible async fn $name(&self, request: $request) -> Result<$message, Error> {
                    match self.call(Call::$call(request), 0).await? {
                        Answer::$answer(message) => Ok(message),
                        _ => Err(Error::bug(concat!("not the answer to ", stringify!($call)))),
                    }
                }
            )+
        }
    };
}

calls! {
    /// Describes the connector.
    pub describe: Describe(DescribeRequest) -> Describe(DescribeResponse);
    /// Begins a login in the browser.
    pub begin_authorization: BeginAuthorization(BeginAuthorizationRequest) -> BeginAuthorization(BeginAuthorizationResponse);
    /// Ends a login in the browser.
    pub exchange_code: ExchangeCode(ExchangeCodeRequest) -> LoggedIn(LoggedIn);
    /// Logs in without a browser.
    pub log_in: LogIn(LogInRequest) -> LoggedIn(LoggedIn);
    /// Gets new credentials.
    pub refresh: Refresh(RefreshRequest) -> Refresh(RefreshResponse);
    /// Revokes credentials.
    pub revoke: Revoke(RevokeRequest) -> Revoke(RevokeResponse);
    /// Lists fields.
    pub list_fields: ListFields(ListFieldsRequest) -> ListFields(ListFieldsResponse);
    /// Counts records.
    pub count_records: CountRecords(CountRecordsRequest) -> CountRecords(CountRecordsResponse);
    /// Reads companies with their related records.
    pub fetch_company: FetchCompany(FetchCompanyRequest) -> FetchCompany(FetchCompanyResponse);
    /// Answers a stream's CredentialsNeeded.
    pub provide_credentials: ProvideCredentials(ProvideCredentialsRequest) -> ProvideCredentials(ProvideCredentialsResponse);
    open_stream: Read(ReadRequest) -> Read(ReadResponse);
}

impl<C: Connector> Native<C> {
    /// Opens the connector with this machine's clock.
    pub fn open(request: OpenRequest) -> Result<Self, Error> {
        let waiting = Arc::new(Waiting::default());
        let host = Host::standalone(request.http.clone().unwrap_or_default());
        let instance = Instance::open(host, request, Box::new(Arc::clone(&waiting)), || ())?;
        Ok(Self {
            instance,
            waiting,
            next: AtomicU64::new(1),
        })
    }

    /// Makes a call; `deadline_us` as in `CallRequest`.
    pub async fn call(&self, call: Call, deadline_us: i64) -> Result<Answer, Error> {
        let request = CallRequest {
            deadline_us,
            call: Some(call),
        }
        .encode_to_vec();
        let answer = self.ask(|id| self.instance.call(id, &request)).await?;
        match CallResponse::decode(answer.as_slice()).map(|answer| answer.result) {
            Ok(Some(Answer::Error(error))) => Err(error),
            Ok(Some(answer)) => Ok(answer),
            _ => Err(Error::bug("the answer is not a message")),
        }
    }

    /// Opens a stream and returns its number.
    pub async fn read(&self, request: ReadRequest) -> Result<u64, Error> {
        Ok(self.open_stream(request).await?.stream)
    }

    /// Pulls a stream.
    pub async fn next(&self, stream: u64, acknowledged: u64) -> Result<StreamEvent, Error> {
        let request = StreamNext { acknowledged }.encode_to_vec();
        let answer = self
            .ask(|id| self.instance.stream_next(id, stream, &request))
            .await?;
        StreamEvent::decode(answer.as_slice()).map_err(|_| Error::bug("the event is not a message"))
    }

    /// Ends a stream.
    pub fn close_stream(&self, stream: u64) {
        self.instance.stream_close(stream);
    }

    /// Whether the connector has panicked.
    pub fn is_poisoned(&self) -> bool {
        self.waiting.poisoned.load(Ordering::Acquire)
    }

    async fn ask(&self, start: impl FnOnce(u64)) -> Result<Vec<u8>, Error> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, sender);
        start(id);
        answer
            .await
            .map_err(|_| Error::cancelled("the connector was closed"))
    }
}
