//! Answers of token endpoints, also without fields that the standard requires.

use std::time::Duration;

use oauth2::basic::BasicTokenType;
use oauth2::{AccessToken, RefreshToken, Scope, TokenResponse};
use serde::{Deserialize, Serialize};

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
    scope: Option<String>,
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

    /// The granted scopes, if the endpoint reports them.
    #[must_use]
    pub fn scopes(&self) -> Vec<String> {
        self.scope
            .as_deref()
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect()
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
