//! The sync engine: workers lease queued syncs from the database and run them; any replica may go on where another
//! stopped. Progress travels through rows only.
//!
//! Options → [`Engine::start`] → [`Engine::stop`]: every task has an owner and is joined at drain.

mod runner;

use crate::connectors::Registry;
use crate::grants::Grants;
use crate::store::Store;
use crate::time::now_us;
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
    /// How long events of groups are kept, in microseconds.
    pub keep_events_us: i64,
    /// How long the audit log is kept, in microseconds.
    pub keep_audit_us: i64,
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
        let mut tasks = JoinSet::new();
        let keep = (options.keep_events_us, options.keep_audit_us);
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
            tasks.spawn(work(context));
        }
        tasks.spawn(housekeeping(store, keep, stop.clone()));
        Self { tasks, stop }
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
                runner::run(&context, sync).await;
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

/// What goes by itself: drafts after thirty days, used logins, request ids, told revocations, old events and entries of
/// the audit log.
async fn housekeeping(store: Store, (keep_events_us, keep_audit_us): (i64, i64), stop: CancellationToken) {
    /// Rows in one transaction.
    const BATCH: i64 = 500;
    const EVERY: Duration = Duration::from_secs(600);
    const DAY_US: i64 = 24 * 3_600 * 1_000_000;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let now = now_us();
        let swept = async {
            let drafts = store.drafts_expire(now, 100).await?;
            for draft in &drafts {
                tracing::info!(integration = %draft.id, "draft {} expired", draft.id);
            }
            store.authorization_purge(now - DAY_US).await?;
            store.request_purge(now - DAY_US).await?;
            store.outbox_purge(now - 7 * DAY_US).await?;
            store.grant_purge(now - 90 * DAY_US).await?;
            while store.event_purge(now - keep_events_us, BATCH).await? as i64 >= BATCH
                && !stop.is_cancelled()
            {}
            while store.audit_purge(now - keep_audit_us, BATCH).await? as i64 >= BATCH && !stop.is_cancelled()
            {
            }
            Ok::<_, crate::store::Error>(())
        };
        if let Err(error) = swept.await {
            tracing::warn!("housekeeping will be tried again: {error}");
        }
    }
}
