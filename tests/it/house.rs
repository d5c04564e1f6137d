//! Rules of the house that no compiler holds.

use std::fs;
use std::path::{Path, PathBuf};

fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files)
            } else {
                files.push(path)
            }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&src, &mut files);
    let name = |path: &PathBuf| path.strip_prefix(&src).unwrap().display().to_string();
    files
        .iter()
        .map(|path| (name(path), fs::read_to_string(path).unwrap()))
        .collect()
}

/// What a layer may use; whoever is not named may use all.
const LAYERS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("error", &[]),
    ("caller", &[]),
    ("connectors", &[]),
    ("policy", &["caller"]),
    ("identity", &["domain"]),
    ("value", &["domain"]),
    ("store", &["domain"]),
    ("ingest", &["domain", "identity", "store"]),
    ("grants", &["connectors", "domain", "error", "store", "time"]),
    (
        "sync",
        &["connectors", "domain", "grants", "ingest", "store", "time"],
    ),
    (
        "service",
        &[
            "caller",
            "connectors",
            "domain",
            "error",
            "grants",
            "identity",
            "ingest",
            "store",
            "time",
            "value",
        ],
    ),
    (
        "grpc",
        &[
            "caller", "config", "domain", "error", "grants", "identity", "policy", "proto", "service",
            "store", "time", "tokens", "value",
        ],
    ),
    ("oauth_callback", &["error", "service"]),
];

/// The layers that a file names: `crate::layer`, also in `use crate::{layer, layer::…}`.
fn used(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let list = match rest.strip_prefix('{') {
            None => vec![rest],
            Some(inner) => {
                let (mut depth, mut from, mut parts) = (0, 0, Vec::new());
                for (at, c) in inner.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => {
                            parts.push(&inner[from..at]);
                            break;
                        }
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            parts.push(&inner[from..at]);
                            from = at + 1;
                        }
                        _ => {}
                    }
                }
                parts
            }
        };
        for part in list {
            let part = part.trim_start();
            let end = part
                .find(|c: char| !c.is_ascii_lowercase() && c != '_')
                .unwrap_or(part.len());
            found.push(&part[..end]);
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

#[test]
fn no_layer_reaches_back() {
    let mut back = Vec::new();
    for (file, text) in sources() {
        let layer = file.split(['/', '.']).next().unwrap_or_default();
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
            continue;
        };
        for used in used(&text) {
            if used != layer && !allowed.contains(&used) {
                back.push(format!("{file} uses crate::{used}"));
            }
        }
    }
    assert!(back.is_empty(), "{}", back.join("\n"));
}

#[test]
fn only_connectors_know_a_crm() {
    const CRMS: &[&str] = &[
        "salesforce",
        "sforce",
        "hubspot",
        "pipedrive",
        "zoho",
        "dynamics365",
        "soql",
    ];
    for (file, text) in sources()
        .into_iter()
        .filter(|(file, _)| file != "demo.rs" && !file.starts_with("demo/"))
    {
        for (at, line) in text.lines().enumerate() {
            let line = line.to_lowercase();
            assert!(
                !CRMS.iter().any(|crm| line.contains(crm)),
                "src/{file}:{}: {line}",
                at + 1
            );
        }
    }
}
