//! The outcome of a run: missing records are settled, and the sync ends, waits, or is retried.

use super::super::verdict::{FEW_TRIES, Verdict, pause, reason};
use super::lease::held;
use super::state::{Run, Stop};
use crate::connectors;
use crate::credentials;
use crate::domain::{ObjectState, SyncState};
use crate::store::{self, ObjectProgress, Settle, SyncEnd, SyncObject};
use crate::time::now_us;
use std::time::Duration;
use tether_connector_proto as proto;

/// Maximum number of rows removed in one transaction.
const REMOVED_AT_ONCE: i64 = 1_000;

/// The completeness of a sync at its end.
struct Whole {
    /// The company object was read completely.
    company: bool,
    /// The first missing object or held-back removal: (error reason, message).
    lack: Option<(String, String)>,
}

impl Run<'_> {
    /// Removes records that are missing from complete listings, or holds the removal back.
    pub(super) async fn settle(&self, plan: &proto::ReadRequest) -> Result<(), Stop> {
        let store = &self.context.store;
        if !self.whole().await?.company {
            // The sync will fail, and a failed sync removes nothing.
            return Ok(());
        }
        for one in store.sync_objects(self.sync.id).await? {
            // A removal requires a complete listing and a sync that does not fail.
            if one.state != ObjectState::Complete {
                continue;
            }
            // The connector may have listed an object although nothing asked for it.
            if !Self::lists(plan, &one.object) && !store.sync_has_marks(&self.sync, &one.object).await? {
                continue;
            }
            let mut settling = None;
            loop {
                let settle = Settle {
                    sync_id: self.sync.id,
                    fence: self.sync.fence,
                    object: one.object.clone(),
                    guard: self.context.options.guard,
                    limit: REMOVED_AT_ONCE,
                    settling,
                    now_us: now_us(),
                };
                let settled = store.sync_settle(settle).await?;
                for (word, rows) in [("removed", settled.removed), ("held", settled.held)] {
                    metrics::counter!("tether_sync_rows_total", "connector" => self.connector.clone(), "outcome" => word)
                        .increment(rows.max(0) as u64);
                }
                if settled.held > 0 {
                    tracing::warn!(
                        sync = %self.sync.id,
                        object = one.object,
                        rows = settled.held,
                        "held back the removal of {} records of {}",
                        settled.held,
                        one.object
                    );
                }
                if settled.more.is_none() {
                    break;
                }
                settling = settled.more;
            }
        }
        Ok(())
    }

    /// Which objects were read completely, and what is missing.
    async fn whole(&self) -> Result<Whole, store::Error> {
        let objects = self.context.store.sync_objects(self.sync.id).await?;
        let is_whole = |object: &str| {
            let known = |one: &&SyncObject| one.object == object;
            objects
                .iter()
                .find(known)
                .is_some_and(|one| one.state == ObjectState::Complete)
        };
        let lack = |object: &String| {
            let Some(one) = objects.iter().find(|one| one.object == *object) else {
                let text = format!("{object}: the connector ended without reporting its state");
                return Some(("CONNECTOR_FAULT".to_owned(), text));
            };
            match (one.state, one.error_reason.as_str()) {
                (ObjectState::Complete, _) if one.held == 0 => None,
                (ObjectState::Complete | ObjectState::Skipped | ObjectState::Failed, reason)
                    if !reason.is_empty() =>
                {
                    Some((reason.to_owned(), format!("{object}: {}", one.error_message)))
                }
                _ => {
                    let text = format!("{object}: the connector ended without saying that it read all of it");
                    Some(("CONNECTOR_FAULT".to_owned(), text))
                }
            }
        };
        // The error of the company object takes precedence.
        let mut company_first = std::iter::once(&self.company_object).chain(&self.order);
        Ok(Whole {
            company: is_whole(&self.company_object),
            lack: company_first.find_map(lack),
        })
    }

    /// Ends the sync after its stream: succeeded, partial or failed.
    async fn conclude(&mut self) -> Result<(), store::Error> {
        let whole = self.whole().await?;
        match whole.lack {
            None => self.finish(SyncState::Succeeded, "", "").await,
            Some((reason, message)) if whole.company => {
                self.finish(SyncState::Partial, &reason, &message).await
            }
            Some((reason, message)) => self.finish(SyncState::Failed, &reason, &message).await,
        }
    }

    /// Ends a sync that cannot continue. If the company object was read completely, the result is partial.
    async fn give_up(&mut self, reason: &str, message: &str) -> Result<(), store::Error> {
        if !self.whole().await?.company {
            return self.finish(SyncState::Failed, reason, message).await;
        }
        let plan = self.planned().await?;
        let settled = held(self.context, self.sync.id, self.sync.fence, self.settle(&plan)).await;
        match settled {
            Ok(()) => self.finish(SyncState::Partial, reason, message).await,
            // The login is dead: its integration accepts no rows, and missing records stay marked. `finish` checks
            // the fencing token.
            Err(Stop::Store(store::Error::LeaseLost {
                why: store::Lost::State,
                ..
            })) => self.finish(SyncState::Partial, reason, message).await,
            Err(Stop::Cancelled) => {
                self.finish(SyncState::Cancelled, "", "cancelled on request")
                    .await
            }
            Err(Stop::Store(error)) => Err(error),
            // The process is stopping: another process continues and reaches the same result.
            Err(stop) => {
                self.wait(Duration::ZERO, "SHUTTING_DOWN", &stop.to_string())
                    .await
            }
        }
    }

    /// Stores the outcome: finished, failed, cancelled, or waiting to continue from the checkpoint.
    pub(super) async fn end(&mut self, outcome: Result<(), Stop>) -> Result<(), store::Error> {
        self.count_rest(outcome.as_ref().err()).await;
        let stop = match outcome {
            Ok(()) => return self.conclude().await,
            Err(stop) => stop,
        };
        let message = stop.to_string();
        match stop {
            Stop::Cancelled => self.finish(SyncState::Cancelled, "", &message).await,
            Stop::OverBudget(over) => {
                let pause =
                    Duration::from_micros(u64::try_from(over.until_us - now_us()).unwrap_or_default());
                self.wait(pause, "API_BUDGET_USED", &message).await?;
                self.hasten_if_raised().await
            }
            Stop::Drain => self.wait(Duration::ZERO, "SHUTTING_DOWN", &message).await,
            Stop::Store(store::Error::LeaseLost { sync, why }) => Err(store::Error::LeaseLost { sync, why }),
            Stop::Store(error) if error.is_retryable() => {
                self.back_off(Verdict::Passing, None, "STORAGE_UNAVAILABLE", &message)
                    .await
            }
            Stop::Store(_) | Stop::Rows(_) | Stop::NoCheckpoint | Stop::NotById => {
                tracing::error!(sync = %self.sync.id, "sync {} failed: {message}", self.sync.id);
                let reason = if matches!(stop, Stop::Store(_)) {
                    "INTERNAL"
                } else {
                    "CONNECTOR_FAULT"
                };
                self.finish(SyncState::Failed, reason, &message).await
            }
            Stop::Object { object, error } => self.object_again(object, *error).await,
            Stop::Credential(credentials::Error::Revoked { cause, message, .. }) => {
                self.give_up(&cause, &message).await
            }
            Stop::Credential(credentials::Error::Store(error)) if error.is_retryable() => {
                self.back_off(Verdict::Passing, None, "STORAGE_UNAVAILABLE", &message)
                    .await
            }
            Stop::Credential(credentials::Error::Connector(error)) | Stop::Connector(error) => {
                self.failed(error).await
            }
            Stop::Credential(credentials::Error::Busy) => {
                self.back_off(Verdict::Passing, None, "CRM_UNAVAILABLE", &message)
                    .await
            }
            Stop::Credential(_) => self.finish(SyncState::Failed, "INTERNAL", &message).await,
        }
    }

    /// Waits, and retries an object from the checkpoint.
    async fn object_again(&mut self, object: String, error: proto::Error) -> Result<(), store::Error> {
        let verdict = Verdict::of(error.kind());
        let tries =
            self.tries.get(&object).copied().unwrap_or_default() + i64::from(verdict != Verdict::Patience);
        let word = reason(error.kind());
        let position = self.order.iter().position(|known| *known == object);
        let progress = ObjectProgress {
            position: position.unwrap_or(self.order.len()) as i64,
            state: Some(ObjectState::Reading),
            expected: None,
            error: Some((word.to_owned(), error.message.clone())),
            tries: Some(tries),
            object: object.clone(),
        };
        let (id, fence) = (self.sync.id, self.sync.fence);
        self.context
            .store
            .sync_object_upsert(id, fence, vec![progress])
            .await?;
        let message = format!("{object}: {}", error.message);
        let error = connectors::Error::from_connector(&self.connector, error);
        let pause = match self.named_wait(&error) {
            Some(known) => known,
            None => pause(self.context.options.first_pause, tries, rand::random()),
        };
        let least = self.unanswered(&error).await.unwrap_or_default();
        self.wait(pause.max(least), word, &message).await
    }

    /// What the owner reads about an error: with the object that was read, if it concerns one.
    fn message(&self, error: &connectors::Error) -> String {
        let message = credentials::message(error);
        let object = error.failed().filter(|failed| !failed.is_account_wide());
        match object.filter(|failed| self.order.contains(&failed.object)) {
            Some(failed) => format!("{}: {message}", failed.object),
            None => message,
        }
    }

    /// Handles an error of the connector by its verdict.
    async fn failed(&mut self, error: connectors::Error) -> Result<(), store::Error> {
        let (kind, message) = (error.kind(), self.message(&error));
        let least = self.unanswered(&error).await;
        let after = self.named_wait(&error);
        if credentials::is_unavailable(&error) {
            return self
                .back_off(Verdict::Passing, after, "CONNECTOR_UNAVAILABLE", &message)
                .await;
        }
        match Verdict::of(kind) {
            Verdict::Final => self.give_up(reason(kind), &message).await,
            Verdict::Dead => {
                // Mark only the credentials that this sync used; newer ones may have replaced them meanwhile.
                if let Some((id, generation)) = self.used {
                    let now = now_us();
                    let store = &self.context.store;
                    let revoked = store
                        .credential_revoked(id, generation, reason(kind), &message, now)
                        .await?;
                    if !revoked.revoked && store.credential_get(id).await?.generation != generation {
                        return self
                            .back_off(Verdict::Passing, None, reason(kind), &message)
                            .await;
                    }
                }
                self.give_up(reason(kind), &message).await
            }
            verdict => {
                let own = || pause(self.context.options.first_pause, self.sync.tries, rand::random());
                let pause = after.unwrap_or_else(own).max(least.unwrap_or_default());
                self.back_off(verdict, Some(pause), reason(kind), &message).await
            }
        }
    }

    /// Waits and continues from the checkpoint, unless there were too many attempts without progress.
    async fn back_off(
        &mut self,
        verdict: Verdict,
        after: Option<Duration>,
        reason: &str,
        message: &str,
    ) -> Result<(), store::Error> {
        let most = match verdict {
            Verdict::Patience => i64::MAX,
            Verdict::Unknown => FEW_TRIES,
            _ => self.context.options.most_tries,
        };
        if self.sync.tries >= most {
            return self.give_up(reason, message).await;
        }
        let own = || pause(self.context.options.first_pause, self.sync.tries, rand::random());
        let pause = after.unwrap_or_else(own);
        self.wait(pause, reason, message).await
    }

    async fn wait(&mut self, pause: Duration, reason: &str, message: &str) -> Result<(), store::Error> {
        self.fill().await;
        let due = now_us() + pause.as_micros() as i64;
        tracing::info!(sync = %self.sync.id, ?pause, "sync {} waits: {reason}: {message}", self.sync.id);
        let store = &self.context.store;
        let waiting = store
            .sync_wait(self.sync.id, self.sync.fence, due, reason, message)
            .await?;
        if waiting.cancel_requested {
            // The cancel request came just before the wait began. Without this call it would take effect only after
            // the wait.
            store.sync_cancel_request(self.sync.id, now_us()).await?;
        }
        Ok(())
    }

    async fn finish(&mut self, state: SyncState, reason: &str, message: &str) -> Result<(), store::Error> {
        let end = SyncEnd {
            sync_id: self.sync.id,
            fence: self.sync.fence,
            state,
            error_reason: reason.to_owned(),
            error_message: message.to_owned(),
            note: String::new(),
            company_records: None,
            now_us: now_us(),
        };
        self.context.store.sync_finish(end).await?;
        metrics::counter!("tether_sync_finished_total", "connector" => self.connector.clone(), "state" => state.as_str())
            .increment(1);
        tracing::info!(sync = %self.sync.id, "sync {} ended {state} {reason} {message}", self.sync.id);
        Ok(())
    }
}
