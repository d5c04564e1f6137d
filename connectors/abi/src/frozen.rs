//! Released headers never change, and the current types have the same layout as the frozen headers.
//!
//! A test of the server checks that libraries built from them load, and that current libraries work in hosts built
//! from them (`tests/it/boundary/frozen.rs`).

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::compiler::{Checks, Language, compile};
use crate::{CONNECTOR_API_SIZE_0, HOST_API_SIZE_0};

const V1_0: &str = "a0f36b129170ddeb8e2bfc687c58f09538fc0ae48d8d4a2c6498c8ee88723937";

fn v1_0() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("frozen/v1.0")
}

#[test]
fn frozen_headers_never_change() {
    let header = std::fs::read(v1_0().join("tether_connector.h")).unwrap();
    let hash: String = Sha256::digest(header)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        hash, V1_0,
        "frozen/v1.0/tether_connector.h was changed: put it back"
    );
}

#[test]
fn what_was_released_is_where_it_was() {
    let mut checks = Checks::of_today();
    checks.value("sizeof(tether_host_api)", HOST_API_SIZE_0 as usize);
    checks.value("sizeof(tether_connector_api)", CONNECTOR_API_SIZE_0 as usize);
    checks.value("TETHER_CONNECTOR_MINOR", 0);
    compile(&v1_0(), checks.source(), Language::C11);
}

/// The library and the host of the frozen header compile with both headers.
#[test]
fn what_was_written_for_it_compiles_today() {
    for name in ["minimal.c", "host.c"] {
        let source = std::fs::read_to_string(v1_0().join(name)).unwrap();
        for header in [v1_0().as_path(), Path::new(env!("CARGO_MANIFEST_DIR"))] {
            compile(header, &source, Language::C11);
        }
    }
}
