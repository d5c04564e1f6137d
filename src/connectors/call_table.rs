//! Who waits for which answer.
//!
//! Answers come from foreign code with a number and nothing else. A number that is not in the table (answered already,
//! given up, made up) is harmless.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// The table. There is one in the process, since a library's functions carry no context.
#[derive(Debug, Default)]
pub(super) struct CallTable {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Bytes>>>,
}

/// A call that has no answer yet. Dropping it takes it out of the table.
#[derive(Debug)]
pub(super) struct Pending {
    table: &'static CallTable,
    id: u64,
    answer: oneshot::Receiver<Bytes>,
}

impl CallTable {
    /// Makes a place for an answer, under a number never used before.
    pub(super) fn begin(&'static self) -> Pending {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().insert(id, sender);
        Pending {
            table: self,
            id,
            answer,
        }
    }

    /// Hands an answer to whoever waits for it. Answers whether somebody does.
    pub(super) fn complete(&self, id: u64, answer: Bytes) -> bool {
        let waiting = self.waiting.lock().remove(&id);
        waiting.is_some_and(|waiting| waiting.send(answer).is_ok())
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.lock().len()
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
        self.table.waiting.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn second_late_and_made_up_answers_are_harmless() {
        let table: &'static CallTable = Box::leak(Box::default());
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
}
