//! Watching the folders: a connector that is dropped in appears without a word to the server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::Registry;

/// A change is looked at when nothing has changed for so long: files are copied one after the other, in pieces.
const QUIET: Duration = Duration::from_millis(300);
/// How often folders that could not be watched, because they were not there, are tried again.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// Looks through the folders again whenever something in them changes. Dropping it stops that.
#[derive(Debug)]
pub struct Watch {
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Registry {
    /// Watches the folders. Where the system cannot (a network file system), this says so in the log, and
    /// [`Registry::rescan`] is the way.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch {
            task: tokio::spawn(watch(self.clone())),
        }
    }
}

async fn watch(registry: Registry) {
    let changed = Arc::new(Notify::new());
    let tell = Arc::clone(&changed);
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading is no change: hashing a library would else begin the next scan.
        if event.is_ok_and(|event| !matches!(event.kind, EventKind::Access(_))) {
            tell.notify_one();
        }
    });
    let mut watcher = match watcher {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(%error, "folders of connectors are not watched: send SIGHUP after a change");
            return;
        }
    };
    let mut missing: Vec<PathBuf> = registry.folders().to_vec();
    let mut first = true;
    loop {
        let before = missing.len();
        missing.retain(|folder| match watcher.watch(folder, RecursiveMode::Recursive) {
            Ok(()) => false,
            Err(error) => {
                if first {
                    tracing::info!(folder = %folder.display(), %error, "not watched yet");
                }
                true
            }
        });
        // What came between the last scan and the watch is not told by the watch.
        if !first && missing.len() < before {
            registry.rescan().await;
        }
        first = false;
        if missing.is_empty() {
            changed.notified().await;
        } else if tokio::time::timeout(TRY_AGAIN, changed.notified()).await.is_err() {
            continue;
        }
        while tokio::time::timeout(QUIET, changed.notified()).await.is_ok() {}
        registry.rescan().await;
    }
}
