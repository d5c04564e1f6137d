//! What the operator says about connectors.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::manifest::{Isolation, Manifest};
use super::proto::{HttpPolicy, OpenRequest};
use super::{LoadError, Registry};

/// Options of the registry.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Folders with connectors; where two have one of the same name, the first wins.
    pub folders: Vec<PathBuf>,
    /// By name.
    pub connectors: BTreeMap<String, ConnectorOptions>,
    /// For all.
    pub http: HttpOptions,
    /// The program that child processes run, which must begin with [`child_process::run`](crate::child_process::run) where
    /// its first argument is [`child::ARGUMENT`](crate::ARGUMENT). None: this process's own, for the server.
    pub program: Option<PathBuf>,
    /// Memory that a child process may have, in bytes; 0 for 4 GiB. One that wants more ends, and its connector is opened
    /// anew.
    pub most_child_memory: u64,
}

/// Options of one connector.
#[derive(Clone, Default)]
pub struct ConnectorOptions {
    /// Handed to the connector: the app's `client_id` and `client_secret`, and what else it takes. May be secrets.
    pub settings: BTreeMap<String, String>,
    /// Hosts it may call besides those of its manifest: own domains, tests.
    pub extra_allowed_hosts: Vec<String>,
    /// Loopback addresses (`127.0.0.1:8080`) that it may call without TLS: tests and demos.
    pub plain_http_hosts: Vec<String>,
    /// Run it in the server, where its manifest asks for that too. Everything else runs in a process of its own.
    pub trusted: bool,
}

/// What holds for the HTTP of all connectors. Zero and empty mean the SDK's defaults.
#[derive(Clone, Debug, Default)]
pub struct HttpOptions {
    /// An HTTP proxy.
    pub proxy_url: String,
    /// Additional trust anchors, in PEM.
    pub ca_pem: String,
    /// The User-Agent header; `tether/<version>` if empty.
    pub user_agent: String,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Time without a byte.
    pub read_timeout: Duration,
    /// Largest body.
    pub max_body_bytes: u64,
}

const MOST_CHILD_MEMORY: u64 = 4 << 30;

impl Options {
    /// Memory that a child process may have, in bytes.
    pub(super) fn most_child_memory(&self) -> u64 {
        match self.most_child_memory {
            0 => MOST_CHILD_MEMORY,
            bytes => bytes,
        }
    }

    /// Finds, checks, loads and opens all connectors. One that fails is listed with the reason; the server runs without.
    pub async fn build(self) -> Registry {
        Registry::new(self).await
    }
}

impl ConnectorOptions {
    /// Where a connector runs. The operator may be stricter than its manifest, never more lenient.
    pub(super) fn isolation(&self, manifest: &Manifest) -> Isolation {
        match manifest.isolation {
            Isolation::InProcess if self.trusted => Isolation::InProcess,
            Isolation::InProcess | Isolation::Child => Isolation::Child,
        }
    }

    /// The request that opens an instance of the connector.
    pub(super) fn open_request(&self, http: HttpPolicy) -> OpenRequest {
        OpenRequest {
            host_version: env!("CARGO_PKG_VERSION").to_owned(),
            host_features: Vec::new(),
            settings: self.settings.clone().into_iter().collect(),
            http: Some(http),
        }
    }

    /// What the connector's HTTP client may do: the manifest's hosts and the operator's.
    pub(super) fn http_policy(
        &self,
        manifest: &Manifest,
        http: &HttpOptions,
    ) -> Result<HttpPolicy, LoadError> {
        let milliseconds = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let mut allowed_hosts = manifest.allowed_hosts.clone();
        allowed_hosts.extend(self.extra_allowed_hosts.iter().cloned());
        if let Some(empty) = allowed_hosts
            .iter()
            .find(|host| host.trim() != host.as_str() || host.is_empty())
        {
            return Err(LoadError::Unsupported(format!(
                "{empty:?} is not an allowed host"
            )));
        }
        Ok(HttpPolicy {
            allowed_hosts,
            plain_http_hosts: self.plain_http_hosts.clone(),
            proxy_url: http.proxy_url.clone(),
            ca_pem: http.ca_pem.clone(),
            user_agent: if http.user_agent.is_empty() {
                concat!("tether/", env!("CARGO_PKG_VERSION")).to_owned()
            } else {
                http.user_agent.clone()
            },
            connect_timeout_ms: milliseconds(http.connect_timeout),
            read_timeout_ms: milliseconds(http.read_timeout),
            max_body_bytes: http.max_body_bytes,
        })
    }
}

impl std::fmt::Debug for ConnectorOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectorOptions")
            .field("settings", &self.settings.keys().collect::<Vec<_>>())
            .field("extra_allowed_hosts", &self.extra_allowed_hosts)
            .field("plain_http_hosts", &self.plain_http_hosts)
            .field("trusted", &self.trusted)
            .finish()
    }
}
