//! The caller of a request, read from the verified token, never from the message.

use std::fmt;

/// The roles of callers. `policy` says what each role may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A member of the group.
    Member,
    /// An administrator of the group.
    Administrator,
    /// The platform itself: manages groups and the shares between them.
    Service,
}

impl Role {
    /// The name of the role in tokens.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Administrator => "administrator",
            Self::Service => "service",
        }
    }

    /// Parses the name of a role in a token.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "member" => Some(Self::Member),
            "administrator" => Some(Self::Administrator),
            "service" => Some(Self::Service),
            _ => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A verified caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The subject of the token: a user or a service.
    pub subject: String,
    /// The group of the caller; `None` for the service identity, which belongs to no group.
    pub group: Option<String>,
    /// The role of the caller.
    pub role: Role,
}
