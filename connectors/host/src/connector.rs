//! The handle to a connector for the rest of the server: typed calls with deadlines, metrics, and a new instance
//! after a failure.
//!
//! A call has a deadline and a number in the table of calls, and its encoded message goes to a transport. If
//! the process ends, its socket closes or a frame is invalid, all waiting calls fail as `Lost` at once, and
//! the next call starts another process, after a pause that grows with each failure in a row.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use prost::Message;
use tokio::time::Instant;

use super::frame::MOST_MESSAGE_BYTES;
use super::manifest::{Isolation, Manifest};
use super::private_copy::PrivateCopy;
use super::proto::{
    BeginAuthorizationRequest, BeginAuthorizationResponse, CallRequest, CallResponse, CountRecordsRequest,
    CountRecordsResponse, DescribeRequest, DescribeResponse, ExchangeCodeRequest, FetchCompanyRequest,
    FetchCompanyResponse, ListFieldsRequest, ListFieldsResponse, LogInRequest, LoggedIn, ObjectRole,
    OpenRequest, ProvideCredentialsRequest, ProvideCredentialsResponse, ReadRequest, ReadResponse,
    RefreshRequest, RefreshResponse, RevokeRequest, RevokeResponse, call_request::Call,
    call_response::Result as Answer,
};
use super::texts;
use super::transport::{Place, Transport};
use super::{Error, LoadError, Status};

/// How long to wait for a call after its deadline: normally the connector itself reports that the deadline has
/// passed.
const GRACE: Duration = Duration::from_secs(1);
/// Timeout of opening a stream and of describing, which use no network.
const LOCAL_CALL: Duration = Duration::from_secs(10);
/// The pause after the second failure in a row; it is multiplied by four with each further failure.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// After an instance has run for this long, its earlier failures no longer count.
const GOOD_LIFE: Duration = Duration::from_secs(60);
/// After this many failures in a row, a connector is quarantined: it is listed as such and retried once a minute.
const QUARANTINE: u32 = 6;

/// A connector that can be called. Cheap to clone; all clones refer to the same generation of the same library.
///
/// Each call has a deadline. Shortly after it, the call fails with [`Error::TimedOut`] in any case, and the connector
/// is reopened. Dropping the future of a call cancels the call.
#[derive(Clone, Debug)]
pub struct Connector {
    shared: Arc<Shared>,
}

struct Shared {
    manifest: Manifest,
    place: Place,
    /// The file from which child processes load the library, kept as long as there can be children.
    _copy: Option<PrivateCopy>,
    /// The request that opens it; contains secrets.
    request: OpenRequest,
    /// Set after loading.
    description: OnceLock<DescribeResponse>,
    slot: Mutex<Slot>,
    opening: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Slot {
    transport: Transport,
    opened: Instant,
    /// Failures in a row.
    failures: u32,
    /// The reason of the last failure.
    failure: String,
    /// Why the last attempt to open an instance failed, until it is counted by the next attempt.
    not_opened: Option<String>,
    /// The next instance may not be opened earlier.
    not_before: Option<Instant>,
}

impl Slot {
    fn latest_failure(&self) -> String {
        self.not_opened
            .clone()
            .or_else(|| self.transport.failure())
            .unwrap_or_default()
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector")
            .field("manifest", &self.manifest)
            .finish_non_exhaustive()
    }
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident: $call:ident($request:ty) -> $answer:ident($response:ty);)+) => {
        impl Connector {$(
            $(#[$doc])*
            pub async fn $name(&self, request: $request, deadline: Instant) -> Result<$response, Error> {
                match self.call(stringify!($name), Call::$call(request), deadline).await? {
                    Answer::$answer(response) => Ok(response),
                    _ => Err(self.broken("the answer is of another kind than the call")),
                }
            }
        )+}
    };
}

