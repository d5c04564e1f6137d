//! Who waits for which answer.
//!
//! Answers come from foreign code with a number and nothing else. A number that is not in the table (answered already,
//! given up, made up) is harmless.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::numbers::Numbers;

/// The table. The libraries of the process share one, since their functions carry no context; a child process has its own.
#[derive(Debug)]
pub(super) struct CallTable {
    numbers: Numbers,
    /// None once closed: nothing will be answered any more.
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

/// A call that has no answer yet. Dropping it takes it out of the table.
#[derive(Debug)]
pub(super) struct Pending {
    table: Arc<CallTable>,
    id: u64,
    answer: oneshot::Receiver<Bytes>,
}

impl CallTable {
    /// Makes a place for an answer, under a number never used before.
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

    /// Hands an answer to whoever waits for it. Answers whether somebody does.
    pub(super) fn complete(&self, id: u64, answer: Bytes) -> bool {
        let waiting = self
            .waiting
            .lock()
            .as_mut()
            .and_then(|waiting| waiting.remove(&id));
        waiting.is_some_and(|waiting| waiting.send(answer).is_ok())
    }

    /// Whoever waits hears that there will be no answer, and so does whoever asks from now on.
    pub(super) fn close(&self) {
        drop(self.waiting.lock().take());
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.lock().as_ref().map_or(0, HashMap::len)
    }
}

impl Pending {
    /// The call's number.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The answer. May be dropped and asked again; nothing if the other side is gone.
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
