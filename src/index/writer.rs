//! The index of one integration on disk: open, apply changes, commit, publish.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tantivy::index::SegmentComponent;
use tantivy::{IndexReader, IndexWriter, ReloadPolicy, TantivyDocument, Term};

use super::Error;
use super::companies::Companies;
use super::directory::Verified;
use super::document::{self, Fields, Known};
use super::files::Files;
use super::kind::Kind;
use super::position::{Position, VERSION};
use super::snapshot::{Shared, Snapshot};
use crate::domain::FieldType;
use crate::store::{self, Change};

/// The files of a segment.
const PARTS: [SegmentComponent; 7] = [
    SegmentComponent::Postings,
    SegmentComponent::Positions,
    SegmentComponent::FastFields,
    SegmentComponent::FieldNorms,
    SegmentComponent::Terms,
    SegmentComponent::Store,
    SegmentComponent::Delete,
];

/// The data stored with a commit.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Memory {
    /// The format version of the index.
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
    pub(super) fn new() -> Self {
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
    index: tantivy::Index,
    reader: IndexReader,
    fields: Fields,
    shared: Arc<Shared>,
    companies: Arc<Companies>,
    current: ArcSwapOption<Snapshot>,
    files: Arc<Files>,
    /// Locked while changes are applied.
    pub(super) writer: Mutex<Option<IndexWriter>>,
}

impl Source {
    /// Opens the index in its folder, and returns the data of its last commit: `None` if its format version differs
    /// or it has no commit yet. All files are verified first. Blocks.
    ///
    /// # Errors
    /// A file is damaged, the operating system failed, or there is no index and `begin` is false.
    pub(super) fn open(
        files: Arc<Files>,
        companies: Arc<Companies>,
        begin: bool,
    ) -> Result<(Self, Option<Memory>), Error> {
        if begin {
            std::fs::create_dir_all(files.folder())?;
        }
        let (schema, fields) = Fields::new();
        let directory = Verified::open(Arc::clone(&files))?;
        let index = if begin {
            tantivy::Index::builder()
                .schema(schema)
                .open_or_create(directory)?
        } else {
            tantivy::Index::open(directory)?
        };
        // Tantivy opens most of these files only when they are needed.
        for segment in index.load_metas()?.segments {
            for part in PARTS {
                files.sound(&segment.relative_path(part))?;
            }
        }
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .doc_store_cache_num_blocks(1)
            .try_into()?;
        let source = Self {
            index,
            reader,
            fields,
            shared: Arc::default(),
            companies,
            current: ArcSwapOption::empty(),
            files,
            writer: Mutex::new(None),
        };
        let memory = source.remembered()?.filter(|memory| memory.version == VERSION);
        Ok((source, memory))
    }

    fn remembered(&self) -> Result<Option<Memory>, Error> {
        let payload = self.index.load_metas()?.payload;
        Ok(payload.and_then(|payload| serde_json::from_str(&payload).ok()))
    }

    /// The data of the last commit.
    pub(super) fn memory(&self) -> Result<Memory, Error> {
        Ok(self.remembered()?.unwrap_or_else(Memory::new))
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

    pub(super) fn files(&self) -> &Arc<Files> {
        &self.files
    }

    /// The writer; opened if there is none. Files of an interrupted writer are deleted first, so that repeated
    /// attempts do not fill the disk.
    fn writer<'a>(
        &self,
        held: &'a mut Option<IndexWriter>,
        bytes: usize,
    ) -> Result<&'a mut IndexWriter, Error> {
        match held {
            Some(writer) => Ok(writer),
            none => {
                let writer = self.index.writer_with_num_threads::<TantivyDocument>(1, bytes)?;
                writer.garbage_collect_files().wait()?;
                Ok(none.insert(writer))
            }
        }
    }

    /// Makes the last commit visible to searches.
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
            Arc::clone(&self.files),
        ))));
        Ok(position)
    }

    /// Applies changes in order. Blocks.
    pub(super) fn apply(&self, memory: &mut Memory, changes: &[Change], bytes: usize) -> Result<(), Error> {
        let known = memory.known();
        let mut held = self.writer.lock();
        let writer = self.writer(&mut held, bytes)?;
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

    /// Commits the applied changes durably. Blocks.
    pub(super) fn commit(&self, memory: &Memory, bytes: usize) -> Result<(), Error> {
        let payload = serde_json::to_string(memory).map_err(|error| Error::Broken(error.to_string()))?;
        let mut held = self.writer.lock();
        let writer = self.writer(&mut held, bytes)?;
        let mut commit = writer.prepare_commit()?;
        commit.set_payload(&payload);
        commit.commit()?;
        Ok(())
    }

    /// Waits for merges to finish, then drops the writer to free its memory. Blocks.
    pub(super) fn rest(&self) {
        if let Some(writer) = self.writer.lock().take()
            && let Err(error) = writer.wait_merging_threads()
        {
            tracing::warn!(folder = %self.files.folder().display(), "a merge of segments failed: {error}");
        }
    }

    /// Drops the writer with its uncommitted changes, without waiting for merges. Blocks.
    pub(super) fn abandon(&self) {
        drop(self.writer.lock().take());
    }
}
