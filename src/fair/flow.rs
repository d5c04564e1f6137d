//! The flow of a piece of work: the group, or the part of the server, for which it is done.
//!
//! The flow of a call is task-local. An argument would have to go through each of the store's methods and through
//! everything between them and the edge, only to be handed on.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;

/// For whom a piece of work is done. Work of one flow waits in order; flows take turns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Flow {
    /// A group: its own calls, and calls of the service identity about it.
    Group(Arc<str>),
    /// A call about no group or about several: those of the service identity, and probes. Also a call whose group is not
    /// known yet.
    #[default]
    Platform,
    /// The callback page for browsers, whose readers need no token.
    Callback,
    /// The server's own tasks: syncs and their heartbeats, refreshes of tokens, the index, the outbox, housekeeping.
    Internal,
}

impl Flow {
    /// The flow of a group.
    #[must_use]
    pub fn group(id: &str) -> Self {
        Self::Group(id.into())
    }
}

/// The flow of one call. It changes once for calls of the service identity: their group is in the message, which is read
/// after the call has been let in. Cheap to clone.
#[derive(Clone, Default)]
pub struct CallFlow {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    flow: Flow,
    /// What the call holds until its answer begins: its place among the calls under way.
    held: Option<Box<dyn Any + Send>>,
}

tokio::task_local! {
    static CALL: CallFlow;
}

/// The call that this task answers; `None` in the server's own tasks.
#[must_use]
pub fn call() -> Option<CallFlow> {
    CALL.try_with(CallFlow::clone).ok()
}

/// The flow of the work that this task does.
#[must_use]
pub fn current() -> Flow {
    CALL.try_with(CallFlow::flow).unwrap_or(Flow::Internal)
}

/// The same work for a task of its own, so that it still counts for this task's call.
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
    /// A call of this flow.
    #[must_use]
    pub fn of(flow: Flow) -> Self {
        let this = Self::default();
        this.set(flow);
        this
    }

    /// Its flow, as far as known.
    #[must_use]
    pub fn flow(&self) -> Flow {
        self.state.lock().flow.clone()
    }

    /// The flow is known now.
    pub fn set(&self, flow: Flow) {
        self.state.lock().flow = flow;
    }

    /// Keeps something until [`release`](Self::release), instead of what was kept before.
    pub fn hold(&self, held: impl Any + Send) {
        let before = self.state.lock().held.replace(Box::new(held));
        drop(before);
    }

    /// Drops what the call holds: its answer begins.
    pub fn release(&self) {
        let held = self.state.lock().held.take();
        drop(held);
    }

    /// Does work of this call.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CALL.scope(self, work).await
    }

    /// The same without waiting.
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
