//! An instance of a connector library in this process.
//!
//! One thread per instance calls the slots of the library in the order of the requests, as in a child process. A slot
//! that does not return blocks this thread and this instance: its waiting callers get an error, and other instances
//! are not affected.
//!
//! The thread exists because a slot that never returns would otherwise hold a thread of the server's runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::call_table::Pending;
use super::child::OPEN_TIME;
use super::ffi::{CALLS, Instance, Library};
use super::{Error, LoadError};

/// When an instance is abandoned, a slot that runs for longer than this is assumed never to return.
const STUCK_AFTER: Duration = Duration::from_millis(500);
/// A slot that runs for longer than this is always assumed never to return.
const LOST_AFTER: Duration = Duration::from_secs(30);
/// How often this is checked.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// An open instance. Dropping it closes it.
#[derive(Debug)]
pub(super) struct InProcess {
    shared: Arc<Shared>,
    slots: Sender<Slot>,
    /// Ends the watch task together with the instance.
    _watched: DropGuard,
}

#[derive(Debug)]
struct Shared {
    info: Arc<Instance>,
    began: Instant,
    /// When the running slot was called, in milliseconds since the instance began, plus one; 0 if no slot runs.
    busy_since: AtomicU64,
    /// No more answers will come.
    lost: CancellationToken,
}

/// A call of a slot.
#[derive(Debug)]
enum Slot {
    Call {
        call: u64,
        request: Bytes,
    },
    StreamNext {
        call: u64,
        stream: u64,
        request: Bytes,
    },
    Cancel {
        call: u64,
    },
    StreamClose {
        stream: u64,
    },
    /// For [`raw`](super::raw): a call of an instance that may not exist.
    CallOf {
        instance: u64,
        call: u64,
        request: Bytes,
    },
    Close {
        done: oneshot::Sender<()>,
    },
}

impl InProcess {
    /// Opens an instance.
    pub(super) async fn open(name: &str, library: &Arc<Library>, request: Bytes) -> Result<Self, LoadError> {
        let (number, info) = Instance::register(name);
        let shared = Arc::new(Shared {
            info,
            began: Instant::now(),
            busy_since: AtomicU64::new(0),
            lost: CancellationToken::new(),
        });
        let (slots, asked) = channel();
        let (opened, outcome) = oneshot::channel();
        let (library, of) = (Arc::clone(library), Arc::clone(&shared));
        let failed = |why: String| LoadError::Unsupported(format!("opening it failed: {why}"));
        std::thread::Builder::new()
            .name(format!("connector-{name}"))
            .spawn(move || {
                let instance = match library.open(number, &request) {
                    Ok(instance) => instance,
                    Err(error) => return drop(opened.send(Err(error))),
                };
                drop(request);
                // If the caller no longer waits, the instance is closed at once.
                if opened.send(Ok(())).is_ok() {
                    serve(&library, instance, &of, &asked);
                }
                library.close(instance);
            })
            .map_err(|error| failed(error.to_string()))?;
        match timeout(OPEN_TIME, outcome).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => return Err(LoadError::Open(error)),
            Ok(Err(_)) => return Err(failed("its thread ended".to_owned())),
            Err(_) => {
                return Err(LoadError::Unsupported(format!(
                    "it did not open within {} seconds",
                    OPEN_TIME.as_secs()
                )));
            }
        }
        let closing = CancellationToken::new();
        tokio::spawn(
            closing
                .clone()
                .run_until_cancelled_owned(watch(Arc::downgrade(&shared))),
        );
        Ok(Self {
            shared,
            slots,
            _watched: closing.drop_guard(),
        })
    }

    /// Starts a call.
    pub(super) fn call(self: &Arc<Self>, request: &[u8]) -> Ask {
        let pending = CALLS.begin();
        let request = Bytes::copy_from_slice(request);
        self.ask(Slot::Call {
            call: pending.id(),
            request,
        });
        Ask::new(self, pending)
    }

    /// Starts a call on another instance.
    pub(super) fn call_of(self: &Arc<Self>, instance: u64, request: &[u8]) -> Ask {
        let pending = CALLS.begin();
        let request = Bytes::copy_from_slice(request);
        self.ask(Slot::CallOf {
            instance,
            call: pending.id(),
            request,
        });
        Ask::new(self, pending)
    }

    /// Asks the library to answer a call early.
    pub(super) fn cancel(&self, call: u64) {
        self.ask(Slot::Cancel { call });
    }

    /// Closes the instance, and returns when it is closed. Dropping it afterwards closes it again, which is harmless.
    pub(super) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        self.ask(Slot::Close { done });
        // This fails if the thread is gone because an earlier slot did not return.
        let _ = closed.await;
    }

    /// Requests the next event of a stream.
    pub(super) fn stream_next(self: &Arc<Self>, stream: u64, request: &[u8]) -> Ask {
        let pending = CALLS.begin();
        let request = Bytes::copy_from_slice(request);
        self.ask(Slot::StreamNext {
            call: pending.id(),
            stream,
            request,
        });
        Ask::new(self, pending)
    }

    /// Ends a stream.
    pub(super) fn stream_close(&self, stream: u64) {
        self.ask(Slot::StreamClose { stream });
    }

    /// Whether it must be reopened.
    pub(super) fn is_poisoned(&self) -> bool {
        self.shared.info.is_poisoned()
    }

    /// Why it must be reopened.
    pub(super) fn failure(&self) -> Option<String> {
        self.shared.info.failure()
    }

    /// Abandons the instance. Its other calls continue if its slots return.
    pub(super) fn give_up(&self, why: &str) {
        self.shared.info.fail(why);
        if self.shared.stuck_for() > STUCK_AFTER {
            self.shared.lost.cancel();
        }
    }

    fn ask(&self, slot: Slot) {
        // This fails only after the thread has ended.
        let _ = self.slots.send(slot);
    }
}

