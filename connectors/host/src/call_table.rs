//! Matches answers with waiting calls.
//!
//! An answer comes from foreign code with only a number. Replies to unknown, completed or cancelled call numbers are
//! ignored.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::numbers::Numbers;

/// The table. All libraries of a process share one, because their callbacks have no context; each child process has
/// its own.
#[derive(Debug)]
pub(super) struct CallTable {
    numbers: Numbers,
    /// `None` after closing: no more answers will come.
    waiting: Mutex<Option<HashMap<u64, oneshot::Sender<Bytes>>>>,
}

impl Default for CallTable {
    fn default() -> Self {
        Self {
            numbers: Numbers::default(),
            waiting: Mutex::new(Some(HashMap::new())),
        }
    }
}

/// A call without an answer yet. Dropping it removes it from the table.
#[derive(Debug)]
pub(super) struct Pending {
    table: Arc<CallTable>,
    id: u64,
    answer: oneshot::Receiver<Bytes>,
}

impl CallTable {
    /// Adds a call to the table, with a new unique number.
    pub(super) fn begin(self: &Arc<Self>) -> Pending {
        let id = self.numbers.next();
        let (sender, answer) = oneshot::channel();
        if let Some(waiting) = self.waiting.lock().as_mut() {
            waiting.insert(id, sender);
        }
        Pending {
            table: Arc::clone(self),
            id,
            answer,
        }
    }

    /// Passes an answer to the waiting call. Returns whether there is one.
    pub(super) fn complete(&self, id: u64, answer: Bytes) -> bool {
        let waiting = self
            .waiting
            .lock()
            .as_mut()
            .and_then(|waiting| waiting.remove(&id));
        waiting.is_some_and(|waiting| waiting.send(answer).is_ok())
    }

    /// Ends all waiting calls without an answer, and all later calls, too.
    pub(super) fn close(&self) {
        drop(self.waiting.lock().take());
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.lock().as_ref().map_or(0, HashMap::len)
    }
}

impl Pending {
    /// The number of the call.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The answer; `None` if the other side is gone. The future may be dropped and the method called again.
    pub(super) async fn answer(&mut self) -> Option<Bytes> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(waiting) = self.table.waiting.lock().as_mut() {
            waiting.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn second_late_and_made_up_answers_are_harmless() {
        let table = Arc::new(CallTable::default());
        let mut first = table.begin();
        let second = table.begin();
        assert!(table.complete(first.id(), Bytes::from_static(b"a")));
        assert!(!table.complete(first.id(), Bytes::from_static(b"b")));
        assert_eq!(first.answer().await.as_deref(), Some(&b"a"[..]));
        let late = second.id();
        drop(second);
        assert!(!table.complete(late, Bytes::new()));
        assert!(!table.complete(u64::MAX, Bytes::new()));
        assert_eq!(table.len(), 0);
    }

    #[tokio::test]
    async fn a_closed_table_answers_nobody_and_keeps_nobody_waiting() {
        let table = Arc::new(CallTable::default());
        let mut before = table.begin();
        table.close();
        let mut after = table.begin();
        assert_eq!(before.answer().await, None);
        assert_eq!(after.answer().await, None);
        assert!(!table.complete(after.id(), Bytes::new()));
    }
}
