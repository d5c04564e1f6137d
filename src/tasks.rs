//! Tasks that last as long as the server: a panic in one of them must not end it without a word.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

/// How long after a panic the task begins again.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 1_000 });

/// Does the work until it ends by itself. After a panic, which the log and `tether_task_panics_total` tell of, it is begun
/// again, unless the server stops.
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

/// Tells of a panic that was caught. The message of the panic itself is on the standard error stream.
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
