//! Converts errors of the business rules to `google.rpc.Status` (AIP-193). This is the only place that does.

use super::call;
use crate::error::{Detail, Error, Most, Reason, shortened};
use std::collections::HashMap;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "tether";

/// The maximum length of a message of the gRPC library, in bytes.
const LONGEST_MESSAGE: usize = 300;

/// The gRPC code of a reason, as the comments of `tether.v1.ErrorReason` state it.
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
        | R::RequestMalformed
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
        | R::RemovalHeldBack
        | R::NothingToConfirm
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
        | R::ApiBudgetUsed
        | R::RequestTooLarge
        | R::GroupOverloaded
        | R::ReaderTooSlow
        | R::AccountLimitReached => Code::ResourceExhausted,
        R::EncodingUnsupported | R::RpcUnknown => Code::Unimplemented,
        R::DeadlineExceeded => Code::DeadlineExceeded,
        R::AnswerTooLarge => Code::OutOfRange,
        R::ConnectorFault | R::Internal => Code::Internal,
    }
}

/// The maximum length of a message, in bytes. A status is sent in headers, of which some clients accept 8 KiB
/// in total.
const MOST_MESSAGE: usize = 1_000;
/// The maximum length of a description and of a metadata value, in bytes.
const MOST_TEXT: usize = 400;
/// The maximum number of violations.
const MOST_VIOLATIONS: usize = 10;

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let text = |text: String| shortened(&text, Most::Bytes(MOST_TEXT)).into_owned();
        let mut metadata: HashMap<String, String> = error
            .metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), text(value.clone())))
            .collect();
        if let Some(call) = call::current() {
            match error.reason {
                Reason::Internal | Reason::ConnectorFault => {
                    metadata.insert("request_id".to_owned(), call.request_id);
                }
                Reason::RequestMalformed
                | Reason::RequestTooLarge
                | Reason::EncodingUnsupported
                | Reason::RpcUnknown => {
                    metadata.insert("rpc".to_owned(), call.rpc);
                }
                _ => {}
            }
        }
        let mut details = ErrorDetails::with_error_info(error.reason.as_str(), DOMAIN, metadata);
        for detail in error.details {
            match detail {
                Detail::Fields(fields) => {
                    for (field, description) in fields.into_iter().take(MOST_VIOLATIONS) {
                        details.add_bad_request_violation(text(field), text(description));
                    }
                }
                Detail::RetryAfter(after) => {
                    details.set_retry_info(Some(after));
                }
                Detail::Precondition(kind, subject, description) => {
                    details.add_precondition_failure_violation(kind, text(subject), text(description));
                }
                Detail::Quota(subject, description) => {
                    details.add_quota_failure_violation(text(subject), text(description));
                }
            }
        }
        Self::with_error_details(
            code(error.reason),
            shortened(&error.message, Most::Bytes(MOST_MESSAGE)),
            details,
        )
    }
}

/// A status with an `ErrorInfo`. Statuses of tether's services have one. Those of the gRPC library have none,
/// and the code of some of them misleads callers and alarms.
#[must_use]
pub fn complete(status: Status) -> Status {
    if !status.details().is_empty() && status.get_details_error_info().is_some() {
        return status;
    }
    let reason = match status.code() {
        // The caller has disconnected and reads no status.
        Code::Ok | Code::Cancelled => return status,
        // The library returns INTERNAL for messages that cannot be decoded, which would cause an alarm
        // (docs/operate.md).
        Code::Internal if status.message().starts_with("failed to decode") => Reason::RequestMalformed,
        Code::InvalidArgument => Reason::RequestMalformed,
        Code::OutOfRange => Reason::RequestTooLarge,
        Code::Unimplemented => Reason::RpcUnknown,
        Code::NotFound => Reason::NotFound,
        Code::DeadlineExceeded => Reason::DeadlineExceeded,
        Code::Unavailable | Code::ResourceExhausted => Reason::Overloaded,
        _ => return Error::internal(format!("{:?}: {}", status.code(), status.message())).into(),
    };
    let error = Error::new(reason, shortened(status.message(), Most::Bytes(LONGEST_MESSAGE)));
    match reason {
        Reason::NotFound => error.with("name", ""),
        Reason::RequestTooLarge => error.with("limit", super::call::LARGEST_REQUEST),
        Reason::Overloaded => error.detail(Detail::RetryAfter(Duration::from_secs(1))),
        _ => error,
    }
    .into()
}

/// An error of a request that no RPC has received.
pub(super) fn malformed(message: impl Into<String>) -> Error {
    Error::new(Reason::RequestMalformed, message)
}

/// The error of a request that is larger than `limit` bytes.
pub(super) fn too_large(what: &str, limit: usize) -> Error {
    Error::new(
        Reason::RequestTooLarge,
        format!("{what} may have {limit} bytes: send less at a time"),
    )
    .with("limit", limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_status_is_larger_than_a_header_may_be() {
        let long = "ü".repeat(50_000);
        let fields = vec![(long.clone(), long.clone()); 1_000];
        let error = Error::new(Reason::InvalidFieldValue, &*long)
            .with("field", &long)
            .detail(Detail::Fields(fields))
            .detail(Detail::Precondition("FIELD", long.clone(), long.clone()))
            .detail(Detail::Quota(long.clone(), long.clone()));
        let status = Status::from(error);
        assert!(status.message().len() <= MOST_MESSAGE);
        assert!(status.details().len() < 12 << 10, "{}", status.details().len());
        assert_eq!(
            status
                .get_error_details()
                .bad_request()
                .unwrap()
                .field_violations
                .len(),
            10
        );
    }
}