calls! {
    /// Returns the URL to which the browser is sent.
    begin_authorization: BeginAuthorization(BeginAuthorizationRequest) -> BeginAuthorization(BeginAuthorizationResponse);
    /// Exchanges the code that the browser brought back.
    exchange_code: ExchangeCode(ExchangeCodeRequest) -> LoggedIn(LoggedIn);
    /// Logs in without a browser.
    log_in: LogIn(LogInRequest) -> LoggedIn(LoggedIn);
    /// Returns new credentials. They must be stored durably before they are used.
    refresh: Refresh(RefreshRequest) -> Refresh(RefreshResponse);
    /// Revokes the access.
    revoke: Revoke(RevokeRequest) -> Revoke(RevokeResponse);
    /// The fields that the logged-in user can see.
    list_fields: ListFields(ListFieldsRequest) -> ListFields(ListFieldsResponse);
    /// The number of records.
    count_records: CountRecords(CountRecordsRequest) -> CountRecords(CountRecordsResponse);
    /// One company with its related records, read live from the CRM.
    fetch_company: FetchCompany(FetchCompanyRequest) -> FetchCompany(FetchCompanyResponse);
}

impl Connector {
    /// Opens an instance and requests its description.
    pub(super) async fn open(
        manifest: Manifest,
        place: Place,
        copy: Option<PrivateCopy>,
        request: OpenRequest,
    ) -> Result<Self, LoadError> {
        let transport = open(&manifest.name, &place, &request).await?;
        let slot = Slot {
            transport,
            opened: Instant::now(),
            failures: 0,
            failure: String::new(),
            not_opened: None,
            not_before: None,
        };
        let shared = Arc::new(Shared {
            manifest,
            place,
            _copy: copy,
            request,
            description: OnceLock::new(),
            slot: Mutex::new(slot),
            opening: tokio::sync::Mutex::new(()),
        });
        let deadline = Instant::now() + LOCAL_CALL;
        let described = shared
            .call("describe", Call::Describe(DescribeRequest {}), deadline)
            .await;
        let described = described.map_err(|error| match shared.slot.lock().transport.failure() {
            Some(why) => LoadError::Child(format!("it ended when it was to describe itself: {why}")),
            None => LoadError::Describe(Box::new(error)),
        });
        let description = match described? {
            Answer::Describe(description) => description,
            _ => {
                let error = broken(
                    &shared.manifest.name,
                    "the answer is of another kind than the call",
                );
                return Err(LoadError::Describe(Box::new(error)));
            }
        };
        shared.check(&description)?;
        shared.description.get_or_init(|| description);
        Ok(Self { shared })
    }

