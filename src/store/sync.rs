//! Syncs: their rows and leases, the queue, the schedule, the commit, the end.

mod cancel;
mod claim;
mod commit;
mod finish;
mod lease;
mod plan;
mod queue;
mod report;
mod resume;
mod row;
mod schedule;
mod stored;
mod turn;

pub(super) use cancel::cancel_unfinished;
pub(super) use commit::object_count;
pub use commit::{Committed, Left, ObjectProgress, SyncCommit};
pub use finish::SyncEnd;
pub use plan::{NewPlan, ObjectRead, ReadBefore};
pub use queue::{Confirmed, Enqueued, Heartbeat, NewSync};
pub(super) use queue::{hasten, insert};
pub(super) use report::News;
pub(super) use row::unfinished;
pub use row::{Sync, SyncObject};
pub use schedule::Scheduled;
pub(super) use stored::SyncReport;
pub use turn::Worker;
