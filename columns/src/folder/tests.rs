use super::*;
use std::os::unix::fs::FileExt as _;

struct Files {
    folder: tempfile::TempDir,
    files: Folder,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = Folder::new(folder.path(), "one");
        for (name, text) in [("a.rows", "one"), ("b.rows", "two")] {
            files.write(name, text.repeat(1_000).as_bytes()).unwrap();
        }
        files.check().unwrap();
        Self { folder, files }
    }

    /// As another process knows the same files.
    fn again(&self) -> Folder {
        let again = Folder::new(self.folder.path(), "one");
        for (name, known) in self.files.known.lock().iter() {
            again.expect(name, known.hash);
        }
        again
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

#[test]
fn what_was_written_is_sound() {
    let files = Files::new();
    files.again().check().unwrap();
    files.files.verify(|_| true).unwrap();
    // A copy with the same content passes the check.
    std::fs::copy(files.path("a.rows"), files.path("copy")).unwrap();
    std::fs::rename(files.path("copy"), files.path("a.rows")).unwrap();
    files.files.check().unwrap();
    // A file that the index deletes is not missed; a file deleted by another process is.
    files.files.keep(&|name| name != "a.rows").unwrap();
    assert!(!files.path("a.rows").exists());
    files.files.check().unwrap();
    std::fs::remove_file(files.path("b.rows")).unwrap();
    assert!(matches!(files.files.check(), Err(Error::Damaged(_))));
}

/// Each modification of a file is detected when another process opens it, and on an open index at the next check.
#[test]
fn whatever_is_done_to_a_file_is_found() {
    let swap = |files: &Files| {
        std::fs::rename(files.path("a.rows"), files.path("c")).unwrap();
        std::fs::rename(files.path("b.rows"), files.path("a.rows")).unwrap();
        std::fs::rename(files.path("c"), files.path("b.rows")).unwrap();
    };
    let cut = |files: &Files, to| {
        let file = File::options().write(true).open(files.path("a.rows")).unwrap();
        file.set_len(to).unwrap();
    };
    type Damage = Box<dyn Fn(&Files)>;
    let damages: Vec<Damage> = vec![
        Box::new(|files| files.flip("a.rows", 0)),
        Box::new(|files| files.flip("b.rows", 2_999)),
        Box::new(swap),
        Box::new(move |files| cut(files, 0)),
        Box::new(move |files| cut(files, 2_999)),
        Box::new(|files| std::fs::remove_file(files.path("a.rows")).unwrap()),
        Box::new(|files| {
            let mut file = File::options().append(true).open(files.path("a.rows")).unwrap();
            file.write_all(b"x").unwrap();
        }),
    ];
    for (at, damage) in damages.iter().enumerate() {
        let files = Files::new();
        damage(&files);
        assert!(matches!(files.files.check(), Err(Error::Damaged(_))), "{at}");
        assert!(matches!(files.again().check(), Err(Error::Damaged(_))), "{at}");
    }
}

#[test]
fn bit_rot_is_found_by_reading_again() {
    let files = Files::new();
    let times = std::fs::metadata(files.path("a.rows")).unwrap();
    files.flip("a.rows", 77);
    let file = File::options().write(true).open(files.path("a.rows")).unwrap();
    file.set_modified(times.modified().unwrap()).unwrap();
    assert!(matches!(files.files.verify(|_| true), Err(Error::Damaged(_))));
}

#[test]
fn a_retired_index_is_not_written() {
    let files = Files::new();
    files.files.retire();
    assert!(files.files.write("c", b"").is_err());
    assert!(files.files.keep(&|_| false).is_err());
    assert!(files.path("a.rows").exists());
}
