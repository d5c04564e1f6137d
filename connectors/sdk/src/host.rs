//! The host's services for a connector.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::http::{HttpClient, ReadSet};
use crate::proto::{Error, HttpPolicy};

/// The host, as a connector sees it. Cheap to clone.
///
/// Logging needs no handle: use the macros of `tracing`; the host writes the lines to its log. Do not log data of
/// requests: values of settings and credentials are secrets, record contents belong to the customer.
#[derive(Clone)]
pub struct Host {
    clock: Arc<dyn Fn() -> i64 + Send + Sync>,
    policy: Arc<HttpPolicy>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

impl Host {
    /// A host with this clock and policy. The SDK creates the real one, tests create their own.
    pub fn new(clock: impl Fn() -> i64 + Send + Sync + 'static, policy: HttpPolicy) -> Self {
        Self {
            clock: Arc::new(clock),
            policy: Arc::new(policy),
        }
    }

    /// A host with this machine's clock.
    #[must_use]
    pub fn standalone(policy: HttpPolicy) -> Self {
        Self::new(system_now_us, policy)
    }

    /// The host's time in unix microseconds. Use no other clock, so that tests can control the time.
    #[must_use]
    pub fn now_us(&self) -> i64 {
        (self.clock)()
    }

    /// An HTTP client that observes the host's policy and refuses requests outside `read_set`. Create one and reuse
    /// it: it pools the connections.
    pub fn http(&self, read_set: ReadSet) -> Result<HttpClient, Error> {
        HttpClient::new(&self.policy, read_set)
    }
}

pub(crate) fn system_now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
