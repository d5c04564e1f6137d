//! How much may be under way at a time, of one group and of all: so that no group can take the server from the others.
//!
//! Places are counted, never waited for: a queue would make everybody late. A caller that is refused is told when to try
//! again.

use crate::caller::Caller;
use crate::error::{Detail, Error, Reason, Result};
use parking_lot::Mutex;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// When a caller should try again.
const RETRY: Duration = Duration::from_secs(1);

/// What an operator can set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitOptions {
    /// Calls of one group under way at a time.
    pub calls_per_group: usize,
    /// Searches and lists of companies that run at a time.
    pub lists: usize,
    /// The same for one group.
    pub lists_per_group: usize,
    /// Calls that wait for an index at a time.
    pub waits: usize,
    /// The same for one group.
    pub waits_per_group: usize,
    /// Streams open at a time.
    pub streams: usize,
    /// The same for one group.
    pub streams_per_group: usize,
    /// MiB of answers that wait for their callers.
    pub answer_megabytes: usize,
    /// The same for one group.
    pub answer_megabytes_per_group: usize,
    /// How long a caller may take nothing of an answer or a stream.
    pub slow_reader_seconds: u64,
}

impl Default for LimitOptions {
    fn default() -> Self {
        Self {
            calls_per_group: 80,
            lists: 64,
            lists_per_group: 16,
            waits: 512,
            waits_per_group: 64,
            streams: 2_000,
            streams_per_group: 200,
            answer_megabytes: 256,
            answer_megabytes_per_group: 64,
            slow_reader_seconds: 30,
        }
    }
}

impl LimitOptions {
    /// A setting that does not fit.
    #[must_use]
    pub fn wrong(&self) -> Option<&'static str> {
        let pairs = [
            ("lists_per_group", self.lists_per_group, self.lists, 1),
            ("waits_per_group", self.waits_per_group, self.waits, 1),
            ("streams_per_group", self.streams_per_group, self.streams, 1),
            (
                "answer_megabytes_per_group",
                self.answer_megabytes_per_group,
                self.answer_megabytes,
                4,
            ),
            ("calls_per_group", self.calls_per_group, usize::MAX, 1),
            (
                "slow_reader_seconds",
                self.slow_reader_seconds as usize,
                86_400,
                1,
            ),
        ];
        let mut pairs = pairs.into_iter();
        pairs
            .find(|(_, group, all, least)| group < least || group > all)
            .map(|(name, ..)| name)
    }
}

/// What is limited. Cheap to clone.
#[derive(Clone)]
pub struct Limits {
    /// Calls under way; all groups together are limited before.
    pub calls: Limit,
    /// Searches and lists of companies.
    pub lists: Limit,
    /// Calls that wait for an index.
    pub waits: Limit,
    /// Open streams.
    pub streams: Limit,
    /// Bytes of answers that wait for their callers.
    pub answers: Limit,
    /// Profiles that are put together at a time. These wait for their turn: opening a profile never fails for this.
    pub profiles: Arc<Semaphore>,
    /// How long a caller may take nothing.
    pub slow_reader: Duration,
}

impl Limits {
    /// The limits of these options.
    #[must_use]
    pub fn new(options: &LimitOptions) -> Self {
        let limit = Limit::new;
        Self {
            calls: limit("calls", usize::MAX, options.calls_per_group),
            lists: limit("lists", options.lists, options.lists_per_group),
            waits: limit("waits", options.waits, options.waits_per_group),
            streams: limit("streams", options.streams, options.streams_per_group),
            answers: Limit::shown(
                "answer_bytes",
                options.answer_megabytes << 20,
                options.answer_megabytes_per_group << 20,
                Some(metrics::gauge!("tether_answer_bytes")),
            ),
            profiles: Arc::new(Semaphore::new(options.lists)),
            slow_reader: Duration::from_secs(options.slow_reader_seconds),
        }
    }
}

/// A number of places, for each group and for all.
#[derive(Clone)]
pub struct Limit {
    inner: Arc<Inner>,
}

struct Inner {
    name: &'static str,
    most: usize,
    most_per_group: usize,
    taken: Mutex<Taken>,
    /// Shows how many places are taken.
    gauge: Option<metrics::Gauge>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// Only groups that have some.
    groups: HashMap<String, usize>,
}

