//! The open connections of a listener: which of them may go on, and which one has to make room.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::limits::Limits;

/// Length of the HTTP/2 preface. Until this many bytes have arrived, the protocol of a connection is not known.
const PREFACE: usize = 24;

/// An open connection in the table.
pub(super) struct Connection {
    state: Mutex<State>,
    /// Cancelled when the connection has to make room.
    pub(super) evicted: CancellationToken,
    /// Bytes read so far, after TLS.
    pub(super) read: AtomicUsize,
    /// When bytes were last read or written, in milliseconds since [`START`].
    progress: AtomicU64,
}

/// The origin of progress times.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since [`START`].
fn milliseconds() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}

struct State {
    /// Requests whose response has not ended.
    open: usize,
    /// Since when there is no open request.
    idle_since: Instant,
    /// Whether there was a request.
    served: bool,
}

impl Connection {
    fn new() -> Self {
        Self {
            state: Mutex::new(State {
                open: 0,
                idle_since: Instant::now(),
                served: false,
            }),
            evicted: CancellationToken::new(),
            read: AtomicUsize::new(0),
            progress: AtomicU64::new(milliseconds()),
        }
    }

    /// Records that bytes were read or written.
    pub(super) fn went_on(&self, bytes: usize) {
        if bytes > 0 {
            self.progress.store(milliseconds(), Ordering::Relaxed);
        }
    }

    /// Counts an open request until the returned guard is dropped.
    pub(super) fn open(self: &Arc<Self>) -> OpenRequest {
        let mut state = self.state.lock();
        state.open += 1;
        state.served = true;
        OpenRequest(Arc::clone(self))
    }

    fn idle_since(&self) -> Option<Instant> {
        let state = self.state.lock();
        (state.open == 0).then_some(state.idle_since)
    }

    /// When to check the connection again; `None` if its time is over.
    pub(super) fn next_look(&self, accepted: Instant, limits: &Limits, now: Instant) -> Option<Instant> {
        let (open, idle_since, served) = {
            let state = self.state.lock();
            (state.open, state.idle_since, state.served)
        };
        let end = if !served && self.read.load(Ordering::Relaxed) < PREFACE {
            accepted + limits.header
        } else if open == 0 {
            idle_since + limits.idle
        } else {
            now + limits.idle
        };
        let end = match limits.lifetime {
            Some(lifetime) => end.min(accepted + lifetime),
            None => end,
        };
        (end > now).then_some(end)
    }
}

/// An open request of a connection.
pub(super) struct OpenRequest(Arc<Connection>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.open -= 1;
        state.idle_since = Instant::now();
    }
}

/// The open connections of one listener.
#[derive(Default)]
pub(super) struct Table {
    connections: Mutex<(u64, HashMap<u64, Arc<Connection>>)>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.connections.lock().1.len()
    }

    pub(super) fn add(self: &Arc<Self>) -> Entry {
        let connection = Arc::new(Connection::new());
        let mut connections = self.connections.lock();
        connections.0 += 1;
        let number = connections.0;
        connections.1.insert(number, Arc::clone(&connection));
        Entry {
            table: Arc::clone(self),
            number,
            connection,
        }
    }

    /// Closes the connection that has been without an open request for the longest time. If all have one, closes the
    /// one without progress for the longest time, if that time is at least `stalled`. False if there is none.
    pub(super) fn evict(&self, stalled: Duration) -> bool {
        let mut connections = self.connections.lock();
        let all = || connections.1.iter();
        let idle = all()
            .filter_map(|(number, connection)| Some((connection.idle_since()?, *number)))
            .min();
        let number = match idle {
            Some((_, number)) => Some(number),
            None => {
                let since = |connection: &Connection| connection.progress.load(Ordering::Relaxed);
                let longest = all()
                    .map(|(number, connection)| (since(connection), *number))
                    .min();
                let silent = |at: u64| Duration::from_millis(milliseconds().saturating_sub(at));
                longest.and_then(|(at, number)| (silent(at) >= stalled).then_some(number))
            }
        };
        let Some(connection) = number.and_then(|number| connections.1.remove(&number)) else {
            return false;
        };
        connection.evicted.cancel();
        true
    }
}

/// The entry of a connection in the table; removed when dropped.
pub(super) struct Entry {
    table: Arc<Table>,
    number: u64,
    pub(super) connection: Arc<Connection>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.table.connections.lock().1.remove(&self.number);
    }
}
