//! How a child process is started.

use std::path::PathBuf;

/// The argument with which the server's binary runs as a child process.
pub const ARGUMENT: &str = "connector-host";

/// How to start a child.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// The program that contains [`child_process`](crate::child_process); `None` for this program.
    pub(crate) program: Option<PathBuf>,
    pub(crate) library: PathBuf,
    pub(crate) sha256: String,
    /// The server's private copy of the library, with a verified hash; `None` if no copy could be made.
    pub(crate) copy: Option<PathBuf>,
    /// Memory limit of the process, in bytes.
    pub(crate) most_memory: u64,
}
