//! HubSpot's rate limits and daily limits.

use std::collections::{HashMap, VecDeque};

use crate::app::now_ms;
use crate::refusal::Refusal;

/// The windows of all apps.
pub(crate) struct Limits {
    /// Requests of an app to a portal in one window.
    pub(crate) burst: u32,
    /// The window's length.
    pub(crate) interval_ms: i64,
    /// Searches per second.
    pub(crate) searches: u32,
    /// Requests of private apps per day.
    pub(crate) daily: u64,
    pub(crate) daily_used: u64,
    recent: HashMap<u64, VecDeque<i64>>,
    searched: HashMap<u64, VecDeque<i64>>,
}

/// The limits in the headers of an answer.
pub(crate) struct Standing {
    pub(crate) remaining: u32,
    /// The limits of one second, which are a tenth of those of the window.
    pub(crate) secondly: (u32, u32),
    pub(crate) daily: Option<(u64, u64)>,
}

impl Limits {
    pub(crate) fn new(burst: u32, searches: u32) -> Self {
        Limits {
            burst,
            interval_ms: 10_000,
            searches,
            daily: 250_000,
            daily_used: 0,
            recent: HashMap::new(),
            searched: HashMap::new(),
        }
    }

    /// Checks a request of an app against the limits. Refused requests count too.
    pub(crate) fn pass(&mut self, app: u64, private: bool, search: bool) -> (Standing, Option<Refusal>) {
        let now = now_ms();
        if private {
            self.daily_used += 1;
        }
        let used = count(self.recent.entry(app).or_default(), now, self.interval_ms);
        let searched = if search {
            count(self.searched.entry(app).or_default(), now, 1_000)
        } else {
            0
        };
        let second = self
            .recent
            .get(&app)
            .into_iter()
            .flatten()
            .filter(|at| **at > now - 1_000);
        let secondly = self.burst / 10;
        let left = secondly.saturating_sub(u32::try_from(second.count()).unwrap_or(u32::MAX));
        let standing = Standing {
            remaining: self.burst.saturating_sub(used),
            secondly: (secondly, left),
            daily: private.then(|| (self.daily, self.daily.saturating_sub(self.daily_used))),
        };
        let refusal = if private && self.daily_used > self.daily {
            Some(Refusal::rate("DAILY", "daily"))
        } else if used > self.burst {
            Some(Refusal::rate("TEN_SECONDLY_ROLLING", "ten_secondly_rolling"))
        } else if searched > self.searches {
            Some(Refusal::rate("SECONDLY", "secondly"))
        } else {
            None
        };
        (standing, refusal)
    }

    /// Resets the counters.
    pub(crate) fn forget(&mut self) {
        self.recent.clear();
        self.searched.clear();
    }
}

fn count(times: &mut VecDeque<i64>, now: i64, window_ms: i64) -> u32 {
    while times.front().is_some_and(|at| *at <= now - window_ms) {
        times.pop_front();
    }
    times.push_back(now);
    u32::try_from(times.len()).unwrap_or(u32::MAX)
}
