//! The one place where an error of the business rules becomes a `google.rpc.Status` (AIP-193).

use super::gate;
use crate::error::{Detail, Error, Reason};
use std::collections::HashMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "tether";

/// The gRPC code of a reason; `tether.v1.ErrorReason` says the same in its comments.
#[must_use]
pub fn code(reason: Reason) -> Code {
    use Reason as R;
    match reason {
        R::TokenMissing | R::TokenInvalid | R::TokenExpired => Code::Unauthenticated,
        R::RoleNotAllowed | R::NotOwner => Code::PermissionDenied,
        R::NotFound => Code::NotFound,
        R::InvalidFieldValue
        | R::InvalidUpdateMask
        | R::InvalidFilter
        | R::InvalidOrderBy
        | R::InvalidPageToken
        | R::FieldUnknown
        | R::RedirectUriNotAllowed
        | R::AuthorizationStateInvalid
        | R::RequestIdReused
        | R::AuthorizationRejected => Code::InvalidArgument,
        R::EtagMismatch => Code::Aborted,
        R::NameTaken | R::LabelTaken => Code::AlreadyExists,
        R::GroupUnknown
        | R::ConnectorDisabled
        | R::ConnectorMisconfigured
        | R::ConnectorUnsupported
        | R::IllegalState
        | R::NotLoggedIn
        | R::NoFieldsSelected
        | R::FieldPassive
        | R::GroupsNotConnected
        | R::AuthorizationExpired
        | R::AuthorizationDenied
        | R::SyncAlreadyRunning
        | R::CredentialsRevoked
        | R::AccountSuspended
        | R::DifferentOrganization
        | R::CrmForbidden
        | R::CrmAdminActionNeeded => Code::FailedPrecondition,
        R::ConnectorUnavailable
        | R::CrmUnavailable
        | R::IndexNotReady
        | R::StorageUnavailable
        | R::Overloaded
        | R::ShuttingDown => Code::Unavailable,
        R::LimitReached
        | R::CrmRateLimited
        | R::CrmAllowanceExhausted
        | R::RefreshLimited
        | R::AccountLimitReached => Code::ResourceExhausted,
        R::NotImplementedYet => Code::Unimplemented,
        R::DeadlineExceeded => Code::DeadlineExceeded,
        R::ConnectorFault | R::Internal => Code::Internal,
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut metadata: HashMap<String, String> = error
            .metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect();
        if let Some(call) = gate::current() {
            match error.reason {
                Reason::Internal | Reason::ConnectorFault => {
                    metadata.insert("request_id".to_owned(), call.request_id);
                }
                Reason::NotImplementedYet => {
                    metadata.insert("rpc".to_owned(), call.rpc);
                }
                _ => {}
            }
        }
        let mut details = ErrorDetails::with_error_info(error.reason.as_str(), DOMAIN, metadata);
        for detail in error.details {
            match detail {
                Detail::Fields(fields) => {
                    for (field, description) in fields {
                        details.add_bad_request_violation(field, description);
                    }
                }
                Detail::RetryAfter(after) => {
                    details.set_retry_info(Some(after));
                }
                Detail::Precondition(kind, subject, description) => {
                    details.add_precondition_failure_violation(kind, subject, description);
                }
                Detail::Quota(subject, description) => {
                    details.add_quota_failure_violation(subject, description);
                }
            }
        }
        Self::with_error_details(code(error.reason), error.message, details)
    }
}
