//! The lease of a run: kept by a heartbeat while the work goes on.

use std::time::Instant;

use super::super::context::Context;
use super::state::Stop;
use crate::domain::SyncId;
use crate::time::now_us;

/// Does the work while a heartbeat keeps the lease.
pub(super) async fn held<T>(
    context: &Context,
    id: SyncId,
    fence: i64,
    work: impl Future<Output = Result<T, Stop>>,
) -> Result<T, Stop> {
    // The other futures are dropped at an await point. A commit in progress is one transaction: it happens completely
    // or not at all.
    tokio::select! {
        outcome = work => outcome,
        stop = heartbeat(context, id, fence) => Err(stop),
        () = context.stop.cancelled() => Err(Stop::Drain),
    }
}

/// Keeps the lease, and notices a cancel request.
async fn heartbeat(context: &Context, id: SyncId, fence: i64) -> Stop {
    let lease = context.options.lease;
    let mut renewed = Instant::now();
    loop {
        tokio::time::sleep(lease / 4).await;
        let now = now_us();
        let until = now + lease.as_micros() as i64;
        let places = context.worker.per_organization;
        match context
            .store
            .sync_heartbeat((id, fence), places, now, until)
            .await
        {
            Ok(beat) if beat.cancel_requested => return Stop::Cancelled,
            Ok(_) => renewed = Instant::now(),
            // A database that is busy for a moment is tolerated; one that is unavailable for the time of a lease
            // costs the lease.
            Err(error) if error.is_retryable() && renewed.elapsed() < lease => {}
            Err(error) => return error.into(),
        }
    }
}
