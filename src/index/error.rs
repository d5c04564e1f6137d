//! The errors of the index, and their consequence: wait, or rebuild it.

use std::io;

use crate::store;

/// An error of the index.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An error of the database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A file cannot be read or written.
    #[error("the index: {0}")]
    Io(#[from] io::Error),
    /// The index files do not have the content that was written.
    #[error("the index is damaged: {0}")]
    Damaged(String),
    /// The index is in an unexpected state.
    #[error("the index: {0}")]
    Broken(String),
    /// The caller no longer waits for the result.
    #[error("cancelled: the caller no longer waits for the result")]
    Cancelled,
}

impl From<tether_columns::Error> for Error {
    fn from(error: tether_columns::Error) -> Self {
        use tether_columns::Error as E;
        match error {
            E::Io(error) => Self::Io(error),
            E::Damaged(what) => Self::Damaged(what),
            E::Broken(what) => Self::Broken(what),
            E::Cancelled => Self::Cancelled,
        }
    }
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
            Self::Io(error) => of_io(error),
            Self::Damaged(_) => Cause::Damage,
            Self::Broken(_) | Self::Cancelled => Cause::Unknown,
        }
    }
}

/// Errors of the operating system are temporary, except a missing file. Errors without a number were found in the
/// content that was read: a length, a format.
fn of_io(error: &io::Error) -> Cause {
    match (error.raw_os_error(), error.kind()) {
        (_, io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
            Cause::Damage
        }
        (Some(number), _) => Cause::System(number),
        (None, _) => Cause::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let of_columns = Error::from(tether_columns::Error::Io(system(errno)));
            for error in [Error::from(system(errno)), of_columns] {
                assert_eq!(error.cause(), Cause::System(errno.raw_os_error()), "{error}");
                assert!(error.is_temporary());
            }
        }
        let bad = io::Error::new(io::ErrorKind::InvalidData, "1.rows");
        let damaged = tether_columns::Error::Damaged("1.rows".to_owned());
        for error in [
            Error::from(bad),
            Error::from(system(Errno::NOENT)),
            Error::from(damaged),
        ] {
            assert_eq!(error.cause(), Cause::Damage, "{error}");
        }
        assert_eq!(Error::Broken("a panic".to_owned()).cause(), Cause::Unknown);
    }
}
