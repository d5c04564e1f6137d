//! The libraries of tests/broken: compiled once, and laid out as connectors.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use sha2::{Digest as _, Sha256};
use tether::connectors::manifest::platform;

/// A library of the corpus.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    /// The name of the file and of the connector.
    pub(super) name: String,
    /// The defect: the first line of the file.
    pub(super) defect: String,
    library: PathBuf,
}

fn hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All libraries of the corpus, by name. A library that has not changed since it was compiled is not compiled
/// again.
pub(super) fn all() -> Vec<Broken> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (sources, include) = (root.join("tests/broken"), root.join("connectors/abi"));
    let read =
        |path: PathBuf| fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let shared = [
        read(include.join("tether_connector.h")),
        read(sources.join("base.h")),
        read(sources.join("entry.h")),
    ]
    .concat();
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("broken");
    fs::create_dir_all(&built).unwrap();
    let mut to_compile = Vec::new();
    let mut libraries = Vec::new();
    for file in fs::read_dir(&sources).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_none_or(|end| end != "c") {
            continue;
        }
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = read(file.clone());
        let first = text.lines().next().unwrap_or_default();
        let defect = first
            .strip_prefix("/* ")
            .and_then(|rest| rest.strip_suffix(" */"));
        let made_of = hash([&shared, &text, &name].map(String::as_str).concat().as_bytes());
        let library = built.join(format!("{name}-{}.so", &made_of[..16]));
        if !library.is_file() {
            to_compile.push((name.clone(), file, library.clone()));
        }
        libraries.push(Broken {
            defect: defect
                .unwrap_or_else(|| panic!("{name}.c does not begin with its defect"))
                .to_owned(),
            name,
            library,
        });
    }
    compile(to_compile, &include);
    libraries.sort_by(|a, b| a.name.cmp(&b.name));
    libraries
}

fn compile(sources: Vec<(String, PathBuf, PathBuf)>, include: &Path) {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let sources = Mutex::new(sources);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some((name, source, library)) = sources.lock().unwrap().pop() else {
                        return;
                    };
                    // Another process may compile the same library at this moment.
                    let made = library.with_extension(format!("so-{}", std::process::id()));
                    let status = Command::new(&compiler)
                        .args([
                            "-O0", "-g", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread",
                        ])
                        .arg(format!("-DNAME=\"{name}\""))
                        .arg("-I")
                        .arg(include)
                        .arg("-o")
                        .args([&made, &source])
                        .status()
                        .expect("a C compiler");
                    assert!(status.success(), "{} does not compile", source.display());
                    fs::rename(made, library).unwrap();
                }
            });
        }
    });
}

impl Broken {
    /// Lays it out in a folder of connectors.
    pub(super) fn lay_out(&self, folder: &Path) {
        let own = folder.join(&self.name);
        fs::create_dir_all(&own).unwrap();
        let bytes = fs::read(&self.library).unwrap();
        fs::write(own.join("lib.so"), &bytes).unwrap();
        let sha256 = match &*self.name {
            "wrong-hash" => hash(b"another library"),
            _ => hash(&bytes),
        };
        let manifest = format!(
            "manifest_version = 1\nname = \"{}\"\nversion = \"1.0.0\"\ncontract = \"tether.connector.v1\"\n\
             isolation = \"in_process\"\n[library.\"{}\"]\npath = \"lib.so\"\nsha256 = \"{sha256}\"\n",
            self.name,
            platform()
        );
        fs::write(own.join("connector.toml"), manifest).unwrap();
    }
}
