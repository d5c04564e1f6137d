//! Reads the streams of a run: the one of its plan, then the records that have to be read by id.

use super::state::{Run, Stop};
use super::storing::{FILL_EVERY, Storing};
use crate::connectors::{self, Connector, RecordStream};
use crate::credentials;
use crate::domain::CredentialId;
use crate::ingest::{self, Source};
use crate::store;
use std::time::Duration;
use tether_connector_proto::{
    Connection, ErrorKind, ObjectRole, ReadMode, ReadRequest, RecordIds, stream_event::Event,
};
use tokio::time::sleep_until;

/// Maximum time without an event on a stream.
const EVENT_TIMEOUT: Duration = Duration::from_secs(900);
/// Records that are read by id with one stream.
const BY_ID_AT_ONCE: i64 = 1_000;

/// What all streams of a run need.
struct Reading {
    connector: Connector,
    access: credentials::Access,
    credential_id: CredentialId,
    source: Source,
}

impl Run<'_> {
    pub(super) async fn read(&mut self) -> Result<(), Stop> {
        let store = &self.context.store;
        let integration = store.integration_get(self.sync.integration_id).await?;
        self.connector.clone_from(&integration.connector);
        self.is_first_load = integration.last_success_us.is_none();
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
        for object in store.sync_objects(self.sync.id).await? {
            self.tries.insert(object.object, object.tries);
        }
        self.budget = integration.budget();
        self.account_no = integration.account_no;
        self.count(true).await?;
        let access = self.context.credentials.open(credential_id).await?;
        self.is_troubled = store.organization_get(&access.organization).await?.is_troubled();
        self.used = Some((credential_id, access.generation));
        let selection = ingest::selection(&describe.objects, &fields);
        let reads_changes = describe.features.iter().any(|feature| feature == "changes");
        let plan = self
            .plan(selection, &fields, reads_changes, &access.connection)
            .await?;
        self.order = plan.selection.iter().map(|one| one.object.clone()).collect();
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
        self.drop_values().await?;
        let mut reading = Reading {
            connector,
            access,
            credential_id,
            source,
        };
        let checkpoint = self.sync.checkpoint.clone().unwrap_or_default();
        let request = ReadRequest {
            checkpoint,
            ..plan.clone()
        };
        self.stream(&mut reading, request).await?;
        if reads_changes {
            self.by_id(&mut reading, &plan).await?;
        }
        if self.lists_fields(&plan) {
            self.renew_definitions(&fields, credential_id).await?;
        }
        self.commit(None).await?;
        self.settle(&plan).await
    }

    /// Reads the records that are known to be lacking or outdated. Those of an object that cannot be read stay noted.
    async fn by_id(&mut self, reading: &mut Reading, plan: &ReadRequest) -> Result<(), Stop> {
        self.is_by_id = true;
        loop {
            let mut wanted = self.context.store.sync_wanted(&self.sync, BY_ID_AT_ONCE).await?;
            if wanted.is_empty() {
                return Ok(());
            }
            // What is left stays noted, so a sync over its budget can stop before each round.
            self.count(true).await?;
            let records = wanted.chunk_by(|(one, _), (other, _)| one == other);
            let records = records.map(|of_object| RecordIds {
                object: of_object
                    .first()
                    .map(|(object, _)| object.clone())
                    .unwrap_or_default(),
                external_ids: of_object.iter().map(|(_, id)| id.clone()).collect(),
            });
            let request = ReadRequest {
                mode: ReadMode::Records.into(),
                selection: plan.selection.clone(),
                records: records.filter(|one| self.order.contains(&one.object)).collect(),
                ..ReadRequest::default()
            };
            self.read_by_id.clear();
            if !request.records.is_empty() {
                self.stream(reading, request).await?;
                self.commit(None).await?;
            }
            let asked = wanted.len();
            wanted.retain(|(object, _)| self.read_by_id.contains(object) || !self.order.contains(object));
            let is_stuck = wanted.len() < asked;
            self.context.store.sync_wanted_done(&self.sync, wanted).await?;
            if is_stuck {
                return Ok(());
            }
        }
    }

    /// Reads one stream to its end. What came after its last checkpoint is pending.
    async fn stream(&mut self, reading: &mut Reading, request: ReadRequest) -> Result<(), Stop> {
        self.pending.usage = (0, 0);
        self.pending.committed = (0, 0);
        let mut stream = self.open_stream(reading, request).await?;
        let mut storing = Storing::default();
        let end = self.events(reading, &mut stream, &mut storing).await;
        // What came before the end, whatever it is, is stored before anything follows from it.
        self.stored(&mut storing).await?;
        end
    }

    async fn events(
        &mut self,
        reading: &mut Reading,
        stream: &mut RecordStream,
        storing: &mut Storing,
    ) -> Result<(), Stop> {
        loop {
            let event = self.next(stream, storing).await?;
            if !matches!(event, Event::Batch(_)) {
                // Only rows are received while the rows before them are stored.
                self.stored(storing).await?;
            }
            match event {
                Event::Batch(batch) => self.receive(&reading.source, batch, storing).await?,
                Event::Checkpoint(checkpoint) => {
                    self.answered().await?;
                    let kept = (!self.is_by_id).then_some(checkpoint.state);
                    storing.begin(self.begin_commit(kept, checkpoint.sequence));
                }
                Event::Progress(one) => {
                    self.reading(&one.object, i64::try_from(one.expected).ok());
                }
                Event::ObjectStatus(status) => self.object_status(status)?,
                Event::FieldChange(change) => self.field_change(change),
                Event::ApiUsage(usage) => {
                    self.said = credentials::said(&usage).or(self.said);
                    self.pending.usage = (usage.bytes as i64, usage.calls as i64);
                }
                Event::CredentialsNeeded(_) => {
                    self.renew(reading).await?;
                    let Connection {
                        credentials,
                        base_url,
                        ..
                    } = reading.access.connection.clone();
                    stream
                        .provide_credentials(Ok((credentials.unwrap_or_default(), base_url)))
                        .await?;
                }
                Event::End(_) => {
                    self.answered().await?;
                    return Ok(());
                }
                Event::Error(error) => {
                    return Err(connectors::Error::from_connector(&self.connector, error).into());
                }
            }
        }
    }

    /// The next event. A commit in progress goes on meanwhile, and pulls after its end acknowledge its checkpoint. Company records
    /// that were left for later are added, if it is time.
    async fn next(&mut self, stream: &mut RecordStream, storing: &mut Storing) -> Result<Event, Stop> {
        let next = tokio::time::timeout(EVENT_TIMEOUT, stream.next(storing.acknowledged));
        tokio::pin!(next);
        loop {
            let is_idle = storing.is_idle();
            tokio::select! {
                event = &mut next => {
                    return Ok(event.map_err(|_| connectors::Error::TimedOut(self.connector.clone()))??);
                }
                (commit, stored) = storing.end(), if !is_idle => self.after_commit(commit, stored).await?,
                () = sleep_until((self.filled + FILL_EVERY).into()), if self.lacks_companies && is_idle => {
                    self.fill().await;
                }
            }
        }
    }

    /// Refreshes the access.
    async fn renew(&mut self, reading: &mut Reading) -> Result<(), Stop> {
        let credentials = &self.context.credentials;
        let (id, generation) = (reading.credential_id, reading.access.generation);
        reading.access = credentials.refresh(id, generation).await?;
        self.used = Some((id, reading.access.generation));
        Ok(())
    }

    async fn open_stream(
        &mut self,
        reading: &mut Reading,
        request: ReadRequest,
    ) -> Result<RecordStream, Stop> {
        let with = |access: &credentials::Access| ReadRequest {
            connection: Some(access.connection.clone()),
            ..request.clone()
        };
        match reading.connector.read(with(&reading.access), None).await {
            Err(error) if error.kind() == ErrorKind::CredentialsExpired => {
                self.renew(reading).await?;
                Ok(reading.connector.read(with(&reading.access), None).await?)
            }
            other => Ok(other?),
        }
    }
}