/// Places that are taken until it is dropped.
pub struct Place {
    limit: Limit,
    group: String,
    count: usize,
}

impl Limit {
    fn new(name: &'static str, most: usize, most_per_group: usize) -> Self {
        Self::shown(name, most, most_per_group, None)
    }

    fn shown(name: &'static str, most: usize, most_per_group: usize, gauge: Option<metrics::Gauge>) -> Self {
        Self {
            inner: Arc::new(Inner {
                name,
                most,
                most_per_group,
                taken: Mutex::default(),
                gauge,
            }),
        }
    }

    /// Takes a place for a caller's group. The service identity, which has none, counts as one.
    ///
    /// # Errors
    /// GROUP_OVERLOADED if the group has as many as it may have, OVERLOADED if all have.
    pub fn enter(&self, caller: &Caller) -> Result<Place> {
        self.take(caller.group.as_deref().unwrap_or_default(), 1)
    }

    /// Takes so many places for a group.
    ///
    /// # Errors
    /// As [`enter`](Self::enter).
    pub fn take(&self, group: &str, count: usize) -> Result<Place> {
        let Inner {
            name,
            most,
            most_per_group,
            taken,
            gauge,
        } = &*self.inner;
        let mut taken = taken.lock();
        let of_group = taken.groups.get(group).copied().unwrap_or_default();
        if of_group + count > *most_per_group {
            drop(taken);
            return Err(group_full(name, *most_per_group));
        }
        if taken.all + count > *most {
            drop(taken);
            return Err(full(name, *most));
        }
        taken.all += count;
        if let Some(gauge) = gauge {
            gauge.set(taken.all as f64);
        }
        *taken.groups.entry(group.to_owned()).or_default() += count;
        Ok(Place {
            limit: self.clone(),
            group: group.to_owned(),
            count,
        })
    }

    /// How many places are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.inner.taken.lock().all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.limit.inner.taken.lock();
        taken.all = taken.all.saturating_sub(self.count);
        if let Some(gauge) = &self.limit.inner.gauge {
            gauge.set(taken.all as f64);
        }
        if let Some(of_group) = taken.groups.get_mut(&self.group) {
            *of_group = of_group.saturating_sub(self.count);
            if *of_group == 0 {
                taken.groups.remove(&self.group);
            }
        }
    }
}

fn group_full(name: &'static str, limit: usize) -> Error {
    metrics::counter!("tether_calls_refused_total", "limit" => format!("{name}_per_group")).increment(1);
    let text = format!("the group has its most {name} under way, {limit}");
    Error::new(
        Reason::GroupOverloaded,
        format!("{text}: try again with fewer at a time"),
    )
    .with("quota", name)
    .with("limit", limit)
    .detail(Detail::Quota("group".to_owned(), text))
    .detail(Detail::RetryAfter(RETRY))
}

fn full(name: &'static str, limit: usize) -> Error {
    metrics::counter!("tether_calls_refused_total", "limit" => name).increment(1);
    let text = format!("the server has its most {name} under way, {limit}: try again");
    Error::new(Reason::Overloaded, text).detail(Detail::RetryAfter(RETRY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_group_leaves_places_to_others() {
        let limit = Limit::new("lists", 5, 3);
        let of = |group: &str| limit.take(group, 1);
        let mut places: Vec<Place> = (0..3).map(|_| of("a").unwrap()).collect();
        let refused = of("a").err().unwrap();
        assert_eq!(refused.reason, Reason::GroupOverloaded);
        assert!(refused.details.contains(&Detail::RetryAfter(RETRY)));
        places.extend([of("b").unwrap(), of("c").unwrap()]);
        assert_eq!(of("d").err().unwrap().reason, Reason::Overloaded);
        assert_eq!(of("a").err().unwrap().reason, Reason::GroupOverloaded);
        drop(places);
        assert_eq!(limit.taken(), 0);
        assert!(
            limit.inner.taken.lock().groups.is_empty(),
            "a group without places is forgotten"
        );
        assert!(limit.take("a", 4).is_err());
        assert_eq!(limit.taken(), 0);
    }

    #[test]
    fn options_fit_together() {
        assert_eq!(LimitOptions::default().wrong(), None);
        let wrong = LimitOptions {
            lists_per_group: 65,
            ..LimitOptions::default()
        };
        assert_eq!(wrong.wrong(), Some("lists_per_group"));
    }
}
