//! The feed of events: which groups are watched here, and up to which event their streams know.

use crate::domain::GroupId;
use crate::store::Store;
use parking_lot::Mutex;
use std::collections::HashMap;
use tokio::sync::watch;

/// The watched groups of this process, each with the last known event number.
#[derive(Default)]
pub(super) struct Feed {
    watched: Mutex<HashMap<GroupId, watch::Sender<i64>>>,
}

impl Feed {
    pub(super) fn subscribe(&self, group: &GroupId) -> watch::Receiver<i64> {
        let mut watched = self.watched.lock();
        let sender = watched.entry(group.clone());
        sender.or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// The watched groups. Removes groups that no stream watches any more.
    fn groups(&self) -> Vec<GroupId> {
        let mut watched = self.watched.lock();
        watched.retain(|_, sender| sender.receiver_count() > 0);
        watched.keys().cloned().collect()
    }

    pub(super) async fn look(&self, store: &Store) -> std::result::Result<(), crate::store::Error> {
        let groups = self.groups();
        if groups.is_empty() {
            return Ok(());
        }
        let heads = store.event_heads(groups).await?;
        let watched = self.watched.lock();
        for (group, last) in heads {
            if let Some(sender) = watched.get(&group) {
                sender.send_if_modified(|known| std::mem::replace(known, last) != last);
            }
        }
        Ok(())
    }
}
