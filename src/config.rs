//! The settings of the operator: defaults < file < environment < flags. Validated once at start; printed with secrets
//! masked.
//!
//! The file is TOML. In environment variables, the parts of a path are joined by two underscores:
//! `TETHER__LISTEN__GRPC`, `TETHER__CONNECTOR__DUMMY__SETTINGS__CLIENT_ID`.

mod check;

use crate::service::LimitOptions;
use secrecy::SecretString;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// All settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The folder of the SQLite file, the search index (also with PostgreSQL) and, with `--dev`, the generated keys.
    pub data_dir: PathBuf,
    /// Development mode: fixed demo groups, generated keys, loopback only. Never for production.
    #[serde(default)]
    pub dev: bool,
    /// The database.
    #[serde(default)]
    pub database: Database,
    /// The three listeners.
    pub listen: Listen,
    /// TLS of the gRPC listener. Without it the listener must be on loopback, or `listen.plaintext` must be set.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// Authentication of callers.
    #[serde(default)]
    pub auth: Auth,
    /// The keys that seal credentials at rest.
    #[serde(default)]
    pub secrets: Secrets,
    /// The URL at which browsers reach the callback listener, for example `https://tether.example.com`. Empty: the
    /// address of the listener.
    #[serde(default)]
    pub public_url: String,
    /// The callback addresses of the platform: a browser login may return to these addresses and to tether's own
    /// page. With `--dev`, loopback addresses are allowed, too.
    #[serde(default, deserialize_with = "list")]
    pub redirect_uris: Vec<String>,
    /// The location of connectors.
    pub connectors: Connectors,
    /// Settings of each connector, by its name.
    #[serde(default)]
    pub connector: BTreeMap<String, ConnectorOptions>,
    /// The sync engine.
    pub sync: Sync,
    /// Browser access to the gRPC listener.
    #[serde(default)]
    pub web: Web,
    /// Events for groups.
    pub events: Keep,
    /// The audit log.
    pub audit: Keep,
    /// Drafts: integrations that were created but not saved.
    pub drafts: Keep,
    /// Remaining rows of deleted groups.
    pub deleted_groups: Keep,
    /// Logins in the browser.
    pub login: Login,
    /// Credentials of accounts.
    pub grants: CredentialOptions,
    /// Pauses while the CRM of an organization is down or refuses calls.
    pub breaker: BreakerOptions,
    /// How much of the API allowance of customers is used.
    pub allowance: AllowanceOptions,
    /// Limits for work in progress.
    pub limits: LimitOptions,
    /// Logs.
    pub log: Log,
}

/// The database.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// `sqlite:PATH` or `postgres://…`. Empty: `tether.db` in the data directory. May hold a password.
    #[serde(default)]
    pub url: Option<SecretString>,
    /// Maximum number of connections to PostgreSQL, or of SQLite readers. 0: 8.
    #[serde(default)]
    pub connections: u32,
    /// Further PostgreSQL databases for the records of integrations, by name: `data = { emea = "postgres://…" }`. A new
    /// integration gets one of them, and keeps it; a name must not be removed or reused while an integration has its records
    /// there. Empty: the records are in the database of `url`.
    #[serde(default)]
    pub data: BTreeMap<String, SecretString>,
}

/// The three listeners. Port 0 selects a free port; the actual addresses are printed at start.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// gRPC.
    pub grpc: SocketAddr,
    /// The OAuth callback page only.
    pub callback: SocketAddr,
    /// `/metrics`; loopback only.
    pub admin: SocketAddr,
    /// Allow gRPC without TLS outside loopback, for example behind a proxy that terminates TLS.
    #[serde(default)]
    pub plaintext: bool,
}

/// TLS of the gRPC listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file of the certificate chain.
    pub certificate: PathBuf,
    /// PEM file of the private key.
    pub key: PathBuf,
}

/// Authentication of callers: JWTs signed (EdDSA or RS256) by a key of the JWKS.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// A JWKS file (RFC 7517). Read again on SIGHUP.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// The required `iss` of tokens.
    #[serde(default)]
    pub issuer: String,
    /// The required `aud` of tokens.
    #[serde(default)]
    pub audience: String,
}

/// The keys that seal credentials at rest.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// Keys, 32 bytes in base64 each, separated by commas. The first key seals; all keys can open.
    #[serde(default)]
    pub keys: Option<SecretString>,
    /// The same from a file, one key per line.
    #[serde(default)]
    pub keys_file: Option<PathBuf>,
}

/// The location of connectors.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connectors {
    /// The folder that contains one folder per connector; or several, separated by `:`, of which the first with a
    /// connector of a name is used.
    pub dir: String,
    /// Scan the folders again when something in them changes.
    pub watch: bool,
}

impl Connectors {
    /// The folders, in order.
    pub fn folders(&self) -> Vec<PathBuf> {
        std::env::split_paths(&self.dir).collect()
    }
}

