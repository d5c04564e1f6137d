//! The state that all services share, and the rules that all of them begin with: which integrations a caller sees.

use super::feed::Feed;
use super::limits::{LimitOptions, Limits};
use super::listing;
use super::refreshes::Refreshes;
use crate::caller::{Caller, Role};
use crate::connectors::Registry;
use crate::credentials::{self, Credentials};
use crate::domain::{GroupId, IntegrationId};
use crate::error::{Detail, Error, Reason, Result};
use crate::query::Engine;
use crate::store::{Integration, Source, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The operator's options of the business rules.
#[derive(Debug, Clone)]
pub struct Options {
    /// The URL of tether's own callback page, as registered with the CRMs.
    pub callback_url: String,
    /// The platform's callback URLs; a login may return to no other URL.
    pub redirect_uris: Vec<String>,
    /// Whether any loopback address is allowed too, for demos and tests.
    pub loopback_redirects: bool,
    /// How long events of groups are kept, in microseconds.
    pub keep_events_us: i64,
    /// Limits of concurrent work.
    pub limits: LimitOptions,
    /// The client id of the operator's app at each connector: it is part of a credential's key.
    pub client_ids: BTreeMap<String, String>,
    /// The settings that the operator has configured for each connector.
    pub connector_settings: BTreeMap<String, BTreeSet<String>>,
    /// How long a draft is kept after its creation, in microseconds.
    pub draft_life_us: i64,
    /// How long a login in the browser may take, in microseconds.
    pub login_life_us: i64,
}

/// How long a group that was found is assumed to exist. A group that is deleted meanwhile has nothing to
/// show.
const KNOWN_FOR: Duration = Duration::from_secs(30);

/// The services. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    inner: Arc<Inner>,
}

/// The shared state of the services.
pub struct Inner {
    pub(super) store: Store,
    pub(super) registry: Registry,
    pub(super) credentials: Credentials,
    pub(super) engine: Engine,
    pub(super) sealer: credentials::seal::Sealer,
    pub(super) options: Options,
    pub(super) listings: listing::Listings,
    pub(super) refreshes: Refreshes,
    pub(super) limits: Limits,
    pub(super) feed: Feed,
    /// Groups that were found in the database recently.
    pub(super) known_groups: moka::future::Cache<GroupId, ()>,
    /// Cancelled when the server is about to stop: ends streams that have no end of their own.
    pub(super) draining: CancellationToken,
    /// Wakes idle sync workers of this process.
    pub(super) wake: Arc<Notify>,
}

impl Deref for Services {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl Services {
    /// The services of a store and its connectors. `wake` is notified when a sync is queued.
    #[must_use]
    pub fn new(
        store: Store,
        registry: Registry,
        credentials: Credentials,
        engine: Engine,
        sealer: credentials::seal::Sealer,
        options: Options,
        wake: Arc<Notify>,
    ) -> Self {
        let feed = Feed::default();
        let (listings, refreshes) = (listing::listings(), Refreshes::new());
        let limits = Limits::new(&options.limits);
        Self {
            inner: Arc::new(Inner {
                store,
                registry,
                credentials,
                engine,
                sealer,
                options,
                listings,
                refreshes,
                limits,
                feed,
                known_groups: known_groups(),
                draining: CancellationToken::new(),
                wake,
            }),
        }
    }

    /// Ends streams that have no end of their own, because the server is about to stop.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Waits for live reads that go on after their calls, at most `patience`, then cancels them.
    pub async fn settle(&self, patience: Duration) {
        self.refreshes.settle(patience).await;
    }

    /// Cancelled when the server is about to stop.
    #[must_use]
    pub fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }

    /// The limits of concurrent work.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The sealer of page tokens.
    #[must_use]
    pub fn sealer(&self) -> &credentials::seal::Sealer {
        &self.sealer
    }
}

impl Inner {
    /// An integration as the caller's group uses it. NOT_FOUND for a group that neither owns nor receives it,
    /// and for drafts if the caller is a member.
    pub(super) async fn seen(&self, caller: &Caller, id: IntegrationId) -> Result<Source> {
        let source = match caller.group.as_deref().map(str::parse::<GroupId>) {
            Some(Ok(group)) => self.store.source_get(&group, id).await?,
            _ => None,
        };
        source
            .filter(|source| source.is_saved() || caller.role != Role::Member)
            .ok_or_else(|| Error::not_found(id.name()))
    }

    /// An integration that the caller's group owns.
    ///
    /// # Errors
    /// NOT_FOUND as [`seen`](Self::seen); NOT_OWNER if the group receives it.
    pub(super) async fn owned(&self, caller: &Caller, id: IntegrationId) -> Result<Integration> {
        let source = self.seen(caller, id).await?;
        if source.is_owned() {
            return Ok(source.integration);
        }
        Err(Error::new(
            Reason::NotOwner,
            format!(
                "{} is received from {}: only an administrator of that group may do this",
                id.name(),
                source.integration.group_id.name()
            ),
        )
        .with("name", id.name()))
    }

    /// The visible sources of a group: owned ones first, from the oldest, then received ones. They are saved
    /// and connected, and neither the group nor the owner has disabled their connector.
    pub(super) async fn sources(&self, group: &GroupId) -> Result<Vec<Source>> {
        let mut sources = self.store.source_list(group).await?;
        sources.retain(Source::is_visible);
        Ok(sources)
    }

    /// Returns CONNECTOR_DISABLED unless the group has enabled the connector.
    pub(super) async fn require_enabled(&self, group: &GroupId, connector: &str) -> Result<()> {
        if self
            .store
            .enablement_get(group, connector)
            .await?
            .is_some_and(|row| row.enabled)
        {
            return Ok(());
        }
        Err(Error::new(
            Reason::ConnectorDisabled,
            format!("{group} has not enabled the connector {connector}: an administrator can, with EnableConnector"),
        )
        .with("connector", format!("connectors/{connector}"))
        .detail(Detail::Precondition("CONNECTOR", format!("connectors/{connector}"), "is not enabled".to_owned())))
    }
}

/// An empty cache of known groups.
fn known_groups() -> moka::future::Cache<GroupId, ()> {
    moka::future::Cache::builder()
        .max_capacity(100_000)
        .time_to_live(KNOWN_FOR)
        .build()
}
