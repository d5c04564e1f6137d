//! Syncs: their rows and leases, the queue, the commit, the end.

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
