//! Cancels work on blocking threads when its call is dropped or the deadline of the call has passed.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Error;

thread_local! {
    static FLAG: RefCell<Option<Cancelled>> = const { RefCell::new(None) };
}

/// A flag that says whether the work must stop.
#[derive(Clone, Default)]
pub struct Cancelled(Arc<AtomicBool>);

/// Cancels the work when it is dropped. The future that waits for the work holds it.
#[derive(Default)]
pub struct CancelOnDrop(Cancelled);

impl CancelOnDrop {
    /// The flag that the work checks.
    #[must_use]
    pub fn cancelled(&self) -> Cancelled {
        self.0.clone()
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

impl Cancelled {
    /// Whether the work must stop.
    #[must_use]
    pub fn is(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Runs work on this thread; [`check`] inside it reads this flag.
    pub fn during<T>(self, work: impl FnOnce() -> T) -> T {
        struct Reset(Option<Cancelled>);
        impl Drop for Reset {
            fn drop(&mut self) {
                FLAG.set(self.0.take());
            }
        }
        let _reset = Reset(FLAG.replace(Some(self)));
        work()
    }
}

/// Fails if the caller of this thread's work has gone. Loops over terms, documents and companies call it.
///
/// # Errors
/// [`Error::Cancelled`].
pub fn check() -> Result<(), Error> {
    match FLAG.with_borrow(|flag| flag.as_ref().is_some_and(Cancelled::is)) {
        true => Err(Error::Cancelled),
        false => Ok(()),
    }
}

/// Calls [`check`] in every 4,096th iteration of a loop.
///
/// # Errors
/// [`Error::Cancelled`].
pub fn check_at(turn: usize) -> Result<(), Error> {
    if turn.is_multiple_of(4_096) {
        check()
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_ends_when_its_waiter_is_gone() {
        let waiter = CancelOnDrop::default();
        let cancelled = waiter.cancelled();
        let turns = cancelled.during(|| {
            let mut waiter = Some(waiter);
            for turn in 0.. {
                if turn == 10_000 {
                    waiter = None;
                }
                if check_at(turn).is_err() {
                    return turn;
                }
            }
            drop(waiter);
            usize::MAX
        });
        assert_eq!(turns, 12_288);
        assert!(check().is_ok(), "the thread's next work is another");
    }
}
