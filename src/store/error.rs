//! What can go wrong in the store, in terms a service can act on.

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::domain::SyncId;

/// What stands in the way of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// It was changed since it was read: the revision differs.
    Revision,
    /// Another integration of the group has this name.
    Name,
    /// Another integration of the group has this label.
    Label,
    /// Its state does not allow this.
    State,
    /// Its generation is another: the account or the selection changed.
    Generation,
    /// The account has as many active integrations as it may have.
    AccountFull,
    /// The group has as many drafts as it may have.
    DraftsFull,
    /// Two groups are not connected with each other.
    NotConnected,
}

/// Why a worker may not write for a sync any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Another worker took it.
    Fence,
    /// It ended, was cancelled, or its integration is no longer active.
    State,
    /// The integration's account or selection changed; the sync has to begin again.
    Generation,
}

/// What can go wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing.
    #[error("there is no {what} \"{id}\"")]
    NotFound {
        /// The noun.
        what: &'static str,
        /// Which.
        id: String,
    },
    /// The write would break a rule.
    #[error("{message}")]
    Conflict {
        /// Which rule.
        kind: Conflict,
        /// The rule and the thing, in a sentence.
        message: String,
    },
    /// The request id was used for another request.
    #[error("request id \"{0}\" was used for another request")]
    RequestReused(String),
    /// The worker's hold on the sync is gone; it has to stop.
    #[error("the worker no longer holds sync \"{sync}\" ({why:?})")]
    LeaseLost {
        /// Which sync.
        sync: SyncId,
        /// Why.
        why: Lost,
    },
    /// The database was too busy or a lock was not had in time. Try again.
    #[error("the database is busy: {0}")]
    Busy(String),
    /// The database does not answer. Try again later.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// Something stored cannot be read back.
    #[error("stored data cannot be read: {0}")]
    Corrupt(String),
    /// The migrations failed.
    #[error("the database could not be migrated: {0}")]
    Migration(String),
    /// The options are wrong.
    #[error("the database options are wrong: {0}")]
    Config(String),
    /// A statement failed in a way that nothing else here describes.
    #[error("a statement failed")]
    Query(#[source] DieselError),
}

impl Error {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Unavailable(_))
    }

    /// Whether this is a conflict of this kind.
    pub fn is_conflict(&self, wanted: Conflict) -> bool {
        matches!(self, Self::Conflict { kind, .. } if *kind == wanted)
    }

    /// Whether a thing was not found.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    pub(crate) fn not_found(what: &'static str, id: impl ToString) -> Self {
        Self::NotFound {
            what,
            id: id.to_string(),
        }
    }

    pub(crate) fn conflict(kind: Conflict, message: impl Into<String>) -> Self {
        Self::Conflict {
            kind,
            message: message.into(),
        }
    }

    /// Whether the connection it happened on is of no use any more.
    pub(crate) fn is_broken_connection(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl From<DieselError> for Error {
    fn from(error: DieselError) -> Self {
        match error {
            DieselError::DatabaseError(kind, info) => {
                let message = info.message().to_owned();
                match kind {
                    DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand => {
                        Self::Unavailable(message)
                    }
                    DatabaseErrorKind::SerializationFailure => Self::Busy(message),
                    _ if [
                        "database is locked",
                        "database table is locked",
                        "deadlock detected",
                    ]
                    .iter()
                    .any(|m| message.starts_with(m))
                        || message.starts_with("canceling statement due to") =>
                    {
                        Self::Busy(message)
                    }
                    _ if message.starts_with("terminating connection")
                        || message.starts_with("server closed the connection")
                        || message.contains("connection not open") =>
                    {
                        Self::Unavailable(message)
                    }
                    _ => Self::Query(DieselError::DatabaseError(kind, info)),
                }
            }
            DieselError::BrokenTransactionManager => {
                Self::Unavailable("the connection broke within a transaction".to_owned())
            }
            DieselError::DeserializationError(error) => Self::Corrupt(error.to_string()),
            other => Self::Query(other),
        }
    }
}

/// Gives a missing row the name of the thing that was looked for.
pub(crate) trait OrNotFound<T> {
    /// An absent row is this thing not found.
    fn or_not_found(self, what: &'static str, id: impl ToString) -> Result<T, Error>;
}

impl<T> OrNotFound<T> for Result<T, DieselError> {
    fn or_not_found(self, what: &'static str, id: impl ToString) -> Result<T, Error> {
        match self {
            Err(DieselError::NotFound) => Err(Error::not_found(what, id)),
            Err(other) => Err(other.into()),
            Ok(row) => Ok(row),
        }
    }
}

/// If a statement failed on a unique index whose name or column contains `part`.
pub(crate) fn is_unique_violation(error: &DieselError, part: &str) -> bool {
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, info) => {
            info.constraint_name().is_some_and(|name| name.contains(part)) || info.message().contains(part)
        }
        _ => false,
    }
}

/// If a statement failed because a row it points to is not there.
pub(crate) fn is_foreign_key_violation(error: &DieselError) -> bool {
    matches!(
        error,
        DieselError::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _)
    )
}
