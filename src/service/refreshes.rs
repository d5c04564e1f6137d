//! Live reads in progress. Calls that open the same profile at the same time share one read, the rate at
//! which a group opens profiles through integrations that it receives is limited, and a shutdown waits for
//! all reads.

use crate::domain::{CompanyId, GroupId, IntegrationId};
use crate::error::Reason;
use crate::fair;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A company is read at most once in this time, over all callers.
const COALESCE: Duration = Duration::from_secs(5);
/// The maximum number of live reads per minute of a group, for each integration that it receives.
pub(super) const RECEIVED_PER_MINUTE: NonZeroU32 = NonZeroU32::new(120).unwrap();
/// The maximum number of rate limiters, one per group and integration; the least used are dropped first.
const PACES: u64 = 100_000;
/// A rate limiter that was not used for this long is dropped.
const PACE_LIFE: Duration = Duration::from_secs(120);

/// The result of a live read: its time, or why it failed.
pub(super) type Outcome = std::result::Result<i64, (Reason, String)>;

/// Live reads in progress or finished a moment ago.
#[derive(Clone)]
pub(super) struct Refreshes {
    done: moka::future::Cache<(IntegrationId, CompanyId), Arc<Outcome>>,
    /// Rate limiters of groups that open profiles through integrations that they receive.
    paces: moka::future::Cache<(GroupId, IntegrationId), Arc<governor::DefaultDirectRateLimiter>>,
    tasks: TaskTracker,
    /// Cancels reads that are still in progress when the time for a shutdown is over.
    abort: CancellationToken,
}

impl Refreshes {
    pub(super) fn new() -> Self {
        Self {
            done: moka::future::Cache::builder()
                .max_capacity(100_000)
                .time_to_live(COALESCE)
                .build(),
            paces: moka::future::Cache::builder()
                .max_capacity(PACES)
                .time_to_idle(PACE_LIFE)
                .build(),
            tasks: TaskTracker::new(),
            abort: CancellationToken::new(),
        }
    }

    /// Whether a company was read a moment ago.
    pub(super) fn is_fresh(&self, key: (IntegrationId, CompanyId)) -> bool {
        self.done.contains_key(&key)
    }

    /// Counts a live read of a group through an integration that it receives; returns false if the rate is
    /// exceeded.
    pub(super) async fn keeps_pace(&self, group: &GroupId, id: IntegrationId) -> bool {
        let new = async {
            Arc::new(governor::RateLimiter::direct(governor::Quota::per_minute(
                RECEIVED_PER_MINUTE,
            )))
        };
        let pace = self.paces.get_with((group.clone(), id), new).await;
        pace.check().is_ok()
    }

    /// Reads, or joins the read of the same company that is in progress. If the caller disconnects, the read
    /// goes on and its result is stored; [`settle`](Self::settle) waits for it.
    pub(super) async fn read<F>(&self, key: (IntegrationId, CompanyId), read: F) -> Outcome
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let (done, abort) = (self.done.clone(), self.abort.clone());
        // A shared read counts for the group that began it.
        let task = self.tasks.spawn(fair::carried(async move {
            let read = done.get_with(key, async move { Arc::new(read.await) });
            tokio::select! {
                outcome = read => outcome.as_ref().clone(),
                () = abort.cancelled() => Err((Reason::ShuttingDown, "the server stopped before the CRM answered".to_owned())),
            }
        }));
        task.await.unwrap_or_else(|error| {
            tracing::error!("a live read ended: {error}");
            Err((Reason::Internal, "the live read broke off".to_owned()))
        })
    }

    /// Waits at most `patience` for the reads in progress, then cancels them.
    pub(super) async fn settle(&self, patience: Duration) {
        self.tasks.close();
        if tokio::time::timeout(patience, self.tasks.wait()).await.is_err() {
            tracing::warn!(
                reads = self.tasks.len(),
                "live reads were still under way after {patience:?}: ended"
            );
            self.abort.cancel();
            self.tasks.wait().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn key() -> (IntegrationId, CompanyId) {
        (
            IntegrationId::from_uuid(uuid::Uuid::nil()),
            CompanyId::from_uuid(uuid::Uuid::nil()),
        )
    }

    #[tokio::test]
    async fn a_read_is_shared_and_waited_for() {
        let refreshes = Refreshes::new();
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let ended = Arc::new(AtomicBool::new(false));
        let (all, mark) = (refreshes.clone(), Arc::clone(&ended));
        let first = tokio::spawn(async move {
            let read = async move {
                let _ = gone.await;
                mark.store(true, Ordering::SeqCst);
                Ok(7)
            };
            all.read(key(), read).await
        });
        while refreshes.tasks.is_empty() {
            tokio::task::yield_now().await;
        }
        // The first caller disconnects, a second one joins the read, and `settle` waits for it.
        first.abort();
        let all = refreshes.clone();
        let second = tokio::spawn(async move { all.read(key(), async { Ok(8) }).await });
        while refreshes.tasks.len() < 2 {
            tokio::task::yield_now().await;
        }
        go.send(()).unwrap();
        refreshes.settle(Duration::from_secs(60)).await;
        assert!(ended.load(Ordering::SeqCst));
        assert_eq!(second.await.unwrap(), Ok(7));
    }

    #[tokio::test]
    async fn a_read_that_never_ends_is_ended() {
        let refreshes = Refreshes::new();
        let all = refreshes.clone();
        let stuck = tokio::spawn(async move { all.read(key(), std::future::pending()).await });
        while refreshes.tasks.is_empty() {
            tokio::task::yield_now().await;
        }
        refreshes.settle(Duration::ZERO).await;
        assert!(matches!(stuck.await.unwrap(), Err((Reason::ShuttingDown, _))));
    }

    #[tokio::test]
    async fn each_group_has_its_own_pace() {
        let refreshes = Refreshes::new();
        let group = |name: &str| name.parse::<GroupId>().unwrap();
        for _ in 0..RECEIVED_PER_MINUTE.get() {
            assert!(refreshes.keeps_pace(&group("a"), key().0).await);
        }
        let mut refused = false;
        for _ in 0..RECEIVED_PER_MINUTE.get() {
            refused |= !refreshes.keeps_pace(&group("a"), key().0).await;
        }
        assert!(refused);
        assert!(refreshes.keeps_pace(&group("b"), key().0).await);
    }
}
