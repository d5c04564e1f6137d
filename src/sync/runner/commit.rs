//! Stores what a run received since its last checkpoint.

use super::state::{Run, Stop};
use crate::store::SyncCommit;
use crate::time::now_us;
use prost::bytes::Bytes;
use std::time::Instant;

impl Run<'_> {
    pub(super) async fn commit(&mut self, checkpoint: Option<Bytes>) -> Result<(), Stop> {
        let begun = Instant::now();
        let pending = std::mem::take(&mut self.pending);
        self.pending.usage = pending.usage;
        self.pending.committed = pending.usage;
        let now = now_us();
        let commit = SyncCommit {
            sync_id: self.sync.id,
            fence: self.sync.fence,
            integration_id: self.sync.integration_id,
            generation: self.sync.generation,
            batches: pending.batches,
            checkpoint: checkpoint.map(Vec::from),
            objects: pending.objects,
            bytes: pending.usage.0 - pending.committed.0,
            api_calls: pending.usage.1 - pending.committed.1,
            missing_fields: pending.missing_fields,
            field_types: pending.field_types,
            reads: pending.reads,
            lease_until_us: now + self.context.options.lease.as_micros() as i64,
            now_us: now,
        };
        let calls = commit.api_calls.max(0) as u64;
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
        metrics::counter!("tether_crm_calls_total", "connector" => self.connector.clone()).increment(calls);
        metrics::histogram!("tether_sync_commit_seconds", "connector" => self.connector.clone())
            .record(begun.elapsed().as_secs_f64());
        if committed.cancel_requested {
            return Err(Stop::Cancelled);
        }
        Ok(())
    }
}
