//! The read model: one Tantivy index for each integration, made of its records and kept up to date by following its
//! changes. All of it can be made again from the database.
//!
//! [`Index`] is cheap to clone. [`Index::run`] follows; [`Index::snapshot`] gives what searches run on.

mod cancel;
mod companies;
mod count;
mod directory;
mod document;
mod error;
mod files;
mod follow;
mod heal;
pub mod moment;
pub mod number;
mod rank;
mod search;
mod snapshot;
pub mod text;
mod typo;
mod writer;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::domain::{IntegrationId, Micros};
use crate::store::Store;
pub use cancel::{CancelOnDrop, Cancelled, check, check_at};
pub use companies::Companies;
pub use document::{
    ADDRESS, Kind, company_number, domain, external_id, found_by, homepage, name, path, sorted_name, whole,
};
use error::Cause;
pub use error::Error;
use files::Files;
pub use rank::{Key, Ranks, Texts};
pub use search::{Comparison, Expr, Test, TextTest, WordTest};
pub use snapshot::Snapshot;
use writer::Source;

/// The form of the index: with another number it is built again.
const VERSION: u32 = 3;

/// Where the index is, and how much it may take.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder; each integration has one in it.
    pub folder: PathBuf,
    /// Most integrations whose changes are applied at the same time.
    pub writers: usize,
    /// Memory of one writer, in bytes; at least 15 MB.
    pub writer_bytes: usize,
    /// Most indexes held open.
    pub readers: usize,
    /// How often to look for changes.
    pub poll: Duration,
    /// Least time between two commits of one index.
    pub commit: Duration,
    /// How often every file is read again to compare it with its checksum.
    pub verify: Duration,
}

impl Options {
    /// The usual options in this folder.
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

/// How far an index has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// The number of the last change that can be found.
    pub change_no: i64,
    /// When the latest of these changes was read; 0 for never.
    pub time_us: Micros,
}

/// What is known of an integration's index.
struct Entry {
    /// What searches see; none while it is being made.
    published: Option<Position>,
    /// Open, if it was used lately.
    source: Option<Arc<Source>>,
    used: Instant,
    /// Someone is applying changes.
    busy: bool,
    committed: Option<Instant>,
    files: Arc<Files>,
    /// The files are not what was written: it is built again from the database.
    damaged: bool,
    /// Failed attempts in a row to follow, and when the next may begin.
    failures: u32,
    next: Instant,
    /// When it was first seen.
    seen: Instant,
}

/// The read model.
#[derive(Clone)]
pub struct Index {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    options: Options,
    companies: Arc<Companies>,
    entries: Mutex<HashMap<IntegrationId, Entry>>,
    /// Somebody waits: look now.
    poke: Notify,
    /// Counts what was published.
    published: watch::Sender<u64>,
}

impl Index {
    /// The read model over this store. Nothing happens before [`Self::run`].
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

    /// The companies that sets are made of.
    #[must_use]
    pub fn companies(&self) -> &Arc<Companies> {
        &self.inner.companies
    }

    /// How far an index has come; `None` while it is being made.
    #[must_use]
    pub fn position(&self, id: IntegrationId) -> Option<Position> {
        self.inner.entries.lock().get(&id)?.published
    }

    /// Whether each of these indexes has come so far.
    #[must_use]
    pub fn reached(&self, wanted: &[(IntegrationId, i64)]) -> bool {
        wanted.iter().all(|(id, change_no)| {
            self.position(*id)
                .is_some_and(|position| position.change_no >= *change_no)
        })
    }

    /// Waits until each of these indexes has come so far; answers one that has not in time.
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

    /// What searches over an integration run on; `None` while it is being built.
    ///
    /// # Errors
    /// The operating system or the database refuses for now. Nothing is deleted because of that.
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
            (entry.source.clone(), Arc::clone(&entry.files))
        };
        let source = match open {
            (Some(source), _) => source,
            (None, files) => match self.open(&files).await {
                Ok(source) => source,
                Err(error) if error.cause() == Cause::Damage => {
                    self.mark_damaged(&files, &error);
                    return Ok(None);
                }
                Err(error) => return Err(error),
            },
        };
        Ok(source.current())
    }
}
