//! The host's part of a read: it stores rows at checkpoints, removes what a complete listing lacks, and refreshes
//! credentials on request.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::Value as Json;
use tether_connector_sdk::Connector;
use tether_connector_sdk::proto::stream_event::Event;
use tether_connector_sdk::proto::{
    ApiUsage, Connection, End, Error, ErrorKind, FieldChange, ObjectSelection, ObjectStatus, Progress,
    ProvideCredentialsRequest, ReadMode, ReadRequest, Record, RecordBatch,
};
use tether_connector_sdk::testing::Native;

use crate::calls::refresh;

/// The rows that a host has stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Store {
    /// The records, by object and id. A tombstone stays, so that tests can compare it.
    pub rows: BTreeMap<(String, String), Record>,
    /// Ids of rows that were removed because a complete listing lacked them.
    pub unlisted: BTreeSet<String>,
    /// Records that were listed in part, and are not stored or changed since: a host reads them by id.
    pub wanted: BTreeSet<(String, String)>,
}

impl Store {
    /// A record.
    #[must_use]
    pub fn get(&self, object: &str, id: &str) -> Option<&Record> {
        self.rows.get(&(object.to_owned(), id.to_owned()))
    }

    /// The payload of a record.
    #[must_use]
    pub fn payload(&self, object: &str, id: &str) -> Json {
        serde_json::from_slice(&self.get(object, id).expect("the record").payload).unwrap()
    }

    /// The records of an object, tombstones included.
    pub fn of(&self, object: &str) -> impl Iterator<Item = &Record> {
        let rows = self.rows.iter().filter(move |((o, _), _)| o == object);
        rows.map(|(_, record)| record)
    }

    /// The live records of an object.
    pub fn live(&self, object: &str) -> impl Iterator<Item = &Record> {
        self.of(object).filter(|record| !record.deleted)
    }

    /// The live records of an object under a company.
    #[must_use]
    pub fn children(&self, object: &str, company: &str) -> Vec<&Record> {
        let under = |record: &&Record| record.parents.iter().any(|parent| parent.external_id == company);
        self.live(object).filter(under).collect()
    }

    /// The id of the first live company that has at least this many records of each related object.
    #[must_use]
    pub fn company_with(&self, company: &str, related: &[&str], at_least: usize) -> &str {
        let enough = |id: &str| {
            related
                .iter()
                .all(|object| self.children(object, id).len() >= at_least)
        };
        let found = self.live(company).find(|record| enough(&record.external_id));
        &found.expect("a company with enough related records").external_id
    }

    fn apply(&mut self, batch: RecordBatch) {
        let listed: HashSet<&str> = batch.records.iter().map(|r| r.external_id.as_str()).collect();
        let number = |id: &str| id.parse::<u64>().unwrap();
        let lacks = |id: &str| {
            let in_bytes = batch.covers.as_ref().is_some_and(|range| {
                id > range.after.as_str() && (range.through.is_empty() || id <= range.through.as_str())
            });
            let in_numbers = batch.covers_numbers.as_ref().is_some_and(|range| {
                (range.after.is_empty() || number(id) > number(&range.after))
                    && (range.through.is_empty() || number(id) <= number(&range.through))
            });
            (in_bytes || in_numbers) && !listed.contains(id)
        };
        let unlisted = &mut self.unlisted;
        self.rows.retain(|(object, id), record| {
            let stays = *object != batch.object || record.deleted || !lacks(id);
            if !stays {
                unlisted.insert(id.clone());
            }
            stays
        });
        for mut record in batch.records {
            let key = (batch.object.clone(), record.external_id.clone());
            if let Some(partial) = &batch.partial {
                let Some(stored) = self.rows.get(&key) else {
                    if !record.deleted {
                        self.wanted.insert(key);
                    }
                    continue;
                };
                if record.deleted && stored.deleted {
                    continue;
                }
                if !record.deleted {
                    record = put_into(stored, &record, &partial.fields);
                }
            }
            if batch.partial.is_none() {
                self.wanted.remove(&key);
            }
            self.rows.insert(key, record);
        }
    }
}

/// A stored record with some fields of another reading.
fn put_into(stored: &Record, given: &Record, fields: &[String]) -> Record {
    let members = |record: &Record| -> serde_json::Map<String, Json> {
        serde_json::from_slice(&record.payload).expect("an object of JSON")
    };
    let (mut all, mut given) = (members(stored), members(given));
    for field in fields {
        match given.remove(field) {
            Some(value) => _ = all.insert(field.clone(), value),
            None => _ = all.remove(field),
        }
    }
    assert!(given.is_empty(), "other fields than {fields:?}: {given:?}");
    Record {
        payload: Json::Object(all).to_string().into_bytes().into(),
        ..stored.clone()
    }
}

/// The events of a stream.
#[derive(Default)]
pub struct Outcome {
    /// The result; None if the stream has not ended.
    pub end: Option<Result<(), Error>>,
    /// The checkpoints.
    pub checkpoints: Vec<Vec<u8>>,
    /// The store at each checkpoint.
    pub stores: Vec<Store>,
    /// Changed fields.
    pub changes: Vec<FieldChange>,
    /// The status of each object: read completely, or failed.
    pub statuses: Vec<ObjectStatus>,
    /// The progress.
    pub progress: Vec<Progress>,
    /// The last usage of the CRM's API.
    pub usage: ApiUsage,
    /// The number of requests for credentials.
    pub credentials_asked: u32,
    /// The number of rows at checkpoints.
    pub rows: u64,
    /// `read_time_us` of each batch.
    pub read_times: Vec<i64>,
    /// The number of batches.
    pub batches: u64,
    /// The number of batches that list a range completely.
    pub covering: u64,
}

