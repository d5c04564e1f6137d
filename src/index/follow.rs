//! Applies the changes of all integrations to their indexes, a few integrations at a time.
//!
//! The follower compares the last change number of every integration with that of its index (at once, when a
//! search waits for one), reads the changes in between in pages, commits them with their number in the
//! commit's payload, and publishes a snapshot. Only a state with *all* changes up to its number is published:
//! a record that changed twice is in the feed once, at its later number, so a state in the middle may lack
//! it.
//!
//! An index is rebuilt when its folder is lost or of another form, when the database is behind it (a restored
//! backup), when tombstones that it has not applied were purged, or when the values of a field have to be
//! read in another way.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tether_columns::{Folder, Position};
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::writer::{Memory, Source};
use super::{Entry, Error, Index};
use crate::domain::IntegrationId;
use crate::store;
use crate::tasks;

/// Maximum number of changes read at a time.
const PAGE: i64 = 2_000;
/// Maximum size of their texts in bytes; a single larger record is read alone. This bounds the memory for one page.
const PAGE_BYTES: i64 = 8 << 20;
/// During a long catch-up, commit after this many changes, so that a crash does not lose all of them.
const DURABLE: usize = 200_000;
/// So many changes behind, an index is built at low priority: a first load needs the processors itself.
const FAR: i64 = 50_000;
/// The niceness of low priority, on Linux.
const NICE: i32 = 10;
/// A writer that was idle for this long is closed to free its memory.
const IDLE: Duration = Duration::from_secs(20);

