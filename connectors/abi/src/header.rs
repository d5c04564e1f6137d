//! The C header says what the Rust types are.

use std::mem::offset_of;
use std::process::Command;

use super::*;

/// A C compiler checks every size and offset of the header against the values here.
#[test]
fn the_header_has_the_layout_of_the_types() {
    let mut checks = String::from("#include \"tether_connector.h\"\n#include <stddef.h>\n");
    let mut check = |what: String, value: usize| {
        checks.push_str(&format!(
            "_Static_assert({what} == {value}, \"{what} is not {value}\");\n"
        ));
    };
    macro_rules! layout {
        ($c:literal, $rust:ty, $($field:ident),+) => {
            check(format!("sizeof({})", $c), size_of::<$rust>());
            $(check(format!("offsetof({}, {})", $c, stringify!($field)), offset_of!($rust, $field));)+
        };
    }
    layout!("tether_slice", Slice, data, len);
    layout!("tether_buffer", Buffer, data, len, owner, free);
    layout!(
        "tether_host_api",
        HostApi,
        struct_size,
        minor,
        max_log_level,
        reserved,
        complete,
        log,
        now_us,
        notify
    );
    layout!(
        "tether_connector_api",
        ConnectorApi,
        struct_size,
        minor,
        open,
        call,
        cancel,
        stream_next,
        stream_close,
        close
    );
    for (name, value) in [
        ("TETHER_CONNECTOR_MINOR", MINOR),
        ("TETHER_OK", status::OK as u32),
        ("TETHER_ERROR", status::ERROR as u32),
        ("TETHER_LOG_ERROR", level::ERROR),
        ("TETHER_LOG_TRACE", level::TRACE),
        ("TETHER_EVENT_POISONED", event::POISONED),
    ] {
        check(name.to_owned(), value as usize);
    }
    // The exported function has the type that the header declares.
    checks.push_str("static tether_connector_entry entry = tether_connector_v1;\n");
    checks
        .push_str("tether_connector_entry use(void);\ntether_connector_entry use(void) { return entry; }\n");

    let file = std::env::temp_dir().join(format!("tether-abi-{}.c", std::process::id()));
    std::fs::write(&file, &checks).unwrap();
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let output = Command::new(compiler)
        .args([
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pedantic",
            "-fsyntax-only",
            "-I",
        ])
        .arg(env!("CARGO_MANIFEST_DIR"))
        .arg(&file)
        .output()
        .expect("a C compiler");
    let _ = std::fs::remove_file(&file);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
