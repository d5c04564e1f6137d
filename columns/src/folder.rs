//! The files of one index, each compared with the hash that its manifest has of it before it is used.
//!
//! A damaged file would give wrong answers. A verified file is read again only if its length, inode or times change;
//! comparing these takes about a microsecond a file, and is done before and after each search. A watch on the folder would
//! report a change later than the search that reads wrong data.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Error;

/// The length of a hash, in bytes.
pub(crate) const HASH: usize = 32;
/// Bytes read at a time when a file is verified.
const CHUNK: usize = 1 << 20;
/// How often verification is retried if the file is replaced meanwhile.
const TRIES: usize = 5;
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

/// What is known of a file.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// BLAKE3 of its content.
    hash: [u8; HASH],
    /// Its attributes when it was written or verified.
    verified: Option<Stamp>,
}

/// The files of one index. This outlives the opened index: a verified file is not read again when the index is reopened.
pub struct Folder {
    path: PathBuf,
    /// The name of the index; its manifest repeats it, so that the folders of two indexes cannot be exchanged.
    name: String,
    known: Mutex<HashMap<String, Known>>,
    /// The index is being deleted: threads that still use it must not write.
    retired: AtomicBool,
    doubted: Mutex<Option<Instant>>,
}

impl Folder {
    /// The folder of an index. Nothing is read or written.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            name: name.into(),
            known: Mutex::default(),
            retired: AtomicBool::new(false),
            doubted: Mutex::default(),
        }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the index.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes all later writes and deletes fail.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Checks that all files are unchanged since they were verified. Changed files are read again. Blocks.
    ///
    /// # Errors
    /// [`Error::Damaged`], or an error of the operating system.
    pub fn check(&self) -> Result<(), Error> {
        if self.retired.load(Ordering::Acquire) {
            return Err(Error::Damaged("the index is being rebuilt".to_owned()));
        }
        let known: Vec<(String, Known)> = {
            let known = self.known.lock();
            known.iter().map(|(name, known)| (name.clone(), *known)).collect()
        };
        for (name, known) in known {
            match std::fs::metadata(self.path.join(&name)) {
                Ok(now) if known.verified == Some(Stamp::of(&now)) => {}
                Ok(_) => self.sound(&name)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.sound(&name)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads each file again, including unchanged ones. After each chunk, `rest` is called with the time the chunk
    /// took; it returns whether to continue. Blocks.
    ///
    /// # Errors
    /// [`Error::Damaged`], or an error of the operating system.
    pub fn verify(&self, mut rest: impl FnMut(Duration) -> bool) -> Result<(), Error> {
        let names: Vec<String> = self.known.lock().keys().cloned().collect();
        for name in names {
            self.compare(&name, false, &mut rest)?;
        }
        Ok(())
    }

    /// Called after an error with an unknown cause: verifies all files, unless this was done less than a minute ago.
    /// Blocks.
    ///
    /// # Errors
    /// [`Error::Damaged`], or an error of the operating system.
    pub fn doubt(&self) -> Result<(), Error> {
        self.check()?;
        let lately = |last: Instant| last.elapsed() < BETWEEN_DOUBTS;
        if self.doubted.lock().replace(Instant::now()).is_some_and(lately) {
            return Ok(());
        }
        self.verify(|_| true)
    }

    /// Checks that a file has the content that was written; one that is no file of the index any more is not looked at.
    /// Blocks.
    pub(crate) fn sound(&self, name: &str) -> Result<(), Error> {
        self.compare(name, true, &mut |_| true)
    }

    /// Compares a file with its hash. With `trust`, a file with unchanged attributes is not read.
    fn compare(&self, name: &str, trust: bool, rest: &mut impl FnMut(Duration) -> bool) -> Result<(), Error> {
        let full = self.path.join(name);
        for _ in 0..TRIES {
            let Some(known) = self.known.lock().get(name).copied() else {
                return Ok(());
            };
            let opened = File::open(&full).and_then(|file| Ok((Stamp::of(&file.metadata()?), file)));
            let (before, mut file) = match opened {
                Ok(opened) => opened,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // It may have been removed on purpose meanwhile.
                    if self.known.lock().contains_key(name) {
                        return Err(Error::damaged(name, "is missing"));
                    }
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            if trust && known.verified == Some(before) {
                return Ok(());
            }
            let Some(hash) = hash_of(&mut file, rest)? else {
                return Ok(());
            };
            if Stamp::of(&file.metadata()?) != before {
                continue;
            }
            let mut all = self.known.lock();
            match all.get_mut(name) {
                // Replaced by a later commit meanwhile.
                Some(now) if now.hash != known.hash => {}
                Some(now) if hash == now.hash => {
                    now.verified = Some(before);
                    return Ok(());
                }
                Some(_) => return Err(Error::damaged(name, "does not match its hash")),
                None => return Ok(()),
            }
        }
        Err(Error::damaged(name, "keeps changing while it is read"))
    }

    /// Adds a file of the manifest that was read. It is verified before it is used.
    pub(crate) fn expect(&self, name: &str, hash: [u8; HASH]) {
        let known = Known { hash, verified: None };
        let mut all = self.known.lock();
        match all.get(name) {
            Some(there) if there.hash == hash => {}
            _ => {
                all.insert(name.to_owned(), known);
            }
        }
    }

    /// Adds a file that was just written.
    pub(crate) fn written(&self, name: &str, hash: [u8; HASH]) -> io::Result<()> {
        let stamp = Stamp::of(&std::fs::metadata(self.path.join(name))?);
        let known = Known {
            hash,
            verified: Some(stamp),
        };
        self.known.lock().insert(name.to_owned(), known);
        Ok(())
    }

    /// Deletes all files but these. Files that searches have mapped stay readable for them.
    pub(crate) fn keep(&self, names: &dyn Fn(&str) -> bool) -> io::Result<()> {
        self.writable()?;
        // Do this first: a check that finds a file missing must know that it was deleted on purpose.
        self.known.lock().retain(|name, _| names(name));
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let kept = entry.file_name().to_str().is_some_and(names);
            if !kept && !entry.file_type()?.is_dir() {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Reads a whole file.
    pub(crate) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        std::fs::read(self.path.join(name))
    }

    /// Writes a file and makes it durable; its name appears with its whole content.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.writable()?;
        let new = self.path.join(format!("{name}.new"));
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, self.path.join(name))?;
        self.sync()?;
        self.written(name, *blake3::hash(bytes).as_bytes())
    }

    /// Makes the names of files durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    pub(crate) fn writable(&self) -> io::Result<()> {
        if self.retired.load(Ordering::Acquire) {
            return Err(io::Error::other("this index is being deleted"));
        }
        Ok(())
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The hash of a file; `None` if `rest` stopped the reading.
fn hash_of(file: &mut File, rest: &mut impl FnMut(Duration) -> bool) -> io::Result<Option<[u8; HASH]>> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        let started = Instant::now();
        let read = match file.read(&mut buffer) {
            Ok(0) => return Ok(Some(*hasher.finalize().as_bytes())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..read]);
        if !rest(started.elapsed()) {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests;
