//! Stores what a run received since its last checkpoint.

use super::state::{Run, Stop};
use crate::store::{Left, SyncCommit};
use crate::time::now_us;
use prost::bytes::Bytes;
use std::time::{Duration, Instant};

/// During a first load, company records and links that were left for later are added at least so often, counted from the end of
/// the pause after the last time.
pub(super) const FILL_EVERY: Duration = Duration::from_secs(5);
/// The pause after adding them, in multiples of the time that it took: each time writes most pages of the tables again, so that a
/// slow disk would do little else.
const FILL_PAUSE: u32 = 8;

impl Run<'_> {
    pub(super) async fn commit(&mut self, checkpoint: Option<Bytes>) -> Result<(), Stop> {
        let begun = Instant::now();
        let pending = std::mem::take(&mut self.pending);
        self.pending.usage = pending.usage;
        self.pending.committed = pending.usage;
        let commit = SyncCommit {
            batches: pending.batches,
            checkpoint: checkpoint.map(Vec::from),
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
        let at_checkpoint = commit.checkpoint.is_some();
        let got_on = commit.checkpoint.is_some() && commit.checkpoint != self.sync.checkpoint;
        if got_on {
            self.sync.checkpoint.clone_from(&commit.checkpoint);
        }
        let committed = self.context.store.sync_commit(commit).await?;
        if got_on {
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
            .record(begun.elapsed().as_secs_f64());
        let is_due = match committed.left {
            Left::Nothing => false,
            Left::Some => self.filled.elapsed() >= FILL_EVERY,
            Left::Chunk => true,
        };
        self.lacks_companies = committed.left != Left::Nothing;
        if !self.lacks_companies {
            self.filled = Instant::now();
        } else if is_due {
            self.fill().await;
        }
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

    /// Adds the company records that were left for later. That may fail: it is tried again, and the end of the sync does it.
    pub(super) async fn fill(&mut self) {
        if !self.lacks_companies {
            return;
        }
        let (id, begun) = (self.sync.integration_id, Instant::now());
        match self.context.store.company_fill(id).await {
            Ok(()) => self.lacks_companies = false,
            Err(error) => {
                tracing::warn!(integration = %id, "cannot add companies of {id} yet, will retry: {error}")
            }
        }
        self.filled = Instant::now() + FILL_PAUSE * begun.elapsed();
    }
}
