//! The jobs that this process knows of, each with the mark under which it was created.
//!
//! A list of jobs shows neither their queries nor anything else that a client can choose, but for the delimiter of the result: so two integrations
//! of one user that read the same object look alike. A job that a read of this process created or went on with is that
//! read's, and is no left-over job of another one. A job of another process cannot be told apart.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// More jobs are not remembered: Salesforce takes 10,000 of an organization a day.
const MOST: usize = 100_000;

/// Jobs by address, with their marks.
#[derive(Default)]
pub(crate) struct Jobs(Mutex<HashMap<String, u64>>);

impl Jobs {
    fn known(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A read with this mark has the job.
    pub(crate) fn learn(&self, url: &str, mark: u64) {
        let mut known = self.known();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(url.to_owned(), mark);
    }

    /// It does not exist any more.
    pub(crate) fn forget(&self, url: &str) {
        self.known().remove(url);
    }

    /// Whether a read with another mark has it.
    pub(crate) fn is_of_another(&self, url: &str, mark: u64) -> bool {
        self.known().get(url).is_some_and(|known| *known != mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_belongs_to_the_read_that_has_it() {
        let jobs = Jobs::default();
        assert!(!jobs.is_of_another("a", 1));
        jobs.learn("a", 1);
        assert!(!jobs.is_of_another("a", 1) && jobs.is_of_another("a", 2));
        assert!(!jobs.is_of_another("b", 2));
        jobs.forget("a");
        assert!(!jobs.is_of_another("a", 2));
    }
}
