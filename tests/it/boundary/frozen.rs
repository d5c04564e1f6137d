//! Released versions keep working: a library built from a frozen header loads in the current host, and the
//! current library works in a host built from a frozen header. The sources are in `connectors/abi/frozen`,
//! built only with the header beside them.

use std::path::{Path, PathBuf};
use std::process::Command;

use tether::connectors::proto::{ErrorKind, ListFieldsRequest, ReadMode, ReadRequest};
use tether::connectors::{ConnectorOptions, Status};

use super::{connection, soon};
use crate::support::connectors;

fn frozen(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("connectors/abi/frozen")
        .join(version)
}

/// Builds one of the sources into a folder.
fn build(version: &str, source: &str, flags: &[&str], out: &Path) {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let built = Command::new(compiler)
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .arg(frozen(version))
        .arg(frozen(version).join(source))
        .arg("-o")
        .arg(out)
        .args(flags)
        .status();
    assert!(built.expect("a C compiler").success(), "{source} does not build");
}

#[tokio::test]
async fn a_library_of_v1_0_loads_today() {
    a_library_of_v1_0(true).await;
}

#[tokio::test]
async fn a_library_of_v1_0_loads_today_in_a_child() {
    a_library_of_v1_0(false).await;
}

async fn a_library_of_v1_0(trusted: bool) {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("minimal.so");
    build("v1.0", "minimal.c", &["-shared", "-fPIC"], &library);
    connectors::lay_out(folder.path(), "minimal", &std::fs::read(&library).unwrap());
    let options = ConnectorOptions {
        trusted,
        ..ConnectorOptions::default()
    };
    let registry = connectors::registry_with(folder.path().to_owned(), "minimal", options).await;
    let listed = registry.list().pop().expect("it is listed");
    assert_eq!(listed.status, Status::Ready);
    let connector = registry.get("minimal").unwrap();
    assert_eq!(connector.describe().display_name, "Minimal");
    assert_eq!(connector.describe().objects[0].label, "Companies");

    // It reports fields that it does not know, and continues.
    let request = ListFieldsRequest {
        connection: Some(connection(&[])),
        objects: Vec::new(),
    };
    let error = connector.list_fields(request, soon()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let request = ReadRequest {
        connection: Some(connection(&[])),
        mode: ReadMode::Full.into(),
        ..ReadRequest::default()
    };
    let error = connector.read(request, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(registry.list()[0].status, Status::Ready);
}

#[test]
fn a_library_of_today_works_in_a_host_of_v1_0() {
    let folder = tempfile::tempdir().unwrap();
    let host = folder.path().join("host");
    build("v1.0", "host.c", &["-ldl", "-lpthread"], &host);
    let library = connectors::library("dummy");
    let output = Command::new(host).arg(library).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "dummy\n");
}
