//! What calls cost and how fast they may come: the reply headers that tell, and the waits between attempts.

use std::time::Duration;

use tether_connector_sdk::http::HeaderMap;

/// Attempts at one request, the first included, before a transient failure is told to the host.
pub(crate) const ATTEMPTS: u32 = 6;

/// HubSpot's window where the reply does not say.
const WINDOW_MS: u64 = 10_000;

/// What a reply's headers say of the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The length of the window.
    pub(crate) window: Duration,
    /// Less than a tenth of the window's requests is left.
    pub(crate) low: bool,
    /// Calls made and allowed in a day: HubSpot says so to private apps only.
    pub(crate) daily: Option<(u64, u64)>,
}

impl Standing {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let number = |name: &str| -> Option<u64> { headers.get(name)?.to_str().ok()?.trim().parse().ok() };
        let window = number("x-hubspot-ratelimit-interval-milliseconds").unwrap_or(WINDOW_MS);
        let burst = number("x-hubspot-ratelimit-max").zip(number("x-hubspot-ratelimit-remaining"));
        let daily = number("x-hubspot-ratelimit-daily").zip(number("x-hubspot-ratelimit-daily-remaining"));
        Self {
            window: Duration::from_millis(window.min(60_000)),
            low: burst.is_some_and(|(max, left)| left < max / 10),
            daily: daily.map(|(limit, left)| (limit.saturating_sub(left), limit)),
        }
    }
}

/// How long to wait before attempt `attempt` (1 is the first repetition): doubling, with jitter, at most a minute.
/// `random` is between 0 and 1.
pub(crate) fn back_off(base: Duration, attempt: u32, random: f64) -> Duration {
    let full = base
        .saturating_mul(1 << attempt.saturating_sub(1).min(10))
        .min(Duration::from_secs(60));
    full.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tether_connector_sdk::http::{HeaderName, HeaderValue};

    fn standing(headers: &[(&'static str, &'static str)]) -> Standing {
        let pairs = headers
            .iter()
            .map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v)));
        Standing::of(&pairs.collect())
    }

    #[test]
    fn headers_are_read_as_far_as_they_are_there() {
        let none = standing(&[]);
        assert_eq!(
            (none.window, none.low, none.daily),
            (Duration::from_secs(10), false, None)
        );
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

    #[test]
    fn waits_double_and_end_at_a_minute() {
        let base = Duration::from_millis(500);
        assert_eq!(back_off(base, 1, 1.0), base);
        assert_eq!(back_off(base, 3, 1.0), base * 4);
        assert_eq!(back_off(base, 30, 1.0), Duration::from_secs(60));
    }
}
