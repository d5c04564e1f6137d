//! The connectors of this server, by name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;

use super::discovery::{Candidate, Found, discover};
use super::ffi::Library;
use super::in_process::open_request;
use super::manifest::{FILE_NAME, Isolation};
use super::{Connector, Error, LoadError, Options};

/// All connectors that were found. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: Options,
    entries: RwLock<BTreeMap<String, Entry>>,
    scanning: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
struct Entry {
    path: PathBuf,
    state: Result<(Connector, String), String>,
}

/// One connector of [`Registry::list`].
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its manifest's path.
    pub path: PathBuf,
    /// How it is.
    pub status: Status,
    /// The connector, unless it failed to load.
    pub connector: Option<Connector>,
}

/// How a connector is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It can be called.
    Ready,
    /// It has failed in a way it should not and is opened anew by the next call.
    Restarting {
        /// Failures in a row.
        failures: u32,
    },
    /// It keeps failing and is tried once a minute.
    Quarantined {
        /// Failures in a row.
        failures: u32,
    },
    /// It could not be loaded.
    Failed {
        /// Why.
        reason: String,
    },
}

impl Registry {
    pub(super) async fn new(options: Options) -> Self {
        let entries = RwLock::new(BTreeMap::new());
        let inner = Inner {
            options,
            entries,
            scanning: tokio::sync::Mutex::new(()),
        };
        let registry = Self {
            inner: Arc::new(inner),
        };
        registry.rescan().await;
        registry
    }

    /// A connector that can be called.
    pub fn get(&self, name: &str) -> Result<Connector, Error> {
        let entries = self.inner.entries.read();
        match entries.get(name).map(|entry| &entry.state) {
            Some(Ok((connector, _))) => Ok(connector.clone()),
            Some(Err(reason)) => Err(Error::Unusable {
                name: name.to_owned(),
                reason: reason.clone(),
            }),
            None => {
                let folders = self.inner.options.folders.iter();
                let tried = folders.map(|folder| folder.join(name).join(FILE_NAME)).collect();
                Err(Error::Unknown {
                    name: name.to_owned(),
                    tried,
                })
            }
        }
    }

    /// All that were found, by name, those that failed with the reason.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        let entries = self.inner.entries.read();
        let listed = entries.iter().map(|(name, entry)| {
            let (status, connector) = match &entry.state {
                Ok((connector, _)) => (connector.status(), Some(connector.clone())),
                Err(reason) => (
                    Status::Failed {
                        reason: reason.clone(),
                    },
                    None,
                ),
            };
            Listed {
                name: name.clone(),
                path: entry.path.clone(),
                status,
                connector,
            }
        });
        listed.collect()
    }

    /// Looks again: new connectors are added, changed ones become a new generation (streams and handles of the old go on
    /// there), failed ones are tried again. What was loaded stays, also when its folder is gone.
    pub async fn rescan(&self) {
        let _one_at_a_time = self.inner.scanning.lock().await;
        let folders = self.inner.options.folders.clone();
        let Ok((found, unreadable)) = tokio::task::spawn_blocking(move || discover(&folders)).await else {
            return;
        };
        for error in unreadable {
            tracing::warn!(%error, "a folder of connectors cannot be read");
        }
        let names: Vec<_> = found.iter().map(|found| found.name.clone()).collect();
        for Found {
            name,
            path,
            candidate,
        } in found
        {
            let loaded = match candidate {
                Ok(candidate) if self.has(&name, &candidate.sha256) => continue,
                Ok(candidate) => self.load(&name, candidate).await,
                Err(error) => Err(error),
            };
            self.enter(name, path, loaded);
        }
        self.inner
            .entries
            .write()
            .retain(|name, entry| entry.state.is_ok() || names.contains(name));
    }

    fn enter(&self, name: String, path: PathBuf, loaded: Result<(Connector, String), LoadError>) {
        let mut entries = self.inner.entries.write();
        let state = match loaded {
            Ok((connector, sha256)) => {
                let version = &connector.manifest().version;
                tracing::info!(connector = %name, %version, path = %path.display(), "connector {name} {version} is ready");
                Ok((connector, sha256))
            }
            Err(error) => {
                tracing::error!(connector = %name, path = %path.display(), %error, "connector {name} cannot be used");
                // A broken update does not take away what works.
                if entries.get(&name).is_some_and(|entry| entry.state.is_ok()) {
                    return;
                }
                Err(error.to_string())
            }
        };
        entries.insert(name, Entry { path, state });
    }

    fn has(&self, name: &str, sha256: &str) -> bool {
        let entries = self.inner.entries.read();
        entries
            .get(name)
            .is_some_and(|entry| matches!(&entry.state, Ok((_, loaded)) if loaded == sha256))
    }

    async fn load(&self, name: &str, candidate: Candidate) -> Result<(Connector, String), LoadError> {
        let Candidate {
            manifest,
            library,
            sha256,
        } = candidate;
        let options = self
            .inner
            .options
            .connectors
            .get(name)
            .cloned()
            .unwrap_or_default();
        if manifest.isolation == Isolation::Child && !options.trusted {
            return Err(LoadError::Unsupported(format!(
                "{name} asks to run in a process of its own, which this build cannot do yet; mark it as trusted to run \
                 it in the server"
            )));
        }
        let http = options.http_policy(&manifest, &self.inner.options.http)?;
        let request = open_request(http, &options);
        let expected = sha256.clone();
        let library = tokio::task::spawn_blocking(move || Library::load(&library, &expected)).await;
        let library =
            library.map_err(|error| LoadError::Unsupported(format!("loading it failed: {error}")))??;
        let connector = Connector::open(manifest, Arc::new(library), request).await?;
        Ok((connector, sha256))
    }
}
