//! The plan of a sync: everything, or what changed since the last one, and what is due besides.
//!
//! It is made once, from what earlier syncs have read, and stored: all attempts of a sync follow the same plan, or an object that
//! an earlier attempt has read to its end would count as read for what a later one asks.

use super::state::{Run, Stop};
use crate::domain::{Micros, SyncMode};
use crate::store::{self, NewPlan, ObjectRead, ReadBefore};
use crate::time::now_us;
use prost::Message as _;
use std::collections::BTreeMap;
use std::time::Duration;
use tether_connector_proto::{Connection, ObjectSelection, ReadMode, ReadRequest, SelectedField};

/// The selected fields of an object, with a digest of how each was selected.
type Digests = BTreeMap<String, String>;
/// Instead of a digest: the CRM did not have the field. Stored records have its values still, until it was hidden for long.
const MISSING: &str = "missing";
/// The same, and its values were dropped.
const GONE: &str = "gone";
/// Before a digest: the last sync that read the object has read the field of all records that the CRM listed. If it did not list
/// all, and the rest was held back, the field is read again.
const NEW: &str = "new ";

impl Run<'_> {
    /// The plan of this sync. It has neither a connection nor a checkpoint.
    pub(super) async fn plan(
        &mut self,
        selection: Vec<ObjectSelection>,
        fields: &[store::Field],
        reads_changes: bool,
        connection: &Connection,
    ) -> Result<ReadRequest, Stop> {
        let store = &self.context.store;
        let before = store.sync_read_before(&self.sync).await?;
        self.reads = before.objects.clone();
        let of = |field: &store::Field| (field.object.clone(), field.key.clone());
        self.selected = fields.iter().map(|field| (of(field), field.select_us)).collect();
        let seen_missing = fields
            .iter()
            .filter_map(|field| Some((of(field), field.missing_us?)));
        self.seen_missing = seen_missing.collect();
        let known = self.sync.missing_fields();
        let fields = selection.iter().flat_map(|one| {
            let of = |field: &SelectedField| store::FieldRef {
                object: one.object.clone(),
                key: field.key.clone(),
            };
            one.fields.iter().map(of)
        });
        let is_missing = |field: &store::FieldRef| known.contains(&format!("{}.{}", field.object, field.key));
        self.missing = fields.filter(is_missing).collect();
        if let Some(plan) = &before.plan {
            let plan = decode(plan)?;
            // Another version of the connector may not read changes.
            if reads_changes || plan.mode() == ReadMode::Full {
                self.plan.clone_from(&plan);
                return Ok(plan);
            }
        }
        let account = account(&self.connector, connection, self.account_no);
        let is_same = before.account == account && before.state.is_some();
        let full = !reads_changes || !is_same || self.sync.mode == SyncMode::Full;
        let plan = match full {
            true => ReadRequest {
                mode: ReadMode::Full.into(),
                selection,
                // What an earlier read has left in the CRM is in it.
                state: before
                    .state
                    .filter(|_| reads_changes && is_same)
                    .unwrap_or_default(),
                ..ReadRequest::default()
            },
            false => self.changes(selection, before),
        };
        let new = NewPlan {
            plan: plan.encode_to_vec(),
            mode: match full {
                true => SyncMode::Full,
                false => SyncMode::Incremental,
            },
            account,
            afresh: full,
        };
        if full {
            self.reads.clear();
        }
        store.sync_plan(&self.sync, new).await?;
        self.plan.clone_from(&plan);
        Ok(plan)
    }

    /// The plan that this sync has; an attempt that ended before it made one has that of earlier attempts.
    pub(super) async fn planned(&self) -> Result<ReadRequest, store::Error> {
        if !self.plan.selection.is_empty() {
            return Ok(self.plan.clone());
        }
        match self.context.store.sync_read_before(&self.sync).await?.plan {
            Some(plan) => decode(&plan),
            None => Ok(ReadRequest::default()),
        }
    }

    /// The plan to read what changed.
    fn changes(&self, mut selection: Vec<ObjectSelection>, before: ReadBefore) -> ReadRequest {
        let due = |last: Micros, every: Duration| {
            let every = i64::try_from(every.as_micros()).unwrap_or(i64::MAX);
            // A time in the future is of a clock that was ahead.
            last > self.begun_us() || self.begun_us().saturating_sub(last) >= every
        };
        for one in &mut selection {
            let Some(read) = before.objects.iter().find(|read| read.object == one.object) else {
                // Nothing is known of it: whatever the connector's state says, all ids are listed.
                one.unread = one.fields.iter().map(|field| field.key.clone()).collect();
                one.sweep_due = true;
                continue;
            };
            let digests: Digests = serde_json::from_str(&read.fields).unwrap_or_default();
            let fields = one.fields.iter();
            let is_held_back = before.held_back.contains(&one.object);
            let is_unread = |field: &&SelectedField| match digests.get(&field.key).map(String::as_str) {
                Some(MISSING | GONE) => false,
                // A live read saw that it was missing, and left it out of what it stored.
                Some(_) if self.is_seen_missing(&one.object, &field.key) => true,
                Some(read) if read.starts_with(NEW) && is_held_back => true,
                Some(read) => read.trim_start_matches(NEW) != self.digest(&one.object, field),
                None => true,
            };
            let unread = fields.filter(is_unread);
            one.unread = unread.map(|field| field.key.clone()).collect();
            one.calculated_due = due(read.calculated_us, self.context.options.calculated) || is_held_back;
            one.sweep_due = due(read.sweep_us, self.context.options.sweep)
                || self.sync.confirms.is_some()
                || is_held_back;
        }
        ReadRequest {
            mode: ReadMode::Changes.into(),
            selection,
            state: before.state.unwrap_or_default(),
            ..ReadRequest::default()
        }
    }

    /// Drops the values of fields that are no longer selected, or that the CRM has not had for long. Until then the values of a
    /// field stay, because a permission that was taken away is often given back; a record that is read in full meanwhile loses
    /// them, and a read of everything replaces all payloads.
    pub(super) async fn drop_values(&mut self) -> Result<(), Stop> {
        if self.plan.mode() != ReadMode::Changes {
            return Ok(());
        }
        for planned in &self.plan.selection {
            let Some(at) = self.reads.iter().position(|read| read.object == planned.object) else {
                continue;
            };
            let mut digests: Digests = serde_json::from_str(&self.reads[at].fields).unwrap_or_default();
            let is_selected = |key: &String| planned.fields.iter().any(|field| field.key == *key);
            let is_hidden =
                |key: &str, digest: &str| digest == MISSING && self.is_hidden_for_long(&planned.object, key);
            let goes = |(key, digest): (&String, &String)| {
                (!is_selected(key) || is_hidden(key, digest)).then(|| key.clone())
            };
            let dropped: Vec<String> = digests.iter().filter_map(goes).collect();
            if dropped.is_empty() {
                continue;
            }
            digests.retain(|key, _| is_selected(key));
            for (key, digest) in &mut digests {
                if dropped.contains(key) {
                    GONE.clone_into(digest);
                }
            }
            let read = &mut self.reads[at];
            read.fields = serde_json::to_string(&digests).unwrap_or_default();
            let store = &self.context.store;
            store
                .sync_drop_fields(&self.sync, read.clone(), dropped, now_us())
                .await?;
        }
        Ok(())
    }

    /// When the sync began: what is due is due since then.
    fn begun_us(&self) -> Micros {
        self.sync.start_us.unwrap_or(self.sync.create_us)
    }

    /// Notes that an object was read to its end, as planned, for the next sync.
    pub(super) fn complete(&mut self, object: &str) {
        let Some(planned) = self.plan.selection.iter().find(|one| one.object == object) else {
            return;
        };
        let full = self.plan.mode() == ReadMode::Full;
        let before = self.reads.iter().find(|read| read.object == object);
        let now_or = |read_now: bool, before: Option<Micros>| match before {
            Some(before) if !read_now => before,
            _ => self.begun_us(),
        };
        let is_missing = |field: &&SelectedField| {
            self.missing
                .iter()
                .any(|missing| missing.object == object && missing.key == field.key)
        };
        let known: Digests = before
            .and_then(|read| serde_json::from_str(&read.fields).ok())
            .unwrap_or_default();
        let mut digests = Digests::new();
        for field in &planned.fields {
            let known = known.get(&field.key).map(String::as_str);
            let was_missing = matches!(known, Some(MISSING | GONE));
            let digest = match (is_missing(&field), known) {
                (true, Some(GONE)) => GONE.to_owned(),
                (true, _) => MISSING.to_owned(),
                // It is back: the next sync reads it for all records.
                (false, _) if was_missing && !full => continue,
                (false, _) if full || planned.unread.contains(&field.key) => {
                    format!("{NEW}{}", self.digest(object, field))
                }
                (false, _) => self.digest(object, field),
            };
            digests.insert(field.key.clone(), digest);
        }
        let read = ObjectRead {
            object: object.to_owned(),
            fields: serde_json::to_string(&digests).unwrap_or_default(),
            calculated_us: now_or(
                full || planned.calculated_due,
                before.map(|read| read.calculated_us),
            ),
            sweep_us: now_or(full || planned.sweep_due, before.map(|read| read.sweep_us)),
        };
        self.pending.reads.push(read);
    }

    /// A digest of everything that decides which values of a field are stored: how it is read, and since when it is selected.
    fn digest(&self, object: &str, field: &SelectedField) -> String {
        let selected = (object.to_owned(), field.key.clone());
        let select_us = self.selected.get(&selected).copied().unwrap_or_default();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&field.encode_to_vec());
        hasher.update(&select_us.to_le_bytes());
        hasher.finalize().to_hex().chars().take(16).collect()
    }

    fn is_seen_missing(&self, object: &str, key: &str) -> bool {
        self.missing_since(object, key).is_some()
    }

    /// Since when the CRM has not had a field, over attempts and syncs.
    fn missing_since(&self, object: &str, key: &str) -> Option<Micros> {
        let field = (object.to_owned(), key.to_owned());
        self.seen_missing.get(&field).copied()
    }

    /// Whether the time for which values of a hidden field are kept is over.
    fn is_hidden_for_long(&self, object: &str, key: &str) -> bool {
        let keep = i64::try_from(self.context.options.hidden.as_micros()).unwrap_or(i64::MAX);
        self.missing_since(object, key)
            .is_some_and(|since| self.begun_us().saturating_sub(since) >= keep)
    }

    /// Whether the listing of an object is complete in this sync: only then what it lacks is gone.
    pub(super) fn lists(plan: &ReadRequest, object: &str) -> bool {
        let planned = plan.selection.iter().find(|one| one.object == object);
        plan.mode() == ReadMode::Full || planned.is_some_and(|one| one.sweep_due)
    }

    /// Whether the descriptions of fields are due: with all that is read daily, or when something is amiss.
    pub(super) fn lists_fields(&self, plan: &ReadRequest) -> bool {
        let due = |one: &ObjectSelection| one.calculated_due || one.sweep_due || !one.unread.is_empty();
        // One that is missing for long is listed again with the rest.
        let is_news = |field: &store::FieldRef| !self.is_seen_missing(&field.object, &field.key);
        plan.mode() == ReadMode::Full || plan.selection.iter().any(due) || self.missing.iter().any(is_news)
    }
}

