//! The context of a call: deadline, cancellation, API usage.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::proto::{ApiUsage, Error};

/// A call: its deadline, its cancellation and its API usage.
///
/// Cheap to clone; all clones are the same call. The HTTP client takes a context with every request, stops at its
/// deadline and counts the request in it.
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
    is_clock_off: AtomicBool,
}

/// How far the CRM's clock and the host's may be apart: two minutes, in microseconds.
const APART_US: i64 = 120_000_000;

impl CallContext {
    /// A new call, for tests. The SDK creates the contexts of the host's calls.
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

    /// The deadline of the call.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.call.deadline
    }

    /// The time until the deadline.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.call
            .deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Resolves when the call is cancelled. The SDK drops the connector's future soon afterwards; use this for
    /// spawned tasks and for clean-up.
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

    /// The API usage of the call so far.
    #[must_use]
    pub fn usage(&self) -> ApiUsage {
        ApiUsage {
            calls: self.call.calls.load(Relaxed),
            bytes: self.call.bytes.load(Relaxed),
            used: self.call.used.load(Relaxed),
            limit: self.call.limit.load(Relaxed),
        }
    }

    /// Records the organization's allowance as reported by the CRM.
    pub fn set_allowance(&self, used: u64, limit: u64) {
        self.call.used.store(used, Relaxed);
        self.call.limit.store(limit, Relaxed);
    }

    /// Notes the CRM's time of a reply. `sent_us` and `got_us` are the host's times before and after the request.
    pub(crate) fn note_clock(&self, made_us: i64, sent_us: i64, got_us: i64) {
        let off = made_us > got_us.saturating_add(APART_US) || made_us < sent_us.saturating_sub(APART_US);
        if self.call.is_clock_off.swap(off, Relaxed) != off && off {
            let ahead = (made_us - got_us) / 1_000_000;
            tracing::warn!(
                "the CRM's clock is {ahead} s ahead of this machine's; its times are not compared"
            );
        }
    }

    /// A time of the CRM, if its clock can be compared with that of other reads; else 0, the unknown time. The host takes the later of two
    /// reads of a record: while a server of the CRM (or of a proxy) has a wrong clock, its reads would win for long, or never.
    pub(crate) fn comparable(&self, crm_us: i64, now_us: i64) -> i64 {
        match self.call.is_clock_off.load(Relaxed) || crm_us > now_us.saturating_add(APART_US) {
            true => 0,
            false => crm_us,
        }
    }

    pub(crate) fn count_call(&self) {
        self.call.calls.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_bytes(&self, bytes: usize) {
        self.call.bytes.fetch_add(bytes as u64, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_gives_no_times() {
        const MINUTE: i64 = 60_000_000;
        let call = CallContext::default();
        let (sent, got) = (100 * MINUTE, 110 * MINUTE);
        // A body may take long: the reply has the time of its beginning.
        for (made, is_known) in [
            (sent, true),
            (got, true),
            (sent - MINUTE, true),
            (sent - 3 * MINUTE, false),
            (got + MINUTE, true),
            (got + 3 * MINUTE, false),
            (got, true),
        ] {
            call.note_clock(made, sent, got);
            assert_eq!(
                call.comparable(sent, got),
                if is_known { sent } else { 0 },
                "{made}"
            );
        }
        // A time that was noted while the clock was ahead.
        assert_eq!(call.comparable(got + 3 * MINUTE, got), 0);
    }
}
