//! The call that the current task answers, for errors, logs and metrics.

use std::future::Future;

use crate::fair::CallFlow;
use crate::policy;

/// The call being answered.
#[derive(Clone)]
pub struct Call {
    /// The rpc's path without the leading slash, shortened if it is none of tether's.
    pub rpc: String,
    /// Under which id the log has it.
    pub request_id: String,
    /// The group that it counts for.
    pub flow: CallFlow,
}

tokio::task_local! {
    static CALL: Call;
}

/// The call that this task answers.
#[must_use]
pub fn current() -> Option<Call> {
    CALL.try_with(Call::clone).ok()
}

/// Runs what belongs to a call, for example its stream after the call itself was answered.
pub async fn within<F: Future>(call: Option<Call>, work: F) -> F::Output {
    match call {
        Some(call) => call.flow.clone().scope(CALL.scope(call, work)).await,
        None => work.await,
    }
}

/// The same without waiting.
pub fn sync_within<T>(call: &Call, work: impl FnOnce() -> T) -> T {
    let flow = call.flow.clone();
    flow.sync_scope(|| CALL.sync_scope(call.clone(), work))
}

/// The rpc of this path as a metric's label: a caller cannot make new ones.
#[must_use]
pub fn label(path: &str) -> &'static str {
    policy::row(path).map_or("unknown", |(rpc, _, _)| rpc)
}

/// Counts an ended call.
pub fn count(rpc: &'static str, code: tonic::Code) {
    let code = (code as i32).to_string();
    metrics::counter!("tether_rpc_total", "rpc" => rpc, "code" => code).increment(1);
}
