//! The files of one index, each with a checksum that is verified before Tantivy may open the file.
//!
//! Tantivy writes a checksum at the end of each segment file but never verifies it. The list of segments has none,
//! and no checksum would detect that two files were swapped. When it reads a damaged file, Tantivy returns wrong
//! documents, allocates without limit, or panics, which in one of its threads ends the process. So
//! [`Verified`](super::directory::Verified) appends 16 bytes to each file: the BLAKE3 hash of the integration, the
//! file name and the content. A verified file is read again only if its length, inode or times change. Comparing
//! these takes a microsecond per file and is done before and after each search.
//!
//! A watch on the folder would report a change later than the search that reads wrong data. Comparing the
//! attributes of 100 files costs a tenth of a millisecond.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Error;
use super::error::{Cause, of_io};
use crate::domain::IntegrationId;

/// Length of the checksum at the end of each file, in bytes.
pub(super) const CHECKSUM: usize = 16;
/// Bytes read at a time when a file is verified.
const CHUNK: usize = 1 << 20;
/// How often verification is retried if the file is replaced meanwhile.
pub(super) const TRIES: usize = 5;
/// Minimum time between two full verifications of one index after errors that its files do not explain.
const BETWEEN_DOUBTS: Duration = Duration::from_secs(60);

/// The file attributes that change when the file is written or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(of: &Metadata) -> Self {
        Self {
            device: of.dev(),
            inode: of.ino(),
            length: of.len(),
            modified: (of.mtime(), of.mtime_nsec()),
            changed: (of.ctime(), of.ctime_nsec()),
        }
    }
}

pub(super) fn damaged(path: &Path, how: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} {how}", path.display()))
}

/// What is known about the files of one index. This outlives the opened index: a verified file is not read again when
/// the index is reopened.
pub(super) struct Files {
    integration: IntegrationId,
    folder: PathBuf,
    /// The files of the index, with their attributes when they were written or verified.
    verified: Mutex<HashMap<PathBuf, Stamp>>,
    /// The index is being deleted: threads that still use it must not write.
    retired: AtomicBool,
    /// The last error number of the operating system: Tantivy's threads report errors without it.
    refused: Mutex<Option<i32>>,
    doubted: Mutex<Option<Instant>>,
}

impl Files {
    pub(super) fn new(integration: IntegrationId, folder: PathBuf) -> Self {
        Self {
            integration,
            folder,
            verified: Mutex::default(),
            retired: AtomicBool::new(false),
            refused: Mutex::default(),
            doubted: Mutex::default(),
        }
    }

