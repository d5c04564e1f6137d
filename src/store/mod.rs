//! All SQL: SQLite in a file, or PostgreSQL, behind one API.
//!
//! [`Store`] is cheap to clone; its methods are asynchronous and noun-first. Each is one transaction. Inside, every noun
//! has one file of plain functions on `&mut Conn`; what must differ between the databases is in `sqlite` and `postgres`.
//!
//! SQLite has a pool of readers and one writer thread that commits what is queued together. PostgreSQL has one pool.

use std::{sync::Arc, time::Duration};

mod audit;
mod authorization;
mod company;
mod conn;
mod covers;
mod enablement;
mod erase;
mod error;
mod event;
mod field;
mod grant;
mod group;
mod identity;
mod integration;
mod meta;
mod migrate;
mod outbox;
mod pool;
mod postgres;
mod record;
mod record_read;
mod refusal;
mod removal;
mod request;
mod schema;
mod secret;
mod session;
mod share;
mod source;
mod sqlite;
mod sync;
mod writer;

pub use audit::{AuditEntry, AuditFilter};
pub use authorization::{Authorization, NewAuthorization};
pub use company::{Company, CompanyKey, Track};
pub use covers::{Covers, IdOrder, is_number};
pub use enablement::Enablement;
pub use erase::Erased;
pub use error::{Conflict, Error, Lost};
pub use event::{Event, EventHead};
pub use field::{Field, FieldRef};
pub use grant::{Grant, GrantPut, NewGrant, RevokedGrant};
pub use group::{DeletedGroup, Group};
pub use identity::{CompanyRecord, Moved};
pub use integration::{
    Activate, AttachGrant, Attached, Deleted, Integration, IntegrationUpdate, Names, NewIntegration,
};
pub use outbox::{NewOutbox, Outbox};
pub use record::{
    Change, ChildSet, Counters, Parent, Record, RecordBatch, RecordRow, Refresh, Refreshed, RelatedKey,
};
pub use record_read::{CompanyRecordKey, RecordContent};
pub use refusal::{NewRefusal, Refusal};
pub use removal::{Decision, RemovalGuard, Settle, Settled};
pub use request::Remembered;
pub use share::{NewShare, Share};
pub use source::{Relation, SeenField, Source};
pub use sync::{
    Committed, Confirmed, Enqueued, Heartbeat, NewSync, ObjectProgress, Sync, SyncCommit, SyncEnd, SyncObject,
};

use conn::Conn;

/// Where the database is and how it is used.
#[derive(Debug, Clone)]
pub struct Options {
    /// `sqlite:<path>` or `postgres://…`.
    pub url: String,
    /// Connections that read (SQLite) or do everything (PostgreSQL).
    pub connections: u32,
    /// How long a call waits for a connection before it is [`Error::Busy`].
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
            connections: 8,
            connection_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(60),
            lock_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
        }
    }

    /// Limits by which a process that was stopped or cut off in the middle of a transaction has lost its locks by the time
    /// its lease ends, so that whoever takes over does not wait for them.
    #[must_use]
    pub fn within_lease(mut self, lease: Duration) -> Self {
        // Very short leases are for trials, on machines that are slow besides.
        self.statement_timeout = (lease / 2).max(Duration::from_secs(5));
        self.idle_timeout = (lease / 3).max(Duration::from_secs(4));
        self.lock_timeout = (lease / 6).clamp(Duration::from_secs(5), Duration::from_secs(10));
        self
    }
}

/// The database.
#[derive(Clone)]
pub struct Store {
    inner: Arc<pool::Pools>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("backend", &self.backend()).finish()
    }
}

impl Store {
    /// Opens the database and checks that it answers. Blocks for a moment; does not migrate.
    pub fn open(options: &Options) -> Result<Self, Error> {
        Ok(Self {
            inner: Arc::new(pool::Pools::open(options)?),
        })
    }

    /// Which database it is: `sqlite` or `postgres`.
    pub fn backend(&self) -> &'static str {
        self.inner.backend()
    }

    /// Brings the tables up to date; returns the versions that were applied.
    pub async fn migrate(&self) -> Result<Vec<String>, Error> {
        self.inner.migrate().await
    }

    /// The versions of the migrations that have not been applied. Makes the table that remembers them, if need be.
    pub async fn pending_migrations(&self) -> Result<Vec<String>, Error> {
        self.write(migrate::pending).await
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), Error> {
        self.read(|conn| {
            diesel::connection::SimpleConnection::batch_execute(conn, "SELECT 1")?;
            Ok(())
        })
        .await
    }

    /// Runs several reads of one snapshot.
    async fn snapshot<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
    {
        self.inner.snapshot(work).await
    }

    /// Runs one statement that reads, without the round trips of a transaction.
    async fn read<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
    {
        self.inner.read(work).await
    }

    /// Runs one transaction.
    async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
    {
        self.inner.write(work).await
    }
}
