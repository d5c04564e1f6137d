//! What follows from an error: a damaged index is built again from the database, and whatever else went wrong is tried
//! again without deleting anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::error::Cause;
use super::files::Files;
use super::{Error, Index, Snapshot};
use crate::domain::IntegrationId;

/// After so many failures in a row that neither files nor operating system explain, the index is built again.
const UNEXPLAINED: u32 = 3;
/// A disk that cannot read a file so often in a row will not read it any more.
const UNREADABLE: u32 = 5;
/// Longest pause between two attempts to follow.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Background verification sleeps so many times as long as it read: it takes at most a tenth of one core and of the disk.
const SLEEP_FACTOR: u32 = 9;

impl Index {
    /// From now on this integration's searches answer that the index is being built; the follower builds it.
    pub(super) fn mark_damaged(&self, files: &Arc<Files>, error: &Error) {
        let id = files.integration();
        {
            let mut entries = self.inner.entries.lock();
            let Some(entry) = entries.get_mut(&id) else {
                return;
            };
            // What was found in files that are deleted already says nothing of those that took their place.
            if entry.damaged || !Arc::ptr_eq(&entry.files, files) {
                return;
            }
            entry.damaged = true;
            entry.published = None;
            entry.next = Instant::now();
        }
        tracing::error!(integration = %id, "the index of {id} is built again from the database: {error}");
        self.inner.poke.notify_one();
    }

    /// After a search over these states failed: verifies their files, if the error may come from them. Answers the
    /// integration whose index is, or is being, built again because of that.
    pub async fn suspect(&self, used: Vec<Arc<Snapshot>>, error: &Error) -> Option<IntegrationId> {
        if matches!(error, Error::Cancelled) || matches!(error.cause(), Cause::Database | Cause::System(_)) {
            return None;
        }
        let found = spawn_blocking(move || {
            used.iter().find_map(|snapshot| match snapshot.files.doubt() {
                Err(error) if error.cause() == Cause::Damage => Some((Arc::clone(&snapshot.files), error)),
                _ => None,
            })
        });
        let found = found.await.unwrap_or_else(|error| {
            tracing::error!("the verification of an index ended: {error}");
            None
        });
        let (files, error) = found?;
        self.mark_damaged(&files, &error);
        Some(files.integration())
    }

    /// An attempt to follow failed: decides when the next begins, and whether with nothing.
    pub(super) async fn failed(&self, id: IntegrationId, error: Error) {
        let (source, files, failures) = {
            let mut entries = self.inner.entries.lock();
            let Some(entry) = entries.get_mut(&id) else {
                return;
            };
            entry.failures = entry.failures.saturating_add(1);
            // Whatever is held may be broken: it is opened again.
            (entry.source.take(), Arc::clone(&entry.files), entry.failures)
        };
        if let Some(source) = source {
            let _ = spawn_blocking(move || source.abandon()).await;
        }
        let cause = match error.cause() {
            Cause::Unknown => files.take_refused().map_or(Cause::Unknown, Cause::System),
            cause => cause,
        };
        let io = rustix::io::Errno::IO.raw_os_error();
        let (name, again) = match cause {
            Cause::Database => ("database", false),
            Cause::System(number) => ("system", number == io && failures >= UNREADABLE),
            Cause::Damage => ("damage", true),
            Cause::Unknown => {
                let verified = Arc::clone(&files);
                let found = spawn_blocking(move || verified.verify(|_| true)).await;
                let damaged = matches!(&found, Ok(Err(error)) if error.cause() == Cause::Damage);
                ("unknown", damaged || failures >= UNEXPLAINED)
            }
        };
        metrics::counter!("tether_index_failures_total", "cause" => name).increment(1);
        let pause = Duration::from_secs(1 << failures.min(6)).min(LONGEST_PAUSE);
        if again {
            self.mark_damaged(&files, &error);
        } else if let Cause::System(number) = cause
            && number != 0
        {
            let refused = std::io::Error::from_raw_os_error(number);
            tracing::error!(integration = %id,
                "the index of {id} cannot follow: {refused}. Nothing is deleted, the next attempt is in {pause:?}: {error}");
        } else {
            tracing::error!(integration = %id, "the index of {id} cannot follow, the next attempt is in {pause:?}: {error}");
        }
        if let Some(entry) = self.inner.entries.lock().get_mut(&id)
            && !(again && failures == 1)
        {
            entry.next = Instant::now() + pause;
        }
    }

    /// Reads every file again from time to time, slowly, and compares it with its checksum: bit rot on the disk changes
    /// neither lengths nor times.
    pub(super) async fn verify_in_background(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.inner.options.verify) => {}
            }
            let all: Vec<Arc<Files>> = {
                let entries = self.inner.entries.lock();
                let sound = entries.values().filter(|entry| !entry.damaged);
                sound.map(|entry| Arc::clone(&entry.files)).collect()
            };
            for files in all {
                let (read, until) = (Arc::clone(&files), stop.clone());
                let done = spawn_blocking(move || {
                    read.verify(|took| {
                        std::thread::sleep((took * SLEEP_FACTOR).min(Duration::from_secs(1)));
                        !until.is_cancelled()
                    })
                });
                match done.await {
                    Ok(Err(error)) if error.cause() == Cause::Damage => self.mark_damaged(&files, &error),
                    Ok(Err(error)) => {
                        let id = files.integration();
                        tracing::warn!(integration = %id, "the index of {id} cannot be verified: {error}");
                    }
                    Ok(Ok(())) => {}
                    Err(error) => {
                        let id = files.integration();
                        tracing::error!(integration = %id, "the verification of the index of {id} ended: {error}");
                    }
                }
                if stop.is_cancelled() {
                    return;
                }
            }
        }
    }
}
