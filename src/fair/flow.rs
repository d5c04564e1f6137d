//! The flow of a piece of work: the group, or the part of the server, for which the work is done.
//!
//! The flow of a call is a task-local. An argument would have to be passed through each method of the store and all
//! code between the store and the gRPC layer.
//!
//! A call of the service identity has the flow of the group that it concerns, from the moment the message is
//! read (`Services::about`). There is one flow for calls about no group, one for the callback page, and one
//! for the server's own tasks. A spawned task has no flow and counts as the server's own, which is limited
//! too, unless it takes the flow along (`fair::carried`).

use std::any::Any;
use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;

/// Identifies for whom work is done. Work of one flow is served in order; flows take turns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Flow {
    /// A group: its own calls, and calls of the service identity about this group.
    Group(Arc<str>),
    /// A call about no group or about several: calls of the service identity, and health probes. Also a call whose
    /// group is not known yet.
    #[default]
    Platform,
    /// The callback page for browsers, which needs no token.
    Callback,
    /// The server's own tasks: syncs and their heartbeats, token refreshes, the index, the outbox, cleanup.
    Internal,
}

impl Flow {
    /// The flow of a group.
    #[must_use]
    pub fn group(id: &str) -> Self {
        Self::Group(id.into())
    }
}

/// The flow of one call. It changes once for calls of the service identity: their group is in the message, which is
/// read after the call was admitted. Cheap to clone.
#[derive(Clone, Default)]
pub struct CallFlow {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    flow: Flow,
    /// What the call holds until its response begins: its slot among the calls in progress.
    held: Option<Box<dyn Any + Send>>,
}

tokio::task_local! {
    static CALL: CallFlow;
}

/// The call that this task serves; `None` in the server's own tasks.
#[must_use]
pub fn call() -> Option<CallFlow> {
    CALL.try_with(CallFlow::clone).ok()
}

/// The flow of the current task.
#[must_use]
pub fn current() -> Flow {
    CALL.try_with(CallFlow::flow).unwrap_or(Flow::Internal)
}

/// Wraps work for a new task, so that it still counts for the call of this task.
pub fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let call = call();
    async move {
        match call {
            Some(call) => call.scope(work).await,
            None => work.await,
        }
    }
}

impl CallFlow {
    /// A call with this flow.
    #[must_use]
    pub fn of(flow: Flow) -> Self {
        let this = Self::default();
        this.set(flow);
        this
    }

    /// The current flow.
    #[must_use]
    pub fn flow(&self) -> Flow {
        self.state.lock().flow.clone()
    }

    /// Sets the flow when it becomes known.
    pub fn set(&self, flow: Flow) {
        self.state.lock().flow = flow;
    }

    /// Keeps a value until [`release`](Self::release); replaces and drops the previous value.
    pub fn hold(&self, held: impl Any + Send) {
        let before = self.state.lock().held.replace(Box::new(held));
        drop(before);
    }

    /// Drops the kept value: the response begins.
    pub fn release(&self) {
        let held = self.state.lock().held.take();
        drop(held);
    }

    /// Runs work for this call.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CALL.scope(self, work).await
    }

    /// Runs synchronous work for this call.
    pub fn sync_scope<T>(self, work: impl FnOnce() -> T) -> T {
        CALL.sync_scope(self, work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_belongs_to_no_call_is_internal() {
        assert_eq!(current(), Flow::Internal);
        let call = CallFlow::default();
        let flows = call.clone().scope(async {
            let before = current();
            call.set(Flow::group("acme"));
            let own = tokio::spawn(async { current() }).await.unwrap();
            let carried = tokio::spawn(carried(async { current() })).await.unwrap();
            [before, own, carried]
        });
        let group = Flow::group("acme");
        assert_eq!(flows.await, [Flow::Platform, Flow::Internal, group]);
    }

    #[test]
    fn what_is_held_is_given_back_once() {
        let (call, place) = (CallFlow::default(), Arc::new(()));
        call.hold(Arc::clone(&place));
        call.hold(Arc::clone(&place));
        assert_eq!(Arc::strong_count(&place), 2, "the second instead of the first");
        call.release();
        assert_eq!(Arc::strong_count(&place), 1);
    }
}
