//! Salesforce's time between its replies.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use tether_connector_sdk::Host;

/// The difference between Salesforce's clock and the host's, by the last reply.
pub(crate) struct Clock {
    host: Host,
    /// Microseconds; [`UNKNOWN`] before the first reply.
    ahead_us: AtomicI64,
}

const UNKNOWN: i64 = i64::MIN;

impl Clock {
    pub(crate) fn new(host: Host) -> Self {
        Self {
            host,
            ahead_us: AtomicI64::new(UNKNOWN),
        }
    }

    /// Notes the time of a reply.
    pub(crate) fn note(&self, made_us: i64) {
        self.ahead_us
            .store(made_us.saturating_sub(self.host.now_us()), Relaxed);
    }

    /// Salesforce's time now, or a little earlier: replies have the time when they were begun, in whole seconds. 0 if unknown.
    pub(crate) fn now_us(&self) -> i64 {
        match self.ahead_us.load(Relaxed) {
            UNKNOWN => 0,
            ahead_us => self.host.now_us().saturating_add(ahead_us),
        }
    }
}