    /// The name of the connector.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.manifest.name
    }

    /// The manifest of the connector.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.shared.manifest
    }

    /// The description of the connector, requested once when it was loaded.
    #[must_use]
    pub fn describe(&self) -> &DescribeResponse {
        self.shared.description.get_or_init(DescribeResponse::default)
    }

    /// Opens a stream; answers its instance and its number there.
    pub(super) async fn open_stream(
        &self,
        request: ReadRequest,
        deadline: Option<Instant>,
    ) -> Result<(Transport, u64), Error> {
        let opened = Instant::now() + LOCAL_CALL;
        let transport = self.shared.transport(opened).await?;
        let request = CallRequest {
            deadline_us: deadline.map_or(0, unix_us),
            call: Some(Call::Read(request)),
        };
        let answer = self.shared.call_on(&transport, "read", request, opened).await?;
        match answer {
            Answer::Read(ReadResponse { stream }) => Ok((transport, stream)),
            _ => Err(self.broken("the answer is of another kind than the call")),
        }
    }

    /// Answers a stream that requested credentials. The answer goes only to the instance of this stream.
    pub(super) async fn provide_credentials(
        &self,
        transport: &Transport,
        request: ProvideCredentialsRequest,
    ) -> Result<ProvideCredentialsResponse, Error> {
        let deadline = Instant::now() + LOCAL_CALL;
        let request = CallRequest {
            deadline_us: unix_us(deadline),
            call: Some(Call::ProvideCredentials(request)),
        };
        match self
            .shared
            .call_on(transport, "provide_credentials", request, deadline)
            .await?
        {
            Answer::ProvideCredentials(response) => Ok(response),
            _ => Err(self.broken("the answer is of another kind than the call")),
        }
    }

    /// The status of the connector.
    #[must_use]
    pub fn status(&self) -> Status {
        let slot = self.shared.slot.lock();
        if !slot.transport.is_poisoned() {
            return Status::Ready;
        }
        let failures = slot.failures.max(1);
        // Until the next call counts the failure, the instance has the latest reason.
        let reason = match slot.not_before {
            None => slot.latest_failure(),
            Some(_) => slot.failure.clone(),
        };
        if failures >= QUARANTINE {
            Status::Quarantined { failures, reason }
        } else {
            Status::Restarting { failures, reason }
        }
    }

    /// Opens a new instance, which takes all new calls. Calls in progress continue on the old instance, which is
    /// closed after them.
    pub async fn reopen(&self) -> Result<(), LoadError> {
        let Shared {
            manifest,
            place,
            request,
            ..
        } = &*self.shared;
        let _one_at_a_time = self.shared.opening.lock().await;
        let transport = open(&manifest.name, place, request).await?;
        let mut slot = self.shared.slot.lock();
        slot.transport = transport;
        slot.opened = Instant::now();
        slot.not_before = None;
        Ok(())
    }

    /// Whether it runs inside the server or in a separate process.
    #[must_use]
    pub fn isolation(&self) -> Isolation {
        match self.shared.place {
            Place::InProcess(_) => Isolation::InProcess,
            Place::Child(_) => Isolation::Child,
        }
    }

    pub(super) fn broken(&self, what: &'static str) -> Error {
        broken(self.name(), what)
    }

    async fn call(&self, name: &'static str, call: Call, deadline: Instant) -> Result<Answer, Error> {
        self.shared.call(name, call, deadline).await
    }
}

impl Shared {
    async fn call(
        self: &Arc<Self>,
        name: &'static str,
        call: Call,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let transport = self.transport(deadline).await?;
        let request = CallRequest {
            deadline_us: unix_us(deadline),
            call: Some(call),
        };
        self.call_on(&transport, name, request, deadline).await
    }

    async fn call_on(
        &self,
        transport: &Transport,
        name: &'static str,
        request: CallRequest,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let started = Instant::now();
        let result = self.ask(transport, request, deadline).await;
        let connector = self.manifest.name.clone();
        metrics::histogram!("tether_connector_call_seconds", "connector" => connector.clone(), "call" => name)
            .record(started.elapsed().as_secs_f64());
        let outcome = result.as_ref().map_or_else(Error::label, |_| "ok");
        metrics::counter!("tether_connector_calls_total", "connector" => connector, "call" => name, "outcome" => outcome)
            .increment(1);
        result
    }

    async fn ask(
        &self,
        transport: &Transport,
        request: CallRequest,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let name = &self.manifest.name;
        let mut answer = transport.call(&request.encode_to_vec());
        let Ok(answer) = tokio::time::timeout_at(deadline + GRACE, answer.wait()).await else {
            // The connector did not even report the deadline: it is stuck, and its threads are lost.
            tracing::error!(
                connector = name,
                "no answer after the deadline: the connector will be reopened"
            );
            transport.give_up("a call had no answer after its deadline");
            return Err(Error::TimedOut(name.clone()));
        };
        let answer = answer?;
        if answer.len() > MOST_MESSAGE_BYTES {
            return Err(broken(name, "the answer is larger than 64 MiB"));
        }
        match texts::decode::<CallResponse>(answer).map(|answer| answer.result) {
            Ok(Some(Answer::Error(error))) => Err(Error::from_connector(name, error)),
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(broken(name, "the answer is empty")),
            Err(_) => Err(broken(name, "the answer is not a message")),
        }
    }

