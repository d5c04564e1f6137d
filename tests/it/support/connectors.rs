//! The connectors of this repository, laid out by `cargo xtask connectors`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tether::connectors::{ConnectorOptions, Options, Registry};

/// The folder with the connectors. Fails with what to do where it is not there.
pub(crate) fn folder() -> PathBuf {
    // Cargo says where the target folder is only in this way.
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

/// A registry of what is in a folder, with settings for the dummy, which runs here or in a child.
pub(crate) async fn registry_of(folder: PathBuf, settings: &[(&str, &str)], trusted: bool) -> Registry {
    super::logs::capture();
    let settings = settings
        .iter()
        .map(|&(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let dummy = ConnectorOptions {
        settings,
        trusted,
        ..ConnectorOptions::default()
    };
    let connectors = BTreeMap::from([("dummy".to_owned(), dummy)]);
    Options {
        folders: vec![folder],
        connectors,
        program: Some(super::server::program()),
        ..Options::default()
    }
    .build()
    .await
}

/// A registry of the connectors of this repository, where the dummy runs here or in a child.
pub(crate) async fn registry(settings: &[(&str, &str)], trusted: bool) -> Registry {
    registry_of(folder(), settings, trusted).await
}
