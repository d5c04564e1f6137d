//! Following the changes of all integrations: who is behind is brought up to date, a few at a time.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::writer::{Memory, Source};
use super::{Entry, Error, Index, Position};
use crate::domain::IntegrationId;

/// Changes read at a time.
const PAGE: i64 = 2_000;
/// Changes after which a long catching-up is made durable, so that a crash does not lose all of it.
const DURABLE: usize = 200_000;
/// A writer that had nothing to do for so long gives its memory back.
const IDLE: Duration = Duration::from_secs(20);
/// How long after a failure the next attempt is made.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

impl Index {
    /// Follows all integrations until `stop`. What is under way then is finished.
    pub async fn run(&self, stop: CancellationToken) {
        let mut tasks: JoinSet<()> = JoinSet::new();
        let mut settled = false;
        while !stop.is_cancelled() {
            match self.inner.store.integration_heads().await {
                Ok(heads) => {
                    self.forget(&heads, &mut settled).await;
                    for (id, head) in heads {
                        if tasks.len() >= self.inner.options.writers {
                            break;
                        }
                        if self.claim(id, head) {
                            let index = self.clone();
                            tasks.spawn(async move { index.catch_up(id, head).await });
                        }
                    }
                }
                Err(error) => tracing::warn!("the index cannot follow: {error}"),
            }
            self.close_idle().await;
            let ended = async {
                match tasks.join_next().await {
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
        while tasks.join_next().await.is_some() {}
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

    /// Drops the indexes of integrations that are gone.
    async fn forget(&self, heads: &[(IntegrationId, i64)], settled: &mut bool) {
        let live: HashSet<IntegrationId> = heads.iter().map(|(id, _)| *id).collect();
        let mut folders = Vec::new();
        {
            let mut entries = self.inner.entries.lock();
            entries.retain(|id, entry| {
                let stays = live.contains(id) || entry.busy;
                if !stays {
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
                tracing::warn!("an index cannot be removed: {error}");
            }
        }
    }

    fn folder(&self, id: IntegrationId) -> PathBuf {
        self.inner.options.folder.join(id.to_string())
    }

    /// Whether the integration has changes to apply, and nobody is at it.
    fn claim(&self, id: IntegrationId, head: i64) -> bool {
        let mut entries = self.inner.entries.lock();
        let entry = entries.entry(id).or_insert_with(|| Entry {
            published: None,
            source: None,
            used: Instant::now(),
            busy: false,
            committed: None,
        });
        let behind = entry.published.is_none_or(|position| position.change_no != head);
        let rested = entry
            .committed
            .is_none_or(|committed| committed.elapsed() >= self.inner.options.commit);
        if behind && rested && !entry.busy {
            entry.busy = true;
            return true;
        }
        false
    }

    async fn catch_up(&self, id: IntegrationId, head: i64) {
        let done = self.follow(id, head).await;
        let mut entries = self.inner.entries.lock();
        if let Some(entry) = entries.get_mut(&id) {
            entry.busy = false;
            entry.committed = Some(Instant::now());
            match done {
                Ok(position) => entry.published = Some(position),
                Err(error) => {
                    tracing::error!(integration = %id, "the index of {id} cannot follow: {error}");
                    // Whatever is held may be broken: open it anew.
                    entry.source = None;
                    entry.committed = Some(Instant::now() + AFTER_FAILURE);
                }
            }
        }
        drop(entries);
        self.inner.published.send_modify(|count| *count += 1);
    }

    async fn follow(&self, id: IntegrationId, head: i64) -> Result<Position, Error> {
        let bytes = self.inner.options.writer_bytes;
        let held = self
            .inner
            .entries
            .lock()
            .get(&id)
            .and_then(|entry| entry.source.clone());
        let (mut source, mut memory) = match held {
            Some(source) => {
                let memory = source.memory()?;
                (source, memory)
            }
            None => self.open_source(id).await?,
        };
        // Read again: another pass may have gone on since the heads were listed.
        let head = self.inner.store.record_change_no(id).await?.max(head);
        let floor = self.inner.store.record_forgotten(id).await?;
        if memory.change_no > head || (memory.change_no > 0 && memory.change_no < floor) {
            (source, memory) = self.again(id, source).await?;
        } else if memory.complete && source.current().is_none() {
            // What was committed before is searchable while the rest is applied.
            let position = source.publish(&memory)?;
            if let Some(entry) = self.inner.entries.lock().get_mut(&id) {
                entry.published = Some(position);
            }
        }
        let mut applied = 0;
        loop {
            let changes = self
                .inner
                .store
                .record_changes(id, memory.change_no, PAGE)
                .await?;
            // After the rows: so whatever they were stored with is known.
            let fields = self.inner.store.field_list(id).await?;
            if !memory.learn(&fields) {
                (source, memory) = self.again(id, source).await?;
                continue;
            }
            let last = (changes.len() as i64) < PAGE;
            if changes.is_empty() && memory.complete && applied == 0 {
                break;
            }
            applied += changes.len();
            let durable = last || applied % DURABLE < changes.len();
            let writer = Arc::clone(&source);
            memory = spawn_blocking(move || {
                writer.apply(&mut memory, &changes, bytes)?;
                memory.complete = last;
                if durable {
                    writer.commit(&memory, bytes)?;
                }
                Ok::<_, Error>(memory)
            })
            .await
            .map_err(|error| Error::Broken(error.to_string()))??;
            if last {
                break;
            }
        }
        let publish = Arc::clone(&source);
        spawn_blocking(move || publish.publish(&memory))
            .await
            .map_err(|error| Error::Broken(error.to_string()))?
    }

    /// Opens what is not open, for reading or writing.
    async fn open_source(&self, id: IntegrationId) -> Result<(Arc<Source>, Memory), Error> {
        let (folder, companies) = (self.folder(id), Arc::clone(&self.inner.companies));
        let (source, memory) = spawn_blocking(move || Source::open(&folder, companies))
            .await
            .map_err(|error| Error::Broken(error.to_string()))??;
        let source = Arc::new(source);
        let first = {
            let mut entries = self.inner.entries.lock();
            match entries.get_mut(&id) {
                Some(entry) => match &entry.source {
                    // Another opened it meanwhile: there is one, or readers and the writer would part.
                    Some(first) => Some(Arc::clone(first)),
                    None => {
                        entry.source = Some(Arc::clone(&source));
                        None
                    }
                },
                None => None,
            }
        };
        match first {
            Some(first) => {
                let memory = first.memory()?;
                Ok((first, memory))
            }
            None => Ok((source, memory)),
        }
    }

    /// Opens an index for searching that was closed to make place.
    pub(super) async fn open(&self, id: IntegrationId) -> Result<Arc<Source>, Error> {
        let (source, memory) = self.open_source(id).await?;
        if memory.complete {
            source.publish(&memory)?;
        }
        Ok(source)
    }

    /// Begins again with nothing. Searches wait until it is made.
    async fn again(&self, id: IntegrationId, source: Arc<Source>) -> Result<(Arc<Source>, Memory), Error> {
        tracing::info!(integration = %id, "the index of {id} is made again from the database");
        if let Some(entry) = self.inner.entries.lock().get_mut(&id) {
            entry.published = None;
            entry.source = None;
        }
        spawn_blocking(move || {
            let folder = source.folder().to_owned();
            source.rest();
            Source::remove(&folder)
        })
        .await
        .map_err(|error| Error::Broken(error.to_string()))??;
        self.open_source(id).await
    }

    /// Gives back the memory of writers that have nothing to do, and closes the indexes that were not used for longest.
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
                let writes = source.writer.try_lock().is_none_or(|writer| writer.is_some());
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