    /// The open instance; a new one if the last one failed and the pause is over. If opening takes longer than the
    /// caller can wait, it continues for the next caller.
    async fn transport(self: &Arc<Self>, deadline: Instant) -> Result<Transport, Error> {
        if let Some(transport) = self.healthy() {
            return Ok(transport);
        }
        let shared = Arc::clone(self);
        let opening = tokio::spawn(async move { shared.open_anew().await });
        match tokio::time::timeout_at(deadline + GRACE, opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(_)) => Err(Error::Lost(self.manifest.name.clone())),
            Err(_) => Err(Error::TimedOut(self.manifest.name.clone())),
        }
    }

    async fn open_anew(&self) -> Result<Transport, Error> {
        let _one_at_a_time = self.opening.lock().await;
        if let Some(transport) = self.healthy() {
            return Ok(transport);
        }
        self.pause()?;
        let name = &self.manifest.name;
        let opened = open(name, &self.place, &self.request).await;
        let mut slot = self.slot.lock();
        slot.not_before = None;
        match opened {
            Ok(transport) => {
                tracing::warn!(
                    connector = name,
                    failures = slot.failures,
                    reason = slot.failure,
                    "reopened connector {name}"
                );
                metrics::counter!("tether_connector_restarts_total", "connector" => name.clone())
                    .increment(1);
                metrics::gauge!("tether_connector_quarantined", "connector" => name.clone()).set(0.0);
                slot.transport = transport;
                slot.opened = Instant::now();
                Ok(slot.transport.clone())
            }
            Err(error) => {
                let reason = error.to_string();
                slot.not_opened = Some(reason.clone());
                Err(Error::Unusable {
                    name: name.clone(),
                    reason,
                })
            }
        }
    }

    fn healthy(&self) -> Option<Transport> {
        let slot = self.slot.lock();
        (!slot.transport.is_poisoned()).then(|| slot.transport.clone())
    }

    /// Fails during the pause after a failure. The first call after a failure starts the pause.
    fn pause(&self) -> Result<(), Error> {
        let mut slot = self.slot.lock();
        let now = Instant::now();
        let not_before = match slot.not_before {
            Some(not_before) => not_before,
            None => {
                slot.failures = if slot.opened.elapsed() > GOOD_LIFE {
                    1
                } else {
                    slot.failures + 1
                };
                // If opening fails from now on, the lifetime counts as zero.
                slot.opened = now;
                slot.failure = slot.latest_failure();
                slot.not_opened = None;
                let quarantined = if slot.failures >= QUARANTINE { 1.0 } else { 0.0 };
                metrics::gauge!("tether_connector_quarantined", "connector" => self.manifest.name.clone())
                    .set(quarantined);
                let not_before = now + pause(slot.failures);
                slot.not_before = Some(not_before);
                not_before
            }
        };
        let left = not_before.saturating_duration_since(now);
        if left.is_zero() {
            return Ok(());
        }
        Err(Error::Poisoned {
            name: self.manifest.name.clone(),
            retry_after: left,
        })
    }

    fn check(&self, description: &DescribeResponse) -> Result<(), LoadError> {
        let (found, expected) = (&description.connector, &self.manifest.name);
        if found != expected {
            return Err(LoadError::Name {
                found: found.clone(),
                expected: expected.clone(),
            });
        }
        let companies = description
            .objects
            .iter()
            .filter(|object| object.role() == ObjectRole::Company);
        match companies.count() {
            1 => Ok(()),
            several => {
                let broken = broken(expected, "exactly one object must have the role COMPANY");
                tracing::warn!(connector = expected, several, "{broken}");
                Err(LoadError::Describe(Box::new(broken)))
            }
        }
    }
}

/// No pause after the first failure, then increasing pauses.
fn pause(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        QUARANTINE.. => LONGEST_PAUSE,
        more => (FIRST_PAUSE * 2_u32.pow(2 * (more - 2))).min(LONGEST_PAUSE),
    }
}

async fn open(name: &str, place: &Place, request: &OpenRequest) -> Result<Transport, LoadError> {
    place.open(name, request.encode_to_vec().into()).await
}

fn broken(name: &str, what: &'static str) -> Error {
    Error::Protocol {
        name: name.to_owned(),
        what,
    }
}

/// Converts a time of this process to Unix time.
fn unix_us(moment: Instant) -> i64 {
    let at = SystemTime::now() + moment.saturating_duration_since(Instant::now());
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
