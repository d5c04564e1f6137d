//! All connectors of this server, by name.
//!
//! A scan (at start, on SIGHUP, on a change of the folders) goes through the manifest, the owners of its
//! files, the hash, and the private copy of the library, to a child that opens the connector and describes
//! it. A library that runs in the server is loaded only after it has been opened in a child. A changed hash
//! is a new generation beside the old one: streams keep theirs, the registry returns the new one.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::child::{Launch, OPEN_TIME};
use super::discovery::{Candidate, Discovery, Found, discover};
use super::ffi::Library;
use super::manifest::{FILE_NAME, Isolation, Manifest};
use super::private_copy::PrivateCopy;
use super::proto::OpenRequest;
use super::transport::Place;
use super::{Connector, Error, LoadError, Options, Status};

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
    /// Hashes of libraries that were opened successfully in a child process.
    probed: Mutex<HashSet<String>>,
}

#[derive(Clone, Debug)]
struct Entry {
    path: PathBuf,
    state: Result<(Connector, String), String>,
}

/// A connector in [`Registry::list`].
#[derive(Clone, Debug)]
pub struct Listed {
    /// The name.
    pub name: String,
    /// The path of the manifest.
    pub path: PathBuf,
    /// The status.
    pub status: Status,
    /// The connector, unless it failed to load.
    pub connector: Option<Connector>,
}

impl Options {
    /// Finds, checks, loads and opens all connectors. A connector that fails is listed with the reason; the server
    /// runs without it.
    pub async fn build(self) -> Registry {
        Registry::new(self).await
    }
}

impl Registry {
    pub(super) async fn new(options: Options) -> Self {
        let entries = RwLock::new(BTreeMap::new());
        let inner = Inner {
            options,
            entries,
            scanning: tokio::sync::Mutex::new(()),
            probed: Mutex::default(),
        };
        let registry = Self {
            inner: Arc::new(inner),
        };
        PrivateCopy::sweep();
        registry.rescan().await;
        registry
    }

    /// The folders that are scanned.
    pub(super) fn folders(&self) -> &[PathBuf] {
        &self.inner.options.folders
    }

    /// Returns a connector that can be called.
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

    /// All connectors that were found, by name; failed ones with the reason.
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

    /// Scans the folders again. New connectors are added, and failed ones are retried. A changed connector becomes a
    /// new generation; streams and handles of the old generation continue with it. Loaded connectors stay, even if
    /// their folder is gone.
    pub async fn rescan(&self) {
        let _one_at_a_time = self.inner.scanning.lock().await;
        let folders = self.inner.options.folders.clone();
        let Ok(discovery) = tokio::task::spawn_blocking(move || discover(&folders)).await else {
            return;
        };
        let Discovery {
            found,
            unreadable,
            shadowed,
        } = discovery;
        for error in unreadable {
            tracing::warn!(%error, "cannot use a folder of connectors: {error}");
        }
        for (path, by) in &shadowed {
            let (path, by) = (path.display(), by.display());
            tracing::info!(%path, %by, "ignored {path}: {by} takes precedence");
        }
        let names: Vec<_> = found.iter().map(|found| found.name.clone()).collect();
        let mut loading = JoinSet::new();
        for Found {
            name,
            path,
            candidate,
        } in found
        {
            match candidate {
                Ok(candidate) if self.has(&name, &candidate.sha256) => {}
                Ok(candidate) => {
                    let registry = self.clone();
                    loading.spawn(async move {
                        let loaded = registry.load(&name, candidate).await;
                        registry.enter(name, path, loaded);
                    });
                }
                Err(error) => self.enter(name, path, Err(error)),
            }
        }
        loading.join_all().await;
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
                // A broken update does not replace a working connector.
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
        let Options {
            connectors,
            http,
            program,
            ..
        } = &self.inner.options;
        let options = connectors.get(name).cloned().unwrap_or_default();
        let request = options.open_request(options.http_policy(&manifest, http)?);
        let (file, expected) = (library.clone(), sha256.clone());
        let copy = blocking(move || PrivateCopy::of(&file, &expected)).await?;
        let child = Place::Child(Launch {
            program: program.clone(),
            library: library.clone(),
            sha256: sha256.clone(),
            copy: copy.as_ref().map(|copy| copy.path().to_owned()),
            most_memory: self.inner.options.most_child_memory(),
        });
        let opened = match options.isolation(&manifest) {
            Isolation::Child => Connector::open(manifest, child, copy, request).await?,
            Isolation::InProcess => {
                self.probe(&manifest, child, &request, &sha256).await?;
                drop(copy);
                let expected = sha256.clone();
                let loaded = blocking(move || Library::load(&library, &expected)).await?;
                let place = Place::InProcess(Arc::new(loaded));
                Connector::open(manifest, place, None, request).await?
            }
        };
        Ok((opened, sha256))
    }

    /// Opens a library first in a child process, so that a crash or hang happens there. Done once per library.
    async fn probe(
        &self,
        manifest: &Manifest,
        child: Place,
        request: &OpenRequest,
        sha256: &str,
    ) -> Result<(), LoadError> {
        if self.inner.probed.lock().contains(sha256) {
            return Ok(());
        }
        Connector::open(manifest.clone(), child, None, request.clone()).await?;
        self.inner.probed.lock().insert(sha256.to_owned());
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    // Use a separate thread: a library that never returns must not block the end of the runtime.
    let (done, outcome) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("connector-load".to_owned());
    let failed = |why: String| LoadError::Unsupported(format!("loading it failed: {why}"));
    thread
        .spawn(move || drop(done.send(work())))
        .map_err(|error| failed(error.to_string()))?;
    match timeout(OPEN_TIME, outcome).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => Err(failed("its thread ended".to_owned())),
        Err(_) => Err(LoadError::Unsupported(format!(
            "it was not loaded within {} seconds",
            OPEN_TIME.as_secs()
        ))),
    }
}
