//! Background cleanup: rows of deleted integrations and groups, expired drafts, used logins, request ids, completed
//! revocations, old events, audit log entries, old syncs, data sets without an integration, and tombstones of deleted records.

use crate::domain::{IntegrationId, IntegrationState};
use crate::store::{Error, Store};
use crate::time::now_us;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const HOUR_US: i64 = 3_600 * 1_000_000;
const DAY_US: i64 = 24 * HOUR_US;

/// Retention times after the end of use, in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// Events of groups.
    pub events_us: i64,
    /// Entries of the audit log.
    pub audit_us: i64,
    /// Remaining rows of deleted groups.
    pub deleted_groups_us: i64,
    /// Accounts that are no longer used.
    pub grants_us: i64,
    /// Ended syncs, except the last one of each integration.
    pub syncs_us: i64,
    /// Tombstones of deleted records.
    pub gone_us: i64,
}

/// Deletes the rows of deleted integrations and groups in small batches, so that other writers are not blocked.
pub(super) async fn purge(store: Store, keep: Keep, stop: CancellationToken) {
    const EVERY: Duration = Duration::from_secs(1);
    while !stop.is_cancelled() {
        match purge_one(&store, keep, &stop).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::warn!(
                "cannot delete the rows of deleted integrations or groups, will retry: {error}"
            ),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Deletes the rows of one deleted integration; false if there is none whose rows can be deleted now. One whose database
/// does not answer does not keep the others from it.
async fn purge_one(store: &Store, keep: Keep, stop: &CancellationToken) -> Result<bool, Error> {
    let (mut after, mut failed) = (None, None);
    loop {
        let some = store
            .integration_list_by_state(IntegrationState::Deleting, after, 100)
            .await?;
        let Some(last) = some.last() else { break };
        after = Some(last.id);
        for gone in &some {
            match purge_rows(store, gone.id, stop).await {
                Ok(()) => return Ok(true),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
    }
    store.group_purge(now_us() - keep.deleted_groups_us).await?;
    failed.map_or(Ok(false), Err)
}

async fn purge_rows(store: &Store, id: IntegrationId, stop: &CancellationToken) -> Result<(), Error> {
    /// Rows per transaction.
    const ROWS: i64 = 1_000;
    let started = Instant::now();
    while !stop.is_cancelled() {
        let batch = Instant::now();
        if store.integration_purge(id, ROWS).await? {
            tracing::info!(integration = %id, seconds = started.elapsed().as_secs_f64(), "deleted the rows of {id}");
            break;
        }
        // Sleeps as long as the batch took, so that other writers get their turn.
        tokio::time::sleep(batch.elapsed().min(Duration::from_millis(200))).await;
    }
    Ok(())
}

/// Deletes rows whose retention time is over.
pub(super) async fn sweep(store: Store, keep: Keep, stop: CancellationToken) {
    const EVERY: Duration = Duration::from_secs(600);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if let Err(error) = sweep_once(&store, keep, &stop, now_us()).await {
            tracing::warn!("cleanup failed, will retry: {error}");
        }
    }
}

async fn sweep_once(store: &Store, keep: Keep, stop: &CancellationToken, now: i64) -> Result<(), Error> {
    /// Rows per transaction.
    const BATCH: i64 = 500;
    for draft in store.drafts_expire(now, 100).await? {
        tracing::info!(integration = %draft.id, "draft {} expired", draft.id);
    }
    while store.authorization_purge(now - DAY_US, BATCH).await? as i64 >= BATCH && !stop.is_cancelled() {}
    while store.request_purge(now - DAY_US, BATCH).await? as i64 >= BATCH && !stop.is_cancelled() {}
    while store.outbox_purge(now - 7 * DAY_US, BATCH).await? as i64 >= BATCH && !stop.is_cancelled() {}
    let unused = store.credential_release_unused(now - HOUR_US, now).await?;
    if unused > 0 {
        tracing::info!("revoking {unused} unused logins");
    }
    store.credential_purge(now - keep.grants_us).await?;
    store.organization_purge().await?;
    while store.event_purge(now - keep.events_us, BATCH).await? as i64 >= BATCH && !stop.is_cancelled() {}
    while store.audit_purge(now - keep.audit_us, BATCH).await? as i64 >= BATCH && !stop.is_cancelled() {}
    while store.api_usage_purge(now - keep.syncs_us, BATCH).await? as i64 >= BATCH && !stop.is_cancelled() {}
    while store.sync_purge(now - keep.syncs_us, BATCH).await? as i64 >= BATCH && !stop.is_cancelled() {}
    for state in [IntegrationState::Active, IntegrationState::NeedsReauthorization] {
        forget(store, state, now - keep.gone_us, stop).await?;
    }
    while !store.data_purge_orphans(BATCH).await? && !stop.is_cancelled() {}
    // Of databases that did not answer at the start, and of loads that ended with a crash.
    store.company_fill_all().await?;
    Ok(())
}

/// Deletes old tombstones. An index that has not applied them by now is rebuilt. Those of an integration whose database does
/// not answer are deleted next time.
async fn forget(
    store: &Store,
    state: IntegrationState,
    before_us: i64,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let mut after = None;
    loop {
        let some = store.integration_list_by_state(state, after, 100).await?;
        let Some(last) = some.last() else { return Ok(()) };
        after = Some(last.id);
        for one in &some {
            if stop.is_cancelled() {
                return Ok(());
            }
            if let Err(error) = forget_one(store, one.id, before_us, stop).await {
                tracing::warn!(
                    integration = %one.id,
                    "cannot delete the tombstones of {}, will retry: {error}",
                    one.id
                );
            }
        }
    }
}

async fn forget_one(
    store: &Store,
    id: IntegrationId,
    before_us: i64,
    stop: &CancellationToken,
) -> Result<(), Error> {
    const BATCH: i64 = 500;
    loop {
        let begun = Instant::now();
        let gone = store.record_forget(id, before_us, BATCH).await?;
        if (gone as i64) < BATCH || stop.is_cancelled() {
            return Ok(());
        }
        tokio::time::sleep(begun.elapsed().min(Duration::from_millis(200))).await;
    }
}
