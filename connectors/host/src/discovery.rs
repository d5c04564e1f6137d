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

/// What was found in the folders.
#[derive(Debug, Default)]
pub struct Discovery {
    /// Connectors, by name within each folder.
    pub found: Vec<Found>,
    /// Folders that could not be read, or that must not be.
    pub unreadable: Vec<LoadError>,
    /// Manifests that do not count, each with the one of the same name in an earlier folder that does.
    pub shadowed: Vec<(PathBuf, PathBuf)>,
}

/// Looks into the folders, in their order; the first connector of a name wins, also where it is broken: falling back to
/// another without a word would hide what is wrong. Folders without a manifest are no connectors; everything else that is
/// wrong is said.
#[must_use]
pub fn discover(folders: &[PathBuf]) -> Discovery {
    let mut discovery = Discovery::default();
    for folder in folders {
        let listed = closed_to_others(folder).and_then(|()| {
            names(folder).map_err(|source| LoadError::Io {
                path: folder.clone(),
                source,
            })
        });
        let names = match listed {
            Ok(names) => names,
            Err(error) => {
                discovery.unreadable.push(error);
                continue;
            }
        };
        for name in names {
            let path = folder.join(&name).join(FILE_NAME);
            if !path.exists() {
                continue;
            }
            match discovery.found.iter().find(|other| other.name == name) {
                Some(first) => discovery.shadowed.push((path, first.path.clone())),
                None => discovery.found.push(Found {
                    candidate: candidate(&path),
                    name,
                    path,
                }),
            }
        }
    }
    discovery
}

fn names(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// Looks at one manifest and what it names.
pub(super) fn candidate(path: &Path) -> Result<Candidate, LoadError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    closed_to_others(folder)?;
    closed_to_others(path)?;
    let manifest = Manifest::read(path)?;
    let (library, file) = manifest.library(path)?;
    // Its real folders, too: one of them may be below the connector's.
    let real = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    for part in library.ancestors().take_while(|part| *part != real) {
        closed_to_others(part)?;
    }
    let sha256 = file.sha256.to_ascii_lowercase();
    Ok(Candidate {
        library,
        sha256,
        manifest,
    })
}

/// Refuses a file or folder that every user of the machine may write: what is loaded is the operator's choice alone.
fn closed_to_others(path: &Path) -> Result<(), LoadError> {
    use std::os::unix::fs::PermissionsExt as _;
    const OTHERS_MAY_WRITE: u32 = 0o002;
    let path = path.to_owned();
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.permissions().mode() & OTHERS_MAY_WRITE == 0 => Ok(()),
        Ok(_) => Err(LoadError::Unsafe {
            path,
            reason: "every user of this machine may write it (chmod o-w)".to_owned(),
        }),
        Err(source) => Err(LoadError::Io { path, source }),
    }
}

/// A hash in the form of manifests.
pub(super) fn sha256_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
