//! What can happen to a request on its way, and what a connector may say of it.

use std::time::Duration;

use tether_connector_host::proto::ErrorKind;

/// Longer than any connector should wait by itself: it has to tell.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(120);

/// What happens to a request.
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
    /// 200 with bytes that are nothing.
    Garbage,
    /// A gateway answers with this status, and a web page.
    Page(u16),
    /// Something answers with this status, and nothing else.
    Empty(u16),
    /// Something answers with this status, and JSON of its own.
    OtherJson(u16),
    /// The answer comes this much later.
    Slow(Duration),
    /// No answer comes.
    Never,
}

/// All that a call may meet, but those that end no call by themselves.
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
            Self::Slow(wait) => write!(f, "an answer {} ms late", wait.as_millis()),
            Self::Never => f.write_str("no answer"),
        }
    }
}

/// What a call is about, as far as its errors go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Concern {
    /// Reading data with credentials that were good.
    Data,
    /// Getting credentials: a login.
    Login,
    /// Getting new credentials, or giving them back.
    Grant,
}

/// The kinds of errors that say the right thing (SPEC.md, ERR-1 to ERR-5).
///
/// A status without a reason may mean several things; what is never right is to declare a login dead for what passes, or
/// to take the CRM's failure for one of the connector.
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
            // The kit's 403 is not the CRM's own word.
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
        // The login's own limits may be told as a failure that passes; those of data have kinds of their own.
        (Trouble::Status(429) | Trouble::TooManyUntil, Concern::Data) => &[RateLimited, AllowanceExhausted],
        (Trouble::Status(429) | Trouble::TooManyUntil, _) => &[RateLimited, AllowanceExhausted, Transient],
        (Trouble::Status(503), _) => &[Transient, RateLimited],
        (Trouble::Page(_) | Trouble::Empty(_) | Trouble::OtherJson(_), _) => &[Transient, RateLimited],
        (Trouble::Status(_) | Trouble::CutBefore | Trouble::CutMiddle, _) => &[Transient],
        // Whole, and not what the CRM documents.
        (Trouble::Garbage, _) => &[Transient, Bug],
        (Trouble::Never, _) => &[DeadlineExceeded, Transient],
        (Trouble::Slow(_), _) => &[],
    }
}
