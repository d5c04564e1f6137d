//! Finds connectors, only as `<folder>/<name>/connector.toml`.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::LoadError;
use super::manifest::{FILE_NAME, Manifest};

/// The folder of a connector, and what was found in it.
#[derive(Debug)]
pub struct Found {
    /// The name of the folder, which is the name of the connector.
    pub name: String,
    /// The manifest that was checked.
    pub path: PathBuf,
    /// The connector, or why there is none.
    pub candidate: Result<Candidate, LoadError>,
}

/// A connector with a valid manifest. Its library is hashed later, when it is loaded.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The manifest.
    pub manifest: Manifest,
    /// The canonical path of the library.
    pub library: PathBuf,
    /// The hash of the library according to the manifest. A different hash makes a new generation of the connector.
    pub sha256: String,
}

/// The result of a scan.
#[derive(Debug, Default)]
pub struct Discovery {
    /// Connectors, sorted by name within each folder.
    pub found: Vec<Found>,
    /// Folders that could not be read, or must not be used.
    pub unreadable: Vec<LoadError>,
    /// Ignored manifests, each with the manifest of the same name in an earlier folder that takes precedence.
    pub shadowed: Vec<(PathBuf, PathBuf)>,
}

/// Scans the folders in order. The first connector of a name takes precedence, even if it is broken: silently using
/// another one would hide the error. Folders without a manifest are ignored; all other problems are reported.
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

/// Checks a manifest and its library.
pub(super) fn candidate(path: &Path) -> Result<Candidate, LoadError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    closed_to_others(folder)?;
    closed_to_others(path)?;
    let manifest = Manifest::read(path)?;
    let (library, file) = manifest.library(path)?;
    // Also checks the canonical folders between the connector's folder and the library.
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

/// Rejects a file or folder that another user can change: only the operator may decide what is loaded.
fn closed_to_others(path: &Path) -> Result<(), LoadError> {
    use std::os::unix::fs::MetadataExt as _;
    let path = path.to_owned();
    match std::fs::metadata(&path) {
        Ok(of) => match open_to_others(of.uid(), of.mode(), rustix::process::geteuid().as_raw()) {
            None => Ok(()),
            Some(reason) => Err(LoadError::Unsafe { path, reason }),
        },
        Err(source) => Err(LoadError::Io { path, source }),
    }
}

/// Why a file with this owner and mode is writable by users other than root and the server's user.
fn open_to_others(owner: u32, mode: u32, server: u32) -> Option<String> {
    const OTHERS_MAY_WRITE: u32 = 0o002;
    if owner != 0 && owner != server {
        return Some(format!(
            "it belongs to user {owner}, who is neither root nor the server's own user {server} (chown)"
        ));
    }
    (mode & OTHERS_MAY_WRITE != 0).then(|| "every user of this machine may write it (chmod o-w)".to_owned())
}

/// A hash in the format of manifests.
pub(super) fn sha256_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::open_to_others;

    #[test]
    fn files_of_root_and_of_the_server_alone_are_loaded() {
        for owner in [0, 1_000] {
            assert_eq!(open_to_others(owner, 0o100_755, 1_000), None);
            let open = open_to_others(owner, 0o100_757, 1_000).unwrap();
            assert!(open.contains("chmod o-w"), "{open}");
        }
        let other = open_to_others(1_001, 0o100_755, 1_000).unwrap();
        assert!(other.contains("user 1001"), "{other}");
        // If the server runs as root, only root is trusted.
        assert!(open_to_others(1_000, 0o100_755, 0).is_some());
    }
}
