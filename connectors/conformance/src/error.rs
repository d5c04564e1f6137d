//! Why the kit could not start.

use std::path::PathBuf;

/// The kit could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `conformance.toml` is missing or invalid.
    #[error("{path}: {reason}")]
    Quirks {
        /// The file.
        path: PathBuf,
        /// The problem.
        reason: String,
    },
    /// The fixture server did not start, or did not print its address.
    #[error("the fixture: {0}")]
    Fixture(String),
    /// There is no such check.
    #[error("there is no check {id}; there are: {all}")]
    Unknown {
        /// The unknown id.
        id: String,
        /// The ids of all checks.
        all: String,
    },
    /// The proxy could not listen.
    #[error("the kit's proxy cannot listen on loopback: {0}")]
    Proxy(std::io::Error),
}
