//! All SQL: SQLite in a file, or PostgreSQL, behind one API.
//!
//! [`Store`] is cheap to clone; its methods are asynchronous and noun-first. Each is one transaction, where its comment
//! says nothing else. What has to be committed together is composed with [`Store::transaction`], of methods of [`Tx`].
//! Inside, every noun has one file of plain functions on `&mut Conn`, with both statements where the databases need different
//! ones; those of records are many, and stand in `record::sqlite` and `record::postgres`.
//!
//! SQLite has a pool of readers and one writer thread that commits what is queued together. PostgreSQL has one pool.
//!
//! # The order of locks
//!
//! PostgreSQL locks each row that a transaction changes until its end. Two transactions that lock the same rows in another
//! order wait for each other, and the server ends one of them. So every transaction locks in this order, leaves out what it
//! does not need, and never goes back:
//!
//! 1. `meta`, the row of the version (identity moves alone); `request`, the row of the request's id
//! 2. `integration`, by id: all of them before anything else
//! 3. `credentials`, by id: all of them in one statement (`credential::lock_all`)
//! 4. `groups`, by id, then `group_connection`, by key
//! 5. what belongs to an integration or a group, under the lock of that: shares, sources, fields, authorizations; tracked
//!    companies
//! 6. `sync`, then `sync_object`: several syncs in the order of their integrations. Under the integration's lock their order
//!    is free.
//! 7. `connector_enablement`, `outbox`
//! 8. `group_event_head` and `group_event`, by group: last, for all groups at once, by `Store::transaction` alone
//!
//! Some transactions learn by reading which rows they have to lock. Rows that are added between the read and the lock would be
//! locked out of order, so these transactions read again under their locks, and start again if there are more
//! (`Store::transaction_anew`). Background cleanup deletes old rows of many owners and skips locked rows (`purge`). Inserted rows
//! are not visible to other transactions and need no place in the order.
//!
//! A transaction on a data set (`data`) locks its head, `data_set`, and then what it writes of that data set; never a row of
//! control, and never two data sets.
//!
//! `tests/it/store/locks.rs` stops transactions at a lock and checks which locks they hold.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

mod audit;
mod authorization;
mod company;
mod complete_range;
mod conn;
mod credential;
mod data;
mod data_purge;
mod data_set;
mod enablement;
mod erase;
mod error;
mod event;
mod field;
mod group;
mod identity;
mod integration;
mod leftover;
mod meta;
mod migrate;
mod outbox;
mod pool;
mod purge;
mod record;
mod refusal;
mod removal;
mod removal_marks;
mod request;
mod schema;
mod secret;
mod session;
mod share;
mod source;
mod sync;
mod transaction;
mod writer;

pub use audit::{AuditEntry, AuditFilter};
pub use authorization::{Authorization, NewAuthorization};
pub use company::{Company, CompanyKey, Track};
pub use complete_range::{CompleteRange, IdOrder, is_number};
pub use credential::{Credential, CredentialPut, NewCredential, RevokedCredential};
pub use enablement::Enablement;
pub use erase::Erased;
pub use error::{Conflict, Error, Lost, Noun};
pub use event::{Event, EventHead};
pub use field::{Field, FieldRef};
pub use group::{DeletedGroup, Group};
pub use identity::{CompanyRecord, Moved};
pub use integration::{
    Activate, AttachCredential, Attached, Deleted, Integration, IntegrationUpdate, NewIntegration,
};
pub use outbox::{NewOutbox, Outbox};
pub use record::{
    Change, ChangePage, ChildSet, CompanyRecordKey, Counters, Parent, Record, RecordBatch, RecordContent,
    RecordRow, Refresh, Refreshed,
};
pub use refusal::{NewRefusal, Refusal};
pub use removal::{RemovalGuard, Settle, Settled, Settling};
pub use request::Request;
pub use share::{NewShare, Share};
pub use source::{Relation, SeenField, Source};
pub use sync::{
    Committed, Confirmed, Enqueued, Heartbeat, NewSync, ObjectProgress, Sync, SyncCommit, SyncEnd, SyncObject,
};
pub use transaction::{Rollback, Tx};

use conn::Conn;

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

/// The database.
#[derive(Clone)]
pub struct Store {
    /// The database of control.
    inner: Arc<pool::Pools>,
    data: Arc<data::Databases>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("backend", &self.backend()).finish()
    }
}

impl Store {
    /// Opens the databases and checks that control answers. Blocks for a moment; does not migrate.
    pub fn open(options: &Options) -> Result<Self, Error> {
        let inner = Arc::new(pool::Pools::open(options)?);
        let data = Arc::new(data::Databases::open(Arc::clone(&inner), options)?);
        Ok(Self { inner, data })
    }

    /// Which database it is: `sqlite` or `postgres`.
    pub fn backend(&self) -> &'static str {
        self.inner.backend()
    }

    /// Brings the tables up to date; returns the versions that were applied, and the errors of those databases of data sets
    /// that do not answer: their tables are brought up to date when they do.
    pub async fn migrate(&self) -> Result<(Vec<String>, Vec<Error>), Error> {
        let mut done = self.inner.migrate().await?;
        let (versions, silent) = self.data_migrate().await?;
        done.extend(versions);
        Ok((done, silent))
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

    /// Runs one transaction of one noun that also appends events.
    async fn write_with_events<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn, &mut event::NewEvents) -> Result<T, Error> + Send + 'static,
    {
        let work = move |tx: &mut Tx<'_>| work(tx.conn, &mut tx.events).map_err(Rollback::Store);
        Ok(self.transaction::<_, transaction::Never, _>(work).await?)
    }

    /// [`transaction_anew`](Self::transaction_anew) for one noun.
    async fn write_anew<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Fn(&mut Conn, &mut event::NewEvents) -> Result<Option<T>, Error> + Clone + Send + 'static,
    {
        let work = move |tx: &mut Tx<'_>| work(tx.conn, &mut tx.events).map_err(Rollback::Store);
        Ok(self.transaction_anew::<_, transaction::Never, _>(work).await?)
    }

    /// Runs one transaction of one noun.
    async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
    {
        let work = move |conn: &mut Conn| work(conn).map_err(Rollback::Store);
        Ok(self.inner.write::<_, transaction::Never, _>(work).await?)
    }
}
