//! The errors of the store, of connectors and of credentials, as the errors of the services.

use crate::connectors;
use crate::credentials;
use crate::domain::{IntegrationId, OverBudget, UsedUp};
use crate::error::{Detail, Error, Reason};
use crate::store::{self, Conflict};
use std::time::Duration;
use tether_connector_proto::ErrorKind;

/// Converts an error of using an integration's account; errors of the login name the integration.
pub(super) fn of_integration<E: Into<Error>>(id: IntegrationId) -> impl FnOnce(E) -> Error {
    move |error| {
        let error = error.into();
        match error.reason {
            Reason::CredentialsRevoked | Reason::AccountSuspended => error.with("name", id.name()),
            _ => error,
        }
    }
}

/// The reason for a kind of a connector's errors.
pub(super) fn reason_of(kind: ErrorKind) -> Reason {
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
                format!("the platform has not created the group {id} yet"),
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
        let failed = error.failed().cloned().unwrap_or_default();
        if !failed.code.is_empty() {
            out = out.with("crm_code", &failed.code);
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
                let usage = failed.api_usage.unwrap_or_default();
                let of = format!("{} of {} calls are used", usage.used, usage.limit);
                out.with("used", usage.used)
                    .with("limit", usage.limit)
                    .detail(Detail::Quota(connector, of))
                    .detail(Detail::RetryAfter(retry))
            }
            R::CrmForbidden if !failed.object.is_empty() => out.with("object", failed.object),
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
            credentials::Error::OverBudget(id, over) => over_budget(id, over),
            credentials::Error::Busy => {
                Self::new(Reason::CrmUnavailable, error.to_string()).detail(Detail::RetryAfter(RETRY))
            }
        }
    }
}

/// API_BUDGET_USED, with the limit, the end of the wait and the way out.
fn over_budget(id: IntegrationId, over: OverBudget) -> Error {
    let wait = u64::try_from(over.until_us - crate::time::now_us()).unwrap_or_default();
    let until = jiff::Timestamp::from_microsecond(over.until_us)
        .map(|until| until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        .unwrap_or_default();
    let (limit, most, way_out) = match over.limit {
        UsedUp::Budget { most, .. } => (
            "integration",
            most,
            "calls are made again then, or at once if UpdateIntegration raises api_budget",
        ),
        UsedUp::Organization { limit, .. } => (
            "organization",
            limit,
            "calls are made again then; the organization's other apps would have to use less, or its limit to be raised at the CRM",
        ),
    };
    let what = over.limit.to_string();
    Error::new(Reason::ApiBudgetUsed, format!("{what}, until {until}: {way_out}"))
        .with("name", id.name())
        .with("limit", limit)
        .with("calls", most)
        .with("until", until)
        .detail(Detail::Quota(id.name(), what))
        .detail(Detail::RetryAfter(Duration::from_micros(wait)))
}

/// Why something is as it is, for groups that do not own it: without a word of the CRM.
pub(super) fn for_receivers(reason: Reason) -> String {
    match reason {
        Reason::CredentialsRevoked | Reason::AccountSuspended => {
            "the owner group has to log in to its CRM again; what was stored before is shown"
        }
        Reason::CrmForbidden | Reason::CrmAdminActionNeeded => {
            "the owner group's CRM does not let its account read; what was stored before is shown"
        }
        Reason::CrmAllowanceExhausted | Reason::ApiBudgetUsed => {
            "the owner group's CRM allowance is used up; what was stored before is shown"
        }
        _ => "the owner group's CRM was not read this time; what was stored before is shown",
    }
    .to_owned()
}
