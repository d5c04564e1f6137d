//! All SQL: SQLite in a file, or PostgreSQL, behind one API.
//!
//! [`Store`] is cheap to clone; its methods are asynchronous and noun-first. Each is one transaction, where its comment
//! says nothing else. What has to be committed together is composed with [`Store::transaction`], of methods of [`Tx`].
//! Inside, every noun has one file of plain functions on `&mut Conn`, with both statements where the databases need different
//! ones; those of records are many, and stand in `record::sqlite` and `record::postgres`.
//!
//! SQLite has a pool of readers and one writer thread that commits what is queued together. PostgreSQL has one pool.
//!
//! # The order of files
//!
//! A file uses those before it, and none after it (`tests/it/house/circles.rs`):
//!
//! 1. `error`, `options`, `conn`, `schema`, `purge`; `rollback`, `session`, `writer`, `migrate`, `pool`: one database
//! 2. `data`: the databases of data sets; `data_set`: the head of a data set; `handle`: [`Store`], which reads and writes
//!    control and data sets
//! 3. `effect`, `event`, `transaction`: [`Tx`], and what follows from it
//! 4. the nouns: `platform` (the platform's companies, which name others) before all; `integration` (its row and its lock) before all that belongs to one, `record` before `sync`, `sync` before
//!    `removal`
//! 5. what changes many nouns: `integration_edit`, `integration_lifecycle`, `group`, `erase`, `data_purge`, `identity`
//!
//! # The order of locks
//!
//! PostgreSQL locks each row that a transaction changes until its end. Two transactions that lock the same rows in another
//! order wait for each other, and the server ends one of them. So every transaction locks in this order, leaves out what it
//! does not need, and never goes back:
//!
//! 1. `meta`, the row of the version (identity moves alone), then that of the platform's companies; `request`, the row of the
//!    request's id
//! 2. `integration`, by id: all of them before anything else
//! 3. `credentials`, by id: all of them in one statement (`credential::lock_all`)
//! 4. `groups`, by id, then `group_connection`, by key
//! 5. what belongs to an integration or a group, under the lock of that: shares, sources, fields, authorizations; tracked
//!    companies
//! 6. the row of `sync_turn` with the last number (workers that take a sync alone); `sync`, then `sync_object`: several syncs in
//!    the order of their integrations. Under the integration's lock their order is free.
//! 7. `api_usage`, then `organization`: of one integration, which is locked before (FOR KEY SHARE, as its foreign key does); then
//!    other rows of `sync_turn`; `connector_enablement`, `outbox`
//! 8. `group_event_head` and `group_event`, by group: last, for all groups at once, by `Store::transaction` alone
//!
//! Some transactions learn by reading which rows they have to lock. Rows that are added between the read and the lock would be
//! locked out of order, so these transactions read again under their locks, and start again if there are more
//! (`Store::transaction_anew`). Background cleanup deletes old rows of many owners and skips locked rows (`purge`); so does what
//! makes many syncs wait, or due (`sync::turn`, `sync::resume`). Who skips locked rows waits for none, so their order is free.
//! Inserted rows are not visible to other transactions and need no place in the order. A transaction that finds that a row it has
//! locked is not needed ends, and another one begins.
//!
//! A transaction on a data set (`data`) locks its head, `data_set`, and then what it writes of that data set; never a row of
//! control, and never two data sets.
//!
//! `tests/it/store/locks.rs` stops transactions at a lock and checks which locks they hold.

mod api_usage;
mod audit;
mod authorization;
mod company;
mod complete_range;
mod conn;
mod credential;
mod data;
mod data_purge;
mod data_set;
mod effect;
mod enablement;
mod erase;
mod error;
mod event;
mod field;
mod group;
mod handle;
mod identity;
mod integration;
mod integration_edit;
mod integration_lifecycle;
mod leftover;
mod meta;
mod migrate;
mod options;
mod organization;
mod outbox;
mod platform;
mod pool;
mod purge;
mod record;
mod refusal;
mod removal;
mod removal_marks;
mod request;
mod rollback;
mod schema;
mod secret;
mod session;
mod share;
mod source;
mod sync;
mod transaction;
mod wanted;
mod writer;

pub use api_usage::CallCost;
pub use audit::{AuditEntry, AuditFilter};
pub use authorization::{Authorization, NewAuthorization};
pub use company::{Company, CompanyKey, Track};
pub use complete_range::{CompleteRange, IdOrder, is_number};
pub use credential::{Credential, CredentialPut, NewCredential, RevokedCredential};
pub use enablement::Enablement;
pub use erase::Erased;
pub use error::{Conflict, Error, Lost, Noun};
pub use event::{Event, EventHead};
pub use field::{Field, FieldRef, FieldText};
pub use group::{DeletedGroup, Group};
pub use handle::Store;
pub use identity::{CompanyRecord, Moved};
pub use integration::Integration;
pub use integration_edit::{IntegrationUpdate, NewIntegration};
pub use integration_lifecycle::{Activate, AttachCredential, Attached, Deleted};
pub use options::Options;
pub use organization::{Admission, Breaker, CallEnd, CallOutcome, Caller, Organization, OrganizationKey};
pub use outbox::{NewOutbox, Outbox, Revocation};
pub use platform::PlatformCompany;
pub use record::{
    Change, ChangePage, ChildSet, CompanyRecordKey, Counters, Parent, Record, RecordBatch, RecordContent,
    RecordRow, Refresh, Refreshed, row_hash,
};
pub use refusal::{NewRefusal, Refusal};
pub use removal::{RemovalGuard, Settle, Settled, Settling};
pub use request::Request;
pub use rollback::Rollback;
pub use share::{NewShare, Share};
pub use source::{Relation, SeenField, Source};
pub use sync::{
    Committed, Confirmed, Enqueued, Heartbeat, Left, NewPlan, NewSync, ObjectProgress, ObjectRead,
    ReadBefore, Scheduled, Sync, SyncCommit, SyncEnd, SyncObject, Worker,
};
pub use transaction::Tx;