fn decode(plan: &[u8]) -> Result<ReadRequest, store::Error> {
    let corrupt = |error| store::Error::Corrupt(format!("the plan of a sync: {error}"));
    ReadRequest::decode(plan).map_err(corrupt)
}

/// The account whose records a state describes: another user may see other records, and other settings may mean another CRM.
/// `account_no` differs if another account was used in between, whose live reads are among the stored records.
fn account(connector: &str, connection: &Connection, account_no: i64) -> String {
    let identity = connection.identity.clone().unwrap_or_default();
    let settings: BTreeMap<&String, &String> = connection.settings.iter().collect();
    let mut hasher = blake3::Hasher::new();
    let parts = [connector, &identity.organization_id, &identity.user_id].into_iter();
    let settings = settings
        .iter()
        .flat_map(|(key, value)| [key.as_str(), value.as_str()]);
    for part in parts.chain(settings) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    // States of earlier versions stay valid.
    if account_no > 0 {
        hasher.update(&account_no.to_le_bytes());
    }
    hasher.finalize().to_hex().chars().take(32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_of_one_account_and_one_series_of_its_logins() {
        let of = |user: &str, account_no| {
            let identity = tether_connector_proto::Identity {
                organization_id: "o".to_owned(),
                user_id: user.to_owned(),
                ..Default::default()
            };
            let connection = Connection {
                identity: Some(identity),
                ..Default::default()
            };
            account("crm", &connection, account_no)
        };
        // A, then B, then A again.
        let all = [of("a", 0), of("b", 1), of("a", 2)];
        assert!(
            all[0] != all[1] && all[1] != all[2] && all[0] != all[2],
            "{all:?}"
        );
        assert_eq!(of("a", 2), all[2]);
    }
}
