//! Clients, codes, grants and sessions, with Salesforce's rules for them.

use std::collections::{HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::Rng as _;
use sha2::{Digest as _, Sha256};

use crate::app::UserKey;
use crate::errors::OAuthError;
use crate::value::now;

/// A connected app.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) secret: String,
    /// Empty: any loopback URI, because the demo's port is not known in advance.
    pub(crate) redirect_uris: Vec<String>,
    /// PEM; verifies the signature of JWT assertions.
    pub(crate) public_key: Option<String>,
    /// The user of the client credentials flow.
    pub(crate) run_as: UserKey,
    /// An administrator has installed the app.
    pub(crate) installed: bool,
}

impl Client {
    pub(crate) fn allows(&self, redirect_uri: &str) -> bool {
        if !self.redirect_uris.is_empty() {
            return self.redirect_uris.iter().any(|u| u == redirect_uri);
        }
        sim_kit::oauth::is_harmless(redirect_uri)
    }
}

/// An authorization code.
#[derive(Clone, Debug)]
pub(crate) struct Code {
    pub(crate) client: String,
    pub(crate) user: UserKey,
    pub(crate) redirect_uri: String,
    pub(crate) scope: String,
    pub(crate) challenge: String,
    pub(crate) expires: i64,
    /// Set when it is exchanged.
    pub(crate) grant: Option<u64>,
    pub(crate) used: bool,
}

/// The approval of a user: one refresh token, or a chain of them.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) id: u64,
    pub(crate) client: String,
    pub(crate) user: UserKey,
    pub(crate) scope: String,
    pub(crate) refresh: Option<String>,
    pub(crate) spent: HashSet<String>,
    pub(crate) revoked: bool,
}

/// An access token.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// A different number for each access token.
    pub(crate) number: u64,
    pub(crate) user: UserKey,
    pub(crate) scope: String,
    pub(crate) grant: Option<u64>,
    pub(crate) issued: i64,
    pub(crate) expires: i64,
}

/// The whole OAuth state.
pub(crate) struct OAuth {
    pub(crate) clients: Vec<Client>,
    pub(crate) codes: HashMap<String, Code>,
    pub(crate) grants: Vec<Grant>,
    pub(crate) sessions: HashMap<String, Session>,
    pub(crate) rotation: bool,
    pub(crate) session_seconds: i64,
    /// A refresh ends the earlier sessions of its grant.
    pub(crate) end_sessions: bool,
    /// Error of the callback and of the token endpoint, instead of the requested action: code and text.
    pub(crate) callback_refusal: Option<(String, String)>,
    pub(crate) token_refusal: Option<(String, String)>,
    /// Number of issued refresh tokens, and used ones that came again: each of these revoked its family.
    pub(crate) rotated: u64,
    pub(crate) reused: u64,
    /// Refresh tokens whose request is being processed.
    pub(crate) busy: HashSet<String>,
    next_grant: u64,
    next_session: u64,
}

/// A user may approve an app five times; the sixth approval silently revokes the first.
const APPROVALS: usize = 5;
const CODE_SECONDS: i64 = 15 * 60;

pub(crate) const EXPIRED_TOKEN: OAuthError = OAuthError::new("invalid_grant", "expired access/refresh token");
pub(crate) const EXPIRED_CODE: OAuthError = OAuthError::new("invalid_grant", "expired authorization code");

impl OAuth {
    pub(crate) fn new(client: Client, rotation: bool, end_sessions: bool) -> OAuth {
        OAuth {
            clients: vec![client],
            codes: HashMap::new(),
            grants: Vec::new(),
            sessions: HashMap::new(),
            rotation,
            session_seconds: 7200,
            end_sessions,
            callback_refusal: None,
            token_refusal: None,
            rotated: 0,
            reused: 0,
            busy: HashSet::new(),
            next_grant: 1,
            next_session: 1,
        }
    }

    pub(crate) fn client(&self, id: &str) -> Option<&Client> {
        self.clients.iter().find(|c| c.id == id)
    }

    /// A new code for an approved request.
    pub(crate) fn code(
        &mut self,
        client: &str,
        user: UserKey,
        redirect_uri: &str,
        scope: &str,
        challenge: &str,
    ) -> String {
        let code = format!("aPrx{}==", random(60));
        let entry = Code {
            client: client.to_owned(),
            user,
            redirect_uri: redirect_uri.to_owned(),
            scope: scope.to_owned(),
            challenge: challenge.to_owned(),
            expires: now() + CODE_SECONDS,
            grant: None,
            used: false,
        };
        self.codes.insert(code.clone(), entry);
        code
    }