/// The objects that could not be read, with the kind of each error.
#[must_use]
pub fn failures(outcome: &Outcome) -> Vec<(&str, ErrorKind)> {
    let failed = outcome.statuses.iter().filter(|status| !status.complete);
    failed
        .map(|status| (status.object.as_str(), status.error.as_ref().unwrap().what()))
        .collect()
}

/// A stream that a host pulls.
pub struct Reading<'a, C: Connector> {
    connector: &'a Native<C>,
    stream: u64,
    acknowledged: u64,
    waiting: Vec<RecordBatch>,
    /// Reads by id need no checkpoints.
    is_by_id: bool,
    connection: Connection,
    /// The stored rows.
    pub store: Store,
    /// The events so far.
    pub outcome: Outcome,
}

impl<'a, C: Connector> Reading<'a, C> {
    /// Opens the stream of a full read; with an empty checkpoint it starts from the beginning.
    pub async fn start(
        connector: &'a Native<C>,
        connection: &Connection,
        selection: &[ObjectSelection],
        checkpoint: &[u8],
        store: Store,
    ) -> Self {
        let request = ReadRequest {
            connection: Some(connection.clone()),
            selection: selection.to_vec(),
            mode: ReadMode::Full.into(),
            checkpoint: checkpoint.to_vec(),
            ..ReadRequest::default()
        };
        Self::of(connector, request, store).await
    }

    /// Opens the stream of any read.
    pub async fn of(connector: &'a Native<C>, request: ReadRequest, store: Store) -> Self {
        let connection = request.connection.clone().unwrap_or_default();
        Self {
            connector,
            is_by_id: request.mode() == ReadMode::Records,
            stream: connector.read(request).await.unwrap(),
            acknowledged: 0,
            waiting: Vec::new(),
            connection,
            store,
            outcome: Outcome::default(),
        }
    }

    /// Runs to the next checkpoint; returns false if the stream ended before.
    pub async fn checkpoint(&mut self) -> bool {
        loop {
            let event = self.connector.next(self.stream, self.acknowledged).await.unwrap();
            let outcome = &mut self.outcome;
            match event.event.unwrap() {
                Event::Batch(batch) => {
                    outcome.read_times.push(batch.read_time_us);
                    outcome.batches += 1;
                    outcome.covering += u64::from(batch.covers.is_some() || batch.covers_numbers.is_some());
                    self.waiting.push(batch);
                }
                Event::Checkpoint(checkpoint) => {
                    self.apply();
                    let outcome = &mut self.outcome;
                    self.acknowledged = checkpoint.sequence;
                    outcome.checkpoints.push(checkpoint.state.to_vec());
                    outcome.stores.push(self.store.clone());
                    return true;
                }
                Event::FieldChange(change) => outcome.changes.push(change),
                Event::ObjectStatus(status) => outcome.statuses.push(status),
                Event::Progress(progress) => outcome.progress.push(progress),
                Event::ApiUsage(usage) => outcome.usage = usage,
                Event::CredentialsNeeded(_) => {
                    outcome.credentials_asked += 1;
                    self.renew().await;
                }
                Event::End(End {}) => outcome.end = Some(Ok(())),
                Event::Error(error) => outcome.end = Some(Err(error)),
            }
            if let Some(end) = &self.outcome.end {
                let whole = end.is_ok();
                assert!(
                    self.waiting.is_empty() || !whole || self.is_by_id,
                    "rows without a checkpoint"
                );
                if self.is_by_id && whole {
                    self.apply();
                }
                return false;
            }
        }
    }

    fn apply(&mut self) {
        for batch in self.waiting.drain(..) {
            self.outcome.rows += batch.records.len() as u64;
            self.store.apply(batch);
        }
    }

    /// Runs to the end; the returned connection has the last credentials and address.
    pub async fn finish(mut self) -> (Store, Outcome, Connection) {
        while self.checkpoint().await {}
        (self.store, self.outcome, self.connection)
    }

    /// Stops without waiting for the end, like a killed host.
    pub fn kill(self) -> Store {
        self.connector.close_stream(self.stream);
        self.store
    }

    async fn renew(&mut self) {
        let mut answer = ProvideCredentialsRequest {
            stream: self.stream,
            ..ProvideCredentialsRequest::default()
        };
        match refresh(self.connector, &self.connection).await {
            Ok(renewed) => {
                self.connection.credentials.clone_from(&renewed.credentials);
                if !renewed.base_url.is_empty() {
                    self.connection.base_url = renewed.base_url;
                }
                answer.credentials = renewed.credentials;
                answer.base_url.clone_from(&self.connection.base_url);
            }
            Err(error) => answer.error = Some(error),
        }
        self.connector.provide_credentials(answer).await.unwrap();
    }
}

/// Reads everything from the beginning into an existing store; the read must succeed.
pub async fn read_into<C: Connector>(
    connector: &Native<C>,
    connection: &Connection,
    selection: &[ObjectSelection],
    store: Store,
) -> (Store, Outcome) {
    let reading = Reading::start(connector, connection, selection, &[], store).await;
    let (store, outcome, _) = reading.finish().await;
    assert!(matches!(outcome.end, Some(Ok(()))), "{:?}", outcome.end);
    (store, outcome)
}

/// As [`read_into`], with an empty store.
pub async fn read_all<C: Connector>(
    connector: &Native<C>,
    connection: &Connection,
    selection: &[ObjectSelection],
) -> (Store, Outcome) {
    read_into(connector, connection, selection, Store::default()).await
}
