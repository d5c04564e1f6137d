//! One integration's index on disk: opening, applying changes, committing, publishing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tantivy::directory::MmapDirectory;
use tantivy::{IndexReader, IndexWriter, ReloadPolicy, TantivyDocument, Term};

use super::companies::Companies;
use super::document::{self, Fields, Kind, Known};
use super::snapshot::{Shared, Snapshot};
use super::{Error, Position, VERSION};
use crate::domain::FieldType;
use crate::store::{self, Change};

/// What a commit remembers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Memory {
    /// The form of the index.
    version: u32,
    /// The last change that was applied.
    pub change_no: i64,
    /// When the latest change was read.
    pub time_us: i64,
    /// Whether all changes up to here are in it. In between, a record that changed again may be missing.
    pub complete: bool,
    /// The types that values were read with: object → key → type as it is stored, and whether the text is long.
    fields: BTreeMap<String, BTreeMap<String, (String, bool)>>,
    /// Fields that records had and that were not known: object → keys.
    skipped: BTreeMap<String, BTreeSet<String>>,
}

impl Memory {
    fn new() -> Self {
        Self {
            version: VERSION,
            ..Self::default()
        }
    }

    /// Takes over the fields as they are now. False where records that were read before must be read again.
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

/// One integration's index.
pub(super) struct Source {
    index: tantivy::Index,
    reader: IndexReader,
    fields: Fields,
    shared: Arc<Shared>,
    companies: Arc<Companies>,
    current: ArcSwapOption<Snapshot>,
    folder: PathBuf,
    /// Held by whoever applies changes.
    pub(super) writer: Mutex<Option<IndexWriter>>,
}

impl Source {
    /// Opens the index in a folder; one that is of another form, or cannot be read, is made anew. Blocks.
    pub(super) fn open(folder: &Path, companies: Arc<Companies>) -> Result<(Self, Memory), Error> {
        match Self::open_as_is(folder, Arc::clone(&companies)) {
            Ok((source, Some(memory))) if memory.version == VERSION => return Ok((source, memory)),
            Ok((_, None)) => {}
            Ok(_) => {
                tracing::info!(folder = %folder.display(), "the index is of another form: it is made again")
            }
            Err(error) => {
                tracing::warn!(folder = %folder.display(), "cannot be opened, is made again: {error}")
            }
        }
        Self::remove(folder)?;
        let (source, _) = Self::open_as_is(folder, companies)?;
        Ok((source, Memory::new()))
    }

    fn open_as_is(folder: &Path, companies: Arc<Companies>) -> Result<(Self, Option<Memory>), Error> {
        std::fs::create_dir_all(folder)?;
        let (schema, fields) = Fields::new();
        let directory = MmapDirectory::open(folder).map_err(tantivy::TantivyError::from)?;
        let index = tantivy::Index::builder()
            .schema(schema)
            .open_or_create(directory)?;
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .doc_store_cache_num_blocks(1)
            .try_into()?;
        let payload = index.load_metas()?.payload;
        let memory = payload.and_then(|payload| serde_json::from_str(&payload).ok());
        let source = Self {
            index,
            reader,
            fields,
            shared: Arc::default(),
            companies,
            current: ArcSwapOption::empty(),
            folder: folder.to_owned(),
            writer: Mutex::new(None),
        };
        Ok((source, memory))
    }

    /// What the last commit remembers.
    pub(super) fn memory(&self) -> Result<Memory, Error> {
        let payload = self.index.load_metas()?.payload;
        Ok(payload
            .and_then(|payload| serde_json::from_str(&payload).ok())
            .unwrap_or_else(Memory::new))
    }

    /// Removes an index.
    pub(super) fn remove(folder: &Path) -> Result<(), Error> {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    pub(super) fn current(&self) -> Option<Arc<Snapshot>> {
        self.current.load_full()
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Lets searches see what was committed.
    pub(super) fn publish(&self, memory: &Memory) -> Result<Position, Error> {
        self.reader.reload()?;
        let position = Position {
            change_no: memory.change_no,
            time_us: memory.time_us,
        };
        self.current.store(Some(Arc::new(Snapshot::new(
            position,
            self.reader.searcher(),
            self.fields,
            Arc::clone(&self.shared),
            Arc::clone(&self.companies),
        ))));
        Ok(position)
    }

    /// Applies changes in their order. Blocks.
    pub(super) fn apply(&self, memory: &mut Memory, changes: &[Change], bytes: usize) -> Result<(), Error> {
        let known = memory.known();
        let mut held = self.writer.lock();
        let writer = match &mut *held {
            Some(writer) => writer,
            none => none.insert(self.index.writer_with_num_threads::<TantivyDocument>(1, bytes)?),
        };
        for change in changes {
            let record = &change.record;
            let key = document::key(&record.object, &record.external_id);
            writer.delete_term(Term::from_field_text(self.fields.key, &key));
            if record.delete_us.is_none() {
                writer.add_document(document::document(
                    &self.fields,
                    change,
                    &known,
                    &mut memory.skipped,
                ))?;
            }
            memory.change_no = record.change_no;
            memory.time_us = memory.time_us.max(record.delete_us.unwrap_or(record.read_us));
        }
        Ok(())
    }

    /// Makes what was applied durable. Blocks.
    pub(super) fn commit(&self, memory: &Memory, bytes: usize) -> Result<(), Error> {
        let payload = serde_json::to_string(memory).map_err(|error| Error::Broken(error.to_string()))?;
        let mut held = self.writer.lock();
        let writer = match &mut *held {
            Some(writer) => writer,
            none => none.insert(self.index.writer_with_num_threads::<TantivyDocument>(1, bytes)?),
        };
        let mut commit = writer.prepare_commit()?;
        commit.set_payload(&payload);
        commit.commit()?;
        Ok(())
    }

    /// Ends the writer: what it merges is finished, its memory given back. Blocks.
    pub(super) fn rest(&self) {
        if let Some(writer) = self.writer.lock().take()
            && let Err(error) = writer.wait_merging_threads()
        {
            tracing::warn!(folder = %self.folder.display(), "merging failed: {error}");
        }
    }
}