/// The settings for one connector.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectorOptions {
    /// The connector's own settings, including `client_id` and `client_secret` of the app.
    #[serde(default)]
    pub settings: BTreeMap<String, SecretString>,
    /// Hosts that it may call in addition to those of its manifest.
    #[serde(default, deserialize_with = "list")]
    pub allowed_hosts: Vec<String>,
    /// Run it inside the server process, if its manifest allows that. This avoids the cost of a process boundary, but
    /// a crash of the connector crashes the server. Otherwise it runs in a separate process.
    #[serde(default)]
    pub trusted: bool,
    /// Loopback `host:port` addresses that it may call over plain http, for simulators.
    #[serde(default, deserialize_with = "list")]
    pub plain_http_hosts: Vec<String>,
    /// PEM file of trust anchors that it accepts in addition to the public ones.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// An HTTP proxy.
    #[serde(default)]
    pub proxy_url: String,
}

/// The sync engine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sync {
    /// Number of syncs that this process runs at the same time.
    pub workers: usize,
    /// Number of syncs of one organization of a CRM that run at the same time, over all processes.
    pub per_organization: u32,
    /// How long a lease is valid without a heartbeat, in seconds. After a crash, another process continues after this
    /// time.
    pub lease_seconds: u64,
    /// How often an idle worker looks for work, in milliseconds.
    pub poll_milliseconds: u64,
    /// The longest time between two looks for integrations whose scheduled time was reached, in milliseconds. The server also
    /// looks at the next scheduled time that it knows of.
    pub schedule_poll_milliseconds: u64,
    /// Maximum attempts without progress after temporary errors, before a sync ends with the error.
    pub most_tries: u32,
    /// The pause after the first failed attempt, in milliseconds. Each further pause is three times longer, up to ten
    /// minutes.
    pub first_pause_milliseconds: u64,
    /// How often calculated fields are read again for all records, in hours: the CRM does not report their changes. 0: with
    /// every sync.
    pub calculated_hours: u32,
    /// How often all ids are listed to find records that are gone without a trace, in hours. 0: with every sync.
    pub sweep_hours: u32,
    /// How many days the values of a field are kept that the CRM hides, or does not have any more. 0: until the next sync.
    pub hidden_keep_days: u32,
    /// If a listing lacks at most this many records of an object, they are removed at once.
    pub removal_rows: u32,
    /// More records are also removed at once if they are at most this percentage of the object's records. With 100, all
    /// are.
    pub removal_percent: u32,
    /// A second listing that lacks the same records removes them if it began this many minutes or more after the
    /// first ended.
    pub removal_again_minutes: u32,
    /// How many days syncs are kept after their end.
    pub keep_days: u32,
    /// How many days the tombstones of deleted records are kept.
    pub keep_gone_days: u32,
}

/// Pages in browsers that may call over gRPC-Web. Calls that do not come from a page do not need this.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Web {
    /// Origins of these pages, for example `https://app.example.com`. Default: none. `*` is allowed only with
    /// `--dev`.
    #[serde(default, deserialize_with = "list")]
    pub allowed_origins: Vec<String>,
}

/// How long something is kept.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// Days.
    pub keep_days: u32,
}

impl Keep {
    /// The time in microseconds.
    #[must_use]
    pub fn micros(self) -> i64 {
        days(self.keep_days)
    }
}

/// Days in microseconds.
#[must_use]
pub fn days(days: u32) -> i64 {
    i64::from(days) * 24 * 3_600 * 1_000_000
}

impl Sync {
    /// How many records a listing may remove without confirmation.
    #[must_use]
    pub fn guard(&self) -> crate::store::RemovalGuard {
        crate::store::RemovalGuard {
            rows: i64::from(self.removal_rows),
            percent: i64::from(self.removal_percent),
            again_us: i64::from(self.removal_again_minutes) * 60 * 1_000_000,
        }
    }
}

/// Logins in the browser.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Maximum duration of a login, in minutes.
    pub minutes: u32,
}

/// Credentials of accounts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialOptions {
    /// Maximum duration of a token refresh, in seconds. If a process dies during a refresh, other processes wait a
    /// quarter longer than this before they refresh the account.
    pub refresh_timeout_seconds: u64,
    /// The pause after a failed refresh, in seconds. Each further pause is three times longer.
    pub first_retry_seconds: u64,
    /// The maximum pause between two attempts, in seconds. After failures that are usually temporary, the pause is at
    /// most a quarter of an hour.
    pub longest_retry_seconds: u64,
    /// A login that was not used for this many days is refreshed, because CRMs end unused ones.
    pub refresh_days: u32,
    /// How long the names of an unused account are kept, in days.
    pub keep_days: u32,
}

