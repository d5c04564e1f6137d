//! An index on disk: open, apply changes, commit, publish.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::Error;
use crate::block::BlockBuilder;
use crate::companies::Companies;
use crate::folder::Folder;
use crate::manifest::Manifest;
use crate::position::Position;
use crate::snapshot::Snapshot;
use crate::state::{Naming, State};
use crate::writer::{Put, Writer};

/// An index: what was committed, and the snapshot that is searched.
pub struct Index {
    folder: Arc<Folder>,
    companies: Arc<Companies>,
    naming: Naming,
    committed: Mutex<State>,
    published: Mutex<Option<Arc<Snapshot>>>,
    /// Locked while changes are applied; `None` while there is nothing to apply.
    writer: Mutex<Option<Writer>>,
}

impl Index {
    /// Opens the index in its folder; a new one if the folder has none, or one of another form. All files are verified first.
    /// Blocks.
    ///
    /// # Errors
    /// A file is damaged, or the operating system failed.
    pub fn open(folder: Arc<Folder>, companies: Arc<Companies>, naming: Naming) -> Result<Self, Error> {
        let state = match Manifest::read(&folder)? {
            Some(manifest) => {
                for file in manifest.files() {
                    folder.sound(&file.name)?;
                }
                State::open(&folder, manifest, &companies, &naming)?
            }
            None => {
                std::fs::create_dir_all(folder.path())?;
                State::empty(folder.name())
            }
        };
        Ok(Self {
            folder,
            companies,
            naming,
            committed: Mutex::new(state),
            published: Mutex::default(),
            writer: Mutex::default(),
        })
    }

    /// What the owner stored with the last commit; empty before the first one.
    #[must_use]
    pub fn memory(&self) -> String {
        self.committed.lock().manifest.memory.clone()
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Arc<Folder> {
        &self.folder
    }

    /// The snapshot that was published last.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Snapshot>> {
        self.published.lock().clone()
    }

    /// Applies changes. Before they are committed, the writer keeps about `most_bytes` of rows in memory. Blocks.
    ///
    /// # Errors
    /// A file is damaged, or the operating system failed. The index must be opened again then.
    pub fn change<T>(
        &self,
        most_bytes: usize,
        apply: impl FnOnce(&mut Changes<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut held = self.writer.lock();
        let writer = match &mut *held {
            Some(writer) => writer,
            none => {
                let state = self.committed.lock().clone();
                let (folder, companies) = (Arc::clone(&self.folder), Arc::clone(&self.companies));
                none.insert(Writer::new(
                    folder,
                    companies,
                    self.naming.clone(),
                    state,
                    most_bytes,
                )?)
            }
        };
        apply(&mut Changes { writer })
    }

    /// Makes the changes durable, together with what the owner wants to know again. Blocks.
    ///
    /// # Errors
    /// As [`Self::change`].
    pub fn commit(&self, most_bytes: usize, memory: &str) -> Result<(), Error> {
        self.change(most_bytes, |changes| {
            changes.writer.commit(memory)?;
            *self.committed.lock() = changes.writer.state.clone();
            Ok(())
        })
    }

    /// Makes the last commit visible to searches, as the state of the feed at this position.
    pub fn publish(&self, position: Position) -> Arc<Snapshot> {
        let state = self.committed.lock().clone();
        let snapshot = Arc::new(Snapshot::new(position, state, Arc::clone(&self.folder)));
        *self.published.lock() = Some(Arc::clone(&snapshot));
        snapshot
    }

    /// Whether a writer is open. It takes memory: about 30 bytes a record.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        self.writer.try_lock().is_none_or(|writer| writer.is_some())
    }

    /// Drops the writer with what was not committed, to free its memory. Waits for changes that are being applied.
    pub fn rest(&self) {
        drop(self.writer.lock().take());
    }
}

/// Takes changes.
pub struct Changes<'a> {
    writer: &'a mut Writer,
}

impl Changes<'_> {
    /// Puts a record, in place of what it was before. `fill` adds its values to the row.
    ///
    /// # Errors
    /// The operating system failed.
    pub fn put(&mut self, put: Put<'_>, fill: impl FnOnce(&mut BlockBuilder)) -> Result<(), Error> {
        self.writer.put(put, fill)
    }

    /// Removes a record, if there is one.
    pub fn delete(&mut self, key: u128) {
        self.writer.delete(key);
    }
}

#[cfg(test)]
mod tests;
