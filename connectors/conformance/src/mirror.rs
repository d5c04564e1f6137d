//! The records that a host has stored after one or several reads. It applies them as the server does.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use tether_connector_host::proto::{Covers, ObjectStatus, PartialFields, Record, RecordBatch};

use crate::range::Order;
use crate::rows::{Key, Rows, same};

/// The stored records.
#[derive(Clone, Default)]
pub(crate) struct Mirror {
    /// Records that are not deleted.
    pub(crate) live: BTreeMap<Key, Record>,
    /// The first known name of every record that was ever live, by its id.
    names: HashMap<String, String>,
    /// Merged records, and into which.
    merged: BTreeMap<Key, String>,
    /// Records that were returned in part only, and have to be read in full.
    pub(crate) wanted: BTreeSet<Key>,
    /// What the current sync has listed so far.
    listed: HashSet<Key>,
    ranges: Vec<(String, Covers, Order)>,
}

impl Mirror {
    /// The records of one complete read of everything.
    pub(crate) fn of(rows: &Rows) -> Self {
        let mut mirror = Self::default();
        mirror.sync(rows);
        mirror
    }

    /// Applies a complete read.
    pub(crate) fn sync(&mut self, rows: &Rows) {
        self.begin();
        self.take(&rows.batches);
        self.finish(&rows.statuses);
    }

    /// Begins a sync: ranges of an earlier one do not count.
    pub(crate) fn begin(&mut self) {
        self.listed.clear();
        self.ranges.clear();
        self.wanted.clear();
    }

    /// Applies batches.
    pub(crate) fn take(&mut self, batches: &[RecordBatch]) {
        for batch in batches {
            for record in &batch.records {
                let key = (batch.object.clone(), record.external_id.clone());
                self.listed.insert(key.clone());
                self.put(key, record, batch.partial.as_ref());
            }
            if let Ok(Some((covers, order))) = Order::of(batch) {
                self.ranges.push((batch.object.clone(), covers.clone(), order));
            }
        }
    }

    fn put(&mut self, key: Key, record: &Record, partial: Option<&PartialFields>) {
        if record.deleted {
            if !record.merged_into.is_empty() {
                self.merged.insert(key.clone(), record.merged_into.clone());
            }
            self.wanted.remove(&key);
            if self.live.remove(&key).is_some() {
                // Its children are read again: a CRM may move or delete them without a new time of change.
                let is_child = |child: &Record| {
                    let mut parents = child.parents.iter();
                    parents.any(|parent| parent.object == key.0 && parent.external_id == key.1)
                };
                let children = self.live.iter().filter(|(_, child)| is_child(child));
                self.wanted.extend(children.map(|(key, _)| key.clone()));
            }
            return;
        }
        match (partial, self.live.get_mut(&key)) {
            (None, _) => {
                self.wanted.remove(&key);
                let name = || record.display_name.clone();
                self.names.entry(key.1.clone()).or_insert_with(name);
                self.live.insert(key, record.clone());
            }
            (Some(partial), Some(stored)) => {
                if record.modified_us > stored.modified_us {
                    self.wanted.insert(key);
                }
                if let Some(payload) = merged(&stored.payload, &record.payload, &partial.fields) {
                    stored.payload = payload.into();
                }
            }
            (Some(_), None) => _ = self.wanted.insert(key),
        }
    }

    /// Ends a sync: what complete listings lack is removed.
    pub(crate) fn finish(&mut self, statuses: &[ObjectStatus]) {
        let complete: HashSet<&str> = statuses
            .iter()
            .filter(|status| status.complete)
            .map(|status| status.object.as_str())
            .collect();
        let (ranges, listed) = (&self.ranges, &self.listed);
        let is_covered = |(object, id): &Key| {
            let mut of_it = ranges.iter().filter(|(of, ..)| of == object);
            of_it.any(|(_, covers, order)| order.inside(covers, id))
        };
        self.live
            .retain(|key, _| !complete.contains(key.0.as_str()) || listed.contains(key) || !is_covered(key));
    }

    /// The ids of the live records of each object, in order.
    pub(crate) fn ids(&self) -> BTreeMap<String, Vec<String>> {
        let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (object, id) in self.live.keys() {
            ids.entry(object.clone()).or_default().push(id.clone());
        }
        ids
    }

