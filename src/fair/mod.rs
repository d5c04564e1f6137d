//! A semaphore that serves flows in turn: requests that wait in the queue of one group delay only that group.
//!
//! A free permit goes to the waiting flow that holds the fewest permits; among equals, to the flow whose last turn
//! was longest ago. Within a flow, requests are served in order of arrival. Two limits keep permits free when permits
//! are held for a long time. One flow holds at most three quarters of the permits. Where the server's own tasks also
//! use the permits ([`FairSemaphore::with_internal`]), neither they nor all calls together can hold the last permit.
//! The internal flow is served before the calls while it holds less than a quarter of the permits, and after them
//! otherwise.
//!
//! The semaphore is our own: tokio's gives permits in the order of arrival, ranked-semaphore by fixed
//! priorities, and semaphore-key has one semaphore per key without a common limit; none takes turns.
//! Connections of the database, the queue of SQLite's writer and the assembly of profiles use it. Because the
//! internal flow has its share, heartbeats are stored in time whatever the groups do, and many syncs do not
//! delay calls.
//!
//! Turns are by permits, not by time: a group with slow statements holds connections for longer than another.

mod flow;

pub use flow::{CallFlow, Flow, call, carried, current};

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// The semaphore. Cheap to clone.
#[derive(Clone)]
pub struct FairSemaphore {
    inner: Arc<Inner>,
}

struct Inner {
    /// Maximum number of permits held at the same time.
    most: usize,
    /// Maximum for one flow that is not internal.
    most_of_flow: usize,
    /// Maximum for all flows together that are not internal.
    most_of_calls: usize,
    /// Maximum for the internal flow.
    most_internal: usize,
    /// The internal flow is served first while it holds less than this.
    share_internal: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Permits held by flows that are not internal.
    calls: usize,
    internal: Line,
    /// Contains only flows that hold or wait for permits.
    lines: HashMap<Flow, Line>,
    /// The waiting flows, in the order in which they are served: by the number of permits they hold, then by turn.
    order: BTreeMap<(usize, u64), Flow>,
    /// Counter for turns and waiters.
    next: u64,
}

/// The state of a flow.
#[derive(Default)]
struct Line {
    held: usize,
    /// Set to a new, higher number with each permit that the flow gets or returns.
    turn: u64,
    /// In order of their numbers.
    waiting: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// A permit; it is returned when dropped.
pub struct Permit {
    semaphore: FairSemaphore,
    flow: Flow,
}

impl FairSemaphore {
    /// A semaphore with this many permits, used only by calls.
    #[must_use]
    pub fn new(permits: usize) -> Self {
        Self::bounded(permits, permits, 0, 0)
    }

    /// A semaphore with this many permits, used by calls and by the server's own tasks.
    #[must_use]
    pub fn with_internal(permits: usize) -> Self {
        let all_but_one = permits.saturating_sub(1).max(1);
        Self::bounded(permits, all_but_one, all_but_one, (permits / 4).max(1))
    }

    fn bounded(most: usize, most_of_calls: usize, most_internal: usize, share_internal: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                most,
                most_of_flow: (most * 3 / 4).max(1),
                most_of_calls,
                most_internal: most_internal.max(1),
                share_internal: share_internal.max(1),
                state: Mutex::default(),
            }),
        }
    }

    /// Waits for a permit.
    pub async fn acquire(&self, flow: Flow) -> Permit {
        let mut waiter = self.wait(flow);
        // This cannot fail: the sender stays in the queue until it is used, because the waiter keeps the semaphore
        // alive.
        let _ = (&mut waiter.turn).await;
        waiter.done = true;
        Permit {
            semaphore: self.clone(),
            flow: waiter.flow.clone(),
        }
    }

    fn wait(&self, flow: Flow) -> Waiter {
        let (sender, turn) = oneshot::channel();
        let mut state = self.inner.state.lock();
        state.next += 1;
        let number = state.next;
        state.change(&flow, |line| {
            if line.held == 0 && line.waiting.is_empty() {
                // A new flow comes after the waiting flows with the same number of permits.
                line.turn = number;
            }
            line.waiting.push_back((number, sender));
        });
        self.inner.serve(&mut state);
        Waiter {
            semaphore: self.clone(),
            flow,
            number,
            turn,
            done: false,
        }
    }

    fn give_back(&self, flow: &Flow) {
        let mut state = self.inner.state.lock();
        state.hold(flow, |held| held - 1);
        self.inner.serve(&mut state);
    }
}

