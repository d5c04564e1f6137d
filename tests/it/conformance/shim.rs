//! Defects that no connector of the SDK can have: a library in C in front of the dummy's changes what it
//! passes on.

use std::path::Path;
use std::process::Command;

use sha2::{Digest as _, Sha256};

use super::{copy, fails};
use crate::support::connectors;

const SHIM: &str = include_str!("shim.c");

/// The dummy's folder with the shim as its library.
fn shim(defect: &str) -> tempfile::TempDir {
    let folder = copy("dummy", |text| text);
    let to = folder.path().join("dummy");
    let source = folder.path().join("shim.c");
    std::fs::write(&source, SHIM).unwrap();
    let dummy = std::fs::read_dir(connectors::folder().join("dummy"))
        .unwrap()
        .flatten()
        .map(|file| file.path());
    let dummy = dummy
        .filter(|path| path.extension().is_some_and(|end| end == "so" || end == "dylib"))
        .last()
        .unwrap();
    let library = to.join("shim.so");
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/abi");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(&source)
        .arg(format!("-I{}", header.display()))
        .arg(format!("-DDUMMY=\"{}\"", dummy.display()))
        .args([&format!("-D{defect}"), "-ldl", "-lpthread"])
        .status()
        .unwrap();
    assert!(built.success(), "the shim does not build");
    let hash: String = Sha256::digest(std::fs::read(&library).unwrap())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let manifest = to.join("connector.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let (head, _) = text.split_once("[library.").unwrap();
    let platform = tether_connector_host::manifest::platform();
    let text = format!("{head}[library.\"{platform}\"]\npath = \"shim.so\"\nsha256 = \"{hash}\"\n");
    std::fs::write(manifest, text).unwrap();
    folder
}

#[tokio::test]
async fn defects_at_the_boundary_itself_are_found() {
    for (defect, isolation, id, reason) in [
        (
            "DROPS_ANSWERS_AT_CLOSE",
            "child",
            "time.close",
            "had no answer when closing returned",
        ),
        (
            "DROPS_ANSWERS_AT_CLOSE",
            "in-process",
            "time.close",
            "had no answer when closing returned",
        ),
        (
            "ANSWERS_TWICE",
            "in-process",
            "time.cancel",
            "each call must be answered once",
        ),
        (
            "CRASHES_ON_MALFORMED_REQUESTS",
            "child",
            "request.malformed",
            "SIGSEGV",
        ),
        (
            "IGNORES_MALFORMED_REQUESTS",
            "in-process",
            "request.malformed",
            "no answer",
        ),
        (
            "IGNORES_UNKNOWN_INSTANCES",
            "in-process",
            "request.numbers",
            "unassigned instance",
        ),
    ] {
        fails(&shim(defect), isolation, id, reason).await;
    }
}
