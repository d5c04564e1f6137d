//! Limits of concurrent work, per group and in total, so that no group can use the whole server.
//!
//! Permits are counted without a queue: a queue would delay all callers. A refused caller learns when to try
//! again.
//!
//! The permit of a list is held by its work on the blocking threads, not by its call: a caller who
//! disconnects makes no room for another call while the work still runs. The budget of answers counts encoded
//! bytes, because the size of an answer is known only then; answers under construction are bounded by the
//! limits of calls and lists. A group tracks at most 100,000 companies, because each search reads the whole
//! list.

use crate::domain::GroupId;
use crate::error::{Detail, Error, Reason, Result};
use crate::fair::{self, FairSemaphore, Flow};
use parking_lot::Mutex;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The delay in `RetryInfo` of a refused call.
const RETRY: Duration = Duration::from_secs(1);

/// The limits that operators can set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitOptions {
    /// Concurrent calls of one group.
    pub calls_per_group: usize,
    /// Concurrent searches and lists of companies.
    pub lists: usize,
    /// The same for one group.
    pub lists_per_group: usize,
    /// Concurrent calls that wait for an index.
    pub waits: usize,
    /// The same for one group.
    pub waits_per_group: usize,
    /// Open streams.
    pub streams: usize,
    /// The same for one group.
    pub streams_per_group: usize,
    /// Encoded answers that callers have not read yet, in MiB.
    pub answer_megabytes: usize,
    /// The same for one group.
    pub answer_megabytes_per_group: usize,
    /// A caller that reads nothing of an answer or a stream for this many seconds loses it.
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
    /// The name of a setting that is out of range.
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

/// The limits of a server. Cheap to clone.
#[derive(Clone)]
pub struct Limits {
    /// Concurrent calls per group; the total is limited in front of this (`grpc/load.rs`).
    pub calls: Limit,
    /// Searches and lists of companies.
    pub lists: Limit,
    /// Calls that wait for an index.
    pub waits: Limit,
    /// Open streams.
    pub streams: Limit,
    /// Bytes of answers that callers have not read yet.
    pub answers: Limit,
    /// Bytes of messages of exports that callers have not read yet: half as many as of answers. An export that finds none
    /// waits, so exports that nobody reads leave the other calls of their group alone.
    pub exports: Limit,
    /// Profiles that are built concurrently. These calls wait, in turns of their groups: this limit refuses
    /// no profile.
    pub profiles: FairSemaphore,
    /// A caller that reads nothing for this long loses its answer or stream.
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
            exports: limit(
                "export_bytes",
                options.answer_megabytes << 19,
                options.answer_megabytes_per_group << 19,
            ),
            profiles: FairSemaphore::new(options.lists),
            slow_reader: Duration::from_secs(options.slow_reader_seconds),
        }
    }

    /// A permit for one more call of a flow.
    ///
    /// # Errors
    /// GROUP_OVERLOADED, OVERLOADED: no permit is free, or unread answers have used up their budget. The
    /// budget is checked here because the answer of a change is never refused.
    pub fn enter_call(&self, flow: &Flow) -> Result<Place> {
        self.answers.has_room(flow)?;
        self.calls.take(flow, 1)
    }

    /// Counts the call of this task for the group that it is about, from now on.
    ///
    /// # Errors
    /// As [`enter_call`](Self::enter_call).
    pub fn count_for(&self, group: &GroupId) -> Result<()> {
        let (Some(call), flow) = (fair::call(), Flow::group(group.as_str())) else {
            return Ok(());
        };
        if call.flow() != flow {
            call.hold(self.enter_call(&flow)?);
            call.set(flow);
        }
        Ok(())
    }
}

/// A number of permits, per group and in total.
#[derive(Clone)]
pub struct Limit {
    inner: Arc<Inner>,
}

struct Inner {
    name: &'static str,
    most: usize,
    most_per_group: usize,
    taken: Mutex<Taken>,
    /// Shows the number of permits in use.
    gauge: Option<metrics::Gauge>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// Only flows that hold permits.
    flows: HashMap<Flow, usize>,
}

/// Permits that are held until they are dropped.
pub struct Place {
    limit: Limit,
    flow: Flow,
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

    /// Takes a permit for the call of this task.
    ///
    /// # Errors
    /// GROUP_OVERLOADED if its flow holds its maximum, OVERLOADED if all flows together do.
    pub fn enter(&self) -> Result<Place> {
        self.take(&fair::current(), 1)
    }

    /// Takes `count` permits for a flow.
    ///
    /// # Errors
    /// As [`enter`](Self::enter).
    pub fn take(&self, flow: &Flow, count: usize) -> Result<Place> {
        let mut taken = self.inner.taken.lock();
        match self.inner.refusal(&taken, flow, count) {
            None => Ok(self.add(&mut taken, flow, count)),
            Some(refusal) => {
                drop(taken);
                Err(refusal(&self.inner, flow))
            }
        }
    }

