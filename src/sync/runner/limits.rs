//! The API calls of a run, what it finds out about the CRM of its organization, and how long it waits for it.

use super::super::verdict::wait_for_limit;
use super::state::{Run, Stop};
use crate::connectors;
use crate::credentials;
use crate::domain::{CallKind, Micros};
use crate::store::{self, CallCost, CallEnd, CallOutcome, Organization, SyncCommit};
use crate::time::now_us;
use std::time::{Duration, Instant};

/// How often calls are counted for the integration. Those of a process that is killed in between are not.
const COUNT_EVERY: Duration = Duration::from_secs(1);

impl Run<'_> {
    /// Counts the calls since the last time, and stops the sync if its integration has used its budget. Unless it is `due`, this
    /// happens about once a second.
    pub(super) async fn count(&mut self, due: bool) -> Result<(), Stop> {
        if !due && self.count_time.is_some_and(|last| last.elapsed() < COUNT_EVERY) {
            return Ok(());
        }
        // If this future is dropped, the write goes on: the calls are not to be counted again.
        let (calls, said) = (std::mem::take(&mut self.uncounted), self.said.take());
        // What is counted for a day is judged for the same one.
        let now = now_us();
        let cost = CallCost {
            integration_id: self.sync.integration_id,
            organization: self.sync.organization(),
            live: false,
            calls,
            said,
            now_us: now,
        };
        let credentials = &self.context.credentials;
        let used = match credentials.spend(cost).await {
            Ok(used) => used,
            Err(error) => {
                self.uncounted += calls;
                self.said = self.said.or(said);
                return Err(error.into());
            }
        };
        self.count_time = Some(Instant::now());
        match credentials
            .allowance()
            .over(self.budget, &used, CallKind::Sync, now)
        {
            Some(over) => Err(Stop::OverBudget(over)),
            None => Ok(()),
        }
    }

    /// Counts the calls that a run made after its last commit: for the sync, as far as its worker still has it, and for the
    /// integration.
    pub(super) async fn count_rest(&mut self, stop: Option<&Stop>) {
        let failed = match stop {
            Some(Stop::Connector(error)) => error.failed(),
            Some(Stop::Object { error, .. }) => Some(error.as_ref()),
            _ => None,
        };
        if let Some(cost) = failed.and_then(|failed| failed.api_usage.as_deref()) {
            self.pending.usage.0 = self.pending.usage.0.max(cost.bytes as i64);
            self.pending.usage.1 = self.pending.usage.1.max(cost.calls as i64);
            self.said = credentials::said(cost).or(self.said);
        }
        let (bytes, calls) = (
            self.pending.usage.0 - self.pending.committed.0,
            self.pending.usage.1 - self.pending.committed.1,
        );
        self.pending.committed = self.pending.usage;
        self.uncounted += calls;
        if calls > 0 {
            let rest = SyncCommit {
                bytes,
                api_calls: calls,
                ..self.nothing()
            };
            if let Err(error) = self.context.store.sync_commit(rest).await {
                tracing::debug!(sync = %self.sync.id, "the last calls of sync {} are not counted: {error}", self.sync.id);
            }
        }
        match self.count(true).await {
            // What follows is decided already.
            Ok(()) | Err(Stop::OverBudget(_)) => {}
            Err(error) => tracing::warn!(sync = %self.sync.id, "cannot count API calls: {error}"),
        }
    }

    /// Goes on at once if the budget was changed while the sync began to wait for it.
    pub(super) async fn hasten_if_raised(&self) -> Result<(), store::Error> {
        let (store, id) = (&self.context.store, self.sync.integration_id);
        if store.integration_get(id).await?.budget() == self.budget {
            return Ok(());
        }
        store.sync_hasten(id, "API_BUDGET_USED", now_us()).await
    }

    /// The CRM answered: other syncs of the organization need not wait.
    pub(super) async fn answered(&mut self) -> Result<(), Stop> {
        if std::mem::take(&mut self.is_troubled) {
            let key = self.sync.organization();
            let credentials = &self.context.credentials;
            // The answer is new, however long ago the read began.
            let end = self.call_end(CallOutcome::Answered, now_us());
            credentials.organization_outcome(&key, end).await?;
        }
        Ok(())
    }

    /// Records an error of the CRM that concerns the organization: it is down, or refuses calls. Returns how long to wait for
    /// it, beyond the pause of this sync.
    pub(super) async fn unanswered(&self, error: &connectors::Error) -> Option<Duration> {
        let outcome = credentials::outcome_of(error)?;
        if outcome == CallOutcome::Answered && !self.is_troubled {
            return None;
        }
        let key = self.sync.organization();
        let end = self.call_end(outcome, self.begin_us);
        match self.context.credentials.organization_outcome(&key, end).await {
            Ok(of) => Some(wait_of(&of, outcome)),
            // The pause of this sync is what is left.
            Err(error) => {
                tracing::warn!(sync = %self.sync.id, "cannot store that the CRM does not answer: {error}");
                None
            }
        }
    }

    fn call_end(&self, outcome: CallOutcome, begin_us: Micros) -> CallEnd {
        CallEnd {
            outcome,
            live: false,
            begin_us,
            end_us: now_us(),
        }
    }

    /// How long the CRM asks to wait, or how long a limit takes of which it names no real end.
    pub(super) fn named_wait(&self, error: &connectors::Error) -> Option<Duration> {
        let named = credentials::retry_after(error);
        wait_for_limit(error.kind(), named, self.sync.attempt, rand::random())
    }
}

fn wait_of(of: &Organization, outcome: CallOutcome) -> Duration {
    let until_us = match outcome {
        CallOutcome::Refused(_) => of.refused_until_us,
        _ => of.closed_until_us,
    };
    Duration::from_micros(u64::try_from(until_us - now_us()).unwrap_or_default())
}
