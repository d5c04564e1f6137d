//! `connector.toml`: what a connector says of itself before any of its code runs.
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

/// The contract this host speaks.
pub const CONTRACT: &str = "tether.connector.v1";
/// The file's name.
pub const FILE_NAME: &str = "connector.toml";

/// A manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// 1.
    pub manifest_version: u32,
    /// The connector's name; its folder has the same.
    pub name: String,
    /// The connector's version.
    pub version: String,
    /// The contract it speaks.
    pub contract: String,
    /// Hosts it may call: a name, or `*.` and a suffix.
    #[serde(default)]
    pub allowed_hosts: Vec<String>,
    /// Where it wants to run.
    #[serde(default)]
    pub isolation: Isolation,
    /// Its library, by platform.
    #[serde(default)]
    pub library: BTreeMap<String, LibraryFile>,
}

/// Where a connector may run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// In a process of its own.
    #[default]
    Child,
    /// In the server, if the operator trusts it; else in a process of its own.
    InProcess,
}

/// A library of a manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LibraryFile {
    /// Its path, inside the manifest's folder.
    pub path: PathBuf,
    /// Its hash, in hex.
    pub sha256: String,
}

/// This platform, as manifests call it: `x86_64-linux`.
#[must_use]
pub fn platform() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

impl Manifest {
    /// Reads a manifest and checks everything that can be checked without its library.
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

    /// The library for this platform, by its real path, which lies inside the manifest's folder.
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
        // A link may lead anywhere, whatever the text of the path says.
        if !file.starts_with(&folder) {
            return Err(escapes());
        }
        Ok((file, library))
    }
}
