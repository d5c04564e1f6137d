//! The options of the engine, and what its workers share.

use super::housekeeping::Keep;
use crate::connectors::Registry;
use crate::credentials::Credentials;
use crate::store::{Breaker, RemovalGuard, Store, Worker};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Options of the sync engine.
#[derive(Debug, Clone)]
pub struct Options {
    /// Number of syncs that run at the same time.
    pub workers: usize,
    /// Number of syncs of one organization of a CRM that run at the same time, over all processes.
    pub per_organization: i64,
    /// When syncs wait for the CRM of an organization.
    pub breaker: Breaker,
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
    /// How long the values of a field are kept that the CRM hides.
    pub hidden: Duration,
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
    /// Takes the syncs; its name identifies it in leases.
    pub(super) worker: Worker,
    pub(super) wake: Arc<Notify>,
    pub(super) stop: CancellationToken,
}
