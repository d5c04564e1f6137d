//! Jobs that could not be deleted. Checkpoints name them, so that a later attempt or sync deletes them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tether_connector_sdk::proto::Error;

use super::api;
use super::place::is_version;
use crate::ids;
use crate::rest::Session;

/// The largest number of jobs that are remembered: checkpoints have a limit. Salesforce deletes the others after seven days.
const MOST: usize = 50;

/// Jobs, each as `version id`.
#[derive(Default)]
pub(crate) struct LeftJobs(Mutex<Vec<String>>);

impl LeftJobs {
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a job.
    pub(crate) fn note(&self, version: &str, id: &str) {
        let mut all = self.lock();
        let job = format!("{version} {id}");
        if !all.contains(&job) && all.len() < MOST {
            all.push(job);
        }
    }

    /// All that could not be deleted.
    pub(crate) fn all(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// Aborts and deletes jobs of earlier reads; those that cannot be deleted now stay.
    pub(crate) async fn end(&self, session: &Session, jobs: &[String]) -> Result<(), Error> {
        let known: Vec<(&str, String)> = jobs.iter().filter_map(|job| parse(job)).collect();
        for (version, id) in &known {
            self.note(version, id);
        }
        let mut failed = None;
        for (version, id) in &known {
            match api::discard(session, version, id, true).await {
                Ok(()) => self.lock().retain(|job| *job != format!("{version} {id}")),
                Err(error) if error.is_account_wide() => return Err(error),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// The version and the id of a job in a checkpoint.
fn parse(job: &str) -> Option<(&str, String)> {
    let (version, id) = job.split_once(' ')?;
    let id = ids::normalise(id)?;
    is_version(version).then_some((version, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_noted_once_and_others_are_not_asked_for() {
        let left = LeftJobs::default();
        let id = ids::normalise("750ak000009AVi5").unwrap();
        for _ in 0..2 {
            left.note("v62.0", &id);
        }
        assert_eq!(left.all(), [format!("v62.0 {id}")]);
        assert_eq!(parse(&left.all()[0]), Some(("v62.0", id)));
        for bad in [
            "",
            "v62.0",
            "v62.0 ../..",
            "../.. 750ak000009AVi5",
            "750ak000009AVi5AAG v62.0",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        for number in 0..2 * MOST {
            left.note("v62.0", &number.to_string());
        }
        assert_eq!(left.all().len(), MOST);
    }
}
