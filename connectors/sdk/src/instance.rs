//! One open connector with its runtime. This module does not depend on the C ABI.
//!
//! Each call runs in its own task under a supervisor that enforces deadline and cancellation, so every call is
//! answered even if the connector ignores both. An answer is sent when its call is removed from the table, so it is
//! sent once.

mod streams;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prost::Message;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::streams::Stream;
use crate::host::system_now_us;
use crate::proto::{
    CallRequest, CallResponse, Error, OpenRequest, StreamEvent, call_request::Call,
    call_response::Result as Answer, stream_event::Event,
};
use crate::{CallContext, Connector, Host};

/// Enough for work that waits for a network.
const WORKERS: usize = 2;
/// How long closing waits for code that does not yield; afterwards its threads are abandoned.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// The receiver of an instance's answers and of its only event.
pub(crate) trait Outlet: Send + Sync + 'static {
    /// Answers a call or a pull.
    fn complete(&self, call: u64, answer: Vec<u8>);
    /// The connector panicked.
    fn poisoned(&self);
}

/// An open connector.
pub(crate) struct Instance<C> {
    runtime: Mutex<Threads>,
    state: Arc<State<C>>,
}

/// The runtime, shut down in the background when dropped: the blocking shutdown panics inside another runtime.
struct Threads(Option<Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The kind of a request that has to be answered.
#[derive(Clone, Copy)]
pub(crate) enum Asked {
    /// A call, with a `CallResponse`.
    Call,
    /// A pull, with a `StreamEvent`.
    Pull,
}

impl Asked {
    /// The answer for a failure.
    pub(crate) fn failed(self, error: Error) -> Vec<u8> {
        match self {
            Self::Call => CallResponse {
                result: Some(Answer::Error(error)),
            }
            .encode_to_vec(),
            Self::Pull => StreamEvent {
                event: Some(Event::Error(error)),
            }
            .encode_to_vec(),
        }
    }
}

struct State<C> {
    connector: C,
    outlet: Box<dyn Outlet>,
    /// Unanswered calls and pulls; None after closing.
    calls: Mutex<Option<Calls>>,
    streams: Mutex<HashMap<u64, Arc<Stream>>>,
    next_stream: AtomicU64,
    poisoned: AtomicBool,
}

type Calls = HashMap<u64, (Asked, CancellationToken)>;

impl<C: Connector> Instance<C> {
    /// Opens a connector. `on_thread_start` runs in each thread of its runtime.
    pub(crate) fn open(
        host: Host,
        request: OpenRequest,
        outlet: Box<dyn Outlet>,
        on_thread_start: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name(thread_name::<C>())
            .on_thread_start(on_thread_start)
            .enable_all()
            .build()
            .map(|runtime| Threads(Some(runtime)))
            .map_err(|error| Error::transient(format!("no threads for the connector: {error}")))?;
        let connector = {
            // A connector may spawn tasks while it opens.
            let _inside = runtime.0.as_ref().map(Runtime::enter);
            C::open(host, request)?
        };
        let state = Arc::new(State {
            connector,
            outlet,
            calls: Mutex::new(Some(HashMap::new())),
            streams: Mutex::new(HashMap::new()),
            next_stream: AtomicU64::new(1),
            poisoned: AtomicBool::new(false),
        });
        Ok(Self {
            runtime: Mutex::new(runtime),
            state,
        })
    }

    /// Starts a call.
    pub(crate) fn call(&self, id: u64, request: &[u8]) {
        let request = match CallRequest::decode(request) {
            Ok(CallRequest {
                deadline_us,
                call: Some(call),
            }) => Ok((deadline_us, call)),
            // A call of a later version of the contract is decoded as None.
            Ok(CallRequest { call: None, .. }) => {
                Err(Error::unsupported("this connector does not know the call"))
            }
            Err(_) => Err(Error::bug("the host's request is not a message")),
        };
        let state = &self.state;
        let checked = request.and_then(|request| state.check_alive().map(|()| request));
        let (deadline_us, call) = match checked {
            Ok(request) => request,
            Err(error) => return state.outlet.complete(id, Asked::Call.failed(error)),
        };
        let Some(cancelled) = state.admit(Asked::Call, id) else {
            return;
        };
        let deadline = deadline(deadline_us);
        let work = Arc::clone(state);
        let state = Arc::clone(state);
        self.spawn(async move {
            let context = CallContext::with_token(deadline, cancelled.clone());
            let cost = context.clone();
            let task = tokio::spawn(State::dispatch(work, context, deadline_us, call));
            let result = supervise(&state, task, deadline, &cancelled).await;
            // Tasks that the connector spawned for the call must see that it has ended.
            cancelled.cancel();
            let answer = match result.and_then(|answer| answer) {
                Ok(answer) => CallResponse { result: Some(answer) }.encode_to_vec(),
                Err(error) => Asked::Call.failed(error.cost(cost.usage())),
            };
            state.finish(id, answer);
        });
    }

    /// Asks for an early answer.
    pub(crate) fn cancel(&self, id: u64) {
        let cancelled = self
            .state
            .calls()
            .as_ref()
            .and_then(|calls| calls.get(&id).cloned());
        if let Some((_, cancelled)) = cancelled {
            cancelled.cancel();
        }
    }

    /// Answers every open call and stops the runtime.
    pub(crate) fn close(&self) {
        let calls = self.state.calls().take();
        for (id, (asked, cancelled)) in calls.into_iter().flatten() {
            cancelled.cancel();
            self.state.outlet.complete(
                id,
                asked.failed(Error::cancelled("the connector is being closed")),
            );
        }
        let streams = std::mem::take(&mut *self.state.streams());
        for stream in streams.into_values() {
            stream.cancelled.cancel();
        }
        let runtime = self
            .runtime
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .take();
        if let Some(runtime) = runtime {
            runtime.shutdown_timeout(CLOSE_GRACE);
        }
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        // After closing there is no runtime, and no call left to answer.
        if let Some(runtime) = &self.runtime.lock().unwrap_or_else(PoisonError::into_inner).0 {
            runtime.spawn(work);
        }
    }
}

impl<C> State<C> {
    fn calls(&self) -> MutexGuard<'_, Option<Calls>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<u64, Arc<Stream>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a call to the table. None if it is already there (the first one is answered), or if the instance is
    /// closed.
    fn admit(&self, asked: Asked, id: u64) -> Option<CancellationToken> {
        let cancelled = CancellationToken::new();
        let closed = match &mut *self.calls() {
            Some(calls) if calls.contains_key(&id) => return None,
            Some(calls) => {
                calls.insert(id, (asked, cancelled.clone()));
                false
            }
            None => true,
        };
        if closed {
            self.outlet
                .complete(id, asked.failed(Error::cancelled("the connector is closed")));
            return None;
        }
        Some(cancelled)
    }

    /// Answers a call that has not been answered yet.
    fn finish(&self, id: u64, answer: Vec<u8>) {
        let waited_for = self
            .calls()
            .as_mut()
            .is_some_and(|calls| calls.remove(&id).is_some());
        if waited_for {
            self.outlet.complete(id, answer);
        }
    }

    fn check_alive(&self) -> Result<(), Error> {
        if self.poisoned.load(Ordering::Acquire) {
            Err(poisoned())
        } else {
            Ok(())
        }
    }

    fn poison(&self) -> Error {
        if !self.poisoned.swap(true, Ordering::AcqRel) {
            self.outlet.poisoned();
        }
        poisoned()
    }
}

impl<C: Connector> State<C> {
    async fn dispatch(
        self: Arc<Self>,
        context: CallContext,
        deadline_us: i64,
        call: Call,
    ) -> Result<Answer, Error> {
        let connector = &self.connector;
        Ok(match call {
            Call::Describe(_) => Answer::Describe(connector.describe()),
            Call::BeginAuthorization(request) => {
                Answer::BeginAuthorization(connector.begin_authorization(context, request).await?)
            }
            Call::ExchangeCode(request) => Answer::LoggedIn(connector.exchange_code(context, request).await?),
            Call::LogIn(request) => Answer::LoggedIn(connector.log_in(context, request).await?),
            Call::Refresh(request) => Answer::Refresh(connector.refresh(context, request).await?),
            Call::Revoke(request) => Answer::Revoke(connector.revoke(context, request).await?),
            Call::ListFields(request) => Answer::ListFields(connector.list_fields(context, request).await?),
            Call::CountRecords(request) => {
                Answer::CountRecords(connector.count_records(context, request).await?)
            }
            Call::FetchCompany(request) => {
                Answer::FetchCompany(connector.fetch_company(context, request).await?)
            }
            Call::Read(request) => Answer::Read(self.read(deadline_us, request)),
            Call::ProvideCredentials(request) => Answer::ProvideCredentials(self.provide(request)?),
        })
    }
}

/// Waits until a task is done, cancelled or past its deadline. A panic poisons the instance.
async fn supervise<C, T>(
    state: &State<C>,
    mut task: JoinHandle<T>,
    deadline: Option<Instant>,
    cancelled: &CancellationToken,
) -> Result<T, Error> {
    let timer = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    let why = tokio::select! {
        biased;
        joined = &mut task => return joined.map_err(|error| {
            if error.is_panic() { state.poison() } else { Error::cancelled("the call was cancelled") }
        }),
        () = cancelled.cancelled() => Error::cancelled("the call was cancelled"),
        () = timer => Error::deadline_exceeded("the CRM did not answer in time"),
    };
    task.abort();
    Err(why)
}

/// The host's unix time as an instant of this process.
fn deadline(deadline_us: i64) -> Option<Instant> {
    let left = u64::try_from(deadline_us.saturating_sub(system_now_us())).unwrap_or(0);
    (deadline_us != 0).then(|| Instant::now() + Duration::from_micros(left))
}

fn poisoned() -> Error {
    Error::bug("the connector failed in a way it should not and is being restarted")
        .code("connector.panicked")
}

/// Threads are named after the connector's type; Linux keeps 15 bytes.
fn thread_name<C>() -> String {
    let name = std::any::type_name::<C>();
    let short = name.rsplit("::").next().unwrap_or(name);
    format!("crm-{}", short.to_ascii_lowercase())
}
