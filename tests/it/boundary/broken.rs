//! Libraries and folders that must be refused, with a reason that names the remedy.

use std::fs;
use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};
use tether::connectors::Status;
use tether::connectors::manifest::platform;

use super::dummy;
use crate::support::connectors;

/// A folder with one connector `dummy`, whose library is `bytes`.
fn lay_out(folder: &Path, bytes: &[u8]) {
    fs::create_dir_all(folder.join("dummy")).unwrap();
    fs::write(folder.join("dummy/lib.so"), bytes).unwrap();
    manifest(folder, "lib.so", &hash(bytes));
}

fn manifest(folder: &Path, path: &str, sha256: &str) {
    let text = format!(
        "manifest_version = 1\nname = \"dummy\"\nversion = \"1.0.0\"\ncontract = \"tether.connector.v1\"\n\
         isolation = \"in_process\"\n[library.\"{}\"]\npath = \"{path}\"\nsha256 = \"{sha256}\"\n",
        platform()
    );
    fs::write(folder.join("dummy/connector.toml"), text).unwrap();
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

async fn reason(folder: &Path) -> String {
    let registry = connectors::registry_of(folder.to_owned(), &[], true).await;
    let listed = registry.list().pop().expect("it is listed");
    match listed.status {
        Status::Failed { reason } => reason,
        other => panic!("{other:?}"),
    }
}

/// A library written in C against the header.
fn compile(folder: &Path, source: &str) -> Vec<u8> {
    let (file, library) = (folder.join("broken.c"), folder.join("broken.so"));
    fs::write(&file, source).unwrap();
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/abi");
    let mut command = Command::new(compiler);
    command
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg("-I")
        .arg(include)
        .arg(&file);
    assert!(command.status().expect("a C compiler").success());
    fs::read(library).unwrap()
}

#[tokio::test]
async fn libraries_that_are_no_connectors_are_refused() {
    let entry = |body: &str| {
        format!(
            "#include \"tether_connector.h\"\n\
             static int32_t o(uint64_t h, tether_slice r, uint64_t *out, tether_buffer *err) {{ return TETHER_OK; }}\n\
             static void c(uint64_t i, uint64_t c, tether_slice r) {{}}\n\
             int32_t tether_connector_v1(const tether_host_api *host, tether_connector_api *api, tether_buffer *err) \
             {{ {body} }}"
        )
    };
    for (source, expected) in [
        (
            "int nothing(void) { return 0; }".to_owned(),
            "does not export tether_connector_v1",
        ),
        (entry("return TETHER_ERROR;"), "did not say why"),
        (
            entry("api->struct_size = 8; return TETHER_OK;"),
            "its table has 8 bytes",
        ),
        (
            entry("api->struct_size = 4096; return TETHER_OK;"),
            "its table has 4096 bytes",
        ),
        (
            entry("api->open = o; api->call = c; return TETHER_OK;"),
            "its table has no cancel",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let library = compile(folder.path(), &source);
        lay_out(folder.path(), &library);
        let reason = reason(folder.path()).await;
        assert!(
            reason.contains(expected) && reason.contains("lib.so"),
            "{expected}: {reason}"
        );
    }
}

#[tokio::test]
async fn files_that_are_not_what_the_manifest_says_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    lay_out(folder, b"not a library");
    let why = reason(folder).await;
    assert!(why.contains("lib.so"), "{why}");

    manifest(folder, "lib.so", &hash(b"another"));
    let why = reason(folder).await;
    assert!(
        why.contains("it was not loaded") && why.contains(&hash(b"another")),
        "{why}"
    );

    fs::write(folder.join("outside.so"), b"x").unwrap();
    for path in ["../outside.so", "/etc/hostname", "sub/../../outside.so"] {
        manifest(folder, path, &hash(b"x"));
        let why = reason(folder).await;
        assert!(why.contains("leaves its folder"), "{path}: {why}");
    }
    std::os::unix::fs::symlink(folder.join("outside.so"), folder.join("dummy/link.so")).unwrap();
    manifest(folder, "link.so", &hash(b"x"));
    assert!(reason(folder).await.contains("leaves its folder"));

    manifest(folder, "missing.so", &hash(b"x"));
    assert!(reason(folder).await.contains("missing.so"));

    for (line, expected) in [
        ("manifest_version = 2", "manifest_version"),
        ("name = \"Other\"", "name"),
        ("contract = \"tether.connector.v9\"", "contract"),
        ("surprise = 1", "surprise"),
    ] {
        let mut lines = vec![
            "manifest_version = 1",
            "name = \"dummy\"",
            "version = \"1\"",
            "contract = \"tether.connector.v1\"",
        ];
        let key = line.split(' ').next().unwrap();
        lines.retain(|other| !other.starts_with(key));
        lines.push(line);
        fs::write(folder.join("dummy/connector.toml"), lines.join("\n")).unwrap();
        let why = reason(folder).await;
        assert!(why.contains(expected), "{line}: {why}");
    }
}

#[tokio::test]
async fn a_rescan_adds_and_never_takes_away() {
    let built = connectors::folder().join("dummy");
    let folder = tempfile::tempdir().unwrap();
    let registry = connectors::registry_of(folder.path().to_owned(), &[], true).await;
    assert!(registry.list().is_empty());

    let library = fs::read_dir(&built).unwrap().map(|file| file.unwrap().path());
    let library = library
        .into_iter()
        .find(|path| path.extension().is_some_and(|end| end == "so"))
        .unwrap();
    lay_out(folder.path(), &fs::read(library).unwrap());
    registry.rescan().await;
    let first = registry.get("dummy").expect("it was found");

    lay_out(folder.path(), b"a broken update");
    registry.rescan().await;
    let second = registry.get("dummy").expect("it is still there");
    assert_eq!(first.describe(), second.describe());
}

#[tokio::test]
async fn two_registries_share_a_library() {
    let (first, _) = dummy(&[], true).await;
    let (_second, connector) = dummy(&[("companies", "3")], true).await;
    drop(first);
    assert_eq!(super::everything(&connector).await.len(), 3);
}
