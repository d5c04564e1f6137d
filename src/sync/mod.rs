//! The sync engine: workers lease queued syncs from the database and run them. Any replica can continue a sync that
//! another one stopped, because all progress is stored in the database.
//!
//! Options → [`Engine::start`] → [`Engine::stop`]: each task has an owner and is joined when the engine stops.

mod housekeeping;
mod runner;
mod verdict;

pub use housekeeping::Keep;

use crate::connectors::Registry;
use crate::credentials::Credentials;
use crate::store::{RemovalGuard, Store};
use crate::tasks;
use crate::time::now_us;
use futures_util::FutureExt as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Options of the sync engine.
#[derive(Debug, Clone)]
pub struct Options {
    /// Number of syncs that run at the same time.
    pub workers: usize,
    /// How long a lease is valid without a heartbeat.
    pub lease: Duration,
    /// How often an idle worker looks for syncs that another process queued.
    pub poll: Duration,
    /// Maximum attempts without progress after temporary errors.
    pub most_tries: i64,
    /// The pause after the first failed attempt. Each further pause is three times longer, up to ten minutes.
    pub first_pause: Duration,
    /// How many records a listing may remove without confirmation.
    pub guard: RemovalGuard,
    /// Retention times.
    pub keep: Keep,
}

/// Shared data of the workers.
#[derive(Clone)]
struct Context {
    store: Store,
    registry: Registry,
    credentials: Credentials,
    options: Options,
    /// Identifies this process in leases.
    owner: String,
    wake: Arc<Notify>,
    stop: CancellationToken,
}

/// The running workers.
pub struct Engine {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Engine {
    /// Starts the workers. `wake` wakes an idle worker.
    #[must_use]
    pub fn start(
        store: Store,
        registry: Registry,
        credentials: Credentials,
        options: Options,
        wake: Arc<Notify>,
    ) -> Self {
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        let keep = options.keep;
        for _ in 0..options.workers {
            let context = Context {
                store: store.clone(),
                registry: registry.clone(),
                credentials: credentials.clone(),
                options: options.clone(),
                owner: uuid::Uuid::new_v4().to_string(),
                wake: Arc::clone(&wake),
                stop: stop.clone(),
            };
            let work = move || work(context.clone());
            running.spawn(tasks::lasting("sync worker", stop.clone(), work));
        }
        let (of, until) = (store.clone(), stop.clone());
        let purge = move || housekeeping::purge(of.clone(), keep, until.clone());
        running.spawn(tasks::lasting("purge", stop.clone(), purge));
        let until = stop.clone();
        let sweep = move || housekeeping::sweep(store.clone(), keep, until.clone());
        running.spawn(tasks::lasting("sweep", stop.clone(), sweep));
        Self { tasks: running, stop }
    }

    /// Stops leasing, lets running syncs store their progress and release their leases, and waits for them.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn work(context: Context) {
    while !context.stop.is_cancelled() {
        let now = now_us();
        let until = now + context.options.lease.as_micros() as i64;
        match context.store.sync_lease_next(&context.owner, now, until).await {
            Ok(Some(sync)) => {
                let gauge = metrics::gauge!("tether_sync_running");
                gauge.increment(1.0);
                let ran = AssertUnwindSafe(runner::run(&context, sync)).catch_unwind();
                // A panic ends this attempt like a crash: the lease expires and the sync is retried.
                if ran.await.is_err() {
                    tasks::panicked("sync");
                }
                gauge.decrement(1.0);
                continue;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!("cannot lease a sync: {error}"),
        }
        tokio::select! {
            () = context.stop.cancelled() => {}
            () = context.wake.notified() => {}
            () = tokio::time::sleep(context.options.poll) => {}
        }
    }
}
