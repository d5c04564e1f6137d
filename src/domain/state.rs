//! The closed lists of words that stand in columns.

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
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// As it is stored.
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
    /// Where an integration stands.
    IntegrationState, "a state of an integration" {
        /// Being set up; without effect on the platform.
        Draft = "DRAFT",
        /// Saved.
        Active = "ACTIVE",
        /// Saved, but its account has to be logged into again.
        NeedsReauthorization = "NEEDS_REAUTHORIZATION",
        /// Gone for everyone; its rows are being removed.
        Deleting = "DELETING",
    }
}

words! {
    /// Whether a grant can be used.
    GrantState, "a state of a grant" {
        /// As far as we know.
        Live = "LIVE",
        /// The CRM refused it, or we gave it back.
        Revoked = "REVOKED",
    }
}

words! {
    /// How a grant was logged in.
    AuthKind, "a way to log in" {
        /// OAuth 2.0 authorization code with PKCE, in the browser.
        AuthorizationCode = "AUTHORIZATION_CODE",
        /// OAuth 2.0 client credentials.
        ClientCredentials = "CLIENT_CREDENTIALS",
        /// A signed assertion.
        JwtBearer = "JWT_BEARER",
        /// A key made in the CRM.
        ApiKey = "API_KEY",
    }
}

words! {
    /// Where the browser comes back to.
    Landing, "a place where a login lands" {
        /// To the platform, which passes code and state over gRPC.
        Platform = "PLATFORM",
        /// To tether's own page, which asks to confirm first.
        Tether = "TETHER",
    }
}

words! {
    /// Where a sync stands.
    SyncState, "a state of a sync" {
        /// Waits for a worker.
        Queued = "QUEUED",
        /// A worker has it.
        Running = "RUNNING",
        /// Waits for a time: a rate limit, a back-off.
        Waiting = "WAITING",
        /// Read everything whole.
        Succeeded = "SUCCEEDED",
        /// Read the company object whole, and lacks another one, or held back a removal.
        Partial = "PARTIAL",
        /// Gave up.
        Failed = "FAILED",
        /// Was cancelled.
        Cancelled = "CANCELLED",
    }
}

impl SyncState {
    /// Whether it ended.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Partial | Self::Failed | Self::Cancelled
        )
    }
}

words! {
    /// Why a sync was begun.
    SyncTrigger, "a trigger of a sync" {
        /// Someone asked.
        Manual = "MANUAL",
        /// The integration was saved for the first time.
        Activation = "ACTIVATION",
        /// Fields were added.
        Selection = "SELECTION",
        /// Its time had come.
        Schedule = "SCHEDULE",
        /// Logged in again.
        Reauthorization = "REAUTHORIZATION",
    }
}

words! {
    /// Where one object of a sync stands.
    ObjectState, "a state of an object of a sync" {
        /// Not begun.
        Pending = "PENDING",
        /// Being read.
        Reading = "READING",
        /// All of it was read.
        Complete = "COMPLETE",
        /// Not read: it is gone, or the user may not see it.
        Skipped = "SKIPPED",
        /// Could not be read.
        Failed = "FAILED",
    }
}

words! {
    /// What an entry of the outbox asks for.
    OutboxKind, "a kind of outbox entry" {
        /// Give credentials back to the CRM.
        Revoke = "REVOKE",
    }
}

words! {
    /// What happened to a group's integration.
    EventKind, "a kind of event" {
        /// A sync read everything whole.
        SyncFinished = "SYNC_FINISHED",
        /// A sync lacks an object, or held back a removal.
        SyncPartial = "SYNC_PARTIAL",
        /// A sync gave up.
        SyncFailed = "SYNC_FAILED",
        /// A sync was cancelled.
        SyncCancelled = "SYNC_CANCELLED",
        /// The account has to be logged into again.
        NeedsReauthorization = "NEEDS_REAUTHORIZATION",
        /// Another group shares an integration with this one, or shares more or less of it than before.
        ShareReceived = "SHARE_RECEIVED",
        /// What was shared is shared no more.
        ShareLost = "SHARE_LOST",
        /// A selected field is gone in the CRM, or no longer visible.
        FieldMissing = "FIELD_MISSING",
        /// A saved integration was deleted.
        IntegrationDeleted = "INTEGRATION_DELETED",
    }
}

words! {
    /// The types of fields, as the connector contract has them.
    FieldType, "a type of a field" {
        /// Text.
        Text = "TEXT",
        /// One of a list.
        Picklist = "PICKLIST",
        /// Several of a list.
        MultiPicklist = "MULTI_PICKLIST",
        /// Yes or no.
        Boolean = "BOOLEAN",
        /// A whole number of 64 bits.
        Integer = "INTEGER",
        /// An exact decimal.
        Decimal = "DECIMAL",
        /// An exact decimal that is money.
        Currency = "CURRENCY",
        /// An exact decimal, 0 to 100 for a share of a whole.
        Percent = "PERCENT",
        /// A day.
        Date = "DATE",
        /// A moment.
        Timestamp = "TIMESTAMP",
        /// A time of day.
        Time = "TIME",
        /// A link.
        Url = "URL",
        /// An e-mail address.
        Email = "EMAIL",
        /// A telephone number.
        Phone = "PHONE",
        /// A record of the CRM.
        Reference = "REFERENCE",
        /// A postal address.
        Address = "ADDRESS",
        /// Latitude and longitude.
        Location = "LOCATION",
        /// Text with HTML in it.
        Html = "HTML",
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
