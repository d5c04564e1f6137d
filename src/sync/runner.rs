//! One sync, forward only: next batch → rows as the store keeps them → one transaction {rows, removals, checkpoint,
//! counters} at each checkpoint → acknowledge with the next pull → finish.

use super::Context;
use crate::connectors::{self, Connector, RecordStream};
use crate::domain::{FieldType, ObjectState, SyncState};
use crate::grants;
use crate::ingest::{self, Source};
use crate::store::{self, FieldRef, ObjectProgress, RecordBatch, Sync, SyncCommit, SyncEnd};
use crate::time::now_us;
use prost::bytes::Bytes;
use std::time::{Duration, Instant};
use tether_connector_proto::{
    self as proto, Connection, ErrorKind, FieldChangeKind, ObjectRole, ReadMode, ReadRequest,
    stream_event::Event,
};

/// Rows without a checkpoint are held in memory: a connector that gives more than this between two breaks its contract.
const MOST_ROWS_PENDING: usize = 50_000;
/// Tries of a sync that does not get on, before it fails.
const MOST_ATTEMPTS: i64 = 20;
/// How long a stream may be silent.
const EVENT_TIMEOUT: Duration = Duration::from_secs(900);

/// Why a run ended before its stream did.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Grant(#[from] grants::Error),
    #[error(transparent)]
    Connector(#[from] connectors::Error),
    #[error(transparent)]
    Rows(#[from] ingest::Error),
    #[error("the connector gave over {MOST_ROWS_PENDING} rows without a checkpoint")]
    NoCheckpoint,
    #[error("someone asked it to stop")]
    Cancelled,
    #[error("this process is about to stop")]
    Drain,
}

/// Runs a leased sync to its end, to its next wait, or until the lease is lost.
pub(super) async fn run(context: &Context, sync: Sync) {
    let (id, fence) = (sync.id, sync.fence);
    tracing::info!(sync = %id, integration = %sync.integration_id, attempt = sync.attempt, "sync {id} runs");
    let mut run = Run {
        context,
        pending: Pending::default(),
        missing: Vec::new(),
        connector: String::new(),
        order: Vec::new(),
        sync,
    };
    let outcome = {
        let read = run.read();
        let beat = heartbeat(context, id, fence);
        // Whoever loses is dropped at an await: a commit under way is one transaction, done or not.
        tokio::select! {
            outcome = read => outcome,
            stop = beat => Err(stop),
            () = context.stop.cancelled() => Err(Stop::Drain),
        }
    };
    if let Err(error) = run.end(outcome).await {
        match error {
            store::Error::LeaseLost { .. } => {
                tracing::info!(sync = %id, "sync {id} goes on elsewhere: {error}")
            }
            error => {
                tracing::error!(sync = %id, "sync {id} could not say how it ended; its lease will run out: {error}")
            }
        }
    }
}

/// Keeps the lease, and hears of a wish to cancel.
async fn heartbeat(context: &Context, id: crate::domain::SyncId, fence: i64) -> Stop {
    let lease = context.options.lease;
    let mut renewed = Instant::now();
    loop {
        tokio::time::sleep(lease / 4).await;
        let until = now_us() + lease.as_micros() as i64;
        match context.store.sync_heartbeat(id, fence, until).await {
            Ok(beat) if beat.cancel_requested => return Stop::Cancelled,
            Ok(_) => renewed = Instant::now(),
            // A database that is busy for a moment costs nothing; one that is gone for a lease costs the lease.
            Err(error) if error.is_retryable() && renewed.elapsed() < lease => {}
            Err(error) => return error.into(),
        }
    }
}

/// What has come since the last checkpoint.
#[derive(Default)]
struct Pending {
    batches: Vec<RecordBatch>,
    rows: usize,
    objects: Vec<ObjectProgress>,
    missing_fields: Vec<FieldRef>,
    field_types: Vec<(FieldRef, FieldType)>,
    /// Bytes and calls of the stream so far, and as of the last commit.
    usage: (i64, i64),
    committed: (i64, i64),
}

struct Run<'a> {
    context: &'a Context,
    sync: Sync,
    connector: String,
    /// The objects, in their order.
    order: Vec<String>,
    pending: Pending,
    /// Every field the connector said is gone, in this run.
    missing: Vec<FieldRef>,
}