    pub(super) fn integration(&self) -> IntegrationId {
        self.integration
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes all later writes and deletes through this index fail.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Returns and clears the last error number of the operating system.
    pub(super) fn take_refused(&self) -> Option<i32> {
        self.refused.lock().take()
    }

    /// Checks that all files are unchanged since they were verified. Changed files are read again. Blocks.
    ///
    /// # Errors
    /// [`Error::Damaged`], or a temporary error of the operating system.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.retired.load(Ordering::Acquire) {
            return Err(self.damage("it is being rebuilt"));
        }
        let verified: Vec<(PathBuf, Stamp)> = {
            let verified = self.verified.lock();
            verified
                .iter()
                .map(|(path, stamp)| (path.clone(), *stamp))
                .collect()
        };
        for (path, stamp) in verified {
            match std::fs::metadata(self.folder.join(&path)) {
                Ok(now) if Stamp::of(&now) == stamp => {}
                Ok(_) => self.sound(&path)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.sound(&path)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads each file again, including unchanged ones. After each chunk, `rest` is called with the time the chunk
    /// took; it returns whether to continue. Blocks.
    ///
    /// # Errors
    /// [`Error::Damaged`], or a temporary error of the operating system.
    pub(super) fn verify(&self, mut rest: impl FnMut(Duration) -> bool) -> Result<(), Error> {
        let paths: Vec<PathBuf> = self.verified.lock().keys().cloned().collect();
        for path in paths {
            self.is_sound(&path, false, &mut rest)?;
        }
        Ok(())
    }

    /// Called after an error with an unknown cause: verifies all files, unless this was done less than a minute ago.
    /// Blocks.
    ///
    /// # Errors
    /// [`Error::Damaged`], or a temporary error of the operating system.
    pub(super) fn doubt(&self) -> Result<(), Error> {
        self.check()?;
        let lately = |last: Instant| last.elapsed() < BETWEEN_DOUBTS;
        if self.doubted.lock().replace(Instant::now()).is_some_and(lately) {
            return Ok(());
        }
        self.verify(|_| true)
    }

    fn damage(&self, what: impl ToString) -> Error {
        Error::Damaged {
            integration: self.integration,
            what: what.to_string(),
        }
    }

    /// Checks that a file has the content that was written. A missing file that was never known is not an error.
    /// Blocks.
    ///
    /// # Errors
    /// [`Error::Damaged`], or a temporary error of the operating system.
    pub(super) fn sound(&self, path: &Path) -> Result<(), Error> {
        self.is_sound(path, true, &mut |_| true)
    }

    /// Checks that a file of the index has the content that was written.
    fn is_sound(
        &self,
        path: &Path,
        trust: bool,
        rest: &mut impl FnMut(Duration) -> bool,
    ) -> Result<(), Error> {
        match self.compare(path, trust, rest) {
            // Tantivy deleted the file meanwhile.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && !self.verified.lock().contains_key(path) =>
            {
                Ok(())
            }
            Err(error) if of_io(&error) == Cause::Damage => {
                Err(self.damage(format!("{}: {error}", path.display())))
            }
            other => Ok(other?),
        }
    }

    /// Compares a file with its checksum. With `trust`, a file with unchanged attributes is not read.
    pub(super) fn compare(
        &self,
        path: &Path,
        trust: bool,
        rest: &mut impl FnMut(Duration) -> bool,
    ) -> io::Result<()> {
        let full = self.folder.join(path);
        for _ in 0..TRIES {
            let now = Stamp::of(&std::fs::metadata(&full)?);
            if trust && self.verified.lock().get(path) == Some(&now) {
                return Ok(());
            }
            let mut file = File::open(&full)?;
            let before = Stamp::of(&file.metadata()?);
            let Some(fits) = self.fits(path, &mut file, before.length, rest)? else {
                return Ok(());
            };
            if Stamp::of(&file.metadata()?) != before {
                continue;
            }
            if !fits {
                return Err(damaged(path, "does not match its checksum"));
            }
            self.verified.lock().insert(path.to_owned(), before);
            return Ok(());
        }
        Err(damaged(path, "keeps changing while it is read"))
    }

    /// Whether the content matches the checksum at its end; `None` if `rest` stopped the reading.
    fn fits(
        &self,
        path: &Path,
        file: &mut File,
        length: u64,
        rest: &mut impl FnMut(Duration) -> bool,
    ) -> io::Result<Option<bool>> {
        let Some(mut left) = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_sub(CHECKSUM))
        else {
            return Ok(Some(false));
        };
        let mut hasher = self.hasher(path);
        let mut buffer = vec![0; CHUNK.min(left)];
        while left > 0 {
            let started = Instant::now();
            let piece = left.min(CHUNK);
            match file.read_exact(&mut buffer[..piece]) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Some(false)),
                other => other?,
            }
            hasher.update(&buffer[..piece]);
            left -= piece;
            if !rest(started.elapsed()) {
                return Ok(None);
            }
        }
        let mut written = [0; CHECKSUM];
        match file.read_exact(&mut written) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Some(false)),
            other => other?,
        }
        Ok(Some(written == checksum(&hasher)))
    }

    pub(super) fn hasher(&self, path: &Path) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.integration.to_string().as_bytes());
        hasher.update(&[0]);
        hasher.update(path.as_os_str().as_encoded_bytes());
        hasher.update(&[0]);
        hasher
    }

    /// Records the attributes of a file that was just written.
    pub(super) fn written(&self, path: &Path) -> io::Result<()> {
        let stamp = Stamp::of(&std::fs::metadata(self.folder.join(path))?);
        self.verified.lock().insert(path.to_owned(), stamp);
        Ok(())
    }

    /// Whether these are the attributes of the verified file.
    pub(super) fn is_verified(&self, path: &Path, is: &Metadata) -> bool {
        self.verified.lock().get(path) == Some(&Stamp::of(is))
    }

    /// Removes a file that Tantivy deletes from the list.
    pub(super) fn forget(&self, path: &Path) {
        self.verified.lock().remove(path);
    }

    /// Records an error of the operating system.
    pub(super) fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.note_error(error);
        }
        result
    }

    pub(super) fn note_error(&self, error: &io::Error) {
        if let Cause::System(number) = of_io(error) {
            *self.refused.lock() = Some(number);
        }
    }

    pub(super) fn writable(&self) -> io::Result<()> {
        if self.retired.load(Ordering::Acquire) {
            return Err(io::Error::other("this index is being deleted"));
        }
        Ok(())
    }
}

