//! The files of one index, each with a checksum that is compared before the library may open the file.
//!
//! Tantivy writes a checksum at the end of each segment file and never compares it, has none for the list of segments, and
//! none of them would notice that two files changed places. From a damaged file it returns wrong documents, panics, which
//! in one of its threads ends the process, or allocates without end. So [`Verified`](super::directory::Verified) appends 16
//! bytes to every file: the BLAKE3 hash of the integration, the file's name and its content. A file that was verified is
//! not read again until its length, inode or times change; looking at these costs a microsecond a file, and is done before
//! and after each search.

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
/// How often a file that is replaced while it is verified is tried again.
pub(super) const TRIES: usize = 5;
/// Least time between two complete readings of one index because of an error that its files do not explain.
const BETWEEN_DOUBTS: Duration = Duration::from_secs(60);

/// What changes about a file when anything writes to it or puts another in its place.
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

/// What is known of the files of one integration's index. It outlives the opened index: what was verified once needs no
/// second reading when the index is opened again.
pub(super) struct Files {
    integration: IntegrationId,
    folder: PathBuf,
    /// The files that the index consists of, as they were when they were written or verified.
    verified: Mutex<HashMap<PathBuf, Stamp>>,
    /// The index is being deleted: threads that still hold it must not write.
    retired: AtomicBool,
    /// The last error of the operating system: the library's threads report theirs without its number.
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

    /// From now on, writes and deletes through this index fail.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// The last error of the operating system since the last call.
    pub(super) fn take_refused(&self) -> Option<i32> {
        self.refused.lock().take()
    }

    /// Whether all files are as they were when they were verified. What has changed is read again. Blocks.
    ///
    /// # Errors
    /// [`Error::Damaged`]; or the operating system refuses.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.retired.load(Ordering::Acquire) {
            return Err(self.damage("it is being built again"));
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

    /// Reads every file again, also those that look unchanged. `rest` is called with the time that each piece took, and
    /// returns whether to go on. Blocks.
    ///
    /// # Errors
    /// [`Error::Damaged`]; or the operating system refuses.
    pub(super) fn verify(&self, mut rest: impl FnMut(Duration) -> bool) -> Result<(), Error> {
        let paths: Vec<PathBuf> = self.verified.lock().keys().cloned().collect();
        for path in paths {
            self.is_sound(&path, false, &mut rest)?;
        }
        Ok(())
    }

    /// After an error that says nothing of the files: verifies them all, unless that was done a moment ago. Blocks.
    ///
    /// # Errors
    /// [`Error::Damaged`]; or the operating system refuses.
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

    /// Whether a file is what was written; one that is not there and was never known is sound. Blocks.
    ///
    /// # Errors
    /// [`Error::Damaged`]; or the operating system refuses.
    pub(super) fn sound(&self, path: &Path) -> Result<(), Error> {
        self.is_sound(path, true, &mut |_| true)
    }

    /// Whether a file of the index is what was written.
    fn is_sound(
        &self,
        path: &Path,
        trust: bool,
        rest: &mut impl FnMut(Duration) -> bool,
    ) -> Result<(), Error> {
        match self.compare(path, trust, rest) {
            // The library has deleted it meanwhile.
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

    /// Compares a file with its checksum, unless it looks as it did the last time and that is trusted.
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
                return Err(damaged(path, "does not fit its checksum"));
            }
            self.verified.lock().insert(path.to_owned(), before);
            return Ok(());
        }
        Err(damaged(path, "is changed again and again"))
    }

    /// Whether the content fits the checksum behind it; `None` if it should not be read to its end.
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

    /// A file was written: it is known as it is now.
    pub(super) fn written(&self, path: &Path) -> io::Result<()> {
        let stamp = Stamp::of(&std::fs::metadata(self.folder.join(path))?);
        self.verified.lock().insert(path.to_owned(), stamp);
        Ok(())
    }

    /// Whether a file is the one that was verified.
    pub(super) fn is_verified(&self, path: &Path, is: &Metadata) -> bool {
        self.verified.lock().get(path) == Some(&Stamp::of(is))
    }

    /// The library deletes a file.
    pub(super) fn forget(&self, path: &Path) {
        self.verified.lock().remove(path);
    }

    /// Remembers an error of the operating system.
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
        // A copy of the same content is the same file.
        std::fs::copy(folder.path("a.fast"), folder.path("copy")).unwrap();
        std::fs::rename(folder.path("copy"), folder.path("a.fast")).unwrap();
        files.check().unwrap();
        // What the library deletes is not missed; what anybody else deletes is.
        directory.delete(Path::new("a.fast")).unwrap();
        files.check().unwrap();
        std::fs::remove_file(folder.path("b.fast")).unwrap();
        assert!(matches!(files.check(), Err(Error::Damaged { .. })));
    }

    /// Whatever is done to a file is found when it is opened, and under an open index when it is looked at.
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

    /// Bit rot on the disk changes neither length nor times. Simulated by taking the changed file for a verified one.
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
        // Stopped before the end of a file, nothing is said of it.
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

    /// An error of the operating system is not damage.
    #[test]
    fn what_cannot_be_opened_is_not_damaged() {
        let folder = Folder::new();
        let (files, directory) = folder.open();
        // A link to itself cannot be opened, not even by root.
        std::fs::remove_file(folder.path("a.fast")).unwrap();
        std::os::unix::fs::symlink("a.fast", folder.path("a.fast")).unwrap();
        let error = tantivy::TantivyError::from(read(&directory).unwrap_err());
        assert!(Error::from(error).is_temporary());
        assert!(files.take_refused().is_some());
    }
}
