//! The error type of the business rules. Its message uses the terms of the product. Only `grpc::status` converts it
//! into a `google.rpc.Status`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// Why a call was rejected. Each reason has the same name in `tether.v1.ErrorReason`, where it is documented; a test
/// compares the two lists.
macro_rules! reasons {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// Why a call was rejected; documented in `tether.v1.ErrorReason`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the proto enum of the same names is the manual")]
        pub enum Reason { $($variant),+ }

        impl Reason {
            /// All reasons.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name in `tether.v1.ErrorReason`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

reasons! {
    TokenMissing = "TOKEN_MISSING",
    TokenInvalid = "TOKEN_INVALID",
    TokenExpired = "TOKEN_EXPIRED",
    RoleNotAllowed = "ROLE_NOT_ALLOWED",
    NotOwner = "NOT_OWNER",
    GroupUnknown = "GROUP_UNKNOWN",
    NotFound = "NOT_FOUND",
    InvalidFieldValue = "INVALID_FIELD_VALUE",
    InvalidUpdateMask = "INVALID_UPDATE_MASK",
    InvalidPageToken = "INVALID_PAGE_TOKEN",
    InvalidFilter = "INVALID_FILTER",
    InvalidOrderBy = "INVALID_ORDER_BY",
    RequestIdReused = "REQUEST_ID_REUSED",
    EtagMismatch = "ETAG_MISMATCH",
    NameTaken = "NAME_TAKEN",
    LabelTaken = "LABEL_TAKEN",
    LimitReached = "LIMIT_REACHED",
    ConnectorDisabled = "CONNECTOR_DISABLED",
    ConnectorUnavailable = "CONNECTOR_UNAVAILABLE",
    ConnectorMisconfigured = "CONNECTOR_MISCONFIGURED",
    ConnectorFault = "CONNECTOR_FAULT",
    ConnectorUnsupported = "CONNECTOR_UNSUPPORTED",
    IllegalState = "ILLEGAL_STATE",
    NotLoggedIn = "NOT_LOGGED_IN",
    NoFieldsSelected = "NO_FIELDS_SELECTED",
    FieldUnknown = "FIELD_UNKNOWN",
    FieldPassive = "FIELD_PASSIVE",
    GroupsNotConnected = "GROUPS_NOT_CONNECTED",
    AuthorizationStateInvalid = "AUTHORIZATION_STATE_INVALID",
    AuthorizationExpired = "AUTHORIZATION_EXPIRED",
    AuthorizationDenied = "AUTHORIZATION_DENIED",
    AuthorizationRejected = "AUTHORIZATION_REJECTED",
    RedirectUriNotAllowed = "REDIRECT_URI_NOT_ALLOWED",
    CredentialsRevoked = "CREDENTIALS_REVOKED",
    AccountSuspended = "ACCOUNT_SUSPENDED",
    AccountLimitReached = "ACCOUNT_LIMIT_REACHED",
    DifferentOrganization = "DIFFERENT_ORGANIZATION",
    CrmUnavailable = "CRM_UNAVAILABLE",
    CrmRateLimited = "CRM_RATE_LIMITED",
    CrmAllowanceExhausted = "CRM_ALLOWANCE_EXHAUSTED",
    CrmForbidden = "CRM_FORBIDDEN",
    CrmAdminActionNeeded = "CRM_ADMIN_ACTION_NEEDED",
    RefreshLimited = "REFRESH_LIMITED",
    ApiBudgetUsed = "API_BUDGET_USED",
    SyncAlreadyRunning = "SYNC_ALREADY_RUNNING",
    IndexNotReady = "INDEX_NOT_READY",
    RemovalHeldBack = "REMOVAL_HELD_BACK",
    NothingToConfirm = "NOTHING_TO_CONFIRM",
    Overloaded = "OVERLOADED",
    GroupOverloaded = "GROUP_OVERLOADED",
    AnswerTooLarge = "ANSWER_TOO_LARGE",
    ReaderTooSlow = "READER_TOO_SLOW",
    ShuttingDown = "SHUTTING_DOWN",
    StorageUnavailable = "STORAGE_UNAVAILABLE",
    DeadlineExceeded = "DEADLINE_EXCEEDED",
    Internal = "INTERNAL",
    RequestMalformed = "REQUEST_MALFORMED",
    RequestTooLarge = "REQUEST_TOO_LARGE",
    EncodingUnsupported = "ENCODING_UNSUPPORTED",
    RpcUnknown = "RPC_UNKNOWN",
}

/// Maximum number of characters of a caller's input in an error.
pub const MOST_ECHO: usize = 100;

/// Shortens a caller's input for use in an error: its first 100 characters; if there are more, the last one is an
/// ellipsis. All input in an error, its metadata or its details goes through this function.
#[must_use]
pub fn echo(input: &str) -> Cow<'_, str> {
    shortened(input, Most::Characters(MOST_ECHO))
}

/// The maximum length of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Most {
    /// In characters.
    Characters(usize),
    /// In bytes of UTF-8.
    Bytes(usize),
}

