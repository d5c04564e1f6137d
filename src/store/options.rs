//! Where the databases are and how they are used.

use std::{collections::BTreeMap, time::Duration};

/// Where the database is and how it is used.
#[derive(Debug, Clone)]
pub struct Options {
    /// `sqlite:<path>` or `postgres://…`.
    pub url: String,
    /// Further PostgreSQL databases for the data sets of integrations, by name. An integration that is created gets one of
    /// them, and keeps it.
    pub data: BTreeMap<String, String>,
    /// Connections that read (SQLite) or do everything (PostgreSQL).
    pub connections: u32,
    /// How long a call waits for a connection before it is [`Error::Busy`](super::Error::Busy).
    pub connection_timeout: Duration,
    /// PostgreSQL: how long one statement may take. SQLite has no such limit.
    pub statement_timeout: Duration,
    /// How long a statement waits for a lock; with SQLite how long a write waits for its turn.
    pub lock_timeout: Duration,
    /// PostgreSQL: how long a transaction may do nothing.
    pub idle_timeout: Duration,
}

impl Options {
    /// The usual options for this address.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            data: BTreeMap::new(),
            connections: 8,
            connection_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(60),
            lock_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
        }
    }

    /// Limits by which a process that was stopped or cut off in the middle of a transaction has lost its locks by the time
    /// its lease ends, so that the next worker does not wait for them.
    #[must_use]
    pub fn within_lease(mut self, lease: Duration) -> Self {
        // Very short leases are for trials, on machines that are slow besides.
        self.statement_timeout = (lease / 2).max(Duration::from_secs(5));
        self.idle_timeout = (lease / 3).max(Duration::from_secs(4));
        self.lock_timeout = (lease / 6).clamp(Duration::from_secs(5), Duration::from_secs(10));
        self
    }
}
