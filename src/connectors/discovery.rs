//! Finding connectors: `<folder>/<name>/connector.toml`, nothing else and nowhere else.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::LoadError;
use super::manifest::{FILE_NAME, Manifest};

/// A connector's folder, with what was found in it.
#[derive(Debug)]
pub struct Found {
    /// The folder's name, which is the connector's.
    pub name: String,
    /// The manifest that was looked at.
    pub path: PathBuf,
    /// The connector, if there may be one.
    pub candidate: Result<Candidate, LoadError>,
}

/// A connector whose manifest is in order; its library is hashed when it is loaded.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its library, by its real path.
    pub library: PathBuf,
    /// The library's hash, as the manifest says: what makes one generation of a connector another.
    pub sha256: String,
}

/// Looks into the folders, in their order; the first connector of a name wins. Also answers the folders that could not be
/// read. Folders without a manifest are no connectors; everything else that is wrong is said.
#[must_use]
pub fn discover(folders: &[PathBuf]) -> (Vec<Found>, Vec<LoadError>) {
    let (mut found, mut unreadable) = (Vec::<Found>::new(), Vec::new());
    for folder in folders {
        let names = match names(folder) {
            Ok(names) => names,
            Err(source) => {
                unreadable.push(LoadError::Io {
                    path: folder.clone(),
                    source,
                });
                continue;
            }
        };
        for name in names {
            let path = folder.join(&name).join(FILE_NAME);
            if path.exists() && !found.iter().any(|other| other.name == name) {
                found.push(Found {
                    candidate: candidate(&path),
                    name,
                    path,
                });
            }
        }
    }
    (found, unreadable)
}

fn names(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn candidate(path: &Path) -> Result<Candidate, LoadError> {
    let manifest = Manifest::read(path)?;
    let (library, file) = manifest.library(path)?;
    let sha256 = file.sha256.to_ascii_lowercase();
    Ok(Candidate {
        library,
        sha256,
        manifest,
    })
}

/// A hash in the form of manifests.
pub(super) fn sha256_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
