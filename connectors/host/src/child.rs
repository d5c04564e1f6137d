//! A connector in a separate process, as seen by the server.
//!
//! A child process runs one instance. If it crashes, hangs or sends invalid data, only this child is affected: its
//! calls and streams fail as [`Error::Lost`](super::Error::Lost), and the next call starts another child.
//!
//! A child that does not answer a ping in time is killed: its slots have to return at once (SPEC.md, LIFE),
//! and one that does not would hold the calls of every group. Its memory is limited, so that a library that
//! allocates without end ends itself before the machine swaps.

mod launch;
mod shared;
mod supervise;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::call_table::Pending;
pub use launch::ARGUMENT;
pub(super) use launch::Launch;
use shared::Shared;

use super::ffi;
use super::frame::{Frame, Kind, Open};
use super::{Error, LoadError};

/// Timeout of loading and opening.
pub(super) const OPEN_TIME: Duration = Duration::from_secs(30);
/// How often a child is checked for slots that do not return.
const PING_EVERY: Duration = Duration::from_secs(5);
/// A child that has not answered a ping for this long is considered hung.
const PONG_WITHIN: Duration = Duration::from_secs(30);

/// A running child. Dropping it asks it to close, and kills it if it does not.
#[derive(Debug)]
pub(super) struct Child {
    shared: Arc<Shared>,
    frames: mpsc::UnboundedSender<Frame>,
}

impl Child {
    /// Starts a child process, and loads and opens the connector in it.
    pub(super) async fn open(name: &str, launch: &Launch, request: Bytes) -> Result<Self, LoadError> {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            process: OnceLock::new(),
            calls: Arc::default(),
            poisoned: AtomicBool::new(false),
            failure: Mutex::default(),
            kill: CancellationToken::new(),
            closing: CancellationToken::new(),
            ended: CancellationToken::new(),
            pong: AtomicU64::new(0),
            began: tokio::time::Instant::now(),
        });
        let (process, socket) = supervise::start(launch, &shared)
            .map_err(|error| LoadError::Child(format!("a process for it could not be started: {error}")))?;
        if let Some(pid) = process.id() {
            // This cannot fail: it is set only here.
            let _ = shared.process.set(pid);
        }
        let (read, write) = socket.into_split();
        let (frames, waiting) = mpsc::unbounded_channel();
        let (opened, outcome) = oneshot::channel();
        tokio::spawn(supervise::writer(Arc::clone(&shared), write, waiting));
        tokio::spawn(supervise::supervise(Arc::clone(&shared), process, read, opened));
        let child = Self { shared, frames };
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        let open = Open {
            name: name.to_owned(),
            library: text(&launch.library),
            copy: launch.copy.as_ref().map(text).unwrap_or_default(),
            sha256: launch.sha256.clone(),
            max_log_level: ffi::max_log_level(),
            request,
            most_memory: launch.most_memory,
        };
        child.send(Kind::Open, 0, 0, open.encode_to_vec());
        match timeout(OPEN_TIME, outcome).await {
            Ok(Ok(Ok(()))) => {
                child.ping();
                Ok(child)
            }
            Ok(Ok(Err(error))) => Err(error),
            Ok(Err(_)) => Err(LoadError::Child(child.failure().unwrap_or_default())),
            Err(_) => {
                child.give_up(format!("it did not open within {} seconds", OPEN_TIME.as_secs()));
                Err(LoadError::Child(child.failure().unwrap_or_default()))
            }
        }
    }

    /// Starts a call.
    pub(super) fn call(self: &Arc<Self>, request: &[u8]) -> Ask {
        let pending = self.shared.calls.begin();
        self.send(Kind::Call, pending.id(), 0, Bytes::copy_from_slice(request));
        self.ask(pending)
    }

    /// Requests the next event of a stream.
    pub(super) fn stream_next(self: &Arc<Self>, stream: u64, request: &[u8]) -> Ask {
        let pending = self.shared.calls.begin();
        let request = Bytes::copy_from_slice(request);
        self.send(Kind::StreamNext, pending.id(), stream, request);
        self.ask(pending)
    }

    /// Ends a stream.
    pub(super) fn stream_close(&self, stream: u64) {
        self.send(Kind::StreamClose, 0, stream, Bytes::new());
    }

    /// Asks the library to answer a call early.
    pub(super) fn cancel(&self, call: u64) {
        self.send(Kind::Cancel, call, 0, Bytes::new());
    }

    /// The process id, once it runs.
    pub(super) fn process(&self) -> Option<u32> {
        self.shared.process.get().copied()
    }

    /// Asks it to close, and returns when its process has ended.
    pub(super) async fn close(&self) {
        self.shared.closing.cancel();
        self.send(Kind::Close, 0, 0, Bytes::new());
        self.ended().await;
    }

    /// Returns when its process has ended.
    pub(super) async fn ended(&self) {
        self.shared.ended.cancelled().await;
    }

    /// Whether a new child must be started.
    pub(super) fn is_poisoned(&self) -> bool {
        self.shared.poisoned.load(Ordering::Acquire)
    }

    /// Why it ended or will end.
    pub(super) fn failure(&self) -> Option<String> {
        self.shared.failure.lock().clone()
    }

    /// Kills it.
    pub(super) fn give_up(&self, why: String) {
        self.shared.fail(why);
        self.shared.kill.cancel();
    }

    fn ask(self: &Arc<Self>, pending: Pending) -> Ask {
        Ask {
            to: Arc::clone(self),
            pending,
            done: false,
        }
    }

    fn send(&self, kind: Kind, a: u64, b: u64, body: impl Into<Bytes>) {
        // If sending fails, the child has ended, and the table of calls is closed.
        let _ = self.frames.send(Frame::new(kind, a, b, body));
    }

    /// Checks periodically that slots return.
    fn ping(&self) {
        let (shared, frames) = (Arc::clone(&self.shared), self.frames.clone().downgrade());
        tokio::spawn(async move {
            loop {
                // Ends at once with the child, because hundreds of children may start and end in a short time.
                tokio::select! {
                    () = tokio::time::sleep(PING_EVERY) => {}
                    () = shared.closing.cancelled() => return,
                    () = shared.ended.cancelled() => return,
                }
                let silent = shared.age().saturating_sub(shared.pong.load(Ordering::Acquire));
                if silent > PONG_WITHIN.as_millis() as u64 {
                    shared.fail(format!("a slot did not return within {silent} ms"));
                    return shared.kill.cancel();
                }
                let ping = Frame::new(Kind::Ping, shared.age(), 0, Bytes::new());
                match frames.upgrade() {
                    Some(frames) if frames.send(ping).is_ok() => {}
                    _ => return,
                }
            }
        });
        self.shared.pong.store(self.shared.age(), Ordering::Release);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.shared.closing.cancel();
        self.send(Kind::Close, 0, 0, Bytes::new());
    }
}

/// A call or pull in progress. Dropping it before its answer cancels it.
#[derive(Debug)]
pub(super) struct Ask {
    to: Arc<Child>,
    pending: Pending,
    done: bool,
}

impl Ask {
    /// The answer. The future may be dropped and the method called again.
    pub(super) async fn answer(&mut self) -> Result<Bytes, Error> {
        let answer = self.pending.answer().await;
        self.done = true;
        answer.ok_or_else(|| Error::Lost(self.to.shared.name.clone()))
    }

    /// Asks for an early answer, and continues to wait.
    pub(super) fn cancel(&self) {
        self.to.cancel(self.pending.id());
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        if !self.done {
            self.to.send(Kind::Cancel, self.pending.id(), 0, Bytes::new());
        }
    }
}
