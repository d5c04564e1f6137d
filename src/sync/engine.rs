//! The tasks of the engine: workers that lease syncs, the schedule, and cleanup.

use super::context::{Context, Options};
use super::{housekeeping, runner, schedule};
use crate::connectors::Registry;
use crate::credentials::Credentials;
use crate::store::{Store, Worker};
use crate::tasks;
use crate::time::now_us;
use futures_util::FutureExt as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

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
                worker: Worker {
                    owner: uuid::Uuid::new_v4().to_string(),
                    per_organization: options.per_organization,
                    breaker: options.breaker,
                },
                wake: Arc::clone(&wake),
                stop: stop.clone(),
            };
            let work = move || work(context.clone());
            running.spawn(tasks::lasting("sync worker", stop.clone(), work));
        }
        let (of, poll, until) = (store.clone(), options.schedule_poll, stop.clone());
        let due = Arc::clone(&wake);
        let schedule = move || schedule::run(of.clone(), Arc::clone(&due), poll, until.clone());
        running.spawn(tasks::lasting("schedule", stop.clone(), schedule));
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
        match context.store.sync_lease_next(&context.worker, now, until).await {
            Ok(Some(sync)) => {
                let gauge = metrics::gauge!("tether_sync_running");
                gauge.increment(1.0);
                schedule::started(&sync, now);
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
