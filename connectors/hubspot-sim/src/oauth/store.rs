//! Apps, codes, grants and access tokens.

use std::collections::HashMap;

use crate::app::now_ms;

/// A registered public app.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) app_id: u64,
    /// Empty means any loopback or `*.example` address.
    pub(crate) redirect_uris: Vec<String>,
}

impl Client {
    pub(crate) fn allows(&self, redirect_uri: &str) -> bool {
        if !self.redirect_uris.is_empty() {
            return self.redirect_uris.iter().any(|u| u == redirect_uri);
        }
        sim_kit::oauth::is_harmless(redirect_uri)
    }
}

/// A private app: one portal, one token, no expiry.
#[derive(Clone, Debug)]
pub(crate) struct PrivateApp {
    pub(crate) token: String,
    pub(crate) hub_id: u64,
    pub(crate) user_id: u64,
    pub(crate) app_id: u64,
    pub(crate) scopes: Vec<String>,
}

/// The consent of a user for an app.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) refresh_token: String,
    pub(crate) client: String,
    pub(crate) hub_id: u64,
    pub(crate) user_id: u64,
    pub(crate) scopes: Vec<String>,
    pub(crate) revoked: bool,
}

/// A code that has not been exchanged.
#[derive(Clone, Debug)]
pub(crate) struct Code {
    pub(crate) grant: Grant,
    pub(crate) redirect_uri: String,
}

/// An access token.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) grant: usize,
    pub(crate) expires_ms: i64,
}

/// The caller of a request, and its scopes.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) app_id: u64,
    pub(crate) hub_id: u64,
    pub(crate) scopes: Vec<String>,
    pub(crate) private: bool,
}

/// The reason why a token is invalid.
pub(crate) enum NoCaller {
    Unknown,
    /// This many seconds ago.
    Expired(i64),
}

pub(crate) struct OAuth {
    pub(crate) clients: Vec<Client>,
    pub(crate) private_apps: Vec<PrivateApp>,
    pub(crate) grants: Vec<Grant>,
    pub(crate) codes: HashMap<String, Code>,
    pub(crate) sessions: HashMap<String, Session>,
    pub(crate) session_seconds: i64,
    /// A second login of a user returns the refresh token of the first.
    pub(crate) same_refresh_token: bool,
}

impl OAuth {
    pub(crate) fn new(client: Client) -> OAuth {
        OAuth {
            clients: vec![client],
            private_apps: Vec::new(),
            grants: Vec::new(),
            codes: HashMap::new(),
            sessions: HashMap::new(),
            session_seconds: 1_800,
            same_refresh_token: false,
        }
    }

    pub(crate) fn client(&self, id: &str) -> Option<&Client> {
        self.clients.iter().find(|c| c.id == id)
    }

    /// Stores a grant; returns its index.
    pub(crate) fn keep(&mut self, grant: Grant) -> usize {
        let same = |g: &Grant| {
            !g.revoked && (&g.client, g.hub_id, g.user_id) == (&grant.client, grant.hub_id, grant.user_id)
        };
        if self.same_refresh_token
            && let Some(at) = self.grants.iter().position(same)
        {
            self.grants[at].scopes = grant.scopes;
            return at;
        }
        self.grants.push(grant);
        self.grants.len() - 1
    }

    /// A new access token of a grant.
    pub(crate) fn session(&mut self, grant: usize) -> String {
        let token = format!("C{}{}", random(24), random(16));
        let expires_ms = now_ms() + self.session_seconds * 1_000;
        self.sessions.insert(token.clone(), Session { grant, expires_ms });
        token
    }

    pub(crate) fn caller(&self, token: &str) -> Result<Caller, NoCaller> {
        if let Some(app) = self.private_apps.iter().find(|a| a.token == token) {
            return Ok(Caller {
                app_id: app.app_id,
                hub_id: app.hub_id,
                scopes: app.scopes.clone(),
                private: true,
            });
        }
        let session = self.sessions.get(token).ok_or(NoCaller::Unknown)?;
        let late = now_ms() - session.expires_ms;
        if late >= 0 {
            return Err(NoCaller::Expired(late / 1_000));
        }
        let grant = &self.grants[session.grant];
        Ok(Caller {
            app_id: self.client(&grant.client).map_or(0, |c| c.app_id),
            hub_id: grant.hub_id,
            scopes: grant.scopes.clone(),
            private: false,
        })
    }

    /// Ends a refresh token. Access tokens stay valid until they expire, unless the app is uninstalled.
    pub(crate) fn revoke(&mut self, refresh_token: &str, sessions_too: bool) -> bool {
        let Some(at) = self
            .grants
            .iter()
            .position(|g| g.refresh_token == refresh_token && !g.revoked)
        else {
            return false;
        };
        self.grants[at].revoked = true;
        if sessions_too {
            self.sessions.retain(|_, s| s.grant != at);
        }
        true
    }
}

/// Random letters and digits.
pub(crate) fn random(length: usize) -> String {
    use rand::Rng as _;
    rand::rng()
        .sample_iter(rand::distr::Alphanumeric)
        .take(length)
        .map(char::from)
        .collect()
}
