//! `connector.toml`: the description of a connector that is read before its code runs.
//!
//! ```toml
//! manifest_version = 1
//! name = "example"
//! version = "1.2.0"
//! contract = "tether.connector.v1"
//! allowed_hosts = ["login.example.com", "*.api.example.com"]
//! isolation = "in_process"                 # may run in the server, where the operator trusts it; or "child", the default
//!
//! [library."x86_64-linux"]
//! path = "libexample.so"                   # inside the manifest's folder
//! sha256 = "…"
//! ```

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::LoadError;

/// The contract that this host supports.
pub const CONTRACT: &str = "tether.connector.v1";
/// The name of the file.
pub const FILE_NAME: &str = "connector.toml";

/// A manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of the format: 1.
    pub manifest_version: u32,
    /// The name of the connector, which is also the name of its folder.
    pub name: String,
    /// The version of the connector.
    pub version: String,
    /// The contract that the connector implements.
    pub contract: String,
    /// Hosts that it may call: a name, or `*.` and a suffix.
    #[serde(default)]
    pub allowed_hosts: Vec<String>,
    /// Where it may run.
    #[serde(default)]
    pub isolation: Isolation,
    /// The libraries, by platform.
    #[serde(default)]
    pub library: BTreeMap<String, LibraryFile>,
}

/// Where a connector may run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// In a separate process.
    #[default]
    Child,
    /// Inside the server if the operator trusts it; otherwise in a separate process.
    InProcess,
}

/// A library in a manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LibraryFile {
    /// The path, inside the folder of the manifest.
    pub path: PathBuf,
    /// The SHA-256 hash, in hex.
    pub sha256: String,
}

/// The name of this platform in manifests: `x86_64-linux`.
#[must_use]
pub fn platform() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

impl Manifest {
    /// Reads a manifest and checks everything that can be checked without the library.
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        let text = std::fs::read_to_string(path).map_err(|source| LoadError::Io {
            path: path.to_owned(),
            source,
        })?;
        let wrong = |reason: String| LoadError::Manifest {
            path: path.to_owned(),
            reason,
        };
        let manifest: Self = toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()))?;
        manifest.check(path).map_err(wrong)?;
        Ok(manifest)
    }

    fn check(&self, path: &Path) -> Result<(), String> {
        if self.manifest_version != 1 {
            return Err(format!(
                "manifest_version is {}, this host knows 1",
                self.manifest_version
            ));
        }
        if self.contract != CONTRACT {
            return Err(format!(
                "the contract is {:?}, this host speaks {CONTRACT:?}",
                self.contract
            ));
        }
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.name.is_empty() || self.name.len() > 63 || !self.name.bytes().all(plain) {
            return Err(format!(
                "the name {:?} is not of the form [a-z0-9-]{{1,63}}",
                self.name
            ));
        }
        let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
        if folder != self.name.as_str() {
            return Err(format!(
                "the name {:?} is not that of its folder, {}",
                self.name,
                folder.display()
            ));
        }
        Ok(())
    }

    /// The canonical path of the library for this platform, which is inside the folder of the manifest.
    pub fn library(&self, manifest_path: &Path) -> Result<(PathBuf, &LibraryFile), LoadError> {
        let wrong = |reason: String| LoadError::Manifest {
            path: manifest_path.to_owned(),
            reason,
        };
        let platform = platform();
        let Some(library) = self.library.get(&platform) else {
            let known: Vec<_> = self.library.keys().map(String::as_str).collect();
            return Err(wrong(format!(
                "no library for {platform}; there are: {}",
                known.join(", ")
            )));
        };
        let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        let escapes = || {
            wrong(format!(
                "the library's path {} leaves its folder",
                library.path.display()
            ))
        };
        if !library.path.components().all(inside) {
            return Err(escapes());
        }
        let folder = manifest_path.parent().unwrap_or(Path::new("."));
        let real = |path: PathBuf| {
            path.canonicalize()
                .map_err(|source| LoadError::Io { path, source })
        };
        let (folder, file) = (real(folder.to_owned())?, real(folder.join(&library.path))?);
        // The canonical path is checked, because a symbolic link can lead out of the folder.
        if !file.starts_with(&folder) {
            return Err(escapes());
        }
        Ok((file, library))
    }
}
