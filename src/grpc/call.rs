//! The call that the current task answers, for errors, logs and metrics.

use std::future::Future;

use crate::fair::CallFlow;
use crate::policy;

/// The largest message of a request, in bytes.
pub(super) const LARGEST_REQUEST: usize = 4 << 20;

/// A call in progress.
#[derive(Clone)]
pub struct Call {
    /// The RPC's path without the leading slash; cut if the RPC is unknown.
    pub rpc: String,
    /// The call's id in the log.
    pub request_id: String,
    /// The flow that it counts for.
    pub flow: CallFlow,
}

tokio::task_local! {
    static CALL: Call;
}

/// The call of the current task.
#[must_use]
pub fn current() -> Option<Call> {
    CALL.try_with(Call::clone).ok()
}

/// Runs work of a call in another task, for example its stream after the call has returned.
pub async fn within<F: Future>(call: Option<Call>, work: F) -> F::Output {
    match call {
        Some(call) => call.flow.clone().scope(CALL.scope(call, work)).await,
        None => work.await,
    }
}

/// As [`within`], for synchronous work.
pub fn sync_within<T>(call: &Call, work: impl FnOnce() -> T) -> T {
    let flow = call.flow.clone();
    flow.sync_scope(|| CALL.sync_scope(call.clone(), work))
}

/// The RPC of a path as the label of a metric: `unknown` for other paths, so that callers cannot create
/// labels.
#[must_use]
pub fn label(path: &str) -> &'static str {
    policy::row(path).map_or("unknown", |(rpc, _, _)| rpc)
}

/// Counts a finished call.
pub fn count(rpc: &'static str, code: tonic::Code) {
    let code = (code as i32).to_string();
    metrics::counter!("tether_rpc_total", "rpc" => rpc, "code" => code).increment(1);
}
