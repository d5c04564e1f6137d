//! Answers of token endpoints, also without fields that the standard requires.

use std::time::Duration;

use oauth2::basic::BasicTokenType;
use oauth2::{AccessToken, RefreshToken, Scope, TokenResponse};
use serde::{Deserialize, Serialize};

use crate::proto::Credentials;

/// A token, from endpoints that may omit fields that the standard requires. Its Debug output contains no secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Token {
    access_token: AccessToken,
    #[serde(default = "bearer", skip)]
    token_type: BasicTokenType,
    #[serde(default)]
    expires_in: Option<Lenient>,
    #[serde(default)]
    refresh_token: Option<RefreshToken>,
    #[serde(default)]
    scope: Option<Scopes>,
    #[serde(skip)]
    scopes: Option<Vec<Scope>>,
    #[serde(flatten)]
    extra: Extra,
}

/// Fields that are not in the standard.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Extra(serde_json::Map<String, serde_json::Value>);

impl std::fmt::Debug for Extra {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Seconds, as a number or as text.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Lenient {
    Number(u64),
    Text(String),
}

/// Scopes, as a text or a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Scopes {
    Text(String),
    List(Vec<String>),
}

fn bearer() -> BasicTokenType {
    BasicTokenType::Bearer
}

impl TokenResponse for Token {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &self.token_type
    }

    fn expires_in(&self) -> Option<Duration> {
        self.expires_in()
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        self.scopes.as_ref()
    }
}

impl Token {
    /// The access token.
    #[must_use]
    pub fn access_token(&self) -> &str {
        self.access_token.secret()
    }

    /// The refresh token, if there is one.
    #[must_use]
    pub fn refresh_token(&self) -> Option<&str> {
        self.refresh_token.as_ref().map(|token| token.secret().as_str())
    }

    /// The lifetime of the access token, if the endpoint reports it.
    #[must_use]
    pub fn expires_in(&self) -> Option<Duration> {
        let seconds = match self.expires_in.as_ref()? {
            Lenient::Number(seconds) => *seconds,
            Lenient::Text(text) => text.trim().parse().ok()?,
        };
        Some(Duration::from_secs(seconds))
    }

    /// The expiry of the access token, for `Credentials.expires_us`; 0 if the endpoint does not report it.
    #[must_use]
    pub fn expires_us(&self, now_us: i64) -> i64 {
        let Some(time) = self.expires_in() else { return 0 };
        now_us.saturating_add(i64::try_from(time.as_micros()).unwrap_or(i64::MAX))
    }

    /// The granted scopes, if the endpoint reports them: in `scope`, separated by spaces as the standard says or by
    /// commas, or as a list in `scope` or `scopes`.
    #[must_use]
    pub fn scopes(&self) -> Vec<String> {
        let listed = self.extra("scopes").and_then(|scopes| scopes.as_array());
        match (&self.scope, listed) {
            (Some(Scopes::List(list)), _) => list.clone(),
            (_, Some(list)) => list
                .iter()
                .filter_map(|scope| scope.as_str().map(str::to_owned))
                .collect(),
            (Some(Scopes::Text(text)), None) => text
                .split(|c: char| c.is_whitespace() || c == ',')
                .filter(|scope| !scope.is_empty())
                .map(str::to_owned)
                .collect(),
            (None, None) => Vec::new(),
        }
    }

    /// The credentials of the token. `old` are those that it replaces, if any: a refresh token that the endpoint did not
    /// replace is kept, and so is `extra`.
    #[must_use]
    pub fn credentials(&self, now_us: i64, old: Credentials) -> Credentials {
        Credentials {
            access_token: self.access_token().to_owned(),
            refresh_token: self.refresh_token().map_or(old.refresh_token, str::to_owned),
            expires_us: self.expires_us(now_us),
            extra: old.extra,
        }
    }

    /// Another field of the answer.
    #[must_use]
    pub fn extra(&self, field: &str) -> Option<&serde_json::Value> {
        self.extra.0.get(field)
    }

    /// Another field of the answer, if it is a text.
    #[must_use]
    pub fn extra_text(&self, field: &str) -> Option<&str> {
        self.extra(field)?.as_str()
    }
}
