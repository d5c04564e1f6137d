//! Syncs: the rows and what holds them, the queue and its leases, the commit that every sync is made of, and the end.

mod commit;
mod finish;
mod queue;
mod row;

pub(super) use commit::object_count;
pub use commit::{Committed, ObjectProgress, SyncCommit};
pub use finish::SyncEnd;
pub use queue::{Confirmed, Enqueued, Heartbeat, NewSync};
pub(super) use queue::{cancel_unfinished, insert};
pub use row::{Sync, SyncObject};
pub(super) use row::{held, held_by, unfinished};
