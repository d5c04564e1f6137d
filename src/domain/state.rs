//! Enums that are stored as TEXT.

use std::{fmt, str::FromStr};

use diesel::{AsExpression, FromSqlRow, sql_types::Text};

use super::{Invalid, text_column};

macro_rules! words {
    ($(#[$doc:meta])* $ty:ident, $what:literal { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, AsExpression, FromSqlRow)]
        #[diesel(sql_type = Text)]
        pub enum $ty {
            $($(#[$vdoc])* $variant,)+
        }

        impl $ty {
            /// All values.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stored text.
            pub fn as_str(&self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl FromStr for $ty {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(Invalid::new(text, $what)),
                }
            }
        }

        impl fmt::Display for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        text_column!($ty);
    };
}

words! {
    /// The state of an integration.
    IntegrationState, "a state of an integration" {
        /// Being set up; has no effect on the platform.
        Draft = "DRAFT",
        /// Saved.
        Active = "ACTIVE",
        /// Saved, but a user must log in to its account again.
        NeedsReauthorization = "NEEDS_REAUTHORIZATION",
        /// Deleted for all users; its rows are being deleted.
        Deleting = "DELETING",
    }
}

words! {
    /// Whether a credential can be used.
    CredentialState, "a state of a credential" {
        /// It can be used, as far as tether knows.
        Live = "LIVE",
        /// The CRM rejected it, or tether revoked it.
        Revoked = "REVOKED",
    }
}

words! {
    /// How the login of a credential was done.
    AuthKind, "a way to log in" {
        /// OAuth 2.0 authorization code with PKCE, in the browser.
        AuthorizationCode = "AUTHORIZATION_CODE",
        /// OAuth 2.0 client credentials.
        ClientCredentials = "CLIENT_CREDENTIALS",
        /// A signed assertion.
        JwtBearer = "JWT_BEARER",
        /// A key created in the CRM.
        ApiKey = "API_KEY",
    }
}

words! {
    /// Where the browser returns after a login.
    Landing, "a redirect target of a login" {
        /// To the platform, which passes code and state over gRPC.
        Platform = "PLATFORM",
        /// To tether's own page, which asks for confirmation first.
        Tether = "TETHER",
    }
}

words! {
    /// The state of a sync.
    SyncState, "a state of a sync" {
        /// Waits for a worker.
        Queued = "QUEUED",
        /// A worker runs it.
        Running = "RUNNING",
        /// Waits until a time: a rate limit or a retry.
        Waiting = "WAITING",
        /// All objects were read completely.
        Succeeded = "SUCCEEDED",
        /// The company object was read completely, but another object was not, or a removal was held back.
        Partial = "PARTIAL",
        /// It failed.
        Failed = "FAILED",
        /// It was cancelled.
        Cancelled = "CANCELLED",
    }
}

impl SyncState {
    /// Whether the sync has ended.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Partial | Self::Failed | Self::Cancelled
        )
    }
}

words! {
    /// Why a sync was started.
    SyncTrigger, "a trigger of a sync" {
        /// A user requested it.
        Manual = "MANUAL",
        /// The integration was saved for the first time.
        Activation = "ACTIVATION",
        /// Fields were added to the selection.
        Selection = "SELECTION",
        /// The schedule.
        Schedule = "SCHEDULE",
        /// A user logged in again.
        Reauthorization = "REAUTHORIZATION",
    }
}

words! {
    /// How much a sync reads.
    SyncMode, "a mode of a sync" {
        /// Not decided yet: changes if there is a state to go on from, else everything.
        Auto = "AUTO",
        /// Everything.
        Full = "FULL",
        /// What changed since the last sync.
        Incremental = "INCREMENTAL",
    }
}

words! {
    /// The state of one object of a sync.
    ObjectState, "a state of an object of a sync" {
        /// Not started.
        Pending = "PENDING",
        /// Being read.
        Reading = "READING",
        /// It was read completely.
        Complete = "COMPLETE",
        /// Not read: it does not exist any more, or the user has no access to it.
        Skipped = "SKIPPED",
        /// Reading it failed.
        Failed = "FAILED",
    }
}

words! {
    /// The kind of an outbox entry.
    OutboxKind, "a kind of outbox entry" {
        /// Revoke credentials at the CRM.
        Revoke = "REVOKE",
    }
}

words! {
    /// The kind of an event of an integration.
    EventKind, "a kind of event" {
        /// A sync read all objects completely.
        SyncFinished = "SYNC_FINISHED",
        /// A sync did not read an object completely, or held back a removal.
        SyncPartial = "SYNC_PARTIAL",
        /// A sync failed.
        SyncFailed = "SYNC_FAILED",
        /// A sync was cancelled.
        SyncCancelled = "SYNC_CANCELLED",
        /// A user must log in to the account again.
        NeedsReauthorization = "NEEDS_REAUTHORIZATION",
        /// Another group shares an integration with this group, or changed what it shares.
        ShareReceived = "SHARE_RECEIVED",
        /// A share was removed.
        ShareLost = "SHARE_LOST",
        /// A selected field no longer exists in the CRM or is no longer visible.
        FieldMissing = "FIELD_MISSING",
        /// A saved integration was deleted.
        IntegrationDeleted = "INTEGRATION_DELETED",
    }
}

words! {
    /// The types of fields in the connector contract.
    FieldType, "a type of a field" {
        /// Text.
        Text = "TEXT",
        /// One value of a list of options.
        Picklist = "PICKLIST",
        /// Several values of a list of options.
        MultiPicklist = "MULTI_PICKLIST",
        /// A boolean.
        Boolean = "BOOLEAN",
        /// A 64-bit integer.
        Integer = "INTEGER",
        /// An exact decimal.
        Decimal = "DECIMAL",
        /// An exact decimal that is money.
        Currency = "CURRENCY",
        /// An exact decimal; 100 stands for the whole.
        Percent = "PERCENT",
        /// A date.
        Date = "DATE",
        /// A timestamp.
        Timestamp = "TIMESTAMP",
        /// A time of day.
        Time = "TIME",
        /// A link.
        Url = "URL",
        /// An e-mail address.
        Email = "EMAIL",
        /// A telephone number.
        Phone = "PHONE",
        /// A reference to a record of the CRM.
        Reference = "REFERENCE",
        /// A postal address.
        Address = "ADDRESS",
        /// Latitude and longitude.
        Location = "LOCATION",
        /// Text with HTML.
        Html = "HTML",
    }
}

impl FieldType {
    /// Whether its values are entries of a list of options.
    pub fn is_picklist(self) -> bool {
        matches!(self, Self::Picklist | Self::MultiPicklist)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back() {
        for state in IntegrationState::ALL {
            assert_eq!(state.as_str().parse(), Ok(*state));
        }
        assert!("active".parse::<IntegrationState>().is_err());
    }
}
