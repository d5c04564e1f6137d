//! An instance of a library in this process.
//!
//! One thread an instance calls the library's slots, in the order they were asked for, as in a child process. A slot that
//! does not return costs this thread and the instance; whoever waits hears of it, and nobody else does.

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

/// A slot that has not returned for so long does not when its instance is given up.
const STUCK_AFTER: Duration = Duration::from_millis(500);
/// One that has not returned for so long never does.
const LOST_AFTER: Duration = Duration::from_secs(30);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// An open instance. Dropping it closes it.
#[derive(Debug)]
pub(super) struct InProcess {
    shared: Arc<Shared>,
    slots: Sender<Slot>,
    /// It ends with this: there is nothing to watch any more.
    _watched: DropGuard,
}

#[derive(Debug)]
struct Shared {
    info: Arc<Instance>,
    began: Instant,
    /// When the slot was called that has not returned yet, in milliseconds of the instance's life, and one more; else 0.
    busy_since: AtomicU64,
    /// No answer will come any more.
    lost: CancellationToken,
}

/// A slot to be called.
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
    /// For [`raw`](super::raw): of an instance that may not exist.
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
                // Nobody may be waiting any more: then there is nothing to call, and it is closed at once.
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

    /// Starts a call on another instance than this one.
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

    /// Asks for an early answer to a call.
    pub(super) fn cancel(&self, call: u64) {
        self.ask(Slot::Cancel { call });
    }

    /// Closes it, and returns when it is closed. Dropping it closes it once more, which is harmless.
    pub(super) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        self.ask(Slot::Close { done });
        // The thread is gone where an earlier slot has not returned.
        let _ = closed.await;
    }

    /// Pulls a stream.
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

    /// Whether it must be opened anew.
    pub(super) fn is_poisoned(&self) -> bool {
        self.shared.info.is_poisoned()
    }

    /// Why it must be opened anew.
    pub(super) fn failure(&self) -> Option<String> {
        self.shared.info.failure()
    }

    /// Gives it up. What else it does goes on, if its slots return.
    pub(super) fn give_up(&self, why: &str) {
        self.shared.info.fail(why);
        if self.shared.stuck_for() > STUCK_AFTER {
            self.shared.lost.cancel();
        }
    }

    fn ask(&self, slot: Slot) {
        // The thread ends with this.
        let _ = self.slots.send(slot);
    }
}

/// Calls slots until nobody can ask for more.
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

/// Notices a slot that never returns, also where only streams wait, who have no deadline.
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

    /// How long the slot that is being called has not returned.
    fn stuck_for(&self) -> Duration {
        match self.busy_since.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            since => Duration::from_millis((self.age() + 1).saturating_sub(since)),
        }
    }
}

/// A call or pull that is on its way. Dropping it before its answer cancels it.
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

    /// The answer. May be dropped and asked again.
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

    /// Asks for an early answer, and goes on waiting.
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