pub(super) fn checksum(hasher: &blake3::Hasher) -> [u8; CHECKSUM] {
    let mut first = [0; CHECKSUM];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..CHECKSUM]);
    first
}

#[cfg(test)]
mod tests {
    use super::super::directory::Verified;
    use super::*;
    use std::io::Write as _;
    use std::os::unix::fs::FileExt as _;
    use std::sync::Arc;
    use tantivy::directory::error::OpenReadError;
    use tantivy::directory::{Directory as _, TerminatingWrite as _};

    struct Folder {
        folder: tempfile::TempDir,
        id: IntegrationId,
    }

    impl Folder {
        fn new() -> Self {
            let this = Self {
                folder: tempfile::tempdir().unwrap(),
                id: IntegrationId::new(),
            };
            let (files, directory) = this.open();
            for (name, text) in [("a.fast", "one"), ("b.fast", "two")] {
                let mut writer = directory.open_write(Path::new(name)).unwrap();
                writer.write_all(text.repeat(1_000).as_bytes()).unwrap();
                writer.terminate().unwrap();
            }
            directory.atomic_write(Path::new("meta.json"), b"{}").unwrap();
            files.check().unwrap();
            this
        }

        fn open(&self) -> (Arc<Files>, Verified) {
            let files = Arc::new(Files::new(self.id, self.folder.path().to_owned()));
            let directory = Verified::open(Arc::clone(&files)).unwrap();
            (files, directory)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn flip(&self, name: &str, at: u64) {
            let file = File::options()
                .read(true)
                .write(true)
                .open(self.path(name))
                .unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 4], at).unwrap();
        }
    }

    fn read(directory: &Verified) -> Result<(), OpenReadError> {
        for (name, text) in [("a.fast", "one"), ("b.fast", "two")] {
            let bytes = directory.open_read(Path::new(name))?.read_bytes().unwrap();
            assert_eq!(bytes.as_slice(), text.repeat(1_000).as_bytes());
        }
        assert_eq!(directory.atomic_read(Path::new("meta.json"))?, b"{}");
        Ok(())
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = Folder::new();
        let (files, directory) = folder.open();
        read(&directory).unwrap();
        files.check().unwrap();
        files.verify(|_| true).unwrap();
        // A copy with the same content passes the check.
        std::fs::copy(folder.path("a.fast"), folder.path("copy")).unwrap();
        std::fs::rename(folder.path("copy"), folder.path("a.fast")).unwrap();
        files.check().unwrap();
        // A file deleted by Tantivy is not missed; a file deleted by another process is.
        directory.delete(Path::new("a.fast")).unwrap();
        files.check().unwrap();
        std::fs::remove_file(folder.path("b.fast")).unwrap();
        assert!(matches!(files.check(), Err(Error::Damaged { .. })));
    }

    /// Each modification of a file is detected when the file is opened, and on an open index at the next check.
    #[test]
    fn whatever_is_done_to_a_file_is_found() {
        let length = 3_000 + CHECKSUM as u64;
        let swap = |folder: &Folder| {
            std::fs::rename(folder.path("a.fast"), folder.path("c")).unwrap();
            std::fs::rename(folder.path("b.fast"), folder.path("a.fast")).unwrap();
            std::fs::rename(folder.path("c"), folder.path("b.fast")).unwrap();
        };
        let cut = |folder: &Folder, to| {
            let file = File::options().write(true).open(folder.path("a.fast")).unwrap();
            file.set_len(to).unwrap();
        };
        type Damage<'a> = (&'a str, Box<dyn Fn(&Folder) + 'a>);
        let damages: [Damage<'_>; 9] = [
            ("the first bit", Box::new(|folder| folder.flip("a.fast", 0))),
            (
                "one in the middle",
                Box::new(|folder| folder.flip("a.fast", 1_500)),
            ),
            (
                "one of the checksum",
                Box::new(|folder| folder.flip("a.fast", length - 1)),
            ),
            (
                "the list of segments",
                Box::new(|folder| folder.flip("meta.json", 1)),
            ),
            ("a cut", Box::new(|folder| cut(folder, 2_000))),
            ("emptied", Box::new(|folder| cut(folder, 0))),
            ("longer", Box::new(|folder| cut(folder, length + 1))),
            ("swapped", Box::new(swap)),
            (
                "deleted",
                Box::new(|folder| std::fs::remove_file(folder.path("b.fast")).unwrap()),
            ),
        ];
        for (name, damage) in damages {
            let folder = Folder::new();
            let (files, directory) = folder.open();
            read(&directory).unwrap();
            damage(&folder);
            assert!(
                matches!(files.check(), Err(Error::Damaged { .. })),
                "{name}: while it is open"
            );
            assert!(read(&directory).is_err(), "{name}: opened again");
            let (_, directory) = folder.open();
            let error = tantivy::TantivyError::from(read(&directory).unwrap_err());
            assert_eq!(Error::from(error).cause(), Cause::Damage, "{name}");
        }
    }

    /// Bit rot on the disk changes neither length nor times. Simulated by recording the modified file as verified.
    #[test]
    fn bit_rot_is_found_by_reading_again() {
        let folder = Folder::new();
        let (files, directory) = folder.open();
        read(&directory).unwrap();
        folder.flip("b.fast", 700);
        files.written(Path::new("b.fast")).unwrap();
        files.check().unwrap();
        let mut pieces = 0;
        let found = files.verify(|_| {
            pieces += 1;
            true
        });
        assert!(matches!(found, Err(Error::Damaged { .. })), "{found:?}");
        assert!(pieces > 0);
        // If verification stops before the end of a file, it reports no error.
        files.verify(|_| false).unwrap();
        assert!(matches!(files.doubt(), Err(Error::Damaged { .. })));
    }

    #[test]
    fn the_file_of_another_integration_is_not_taken() {
        let (one, other) = (Folder::new(), Folder::new());
        std::fs::copy(one.path("a.fast"), other.path("a.fast")).unwrap();
        assert!(read(&other.open().1).is_err());
    }

    #[test]
    fn a_retired_index_writes_nothing() {
        let folder = Folder::new();
        let (files, directory) = folder.open();
        files.retire();
        assert!(directory.open_write(Path::new("c.fast")).is_err());
        assert!(directory.atomic_write(Path::new("meta.json"), b"{}").is_err());
        assert!(directory.delete(Path::new("a.fast")).is_err());
        assert!(folder.path("a.fast").is_file());
        assert!(matches!(files.check(), Err(Error::Damaged { .. })));
    }

    /// An error of the operating system is not reported as damage.
    #[test]
    fn what_cannot_be_opened_is_not_damaged() {
        let folder = Folder::new();
        let (files, directory) = folder.open();
        // A symbolic link to itself cannot be opened, not even by root.
        std::fs::remove_file(folder.path("a.fast")).unwrap();
        std::os::unix::fs::symlink("a.fast", folder.path("a.fast")).unwrap();
        let error = tantivy::TantivyError::from(read(&directory).unwrap_err());
        assert!(Error::from(error).is_temporary());
        assert!(files.take_refused().is_some());
    }
}
