//! The connectors of this repository, laid out by `cargo xtask connectors`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tether::connectors::manifest::platform;
use tether::connectors::{ConnectorOptions, Options, Registry};

/// The folder with the connectors. If it does not exist, the test fails with instructions.
pub(crate) fn folder() -> PathBuf {
    // Cargo provides the target folder in no other way.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("a target folder");
    let folder = target.join("connectors");
    assert!(
        folder.join("dummy/connector.toml").is_file(),
        "{} has no connectors: run `cargo xtask connectors` first (with the same CARGO_TARGET_DIR)",
        folder.display()
    );
    folder
}

/// The built library of a connector.
pub(crate) fn library(name: &str) -> PathBuf {
    let files = fs::read_dir(folder().join(name)).expect("its folder");
    let mut files = files.map(|file| file.expect("a file").path());
    files
        .find(|path| {
            path.extension()
                .is_some_and(|end| end == std::env::consts::DLL_EXTENSION)
        })
        .expect("its library")
}

/// Lays a connector out in a folder, as an operator would.
pub(crate) fn lay_out(folder: &Path, name: &str, library: &[u8]) {
    let hash: String = Sha256::digest(library)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let platform = platform();
    let manifest = format!(
        "manifest_version = 1\nname = \"{name}\"\nversion = \"1.0.0\"\ncontract = \"tether.connector.v1\"\n\
         isolation = \"in_process\"\n[library.\"{platform}\"]\npath = \"lib.so\"\nsha256 = \"{hash}\"\n"
    );
    fs::create_dir_all(folder.join(name)).expect("a folder");
    fs::write(folder.join(name).join("lib.so"), library).expect("a library");
    fs::write(folder.join(name).join("connector.toml"), manifest).expect("a manifest");
}

/// A registry of a folder, with options for one connector.
pub(crate) async fn registry_with(folder: PathBuf, name: &str, options: ConnectorOptions) -> Registry {
    super::logs::capture();
    let connectors = BTreeMap::from([(name.to_owned(), options)]);
    let folders = vec![folder];
    Options {
        folders,
        connectors,
        program: Some(super::server::program()),
        ..Options::default()
    }
    .build()
    .await
}

/// A registry of a folder, with settings for the dummy, which runs in this process or in a child.
pub(crate) async fn registry_of(folder: PathBuf, settings: &[(&str, &str)], trusted: bool) -> Registry {
    let settings = settings
        .iter()
        .map(|&(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let dummy = ConnectorOptions {
        settings,
        trusted,
        ..ConnectorOptions::default()
    };
    registry_with(folder, "dummy", dummy).await
}

/// A registry of this repository's connectors, where the dummy runs in this process or in a child.
pub(crate) async fn registry(settings: &[(&str, &str)], trusted: bool) -> Registry {
    registry_of(folder(), settings, trusted).await
}
