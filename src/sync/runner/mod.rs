//! Runs one sync. It reads batches and converts them to stored rows. At each checkpoint it commits one transaction
//! with rows, removals, checkpoint and counters, and acknowledges the checkpoint with a later pull. While a commit is
//! in progress, the next rows are received and checked. At the end it settles removals and finishes.
//!
//! A sync reports only what it really did: an object counts as completely read only if the connector reported it. See
//! `verdict` for which errors are retried.
//!
//! If reading of an object is interrupted by a temporary error, the stream ends, the sync waits, and a new
//! stream is opened from the last checkpoint, three times; then the object is skipped. The connector's own
//! checkpoint is the only way back to the position of the interruption, and the next stored checkpoint would
//! be behind it.

mod commit;
mod definitions;
mod events;
mod lease;
mod limits;
mod outcome;
mod plan;
mod read;
mod state;
mod storing;

use super::context::Context;
use crate::store::{self, Sync};
use lease::held;
use state::Run;

/// Runs a leased sync until it ends, has to wait, or loses its lease.
pub(super) async fn run(context: &Context, sync: Sync) {
    let (id, fence) = (sync.id, sync.fence);
    tracing::info!(sync = %id, integration = %sync.integration_id, attempt = sync.attempt, "sync {id} started");
    let mut run = Run::new(context, sync);
    let outcome = held(context, id, fence, run.read()).await;
    if let Err(error) = run.end(outcome).await {
        match error {
            store::Error::LeaseLost { .. } => {
                tracing::info!(sync = %id, "sync {id} continues in another process: {error}")
            }
            error => {
                tracing::error!(sync = %id, "cannot store the outcome of sync {id}; its lease will expire: {error}")
            }
        }
    }
}
