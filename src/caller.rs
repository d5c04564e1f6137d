//! Who calls: verified from the request's token, never from its message.

use std::fmt;

/// What a caller may be. The table of what each may do is `policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A member of the group.
    Member,
    /// An administrator of the group.
    Administrator,
    /// The platform itself: keeps groups and the connections between them.
    Service,
}

impl Role {
    /// The word in tokens.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Administrator => "administrator",
            Self::Service => "service",
        }
    }

    /// Reads the word in a token.
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
    /// The token's subject: a user, or a service.
    pub subject: String,
    /// The group it acts for; `None` for the service identity, which belongs to no group.
    pub group: Option<String>,
    /// What it is in that group.
    pub role: Role,
}
