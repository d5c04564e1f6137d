//! The library to check, and the options.

use std::path::PathBuf;

use tether_connector_host::manifest::Isolation;

use crate::logs::Logs;

/// The library to check, and the options.
#[derive(Debug)]
pub struct Options {
    /// The connector's folder: `connector.toml`, the library, `conformance.toml`.
    pub folder: PathBuf,
    /// A fixture that is already running, instead of the one in `conformance.toml`.
    pub fixture: Option<String>,
    /// The isolations to test, in this order. A child comes first, so that a library that crashes does so there.
    pub isolations: Vec<Isolation>,
    /// The program for child processes; None for the current program.
    pub program: Option<PathBuf>,
    /// Only these checks, by id, and those that always run first; empty for all.
    pub only: Vec<String>,
    /// Installed as a layer of this process's `tracing`: log lines of connectors are searched for secrets.
    pub logs: Logs,
}

impl Options {
    /// Whether the check with this id is to be run.
    pub(crate) fn wants(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == id)
    }
}
