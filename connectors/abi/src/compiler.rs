//! Checks of a header with a C compiler: sizes, offsets, the type of each function, the constants.

use std::mem::offset_of;
use std::path::Path;
use std::process::Command;

use super::*;

/// The language that must accept the header.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Language {
    C11,
    Cpp17,
}

/// Static assertions about a header, generated from the current Rust types.
pub(crate) struct Checks(String);

impl Checks {
    /// The offset of every member of every struct, the type of every function, the value of every constant. These
    /// never change, so the assertions hold for the frozen headers too.
    pub(crate) fn of_today() -> Self {
        let mut checks =
            Self("#include <stddef.h>\n#include <stdint.h>\n#include \"tether_connector.h\"\n".to_owned());
        macro_rules! members {
            ($c:literal, $rust:ty: $($field:ident $kind:literal),+) => {$(
                checks.value(
                    &format!("offsetof({}, {})", $c, stringify!($field)),
                    offset_of!($rust, $field),
                );
                checks.kind(&format!("(({} *)0)->{}", $c, stringify!($field)), $kind);
            )+};
        }
        members!("tether_slice", Slice: data "const uint8_t *", len "size_t");
        members!("tether_buffer", Buffer:
            data "uint8_t *",
            len "size_t",
            owner "uintptr_t",
            free "void (*)(uint8_t *, size_t, uintptr_t)"
        );
        members!("tether_host_api", HostApi:
            struct_size "uint32_t",
            minor "uint32_t",
            max_log_level "uint32_t",
            reserved "uint32_t",
            complete "void (*)(uint64_t, tether_buffer)",
            log "void (*)(uint64_t, uint32_t, tether_slice, tether_slice)",
            now_us "int64_t (*)(void)",
            notify "void (*)(uint64_t, uint32_t)"
        );
        members!("tether_connector_api", ConnectorApi:
            struct_size "uint32_t",
            minor "uint32_t",
            open "int32_t (*)(uint64_t, tether_slice, uint64_t *, tether_buffer *)",
            call "void (*)(uint64_t, uint64_t, tether_slice)",
            cancel "void (*)(uint64_t, uint64_t)",
            stream_next "void (*)(uint64_t, uint64_t, uint64_t, tether_slice)",
            stream_close "void (*)(uint64_t, uint64_t)",
            close "void (*)(uint64_t)"
        );
        for (name, value) in [
            ("TETHER_OK", status::OK.unsigned_abs()),
            ("TETHER_ERROR", status::ERROR.unsigned_abs()),
            ("TETHER_LOG_ERROR", level::ERROR),
            ("TETHER_LOG_WARN", level::WARN),
            ("TETHER_LOG_INFO", level::INFO),
            ("TETHER_LOG_DEBUG", level::DEBUG),
            ("TETHER_LOG_TRACE", level::TRACE),
            ("TETHER_EVENT_POISONED", event::POISONED),
        ] {
            checks.value(name, value as usize);
        }
        let entry = "int32_t (*)(const tether_host_api *, tether_connector_api *, tether_buffer *)";
        checks.kind("(tether_connector_entry)0", entry);
        checks.kind("&tether_connector_v1", entry);
        checks
    }

    /// Adds the current sizes.
    pub(crate) fn sizes(&mut self) {
        self.value("sizeof(tether_slice)", size_of::<Slice>());
        self.value("sizeof(tether_buffer)", size_of::<Buffer>());
        self.value("sizeof(tether_host_api)", size_of::<HostApi>());
        self.value("sizeof(tether_connector_api)", size_of::<ConnectorApi>());
        self.value("TETHER_CONNECTOR_MINOR", MINOR as usize);
        self.value("TETHER_HOST_API_SIZE_0", HOST_API_SIZE_0 as usize);
        self.value("TETHER_CONNECTOR_API_SIZE_0", CONNECTOR_API_SIZE_0 as usize);
    }

    /// Adds the value of an expression.
    pub(crate) fn value(&mut self, what: &str, value: usize) {
        self.0.push_str(&format!(
            "_Static_assert({what} == {value}, \"{what} is not {value}\");\n"
        ));
    }

    fn kind(&mut self, what: &str, kind: &str) {
        self.0.push_str(&format!(
            "_Static_assert(_Generic(({what}), {kind}: 1, default: 0), \"{what} is no {kind}\");\n"
        ));
    }

    pub(crate) fn source(&self) -> &str {
        &self.0
    }
}

/// Compiles a source against the header of a folder; every warning is an error.
pub(crate) fn compile(header: &Path, source: &str, language: Language) {
    let folder = tempfile::tempdir().unwrap();
    let (variable, usual, standard, name) = match language {
        Language::C11 => ("CC", "cc", "-std=c11", "check.c"),
        Language::Cpp17 => ("CXX", "c++", "-std=c++17", "check.cpp"),
    };
    let file = folder.path().join(name);
    std::fs::write(&file, source).unwrap();
    let compiler = std::env::var(variable).unwrap_or_else(|_| usual.to_owned());
    let output = Command::new(compiler)
        .args([
            standard,
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pedantic",
            "-fsyntax-only",
            "-I",
        ])
        .arg(header)
        .arg(&file)
        .output()
        .expect("a compiler");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
