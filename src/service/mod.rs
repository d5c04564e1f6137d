//! The business rules, one file per noun. The gRPC layer has checked the caller's role and the form of the
//! request; services check whether the resource belongs to the caller's group and whether the step is
//! possible.
//!
//! An RPC that the policy table marks as changing something runs in a task that goes on if the caller
//! disconnects. Its handler passes `gate::author` to the service, and the service makes the change with
//! `Inner::change`: the rows, the audit entry and what the request id led to are one transaction. A separate
//! entry, written by the gate, would need a second commit. A test (tests/it/house.rs) finds handlers and
//! services without an entry.
//!
//! The service identity reads as a member of the group that it names: there is one rule of visibility, and no
//! service has to know a caller that sees everything. Other callers must name the group of their token.

mod account_limit;
mod audit;
mod cells;
mod company;
mod connector;
mod draft;
mod edit;
mod event;
mod field;
mod group;
mod integration;
mod limits;
mod login;
mod profile;
mod refreshes;
mod request_key;
mod review;
mod search;
mod share;
mod source;
mod standing;
mod sync;

// The nouns of the store that callers of the services see.
pub use crate::index::Position;
pub use crate::query::Place;
pub use crate::store::{
    AuditEntry, AuditFilter, CompanyKey, Event, FieldRef, Group, NewShare, Relation, SeenField, Share, Source,
};
pub use account_limit::ACCOUNT_LIMIT;
pub use audit::{AuditChange, Author};
pub use cells::Cell;
pub use company::{CompanyView, Scope, ToTrack};
pub use connector::ConnectorView;
pub use draft::Draft;
pub use edit::Edit;
pub use event::Watched;
pub use field::{Activated, Available, AvailableObject, Definition, MOST_FIELDS, PicklistValue};
pub use integration::{Access, DraftStep, IntegrationView, Removed};
pub use limits::{LimitOptions, Limits, Place as LimitPlace};
pub use login::{AuthorizationStarted, ConfirmationPrompt, LoginOutcome, ReturnTo};
pub use profile::{Card, Column, Freshness, Profile, RefreshPolicy, RelatedRecord, Table};
pub use request_key::RequestKey;
pub use review::{Review, ReviewedGroup, ReviewedObject, SelectedField, Verdict};
pub use search::{CompanyAsk, CompanyWalk, Cursor};
pub use share::{MOST_SHARES, Shareable};
pub use source::{IndexState, SourcePage, SourceView};
pub use standing::{Standing, Why};
pub use sync::SyncView;

use crate::caller::{Caller, Role};
use crate::connectors::{self, Registry};
use crate::credentials::{self, Credentials};
use crate::domain::{GroupId, IntegrationId};
use crate::error::{Detail, Error, Reason, Result};
use crate::query::Engine;
use crate::store::{self, Conflict, Integration, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;
use tether_connector_proto::ErrorKind;
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

/// The services. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    inner: Arc<Inner>,
}

