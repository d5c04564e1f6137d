//! The business rules, one file a noun. Services know who calls; the edge has checked the role and the form of what is
//! asked, here is decided whether the thing is theirs and whether the step is possible.

mod company;
mod connector;
mod field;
mod group;
mod integration;
mod login;
mod profile;
mod review;
mod search;
mod source;
mod sync;

pub use crate::index::Position;
pub use crate::query::Place;
pub use company::{CompanyView, Scope, ToTrack};
pub use connector::ConnectorView;
pub use field::{AvailableObject, Definition, MOST_FIELDS, PicklistValue};
pub use integration::{DraftStep, Edit, IntegrationView, Removed};
pub use login::{Asked, Begun, Landed, ReturnTo};
pub use profile::{Card, Column, Freshness, Profile, RefreshPolicy, RelatedRecord, Table};
pub use review::{Review, ReviewedObject};
pub use search::{Cell, CompanyAsk, CompanyPage, Cursor};
pub use source::{SourcePage, SourceView};
pub use sync::SyncView;

use crate::caller::{Caller, Role};
use crate::connectors::{self, Registry};
use crate::domain::{GroupId, IntegrationId, IntegrationState};
use crate::error::{Detail, Error, Reason, Result};
use crate::grants::{self, Grants};
use crate::query::Engine;
use crate::store::{self, Conflict, Integration, Store};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;
use tether_connector_proto::ErrorKind;
use tokio::sync::Notify;

/// What the operator decides about the business rules.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where tether's own callback page is, as registered with the CRMs.
    pub callback_url: String,
    /// Where the platform's callbacks are; a login may return to none else.
    pub redirect_uris: Vec<String>,
    /// Whether any loopback address will do as well: demos and tests.
    pub loopback_redirects: bool,
    /// The app's client id at each connector: part of a grant's identity.
    pub client_ids: BTreeMap<String, String>,
}

/// The services. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    inner: Arc<Inner>,
}

/// What services share.
pub struct Inner {
    store: Store,
    registry: Registry,
    grants: Grants,
    engine: Engine,
    sealer: grants::seal::Sealer,
    options: Options,
    listings: field::Listings,
    refreshes: profile::Refreshes,
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
    /// The services over this store and these connectors. `wake` is told when a sync was queued.
    #[must_use]
    pub fn new(
        store: Store,
        registry: Registry,
        grants: Grants,
        engine: Engine,
        sealer: grants::seal::Sealer,
        options: Options,
        wake: Arc<Notify>,
    ) -> Self {
        let (listings, refreshes) = (field::listings(), profile::Refreshes::new());
        Self {
            inner: Arc::new(Inner {
                store,
                registry,
                grants,
                engine,
                sealer,
                options,
                listings,
                refreshes,
                wake,
            }),
        }
    }

    /// What seals page tokens.
    #[must_use]
    pub fn sealer(&self) -> &grants::seal::Sealer {
        &self.sealer
    }
}

impl Inner {
    /// An integration that the caller's group owns; to everyone else it does not exist, and a draft neither to members.
    async fn owned(&self, caller: &Caller, id: IntegrationId) -> Result<Integration> {
        let name = id.name();
        match self.store.integration_get(id).await {
            Ok(row)
                if caller.group.as_deref() == Some(row.group_id.as_str())
                    && row.state != IntegrationState::Deleting
                    && (row.state != IntegrationState::Draft || caller.role != Role::Member) =>
            {
                Ok(row)
            }
            Ok(_) | Err(store::Error::NotFound { .. }) => Err(Error::not_found(name)),
            Err(error) => Err(error.into()),
        }
    }

    /// The sources of a group, oldest first: what it owns, saved, of connectors it has enabled.
    async fn sources(&self, group: &GroupId) -> Result<Vec<Integration>> {
        let enabled = self.enabled(group).await?;
        let mut sources = Vec::new();
        let mut after = None;
        loop {
            let page = self.store.integration_list(group, after, 500).await?;
            let Some(last) = page.last() else {
                return Ok(sources);
            };
            after = Some((last.create_us, last.id));
            sources.extend(
                page.into_iter()
                    .filter(|row| row.state != IntegrationState::Draft && enabled.contains(&row.connector)),
            );
        }
    }

