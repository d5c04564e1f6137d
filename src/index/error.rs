//! The errors of the index, and their consequence: wait, or rebuild it.

use std::io;

use tantivy::TantivyError;
use tantivy::directory::error::{LockError, OpenDirectoryError, OpenReadError, OpenWriteError};

use crate::domain::IntegrationId;
use crate::store;

/// An error of the index.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An error of the database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// An error of Tantivy.
    #[error("the index: {0}")]
    Tantivy(#[from] TantivyError),
    /// A file cannot be read or written.
    #[error("the index: {0}")]
    Io(#[from] io::Error),
    /// The index files of this integration do not have the content that was written.
    #[error("the index of {integration} is damaged: {what}")]
    Damaged {
        /// The integration.
        integration: IntegrationId,
        /// The file, and what is wrong with it.
        what: String,
    },
    /// The index is in an unexpected state, or Tantivy panicked.
    #[error("the index: {0}")]
    Broken(String),
    /// The caller no longer waits for the result.
    #[error("cancelled: the caller no longer waits for the result")]
    Cancelled,
}

/// The cause of an error. Only `Damage` is a reason to delete an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The database failed.
    Database,
    /// The operating system failed with this error number: no descriptors, memory or disk space, or no permission.
    System(i32),
    /// A file is missing or does not have the content that was written.
    Damage,
    /// The error does not say whether the files are intact.
    Unknown,
}

impl Error {
    /// Whether a later retry may succeed: the operating system refused memory, descriptors, disk space or access.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self.cause(), Cause::System(_))
    }

    pub(super) fn cause(&self) -> Cause {
        match self {
            Self::Store(_) => Cause::Database,
            Self::Tantivy(error) => of_library(error),
            Self::Io(error) => of_io(error),
            Self::Damaged { .. } => Cause::Damage,
            Self::Broken(_) | Self::Cancelled => Cause::Unknown,
        }
    }
}

/// Errors of the operating system are temporary, except a missing file. Errors without a number were found in the
/// content that was read: a checksum, a length, a format.
pub(super) fn of_io(error: &io::Error) -> Cause {
    match (error.raw_os_error(), error.kind()) {
        (_, io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
            Cause::Damage
        }
        (Some(number), _) => Cause::System(number),
        (None, _) => Cause::Unknown,
    }
}

fn of_library(error: &TantivyError) -> Cause {
    match error {
        TantivyError::IoError(error)
        | TantivyError::OpenDirectoryError(
            OpenDirectoryError::FailedToCreateTempDir(error)
            | OpenDirectoryError::IoError { io_error: error, .. },
        )
        | TantivyError::OpenReadError(OpenReadError::IoError { io_error: error, .. })
        | TantivyError::OpenWriteError(OpenWriteError::IoError { io_error: error, .. })
        | TantivyError::LockFailure(LockError::IoError(error), _) => of_io(error),
        // The previous writer has not ended yet.
        TantivyError::LockFailure(LockError::LockBusy, _) | TantivyError::SystemError(_) => Cause::System(0),
        TantivyError::OpenReadError(_)
        | TantivyError::OpenDirectoryError(_)
        | TantivyError::DataCorruption(_)
        | TantivyError::IncompatibleIndex(_)
        | TantivyError::SchemaError(_) => Cause::Damage,
        _ => Cause::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn only_what_was_read_and_what_is_missing_is_damage() {
        let system = |errno: rustix::io::Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        use rustix::io::Errno;
        for errno in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
            Errno::ACCESS,
            Errno::PERM,
            Errno::IO,
            Errno::NOSPC,
            Errno::DQUOT,
            Errno::ROFS,
        ] {
            let number = errno.raw_os_error();
            let plain = Error::from(system(errno));
            let read = OpenReadError::wrap_io_error(system(errno), "a.fast".into());
            let write = OpenWriteError::wrap_io_error(system(errno), "a.fast".into());
            let lock = LockError::wrap_io_error(system(errno));
            for error in [
                plain,
                Error::from(TantivyError::from(read)),
                Error::from(TantivyError::from(write)),
                Error::from(TantivyError::from(lock)),
                Error::from(TantivyError::IoError(Arc::new(system(errno)))),
            ] {
                assert_eq!(error.cause(), Cause::System(number), "{error}");
                assert!(error.is_temporary());
            }
        }
        let missing = TantivyError::from(OpenReadError::FileDoesNotExist("a.fast".into()));
        let bad = io::Error::new(io::ErrorKind::InvalidData, "a.fast");
        for error in [
            Error::from(missing),
            Error::from(bad),
            Error::from(system(Errno::NOENT)),
        ] {
            assert_eq!(error.cause(), Cause::Damage, "{error}");
        }
        let thread = Error::from(TantivyError::ErrorInThread("a worker".to_owned()));
        assert_eq!(thread.cause(), Cause::Unknown);
        assert_eq!(Error::Broken("a panic".to_owned()).cause(), Cause::Unknown);
    }
}
