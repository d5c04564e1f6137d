//! The audit log: who changed what.
//!
//! The entries of a change are written in its own transaction, so that neither exists without the other.

use super::{Inner, Services};
use crate::caller::{Caller, Role};
use crate::domain::{AuditId, GroupId, Micros};
use crate::error::{Error, Result};
use crate::store::{AuditEntry, AuditFilter, Rollback, Tx};
use crate::time::now_us;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

/// The caller and the call that make a change, for its audit entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The caller.
    pub caller: Caller,
    /// The call's id, as in the log.
    pub request_id: String,
    /// The RPC, without its package and service.
    pub method: String,
}

impl Author {
    /// The author of a login that is completed on tether's own page, which is not an rpc: the administrator who began it.
    #[must_use]
    pub fn of_page(subject: String, group: &GroupId, method: &str) -> Self {
        Self {
            caller: Caller {
                subject,
                group: Some(group.to_string()),
                role: Role::Administrator,
            },
            request_id: String::new(),
            method: method.to_owned(),
        }
    }

    /// The entries of a change: one for each group that it concerns.
    fn entries(&self, made: AuditChange, now: Micros) -> Result<Vec<AuditEntry>> {
        let groups = match made.groups.is_empty() {
            true => vec![self.group.clone().unwrap_or_default()],
            false => made.groups,
        };
        let detail = serde_json::to_string(&made.detail).map_err(Error::internal)?;
        let entry = |group_id: String| AuditEntry {
            id: AuditId::new(),
            group_id,
            create_us: now,
            actor: self.subject.clone(),
            role: self.role.to_string(),
            request_id: self.request_id.clone(),
            method: self.method.clone(),
            resource: made.resource.clone(),
            detail: detail.clone(),
        };
        Ok(groups.into_iter().map(entry).collect())
    }
}

impl Deref for Author {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

/// The resource that a call changed, and the change, for the audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditChange {
    /// The groups whose logs get an entry; empty for the caller's group.
    groups: Vec<String>,
    /// The resource's name.
    resource: String,
    /// The change: names, numbers and keys; never secrets or imported data.
    detail: BTreeMap<&'static str, String>,
}

impl AuditChange {
    /// A change of the resource of this name.
    #[must_use]
    pub fn of(resource: impl Into<String>) -> Self {
        Self {
            resource: resource.into(),
            ..Self::default()
        }
    }

    /// Adds a detail of the change.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.detail.insert(key, value.to_string());
        self
    }

    /// Adds a group whose log gets an entry, instead of the caller's group.
    #[must_use]
    pub fn concerns(mut self, group: impl fmt::Display) -> Self {
        self.groups.push(group.to_string());
        self
    }
}

/// The result of the work of a transaction.
pub(super) type Worked<T> = std::result::Result<T, Rollback<Error>>;

/// Sorted names, joined.
pub(super) fn names(names: impl IntoIterator<Item = impl ToString>) -> String {
    let mut names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    names.sort_unstable();
    names.join(", ")
}

impl Inner {
    /// Runs a change and writes its audit entries in one transaction. Work that returns no [`AuditChange`] has changed nothing.
    ///
    /// # Errors
    /// As [`Store::transaction`](crate::store::Store::transaction).
    pub(super) async fn change<T, F>(&self, author: &Author, work: F) -> Worked<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Worked<(T, Option<AuditChange>)> + Send + 'static,
    {
        let author = author.clone();
        self.store
            .transaction(move |tx| {
                let (done, made) = work(tx)?;
                if let Some(made) = made {
                    tx.audit_append(&author.entries(made, now_us())?)?;
                }
                Ok(done)
            })
            .await
    }

    /// [`change`](Self::change) for work that may have to be run again
    /// ([`transaction_anew`](crate::store::Store::transaction_anew)).
    ///
    /// # Errors
    /// As `transaction_anew`.
    pub(super) async fn change_anew<T, F>(&self, author: &Author, work: F) -> Worked<T>
    where
        T: Send + 'static,
        F: Fn(&mut Tx<'_>) -> Worked<Option<(T, AuditChange)>> + Clone + Send + 'static,
    {
        let author = author.clone();
        self.store
            .transaction_anew(move |tx| {
                let Some((done, made)) = work(tx)? else {
                    return Ok(None);
                };
                tx.audit_append(&author.entries(made, now_us())?)?;
                Ok(Some(done))
            })
            .await
    }
}

impl From<Error> for Rollback<Error> {
    fn from(error: Error) -> Self {
        Self::By(error)
    }
}

impl From<Rollback<Error>> for Error {
    fn from(rollback: Rollback<Error>) -> Self {
        rollback.or(Self::from)
    }
}

impl Rollback<Error> {
    /// The error for the caller; `of_store` converts an error of the store.
    pub(super) fn or(self, of_store: impl FnOnce(crate::store::Error) -> Error) -> Error {
        match self {
            Self::Store(error) => of_store(error),
            Self::By(error) => error,
        }
    }

    /// The error for the caller: NOT_FOUND with this name if the row does not exist.
    pub(super) fn or_not_found(self, name: String) -> Error {
        self.or(|error| match error.is_not_found() {
            true => Error::not_found(name),
            false => error.into(),
        })
    }
}

impl Services {
    /// Audit entries, newest first, below this (time, id).
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