    /// Exchanges a code for a grant. A second use revokes the tokens of the first.
    pub(crate) fn exchange(
        &mut self,
        code: &str,
        client: &str,
        redirect_uri: &str,
        verifier: &str,
    ) -> Result<Grant, OAuthError> {
        let Some(entry) = self.codes.get_mut(code).filter(|c| c.client == client) else {
            return Err(EXPIRED_CODE);
        };
        if entry.used || entry.expires < now() {
            if let Some(grant) = entry.grant {
                self.revoke_grant(grant);
            }
            return Err(EXPIRED_CODE);
        }
        if entry.redirect_uri != redirect_uri {
            return Err(OAuthError::new(
                "redirect_uri_mismatch",
                "redirect_uri must match configuration",
            ));
        }
        if verifier.is_empty() {
            return Err(OAuthError::new("invalid_grant", "code verifier required"));
        }
        if URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) != entry.challenge {
            return Err(OAuthError::new("invalid_grant", "invalid code verifier"));
        }
        let id = self.next_grant;
        self.next_grant += 1;
        (entry.used, entry.grant) = (true, Some(id));
        let (user, scope) = (entry.user, entry.scope.clone());
        let lasting = scope
            .split(' ')
            .any(|s| matches!(s, "refresh_token" | "offline_access" | "full"));
        let refresh = lasting.then(|| format!("5Aep861{}", random(80)));
        let grant = Grant {
            id,
            client: client.to_owned(),
            user,
            scope,
            refresh,
            spent: HashSet::new(),
            revoked: false,
        };
        self.drop_oldest_approval(client, user);
        self.grants.push(grant.clone());
        Ok(grant)
    }

    /// Only the refresh token is revoked: sessions stay valid until they end, so users notice it late.
    fn drop_oldest_approval(&mut self, client: &str, user: UserKey) {
        let is_same = |g: &Grant| g.client == client && g.user == user && g.refresh.is_some() && !g.revoked;
        if self.grants.iter().filter(|g| is_same(g)).count() >= APPROVALS
            && let Some(oldest) = self.grants.iter_mut().find(|g| is_same(g))
        {
            oldest.revoked = true;
        }
    }

    /// Exchanges a refresh token for a grant; with rotation the grant has the next token afterwards.
    pub(crate) fn refresh(&mut self, token: &str, client: &str) -> Result<Grant, OAuthError> {
        if let Some(family) = self.grants.iter().find(|g| g.spent.contains(token)).map(|g| g.id) {
            self.reused += 1;
            self.revoke_grant(family);
            return Err(EXPIRED_TOKEN);
        }
        let rotation = self.rotation;
        let grant = self
            .grants
            .iter_mut()
            .find(|g| g.refresh.as_deref() == Some(token) && g.client == client && !g.revoked)
            .ok_or(EXPIRED_TOKEN)?;
        if rotation && let Some(old) = grant.refresh.replace(format!("5Aep861{}", random(80))) {
            grant.spent.insert(old);
            self.rotated += 1;
        }
        let grant = grant.clone();
        if self.end_sessions {
            self.sessions.retain(|_, s| s.grant != Some(grant.id));
        }
        Ok(grant)
    }

    /// A new access token.
    pub(crate) fn session(&mut self, org: &str, user: UserKey, scope: &str, grant: Option<u64>) -> String {
        let token = format!("{}!{}", &org[..15], random(92));
        let number = self.next_session;
        self.next_session += 1;
        let session = Session {
            number,
            user,
            scope: scope.to_owned(),
            grant,
            issued: now(),
            expires: now() + self.session_seconds,
        };
        self.sessions.insert(token.clone(), session);
        token
    }

    /// The session of a token. Each use extends it.
    pub(crate) fn touch(&mut self, token: &str) -> Option<Session> {
        let until = now() + self.session_seconds;
        let session = self.sessions.get_mut(token).filter(|s| s.expires > now())?;
        session.expires = until;
        Some(session.clone())
    }

    pub(crate) fn revoke_grant(&mut self, id: u64) {
        self.grants
            .iter_mut()
            .filter(|g| g.id == id)
            .for_each(|g| g.revoked = true);
        self.sessions.retain(|_, s| s.grant != Some(id));
    }

    /// Revokes an access or refresh token; false if it is unknown.
    pub(crate) fn revoke(&mut self, token: &str) -> bool {
        if self.sessions.remove(token).is_some() {
            return true;
        }
        let known = self
            .grants
            .iter()
            .find(|g| g.refresh.as_deref() == Some(token) && !g.revoked)
            .map(|g| g.id);
        known.inspect(|id| self.revoke_grant(*id)).is_some()
    }
}

/// A random text with the characters of tokens.
pub(crate) fn random(length: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._";
    let mut rng = rand::rng();
    (0..length)
        .map(|_| char::from(ALPHABET[rng.random_range(0..64)]))
        .collect()
}
