//! The operator's options for connectors.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::LoadError;
use super::manifest::{Isolation, Manifest};
use super::proto::{HttpPolicy, OpenRequest};

/// Options of the registry.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Folders with connectors; if two have a connector of the same name, the first takes precedence.
    pub folders: Vec<PathBuf>,
    /// Options by connector name.
    pub connectors: BTreeMap<String, ConnectorOptions>,
    /// HTTP options for all connectors.
    pub http: HttpOptions,
    /// The program that child processes run. It must begin with [`child_process::run`](crate::child_process::run) if
    /// its first argument is [`child::ARGUMENT`](crate::ARGUMENT). None: the program of this process, for the server.
    pub program: Option<PathBuf>,
    /// Memory limit of a child process, in bytes; 0 means 4 GiB. A child that needs more ends, and its connector is
    /// reopened.
    pub most_child_memory: u64,
}

/// Options of one connector.
#[derive(Clone, Default)]
pub struct ConnectorOptions {
    /// Settings passed to the connector: `client_id` and `client_secret` of the app, and others. May contain secrets.
    pub settings: BTreeMap<String, String>,
    /// Hosts that it may call in addition to those of its manifest: custom domains, tests.
    pub extra_allowed_hosts: Vec<String>,
    /// Loopback addresses (`127.0.0.1:8080`) that it may call without TLS, for tests and demos.
    pub plain_http_hosts: Vec<String>,
    /// Run it inside the server if its manifest also allows that. Otherwise it runs in a separate process.
    pub trusted: bool,
}

/// HTTP options for all connectors. Zero and empty mean the defaults of the SDK.
#[derive(Clone, Debug, Default)]
pub struct HttpOptions {
    /// An HTTP proxy.
    pub proxy_url: String,
    /// Additional trust anchors, in PEM.
    pub ca_pem: String,
    /// The User-Agent header; `tether/<version>` if empty.
    pub user_agent: String,
    /// Timeout of connecting.
    pub connect_timeout: Duration,
    /// Timeout between received bytes.
    pub read_timeout: Duration,
    /// Maximum size of a response body.
    pub max_body_bytes: u64,
}

const MOST_CHILD_MEMORY: u64 = 4 << 30;

impl Options {
    /// Memory limit of a child process, in bytes.
    pub(super) fn most_child_memory(&self) -> u64 {
        match self.most_child_memory {
            0 => MOST_CHILD_MEMORY,
            bytes => bytes,
        }
    }
}

impl ConnectorOptions {
    /// Where a connector runs. The operator can be stricter than the manifest, but not more permissive.
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

    /// The limits of the connector's HTTP client: the hosts of the manifest and those of the operator.
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
