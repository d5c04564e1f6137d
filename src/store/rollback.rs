//! The error of a transaction that was rolled back: the store's, or one of the work in it.

use super::Error;

/// Why a transaction was rolled back.
#[derive(Debug, thiserror::Error)]
pub enum Rollback<E> {
    /// An error of the store. PostgreSQL's errors are classified after the transaction has ended, so the work passes them on
    /// unchanged; it may handle [`Error::Conflict`] and [`Error::NotFound`].
    #[error(transparent)]
    Store(#[from] Error),
    /// An error of the work.
    #[error("{0}")]
    By(E),
}

/// The error type of work that returns errors of the store only.
pub(super) type Never = std::convert::Infallible;

impl From<Rollback<Never>> for Error {
    fn from(rollback: Rollback<Never>) -> Self {
        match rollback {
            Rollback::Store(error) => error,
            Rollback::By(never) => match never {},
        }
    }
}

impl<E> From<diesel::result::Error> for Rollback<E> {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}

impl<E> Rollback<E> {
    /// The store's error, if it is one.
    pub(super) fn store(&self) -> Option<&Error> {
        match self {
            Self::Store(error) => Some(error),
            Self::By(_) => None,
        }
    }

    /// Converts the error of the work.
    pub fn map<O>(self, change: impl FnOnce(E) -> O) -> Rollback<O> {
        match self {
            Self::Store(error) => Rollback::Store(error),
            Self::By(error) => Rollback::By(change(error)),
        }
    }

    /// Converts the error of the store.
    pub(super) fn map_store(self, change: impl FnOnce(Error) -> Error) -> Self {
        match self {
            Self::Store(error) => Self::Store(change(error)),
            by @ Self::By(_) => by,
        }
    }
}
