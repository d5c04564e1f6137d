//! The data directory: its permissions, and whether it is writable.
//!
//! It has the SQLite database, the search index (also with PostgreSQL) and the keys of `--dev`. Only the user of the
//! server may read these files, whatever the umask at start.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::config::Error;

/// Mode bits of the group and of others.
const OTHERS: u32 = 0o077;
/// Prefixes of the names of tether's own files in the folder; the index is a folder.
const OURS: [&str; 4] = ["tether.db", "index", "dev-signing.key", "dev-sealing.key"];

/// Sets the umask, so that new files and folders are accessible to this user only.
pub fn close_umask() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(OTHERS));
}

/// Creates the folder if it does not exist, checks that it is writable, and removes the access of other users to it,
/// to tether's own files in it, and to `database` with its companion files.
///
/// # Errors
/// It cannot be created or written. The error names the folder.
pub fn prepare(folder: &Path, database: Option<&Path>) -> Result<(), Error> {
    let wrong = |cause: io::Error| {
        Error::Rule(format!(
            "data_dir = {}: tether cannot write there ({cause}). It keeps its database or search index in this folder: make it \
             writable for user {}, or name another one",
            folder.display(),
            rustix::process::geteuid().as_raw()
        ))
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(wrong)?;
    // Permissions alone are not enough: the file system may be read-only or full.
    drop(
        tempfile::Builder::new()
            .prefix(".writable-")
            .tempfile_in(folder)
            .map_err(wrong)?,
    );
    close(folder);
    for entry in fs::read_dir(folder).map_err(wrong)?.flatten() {
        let name = entry.file_name();
        if OURS.iter().any(|ours| name.to_string_lossy().starts_with(ours)) {
            close_all(&entry.path());
        }
    }
    if let Some(database) = database {
        for beside in ["", "-wal", "-shm"] {
            let mut path = database.as_os_str().to_owned();
            path.push(beside);
            close(Path::new(&path));
        }
    }
    Ok(())
}

fn close_all(path: &Path) {
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        close(&path);
        // Do not follow symbolic links.
        let folder = fs::symlink_metadata(&path).is_ok_and(|of| of.is_dir());
        if let Some(entries) = folder.then(|| fs::read_dir(&path).ok()).flatten() {
            waiting.extend(entries.flatten().map(|entry| entry.path()));
        }
    }
}

/// Removes the permissions of the group and of others; logs an error if that fails.
fn close(path: &Path) {
    let Ok(of) = fs::symlink_metadata(path) else {
        return;
    };
    if of.is_symlink() || of.permissions().mode() & OTHERS == 0 {
        return;
    }
    let mode = of.permissions().mode() & 0o7777 & !OTHERS;
    let closed = match mine(&of) {
        true => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        false => Err(io::Error::other(format!("it belongs to user {}", of.uid()))),
    };
    match closed {
        Ok(()) => tracing::warn!("{} was open to other users: removed their access", path.display()),
        Err(error) => tracing::error!(
            "{} is open to other users, and their access cannot be removed: {error}",
            path.display()
        ),
    }
}

fn mine(of: &Metadata) -> bool {
    let user = rustix::process::geteuid();
    of.uid() == user.as_raw() || user.is_root()
}

/// The file of a database URL `sqlite:PATH`.
#[must_use]
pub fn sqlite_file(url: &str) -> Option<PathBuf> {
    url.strip_prefix("sqlite:").map(PathBuf::from)
}

/// Writes a file that only its owner can read, atomically.
///
/// # Errors
/// The folder or the file cannot be written.
pub fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let staged = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&staged)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&staged, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_was_open_is_closed_and_nothing_else_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir_all(data.join("index/one")).unwrap();
        for (file, bits) in [
            ("tether.db", 0o644),
            ("tether.db-wal", 0o666),
            ("index/one/segment", 0o664),
            ("dev-sealing.key", 0o640),
            ("notes.txt", 0o644),
        ] {
            fs::write(data.join(file), "").unwrap();
            fs::set_permissions(data.join(file), fs::Permissions::from_mode(bits)).unwrap();
        }
        for folder in [&data, &data.join("index"), &data.join("index/one")] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let elsewhere = folder.path().join("elsewhere.db");
        fs::write(&elsewhere, "").unwrap();
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o644)).unwrap();
        prepare(&data, Some(&elsewhere)).unwrap();
        for (path, bits) in [
            (data.clone(), 0o700),
            (data.join("tether.db"), 0o600),
            (data.join("tether.db-wal"), 0o600),
            (data.join("index"), 0o700),
            (data.join("index/one"), 0o700),
            (data.join("index/one/segment"), 0o600),
            (data.join("dev-sealing.key"), 0o600),
            (elsewhere, 0o600),
            // A file that tether did not create.
            (data.join("notes.txt"), 0o644),
        ] {
            assert_eq!(mode(&path), bits, "{}", path.display());
        }
        assert_eq!(
            fs::read_dir(&data).unwrap().count(),
            5,
            "nothing is left of the trial"
        );
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        // Root may write into a folder of mode 0500. But no user can create a folder below a file, or a file in
        // /proc.
        for data in [file.join("data"), PathBuf::from("/proc/self")] {
            let error = prepare(&data, None).unwrap_err().to_string();
            let expected = format!("data_dir = {}: tether cannot write there", data.display());
            assert!(error.contains(&expected), "{error}");
        }
    }
}