    /// The connectors a group has enabled.
    async fn enabled(&self, group: &GroupId) -> Result<std::collections::BTreeSet<String>> {
        let rows = self.store.enablement_list(group).await?;
        Ok(rows
            .into_iter()
            .filter(|row| row.enabled)
            .map(|row| row.connector)
            .collect())
    }

    /// Refuses what a disabled connector cannot be used for.
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

/// The group a caller acts for.
///
/// # Errors
/// NOT_FOUND if the request names another one.
pub fn viewpoint(caller: &Caller, parent: &GroupId) -> Result<()> {
    if caller.group.as_deref() == Some(parent.as_str()) {
        return Ok(());
    }
    Err(Error::not_found(parent.name()))
}

/// The group of a caller that has one.
fn group_of(caller: &Caller) -> Result<GroupId> {
    caller
        .group
        .as_deref()
        .and_then(|group| group.parse().ok())
        .ok_or_else(|| Error::new(Reason::TokenInvalid, "the token names no group"))
}

/// How long a client should wait before it tries again, where nothing more is known.
const RETRY: Duration = Duration::from_secs(2);

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        use store::Error as S;
        match error {
            S::NotFound { what: "group", id } => Self::new(
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
            S::Conflict { kind, message } => match kind {
                Conflict::Revision => Self::new(Reason::EtagMismatch, message),
                Conflict::Name => Self::new(Reason::NameTaken, message),
                Conflict::Label => Self::new(Reason::LabelTaken, message),
                Conflict::Request => Self::new(Reason::RequestIdReused, message),
                Conflict::State | Conflict::Generation | Conflict::AccountFull | Conflict::InUse => {
                    Self::new(Reason::IllegalState, message)
                }
            },
            S::LeaseLost { .. } => Self::internal(error),
            S::Busy(_) | S::Unavailable(_) => {
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
        use ErrorKind as K;
        use Reason as R;
        let retry = grants::retry_after(&error).unwrap_or(RETRY);
        let reason = match error.kind() {
            K::CredentialsExpired | K::CredentialsRevoked => R::CredentialsRevoked,
            K::Suspended => R::AccountSuspended,
            K::AdminAction => R::CrmAdminActionNeeded,
            K::Forbidden => R::CrmForbidden,
            K::RateLimited => R::CrmRateLimited,
            K::AllowanceExhausted => R::CrmAllowanceExhausted,
            K::Transient | K::CursorGone => R::CrmUnavailable,
            K::InvalidInput => R::AuthorizationRejected,
            K::Configuration => R::ConnectorMisconfigured,
            K::Cancelled | K::DeadlineExceeded => R::DeadlineExceeded,
            K::Unsupported => R::ConnectorUnsupported,
            K::FieldGone | K::ObjectGone => R::FieldUnknown,
            K::RecordGone => R::NotFound,
            K::QueryTooBig | K::Unspecified | K::Bug | K::ReadOnly => R::ConnectorFault,
        };
        let reason = if grants::is_unavailable(&error) {
            R::ConnectorUnavailable
        } else {
            reason
        };
        let mut out = Self::new(reason, grants::message(&error));
        if let Some(failed) = error.failed().filter(|failed| !failed.code.is_empty()) {
            out = out.with("crm_code", &failed.code);
        }
        match reason {
            R::ConnectorFault => tracing::error!("a connector failed: {error}"),
            R::CrmRateLimited | R::CrmAllowanceExhausted | R::CrmUnavailable | R::ConnectorUnavailable => {
                out = out.detail(Detail::RetryAfter(retry));
            }
            _ => {}
        }
        out
    }
}

impl From<grants::Error> for Error {
    fn from(error: grants::Error) -> Self {
        match error {
            grants::Error::Store(error) => error.into(),
            grants::Error::Connector(error) => error.into(),
            grants::Error::Seal(error) => Self::internal(error),
            grants::Error::Revoked { cause, message } => {
                let suspended = cause == Reason::AccountSuspended.as_str();
                Self::new(
                    if suspended {
                        Reason::AccountSuspended
                    } else {
                        Reason::CredentialsRevoked
                    },
                    message,
                )
            }
            grants::Error::Busy => {
                Self::new(Reason::CrmUnavailable, error.to_string()).detail(Detail::RetryAfter(RETRY))
            }
        }
    }
}
