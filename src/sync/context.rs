//! The options of the engine, and what its workers share.

use super::housekeeping::Keep;
use crate::connectors::Registry;
use crate::credentials::Credentials;
use crate::store::{RemovalGuard, Store};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Options of the sync engine.
#[derive(Debug, Clone)]
pub struct Options {
    /// Number of syncs that run at the same time.
    pub workers: usize,
    /// How long a lease is valid without a heartbeat.
    pub lease: Duration,
    /// How often an idle worker looks for syncs that another process queued.
    pub poll: Duration,
    /// The longest time between two looks for integrations whose time to sync was reached.
    pub schedule_poll: Duration,
    /// Maximum attempts without progress after temporary errors.
    pub most_tries: i64,
    /// The pause after the first failed attempt. Each further pause is three times longer, up to ten minutes.
    pub first_pause: Duration,
    /// How often calculated fields are read again for all records.
    pub calculated: Duration,
    /// How often all ids are listed.
    pub sweep: Duration,
    /// How many records a listing may remove without confirmation.
    pub guard: RemovalGuard,
    /// Retention times.
    pub keep: Keep,
}

/// Shared data of the workers.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) store: Store,
    pub(super) registry: Registry,
    pub(super) credentials: Credentials,
    pub(super) options: Options,
    /// Identifies this process in leases.
    pub(super) owner: String,
    pub(super) wake: Arc<Notify>,
    pub(super) stop: CancellationToken,
}
