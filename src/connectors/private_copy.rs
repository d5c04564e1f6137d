//! A copy of a library that nobody else can change.
//!
//! A library is mapped, not read: whoever copies a new version over its file changes the running code, or crashes the
//! server. And between hashing a file and loading it there is time to change it. So what is hashed and loaded is a copy of
//! our own, gone from the folder as soon as it is loaded.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::LoadError;
use super::discovery::sha256_of;

/// The copy; dropping it removes the file, what was loaded from it stays.
#[derive(Debug)]
pub(super) struct PrivateCopy {
    folder: PathBuf,
    file: PathBuf,
}

impl PrivateCopy {
    /// Copies a library whose hash must be this. None where there is no place for a copy (a read-only container).
    pub(super) fn of(library: &Path, sha256: &str) -> Result<Option<Self>, LoadError> {
        let bytes = fs::read(library).map_err(|source| LoadError::Io {
            path: library.to_owned(),
            source,
        })?;
        let found = sha256_of(&bytes);
        if found != sha256 {
            let (path, expected) = (library.to_owned(), sha256.to_owned());
            return Err(LoadError::Hash {
                path,
                found,
                expected,
            });
        }
        let copied = Self::write(library, &bytes);
        if let Err(error) = &copied {
            let path = library.display();
            tracing::warn!(%path, %error, "no private copy: do not replace this library while the server runs");
        }
        Ok(copied.ok())
    }

    fn write(library: &Path, bytes: &[u8]) -> std::io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("tether-{}-{number}", std::process::id()));
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        // Fails where somebody has put a folder, or a link, of this name there before us.
        builder.create(&folder)?;
        let copy = Self {
            file: folder.join(library.file_name().unwrap_or_default()),
            folder,
        };
        fs::write(&copy.file, bytes)?;
        Ok(copy)
    }

    /// The copy's path.
    pub(super) fn path(&self) -> &Path {
        &self.file
    }
}

impl Drop for PrivateCopy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
        let _ = fs::remove_dir(&self.folder);
    }
}