/// Pauses while the CRM of an organization is down or refuses calls.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakerOptions {
    /// After this many failures in a row (the CRM was slow or down), no sync of the organization starts and no profile is read
    /// live for a time. Then one call looks whether the CRM answers.
    pub failures: u32,
    /// The first such time, in seconds. A failure of the call after it doubles it.
    pub first_pause_seconds: u64,
    /// The longest such time, in seconds.
    pub longest_pause_seconds: u64,
    /// How long syncs of an organization wait whose allowance is used up, in seconds, unless the CRM names a time. A refusal
    /// of a sync after it doubles it.
    pub allowance_pause_seconds: u64,
    /// The longest such time, in seconds, unless the CRM names a longer one.
    pub longest_allowance_pause_seconds: u64,
}

impl BreakerOptions {
    /// The same for the store.
    #[must_use]
    pub fn breaker(&self) -> crate::store::Breaker {
        let us = |seconds: u64| i64::try_from(seconds.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
        crate::store::Breaker {
            failures: i64::from(self.failures),
            first_us: us(self.first_pause_seconds),
            longest_us: us(self.longest_pause_seconds),
            refused_us: us(self.allowance_pause_seconds),
            refused_longest_us: us(self.longest_allowance_pause_seconds),
        }
    }
}

/// How much of the API allowance of customers is used.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowanceOptions {
    /// The calls per day of an integration without a budget of its own, in percent of the organization's limit.
    pub budget_percent: u32,
    /// The percentage of a budget that only live reads may use, unless the integration has its own.
    pub reserve_percent: u32,
    /// Syncs wait while the organization, with all its apps, has used this percentage of its limit.
    pub organization_percent: u32,
    /// Profiles are not read live while it has used this percentage.
    pub live_percent: u32,
}

impl AllowanceOptions {
    /// The same as rules.
    #[must_use]
    pub fn rules(&self) -> crate::domain::AllowanceRules {
        crate::domain::AllowanceRules {
            budget: i64::from(self.budget_percent),
            reserve: i64::from(self.reserve_percent),
            organization: i64::from(self.organization_percent),
            live: i64::from(self.live_percent),
        }
    }
}

/// Logs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A `tracing` filter: `info`, `tether=debug`.
    pub filter: String,
    /// One JSON object per line instead of text.
    #[serde(default)]
    pub json: bool,
}

/// An error in the settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file, the environment or a flag cannot be parsed.
    #[error("configuration: {0}")]
    Read(#[from] config::ConfigError),
    /// Settings contradict each other or are out of range.
    #[error("configuration: {0}")]
    Rule(String),
    /// A file named by a setting cannot be read.
    #[error("configuration: {setting} = {path}: {cause}")]
    File {
        /// The setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// The error.
        cause: std::io::Error,
    },
}

/// The default folder of connectors. In a checkout, this folder has their sources.
const SOURCES: &str = "connectors";

const DEFAULTS: &str = include_str!("config/defaults.toml");

impl Options {
    /// Reads all layers and validates the settings.
    ///
    /// # Errors
    /// A layer cannot be read, or a setting is unknown or invalid.
    pub fn load(file: Option<&Path>, flags: &[(String, String)]) -> Result<Self, Error> {
        let mut layers =
            config::Config::builder().add_source(config::File::from_str(DEFAULTS, config::FileFormat::Toml));
        if let Some(file) = file {
            layers = layers.add_source(config::File::from(file).format(config::FileFormat::Toml));
        }
        layers = layers.add_source(
            config::Environment::with_prefix("TETHER")
                .prefix_separator("__")
                .separator("__"),
        );
        for (path, value) in flags {
            layers = layers.set_override(path, value.as_str())?;
        }
        let mut options: Self = layers.build()?.try_deserialize()?;
        let built = Path::new("target").join(SOURCES);
        // In a checkout, this folder has the sources of connectors.
        if options.dev
            && options.connectors.dir == SOURCES
            && Path::new(SOURCES).join("sdk/Cargo.toml").exists()
            && built.is_dir()
        {
            options.connectors.dir = built.display().to_string();
        }
        options.check()?;
        Ok(options)
    }

    /// The database URL, with the default filled in.
    #[must_use]
    pub fn database_url(&self) -> SecretString {
        self.database
            .url
            .clone()
            .unwrap_or_else(|| format!("sqlite:{}", self.data_dir.join("tether.db").display()).into())
    }
}

/// A list: a TOML array in the file, or text separated by commas in the environment and in flags.
fn list<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Either::deserialize(from)? {
        Either::Many(list) => list,
        Either::One(text) => text
            .split(',')
            .map(|one| one.trim().to_owned())
            .filter(|one| !one.is_empty())
            .collect(),
    })
}

/// Reads a file that is named by a setting.
///
/// # Errors
/// The file cannot be read. The error names the setting and the path.
pub fn read_file(setting: &'static str, path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|cause| Error::File {
        setting,
        path: path.to_owned(),
        cause,
    })
}

#[cfg(test)]
mod tests;
