//! The audit log: who changed what.
//!
//! Entries are written at the edge, by the gate, for every rpc that the policy table says changes something, after the
//! change was committed and before the answer leaves. Whoever was told OK has an entry. Between the two commits only the
//! death of the process, or of the database, can come: a caller that goes away does not stop the second one. Then the
//! call fails, and the log has the entry.

use super::Services;
use crate::caller::Caller;
use crate::domain::{AuditId, Micros};
use crate::error::{Detail, Error, Reason, Result};
use crate::store::{AuditEntry, AuditFilter};
use crate::time::now_us;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How often an entry is tried.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);

/// What a call made of a thing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Made {
    /// In whose logs it stands; nothing means the caller's group.
    groups: Vec<String>,
    /// The thing.
    resource: String,
    /// What of it. Names, counts, keys: never a secret, never imported data.
    detail: BTreeMap<&'static str, String>,
    /// Whether nothing was changed after all.
    nothing: bool,
}

impl Made {
    /// A change of the thing of this name.
    #[must_use]
    pub fn of(resource: impl Into<String>) -> Self {
        Self {
            resource: resource.into(),
            ..Self::default()
        }
    }

    /// Nothing, because only a check was asked for.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            nothing: true,
            ..Self::default()
        }
    }

    /// Adds what of it.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.detail.insert(key, value.to_string());
        self
    }

    /// Says that it concerns this group, whoever calls.
    #[must_use]
    pub fn concerns(mut self, group: impl fmt::Display) -> Self {
        self.groups.push(group.to_string());
        self
    }
}

impl Services {
    /// Writes down what a caller changed: one entry for each group it concerns.
    ///
    /// # Errors
    /// STORAGE_UNAVAILABLE; the log has the entries then.
    pub async fn audit(&self, caller: &Caller, request_id: &str, method: &str, made: Made) -> Result<()> {
        if made.nothing {
            return Ok(());
        }
        let groups = if made.groups.is_empty() {
            vec![caller.group.clone().unwrap_or_default()]
        } else {
            made.groups
        };
        let now = now_us();
        let detail = serde_json::to_string(&made.detail).map_err(Error::internal)?;
        let entry = |group_id: String| AuditEntry {
            id: AuditId::new(),
            group_id,
            create_us: now,
            actor: caller.subject.clone(),
            role: caller.role.to_string(),
            request_id: request_id.to_owned(),
            method: method.to_owned(),
            resource: made.resource.clone(),
            detail: detail.clone(),
        };
        let entries: Vec<AuditEntry> = groups.into_iter().map(entry).collect();
        for last in (1..=TRIES).map(|one| one == TRIES) {
            match self.store.audit_append(entries.clone()).await {
                Ok(()) => break,
                Err(error) if !last && error.is_retryable() => tokio::time::sleep(PAUSE).await,
                Err(error) => {
                    metrics::counter!("tether_audit_lost_total").increment(entries.len() as u64);
                    tracing::error!(
                        ?entries,
                        "a change was made and its audit entry could not be written: {error}"
                    );
                    return Err(Error::new(
                        Reason::StorageUnavailable,
                        "the change was made, but the audit log could not be written: look at the thing before trying again",
                    )
                    .detail(Detail::RetryAfter(super::RETRY)));
                }
            }
        }
        Ok(())
    }

    /// Entries, newest first, before this (time, id).
    ///
    /// # Errors
    /// STORAGE_UNAVAILABLE.
    pub async fn audit_list(
        &self,
        filter: AuditFilter,
        before: Option<(Micros, AuditId)>,
        limit: usize,
    ) -> Result<Vec<AuditEntry>> {
        Ok(self.store.audit_list(filter, before, limit as i64).await?)
    }
}