/// The shared state of the services.
pub struct Inner {
    store: Store,
    registry: Registry,
    credentials: Credentials,
    engine: Engine,
    sealer: credentials::seal::Sealer,
    options: Options,
    listings: field::Listings,
    refreshes: refreshes::Refreshes,
    limits: Limits,
    feed: event::Feed,
    /// Groups that were found in the database recently.
    known_groups: moka::future::Cache<GroupId, ()>,
    /// Cancelled when the server is about to stop: ends streams that have no end of their own.
    draining: CancellationToken,
    /// Wakes idle sync workers of this process.
    wake: Arc<Notify>,
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
        let feed = event::Feed::default();
        let (listings, refreshes) = (field::listings(), refreshes::Refreshes::new());
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
                known_groups: group::known_groups(),
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
    async fn seen(&self, caller: &Caller, id: IntegrationId) -> Result<Source> {
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
    async fn owned(&self, caller: &Caller, id: IntegrationId) -> Result<Integration> {
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
    async fn sources(&self, group: &GroupId) -> Result<Vec<Source>> {
        let mut sources = self.store.source_list(group).await?;
        sources.retain(Source::is_visible);
        Ok(sources)
    }

    /// Returns CONNECTOR_DISABLED unless the group has enabled the connector.
    async fn require_enabled(&self, group: &GroupId, connector: &str) -> Result<()> {
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

/// Checks that the request is about the caller's own group.
///
/// # Errors
/// NOT_FOUND if it names another group.
pub fn viewpoint(caller: &Caller, parent: &GroupId) -> Result<()> {
    if caller.group.as_deref() == Some(parent.as_str()) {
        return Ok(());
    }
    Err(Error::not_found(parent.name()))
}

impl Services {
    /// The caller with the rights to read this group's resources: the caller itself or, for the service
    /// identity, a member of the group.
    ///
    /// # Errors
    /// NOT_FOUND for a group that is not the caller's, or, for the service identity, that does not exist.
    pub async fn reader(&self, caller: Caller, parent: &GroupId) -> Result<Caller> {
        if caller.role != Role::Service {
            viewpoint(&caller, parent)?;
            return Ok(caller);
        }
        self.about(&caller, parent)?;
        self.known(parent).await?;
        Ok(member_of(caller, parent))
    }

    /// Counts a call of the service identity against the limits of the group that it is about.
    ///
    /// # Errors
    /// GROUP_OVERLOADED.
    pub fn about(&self, caller: &Caller, group: &GroupId) -> Result<()> {
        match caller.role {
            Role::Service => self.limits.count_for(group),
            Role::Member | Role::Administrator => Ok(()),
        }
    }

    /// As [`reader`](Self::reader), for an integration: the service identity gets the rights of a member of
    /// the owner group.
    ///
    /// # Errors
    /// NOT_FOUND if the service identity names an unknown integration.
    pub async fn reader_of(&self, caller: Caller, id: IntegrationId) -> Result<Caller> {
        if caller.role != Role::Service {
            return Ok(caller);
        }
        match self.store.integration_get(id).await {
            Ok(integration) => {
                self.about(&caller, &integration.group_id)?;
                Ok(member_of(caller, &integration.group_id))
            }
            Err(error) if error.is_not_found() => Err(Error::not_found(id.name())),
            Err(error) => Err(error.into()),
        }
    }
}

fn member_of(caller: Caller, group: &GroupId) -> Caller {
    Caller {
        group: Some(group.as_str().to_owned()),
        role: Role::Member,
        ..caller
    }
}

/// The group of the caller; TOKEN_INVALID if the token has none.
fn group_of(caller: &Caller) -> Result<GroupId> {
    caller
        .group
        .as_deref()
        .and_then(|group| group.parse().ok())
        .ok_or_else(|| Error::new(Reason::TokenInvalid, "the token names no group"))
}

/// Converts an error of using an integration's account; errors of the login name the integration.
fn of_integration<E: Into<Error>>(id: IntegrationId) -> impl FnOnce(E) -> Error {
    move |error| {
        let error = error.into();
        match error.reason {
            Reason::CredentialsRevoked | Reason::AccountSuspended => error.with("name", id.name()),
            _ => error,
        }
    }
}

/// The reason for a kind of a connector's errors.
pub(crate) fn reason_of(kind: ErrorKind) -> Reason {
    use ErrorKind as K;
    use Reason as R;
    match kind {
        K::CredentialsRevoked => R::CredentialsRevoked,
        K::Suspended => R::AccountSuspended,
        K::AdminAction => R::CrmAdminActionNeeded,
        K::Forbidden => R::CrmForbidden,
        K::RateLimited => R::CrmRateLimited,
        K::AllowanceExhausted => R::CrmAllowanceExhausted,
        // A new token that has already expired: access was not revoked.
        K::CredentialsExpired | K::Transient | K::CursorGone => R::CrmUnavailable,
        K::InvalidInput => R::AuthorizationRejected,
        K::Configuration => R::ConnectorMisconfigured,
        K::Cancelled | K::DeadlineExceeded => R::DeadlineExceeded,
        K::Unsupported => R::ConnectorUnsupported,
        K::FieldGone | K::ObjectGone => R::FieldUnknown,
        K::RecordGone => R::NotFound,
        K::QueryTooBig | K::Unspecified | K::Bug | K::ReadOnly => R::ConnectorFault,
    }
}

/// The delay that clients should wait before a retry if no better one is known.
const RETRY: Duration = Duration::from_secs(2);
/// The same if the disk is full, because an operator has to free space.
const RETRY_FULL: Duration = Duration::from_secs(30);

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        use store::Error as S;
        match error {
            S::NotFound {
                what: store::Noun::Group,
                id,
            } => Self::new(
                Reason::GroupUnknown,
                format!("the platform has not told tether of the group {id} yet"),
            )
            .with("group", format!("groups/{id}"))
            .detail(Detail::Precondition(
                "GROUP",
                format!("groups/{id}"),
                "is not known".to_owned(),
            )),
            S::NotFound { what, id } => Self::not_found(format!("{what} {id}")),
            S::RequestReused(ref request_id) => {
                Self::new(Reason::RequestIdReused, error.to_string()).with("request_id", request_id)
            }
            S::Conflict { kind, message } => match kind {
                Conflict::Revision => Self::new(Reason::EtagMismatch, message),
                Conflict::Name => Self::new(Reason::NameTaken, message),
                Conflict::Label => Self::new(Reason::LabelTaken, message),
                Conflict::NotConnected => Self::new(Reason::GroupsNotConnected, message),
                Conflict::DraftsFull => Self::new(Reason::LimitReached, message),
                Conflict::State | Conflict::Generation | Conflict::AccountFull => {
                    Self::new(Reason::IllegalState, message)
                }
            },
            S::LeaseLost { .. } => Self::internal(error),
            S::Full(_) => {
                tracing::error!("the database: {error}");
                Self::new(
                    Reason::StorageUnavailable,
                    "the disk of tether's database is full: nothing can be stored until its operator has made room",
                )
                .detail(Detail::RetryAfter(RETRY_FULL))
            }
            S::Busy(_) | S::Unavailable(_) | S::Failed(_) => {
                tracing::warn!("the database: {error}");
                Self::new(
                    Reason::StorageUnavailable,
                    "the database does not answer in time; try again",
                )
                .detail(Detail::RetryAfter(RETRY))
            }
            S::Corrupt(_) | S::Migration(_) | S::Config(_) | S::Query(_) => {
                Self::internal(format!("{error:?}"))
            }
        }
    }
}

impl From<connectors::Error> for Error {
    fn from(error: connectors::Error) -> Self {
        use Reason as R;
        let retry = credentials::retry_after(&error).unwrap_or(RETRY);
        let reason = reason_of(error.kind());
        let reason = if credentials::is_unavailable(&error) {
            R::ConnectorUnavailable
        } else {
            reason
        };
        let mut out = Self::new(reason, credentials::message(&error));
        let connector = format!("connectors/{}", error.connector());
        let said = error.failed().cloned().unwrap_or_default();
        if !said.code.is_empty() {
            out = out.with("crm_code", &said.code);
        }
        match reason {
            R::ConnectorFault => {
                tracing::error!("a connector failed: {error}");
                out.with("connector", connector)
            }
            R::ConnectorMisconfigured | R::ConnectorUnsupported => out.with("connector", connector),
            R::CrmRateLimited | R::CrmUnavailable | R::ConnectorUnavailable => {
                out.with("connector", connector).detail(Detail::RetryAfter(retry))
            }
            R::CrmAllowanceExhausted => {
                let usage = said.api_usage.unwrap_or_default();
                let of = format!("{} of {} calls are used", usage.used, usage.limit);
                out.with("used", usage.used)
                    .with("limit", usage.limit)
                    .detail(Detail::Quota(connector, of))
                    .detail(Detail::RetryAfter(retry))
            }
            R::CrmForbidden if !said.object.is_empty() => out.with("object", said.object),
            _ => out,
        }
    }
}

impl From<credentials::Error> for Error {
    fn from(error: credentials::Error) -> Self {
        match error {
            credentials::Error::Store(error) => error.into(),
            credentials::Error::Connector(error) => error.into(),
            credentials::Error::Seal(error) => Self::internal(error),
            credentials::Error::Revoked { cause, code, message } => {
                let reason = match cause == Reason::AccountSuspended.as_str() {
                    true => Reason::AccountSuspended,
                    false => Reason::CredentialsRevoked,
                };
                let out = Self::new(reason, message);
                match code.is_empty() {
                    true => out,
                    false => out.with("crm_code", code),
                }
            }
            credentials::Error::Busy => {
                Self::new(Reason::CrmUnavailable, error.to_string()).detail(Detail::RetryAfter(RETRY))
            }
        }
    }
}
