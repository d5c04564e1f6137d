//! Runs one sync. It reads batches and converts them to stored rows. At each checkpoint it commits one transaction
//! with rows, removals, checkpoint and counters, and acknowledges the checkpoint with the next pull. At the end it
//! settles removals and finishes.
//!
//! A sync reports only what it really did: an object counts as completely read only if the connector said so. See
//! `verdict` for which errors are retried.
//!
//! If reading of an object is interrupted by a temporary error, the stream ends, the sync waits, and a new
//! stream is opened from the last checkpoint, three times; then the object is skipped. The connector's own
//! checkpoint is the only way back to the position of the interruption, and the next stored checkpoint would
//! be behind it.

mod outcome;

use super::Context;
use super::verdict::{FEW_TRIES, Verdict, reason};
use crate::connectors::{self, Connector, RecordStream};
use crate::credentials;
use crate::domain::{CredentialId, FieldType, ObjectState, SyncId};
use crate::ingest::{self, Source};
use crate::store::{self, FieldRef, ObjectProgress, RecordBatch, Sync, SyncCommit};
use crate::time::now_us;
use prost::bytes::Bytes;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tether_connector_proto::{
    self as proto, Connection, ErrorKind, FieldChangeKind, ObjectRole, ReadMode, ReadRequest,
    stream_event::Event,
};

/// Rows without a checkpoint are kept in memory. A connector that sends more than this between two checkpoints
/// violates its contract.
const MOST_ROWS_PENDING: usize = 50_000;
/// The same limit for the size of payloads, in bytes.
const MOST_BYTES_PENDING: usize = 256 << 20;
/// Maximum time without an event on a stream.
const EVENT_TIMEOUT: Duration = Duration::from_secs(900);

/// Why a run ended before its stream.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Credential(#[from] credentials::Error),
    #[error(transparent)]
    Connector(#[from] connectors::Error),
    #[error(transparent)]
    Rows(#[from] ingest::Error),
    #[error("the connector gave over {MOST_ROWS_PENDING} rows, or over 256 MiB, without a checkpoint")]
    NoCheckpoint,
    /// Reading of an object was interrupted and will be retried from the checkpoint.
    #[error("cannot read {object}: {}", .error.message)]
    Object {
        object: String,
        error: Box<proto::Error>,
    },
    #[error("cancelled on request")]
    Cancelled,
    #[error("this process is shutting down")]
    Drain,
}

/// Runs a leased sync until it ends, has to wait, or loses its lease.
pub(super) async fn run(context: &Context, sync: Sync) {
    let (id, fence) = (sync.id, sync.fence);
    tracing::info!(sync = %id, integration = %sync.integration_id, attempt = sync.attempt, "sync {id} started");
    let mut run = Run {
        context,
        pending: Pending::default(),
        connector: String::new(),
        company_object: String::new(),
        order: Vec::new(),
        tries: HashMap::new(),
        used: None,
        sync,
    };
    let outcome = held(context, id, fence, run.read()).await;
    if let Err(error) = run.end(outcome).await {
        match error {
            store::Error::LeaseLost { .. } => {
                tracing::info!(sync = %id, "sync {id} continues in another process: {error}")
            }
            error => {
                tracing::error!(sync = %id, "cannot store the outcome of sync {id}; its lease will expire: {error}")
            }
        }
    }
}

/// Does the work while a heartbeat keeps the lease.
async fn held<T>(
    context: &Context,
    id: SyncId,
    fence: i64,
    work: impl Future<Output = Result<T, Stop>>,
) -> Result<T, Stop> {
    // The other futures are dropped at an await point. A commit in progress is one transaction: it happens completely
    // or not at all.
    tokio::select! {
        outcome = work => outcome,
        stop = heartbeat(context, id, fence) => Err(stop),
        () = context.stop.cancelled() => Err(Stop::Drain),
    }
}

/// Keeps the lease, and notices a cancel request.
async fn heartbeat(context: &Context, id: SyncId, fence: i64) -> Stop {
    let lease = context.options.lease;
    let mut renewed = Instant::now();
    loop {
        tokio::time::sleep(lease / 4).await;
        let until = now_us() + lease.as_micros() as i64;
        match context.store.sync_heartbeat(id, fence, until).await {
            Ok(beat) if beat.cancel_requested => return Stop::Cancelled,
            Ok(_) => renewed = Instant::now(),
            // A database that is busy for a moment is tolerated; one that is unavailable for the time of a lease
            // costs the lease.
            Err(error) if error.is_retryable() && renewed.elapsed() < lease => {}
            Err(error) => return error.into(),
        }
    }
}

/// Data received since the last checkpoint.
#[derive(Default)]
struct Pending {
    batches: Vec<RecordBatch>,
    rows: usize,
    /// Size of the payloads.
    bytes: usize,
    objects: Vec<ObjectProgress>,
    missing_fields: Vec<FieldRef>,
    field_types: Vec<(FieldRef, FieldType)>,
    /// Bytes and API calls of the stream so far; `committed` is their state at the last commit.
    usage: (i64, i64),
    committed: (i64, i64),
}

struct Run<'a> {
    context: &'a Context,
    sync: Sync,
    connector: String,
    /// The object whose records are companies.
    company_object: String,
    /// The objects, in the order of the connector.
    order: Vec<String>,
    /// How often reading of each object was interrupted.
    tries: HashMap<String, i64>,
    /// The account that the sync uses, with the generation of its credentials.
    used: Option<(CredentialId, i64)>,
    pending: Pending,
}