impl Inner {
    /// Gives free permits to the waiters that are next.
    fn serve(&self, state: &mut State) {
        while state.calls + state.internal.held < self.most {
            let internal = !state.internal.waiting.is_empty() && state.internal.held < self.most_internal;
            let call = match state.order.first_key_value() {
                // The first flow holds the fewest permits: if it has reached its limit, all others have, too.
                Some(((held, _), flow)) if *held < self.most_of_flow && state.calls < self.most_of_calls => {
                    Some(flow.clone())
                }
                _ => None,
            };
            let flow = match call {
                Some(flow) if !internal || state.internal.held >= self.share_internal => flow,
                _ if internal => Flow::Internal,
                _ => return,
            };
            let first = state.change(&flow, |line| line.waiting.pop_front());
            // A waiter that was dropped meanwhile gets no permit.
            if let Some((_, waiter)) = first
                && waiter.send(()).is_ok()
            {
                state.hold(&flow, |held| held + 1);
            }
        }
    }
}

impl State {
    /// Changes the number of permits that a flow holds.
    fn hold(&mut self, flow: &Flow, change: impl FnOnce(usize) -> usize) {
        self.next += 1;
        let turn = self.next;
        let (before, after) = self.change(flow, |line| {
            let before = line.held;
            line.held = change(before);
            line.turn = turn;
            (before, line.held)
        });
        if *flow != Flow::Internal {
            self.calls = self.calls + after - before;
        }
    }

    /// Changes the state of a flow, and updates its position in the order.
    fn change<T>(&mut self, flow: &Flow, change: impl FnOnce(&mut Line) -> T) -> T {
        if *flow == Flow::Internal {
            return change(&mut self.internal);
        }
        let line = self.lines.entry(flow.clone()).or_default();
        self.order.remove(&(line.held, line.turn));
        let changed = change(line);
        if !line.waiting.is_empty() {
            self.order.insert((line.held, line.turn), flow.clone());
        } else if line.held == 0 {
            self.lines.remove(flow);
        }
        changed
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.semaphore.give_back(&self.flow);
    }
}

