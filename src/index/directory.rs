//! The directory of an index as Tantivy sees it: files without the checksum at their end, and only files that match
//! it.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tantivy::HasLen as _;
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    AntiCallToken, Directory, DirectoryLock, FileHandle, FileSlice, Lock, MmapDirectory, TerminatingWrite,
    WatchCallback, WatchHandle, WritePtr,
};

use super::files::{CHECKSUM, Files, TRIES, checksum, damaged};

/// A Tantivy directory whose files have checksums.
#[derive(Clone)]
pub(super) struct Verified {
    inner: MmapDirectory,
    files: Arc<Files>,
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Verified").field(&self.files.folder()).finish()
    }
}

impl Verified {
    pub(super) fn open(files: Arc<Files>) -> Result<Self, tantivy::TantivyError> {
        Ok(Self {
            inner: MmapDirectory::open(files.folder())?,
            files,
        })
    }

    fn unread(&self, path: &Path, error: io::Error) -> OpenReadError {
        if error.kind() == io::ErrorKind::NotFound {
            return OpenReadError::FileDoesNotExist(path.to_owned());
        }
        OpenReadError::wrap_io_error(error, path.to_owned())
    }
}

impl Directory for Verified {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        let compared = self.files.compare(path, true, &mut |_| true);
        self.files
            .note(compared)
            .map_err(|error| self.unread(path, error))?;
        let opened = self.inner.get_file_handle(path);
        if let Err(OpenReadError::IoError { io_error, .. }) = &opened {
            self.files.note_error(io_error);
        }
        let file = FileSlice::new(opened?);
        let Some(length) = file.len().checked_sub(CHECKSUM) else {
            return Err(self.unread(path, damaged(path, "is too short")));
        };
        Ok(Arc::new(file.slice_to(length)))
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        self.files.writable().map_err(|error| DeleteError::IoError {
            io_error: Arc::new(error),
            filepath: path.to_owned(),
        })?;
        // Do this first: a check that finds the file missing must know that it was deleted on purpose.
        self.files.forget(path);
        self.inner.delete(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        self.inner.exists(path)
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        let wrap = |error| OpenWriteError::wrap_io_error(error, path.to_owned());
        self.files.writable().map_err(wrap)?;
        let opened = self.inner.open_write(path);
        if let Err(OpenWriteError::IoError { io_error, .. }) = &opened {
            self.files.note_error(io_error);
        }
        Ok(BufWriter::new(Box::new(Writing {
            inner: opened?,
            hasher: self.files.hasher(path),
            files: Arc::clone(&self.files),
            path: path.to_owned(),
        })))
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        let read = || {
            for _ in 0..TRIES {
                self.files.compare(path, true, &mut |_| true)?;
                let mut file = File::open(self.files.folder().join(path))?;
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes)?;
                // The mapped file must be the verified one, not one that replaced it.
                if self.files.is_verified(path, &file.metadata()?) && bytes.len() >= CHECKSUM {
                    bytes.truncate(bytes.len() - CHECKSUM);
                    return Ok(bytes);
                }
            }
            Err(damaged(path, "keeps changing while it is read"))
        };
        self.files.note(read()).map_err(|error| self.unread(path, error))
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        self.files.writable()?;
        let mut hasher = self.files.hasher(path);
        hasher.update(data);
        let whole = [data, &checksum(&hasher)].concat();
        let written = self.inner.atomic_write(path, &whole);
        self.files.note(written.and_then(|()| self.files.written(path)))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.files.note(self.inner.sync_directory())
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        self.inner.acquire_lock(lock)
    }

    fn watch(&self, watch_callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        self.inner.watch(watch_callback)
    }
}

/// A file that is being written.
struct Writing {
    inner: WritePtr,
    hasher: blake3::Hasher,
    files: Arc<Files>,
    path: PathBuf,
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.files.note(self.inner.write(bytes))?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.files.note(self.inner.flush())
    }
}

impl TerminatingWrite for Writing {
    fn terminate_ref(&mut self, token: AntiCallToken) -> io::Result<()> {
        let end = checksum(&self.hasher);
        let done = self
            .inner
            .write_all(&end)
            .and_then(|()| self.inner.terminate_ref(token))
            .and_then(|()| self.files.written(&self.path));
        self.files.note(done)
    }
}
