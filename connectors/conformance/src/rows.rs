//! The content of a stream, as a host stores it.

use std::collections::BTreeMap;

use bytes::Bytes;
use tether_connector_host::proto::{FieldChange, ObjectStatus, Record, RecordBatch, stream_event::Event};

/// Object and external id.
pub(crate) type Key = (String, String);

/// Everything that a stream has returned so far.
#[derive(Clone, Default)]
pub(crate) struct Rows {
    /// The last row of each record.
    pub(crate) records: BTreeMap<Key, Record>,
    /// Batches, in order.
    pub(crate) batches: Vec<RecordBatch>,
    /// Checkpoints: their reported number, their state, and the number of batches before.
    pub(crate) checkpoints: Vec<(u64, Bytes, usize)>,
    pub(crate) changes: Vec<FieldChange>,
    pub(crate) statuses: Vec<ObjectStatus>,
    /// The number of events.
    pub(crate) events: usize,
}

impl Rows {
    /// Adds an event.
    pub(crate) fn take(&mut self, event: Event) {
        self.events += 1;
        match event {
            Event::Batch(batch) => {
                self.keep(&batch);
                self.batches.push(batch);
            }
            Event::Checkpoint(checkpoint) => {
                self.checkpoints
                    .push((checkpoint.sequence, checkpoint.state, self.batches.len()));
            }
            Event::FieldChange(change) => self.changes.push(change),
            Event::ObjectStatus(status) => self.statuses.push(status),
            _ => {}
        }
    }

    fn keep(&mut self, batch: &RecordBatch) {
        for record in &batch.records {
            let key = (batch.object.clone(), record.external_id.clone());
            self.records.insert(key, record.clone());
        }
    }

    /// The rows that a host has stored if checkpoint `at` (0 is the first) was its last.
    pub(crate) fn stored(&self, at: usize) -> Self {
        let mut stored = Self::default();
        let batches = self.checkpoints.get(at).map_or(0, |(_, _, batches)| *batches);
        for batch in &self.batches[..batches] {
            stored.keep(batch);
        }
        stored
    }

    /// The state of the last checkpoint, or empty.
    pub(crate) fn last_checkpoint(&self) -> Bytes {
        self.checkpoints
            .last()
            .map(|(_, state, _)| state.clone())
            .unwrap_or_default()
    }

    /// Adds what another stream returned after this one.
    pub(crate) fn extend(&mut self, after: &Self) {
        for (key, record) in &after.records {
            self.records.insert(key.clone(), record.clone());
        }
    }

    /// The difference to the expected rows: a few examples, or None.
    pub(crate) fn difference(&self, expected: &Self) -> Option<String> {
        let name = |(object, id): &Key| format!("{object} {id}");
        let missing = expected
            .records
            .keys()
            .filter(|key| !self.records.contains_key(*key));
        let more = self
            .records
            .keys()
            .filter(|key| !expected.records.contains_key(*key));
        let other = expected
            .records
            .iter()
            .filter(|(key, record)| self.records.get(*key).is_some_and(|ours| !same(ours, record)));
        let mut parts = Vec::new();
        let mut add = |what: &str, keys: Vec<String>| {
            if !keys.is_empty() {
                let few = keys.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
                parts.push(format!(
                    "{} {what} ({few}{})",
                    keys.len(),
                    if keys.len() > 3 { ", …" } else { "" }
                ));
            }
        };
        add("missing", missing.map(name).collect());
        add("too many", more.map(name).collect());
        add("different", other.map(|(key, _)| name(key)).collect());
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// Whether two rows of a record have the same content; the time of the read may differ.
pub(crate) fn same(one: &Record, other: &Record) -> bool {
    let plain = |record: &Record| Record {
        read_us: 0,
        ..record.clone()
    };
    match (one.deleted, other.deleted) {
        // The payload of a deleted record is ignored.
        (true, true) => one.merged_into == other.merged_into,
        _ => plain(one) == plain(other),
    }
}
