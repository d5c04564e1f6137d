//! The errors of an index.

use std::io;

/// An error of an index.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A file does not have the content that was written.
    #[error("{0}")]
    Damaged(String),
    /// The index is in an unexpected state.
    #[error("{0}")]
    Broken(String),
    /// The caller no longer waits for the result.
    #[error("cancelled: the caller no longer waits for the result")]
    Cancelled,
}

impl Error {
    /// The content of this file is not what was written.
    pub(crate) fn damaged(file: &str, how: impl std::fmt::Display) -> Self {
        Self::Damaged(format!("{file}: {how}"))
    }
}
