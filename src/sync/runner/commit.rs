//! Stores what a run received since its last checkpoint.

use super::state::{Pending, Run, Stop};
use super::storing::{self, Commit, Stored, Storing};
use crate::store::{self, SyncCommit};
use crate::time::now_us;
use futures_util::FutureExt as _;
use prost::bytes::Bytes;
use std::time::Instant;

impl Run<'_> {
    /// Stores what is pending, and waits until it is stored. No commit is in progress.
    pub(super) async fn commit(&mut self, checkpoint: Option<Bytes>) -> Result<(), Stop> {
        let mut storing = Storing::default();
        storing.begin(self.begin_commit(checkpoint, 0));
        self.stored(&mut storing).await
    }

    /// Begins to store what is pending. `sequence` is the number of the checkpoint in its stream. No commit is in progress.
    pub(super) fn begin_commit(&mut self, checkpoint: Option<Bytes>, sequence: u64) -> Commit {
        let usage = self.pending.usage;
        let next = Pending {
            usage,
            committed: usage,
            ..Pending::default()
        };
        let pending = std::mem::replace(&mut self.pending, next);
        let checkpoint = checkpoint.map(Vec::from);
        let commit = SyncCommit {
            batches: pending.batches,
            checkpoint: checkpoint.clone(),
            objects: pending.objects,
            bytes: pending.usage.0 - pending.committed.0,
            api_calls: pending.usage.1 - pending.committed.1,
            missing_fields: pending.missing_fields,
            field_types: pending.field_types,
            reads: pending.reads,
            is_first_load: self.is_first_load,
            ..self.nothing()
        };
        self.uncounted += commit.api_calls;
        Commit {
            future: storing::commit(self.context.store.clone(), commit, self.filled).boxed(),
            begun: Instant::now(),
            rows: pending.rows,
            bytes: pending.bytes,
            checkpoint,
            sequence,
        }
    }

    /// Waits for the commit in progress, if there is one.
    ///
    /// # Errors
    /// It failed; or the sync is to stop after it.
    pub(super) async fn stored(&mut self, storing: &mut Storing) -> Result<(), Stop> {
        if storing.is_idle() {
            return Ok(());
        }
        let (commit, stored) = storing.end().await;
        self.after_commit(commit, stored).await
    }

    /// Takes note of the end of a commit.
    pub(super) async fn after_commit(
        &mut self,
        commit: Commit,
        stored: Result<Stored, store::Error>,
    ) -> Result<(), Stop> {
        let Stored {
            committed,
            lacks_companies,
            filled,
        } = stored?;
        (self.lacks_companies, self.filled) = (lacks_companies, filled);
        let at_checkpoint = commit.checkpoint.is_some();
        if at_checkpoint && commit.checkpoint != self.sync.checkpoint {
            self.sync.checkpoint = commit.checkpoint;
            self.sync.tries = 0;
        }
        for (_, counters) in &committed.counters {
            for (word, rows) in [
                ("written", counters.written),
                ("unchanged", counters.unchanged),
                ("removed", counters.removed),
            ] {
                metrics::counter!("tether_sync_rows_total", "connector" => self.connector.clone(), "outcome" => word)
                    .increment(rows.max(0) as u64);
            }
        }
        metrics::histogram!("tether_sync_commit_seconds", "connector" => self.connector.clone())
            .record(commit.begun.elapsed().as_secs_f64());
        if committed.cancel_requested {
            return Err(Stop::Cancelled);
        }
        // A sync stops where it can go on from.
        match at_checkpoint {
            true => self.count(false).await,
            false => Ok(()),
        }
    }

    /// A commit of nothing.
    pub(super) fn nothing(&self) -> SyncCommit {
        SyncCommit {
            sync_id: self.sync.id,
            fence: self.sync.fence,
            integration_id: self.sync.integration_id,
            generation: self.sync.generation,
            batches: Vec::new(),
            checkpoint: None,
            objects: Vec::new(),
            bytes: 0,
            api_calls: 0,
            missing_fields: Vec::new(),
            field_types: Vec::new(),
            reads: Vec::new(),
            is_first_load: false,
            now_us: now_us(),
        }
    }

    /// Adds the company records that were left for later.
    pub(super) async fn fill(&mut self) {
        if self.lacks_companies {
            (self.lacks_companies, self.filled) =
                storing::fill(&self.context.store, self.sync.integration_id).await;
        }
    }
}