    /// The difference to the expected records: a few examples, or None. References to records that were renamed or are gone are
    /// compared as far as CRMs report that they changed ([`reported`]).
    pub(crate) fn difference(&self, expected: &Self) -> Option<String> {
        let now: HashMap<&str, &str> = expected
            .live
            .iter()
            .map(|((_, id), record)| (id.as_str(), record.display_name.as_str()))
            .collect();
        let targets: HashMap<&str, Target> = self
            .names
            .iter()
            .filter_map(|(id, name)| match now.get(id.as_str()) {
                None => Some((id.as_str(), Target::Gone)),
                Some(now) if now != name => Some((id.as_str(), Target::Renamed)),
                Some(_) => None,
            })
            .collect();
        let rows = |mirror: &Self| Rows {
            records: mirror
                .live
                .iter()
                .map(|(key, record)| (key.clone(), reported(record, &targets)))
                .collect(),
            ..Rows::default()
        };
        let (ours, theirs) = (rows(self), rows(expected));
        let mut parts: Vec<String> = ours.difference(&theirs).into_iter().collect();
        let differs = theirs.records.iter().find_map(|(key, record)| {
            let ours = ours.records.get(key).filter(|ours| !same(ours, record))?;
            Some(format!("{} {}: {}", key.0, key.1, differing(ours, record)))
        });
        parts.extend(differs);
        let unknown = expected
            .merged
            .iter()
            .find(|(key, into)| self.merged.get(*key) != Some(into));
        if let Some(((object, id), into)) = unknown {
            parts.push(format!("{object} {id} is not reported as merged into {into}"));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

type Members<'a> = BTreeMap<String, &'a RawValue>;

fn members(payload: &[u8]) -> Option<Members<'_>> {
    serde_json::from_slice(payload).ok()
}

/// A payload with some fields of another one; `fields` are those that the other one gives.
fn merged(stored: &[u8], given: &[u8], fields: &[String]) -> Option<Vec<u8>> {
    let (mut stored, given) = (members(stored)?, members(given)?);
    stored.retain(|key, _| !fields.contains(key));
    stored.extend(given.into_iter().filter(|(key, _)| fields.contains(key)));
    serde_json::to_vec(&stored).ok()
}

/// What became of the record that a reference names.
#[derive(Clone, Copy)]
enum Target {
    Renamed,
    Gone,
}

/// A record without that part of its references that CRMs change without a change of the record: the label of a renamed record,
/// and a reference to one that is gone.
fn reported(record: &Record, targets: &HashMap<&str, Target>) -> Record {
    #[derive(Deserialize)]
    struct Reference<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
    }
    let Some(members) = members(&record.payload) else {
        return record.clone();
    };
    let target = |value: &RawValue| {
        let reference: Reference<'_> = serde_json::from_str(value.get()).ok()?;
        let (id, target) = targets.get_key_value(reference.id.as_ref())?;
        Some((*id, *target))
    };
    if members.values().all(|value| target(value).is_none()) {
        return record.clone();
    }
    let members: BTreeMap<&String, Box<RawValue>> = members
        .iter()
        .filter_map(|(key, value)| match target(value) {
            None => Some((key, (*value).to_owned())),
            Some((_, Target::Gone)) => None,
            Some((id, Target::Renamed)) => Some((key, to_raw_value(&id).ok()?)),
        })
        .collect();
    let payload = serde_json::to_vec(&members).unwrap_or_default();
    Record {
        payload: payload.into(),
        ..record.clone()
    }
}

/// In what two records differ, without values.
fn differing(ours: &Record, other: &Record) -> String {
    let (one, two) = (
        members(&ours.payload).unwrap_or_default(),
        members(&other.payload).unwrap_or_default(),
    );
    let keys: BTreeSet<&String> = one.keys().chain(two.keys()).collect();
    let text = |members: &Members<'_>, key: &str| members.get(key).map(|value| value.get().to_owned());
    let mut parts: Vec<&str> = keys
        .into_iter()
        .filter(|key| text(&one, key) != text(&two, key))
        .map(String::as_str)
        .collect();
    parts.extend((ours.modified_us != other.modified_us).then_some("modified_us"));
    parts.extend((ours.parents != other.parents).then_some("parents"));
    parts.extend((ours.display_name != other.display_name).then_some("display_name"));
    parts.extend((ours.homepages != other.homepages).then_some("homepages"));
    format!("other {}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, payload: &str) -> Record {
        Record {
            external_id: id.to_owned(),
            payload: payload.as_bytes().to_vec().into(),
            modified_us: 5,
            ..Record::default()
        }
    }

    fn batch(records: Vec<Record>, partial: Option<&str>) -> RecordBatch {
        RecordBatch {
            object: "a".to_owned(),
            records,
            partial: partial.map(|fields| PartialFields {
                fields: fields.split_whitespace().map(str::to_owned).collect(),
            }),
            ..RecordBatch::default()
        }
    }

    fn payload(mirror: &Mirror, id: &str) -> String {
        let record = &mirror.live[&("a".to_owned(), id.to_owned())];
        String::from_utf8_lossy(&record.payload).into_owned()
    }

    #[test]
    fn partial_records_are_put_into_stored_ones() {
        let mut mirror = Mirror::default();
        mirror.take(&[batch(vec![record("1", r#"{"a":1,"b":2,"d":"x"}"#)], None)]);
        mirror.take(&[batch(
            vec![record("1", r#"{"b":3,"c":[1]}"#), record("2", "{}")],
            Some("b c d"),
        )]);
        assert_eq!(payload(&mirror, "1"), r#"{"a":1,"b":3,"c":[1]}"#);
        assert_eq!(
            mirror.wanted.iter().map(|key| key.1.as_str()).collect::<Vec<_>>(),
            ["2"]
        );
        let later = Record {
            modified_us: 6,
            ..record("1", "{}")
        };
        mirror.take(&[batch(vec![later], Some(""))]);
        assert_eq!(mirror.wanted.len(), 2);
        mirror.take(&[batch(vec![record("1", "{}")], None)]);
        assert_eq!((mirror.wanted.len(), payload(&mirror, "1").as_str()), (1, "{}"));
    }

    #[test]
    fn a_reference_may_name_what_a_record_was_before() {
        let named = |id: &str, name: &str, payload: &str| Record {
            display_name: name.to_owned(),
            ..record(id, payload)
        };
        let of = |records: Vec<Record>| {
            let mut mirror = Mirror::default();
            mirror.take(&[batch(records, None)]);
            mirror
        };
        let parent = r#"{"P":{"id":"1","label":"old"}}"#;
        let stored = |payload: &str| of(vec![named("1", "old", "{}"), named("2", "b", payload)]);
        let renamed = r#"{"P":{"id":"1","label":"new"}}"#;
        let mut ours = stored(parent);
        ours.take(&[batch(vec![named("1", "new", "{}")], None)]);
        let now = of(vec![named("1", "new", "{}"), named("2", "b", renamed)]);
        assert_eq!(ours.difference(&now), None);
        // Its target has the name that it had, so another label is a difference.
        assert!(stored(renamed).difference(&stored(parent)).is_some());
        let mut ours = stored(parent);
        ours.live.remove(&("a".to_owned(), "1".to_owned()));
        assert_eq!(ours.difference(&of(vec![named("2", "b", "{}")])), None);
        assert!(
            ours.difference(&of(vec![named("2", "b", r#"{"Q":1}"#)]))
                .is_some()
        );
    }

    #[test]
    fn only_a_complete_listing_removes() {
        let mut mirror = Mirror::default();
        mirror.take(&[batch(vec![record("1", "{}"), record("2", "{}")], None)]);
        mirror.begin();
        let listing = RecordBatch {
            covers: Some(Covers::default()),
            ..batch(vec![record("2", "{}")], Some(""))
        };
        mirror.take(&[listing]);
        let status = |complete| ObjectStatus {
            object: "a".to_owned(),
            complete,
            error: None,
        };
        mirror.finish(&[status(false)]);
        assert_eq!(mirror.live.len(), 2);
        mirror.finish(&[status(true)]);
        assert_eq!(mirror.ids()["a"], ["2"]);
    }
}
