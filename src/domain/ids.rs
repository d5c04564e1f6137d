//! Ids. tether's own ids are UUIDs: v7 for new objects, v5 where the id is derived from content. The platform chooses
//! the ids of groups.

use std::{fmt, str::FromStr};

use diesel::{AsExpression, FromSqlRow, sql_types::Text};
use uuid::Uuid;

use super::{Invalid, text_column};

macro_rules! uuid_id {
    ($(#[$doc:meta])* $ty:ident, $what:literal, $collection:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, AsExpression, FromSqlRow)]
        #[diesel(sql_type = Text)]
        pub struct $ty([u8; 36]);

        impl $ty {
            /// The collection at the beginning of its resource name.
            pub const COLLECTION: &'static str = $collection;

            /// The id with this UUID.
            pub fn from_uuid(uuid: Uuid) -> Self {
                let mut text = [0; 36];
                uuid.hyphenated().encode_lower(&mut text);
                Self(text)
            }

            /// The UUID.
            pub fn uuid(&self) -> Uuid {
                Uuid::try_parse_ascii(&self.0).unwrap_or_default()
            }

            /// The id as text: hyphenated, lower case.
            pub fn as_str(&self) -> &str {
                // The buffer is always filled with the ASCII text of a UUID.
                std::str::from_utf8(&self.0).unwrap_or_default()
            }

            /// The resource name, as in the public API.
            pub fn name(&self) -> String {
                format!(concat!($collection, "/{}"), self)
            }
        }

        impl FromStr for $ty {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                let uuid = Uuid::try_parse(text).map_err(|_| Invalid::new(text, $what))?;
                let id = Self::from_uuid(uuid);
                // Accept only the canonical spelling of an id.
                if id.as_str() == text { Ok(id) } else { Err(Invalid::new(text, $what)) }
            }
        }

        impl fmt::Display for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        text_column!($ty);
    };
}

macro_rules! new_id {
    ($($ty:ident),*) => {$(
        impl $ty {
            /// A new id. Later ids sort after earlier ones.
            #[expect(clippy::new_without_default, reason = "two defaults would differ")]
            pub fn new() -> Self {
                Self::from_uuid(Uuid::now_v7())
            }
        }
    )*};
}

uuid_id! {
    /// An integration.
    IntegrationId, "an integration id", "integrations"
}
uuid_id! {
    /// A sync.
    SyncId, "a sync id", "syncs"
}
uuid_id! {
    /// a credential: the sealed login with which a user of the CRM gave access.
    CredentialId, "a credential id", "grants"
}
uuid_id! {
    /// An entry of the outbox.
    OutboxId, "an outbox id", "outbox"
}
uuid_id! {
    /// An entry of the audit log.
    AuditId, "an audit entry id", "auditEntries"
}
uuid_id! {
    /// A company. The id is derived from the identity of the company, so it is the same wherever it is computed.
    CompanyId, "a company id", "companies"
}
new_id!(IntegrationId, SyncId, CredentialId, OutboxId, AuditId);

impl IntegrationId {
    /// The id under which the platform's own companies are indexed. It is no integration's, and no caller sees it.
    pub fn platform() -> Self {
        Self::from_uuid(Uuid::nil())
    }
}

/// The UUID namespace of company ids; it must never change.
const COMPANY_SPACE: Uuid = Uuid::from_u128(0x6b1d_5c3e_9a40_5f0e_8d2b_7e74_6865_7221);

impl CompanyId {
    /// The company that owns this registrable domain (lower case, without a trailing dot).
    pub fn of_domain(domain: &str) -> Self {
        Self::from_uuid(Uuid::new_v5(
            &COMPANY_SPACE,
            format!("domain\n{domain}").as_bytes(),
        ))
    }

    /// The company that is known only by this record, because it has no usable homepage.
    pub fn of_record(connector: &str, organization_id: &str, external_id: &str) -> Self {
        let text = format!("record\n{connector}\n{organization_id}\n{external_id}");
        Self::from_uuid(Uuid::new_v5(&COMPANY_SPACE, text.as_bytes()))
    }

    /// The company that the platform knows by this id, and that has no usable homepage.
    pub fn of_platform(platform_id: &str) -> Self {
        let text = format!("platform\n{platform_id}");
        Self::from_uuid(Uuid::new_v5(&COMPANY_SPACE, text.as_bytes()))
    }
}

/// A group, with the id that the platform gives it: 1 to 63 characters of `a-z`, `0-9`, `-`, `_`, beginning with a
/// letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub struct GroupId(String);

impl GroupId {
    /// The collection at the beginning of its resource name.
    pub const COLLECTION: &'static str = "groups";

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The resource name, as in the public API.
    pub fn name(&self) -> String {
        format!("groups/{self}")
    }
}

impl FromStr for GroupId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        let first = text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if first && text.len() <= 63 && text.bytes().all(good) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new(text, "a group id"))
        }
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_column!(GroupId);

/// The SHA-256 hash, in lower-case hex, of the `state` of a login. Only the hash is stored, so the database alone is
/// not enough to complete a login.
#[derive(Debug, Clone, PartialEq, Eq, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub struct AuthorizationHash(String);

impl AuthorizationHash {
    /// The hash as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AuthorizationHash {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.len() == 64
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new(text, "the hash of a login's state"))
        }
    }
}

text_column!(AuthorizationHash);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_of_one_id() {
        let id = IntegrationId::new();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().to_uppercase().parse::<IntegrationId>().is_err());
        assert!(id.uuid().simple().to_string().parse::<IntegrationId>().is_err());
        assert_eq!(IntegrationId::from_uuid(id.uuid()), id);
    }

    #[test]
    fn company_ids_never_change() {
        assert_eq!(
            CompanyId::of_domain("acme.com").to_string(),
            "06ee95e7-1595-5c15-be50-c41436f8c189"
        );
        assert_eq!(
            CompanyId::of_record("dummy", "00D", "001").to_string(),
            "9f352670-2934-5287-8c67-f7453a3e90b9"
        );
    }

    #[test]
    fn group_ids_are_slugs() {
        assert!("g-1_x".parse::<GroupId>().is_ok());
        for bad in ["", "-g", "G", "a/b", "a b", "ä", &"g".repeat(64)] {
            assert!(bad.parse::<GroupId>().is_err(), "{bad}");
        }
    }
}