    /// Takes `count` permits beyond the limit, for work that can no longer be refused.
    #[must_use]
    pub fn take_beyond(&self, flow: &Flow, count: usize) -> Place {
        self.add(&mut self.inner.taken.lock(), flow, count)
    }

    /// Whether a permit is free, without taking it.
    ///
    /// # Errors
    /// As [`enter`](Self::enter).
    pub fn has_room(&self, flow: &Flow) -> Result<()> {
        let refusal = self.inner.refusal(&self.inner.taken.lock(), flow, 1);
        refusal.map_or(Ok(()), |refusal| Err(refusal(&self.inner, flow)))
    }

    fn add(&self, taken: &mut Taken, flow: &Flow, count: usize) -> Place {
        taken.all += count;
        if let Some(gauge) = &self.inner.gauge {
            gauge.set(taken.all as f64);
        }
        *taken.flows.entry(flow.clone()).or_default() += count;
        Place {
            limit: self.clone(),
            flow: flow.clone(),
            count,
        }
    }

    /// The number of permits in use.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.inner.taken.lock().all
    }
}

impl Inner {
    /// The error for `count` more permits, if they exceed a limit.
    fn refusal(&self, taken: &Taken, flow: &Flow, count: usize) -> Option<fn(&Self, &Flow) -> Error> {
        let of_flow = taken.flows.get(flow).copied().unwrap_or_default();
        if of_flow + count > self.most_per_group {
            return Some(Self::flow_full);
        }
        (taken.all + count > self.most).then_some(Self::full)
    }

    fn flow_full(&self, flow: &Flow) -> Error {
        let (name, limit) = (self.name, self.most_per_group);
        metrics::counter!("tether_calls_refused_total", "limit" => format!("{name}_per_group")).increment(1);
        let who = match flow {
            Flow::Group(_) => "the group has",
            _ => "calls that are about no group have",
        };
        let text = format!("{who} the most {name} under way that one group may have, {limit}");
        Error::new(
            Reason::GroupOverloaded,
            format!("{text}: try again with fewer at a time"),
        )
        .with("quota", name)
        .with("limit", limit)
        .detail(Detail::Quota("group".to_owned(), text))
        .detail(Detail::RetryAfter(RETRY))
    }

    fn full(&self, _: &Flow) -> Error {
        let (name, limit) = (self.name, self.most);
        metrics::counter!("tether_calls_refused_total", "limit" => name).increment(1);
        let text = format!("the server has its most {name} under way, {limit}: try again");
        Error::new(Reason::Overloaded, text).detail(Detail::RetryAfter(RETRY))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.limit.inner.taken.lock();
        taken.all = taken.all.saturating_sub(self.count);
        if let Some(gauge) = &self.limit.inner.gauge {
            gauge.set(taken.all as f64);
        }
        if let Some(of_flow) = taken.flows.get_mut(&self.flow) {
            *of_flow = of_flow.saturating_sub(self.count);
            if *of_flow == 0 {
                taken.flows.remove(&self.flow);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_group_leaves_places_to_others() {
        let limit = Limit::new("lists", 5, 3);
        let of = |group: &str| limit.take(&Flow::group(group), 1);
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
            limit.inner.taken.lock().flows.is_empty(),
            "a group without places is forgotten"
        );
        assert!(limit.take(&Flow::group("a"), 4).is_err());
        assert_eq!(limit.taken(), 0);
    }

    #[test]
    fn what_cannot_be_refused_counts_beyond_the_limit() {
        let (limit, flow) = (Limit::new("bytes", 5, 3), Flow::group("a"));
        let place = limit.take_beyond(&flow, 4);
        assert_eq!(limit.taken(), 4);
        assert_eq!(
            limit.has_room(&flow).err().unwrap().reason,
            Reason::GroupOverloaded
        );
        assert!(limit.has_room(&Flow::group("b")).is_ok());
        drop(place);
        assert!(limit.has_room(&flow).is_ok());
    }

    #[tokio::test]
    async fn a_call_of_the_service_identity_counts_for_the_group_it_is_about() {
        let limits = Limits::new(&LimitOptions {
            calls_per_group: 1,
            ..LimitOptions::default()
        });
        let [acme, globex] = ["acme", "globex"].map(|id| id.parse::<GroupId>().unwrap());
        let (first, second) = (fair::CallFlow::default(), fair::CallFlow::default());
        first.hold(limits.enter_call(&Flow::Platform).unwrap());
        assert!(limits.enter_call(&Flow::Platform).is_err());
        let about = async |call: &fair::CallFlow, group: &GroupId| {
            call.clone().scope(async { limits.count_for(group) }).await
        };
        about(&first, &acme).await.unwrap();
        second.hold(limits.enter_call(&Flow::Platform).unwrap());
        assert_eq!(
            about(&second, &acme).await.unwrap_err().reason,
            Reason::GroupOverloaded
        );
        about(&second, &globex).await.unwrap();
        assert!(
            limits.enter_call(&Flow::group("acme")).is_err(),
            "as its own calls"
        );
        first.release();
        assert!(limits.enter_call(&Flow::group("acme")).is_ok());
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
