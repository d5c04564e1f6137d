//! The rules that settings keep among each other.

use super::{Error, Options};

impl Options {
    /// Whether the settings are in range and agree with each other.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.check_listeners()?;
        self.check_times()?;
        self.check_addresses()?;
        if let Some(setting) = self.limits.wrong() {
            return Err(Error::Rule(format!(
                "limits.{setting} must be at least 1 (answer_megabytes: 4) and not above the limit of all groups"
            )));
        }
        for origin in &self.web.allowed_origins {
            self.check_origin(origin)?;
        }
        self.check_sync()?;
        self.check_retries()
    }

    /// What is on loopback needs no TLS; what serves others needs callers' keys and sealing keys.
    fn check_listeners(&self) -> Result<(), Error> {
        let rule = |text: &str| Err(Error::Rule(text.to_owned()));
        if !self.listen.admin.ip().is_loopback() {
            return rule("listen.admin must be a loopback address: it has no authentication");
        }
        if self.dev && !(self.listen.grpc.ip().is_loopback() && self.listen.callback.ip().is_loopback()) {
            return rule("with --dev every listener must be on loopback");
        }
        if self.tls.is_none() && !self.listen.grpc.ip().is_loopback() && !self.listen.plaintext {
            return rule(
                "listen.grpc is not on loopback: set [tls], or listen.plaintext = true behind a TLS proxy",
            );
        }
        if !self.dev {
            if self.auth.jwks_file.is_none() {
                return rule("auth.jwks_file is not set (or run with --dev)");
            }
            if self.auth.issuer.is_empty() || self.auth.audience.is_empty() {
                return rule("auth.issuer and auth.audience must be set");
            }
            if self.secrets.keys.is_none() && self.secrets.keys_file.is_none() {
                return rule(
                    "secrets.keys or secrets.keys_file must be set; create a key with: head -c32 /dev/urandom | base64",
                );
            }
        }
        Ok(())
    }

    fn check_times(&self) -> Result<(), Error> {
        let rule = |text: &str| Err(Error::Rule(text.to_owned()));
        if self.events.keep_days == 0 || self.audit.keep_days == 0 {
            return rule("events.keep_days and audit.keep_days must be at least 1");
        }
        if !(1..=365).contains(&self.drafts.keep_days) {
            return rule("drafts.keep_days must be from 1 to 365");
        }
        if !(1..=60).contains(&self.login.minutes) {
            return rule("login.minutes must be from 1 to 60");
        }
        Ok(())
    }

    fn check_sync(&self) -> Result<(), Error> {
        let rule = |text: &str| Err(Error::Rule(text.to_owned()));
        if self.sync.workers == 0 || self.sync.lease_seconds < 2 {
            return rule("sync.workers must be at least 1 and sync.lease_seconds at least 2");
        }
        if self.sync.per_organization == 0 {
            return rule("sync.per_organization must be at least 1");
        }
        if self.sync.most_tries == 0 || self.sync.first_pause_milliseconds == 0 {
            return rule("sync.most_tries and sync.first_pause_milliseconds must be at least 1");
        }
        if self.sync.removal_percent > 100 {
            return rule("sync.removal_percent must be from 0 to 100");
        }
        if self.sync.keep_days == 0 || self.sync.keep_gone_days == 0 {
            return rule("sync.keep_days and sync.keep_gone_days must be at least 1");
        }
        Ok(())
    }

    fn check_retries(&self) -> Result<(), Error> {
        let rule = |text: &str| Err(Error::Rule(text.to_owned()));
        if !(2..=600).contains(&self.grants.refresh_timeout_seconds) {
            return rule("grants.refresh_timeout_seconds must be from 2 to 600");
        }
        if !(1..=365).contains(&self.grants.refresh_days) {
            return rule("grants.refresh_days must be from 1 to 365");
        }
        let (first, longest) = (self.grants.first_retry_seconds, self.grants.longest_retry_seconds);
        let of = &self.allowance;
        let most = |percent: u32| (1..=100).contains(&percent);
        if !most(of.budget_percent) || !most(of.organization_percent) || !most(of.live_percent) {
            return rule(
                "allowance.budget_percent, allowance.organization_percent and allowance.live_percent must be from 1 to 100",
            );
        }
        if of.live_percent < of.organization_percent {
            return rule("allowance.live_percent must be at least allowance.organization_percent");
        }
        if of.reserve_percent > 90 {
            return rule("allowance.reserve_percent must be from 0 to 90");
        }
        let of = &self.breaker;
        if of.failures == 0 || of.first_pause_seconds == 0 || of.allowance_pause_seconds == 0 {
            return rule(
                "breaker.failures, breaker.first_pause_seconds and breaker.allowance_pause_seconds must be at least 1",
            );
        }
        if first == 0 || longest < first || longest > 24 * 3_600 {
            return rule(
                "grants.first_retry_seconds must be at least 1, and grants.longest_retry_seconds from that value to 86400",
            );
        }
        Ok(())
    }

    /// Checks the addresses to which browsers are redirected: unambiguous, and https unless on loopback.
    fn check_addresses(&self) -> Result<(), Error> {
        let rule = |setting: &str, address: &str| {
            Err(Error::Rule(format!(
                "{setting}: {address:?} must be https://host/path in normalized form: lower-case host, no user name, \
                 no fragment, no backslash (http on loopback only)"
            )))
        };
        let good = |address: &str| {
            crate::address::plain(address)
                .is_some_and(|url| url.scheme() == "https" || crate::address::is_loopback(&url))
        };
        if let Some(wrong) = self.redirect_uris.iter().find(|uri| !good(uri)) {
            return rule("redirect_uris", wrong);
        }
        match self.public_url.as_str() {
            "" => Ok(()),
            public if good(public) && !public.contains('?') => Ok(()),
            public => rule("public_url", public),
        }
    }

    /// Checks that an origin is spelled as browsers send it (RFC 6454): any other spelling would never match.
    fn check_origin(&self, origin: &str) -> Result<(), Error> {
        let rule = |text: String| Err(Error::Rule(text));
        if origin == "*" {
            return match self.dev {
                true => Ok(()),
                false => rule(
                    "web.allowed_origins = \"*\" lets any web page with a token call the server: name the \
                     origins (\"*\" is for --dev)"
                        .to_owned(),
                ),
            };
        }
        let is_origin = url::Url::parse(origin).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == origin
        });
        match is_origin {
            true => Ok(()),
            false => rule(format!(
                "web.allowed_origins: {origin:?} is not an origin: scheme and host, a port only if it is not the default, \
                 lower case, no path, as in https://app.example.com"
            )),
        }
    }
}
