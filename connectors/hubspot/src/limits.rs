//! What calls cost and how fast they may come: the reply headers that tell, and the waits between attempts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tether_connector_sdk::http::HeaderMap;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The window of searches.
const SECOND: Duration = Duration::from_secs(1);

/// Waits for one request in all, some of HubSpot's windows, before its failure is told to the host, which can wait without
/// holding anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The same where somebody waits for the answer.
pub(crate) const IMPATIENCE: Duration = Duration::from_secs(4);
/// Attempts at one request, the first included, before a failure that does not say when to come back is told to the host.
pub(crate) const ATTEMPTS: u32 = 6;
/// The same where somebody waits for the answer.
pub(crate) const FEW_ATTEMPTS: u32 = 3;
/// The same for one that says it, however soon that is.
pub(crate) const TOLD_ATTEMPTS: u32 = 20;

/// What a reply's headers say of the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The length of the window.
    pub(crate) window: Duration,
    /// Less than a tenth of the requests of a window is left, of that of ten seconds or that of one. Searches carry none of
    /// these headers.
    pub(crate) low: bool,
    /// Calls made and allowed in a day: HubSpot says so to private apps only.
    pub(crate) daily: Option<(u64, u64)>,
}

impl Standing {
    /// What `headers` say; `window` is its length where they do not.
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

/// Whose turn it is to search, by account. HubSpot counts the searches that it refuses too, so that many who try again would
/// starve each other: they wait here instead.
#[derive(Debug)]
pub(crate) struct Turns {
    a_second: usize,
    accounts: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// The right to one search. HubSpot counted it at some moment of its life, so it is over a second after that.
#[derive(Debug)]
pub(crate) struct Turn(Option<OwnedSemaphorePermit>);

impl Turns {
    /// So many in a second for each account.
    pub(crate) fn new(a_second: usize) -> Self {
        Self {
            a_second,
            accounts: Mutex::default(),
        }
    }

    /// The next turn of an account.
    pub(crate) async fn next(&self, account: &str) -> Turn {
        let turns = {
            let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody waits for and whose last second is over.
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
        // A search that is over counts for a second still.
        assert!(turns.next("1").now_or_never().is_none());
        assert!(turns.next("2").now_or_never().is_some());
        drop(turns.next("1").await);
        // What is over is forgotten.
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
        // As recorded: 110 in ten seconds for an app of the marketplace.
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
