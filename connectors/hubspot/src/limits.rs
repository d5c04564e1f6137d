//! API usage and rate limits: the reply headers, and the pauses between attempts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tether_connector_sdk::http::HeaderMap;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The window of searches.
const SECOND: Duration = Duration::from_secs(1);

/// Attempts at one request, the first included, that HubSpot refuses with a pause it asks for, however short, before the
/// failure is reported to the host.
pub(crate) const TOLD_ATTEMPTS: u32 = 20;

/// The limits in a reply's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The length of the window.
    pub(crate) window: Duration,
    /// Less than a tenth of the requests of a window is left, of the window of ten seconds or of one second. Replies
    /// to searches have none of these headers.
    pub(crate) low: bool,
    /// Calls used and calls allowed per day: HubSpot reports them only to private apps.
    pub(crate) daily: Option<(u64, u64)>,
}

impl Standing {
    /// The limits in `headers`; `window` is the default for the length of the window.
    pub(crate) fn of(headers: &HeaderMap, window: Duration) -> Self {
        let number = |name: &str| -> Option<u64> { headers.get(name)?.to_str().ok()?.trim().parse().ok() };
        let window = number("x-hubspot-ratelimit-interval-milliseconds")
            .map_or(window, |told| Duration::from_millis(told.min(60_000)));
        let burst = number("x-hubspot-ratelimit-max").zip(number("x-hubspot-ratelimit-remaining"));
        let second =
            number("x-hubspot-ratelimit-secondly").zip(number("x-hubspot-ratelimit-secondly-remaining"));
        let low = |(max, left): (u64, u64)| left < max.div_ceil(10);
        let daily = number("x-hubspot-ratelimit-daily").zip(number("x-hubspot-ratelimit-daily-remaining"));
        Self {
            window,
            low: [burst, second].into_iter().flatten().any(low),
            daily: daily.map(|(limit, left)| (limit.saturating_sub(left), limit)),
        }
    }
}

/// Serializes searches per account. HubSpot counts refused searches too, so concurrent retries would starve each
/// other; instead, searches wait here.
#[derive(Debug)]
pub(crate) struct Turns {
    a_second: usize,
    accounts: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// The right to one search. HubSpot counts the search at some time while it runs, so the right is released one second
/// after its end.
#[derive(Debug)]
pub(crate) struct Turn(Option<OwnedSemaphorePermit>);

impl Turns {
    /// Allows this many per second for each account.
    pub(crate) fn new(a_second: usize) -> Self {
        Self {
            a_second,
            accounts: Mutex::default(),
        }
    }

    /// Waits for the next turn of an account.
    pub(crate) async fn next(&self, account: &str) -> Turn {
        let turns = {
            let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
            // Removes accounts without waiting searches whose last second is over.
            accounts
                .retain(|_, turns| Arc::strong_count(turns) > 1 || turns.available_permits() < self.a_second);
            let turns = accounts
                .entry(account.to_owned())
                .or_insert_with(|| Arc::new(Semaphore::new(self.a_second)));
            Arc::clone(turns)
        };
        // It is never closed.
        Turn(turns.acquire_owned().await.ok())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let turn = self.0.take();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(SECOND).await;
                drop(turn);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use tether_connector_sdk::http::{HeaderName, HeaderValue};

    fn standing(headers: &[(&'static str, &'static str)]) -> Standing {
        let pairs = headers
            .iter()
            .map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v)));
        Standing::of(&pairs.collect(), Duration::from_secs(10))
    }

    #[tokio::test]
    async fn searches_take_turns_and_accounts_do_not_wait_for_each_other() {
        let turns = Turns::new(4);
        for _ in 0..4 {
            assert!(turns.next("1").now_or_never().is_some());
        }
        // A finished search still counts for one second.
        assert!(turns.next("1").now_or_never().is_none());
        assert!(turns.next("2").now_or_never().is_some());
        drop(turns.next("1").await);
        // Finished searches are removed.
        tokio::time::sleep(SECOND * 3 / 2).await;
        drop(turns.next("3").await);
        let accounts = turns.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(accounts.len(), 1);
    }

    #[test]
    fn headers_are_read_as_far_as_they_are_there() {
        let none = standing(&[]);
        assert_eq!(
            (none.window, none.low, none.daily),
            (Duration::from_secs(10), false, None)
        );
        // Recorded values: 110 in ten seconds for an app of the marketplace.
        let recorded = |left: &'static str, second: &'static str| {
            standing(&[
                ("x-hubspot-ratelimit-max", "110"),
                ("x-hubspot-ratelimit-remaining", left),
                ("x-hubspot-ratelimit-interval-milliseconds", "10000"),
                ("x-hubspot-ratelimit-secondly", "11"),
                ("x-hubspot-ratelimit-secondly-remaining", second),
            ])
        };
        assert!(!recorded("109", "10").low && recorded("10", "10").low && recorded("109", "1").low);
        let some = standing(&[
            ("x-hubspot-ratelimit-max", "190"),
            ("x-hubspot-ratelimit-remaining", "18"),
            ("x-hubspot-ratelimit-interval-milliseconds", "5000"),
            ("x-hubspot-ratelimit-daily", "250000"),
            ("x-hubspot-ratelimit-daily-remaining", "249000"),
        ]);
        assert_eq!(some.window, Duration::from_secs(5));
        assert_eq!((some.low, some.daily), (true, Some((1_000, 250_000))));
    }
}