/// A waiting request.
struct Waiter {
    semaphore: FairSemaphore,
    flow: Flow,
    number: u64,
    turn: oneshot::Receiver<()>,
    /// It has become a permit.
    done: bool,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let inner = &self.semaphore.inner;
        let mut state = inner.state.lock();
        // Permits are granted under the lock: either this waiter has one, or it is still in the queue.
        if self.turn.try_recv().is_ok() {
            state.hold(&self.flow, |held| held - 1);
        } else {
            let number = self.number;
            state.change(&self.flow, |line| {
                if let Ok(at) = line.waiting.binary_search_by_key(&number, |(number, _)| *number) {
                    line.waiting.remove(at);
                }
            });
        }
        inner.serve(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn group(name: &str) -> Flow {
        Flow::group(name)
    }

    impl FairSemaphore {
        /// A permit, if one is available at once.
        fn now(&self, flow: &Flow) -> Option<Permit> {
            self.acquire(flow.clone()).now_or_never()
        }

        fn is_empty(&self) -> bool {
            let state = self.inner.state.lock();
            state.calls == 0 && state.internal.held == 0 && state.lines.is_empty() && state.order.is_empty()
        }
    }

    /// The permit of a waiter, if it was granted.
    fn given(waiter: &mut Waiter) -> Option<Permit> {
        (&mut waiter.turn).now_or_never()?.ok()?;
        waiter.done = true;
        Some(Permit {
            semaphore: waiter.semaphore.clone(),
            flow: waiter.flow.clone(),
        })
    }

    #[test]
    fn flows_take_turns() {
        let semaphore = FairSemaphore::new(1);
        let first = semaphore.now(&group("a")).unwrap();
        let mut waiters: Vec<_> = ["a", "a", "a", "b", "b", "c"]
            .map(|name| (name, semaphore.wait(group(name))))
            .into();
        drop(first);
        // Each request returns its permit before the next one is served.
        let mut order = String::new();
        while !waiters.is_empty() {
            let ready = waiters.iter_mut().position(|(_, waiter)| given(waiter).is_some());
            order.push_str(waiters.remove(ready.unwrap()).0);
        }
        // The queue of `a` does not delay `b` and `c`, although it was there first.
        assert_eq!(order, "bcabaa");
        assert!(semaphore.is_empty());
    }

    #[test]
    fn who_holds_the_fewest_comes_first() {
        let semaphore = FairSemaphore::new(4);
        let [a, b] = ["a", "b"].map(group);
        let mut held: Vec<Permit> = (0..3).map(|_| semaphore.now(&a).unwrap()).collect();
        held.push(semaphore.now(&b).unwrap());
        let (mut of_a, mut of_b) = (semaphore.wait(a.clone()), semaphore.wait(b));
        drop(held.remove(0));
        assert!(given(&mut of_b).is_some(), "1 against 2");
        assert!(given(&mut of_a).is_some());
        drop((of_a, of_b, held));
        assert!(semaphore.is_empty());
    }

    #[test]
    fn one_flow_leaves_a_quarter_to_the_others() {
        for (permits, most) in [(1, 1), (2, 1), (3, 2), (4, 3), (8, 6), (64, 48)] {
            let semaphore = FairSemaphore::new(permits);
            let a: Vec<_> = (0..permits).map_while(|_| semaphore.now(&group("a"))).collect();
            assert_eq!(a.len(), most, "{permits}");
            assert_eq!(semaphore.now(&group("b")).is_some(), permits > 1);
        }
    }

    #[test]
    fn internal_work_and_calls_leave_each_other_one() {
        for permits in [2, 4, 8] {
            let semaphore = FairSemaphore::with_internal(permits);
            let calls: Vec<_> = (0..2 * permits)
                .filter_map(|number| semaphore.now(&group(&number.to_string())))
                .collect();
            assert_eq!(calls.len(), permits - 1);
            assert!(semaphore.now(&Flow::Internal).is_some());
            drop(calls);
            let internal: Vec<_> = (0..permits)
                .filter_map(|_| semaphore.now(&Flow::Internal))
                .collect();
            assert_eq!(internal.len(), permits - 1);
            assert!(semaphore.now(&group("a")).is_some());
        }
    }

    #[test]
    fn internal_work_comes_first_up_to_its_share() {
        let semaphore = FairSemaphore::with_internal(8);
        let mut calls: Vec<_> = (0..7)
            .map(|number| semaphore.now(&group(&number.to_string())).unwrap())
            .collect();
        let first = semaphore.now(&Flow::Internal).unwrap();
        let mut internal = [semaphore.wait(Flow::Internal), semaphore.wait(Flow::Internal)];
        let mut waiting = semaphore.wait(group("w"));
        calls.pop();
        let second = given(&mut internal[0]).expect("it held one of its two");
        assert!(given(&mut internal[1]).is_none() && given(&mut waiting).is_none());
        calls.pop();
        let call = given(&mut waiting).expect("it holds its share");
        assert!(given(&mut internal[1]).is_none());
        calls.pop();
        let third = given(&mut internal[1]).expect("nobody else waits");
        drop((first, second, third, call, calls));
        assert!(semaphore.is_empty());
    }

    #[test]
    fn who_goes_away_gives_its_turn_to_the_next() {
        let semaphore = FairSemaphore::new(1);
        let [a, b] = ["a", "b"].map(group);
        let first = semaphore.now(&a).unwrap();
        let gone = semaphore.wait(b.clone());
        let (late, mut next) = (semaphore.wait(b), semaphore.wait(a));
        drop(gone);
        // When it is dropped, `late` has been granted the permit but has not taken it.
        drop(first);
        assert!(given(&mut next).is_none());
        drop(late);
        assert!(given(&mut next).is_some());
        assert!(semaphore.is_empty());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_permit_is_lost_or_given_twice() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        const PERMITS: usize = 5;
        let semaphore = FairSemaphore::with_internal(PERMITS);
        let held = Arc::new(AtomicUsize::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..2_000_usize {
            let (semaphore, held) = (semaphore.clone(), Arc::clone(&held));
            tasks.spawn(async move {
                let flow = match number % 7 {
                    0 => Flow::Internal,
                    of => group(&of.to_string()),
                };
                let mut permit = Box::pin(semaphore.acquire(flow));
                if number % 3 == 0 {
                    // Some give up before, or just when, they get a permit.
                    tokio::select! {
                        biased;
                        () = tokio::task::yield_now() => return,
                        _ = &mut permit => {}
                    }
                    return;
                }
                let _permit = permit.await;
                assert!(held.fetch_add(1, Ordering::SeqCst) < PERMITS);
                tokio::task::yield_now().await;
                held.fetch_sub(1, Ordering::SeqCst);
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        assert!(semaphore.is_empty());
    }
}
