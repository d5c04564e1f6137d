//! Watching a group. One task per process asks the database once a second for the last event number of the
//! watched groups, and wakes the streams of groups with new events. Each stream then reads its events by key,
//! at the speed of its caller, so a slow caller delays no other.

use super::Services;
use crate::caller::{Caller, Role};
use crate::domain::GroupId;
use crate::error::{Detail, Error, Reason, Result};
use crate::store::{Event, Store};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(1);
/// Events that a stream reads at a time.
const PAGE: i64 = 100;

/// A group that is being watched.
pub struct Watched {
    store: Store,
    group: GroupId,
    /// The number of the last returned event.
    after: i64,
    read: VecDeque<Event>,
    news: watch::Receiver<i64>,
}

impl Watched {
    /// The number of the last returned event, for the resume token.
    #[must_use]
    pub fn place(&self) -> i64 {
        self.after
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// STORAGE_UNAVAILABLE; INVALID_PAGE_TOKEN if the caller read so slowly that its next events have been
    /// purged.
    pub async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.read.pop_front() {
                if event.event_no != self.after + 1 {
                    return Err(gone());
                }
                self.after = event.event_no;
                return Ok(event);
            }
            // The notification is marked as seen before the read: an event that is added between the two
            // wakes the stream again.
            self.news.borrow_and_update();
            self.read = self.store.event_list(&self.group, self.after, PAGE).await?.into();
            if self.read.is_empty() && self.news.changed().await.is_err() {
                return Err(Error::internal("the feed of events has ended"));
            }
        }
    }
}

fn gone() -> Error {
    let text = "is older than the events that are kept: begin again without one";
    Error::new(Reason::InvalidPageToken, format!("resume_token: {text}"))
        .detail(Detail::Fields(vec![("resume_token".to_owned(), text.to_owned())]))
}

impl Services {
    /// Watches a group's events after the number `after`, or from now on.
    ///
    /// # Errors
    /// NOT_FOUND for an unknown group of the service identity; INVALID_PAGE_TOKEN if events after `after`
    /// have been purged.
    pub async fn group_watch(&self, caller: &Caller, group: GroupId, after: Option<i64>) -> Result<Watched> {
        if caller.role == Role::Service {
            self.about(caller, &group)?;
            self.known(&group).await?;
        }
        let news = self.feed.subscribe(&group);
        let head = self.store.event_head(&group).await?;
        let after = after.unwrap_or(head.last_no);
        if after < head.purged_no || after > head.last_no {
            return Err(gone());
        }
        Ok(Watched {
            store: self.store.clone(),
            group,
            after,
            read: VecDeque::new(),
            news,
        })
    }

    /// How long events are kept, in seconds: a stream can be resumed within this time.
    #[must_use]
    pub fn event_life_seconds(&self) -> i64 {
        self.options.keep_events_us / 1_000_000
    }

    /// Wakes streams of groups with new events until `stop` is cancelled.
    pub async fn run_feed(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            if let Err(error) = self.feed.look(&self.store).await {
                tracing::warn!("WatchGroup streams get no events until the database answers: {error}");
            }
        }
    }
}
