//! The tests that the documents name exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::sources_of;

/// The last part of each path in backticks, as `file::function`; `*` stands for several.
fn named(document: &str) -> Vec<&str> {
    let texts = document.split('`').skip(1).step_by(2);
    let paths = texts.filter(|text| {
        text.contains("::")
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b':' | b'*'))
    });
    paths
        .map(|path| path.rsplit("::").find(|part| *part != "*").unwrap_or_default())
        .map(|name| name.trim_end_matches('*'))
        .collect()
}

/// The functions and modules of all Rust files.
fn defined() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for folder in ["src", "tests", "connectors", "benches"] {
        for (path, text) in sources_of(folder) {
            let file = Path::new(&path).file_stem().unwrap_or_default();
            all.insert(file.to_string_lossy().into_owned());
            for keyword in ["fn ", "mod "] {
                for rest in text.split(keyword).skip(1) {
                    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                    all.insert(rest[..end.unwrap_or(rest.len())].to_owned());
                }
            }
        }
    }
    all
}

#[test]
fn tests_that_documents_name_exist() {
    let defined = defined();
    let mut unknown = Vec::new();
    for document in ["docs/rules.md", "docs/failures.md"] {
        let text = fs::read_to_string(document).unwrap();
        let named = named(&text);
        assert!(named.len() > 50, "{document}");
        let lacking = named.into_iter().filter(|name| {
            // A test may be named by the beginning of its name.
            !defined.contains(*name) && !defined.iter().any(|known| known.starts_with(*name))
        });
        unknown.extend(lacking.map(|name| format!("{document}: {name}")));
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}
