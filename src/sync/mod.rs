//! The sync engine: workers lease queued syncs from the database and run them; any replica may go on where another
//! stopped. Progress travels through rows only.
//!
//! Options → [`Engine::start`] → [`Engine::stop`]: every task has an owner and is joined at drain.

mod housekeeping;
mod runner;
mod verdict;

pub use housekeeping::Keep;

use crate::connectors::Registry;
use crate::grants::Grants;
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

/// How the engine works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Syncs at a time.
    pub workers: usize,
    /// How long a lease holds without a heartbeat.
    pub lease: Duration,
    /// How often an idle worker looks for work that another process queued.
    pub poll: Duration,
    /// Tries of a sync that does not get on, at errors that pass.
    pub most_tries: i64,
    /// The pause after the first of them; each further one is three times as long, up to ten minutes.
    pub first_pause: Duration,
    /// How much a listing may remove without being asked.
    pub guard: RemovalGuard,
    /// How long things are kept.
    pub keep: Keep,
}

/// What a worker needs.
#[derive(Clone)]
struct Context {
    store: Store,
    registry: Registry,
    grants: Grants,
    options: Options,
    /// Names this process in leases.
    owner: String,
    wake: Arc<Notify>,
    stop: CancellationToken,
}

/// Running workers.
pub struct Engine {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Engine {
    /// Starts the workers. `wake` ends the wait of an idle one.
    #[must_use]
    pub fn start(
        store: Store,
        registry: Registry,
        grants: Grants,
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
                grants: grants.clone(),
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

    /// Stops leasing, lets running syncs store what they have and give their lease back, and waits for them.
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
                // A panic ends this attempt as a crash would: the lease runs out, and the sync is tried again.
                if ran.await.is_err() {
                    tasks::panicked("sync");
                }
                gauge.decrement(1.0);
                continue;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!("no sync could be leased: {error}"),
        }
        tokio::select! {
            () = context.stop.cancelled() => {}
            () = context.wake.notified() => {}
            () = tokio::time::sleep(context.options.poll) => {}
        }
    }
}
