//! Reactions to errors: a damaged index is rebuilt from the database; after any other error the work is retried and
//! nothing is deleted.
//!
//! A damaged index answers INDEX_NOT_READY until it is rebuilt: the follower deletes its folder and reads the
//! change feed from the beginning. What the operating system refuses (descriptors, memory, space, permission)
//! never deletes an index: the refusal ends, and a rebuild would need the same descriptors and more space. An
//! error or panic that neither explains makes the files be verified first, then the index be opened again,
//! and only the third in a row is a rebuild.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tether_columns::{Folder, Snapshot};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::error::Cause;
use super::{Error, Index};
use crate::domain::IntegrationId;

/// After this many consecutive failures that neither the files nor the operating system explain, the index is
/// rebuilt.
const UNEXPLAINED: u32 = 3;
/// After this many consecutive read errors of the disk, the file is considered unreadable and the index is rebuilt.
const UNREADABLE: u32 = 5;
/// Maximum pause between two attempts to apply changes.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Background verification sleeps this many times as long as it reads, so it uses at most a tenth of one core and of
/// the disk.
const SLEEP_FACTOR: u32 = 9;

impl Index {
    /// From now on, searches of this integration report that the index is being built; the follower rebuilds it.
    pub(super) fn mark_damaged(&self, folder: &Arc<Folder>, error: &Error) {
        // Damage in files that were already deleted says nothing about the files that replaced them.
        let Some(id) = self.integration_of(folder) else {
            return;
        };
        {
            let mut entries = self.inner.entries.lock();
            let Some(entry) = entries.get_mut(&id) else {
                return;
            };
            if entry.damaged {
                return;
            }
            entry.damaged = true;
            entry.published = None;
            entry.next = Instant::now();
        }
        tracing::error!(integration = %id, "the index of {id} will be rebuilt from the database: {error}");
        self.inner.poke.notify_one();
    }

    /// The integration whose index uses these files now.
    fn integration_of(&self, folder: &Arc<Folder>) -> Option<IntegrationId> {
        let entries = self.inner.entries.lock();
        let is =
            |(id, entry): (&IntegrationId, &super::Entry)| Arc::ptr_eq(&entry.folder, folder).then_some(*id);
        entries.iter().find_map(is)
    }

    /// Called after a search of these snapshots failed: if the error may come from the files, verifies them. Returns
    /// the integration whose index is or will be rebuilt because of that.
    pub async fn suspect(&self, used: Vec<Arc<Snapshot>>, error: &Error) -> Option<IntegrationId> {
        if matches!(error, Error::Cancelled) || matches!(error.cause(), Cause::Database | Cause::System(_)) {
            return None;
        }
        let found = spawn_blocking(move || {
            used.iter()
                .find_map(|snapshot| match snapshot.folder().doubt().map_err(Error::from) {
                    Err(error) if error.cause() == Cause::Damage => {
                        Some((Arc::clone(snapshot.folder()), error))
                    }
                    _ => None,
                })
        });
        let found = found.await.unwrap_or_else(|error| {
            tracing::error!("the verification of an index failed: {error}");
            None
        });
        let (folder, error) = found?;
        let id = self.integration_of(&folder);
        self.mark_damaged(&folder, &error);
        // A folder that is not in use any more was replaced: the index is being built, or is built already.
        id.or_else(|| folder.name().parse().ok())
    }

    /// Handles a failed attempt to apply changes: decides when the next attempt starts, and whether the index is
    /// rebuilt.
    pub(super) async fn failed(&self, id: IntegrationId, error: Error) {
        let (source, folder, failures) = {
            let mut entries = self.inner.entries.lock();
            let Some(entry) = entries.get_mut(&id) else {
                return;
            };
            entry.failures = entry.failures.saturating_add(1);
            // The open index may be in a bad state: it is opened again.
            (entry.source.take(), Arc::clone(&entry.folder), entry.failures)
        };
        if let Some(source) = source {
            let _ = spawn_blocking(move || source.rest()).await;
        }
        let cause = error.cause();
        let io = rustix::io::Errno::IO.raw_os_error();
        let (name, again) = match cause {
            Cause::Database => ("database", false),
            Cause::System(number) => ("system", number == io && failures >= UNREADABLE),
            Cause::Damage => ("damage", true),
            Cause::Unknown => {
                let verified = Arc::clone(&folder);
                let found = spawn_blocking(move || verified.verify(|_| true).map_err(Error::from)).await;
                let damaged = matches!(&found, Ok(Err(error)) if error.cause() == Cause::Damage);
                ("unknown", damaged || failures >= UNEXPLAINED)
            }
        };
        metrics::counter!("tether_index_failures_total", "cause" => name).increment(1);
        let pause = Duration::from_secs(1 << failures.min(6)).min(LONGEST_PAUSE);
        if again {
            self.mark_damaged(&folder, &error);
        } else if let Cause::System(number) = cause
            && number != 0
        {
            let refused = std::io::Error::from_raw_os_error(number);
            tracing::error!(integration = %id,
                "cannot apply changes to the index of {id}: {refused}. Nothing is deleted; next attempt in {pause:?}: {error}");
        } else {
            tracing::error!(integration = %id, "cannot apply changes to the index of {id}, next attempt in {pause:?}: {error}");
        }
        if let Some(entry) = self.inner.entries.lock().get_mut(&id)
            && !(again && failures == 1)
        {
            entry.next = Instant::now() + pause;
        }
    }

    /// Reads all files again periodically and slowly, and compares them with their checksums: bit rot on the disk
    /// changes neither lengths nor times.
    pub(super) async fn verify_in_background(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.inner.options.verify) => {}
            }
            let all: Vec<(IntegrationId, Arc<Folder>)> = {
                let entries = self.inner.entries.lock();
                let sound = entries.iter().filter(|(_, entry)| !entry.damaged);
                sound
                    .map(|(id, entry)| (*id, Arc::clone(&entry.folder)))
                    .collect()
            };
            for (id, folder) in all {
                let (read, until) = (Arc::clone(&folder), stop.clone());
                let done = spawn_blocking(move || {
                    let verified = read.verify(|took| {
                        std::thread::sleep((took * SLEEP_FACTOR).min(Duration::from_secs(1)));
                        !until.is_cancelled()
                    });
                    verified.map_err(Error::from)
                });
                match done.await {
                    Ok(Err(error)) if error.cause() == Cause::Damage => self.mark_damaged(&folder, &error),
                    Ok(Err(error)) => {
                        tracing::warn!(integration = %id, "cannot verify the index of {id}: {error}");
                    }
                    Ok(Ok(())) => {}
                    Err(error) => {
                        tracing::error!(integration = %id, "the verification of the index of {id} failed: {error}");
                    }
                }
                if stop.is_cancelled() {
                    return;
                }
            }
        }
    }
}
