//! The C header: generated from the types of this crate, checked in, and verified with a C compiler.
//!
//! `TETHER_UPDATE_HEADER=1 cargo test -p tether-connector-abi` generates it. Review the changes before you commit:
//! members are only added at the end of the tables, and any other change requires a new major version.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::compiler::{Checks, Language, compile};

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn generated() -> String {
    let config = cbindgen::Config::from_file(folder().join("cbindgen.toml")).expect("cbindgen.toml");
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_crate(folder())
        .generate()
        .expect("a header");
    let mut text = Vec::new();
    bindings.write(&mut text);
    String::from_utf8(text).expect("UTF-8")
}

#[test]
fn the_header_is_what_the_types_say() {
    let file = folder().join("tether_connector.h");
    let text = generated();
    if std::env::var_os("TETHER_UPDATE_HEADER").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    if std::fs::read_to_string(&file).unwrap_or_default() == text {
        return;
    }
    let new = tempfile::tempdir().unwrap();
    let new: PathBuf = new.path().join("generated.h");
    std::fs::write(&new, &text).unwrap();
    let diff = Command::new("diff")
        .arg("-u")
        .args([&file, &new])
        .output()
        .unwrap();
    panic!(
        "tether_connector.h is not what src/ says; TETHER_UPDATE_HEADER=1 cargo test -p tether-connector-abi updates it:\n{}",
        String::from_utf8_lossy(&diff.stdout)
    );
}

#[test]
fn the_header_has_the_layout_of_the_types() {
    let mut checks = Checks::of_today();
    checks.sizes();
    compile(folder(), checks.source(), Language::C11);
}

#[test]
fn the_header_is_cpp_too() {
    let source = "#include \"tether_connector.h\"\n\
        tether_connector_entry entry();\n\
        tether_connector_entry entry() { return tether_connector_v1; }\n";
    compile(folder(), source, Language::Cpp17);
}
