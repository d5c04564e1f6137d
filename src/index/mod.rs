//! The search index: for each integration column blocks (`tether-columns`), built from its records and updated from its
//! change feed. It can always be rebuilt from the database.
//!
//! [`Index`] is cheap to clone. [`Index::run`] applies changes; [`Index::snapshot`] returns the state to search.

mod count;
mod document;
mod error;
mod follow;
mod heal;
mod kind;
mod mapping;
pub mod moment;
mod paths;
mod rows;
mod writer;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::domain::IntegrationId;
use crate::store::Store;
pub use document::{company_number, company_of};
use error::Cause;
pub use error::Error;
pub use kind::{ADDRESS, Kind};
pub use mapping::whole;
pub use paths::{domain, external_id, found_by, homepage, name, path, sorted_name};
pub use rows::MemoryRows;
use tether_columns::Folder;
pub use tether_columns::number::Exact;
pub use tether_columns::{
    CancelOnDrop, Cancelled, Companies, Comparison, Expr, Measure, Measured, NumberTest, Position, Snapshot,
    SortKind, SortPath, SortRef, SortValue, Test, TextTest, Top, WordTest, check, check_at, cut, number,
    text,
};
use writer::Source;

/// Location and resource limits of the index.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder; it has a subfolder for each integration.
    pub folder: PathBuf,
    /// Maximum number of integrations whose changes are applied at the same time.
    pub writers: usize,
    /// Memory of the rows that one writer collects, in bytes.
    pub writer_bytes: usize,
    /// Maximum number of open indexes.
    pub readers: usize,
    /// How often to look for changes.
    pub poll: Duration,
    /// Minimum time between two commits of one index.
    pub commit: Duration,
    /// How often each file is read again and compared with its checksum.
    pub verify: Duration,
}

impl Options {
    /// The default options for this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            writers: 2,
            writer_bytes: 30_000_000,
            readers: 256,
            poll: Duration::from_millis(400),
            commit: Duration::from_secs(1),
            verify: Duration::from_secs(3_600),
        }
    }
}

/// The state of the index of one integration.
struct Entry {
    /// The searchable position; `None` while the index is being built.
    published: Option<Position>,
    /// The open index; `None` if it was closed because it was unused.
    source: Option<Arc<Source>>,
    used: Instant,
    /// A task is applying changes.
    busy: bool,
    committed: Option<Instant>,
    folder: Arc<Folder>,
    /// The files are damaged: the index will be rebuilt from the database.
    damaged: bool,
    /// Consecutive failed attempts to apply changes, and the time of the next attempt.
    failures: u32,
    next: Instant,
    /// When this process first saw the integration.
    seen: Instant,
}

/// The search index.
#[derive(Clone)]
pub struct Index {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    options: Options,
    companies: Arc<Companies>,
    entries: Mutex<HashMap<IntegrationId, Entry>>,
    /// Wakes the task that looks for changes.
    poke: Notify,
    /// Incremented when a new position is published.
    published: watch::Sender<u64>,
}

impl Index {
    /// Creates the index for this store. Nothing happens before [`Self::run`].
    #[must_use]
    pub fn new(store: Store, options: Options) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                options,
                companies: Arc::default(),
                entries: Mutex::default(),
                poke: Notify::new(),
                published: watch::Sender::new(0),
            }),
        }
    }

    /// The numbering of companies that sets of companies use.
    #[must_use]
    pub fn companies(&self) -> &Arc<Companies> {
        &self.inner.companies
    }

    /// The position of an index; `None` while it is being built.
    #[must_use]
    pub fn position(&self, id: IntegrationId) -> Option<Position> {
        self.inner.entries.lock().get(&id)?.published
    }

    /// Whether each of these indexes has reached its change number.
    #[must_use]
    pub fn reached(&self, wanted: &[(IntegrationId, i64)]) -> bool {
        wanted.iter().all(|(id, change_no)| {
            self.position(*id)
                .is_some_and(|position| position.change_no >= *change_no)
        })
    }

    /// Waits until each of these indexes has reached its change number. After `limit`, returns one that has not.
    pub async fn wait(&self, wanted: &[(IntegrationId, i64)], limit: Duration) -> Option<IntegrationId> {
        let end = tokio::time::Instant::now() + limit;
        let mut published = self.inner.published.subscribe();
        loop {
            published.borrow_and_update();
            let behind = wanted.iter().find(|(id, change_no)| {
                self.position(*id)
                    .is_none_or(|position| position.change_no < *change_no)
            });
            let (behind, _) = behind?;
            self.inner.poke.notify_one();
            match tokio::time::timeout_at(end, published.changed()).await {
                Ok(Ok(())) => {}
                _ => return Some(*behind),
            }
        }
    }

    /// The state of an index to search; `None` while it is being built.
    ///
    /// # Errors
    /// A temporary error of the operating system or the database. It never leads to the deletion of an index.
    pub async fn snapshot(&self, id: IntegrationId) -> Result<Option<Arc<Snapshot>>, Error> {
        let open = {
            let mut entries = self.inner.entries.lock();
            let Some(entry) = entries.get_mut(&id) else {
                return Ok(None);
            };
            entry.used = Instant::now();
            if entry.published.is_none() {
                return Ok(None);
            }
            (entry.source.clone(), Arc::clone(&entry.folder))
        };
        let source = match open {
            (Some(source), _) => source,
            (None, folder) => match self.open(id, &folder).await {
                Ok(source) => source,
                Err(error) if error.cause() == Cause::Damage => {
                    self.mark_damaged(&folder, &error);
                    return Ok(None);
                }
                Err(error) => return Err(error),
            },
        };
        Ok(source.current())
    }
}
