//! Errors of connectors.

use std::path::PathBuf;
use std::time::Duration;

use super::proto::{self, ErrorKind};

/// A call to a connector, or a stream, failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The connector returned an error; its kind says what to do.
    #[error("{error}")]
    Failed {
        /// The name of the connector.
        connector: String,
        /// The error.
        error: Box<proto::Error>,
    },
    /// There is no connector of this name.
    #[error("there is no connector {name}; looked for {}", paths(.tried))]
    Unknown {
        /// The name.
        name: String,
        /// The paths at which no manifest was found.
        tried: Vec<PathBuf>,
    },
    /// The connector exists but could not be loaded or opened.
    #[error("the connector {name} cannot be used: {reason}")]
    Unusable {
        /// The name of the connector.
        name: String,
        /// The reason.
        reason: String,
    },
    /// The connector failed unexpectedly and is reopened after a pause.
    #[error("the connector {name} has failed and is being restarted")]
    Poisoned {
        /// The name of the connector.
        name: String,
        /// The remaining pause.
        retry_after: Duration,
    },
    /// There was no answer in time, not even a report that the deadline has passed.
    #[error("the connector {0} did not answer in time")]
    TimedOut(String),
    /// No answer will come: the connector was closed, or its process ended.
    #[error("the connector {0} was closed during the call")]
    Lost(String),
    /// The answer does not match the call.
    #[error("the connector {name} broke the contract: {what}")]
    Protocol {
        /// The name of the connector.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
}

impl Error {
    /// The error kind of the contract, which says what to do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Failed { error, .. } => error.what(),
            Self::Unknown { .. } | Self::Unusable { .. } => ErrorKind::Configuration,
            Self::Poisoned { .. } | Self::Lost(_) => ErrorKind::Transient,
            Self::TimedOut(_) => ErrorKind::DeadlineExceeded,
            Self::Protocol { .. } => ErrorKind::Bug,
        }
    }

    /// The kind, as used in metrics and logs.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Failed { error, .. } => error.label(),
            Self::Unknown { .. } => "unknown_connector",
            Self::Unusable { .. } => "unusable",
            Self::Poisoned { .. } => "poisoned",
            Self::TimedOut(_) => "timed_out",
            Self::Lost(_) => "lost",
            Self::Protocol { .. } => "protocol",
        }
    }

    /// Creates an error that a connector returned.
    #[must_use]
    pub fn from_connector(connector: &str, error: proto::Error) -> Self {
        Self::Failed {
            connector: connector.to_owned(),
            error: Box::new(error),
        }
    }

    /// The name of the connector.
    #[must_use]
    pub fn connector(&self) -> &str {
        match self {
            Self::Failed { connector: name, .. }
            | Self::Unknown { name, .. }
            | Self::Unusable { name, .. }
            | Self::Poisoned { name, .. }
            | Self::TimedOut(name)
            | Self::Lost(name)
            | Self::Protocol { name, .. } => name,
        }
    }

    /// The connector's own error, if it is one.
    #[must_use]
    pub fn failed(&self) -> Option<&proto::Error> {
        match self {
            Self::Failed { error, .. } => Some(error),
            _ => None,
        }
    }
}

fn paths(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}

/// A connector could not be found, loaded or opened.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A folder or file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// The error.
        source: std::io::Error,
    },
    /// The manifest is invalid.
    #[error("{path}: {reason}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The hash of the library is not that of the manifest.
    #[error("{path}: its sha256 is {found}, the manifest says {expected}; it was not loaded")]
    Hash {
        /// The library.
        path: PathBuf,
        /// The actual hash.
        found: String,
        /// The expected hash.
        expected: String,
    },
    /// The library is not a connector, or not one for this host.
    #[error("{path}: {reason}")]
    Library {
        /// The library.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The connector refused to open.
    #[error("it did not open: {0}")]
    Open(proto::Error),
    /// It opened but did not describe itself correctly.
    #[error("it does not describe itself: {0}")]
    Describe(Box<Error>),
    /// Its description does not match its manifest.
    #[error("it calls itself {found:?}, its manifest calls it {expected:?}")]
    Name {
        /// The name in its description.
        found: String,
        /// The name in its manifest.
        expected: String,
    },
    /// An error of a child process, or how it ended.
    #[error("{0}")]
    Child(String),
    /// A user other than the operator could replace it.
    #[error("{path}: {reason}; it was not loaded")]
    Unsafe {
        /// The file or folder.
        path: PathBuf,
        /// Which user could replace it.
        reason: String,
    },
    /// The manifest or the operator requires something that this build does not support.
    #[error("{0}")]
    Unsupported(String),
}
