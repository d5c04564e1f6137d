//! The errors of the store, in terms that a service can act on.

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
    /// It had expired, and the places of its organization are taken.
    Place,
}

/// The noun of an error: what was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noun {
    /// A group.
    Group,
    /// An integration.
    Integration,
    /// The sealed login of an account.
    Credential,
    /// A sync.
    Sync,
    /// A login under way.
    Login,
    /// The stored data of an integration.
    DataSet,
}

impl std::fmt::Display for Noun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Group => "group",
            Self::Integration => "integration",
            Self::Credential => "credential",
            Self::Sync => "sync",
            Self::Login => "login under way",
            Self::DataSet => "data of integration",
        })
    }
}

/// What can go wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing.
    #[error("there is no {what} \"{id}\"")]
    NotFound {
        /// The noun.
        what: Noun,
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
    /// There is no room left for what was to be written. Try again when somebody has made some.
    #[error("the disk of the database is full: {0}")]
    Full(String),
    /// The database could not do it, for a reason of its own: it ran out of memory, an operator cancelled it, a lock was not
    /// had, an administrator took a permission away. Try again later.
    #[error("the database could not do it: {0}")]
    Failed(String),
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
        matches!(
            self,
            Self::Busy(_) | Self::Unavailable(_) | Self::Full(_) | Self::Failed(_)
        )
    }

    /// Whether this is a conflict of this kind.
    pub fn is_conflict(&self, wanted: Conflict) -> bool {
        matches!(self, Self::Conflict { kind, .. } if *kind == wanted)
    }

    /// Whether a thing was not found.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    pub(crate) fn not_found(what: Noun, id: impl ToString) -> Self {
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

impl Error {
    /// The meaning of a PostgreSQL error, as far as diesel does not report it.
    ///
    /// diesel maps a few of PostgreSQL's codes to kinds and passes no code on, and the texts are in the server's language. The
    /// position in the statement distinguishes an invalid statement from a server with a problem: errors of the parser and
    /// the planner have one, while time-outs, deadlocks, cancellations and a lack of memory, disk space or permission have
    /// none. The tests run every statement, so only the latter occur.
    pub(super) fn of_postgres(self) -> Self {
        match self {
            Self::Query(DieselError::DatabaseError(DatabaseErrorKind::Unknown, info))
                if info.statement_position().is_none() =>
            {
                let mut text = info.message().to_owned();
                if let Some(hint) = info.hint() {
                    text.push_str(". ");
                    text.push_str(hint);
                }
                // Text for people. Other databases report the same error in other words, and it is as retryable.
                match text.contains("No space left on device") {
                    true => Self::Full(text),
                    false => Self::Failed(text),
                }
            }
            other => other,
        }
    }
}

/// What an error of SQLite means that diesel has no kind for. Its texts for result codes are constants of the library, which
/// is built into this program (`sqlite3ErrStr` in its source), in no other language: they are as good as the codes, which
/// diesel does not hand on.
fn of_sqlite(message: &str) -> Option<Error> {
    let message = || message.to_owned();
    Some(match message().as_str() {
        "database is locked" | "interrupted" | "out of memory" => Error::Busy(message()),
        "database or disk is full" => Error::Full(message()),
        "disk I/O error" | "unable to open database file" | "attempt to write a readonly database" => {
            Error::Unavailable(message())
        }
        "database disk image is malformed" | "file is not a database" => Error::Corrupt(message()),
        other if other.starts_with("database table is locked") => Error::Busy(message()),
        _ => return None,
    })
}

impl From<DieselError> for Error {
    fn from(error: DieselError) -> Self {
        match error {
            DieselError::DatabaseError(kind, info) => match kind {
                DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand => {
                    Self::Unavailable(info.message().to_owned())
                }
                // The server became a standby: another one writes now.
                DatabaseErrorKind::ReadOnlyTransaction => Self::Unavailable(info.message().to_owned()),
                DatabaseErrorKind::SerializationFailure => Self::Busy(info.message().to_owned()),
                DatabaseErrorKind::Unknown => {
                    of_sqlite(info.message()).unwrap_or(Self::Query(DieselError::DatabaseError(kind, info)))
                }
                _ => Self::Query(DieselError::DatabaseError(kind, info)),
            },
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
    fn or_not_found(self, what: Noun, id: impl ToString) -> Result<T, Error>;
}

impl<T> OrNotFound<T> for Result<T, DieselError> {
    fn or_not_found(self, what: Noun, id: impl ToString) -> Result<T, Error> {
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
        // SQLite names the columns, in the one text it has; PostgreSQL the constraint.
        DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, info) => {
            info.constraint_name().unwrap_or(info.message()).contains(part)
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