/// Shortens a text to at most `most`; if it is cut, it ends with an ellipsis.
#[must_use]
pub fn shortened(text: &str, most: Most) -> Cow<'_, str> {
    let end = match most {
        Most::Characters(most) if text.char_indices().nth(most).is_some() => {
            let last = text.char_indices().nth(most.saturating_sub(1));
            last.map_or(0, |(at, _)| at)
        }
        Most::Bytes(most) if text.len() > most => {
            text.floor_char_boundary(most.saturating_sub('…'.len_utf8()))
        }
        Most::Characters(_) | Most::Bytes(_) => return Cow::Borrowed(text),
    };
    Cow::Owned(format!("{}…", &text[..end]))
}

/// Additional information that a client can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    /// The invalid fields of the request: (path, description).
    Fields(Vec<(String, String)>),
    /// The call can be retried after this time.
    RetryAfter(Duration),
    /// A condition that must be met first: (kind, subject, description).
    Precondition(&'static str, String, String),
    /// The limit that was reached: (subject, description).
    Quota(String, String),
}

/// A rejected call: a reason for programs and a message for people.
#[derive(Debug, Clone)]
pub struct Error {
    /// The reason.
    pub reason: Reason,
    /// What failed, the limit, and what to do. Never contains a secret.
    pub message: String,
    /// Values for programs, sent as `ErrorInfo.metadata`.
    pub metadata: Vec<(&'static str, String)>,
    /// Additional information for the client.
    pub details: Vec<Detail>,
}

/// The result of a service.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Creates an error with a reason and a message.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            metadata: Vec::new(),
            details: Vec::new(),
        }
    }

    /// Adds a value to the metadata.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.metadata.push((key, value.to_string()));
        self
    }

    /// Adds a detail.
    #[must_use]
    pub fn detail(mut self, detail: Detail) -> Self {
        self.details.push(detail);
        self
    }

    /// The object does not exist, or the caller has no access to it. Both cases give the same error (AIP-211).
    pub fn not_found(name: impl Into<String>) -> Self {
        let name = name.into();
        Self::new(Reason::NotFound, format!("{name} was not found")).with("name", name)
    }

    /// A field of the request is invalid.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        let (field, description) = (field.into(), description.into());
        Self::new(Reason::InvalidFieldValue, format!("{field}: {description}"))
            .detail(Detail::Fields(vec![(field, description)]))
    }

    /// The step is not allowed in this state.
    pub fn illegal_state(name: &str, state: &str, step: &str, allowed: &str) -> Self {
        Self::new(
            Reason::IllegalState,
            format!("{name} is {state}: {step} is not possible now; possible: {allowed}"),
        )
        .with("name", name)
        .with("state", state)
        .with("allowed", allowed)
        .detail(Detail::Precondition(
            "STATE",
            name.to_owned(),
            format!("state is {state}"),
        ))
    }

    /// An internal error of tether. The cause is logged and not sent to the caller.
    pub fn internal(cause: impl fmt::Display) -> Self {
        tracing::error!(%cause, "internal error");
        Self::new(
            Reason::Internal,
            "an internal error; the log of the server has the cause, with the id of this request",
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_has_100_characters_at_most() {
        assert_eq!(echo("ü"), "ü");
        assert_eq!(echo(&"ü".repeat(100)), "ü".repeat(100));
        assert_eq!(echo(&"ü".repeat(101)), format!("{}…", "ü".repeat(99)));
        assert_eq!(echo(&"x".repeat(100_000)).chars().count(), MOST_ECHO);
    }

    #[test]
    fn a_text_is_shortened_at_a_character_and_to_its_bound() {
        for (text, most, right) in [
            ("", Most::Bytes(3), ""),
            ("abc", Most::Bytes(3), "abc"),
            ("abcdefg", Most::Bytes(6), "abc…"),
            ("üüü", Most::Bytes(6), "üüü"),
            ("üüüü", Most::Bytes(7), "üü…"),
            ("üüüü", Most::Bytes(6), "ü…"),
            ("üüü", Most::Characters(3), "üüü"),
            ("üüüü", Most::Characters(3), "üü…"),
        ] {
            assert_eq!(shortened(text, most), right, "{text} {most:?}");
        }
    }
}