impl Run<'_> {
    async fn read(&mut self) -> Result<(), Stop> {
        let store = &self.context.store;
        let integration = store.integration_get(self.sync.integration_id).await?;
        self.connector.clone_from(&integration.connector);
        let credential_id = integration.credential_id.ok_or_else(|| store::Error::NotFound {
            what: store::Noun::Credential,
            id: format!("of {}", integration.id.name()),
        })?;
        let connector = self.context.registry.get(&integration.connector)?;
        let describe = connector.describe();
        let fields = store.field_list(integration.id).await?;
        let company = describe
            .objects
            .iter()
            .find(|object| object.role() == ObjectRole::Company);
        self.company_object = company.map(|object| object.key.clone()).unwrap_or_default();
        let selection = ingest::selection(&describe.objects, &fields);
        self.order = selection.iter().map(|one| one.object.clone()).collect();
        for object in store.sync_objects(self.sync.id).await? {
            self.tries.insert(object.object, object.tries);
        }
        let mut access = self.context.credentials.open(credential_id).await?;
        self.used = Some((credential_id, access.generation));
        let identity = access.connection.identity.clone().unwrap_or_default();
        let source = Source {
            integration_id: integration.id,
            connector: integration.connector.clone(),
            organization_id: identity.organization_id,
            company_object: self.company_object.clone(),
        };
        if self.sync.checkpoint.is_none() {
            for object in self.order.clone() {
                self.note(&object, None, None, None);
            }
            self.commit(None).await?;
        }
        let mut stream = self
            .open_stream(&connector, &mut access, credential_id, selection)
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
                    self.pending.bytes += batch.rows.iter().map(|row| row.payload.len()).sum::<usize>();
                    self.pending.batches.push(batch);
                    if self.pending.rows > MOST_ROWS_PENDING || self.pending.bytes > MOST_BYTES_PENDING {
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
                Event::ObjectStatus(status) => self.object_status(status)?,
                Event::FieldChange(change) => self.field_change(change),
                Event::ApiUsage(usage) => {
                    self.pending.usage = (usage.bytes as i64, usage.calls as i64);
                }
                Event::CredentialsNeeded(_) => {
                    match self
                        .context
                        .credentials
                        .refresh(credential_id, access.generation)
                        .await
                    {
                        Ok(renewed) => {
                            access = renewed;
                            self.used = Some((credential_id, access.generation));
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
                    return self.settle().await;
                }
                Event::Error(error) => {
                    return Err(connectors::Error::from_connector(&self.connector, error).into());
                }
            }
        }
    }

    async fn open_stream(
        &mut self,
        connector: &Connector,
        access: &mut credentials::Access,
        credential_id: CredentialId,
        selection: Vec<proto::ObjectSelection>,
    ) -> Result<RecordStream, Stop> {
        let checkpoint = self.sync.checkpoint.clone().unwrap_or_default();
        let request = |access: &credentials::Access| ReadRequest {
            connection: Some(access.connection.clone()),
            selection: selection.clone(),
            mode: ReadMode::Full as i32,
            checkpoint: checkpoint.clone(),
        };
        match connector.read(request(access), None).await {
            Err(error) if error.kind() == ErrorKind::CredentialsExpired => {
                *access = self
                    .context
                    .credentials
                    .refresh(credential_id, access.generation)
                    .await?;
                self.used = Some((credential_id, access.generation));
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
            tries: None,
        });
    }

    /// Handles the status of an object. If reading stopped because of a temporary error, it is retried a few times
    /// from the last checkpoint: the run ends here, before the stream continues with the next object.
    fn object_status(&mut self, status: proto::ObjectStatus) -> Result<(), Stop> {
        let Some(error) = status.error else {
            let state = status.complete.then_some(ObjectState::Complete);
            let nothing = status.complete.then(|| (String::new(), String::new()));
            self.note(&status.object, state, None, nothing);
            return Ok(());
        };
        tracing::warn!(sync = %self.sync.id, object = status.object, "cannot read {}: {}", status.object, error.message);
        let verdict = Verdict::of(error.kind());
        let tries = self.tries.get(&status.object).copied().unwrap_or_default() + 1;
        let again = match verdict {
            Verdict::Patience => true,
            // An error of the company object is an error of the whole sync.
            _ if status.object == self.company_object => {
                return Err(Stop::Connector(connectors::Error::from_connector(
                    &self.connector,
                    error,
                )));
            }
            verdict => verdict.passes() && tries < FEW_TRIES,
        };
        if again {
            let (object, error) = (status.object, Box::new(error));
            return Err(Stop::Object { object, error });
        }
        let state = match error.kind() {
            ErrorKind::ObjectGone | ErrorKind::Forbidden => ObjectState::Skipped,
            _ => ObjectState::Failed,
        };
        let told = (reason(error.kind()).to_owned(), error.message);
        self.note(&status.object, Some(state), None, Some(told));
        Ok(())
    }

    fn field_change(&mut self, change: proto::FieldChange) {
        let field = FieldRef {
            object: change.object.clone(),
            key: change.field.clone(),
        };
        match change.kind() {
            FieldChangeKind::Missing => {
                tracing::warn!(sync = %self.sync.id, "{}.{} is missing in the CRM", field.object, field.key);
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
        let got_on = commit.checkpoint.is_some() && commit.checkpoint != self.sync.checkpoint;
        if got_on {
            self.sync.checkpoint.clone_from(&commit.checkpoint);
        }
        let committed = self.context.store.sync_commit(commit).await?;
        if got_on {
            self.sync.tries = 0;
        }
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
}
