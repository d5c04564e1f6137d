//! Reads the stream of a run, and commits what it has received at each checkpoint.

use super::super::verdict::{FEW_TRIES, Verdict, reason};
use super::state::{MOST_BYTES_PENDING, MOST_ROWS_PENDING, Run, Stop};
use crate::connectors::{self, Connector, RecordStream};
use crate::credentials;
use crate::definition;
use crate::domain::{CredentialId, ObjectState};
use crate::ingest::{self, Source};
use crate::store::{self, FieldRef, ObjectProgress, RecordBatch, SyncCommit};
use crate::time::now_us;
use prost::bytes::Bytes;
use std::time::{Duration, Instant};
use tether_connector_proto::{
    self as proto, Connection, ErrorKind, FieldChangeKind, ListFieldsRequest, ObjectRole, ReadMode,
    ReadRequest, stream_event::Event,
};

/// Maximum time for listing the fields at the end of a sync.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum time without an event on a stream.
const EVENT_TIMEOUT: Duration = Duration::from_secs(900);

impl Run<'_> {
    pub(super) async fn read(&mut self) -> Result<(), Stop> {
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
                Event::Batch(batch) => self.batch(ingest::batch(&source, batch)?)?,
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
                    self.renew(&mut access, credential_id).await?;
                    let Connection {
                        credentials,
                        base_url,
                        ..
                    } = access.connection.clone();
                    stream
                        .provide_credentials(Ok((credentials.unwrap_or_default(), base_url)))
                        .await?;
                }
                Event::End(_) => {
                    self.renew_definitions(&fields, credential_id).await?;
                    self.commit(None).await?;
                    return self.settle().await;
                }
                Event::Error(error) => {
                    return Err(connectors::Error::from_connector(&self.connector, error).into());
                }
            }
        }
    }

    /// Keeps a batch for the next commit.
    fn batch(&mut self, batch: RecordBatch) -> Result<(), Stop> {
        self.note(&batch.object, Some(ObjectState::Reading), None, None);
        self.pending.rows += batch.rows.len();
        self.pending.bytes += batch.rows.iter().map(|row| row.payload.len()).sum::<usize>();
        self.pending.batches.push(batch);
        match self.pending.rows > MOST_ROWS_PENDING || self.pending.bytes > MOST_BYTES_PENDING {
            true => Err(Stop::NoCheckpoint),
            false => Ok(()),
        }
    }

    /// Refreshes the access.
    async fn renew(
        &mut self,
        access: &mut credentials::Access,
        credential_id: CredentialId,
    ) -> Result<(), Stop> {
        let credentials = &self.context.credentials;
        *access = credentials.refresh(credential_id, access.generation).await?;
        self.used = Some((credential_id, access.generation));
        Ok(())
    }

    /// Stores how the CRM describes the fields now: labels may change without any change of a record. A sync does not
    /// fail because of it; the next one tries again.
    async fn renew_definitions(
        &mut self,
        fields: &[store::Field],
        credential_id: CredentialId,
    ) -> Result<(), Stop> {
        let listed = self
            .context
            .credentials
            .call(
                credential_id,
                &self.connector,
                |connector, connection| async move {
                    let request = ListFieldsRequest {
                        connection: Some(connection),
                        objects: Vec::new(),
                    };
                    connector
                        .list_fields(request, credentials::deadline(LIST_TIMEOUT))
                        .await
                },
            )
            .await;
        let answer = match listed {
            Ok(answer) => answer,
            Err(credentials::Error::Store(error)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(sync = %self.sync.id, "cannot list the fields of {}: {error}", self.connector);
                return Ok(());
            }
        };
        let usage = answer.api_usage.unwrap_or_default();
        self.pending.usage.0 += usage.bytes as i64;
        self.pending.usage.1 += usage.calls as i64;
        let renewed = definition::renewed(fields, &answer.objects);
        Ok(self
            .context
            .store
            .field_renew(self.sync.integration_id, renewed)
            .await?)
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
            ..ReadRequest::default()
        };
        match connector.read(request(access), None).await {
            Err(error) if error.kind() == ErrorKind::CredentialsExpired => {
                self.renew(access, credential_id).await?;
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
        let cause = (reason(error.kind()).to_owned(), error.message);
        self.note(&status.object, Some(state), None, Some(cause));
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
