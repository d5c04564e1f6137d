//! Errors of connectors: a kind that determines the host's reaction, and a sentence for users.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{ApiUsage, Error, ErrorKind};

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident;)+) => {
        impl Error {$(
            $(#[$doc])*
            pub fn $name(message: impl Into<String>) -> Self {
                Self::new(ErrorKind::$kind, message)
            }
        )+}
    };
}

constructors! {
    /// The access token is no longer accepted: the host refreshes and tries once more.
    credentials_expired => CredentialsExpired;
    /// The credentials are no longer valid: a user has to log in again.
    credentials_revoked => CredentialsRevoked;
    /// The user or the organization was deactivated.
    suspended => Suspended;
    /// An administrator of the CRM has to change something; the message says what.
    admin_action => AdminAction;
    /// The logged-in user lacks a permission.
    forbidden => Forbidden;
    /// A field no longer exists; name it with [`Error::field`].
    field_gone => FieldGone;
    /// An object no longer exists or is not visible; name it with [`Error::object`].
    object_gone => ObjectGone;
    /// A record no longer exists or is not visible.
    record_gone => RecordGone;
    /// A cursor expired: the host resumes from the last checkpoint.
    cursor_gone => CursorGone;
    /// The query is too large.
    query_too_big => QueryTooBig;
    /// A rate limit was reached; set the pause with [`Error::retry_after`].
    rate_limited => RateLimited;
    /// The organization's API allowance is used up; set the pause with [`Error::retry_after`].
    allowance_exhausted => AllowanceExhausted;
    /// Network error, timeout, maintenance: the host retries with back-off.
    transient => Transient;
    /// The caller's input (settings, code, parameters) is wrong.
    invalid_input => InvalidInput;
    /// The operator's configuration (client id, secret, redirect address) is wrong.
    configuration => Configuration;
    /// The call was cancelled.
    cancelled => Cancelled;
    /// The deadline passed.
    deadline_exceeded => DeadlineExceeded;
    /// The connector does not support this.
    unsupported => Unsupported;
    /// The CRM or the connector violated its specification.
    bug => Bug;
    /// A request was refused by the read-only policy.
    read_only => ReadOnly;
}

impl Error {
    /// An error of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            message: message.into(),
            ..Self::default()
        }
    }

    /// Sets the CRM's own code.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }

    /// Sets the affected object.
    #[must_use]
    pub fn object(mut self, object: impl Into<String>) -> Self {
        self.object = object.into();
        self
    }

    /// Sets the affected field.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = field.into();
        self
    }

    /// Sets the organization's allowance: calls used, and calls allowed.
    #[must_use]
    pub fn allowance(mut self, used: u64, limit: u64) -> Self {
        self.api_usage = Some(Box::new(ApiUsage {
            used,
            limit,
            ..ApiUsage::default()
        }));
        self
    }

    /// Sets what the failed call, or the stream until it failed, cost. An allowance that was set before stays.
    #[must_use]
    pub fn cost(mut self, cost: ApiUsage) -> Self {
        let known = self.api_usage.take().unwrap_or_default();
        let (used, limit) = match known.limit {
            0 => (cost.used, cost.limit),
            limit => (known.used, limit),
        };
        let all = ApiUsage { used, limit, ..cost };
        self.api_usage = (all != ApiUsage::default()).then(|| Box::new(all));
        self
    }

    /// Sets the time before which the request should not be retried.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let until = i64::try_from((now + wait).as_micros()).unwrap_or(i64::MAX);
        self.retry_at_us(until)
    }

    /// Sets the time before which the request should not be retried, in unix microseconds.
    #[must_use]
    pub fn retry_at_us(mut self, moment_us: i64) -> Self {
        self.retry_us = moment_us;
        self
    }

    /// Whether it has this kind. An unknown kind counts as BUG, as the contract requires.
    #[must_use]
    pub fn is(&self, kind: ErrorKind) -> bool {
        self.what() == kind
    }

    /// The kind; a missing or unknown kind is BUG.
    #[must_use]
    pub fn what(&self) -> ErrorKind {
        match self.kind() {
            ErrorKind::Unspecified => ErrorKind::Bug,
            kind if i32::from(kind) != self.kind => ErrorKind::Bug,
            kind => kind,
        }
    }

    /// Whether every other request for the account would fail in the same way, whatever its object.
    #[must_use]
    pub fn is_account_wide(&self) -> bool {
        matches!(
            self.what(),
            ErrorKind::CredentialsExpired
                | ErrorKind::CredentialsRevoked
                | ErrorKind::Suspended
                | ErrorKind::AllowanceExhausted
                | ErrorKind::Cancelled
                | ErrorKind::DeadlineExceeded
        )
    }

    /// The name of the kind in metrics and logs: `rate_limited`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self.what() {
            ErrorKind::Unspecified | ErrorKind::Bug => "bug",
            ErrorKind::CredentialsExpired => "credentials_expired",
            ErrorKind::CredentialsRevoked => "credentials_revoked",
            ErrorKind::Suspended => "suspended",
            ErrorKind::AdminAction => "admin_action",
            ErrorKind::Forbidden => "forbidden",
            ErrorKind::FieldGone => "field_gone",
            ErrorKind::ObjectGone => "object_gone",
            ErrorKind::RecordGone => "record_gone",
            ErrorKind::CursorGone => "cursor_gone",
            ErrorKind::QueryTooBig => "query_too_big",
            ErrorKind::RateLimited => "rate_limited",
            ErrorKind::AllowanceExhausted => "allowance_exhausted",
            ErrorKind::Transient => "transient",
            ErrorKind::InvalidInput => "invalid_input",
            ErrorKind::Configuration => "configuration",
            ErrorKind::Cancelled => "cancelled",
            ErrorKind::DeadlineExceeded => "deadline_exceeded",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::ReadOnly => "read_only",
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.message.is_empty() {
            self.label()
        } else {
            &self.message
        })?;
        if !self.code.is_empty() {
            write!(f, " [{}]", self.code)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
