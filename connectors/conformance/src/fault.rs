//! Faults of a request on its way to the CRM, and the errors that a connector may answer.

use std::time::Duration;

use tether_connector_host::proto::ErrorKind;

/// Too long for a connector to wait: it has to report the time of the next attempt.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(120);

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The CRM answers with this status, and a short text.
    Status(u16),
    /// 429 with a Retry-After of [`RETRY_AFTER`].
    RetryAfter,
    /// The connection ends before an answer.
    CutBefore,
    /// The connection ends in the middle of the body.
    CutMiddle,
    /// 200 with random bytes.
    RandomBytes,
    /// A gateway answers with this status, and a web page.
    Page(u16),
    /// A status without a body.
    Empty(u16),
    /// A status with JSON that is not the CRM's.
    OtherJson(u16),
    /// A refusal in the CRM's own form, with this status.
    Refusal(u16),
    /// The answer is delayed by this time.
    Delayed(Duration),
    /// There is no answer.
    NoAnswer,
}

/// All faults for calls, except those that do not end a call.
pub(crate) const ALL: &[Fault] = &[
    Fault::Status(401),
    Fault::Status(403),
    Fault::Status(429),
    Fault::RetryAfter,
    Fault::Status(500),
    Fault::Status(503),
    Fault::CutBefore,
    Fault::CutMiddle,
    Fault::RandomBytes,
    Fault::NoAnswer,
];

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::RetryAfter => f.write_str("429 with Retry-After"),
            Self::CutBefore => f.write_str("a connection cut before the answer"),
            Self::CutMiddle => f.write_str("a connection cut in the middle of the body"),
            Self::RandomBytes => f.write_str("200 with random bytes"),
            Self::Page(status) => write!(f, "a web page of a gateway with {status}"),
            Self::Empty(status) => write!(f, "{status} without a body"),
            Self::OtherJson(status) => write!(f, "{status} with JSON that is not the CRM's"),
            Self::Refusal(status) => write!(f, "{status} in the CRM's own form"),
            Self::Delayed(wait) => write!(f, "an answer after {} ms", wait.as_millis()),
            Self::NoAnswer => f.write_str("no answer"),
        }
    }
}

/// The purpose of a call, as far as its errors depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Concern {
    /// Reading data with valid credentials.
    Data,
    /// Getting credentials by a login.
    Login,
    /// Refreshing or revoking credentials.
    Grant,
}

/// The expected kinds of errors (SPEC.md, ERR-1 to ERR-5).
///
/// A status without a reason may have several meanings. It is always wrong to report a login as revoked after a
/// transient failure, or to report a failure of the CRM as one of the connector.
pub(crate) fn allowed(fault: Fault, concern: Concern) -> &'static [ErrorKind] {
    use ErrorKind::*;
    match (fault, concern) {
        (Fault::Status(401), Concern::Data) => &[CredentialsExpired, CredentialsRevoked],
        (Fault::Status(401), Concern::Login) => &[
            InvalidInput,
            Configuration,
            CredentialsRevoked,
            CredentialsExpired,
            AdminAction,
            Transient,
        ],
        (Fault::Status(401), Concern::Grant) => &[
            CredentialsRevoked,
            CredentialsExpired,
            Configuration,
            AdminAction,
            Transient,
        ],
        (Fault::Status(403), Concern::Data) => &[
            Forbidden,
            AdminAction,
            ObjectGone,
            Suspended,
            CredentialsRevoked,
            CredentialsExpired,
            // The kit's 403 is not in the CRM's own form.
            Transient,
        ],
        (Fault::Status(403), Concern::Login) => &[
            InvalidInput,
            Configuration,
            Forbidden,
            AdminAction,
            Suspended,
            Transient,
        ],
        (Fault::Status(403), Concern::Grant) => &[
            CredentialsRevoked,
            Configuration,
            Forbidden,
            AdminAction,
            Suspended,
            Transient,
        ],
        // Limits of the login may be reported as transient failures; those of data have their own kinds.
        (Fault::Status(429) | Fault::RetryAfter, Concern::Data) => &[RateLimited, AllowanceExhausted],
        (Fault::Status(429) | Fault::RetryAfter, _) => &[RateLimited, AllowanceExhausted, Transient],
        (Fault::Status(503), _) => &[Transient, RateLimited],
        (Fault::Page(_) | Fault::Empty(_) | Fault::OtherJson(_), _) => &[Transient, RateLimited],
        (Fault::Status(_) | Fault::CutBefore | Fault::CutMiddle, _) => &[Transient],
        // Complete, but not in the form that the CRM documents.
        (Fault::RandomBytes, _) => &[Transient, Bug],
        (Fault::NoAnswer, _) => &[DeadlineExceeded, Transient],
        (Fault::Refusal(429), _) => &[RateLimited, AllowanceExhausted],
        (Fault::Refusal(_), _) => &[Forbidden, AdminAction, ObjectGone],
        (Fault::Delayed(_), _) => &[],
    }
}
