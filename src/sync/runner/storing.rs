//! A commit in progress, while the next rows are received and checked.
//!
//! There is one at most, and commits follow each other in the order of the stream. Only rows are received meanwhile: everything
//! else that a stream says is handled after the commit before it has succeeded. If a commit fails, the run ends, and what was
//! received meanwhile is dropped with it. The future belongs to the reading of one stream: a cancel or a shutdown drops both
//! at once. A transaction that runs at that moment happens completely or not at all.

use crate::domain::IntegrationId;
use crate::store::{self, Committed, Left, Store, SyncCommit};
use futures_util::future::BoxFuture;
use std::time::{Duration, Instant};

/// During a first load, company records and links that were left for later are added at least so often, counted from the end of
/// the pause after the last time.
pub(super) const FILL_EVERY: Duration = Duration::from_secs(5);
/// The pause after adding them, in multiples of the time that it took: each time writes most pages of the tables again, so that a
/// slow disk would do little else.
const FILL_PAUSE: u32 = 8;

/// At most one commit in progress.
#[derive(Default)]
pub(super) struct Storing {
    commit: Option<Commit>,
    /// The number of the last checkpoint that is stored.
    pub(super) acknowledged: u64,
}

/// What a commit in progress stores.
pub(super) struct Commit {
    pub(super) future: BoxFuture<'static, Result<Stored, store::Error>>,
    pub(super) begun: Instant,
    /// Rows, and the size of their payloads.
    pub(super) rows: usize,
    pub(super) bytes: usize,
    /// The checkpoint that it stores.
    pub(super) checkpoint: Option<Vec<u8>>,
    /// The number of the stream's checkpoint that it answers; 0 for none.
    pub(super) sequence: u64,
}

/// What a commit did.
pub(super) struct Stored {
    pub(super) committed: Committed,
    /// It left company records for later, and they were not added since.
    pub(super) lacks_companies: bool,
    /// When there were last none, or the end of the pause after they were added.
    pub(super) filled: Instant,
}

impl Storing {
    /// There was none in progress.
    pub(super) fn begin(&mut self, commit: Commit) {
        self.commit = Some(commit);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.commit.is_none()
    }

    /// The rows of the commit in progress, and the size of their payloads.
    pub(super) fn size(&self) -> (usize, usize) {
        self.commit
            .as_ref()
            .map_or((0, 0), |commit| (commit.rows, commit.bytes))
    }

    /// The end of the commit in progress; never, if there is none. The future may be dropped, and the method called again.
    pub(super) async fn end(&mut self) -> (Commit, Result<Stored, store::Error>) {
        let Some(commit) = &mut self.commit else {
            return std::future::pending().await;
        };
        let stored = (&mut commit.future).await;
        let Some(commit) = self.commit.take() else {
            return std::future::pending().await;
        };
        if stored.is_ok() {
            self.acknowledged = self.acknowledged.max(commit.sequence);
        }
        (commit, stored)
    }
}

/// Commits, and adds company records that were left for later, if it is time.
pub(super) async fn commit(
    store: Store,
    commit: SyncCommit,
    filled: Instant,
) -> Result<Stored, store::Error> {
    let id = commit.integration_id;
    let committed = store.sync_commit(commit).await?;
    let is_due = match committed.left {
        Left::Nothing => false,
        Left::Some => filled.elapsed() >= FILL_EVERY,
        Left::Chunk => true,
    };
    let (lacks_companies, filled) = match committed.left {
        Left::Nothing => (false, Instant::now()),
        _ if is_due => fill(&store, id).await,
        _ => (true, filled),
    };
    Ok(Stored {
        committed,
        lacks_companies,
        filled,
    })
}

/// Adds the company records and links that were left for later; returns whether some are left, and the end of the pause. It may
/// fail: it is tried again, and the end of the sync does it.
pub(super) async fn fill(store: &Store, id: IntegrationId) -> (bool, Instant) {
    let begun = Instant::now();
    let done = store.company_fill(id).await;
    if let Err(error) = &done {
        tracing::warn!(integration = %id, "cannot add companies of {id} yet, will retry: {error}");
    }
    (done.is_err(), Instant::now() + FILL_PAUSE * begun.elapsed())
}
