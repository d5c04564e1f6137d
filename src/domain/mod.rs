//! The basic types of tether: ids with their resource names, states, and the canonical form of names.
//!
//! This module does no input or output. Its types define how they are stored, because ids and states are text columns
//! in both databases.

pub mod allowance;
pub mod ids;
pub mod name;
pub mod read_time;
pub mod schedule;
pub mod state;
pub mod zone;

pub use allowance::{AllowanceRules, ApiBudget, ApiUse, CallKind, OverBudget, UsedUp, day};
pub use ids::{
    AuditId, AuthorizationHash, CompanyId, CredentialId, GroupId, IntegrationId, OutboxId, SyncId,
};
pub use name::{alias, is_readable, is_word, name_key, slug};
pub use read_time::{ReadClock, ReadTime};
pub use schedule::{Schedule, ScheduleSpec, Unfit};
pub use state::{
    AuthKind, CredentialState, EventKind, FieldType, IntegrationState, Landing, ObjectState, OutboxKind,
    SyncMode, SyncState, SyncTrigger,
};
pub use zone::{NO_ZONE, Zone};

/// A time in Unix microseconds.
pub type Micros = i64;

/// Text in an invalid form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not {expected}")]
pub struct Invalid {
    /// The text, shortened.
    pub text: String,
    /// The expected form, with its article: `a group id`.
    pub expected: &'static str,
}

impl Invalid {
    pub(crate) fn new(text: &str, expected: &'static str) -> Self {
        Self {
            text: text.chars().take(80).collect(),
            expected,
        }
    }
}

/// Implements storage in a text column of either database, for a type with `as_str` and `FromStr`.
macro_rules! text_column {
    ($ty:ty) => {
        impl<DB> diesel::serialize::ToSql<diesel::sql_types::Text, DB> for $ty
        where
            DB: diesel::backend::Backend,
            str: diesel::serialize::ToSql<diesel::sql_types::Text, DB>,
        {
            fn to_sql<'b>(
                &'b self,
                out: &mut diesel::serialize::Output<'b, '_, DB>,
            ) -> diesel::serialize::Result {
                <str as diesel::serialize::ToSql<diesel::sql_types::Text, DB>>::to_sql(self.as_str(), out)
            }
        }

        impl<DB> diesel::deserialize::FromSql<diesel::sql_types::Text, DB> for $ty
        where
            DB: diesel::backend::Backend,
            String: diesel::deserialize::FromSql<diesel::sql_types::Text, DB>,
        {
            fn from_sql(bytes: DB::RawValue<'_>) -> diesel::deserialize::Result<Self> {
                let text =
                    <String as diesel::deserialize::FromSql<diesel::sql_types::Text, DB>>::from_sql(bytes)?;
                Ok(text.parse::<Self>()?)
            }
        }
    };
}
pub(crate) use text_column;