impl Index {
    /// Applies the changes of all integrations until `stop`; then finishes the work in progress.
    pub async fn run(&self, stop: CancellationToken) {
        let mut following: JoinSet<()> = JoinSet::new();
        let mut settled = false;
        let (verifier, until) = (self.clone(), stop.clone());
        let verify = move || {
            let (verifier, until) = (verifier.clone(), until.clone());
            async move { verifier.verify_in_background(until).await }
        };
        let verifying = tokio::spawn(tasks::lasting("index verification", stop.clone(), verify));
        while !stop.is_cancelled() {
            match self.inner.store.integration_heads().await {
                Ok(heads) => {
                    self.forget(&heads, &mut settled).await;
                    // The others wait until their database answers.
                    let known = heads.into_iter().filter_map(|(id, head)| Some((id, head?)));
                    for (id, head) in self.in_turn(known.collect()) {
                        if following.len() >= self.inner.options.writers {
                            break;
                        }
                        if self.claim(id, head) {
                            let index = self.clone();
                            following.spawn(async move { index.catch_up(id, head).await });
                        }
                    }
                }
                Err(error) => tracing::warn!("cannot list integrations for indexing, will retry: {error}"),
            }
            self.close_idle().await;
            let ended = async {
                match following.join_next().await {
                    Some(_) => {}
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(self.inner.options.poll) => {}
                () = self.inner.poke.notified() => tokio::time::sleep(Duration::from_millis(20)).await,
                () = ended => {}
            }
        }
        while following.join_next().await.is_some() {}
        let _ = verifying.await;
        let open: Vec<_> = self
            .inner
            .entries
            .lock()
            .values()
            .filter_map(|entry| entry.source.clone())
            .collect();
        for source in open {
            let _ = spawn_blocking(move || source.rest()).await;
        }
    }

    /// Drops the indexes of deleted integrations.
    async fn forget(&self, heads: &[(IntegrationId, Option<i64>)], settled: &mut bool) {
        let live: HashSet<IntegrationId> = heads.iter().map(|(id, _)| *id).collect();
        let mut folders = Vec::new();
        {
            let mut entries = self.inner.entries.lock();
            entries.retain(|id, entry| {
                let stays = live.contains(id) || entry.busy;
                if !stays {
                    entry.folder.retire();
                    folders.push((self.folder(*id), entry.source.take()));
                }
                stays
            });
        }
        if !std::mem::replace(settled, true)
            && let Ok(list) = std::fs::read_dir(&self.inner.options.folder)
        {
            let name = |id: &IntegrationId| id.to_string();
            let live: HashSet<String> = live.iter().map(name).collect();
            folders.extend(list.flatten().filter_map(|entry| {
                let is = entry.file_name().to_string_lossy().into_owned();
                (is.parse::<IntegrationId>().is_ok() && !live.contains(&is)).then(|| (entry.path(), None))
            }));
        }
        for (folder, source) in folders {
            let removed = spawn_blocking(move || {
                drop(source);
                Source::remove(&folder)
            });
            if let Ok(Err(error)) = removed.await {
                tracing::warn!("cannot remove an index: {error}");
            }
        }
    }

    fn folder(&self, id: IntegrationId) -> PathBuf {
        self.inner.options.folder.join(id.to_string())
    }

    /// The integrations in the order in which they are updated: the one whose last turn was longest ago comes first,
    /// so that a few integrations that change all the time do not delay the others.
    fn in_turn(&self, heads: Vec<(IntegrationId, i64)>) -> Vec<(IntegrationId, i64)> {
        let mut entries = self.inner.entries.lock();
        let last_turn = |(id, head)| {
            let entry = entries.entry(id).or_insert_with(|| Entry {
                published: None,
                source: None,
                used: Instant::now(),
                busy: false,
                committed: None,
                folder: Arc::new(Folder::new(self.folder(id), id.to_string())),
                damaged: false,
                failures: 0,
                next: Instant::now(),
                seen: Instant::now(),
            });
            (entry.committed.unwrap_or(entry.seen), (id, head))
        };
        let mut turns: Vec<_> = heads.into_iter().map(last_turn).collect();
        turns.sort_by_key(|(last, _)| *last);
        turns.into_iter().map(|(_, head)| head).collect()
    }

    /// Whether the integration has changes to apply and no task applies them already. If so, marks it as busy.
    fn claim(&self, id: IntegrationId, head: i64) -> bool {
        let mut entries = self.inner.entries.lock();
        let Some(entry) = entries.get_mut(&id) else {
            return false;
        };
        let behind = entry.published.is_none_or(|position| position.change_no != head);
        let rested = entry.next <= Instant::now()
            && entry
                .committed
                .is_none_or(|committed| committed.elapsed() >= self.inner.options.commit);
        if behind && rested && !entry.busy {
            entry.busy = true;
            return true;
        }
        false
    }

    async fn catch_up(&self, id: IntegrationId, head: i64) {
        // A panic counts as a failure: the integration must not stay marked as busy.
        let done = AssertUnwindSafe(self.follow(id, head)).catch_unwind().await;
        match done {
            Ok(Ok(position)) => {
                if let Some(entry) = self.inner.entries.lock().get_mut(&id) {
                    entry.failures = 0;
                    // If damage was found meanwhile, the next attempt rebuilds the index.
                    entry.published = (!entry.damaged).then_some(position);
                }
            }
            Ok(Err(error)) => self.failed(id, error).await,
            Err(_) => {
                self.failed(id, Error::Broken("applying changes panicked".to_owned()))
                    .await
            }
        }
        if let Some(entry) = self.inner.entries.lock().get_mut(&id) {
            entry.busy = false;
            entry.committed = Some(Instant::now());
        }
        self.inner.published.send_modify(|count| *count += 1);
    }

    async fn follow(&self, id: IntegrationId, head: i64) -> Result<Position, Error> {
        let bytes = self.inner.options.writer_bytes;
        let (mut source, mut memory) = self.begin(id).await?;
        // Read the number again: the integration may have changed since the heads were listed.
        let head = self.inner.store.record_change_no(id).await?.max(head);
        let floor = self.inner.store.record_forgotten(id).await?;
        // Whether the index already has rows. Deletions of some of these rows may have been purged from the change
        // feed.
        let mut grown = memory.change_no > 0;
        if memory.change_no > head || (memory.change_no > 0 && memory.change_no < floor) {
            (source, memory) = self.again(id, "behind").await?;
            grown = false;
        } else if memory.complete && source.current().is_none() {
            // Make the last commit searchable while the remaining changes are applied.
            let position = self.publish_found(id, &source, memory.clone()).await?;
            if let Some(entry) = self.inner.entries.lock().get_mut(&id) {
                entry.published = (!entry.damaged).then_some(position);
            }
        }
        let mut applied = 0;
        loop {
            let store::ChangePage { changes, last } = self
                .inner
                .store
                .record_changes(id, memory.change_no, PAGE, PAGE_BYTES)
                .await?;
            // This check comes after the rows were read: deletions that were purged before the read are missing from
            // them.
            if grown && memory.change_no < self.inner.store.record_forgotten(id).await? {
                (source, memory) = self.again(id, "behind").await?;
                (grown, applied) = (false, 0);
                continue;
            }
            // Read the fields after the rows, so that every field used in the rows is known.
            let fields = self.inner.store.field_list(id).await?;
            if !memory.learn(&fields) {
                (source, memory) = self.again(id, "fields").await?;
                (grown, applied) = (false, 0);
                continue;
            }
            if changes.is_empty() && memory.complete && applied == 0 {
                break;
            }
            applied += changes.len();
            let durable = last || applied % DURABLE < changes.len();
            let writer = Arc::clone(&source);
            let is_far = head.saturating_sub(memory.change_no) > FAR;
            let work = move || {
                writer.apply(&mut memory, &changes, bytes)?;
                memory.complete = last;
                if durable {
                    writer.commit(&memory, bytes)?;
                }
                Ok::<_, Error>(memory)
            };
            memory = match is_far {
                true => at_low_priority(work).await?,
                false => spawn_blocking(work)
                    .await
                    .map_err(|error| Error::Broken(error.to_string()))?,
            }?;
            if last {
                break;
            }
        }
        self.publish_found(id, &source, memory).await
    }

    /// Makes the last commit visible to searches. What a search finds is found by its company too: a first load may have left
    /// company records for later.
    async fn publish_found(
        &self,
        id: IntegrationId,
        source: &Arc<Source>,
        memory: Memory,
    ) -> Result<Position, Error> {
        self.inner.store.company_fill(id).await?;
        publish(source, memory).await
    }

    /// The index and its commit state for an attempt: the open index, the one on disk, or a new one.
    async fn begin(&self, id: IntegrationId) -> Result<(Arc<Source>, Memory), Error> {
        let (held, folder, damaged) = {
            let entries = self.inner.entries.lock();
            let gone = || Error::Broken("the integration no longer exists".to_owned());
            let entry = entries.get(&id).ok_or_else(gone)?;
            (entry.source.clone(), Arc::clone(&entry.folder), entry.damaged)
        };
        if damaged {
            return self.again(id, "damage").await;
        }
        if let Some(source) = held {
            return spawn_blocking(move || {
                source.folder().check()?;
                let memory = source.memory();
                Ok((source, memory))
            })
            .await
            .map_err(|error| Error::Broken(error.to_string()))?;
        }
        let new = !folder.path().exists();
        match self.open_source(id, &folder).await? {
            (source, Some(memory)) => Ok((source, memory)),
            (_, None) => self.again(id, if new { "new" } else { "form" }).await,
        }
    }

    /// Opens an index. If another task opened it meanwhile, that one is used: readers and the writer must share one
    /// instance.
    async fn open_source(
        &self,
        id: IntegrationId,
        folder: &Arc<Folder>,
    ) -> Result<(Arc<Source>, Option<Memory>), Error> {
        let (of, companies) = (Arc::clone(folder), Arc::clone(&self.inner.companies));
        let (source, memory) = spawn_blocking(move || Source::open(of, companies))
            .await
            .map_err(|error| Error::Broken(error.to_string()))??;
        let source = Arc::new(source);
        let first = {
            let mut entries = self.inner.entries.lock();
            match entries.get_mut(&id) {
                Some(entry) if Arc::ptr_eq(&entry.folder, folder) => match &entry.source {
                    Some(first) => Some(Arc::clone(first)),
                    None => {
                        entry.source = Some(Arc::clone(&source));
                        None
                    }
                },
                _ => None,
            }
        };
        match first {
            Some(first) => {
                let memory = first.memory();
                Ok((first, Some(memory)))
            }
            None => Ok((source, memory)),
        }
    }

    /// Opens an index for searching after it was closed to limit the number of open indexes.
    pub(super) async fn open(&self, id: IntegrationId, folder: &Arc<Folder>) -> Result<Arc<Source>, Error> {
        let (source, memory) = self.open_source(id, folder).await?;
        // The index had a commit when it was closed.
        let memory = memory.ok_or_else(|| Error::Damaged("its manifest is missing".to_owned()))?;
        if memory.complete {
            publish(&source, memory).await?;
        }
        Ok(source)
    }

    /// Starts a new, empty index. Searches wait until it is built; searches in progress finish on the old files.
    async fn again(&self, id: IntegrationId, reason: &'static str) -> Result<(Arc<Source>, Memory), Error> {
        let (path, companies) = (self.folder(id), Arc::clone(&self.inner.companies));
        let old = {
            let mut entries = self.inner.entries.lock();
            entries.get_mut(&id).and_then(|entry| {
                entry.published = None;
                // Reset when the old index is deleted.
                entry.damaged = true;
                entry.folder.retire();
                entry.source.take()
            })
        };
        tracing::info!(integration = %id, reason, "the index of {id} is built from the database");
        metrics::counter!("tether_index_builds_total", "reason" => reason).increment(1);
        let folder = Arc::new(Folder::new(path.clone(), id.to_string()));
        let fresh = Arc::clone(&folder);
        let (source, _) = spawn_blocking(move || {
            if let Some(old) = old {
                old.rest();
            }
            Source::remove(&path)?;
            Source::open(fresh, companies)
        })
        .await
        .map_err(|error| Error::Broken(error.to_string()))??;
        let source = Arc::new(source);
        if let Some(entry) = self.inner.entries.lock().get_mut(&id) {
            entry.folder = folder;
            entry.source = Some(Arc::clone(&source));
            entry.damaged = false;
        }
        Ok((source, Memory::empty()))
    }

    /// Closes idle writers to free their memory, and closes the indexes that were unused for the longest time.
    async fn close_idle(&self) {
        let mut idle = Vec::new();
        {
            let mut entries = self.inner.entries.lock();
            let mut open: Vec<_> = entries
                .iter_mut()
                .filter(|(_, entry)| entry.source.is_some() && !entry.busy)
                .map(|(_, entry)| entry)
                .collect();
            open.sort_by_key(|entry| std::cmp::Reverse(entry.used));
            let mut writing = 0;
            for (at, entry) in open.into_iter().enumerate() {
                let Some(source) = entry.source.clone() else {
                    continue;
                };
                let writes = source.is_writing();
                writing += usize::from(writes);
                let late = entry.committed.is_none_or(|committed| committed.elapsed() > IDLE);
                if at >= self.inner.options.readers {
                    entry.source = None;
                    idle.push(source);
                } else if writes && (late || writing > 2 * self.inner.options.writers) {
                    idle.push(source);
                }
            }
        }
        for source in idle {
            let _ = spawn_blocking(move || source.rest()).await;
        }
    }
}

/// Runs work on a thread of low priority, as are the threads that it starts. The priority of a thread can only go down, so the
/// thread ends with the work.
async fn at_low_priority<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let (done, result) = tokio::sync::oneshot::channel();
    let work = move || {
        // Without the lower priority the work is done all the same.
        #[cfg(target_os = "linux")]
        let _ = rustix::process::setpriority_process(None, NICE);
        let _ = done.send(work());
    };
    std::thread::Builder::new()
        .name("index-low".to_owned())
        .spawn(work)
        .map_err(Error::from)?;
    result
        .await
        .map_err(|_| Error::Broken("applying changes panicked".to_owned()))
}

/// Makes the last commit visible to searches.
async fn publish(source: &Arc<Source>, memory: Memory) -> Result<Position, Error> {
    let source = Arc::clone(source);
    spawn_blocking(move || source.publish(&memory))
        .await
        .map_err(|error| Error::Broken(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Options;
    use crate::store::Store;

    #[tokio::test]
    async fn whose_turn_was_longest_ago_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("t.db").display());
        let store = Store::open(&store::Options::new(url)).unwrap();
        let index = Index::new(store, Options::new(folder.path().join("index")));
        let ids: Vec<IntegrationId> = (0..3).map(|_| IntegrationId::new()).collect();
        let order = |of: &[IntegrationId]| {
            let heads = of.iter().map(|id| (*id, 1)).collect();
            let ids: Vec<_> = index.in_turn(heads).into_iter().map(|(id, _)| id).collect();
            ids
        };
        assert_eq!(order(&ids[..1]), ids[..1]);
        assert_eq!(order(&ids), ids);
        // The first integration had its turn: a failed attempt counts, too.
        assert!(index.claim(ids[0], 1));
        index.catch_up(ids[0], 1).await;
        assert_eq!(order(&ids), [ids[1], ids[2], ids[0]]);
    }
}
