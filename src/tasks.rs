//! Tasks that run as long as the server. A panic in one of them must be visible and must not end it silently.
//!
//! A task that ended silently would leave syncs, the outbox or cleanup undone until the next restart. The
//! follower of the index is not restarted as a whole: it handles panics of one index itself, and any other
//! ends the server.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

/// The pause after a panic before the task is restarted.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 1_000 });

/// Runs the work until it ends by itself. After a panic, which is logged and counted in `tether_task_panics_total`,
/// the work is restarted, unless the server is stopping.
pub async fn lasting<F>(name: &'static str, stop: CancellationToken, mut work: impl FnMut() -> F)
where
    F: Future<Output = ()>,
{
    while AssertUnwindSafe(async { work().await })
        .catch_unwind()
        .await
        .is_err()
    {
        panicked(name);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Logs and counts a caught panic. The panic message itself is on standard error.
pub fn panicked(name: &'static str) {
    metrics::counter!("tether_task_panics_total", "task" => name).increment(1);
    tracing::error!(task = name, "a task of the server panicked: {name}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn work_that_panics_begins_again() {
        let begun = AtomicU32::new(0);
        let work = || async {
            assert!(begun.fetch_add(1, Ordering::Relaxed) == 2, "a defect");
        };
        lasting("test", CancellationToken::new(), work).await;
        assert_eq!(begun.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn work_that_panics_ends_with_the_server() {
        let stop = CancellationToken::new();
        let work = || async {
            stop.cancel();
            panic!("a defect");
        };
        lasting("test", stop.clone(), work).await;
    }
}
