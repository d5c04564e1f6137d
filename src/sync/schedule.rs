//! Queues syncs when their time is reached.
//!
//! Every replica does this, and the store lets one of them queue each. The task sleeps until the next time that it knows of,
//! and looks earlier because of changes: another schedule, a login, an enabled connector. Each time it also looks for organizations whose
//! CRM answers again, and makes the syncs due that wait for it.

use crate::credentials;
use crate::domain::SyncTrigger;
use crate::store::{Error, Scheduled, Store, Sync};
use crate::time::now_us;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The shortest sleep: times that are reached together are queued together.
const SHORTEST: Duration = Duration::from_millis(50);

/// Queues what is due, until `stop` is cancelled. `longest` is the longest sleep.
pub(super) async fn run(store: Store, wake: Arc<Notify>, longest: Duration, stop: CancellationToken) {
    let longest = longest.max(SHORTEST);
    while !stop.is_cancelled() {
        match store.sync_resume(now_us()).await {
            Ok(0) => {}
            Ok(syncs) => {
                tracing::info!("{syncs} syncs go on: the CRM of their organization answers again");
                wake.notify_waiters();
            }
            Err(error) => tracing::warn!("cannot resume the syncs that wait for a CRM, will retry: {error}"),
        }
        let sleep = match queue_due(&store, &wake, &stop).await {
            Ok(sleep) => sleep.clamp(SHORTEST, longest),
            Err(error) => {
                tracing::warn!("cannot queue the syncs that are due, will retry: {error}");
                longest
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

/// Queues all syncs that are due; returns the time until the next one.
async fn queue_due(store: &Store, wake: &Notify, stop: &CancellationToken) -> Result<Duration, Error> {
    while !stop.is_cancelled() {
        let now = now_us();
        let Some(one) = store.sync_enqueue_due(now, credentials::uncured()).await? else {
            break;
        };
        report(&one, now);
        if one.sync_id.is_some() {
            wake.notify_one();
        }
    }
    let now = now_us();
    let next = store.sync_next_due(now).await?;
    Ok(next.map_or(Duration::MAX, |next| {
        Duration::from_micros(u64::try_from(next - now).unwrap_or_default())
    }))
}

fn report(one: &Scheduled, now: i64) {
    let (id, outcome) = match one.sync_id {
        Some(_) => (one.integration_id, "queued"),
        None => (one.integration_id, "joined"),
    };
    metrics::counter!("tether_sync_scheduled_total", "connector" => one.connector.clone(), "outcome" => outcome)
        .increment(1);
    match one.sync_id {
        Some(sync) => {
            let late = seconds(now - one.due_us);
            metrics::histogram!("tether_sync_schedule_late_seconds").record(late);
            tracing::info!(integration = %id, %sync, late, "sync {sync} of {id} queued by its schedule");
        }
        None => tracing::info!(integration = %id, "{id} is due, and has an unfinished sync"),
    }
    if one.next_us.is_none() {
        tracing::error!(integration = %id, "the schedule of {id} cannot be read: it does not sync by itself any more");
    }
}

/// Records how long a scheduled sync waited for a worker that starts it now.
pub(super) fn started(sync: &Sync, now: i64) {
    if sync.trigger == SyncTrigger::Schedule && sync.attempt == 1 {
        metrics::histogram!("tether_sync_schedule_wait_seconds").record(seconds(now - sync.create_us));
    }
}

fn seconds(us: i64) -> f64 {
    Duration::from_micros(u64::try_from(us).unwrap_or_default()).as_secs_f64()
}
