//! What can go wrong with a connector.

use std::path::PathBuf;
use std::time::Duration;

use super::proto::{self, ErrorKind};

/// A call to a connector, or a stream of one, failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The connector says so; the kind says what to do.
    #[error("{error}")]
    Failed {
        /// The connector's name.
        connector: String,
        /// What it says.
        error: Box<proto::Error>,
    },
    /// There is no connector of this name.
    #[error("there is no connector {name}; looked for {}", paths(.tried))]
    Unknown {
        /// The name.
        name: String,
        /// The manifests that are not there.
        tried: Vec<PathBuf>,
    },
    /// The connector is there but could not be loaded or opened.
    #[error("the connector {name} cannot be used: {reason}")]
    Unusable {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// The connector failed in a way it should not and is opened anew, after a pause.
    #[error("the connector {name} has failed and is being restarted")]
    Poisoned {
        /// Its name.
        name: String,
        /// How long the pause still is.
        retry_after: Duration,
    },
    /// There was no answer in time, not even that there is none.
    #[error("the connector {0} did not answer in time")]
    TimedOut(String),
    /// The answer will never come: the connector was closed, or its process ended.
    #[error("the connector {0} was closed during the call")]
    Lost(String),
    /// The answer is not one to the question.
    #[error("the connector {name} broke the contract: {what}")]
    Protocol {
        /// Its name.
        name: String,
        /// How.
        what: &'static str,
    },
}

impl Error {
    /// What to do about it, in the contract's terms.
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

    /// The kind as it stands in metrics and logs.
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

    /// A connector says that something failed.
    #[must_use]
    pub fn said(connector: &str, error: proto::Error) -> Self {
        Self::Failed {
            connector: connector.to_owned(),
            error: Box::new(error),
        }
    }

    /// The name of the connector it is about.
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

    /// The connector's own error, where it is one.
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
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The manifest says something it may not.
    #[error("{path}: {reason}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What.
        reason: String,
    },
    /// The library is not the one that the manifest names.
    #[error("{path}: its sha256 is {found}, the manifest says {expected}; it was not loaded")]
    Hash {
        /// The library.
        path: PathBuf,
        /// As it is.
        found: String,
        /// As it should be.
        expected: String,
    },
    /// The library is no connector, or not one for this host.
    #[error("{path}: {reason}")]
    Library {
        /// The library.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The connector refused to open.
    #[error("it did not open: {0}")]
    Open(proto::Error),
    /// It opened and then did not say what it is.
    #[error("it does not describe itself: {0}")]
    Describe(Box<Error>),
    /// What it says does not fit its manifest.
    #[error("it calls itself {found:?}, its manifest calls it {expected:?}")]
    Name {
        /// In its description.
        found: String,
        /// In its manifest.
        expected: String,
    },
    /// What a child process said, or what became of it.
    #[error("{0}")]
    Child(String),
    /// Somebody else than the operator could put something in its place.
    #[error("{path}: {reason}; it was not loaded")]
    Unsafe {
        /// The file or folder.
        path: PathBuf,
        /// Who could.
        reason: String,
    },
    /// The manifest or the operator asks for what this build cannot do.
    #[error("{0}")]
    Unsupported(String),
}
