//! The state of a child process, shared by its handle and the task that owns the process.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::call_table::CallTable;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) process: OnceLock<u32>,
    pub(super) calls: Arc<CallTable>,
    /// It takes no more calls.
    pub(super) poisoned: AtomicBool,
    /// The reason, if known.
    pub(super) failure: Mutex<Option<String>>,
    /// Kills it immediately.
    pub(super) kill: CancellationToken,
    /// It was asked to close.
    pub(super) closing: CancellationToken,
    /// The process has ended.
    pub(super) ended: CancellationToken,
    /// When a ping was last answered, in milliseconds since the child began.
    pub(super) pong: AtomicU64,
    pub(super) began: tokio::time::Instant,
}

impl Shared {
    pub(super) fn age(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Stops new calls. The first reason is kept.
    pub(super) fn fail(&self, why: String) {
        self.failure.lock().get_or_insert(why);
        self.poisoned.store(true, Ordering::Release);
    }
}
