//! A private copy of a library that no other user can change.
//!
//! A library is mapped, not read: if a new version is copied over its file, the running code changes or the server
//! crashes. The file could also change between hashing and loading. Therefore the server hashes and loads a private
//! copy. The copy is removed when it is no longer needed: for a library inside the server after loading; for a
//! library in child processes, which may be started at any time, together with its generation.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::LoadError;
use super::discovery::sha256_of;

/// Locked by the process that made the copy: copies without a lock holder can be removed.
const LOCK: &str = "lock";

/// The copy. Dropping it removes the file; code that is loaded from it stays.
#[derive(Debug)]
pub(super) struct PrivateCopy {
    folder: PathBuf,
    file: PathBuf,
    _lock: File,
}

/// Reads a file and verifies its hash.
pub(super) fn verify(library: &Path, sha256: &str) -> Result<Vec<u8>, LoadError> {
    let path = library.to_owned();
    let bytes = match fs::read(library) {
        Ok(bytes) => bytes,
        Err(source) => return Err(LoadError::Io { path, source }),
    };
    let found = sha256_of(&bytes);
    if found == sha256 {
        return Ok(bytes);
    }
    Err(LoadError::Hash {
        path,
        found,
        expected: sha256.to_owned(),
    })
}

impl PrivateCopy {
    /// Copies a library and verifies its hash. `None` if no folder for a copy is writable (a read-only container).
    pub(super) fn of(library: &Path, sha256: &str) -> Result<Option<Self>, LoadError> {
        let bytes = verify(library, sha256)?;
        let copied = Self::write(library, &bytes);
        if let Err(error) = &copied {
            let path = library.display();
            tracing::warn!(%path, %error, "cannot make a private copy: do not replace this library while the server runs");
        }
        Ok(copied.ok())
    }

    fn write(library: &Path, bytes: &[u8]) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("tether-{}-{number}", std::process::id()));
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        // Fails if another user has already created a folder or link of this name.
        builder.create(&folder)?;
        let lock = File::create_new(folder.join(LOCK))?;
        lock.try_lock()?;
        let copy = Self {
            file: folder.join(library.file_name().unwrap_or_default()),
            folder,
            _lock: lock,
        };
        fs::write(&copy.file, bytes)?;
        Ok(copy)
    }

    /// The path of the copy.
    pub(super) fn path(&self) -> &Path {
        &self.file
    }

    /// Removes copies of servers that were killed.
    pub(super) fn sweep() {
        let ours = |name: &str| {
            let mut parts = name.strip_prefix("tether-").unwrap_or_default().split('-');
            let number = |part: Option<&str>| {
                part.is_some_and(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
            };
            number(parts.next()) && number(parts.next()) && parts.next().is_none()
        };
        let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
            return;
        };
        let mut swept = 0;
        for entry in entries.flatten() {
            let left = entry.file_name().to_str().is_some_and(ours)
                && File::open(entry.path().join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok());
            if left {
                tracing::debug!(folder = %entry.path().display(), "removing the copies of a killed server");
                swept += u32::from(fs::remove_dir_all(entry.path()).is_ok());
            }
        }
        if swept > 0 {
            tracing::info!("removed {swept} folders with library copies of killed servers");
        }
    }
}

impl Drop for PrivateCopy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
        let _ = fs::remove_file(self.folder.join(LOCK));
        let _ = fs::remove_dir(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_takes_what_nobody_holds() {
        let held = PrivateCopy::write(Path::new("lib.so"), b"x").unwrap();
        // The state after a process was killed: the file exists, and the lock is not held.
        let left = std::env::temp_dir().join(format!("tether-{}-999999", std::process::id()));
        fs::create_dir(&left).unwrap();
        fs::write(left.join(LOCK), b"").unwrap();
        fs::write(left.join("lib.so"), b"x").unwrap();
        PrivateCopy::sweep();
        assert!(held.path().is_file() && !left.exists());
        let folder = held.folder.clone();
        drop(held);
        assert!(!folder.exists());
    }
}
