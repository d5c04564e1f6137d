//! Faults of a request on its way to the CRM, and the errors that a connector may answer.

use std::time::Duration;

use tether_connector_host::proto::ErrorKind;

/// Too long for a connector to wait by itself: it has to report it.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(120);

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The CRM answers with this status, and a short text.
    Status(u16),
    /// 429 with a Retry-After of [`RETRY_AFTER`].
    TooManyUntil,
    /// The connection ends before an answer.
    CutBefore,
    /// The connection ends in the middle of the body.
    CutMiddle,
    /// 200 with random bytes.
    Garbage,
    /// A gateway answers with this status, and a web page.
    Page(u16),
    /// A status without a body.
    Empty(u16),
    /// A status with JSON that is not the CRM's.
    OtherJson(u16),
    /// A refusal in the CRM's own form, with this status.
    Own(u16),
    /// The answer is delayed by this time.
    Slow(Duration),
    /// There is no answer.
    Never,
}

/// All faults for calls, except those that do not end a call.
pub(crate) const ALL: &[Trouble] = &[
    Trouble::Status(401),
    Trouble::Status(403),
    Trouble::Status(429),
    Trouble::TooManyUntil,
    Trouble::Status(500),
    Trouble::Status(503),
    Trouble::CutBefore,
    Trouble::CutMiddle,
    Trouble::Garbage,
    Trouble::Never,
];

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::TooManyUntil => f.write_str("429 with Retry-After"),
            Self::CutBefore => f.write_str("a connection cut before the answer"),
            Self::CutMiddle => f.write_str("a connection cut in the middle of the body"),
            Self::Garbage => f.write_str("200 with a garbage body"),
            Self::Page(status) => write!(f, "a gateway's page with {status}"),
            Self::Empty(status) => write!(f, "{status} without a body"),
            Self::OtherJson(status) => write!(f, "{status} with JSON of another program"),
            Self::Own(status) => write!(f, "the CRM's own {status}"),
            Self::Slow(wait) => write!(f, "an answer {} ms late", wait.as_millis()),
            Self::Never => f.write_str("no answer"),
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

/// The right kinds of errors (SPEC.md, ERR-1 to ERR-5).
///
/// A status without a reason may have several meanings. It is always wrong to report a login as revoked after a
/// transient failure, or to report a failure of the CRM as one of the connector.
pub(crate) fn allowed(trouble: Trouble, concern: Concern) -> &'static [ErrorKind] {
    use ErrorKind::*;
    match (trouble, concern) {
        (Trouble::Status(401), Concern::Data) => &[CredentialsExpired, CredentialsRevoked],
        (Trouble::Status(401), Concern::Login) => &[
            InvalidInput,
            Configuration,
            CredentialsRevoked,
            CredentialsExpired,
            AdminAction,
            Transient,
        ],
        (Trouble::Status(401), Concern::Grant) => &[
            CredentialsRevoked,
            CredentialsExpired,
            Configuration,
            AdminAction,
            Transient,
        ],
        (Trouble::Status(403), Concern::Data) => &[
            Forbidden,
            AdminAction,
            ObjectGone,
            Suspended,
            CredentialsRevoked,
            CredentialsExpired,
            // The kit's 403 is not in the CRM's own form.
            Transient,
        ],
        (Trouble::Status(403), Concern::Login) => &[
            InvalidInput,
            Configuration,
            Forbidden,
            AdminAction,
            Suspended,
            Transient,
        ],
        (Trouble::Status(403), Concern::Grant) => &[
            CredentialsRevoked,
            Configuration,
            Forbidden,
            AdminAction,
            Suspended,
            Transient,
        ],
        // Limits of the login may be reported as transient failures; those of data have their own kinds.
        (Trouble::Status(429) | Trouble::TooManyUntil, Concern::Data) => &[RateLimited, AllowanceExhausted],
        (Trouble::Status(429) | Trouble::TooManyUntil, _) => &[RateLimited, AllowanceExhausted, Transient],
        (Trouble::Status(503), _) => &[Transient, RateLimited],
        (Trouble::Page(_) | Trouble::Empty(_) | Trouble::OtherJson(_), _) => &[Transient, RateLimited],
        (Trouble::Status(_) | Trouble::CutBefore | Trouble::CutMiddle, _) => &[Transient],
        // Complete, but not what the CRM documents.
        (Trouble::Garbage, _) => &[Transient, Bug],
        (Trouble::Never, _) => &[DeadlineExceeded, Transient],
        (Trouble::Own(429), _) => &[RateLimited, AllowanceExhausted],
        (Trouble::Own(_), _) => &[Forbidden, AdminAction, ObjectGone],
        (Trouble::Slow(_), _) => &[],
    }
}