/// Calls slots until the instance is dropped.
fn serve(library: &Library, instance: u64, shared: &Shared, asked: &Receiver<Slot>) {
    for slot in asked {
        shared.busy_since.store(shared.age() + 1, Ordering::Release);
        match slot {
            Slot::Call { call, request } => library.call(instance, call, &request),
            Slot::StreamNext {
                call,
                stream,
                request,
            } => {
                library.stream_next(instance, call, stream, &request);
            }
            Slot::Cancel { call } => library.cancel(instance, call),
            Slot::StreamClose { stream } => library.stream_close(instance, stream),
            Slot::CallOf {
                instance,
                call,
                request,
            } => library.call(instance, call, &request),
            Slot::Close { done } => {
                library.close(instance);
                let _ = done.send(());
            }
        }
        shared.busy_since.store(0, Ordering::Release);
    }
}

/// Detects a slot that never returns, also if only streams wait, which have no deadline.
async fn watch(shared: std::sync::Weak<Shared>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let stuck = shared.stuck_for();
        if stuck > LOST_AFTER {
            shared
                .info
                .fail(&format!("a slot did not return within {} ms", stuck.as_millis()));
            return shared.lost.cancel();
        }
    }
}

impl Shared {
    fn age(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// For how long the current slot has been running.
    fn stuck_for(&self) -> Duration {
        match self.busy_since.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            since => Duration::from_millis((self.age() + 1).saturating_sub(since)),
        }
    }
}

/// A call or pull in progress. Dropping it before its answer cancels it.
#[derive(Debug)]
pub(super) struct Ask {
    to: Arc<InProcess>,
    pending: Pending,
    done: bool,
}

impl Ask {
    fn new(to: &Arc<InProcess>, pending: Pending) -> Self {
        Self {
            to: Arc::clone(to),
            pending,
            done: false,
        }
    }

    /// The answer. The future may be dropped and the method called again.
    pub(super) async fn answer(&mut self) -> Result<Bytes, Error> {
        let shared = &self.to.shared;
        let answer = tokio::select! {
            biased;
            answer = self.pending.answer() => answer,
            () = shared.lost.cancelled() => None,
        };
        self.done = true;
        answer.ok_or_else(|| Error::Lost(shared.info.name.clone()))
    }

    /// Asks for an early answer, and continues to wait.
    pub(super) fn cancel(&self) {
        self.to.cancel(self.pending.id());
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        if !self.done {
            self.to.ask(Slot::Cancel {
                call: self.pending.id(),
            });
        }
    }
}
