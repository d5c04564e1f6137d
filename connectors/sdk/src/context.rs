//! What every call is handed besides its request.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::proto::{ApiUsage, Error};

/// A call: until when it is wanted, whether it still is, and what it has cost.
///
/// Cheap to clone; all clones are the same call. The HTTP client takes one with every request, stops at its deadline and
/// counts into it.
#[derive(Clone, Debug, Default)]
pub struct CallContext {
    call: Arc<Call>,
}

#[derive(Debug, Default)]
struct Call {
    deadline: Option<Instant>,
    cancelled: CancellationToken,
    calls: AtomicU64,
    bytes: AtomicU64,
    used: AtomicU64,
    limit: AtomicU64,
}

impl CallContext {
    /// A call of its own, for tests. The SDK makes those of the host.
    #[must_use]
    pub fn new(deadline: Option<Instant>) -> Self {
        Self::with_token(deadline, CancellationToken::new())
    }

    pub(crate) fn with_token(deadline: Option<Instant>, cancelled: CancellationToken) -> Self {
        Self {
            call: Arc::new(Call {
                deadline,
                cancelled,
                ..Call::default()
            }),
        }
    }

    /// When the answer is no longer wanted.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.call.deadline
    }

    /// How long the answer is still wanted.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.call
            .deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Resolves when the call is cancelled. A future of the connector is dropped soon after by itself; this is for what
    /// it has spawned, and for tidying up.
    pub async fn cancelled(&self) {
        self.call.cancelled.cancelled().await;
    }

    /// Whether the call was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.call.cancelled.is_cancelled()
    }

    /// Runs a future until it is done, the call is cancelled or its deadline passes.
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        let deadline = async {
            match self.call.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            done = work => Ok(done),
            () = self.call.cancelled.cancelled() => Err(Error::cancelled("the call was cancelled")),
            () = deadline => Err(Error::deadline_exceeded("the CRM did not answer in time")),
        }
    }

    /// Sleeps, unless the call ends first.
    pub async fn sleep(&self, time: Duration) -> Result<(), Error> {
        self.run(tokio::time::sleep(time)).await
    }

    /// What the call has cost so far.
    #[must_use]
    pub fn usage(&self) -> ApiUsage {
        ApiUsage {
            calls: self.call.calls.load(Relaxed),
            bytes: self.call.bytes.load(Relaxed),
            used: self.call.used.load(Relaxed),
            limit: self.call.limit.load(Relaxed),
        }
    }

    /// Notes what the CRM said of the organization's allowance.
    pub fn set_allowance(&self, used: u64, limit: u64) {
        self.call.used.store(used, Relaxed);
        self.call.limit.store(limit, Relaxed);
    }

    pub(crate) fn count_call(&self) {
        self.call.calls.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_bytes(&self, bytes: usize) {
        self.call.bytes.fetch_add(bytes as u64, Relaxed);
    }
}
