//! The index of one integration: what it remembers of the fields, and how changes are applied.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tether_columns::{Companies, Folder, Naming, Position, Snapshot, record_key};

use super::Error;
use super::document::{self, Known};
use super::kind::Kind;
use super::paths::{external_id, sorted_name};
use crate::domain::FieldType;
use crate::store::{self, Change};

/// The version of the mapping of records to values: an index of another version is rebuilt.
const VERSION: u32 = 1;

/// The data stored with a commit.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Memory {
    /// The version of the mapping.
    version: u32,
    /// The last change that was applied.
    pub change_no: i64,
    /// When the latest change was read from the CRM.
    pub time_us: i64,
    /// Whether all changes up to `change_no` are applied. If not, a record with a later change may be missing.
    pub complete: bool,
    /// The field types with which values were parsed: object → key → stored type, and whether it is long text.
    fields: BTreeMap<String, BTreeMap<String, (String, bool)>>,
    /// Fields that records had but that were not known: object → keys.
    skipped: BTreeMap<String, BTreeSet<String>>,
}

impl Memory {
    pub(super) fn empty() -> Self {
        Self {
            version: VERSION,
            ..Self::default()
        }
    }

    /// Takes over the current fields. Returns false if records indexed earlier must be indexed again.
    pub(super) fn learn(&mut self, fields: &[store::Field]) -> bool {
        for field in fields {
            let kind = Kind::of_field(field);
            let long = kind == Kind::Long;
            let now = (field.field_type.as_str().to_owned(), long);
            let of_object = self.fields.entry(field.object.clone()).or_default();
            if let Some((before, was_long)) = of_object.get(&field.key) {
                let before = before
                    .parse::<FieldType>()
                    .ok()
                    .map(|before| Kind::of(before, *was_long));
                if before != Some(kind) {
                    return false;
                }
            } else if self
                .skipped
                .get(&field.object)
                .is_some_and(|keys| keys.contains(&field.key))
            {
                return false;
            }
            of_object.insert(field.key.clone(), now);
        }
        true
    }

    fn known(&self) -> Known {
        let of = |(name, (text, long)): (&String, &(String, bool))| {
            let field_type: FieldType = text.parse().ok()?;
            Some((name.clone(), (field_type, Kind::of(field_type, *long))))
        };
        self.fields
            .iter()
            .map(|(object, keys)| (object.clone(), keys.iter().filter_map(of).collect()))
            .collect()
    }
}

/// The index of one integration.
pub(super) struct Source {
    index: tether_columns::Index,
}

impl Source {
    /// Opens the index in its folder, and returns the data of its last commit: `None` if it has another version or no commit
    /// yet. All files are verified first. Blocks.
    ///
    /// # Errors
    /// A file is damaged, or the operating system failed.
    pub(super) fn open(
        folder: Arc<Folder>,
        companies: Arc<Companies>,
    ) -> Result<(Self, Option<Memory>), Error> {
        let naming = Naming {
            name: sorted_name(),
            id: external_id(),
        };
        let index = tether_columns::Index::open(folder, companies, naming)?;
        let source = Self { index };
        let memory = source.remembered().filter(|memory| memory.version == VERSION);
        Ok((source, memory))
    }

    fn remembered(&self) -> Option<Memory> {
        serde_json::from_str(&self.index.memory()).ok()
    }

    /// The data of the last commit.
    pub(super) fn memory(&self) -> Memory {
        self.remembered().unwrap_or_else(Memory::empty)
    }

    /// Removes an index.
    pub(super) fn remove(folder: &Path) -> Result<(), Error> {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    pub(super) fn current(&self) -> Option<Arc<Snapshot>> {
        self.index.current()
    }

    pub(super) fn folder(&self) -> &Arc<Folder> {
        self.index.folder()
    }

    pub(super) fn is_writing(&self) -> bool {
        self.index.is_writing()
    }

    /// Makes the last commit visible to searches.
    pub(super) fn publish(&self, memory: &Memory) -> Position {
        let position = Position {
            change_no: memory.change_no,
            time_us: memory.time_us,
        };
        self.index.publish(position);
        position
    }

    /// Applies changes in order. Blocks.
    pub(super) fn apply(&self, memory: &mut Memory, changes: &[Change], bytes: usize) -> Result<(), Error> {
        let known = memory.known();
        self.index.change(bytes, |to| {
            for change in changes {
                let record = &change.record;
                if record.delete_us.is_some() {
                    to.delete(record_key(&record.object, &record.external_id));
                } else {
                    document::put(to, change, &known, &mut memory.skipped)?;
                }
                memory.change_no = record.change_no;
                memory.time_us = memory.time_us.max(record.delete_us.unwrap_or(record.read_us));
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Commits the applied changes durably. Blocks.
    pub(super) fn commit(&self, memory: &Memory, bytes: usize) -> Result<(), Error> {
        let memory = serde_json::to_string(memory).map_err(|error| Error::Broken(error.to_string()))?;
        Ok(self.index.commit(bytes, &memory)?)
    }

    /// Drops the writer with its uncommitted changes, to free its memory. Blocks.
    pub(super) fn rest(&self) {
        self.index.rest();
    }
}
