//! Watches the folders of connectors, so that a connector copied into one is loaded automatically.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::Registry;

/// How long to wait after the last change before scanning: several files may be copied one after another, in parts.
const QUIET: Duration = Duration::from_millis(300);
/// How often to retry watching folders that did not exist.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// Scans the folders again when something in them changes. Dropping it stops that.
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
    /// Watches the folders. If the system does not support that (a network file system), a log message says so, and
    /// [`Registry::rescan`] must be used.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch {
            task: tokio::spawn(watch(self.clone())),
        }
    }
}

async fn watch(registry: Registry) {
    let changed = Arc::new(Notify::new());
    let notify = Arc::clone(&changed);
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Ignore read events: otherwise hashing a library would start the next scan.
        if event.is_ok_and(|event| !matches!(event.kind, EventKind::Access(_))) {
            notify.notify_one();
        }
    });
    let mut watcher = match watcher {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(%error, "cannot watch the folders of connectors: send SIGHUP after a change");
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
                    tracing::info!(folder = %folder.display(), %error, "cannot watch this folder yet");
                }
                true
            }
        });
        // Changes between the last scan and the start of the watch cause no events, so scan once.
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