impl Run<'_> {
    async fn read(&mut self) -> Result<(), Stop> {
        let store = &self.context.store;
        let integration = store.integration_get(self.sync.integration_id).await?;
        self.connector.clone_from(&integration.connector);
        let grant_id = integration.grant_id.ok_or_else(|| store::Error::NotFound {
            what: "grant of integration",
            id: integration.id.to_string(),
        })?;
        let connector = self.context.registry.get(&integration.connector)?;
        let describe = connector.describe();
        let fields = store.field_list(integration.id).await?;
        let mut access = self.context.grants.open(grant_id).await?;
        let identity = access.connection.identity.clone().unwrap_or_default();
        let company = describe
            .objects
            .iter()
            .find(|object| object.role() == ObjectRole::Company);
        let source = Source {
            integration_id: integration.id,
            connector: integration.connector.clone(),
            organization_id: identity.organization_id,
            company_object: company.map(|object| object.key.clone()).unwrap_or_default(),
        };
        let selection = ingest::selection(&describe.objects, &fields);
        self.order = selection.iter().map(|one| one.object.clone()).collect();
        if self.sync.checkpoint.is_none() {
            for object in self.order.clone() {
                self.note(&object, None, None, None);
            }
            self.commit(None).await?;
        }
        let mut stream = self
            .open_stream(&connector, &mut access, grant_id, selection)
            .await?;
        let mut acknowledged = 0;
        loop {
            let event = tokio::time::timeout(EVENT_TIMEOUT, stream.next(acknowledged)).await;
            let event = event.map_err(|_| connectors::Error::TimedOut(self.connector.clone()))??;
            match event {
                Event::Batch(batch) => {
                    let batch = ingest::batch(&source, batch)?;
                    let reading = Some(ObjectState::Reading);
                    self.note(&batch.object, reading, None, None);
                    self.pending.rows += batch.rows.len();
                    self.pending.batches.push(batch);
                    if self.pending.rows > MOST_ROWS_PENDING {
                        return Err(Stop::NoCheckpoint);
                    }
                }
                Event::Checkpoint(checkpoint) => {
                    self.commit(Some(checkpoint.state)).await?;
                    acknowledged = checkpoint.sequence;
                }
                Event::Progress(one) => {
                    let expected = i64::try_from(one.expected).ok();
                    self.note(&one.object, Some(ObjectState::Reading), expected, None);
                }
                Event::ObjectStatus(status) => self.object_status(status),
                Event::FieldChange(change) => self.field_change(change),
                Event::ApiUsage(usage) => {
                    self.pending.usage = (usage.bytes as i64, usage.calls as i64);
                }
                Event::CredentialsNeeded(_) => {
                    match self.context.grants.refresh(grant_id, access.generation).await {
                        Ok(renewed) => {
                            access = renewed;
                            let Connection {
                                credentials,
                                base_url,
                                ..
                            } = access.connection.clone();
                            stream
                                .provide_credentials(Ok((credentials.unwrap_or_default(), base_url)))
                                .await?;
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                Event::End(_) => {
                    self.commit(None).await?;
                    return Ok(());
                }
                Event::Error(error) => return Err(connectors::Error::said(&self.connector, error).into()),
            }
        }
    }

    async fn open_stream(
        &self,
        connector: &Connector,
        access: &mut grants::Access,
        grant_id: crate::domain::GrantId,
        selection: Vec<proto::ObjectSelection>,
    ) -> Result<RecordStream, Stop> {
        let request = |access: &grants::Access| ReadRequest {
            connection: Some(access.connection.clone()),
            selection: selection.clone(),
            mode: ReadMode::Full as i32,
            checkpoint: self.sync.checkpoint.clone().unwrap_or_default(),
        };
        match connector.read(request(access), None).await {
            Err(error) if error.kind() == ErrorKind::CredentialsExpired => {
                *access = self.context.grants.refresh(grant_id, access.generation).await?;
                Ok(connector.read(request(access), None).await?)
            }
            other => Ok(other?),
        }
    }

    fn note(
        &mut self,
        object: &str,
        state: Option<ObjectState>,
        expected: Option<i64>,
        error: Option<(String, String)>,
    ) {
        if let Some(one) = self.pending.objects.iter_mut().find(|one| one.object == object) {
            one.state = state.or(one.state);
            one.expected = expected.or(one.expected);
            one.error = error.or(one.error.take());
            return;
        }
        let position = self
            .order
            .iter()
            .position(|known| known == object)
            .unwrap_or(self.order.len()) as i64;
        self.pending.objects.push(ObjectProgress {
            object: object.to_owned(),
            position,
            state,
            expected,
            error,
        });
    }

    fn object_status(&mut self, status: proto::ObjectStatus) {
        let (state, error) = match status.error {
            None => (status.complete.then_some(ObjectState::Complete), None),
            Some(error) => {
                let gone = matches!(error.kind(), ErrorKind::ObjectGone | ErrorKind::Forbidden);
                let state = if gone {
                    ObjectState::Skipped
                } else {
                    ObjectState::Failed
                };
                tracing::warn!(sync = %self.sync.id, object = status.object, "{} is not read: {}", status.object, error.message);
                (
                    Some(state),
                    Some((reason(error.kind()).to_owned(), error.message)),
                )
            }
        };
        self.note(&status.object, state, None, error);
    }

    fn field_change(&mut self, change: proto::FieldChange) {
        let field = FieldRef {
            object: change.object.clone(),
            key: change.field.clone(),
        };
        match change.kind() {
            FieldChangeKind::Missing => {
                tracing::warn!(sync = %self.sync.id, "{}.{} is missing in the CRM", field.object, field.key);
                self.missing.push(field.clone());
                self.pending.missing_fields.push(field);
            }
            FieldChangeKind::TypeChanged => {
                self.pending
                    .field_types
                    .push((field, ingest::field_type(change.r#type())));
            }
            FieldChangeKind::Unspecified => {}
        }
    }

    async fn commit(&mut self, checkpoint: Option<Bytes>) -> Result<(), Stop> {
        let begun = Instant::now();
        let pending = std::mem::take(&mut self.pending);
        self.pending.usage = pending.usage;
        self.pending.committed = pending.usage;
        let now = now_us();
        let commit = SyncCommit {
            sync_id: self.sync.id,
            fence: self.sync.fence,
            integration_id: self.sync.integration_id,
            generation: self.sync.generation,
            batches: pending.batches,
            checkpoint: checkpoint.map(Vec::from),
            objects: pending.objects,
            bytes: pending.usage.0 - pending.committed.0,
            api_calls: pending.usage.1 - pending.committed.1,
            missing_fields: pending.missing_fields,
            field_types: pending.field_types,
            lease_until_us: now + self.context.options.lease.as_micros() as i64,
            now_us: now,
        };
        let calls = commit.api_calls.max(0) as u64;
        let committed = self.context.store.sync_commit(commit).await?;
        for (_, counters) in &committed.counters {
            for (word, rows) in [
                ("written", counters.written),
                ("unchanged", counters.unchanged),
                ("removed", counters.removed),
            ] {
                metrics::counter!("tether_sync_rows_total", "connector" => self.connector.clone(), "outcome" => word)
                    .increment(rows.max(0) as u64);
            }
        }
        metrics::counter!("tether_crm_calls_total", "connector" => self.connector.clone()).increment(calls);
        metrics::histogram!("tether_sync_commit_seconds", "connector" => self.connector.clone())
            .record(begun.elapsed().as_secs_f64());
        if committed.cancel_requested {
            return Err(Stop::Cancelled);
        }
        Ok(())
    }

    /// Says how it ended: finished, failed, cancelled, or waiting to go on from its checkpoint.
    async fn end(&mut self, outcome: Result<(), Stop>) -> Result<(), store::Error> {
        let store = &self.context.store;
        let stop = match outcome {
            Ok(()) => {
                let fields = store.field_list(self.sync.integration_id).await?;
                let back = fields
                    .into_iter()
                    .filter(|field| field.missing_us.is_some())
                    .map(|field| FieldRef {
                        object: field.object,
                        key: field.key,
                    })
                    .filter(|field| !self.missing.contains(field))
                    .collect();
                store.field_clear_missing(self.sync.integration_id, back).await?;
                return self.finish(SyncState::Succeeded, "", "").await;
            }
            Err(stop) => stop,
        };
        let message = stop.to_string();
        match stop {
            Stop::Cancelled => self.finish(SyncState::Cancelled, "", &message).await,
            Stop::Drain => self.wait(Duration::ZERO, "SHUTTING_DOWN", &message).await,
            Stop::Store(store::Error::LeaseLost { sync, why }) => Err(store::Error::LeaseLost { sync, why }),
            Stop::Store(error) if error.is_retryable() => {
                self.back_off(None, "STORAGE_UNAVAILABLE", &message).await
            }
            Stop::Store(_) | Stop::Rows(_) | Stop::NoCheckpoint => {
                tracing::error!(sync = %self.sync.id, "sync {} failed: {message}", self.sync.id);
                let reason = if matches!(stop, Stop::Store(_)) {
                    "INTERNAL"
                } else {
                    "CONNECTOR_FAULT"
                };
                self.finish(SyncState::Failed, reason, &message).await
            }
            Stop::Grant(grants::Error::Revoked { cause, message, .. }) => {
                self.finish(SyncState::Failed, &cause, &message).await
            }
            Stop::Grant(grants::Error::Store(error)) if error.is_retryable() => {
                self.back_off(None, "STORAGE_UNAVAILABLE", &message).await
            }
            Stop::Grant(grants::Error::Connector(error)) | Stop::Connector(error) => self.failed(error).await,
            Stop::Grant(grants::Error::Busy) => self.back_off(None, "CRM_UNAVAILABLE", &message).await,
            Stop::Grant(_) => self.finish(SyncState::Failed, "INTERNAL", &message).await,
        }
    }

    /// What the connector said, by what can be done about it.
    async fn failed(&mut self, error: connectors::Error) -> Result<(), store::Error> {
        let (kind, message) = (error.kind(), grants::message(&error));
        if grants::is_unavailable(&error) {
            let after = grants::retry_after(&error);
            return self.back_off(after, "CONNECTOR_UNAVAILABLE", &message).await;
        }
        match kind {
            ErrorKind::Transient
            | ErrorKind::CursorGone
            | ErrorKind::DeadlineExceeded
            | ErrorKind::RateLimited
            | ErrorKind::AllowanceExhausted
            | ErrorKind::Cancelled
            | ErrorKind::CredentialsExpired => {
                self.back_off(grants::retry_after(&error), reason(kind), &message)
                    .await
            }
            ErrorKind::CredentialsRevoked | ErrorKind::Suspended => {
                let integration = self
                    .context
                    .store
                    .integration_get(self.sync.integration_id)
                    .await?;
                if let Some(grant) = integration.grant_id {
                    let grant = self.context.store.grant_get(grant).await?;
                    let (id, generation) = (grant.id, grant.generation);
                    self.context
                        .store
                        .grant_revoked(id, generation, reason(kind), &message, now_us())
                        .await?;
                }
                self.finish(SyncState::Failed, reason(kind), &message).await
            }
            _ => self.finish(SyncState::Failed, reason(kind), &message).await,
        }
    }

    /// Waits and goes on from the checkpoint, unless it has not got on for too long.
    async fn back_off(
        &mut self,
        after: Option<Duration>,
        reason: &str,
        message: &str,
    ) -> Result<(), store::Error> {
        let patient = reason == "CRM_ALLOWANCE_EXHAUSTED";
        if self.sync.attempt >= MOST_ATTEMPTS && !patient {
            return self.finish(SyncState::Failed, reason, message).await;
        }
        let pause = after.unwrap_or_else(|| {
            let seconds = 2_u64.saturating_pow(u32::try_from(self.sync.attempt).unwrap_or(1).min(9));
            let jitter = rand::Rng::random_range(&mut rand::rng(), 0..=500);
            Duration::from_millis(seconds.min(600) * 500 + jitter)
        });
        self.wait(pause, reason, message).await
    }

    async fn wait(&mut self, pause: Duration, reason: &str, message: &str) -> Result<(), store::Error> {
        let due = now_us() + pause.as_micros() as i64;
        tracing::info!(sync = %self.sync.id, ?pause, "sync {} waits: {reason}: {message}", self.sync.id);
        self.context
            .store
            .sync_wait(self.sync.id, self.sync.fence, due, reason, message)
            .await?;
        Ok(())
    }

    async fn finish(&mut self, state: SyncState, reason: &str, message: &str) -> Result<(), store::Error> {
        let end = SyncEnd {
            sync_id: self.sync.id,
            fence: self.sync.fence,
            state,
            error_reason: reason.to_owned(),
            error_message: message.to_owned(),
            note: String::new(),
            company_records: None,
            now_us: now_us(),
        };
        self.context.store.sync_finish(end).await?;
        metrics::counter!("tether_sync_finished_total", "connector" => self.connector.clone(), "state" => state.as_str())
            .increment(1);
        tracing::info!(sync = %self.sync.id, "sync {} ended {state} {reason} {message}", self.sync.id);
        Ok(())
    }
}

/// The word of `tether.v1.ErrorReason` for what a connector said.
fn reason(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::CredentialsExpired | ErrorKind::CredentialsRevoked => "CREDENTIALS_REVOKED",
        ErrorKind::Suspended => "ACCOUNT_SUSPENDED",
        ErrorKind::AdminAction => "CRM_ADMIN_ACTION_NEEDED",
        ErrorKind::Forbidden | ErrorKind::ObjectGone => "CRM_FORBIDDEN",
        ErrorKind::RateLimited => "CRM_RATE_LIMITED",
        ErrorKind::AllowanceExhausted => "CRM_ALLOWANCE_EXHAUSTED",
        ErrorKind::Configuration => "CONNECTOR_MISCONFIGURED",
        ErrorKind::Transient | ErrorKind::CursorGone | ErrorKind::DeadlineExceeded | ErrorKind::Cancelled => {
            "CRM_UNAVAILABLE"
        }
        _ => "CONNECTOR_FAULT",
    }
}
