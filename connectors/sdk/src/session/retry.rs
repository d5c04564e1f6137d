//! Which failed requests are repeated, and when.

use std::time::Duration;

use crate::http::{Response, back_off};
use crate::proto::{Error, ErrorKind};

/// Why a call is made: it decides how long a request is repeated, and whether other calls go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Urgency {
    /// Neither of the others.
    #[default]
    Usual,
    /// A user waits for the answer.
    User,
    /// A long read, which leaves a part of the CRM's allowance to other calls.
    Background,
}

/// The meaning of a failed attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The error.
    pub error: Error,
    /// The HTTP status of the reply; 0 without a reply.
    pub status: u16,
    /// The pause that the CRM asked for in the reply.
    pub pause: Option<Duration>,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self {
            error,
            status: 0,
            pause: None,
        }
    }
}

impl Refusal {
    /// The meaning of a failed reply, with the pause of its `Retry-After`.
    #[must_use]
    pub fn of(error: Error, response: &Response) -> Self {
        Self {
            error,
            status: response.status.as_u16(),
            pause: response.retry_after(),
        }
    }

    /// With another pause, from headers of the CRM's own.
    #[must_use]
    pub fn after(mut self, pause: Option<Duration>) -> Self {
        self.pause = pause;
        self
    }
}

/// How often, and how soon, a request that was TRANSIENT or RATE_LIMITED is repeated before the host hears of it. The
/// host shows the cause and continues later; it can wait without using resources.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// Attempts at a request, the first included.
    pub attempts: u32,
    /// The same after a rate limit with a pause that the CRM asked for: of many calls that wait for the same moment, some
    /// are refused again.
    pub told_attempts: u32,
    /// The first pause after a transient failure; it doubles.
    pub pause: Duration,
    /// The first pause after a rate limit without a pause that the CRM asked for; it doubles.
    pub rate_pause: Duration,
    /// The longest sum of the pauses for one request.
    pub longest: Duration,
}

impl Retries {
    /// Five attempts within a minute, or three within four seconds if a user waits.
    #[must_use]
    pub fn new(pause: Duration, urgency: Urgency) -> Self {
        let (attempts, seconds) = match urgency {
            Urgency::User => (3, 4),
            Urgency::Usual | Urgency::Background => (5, 60),
        };
        Self {
            attempts,
            told_attempts: attempts,
            pause,
            rate_pause: pause * 5,
            longest: Duration::from_secs(seconds),
        }
    }

    /// The pause after failed attempt `attempt` (from 1); None if a repetition does not help. `jitter` is between 0 and 1.
    #[must_use]
    pub fn wait(&self, attempt: u32, refusal: &Refusal, jitter: f64) -> Option<Duration> {
        let told = refusal.pause.unwrap_or_default();
        let kind = refusal.error.what();
        let base = match kind {
            ErrorKind::Transient => self.pause,
            ErrorKind::RateLimited => self.rate_pause,
            _ => return None,
        };
        if attempt < self.attempts {
            return Some(back_off(base, attempt, jitter).max(told));
        }
        // Slightly longer than asked for, and spread.
        let again = kind == ErrorKind::RateLimited && !told.is_zero() && attempt < self.told_attempts;
        again.then(|| told.mul_f64(1.0 + jitter / 4.0))
    }
}
