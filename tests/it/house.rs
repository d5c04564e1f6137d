//! Rules of the source tree that the compiler does not check.

mod circles;
mod named_tests;

use std::fs;
use std::path::{Path, PathBuf};

use tether::policy::{self, Effect};

fn sources() -> Vec<(String, String)> {
    sources_of("src")
}

fn sources_of(folder: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files)
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path)
            }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = Vec::new();
    walk(&src, &mut files);
    let name = |path: &PathBuf| path.strip_prefix(&src).unwrap().display().to_string();
    files
        .iter()
        .map(|path| (name(path), fs::read_to_string(path).unwrap()))
        .collect()
}

/// The modules that a layer may use; layers that are not listed may use all.
const LAYERS: &[(&str, &[&str])] = &[
    ("address", &[]),
    ("domain", &[]),
    ("error", &[]),
    ("caller", &[]),
    ("connectors", &[]),
    ("policy", &["caller"]),
    ("identity", &["domain"]),
    ("reidentify", &["domain", "identity", "store"]),
    ("picklist", &[]),
    ("value", &["domain", "picklist"]),
    ("fair", &[]),
    ("store", &["domain", "fair"]),
    ("ingest", &["domain", "identity", "store", "time"]),
    ("definition", &["domain", "ingest", "store"]),
    ("tasks", &[]),
    ("index", &["domain", "identity", "store", "tasks", "value"]),
    ("query", &["domain", "index", "picklist", "store", "value"]),
    ("credentials", &["connectors", "domain", "error", "store", "time"]),
    (
        "sync",
        &[
            "connectors",
            "definition",
            "domain",
            "credentials",
            "ingest",
            "store",
            "tasks",
            "time",
        ],
    ),
    (
        "service",
        &[
            "address",
            "caller",
            "connectors",
            "definition",
            "domain",
            "error",
            "fair",
            "credentials",
            "identity",
            "index",
            "ingest",
            "picklist",
            "query",
            "store",
            "time",
            "value",
        ],
    ),
    (
        "grpc",
        &[
            "caller",
            "config",
            "domain",
            "error",
            "fair",
            "credentials",
            "identity",
            "listener",
            "policy",
            "proto",
            "service",
            "telemetry",
            "time",
            "tokens",
            "value",
        ],
    ),
    ("oauth_callback", &["error", "fair", "service"]),
];

/// The layers that a file uses: `crate::layer`, also in `use crate::{layer, layer::…}`.
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
fn only_main_uses_the_command_line() {
    for (file, text) in sources() {
        if file != "main.rs" && !file.starts_with("cli/") {
            assert!(!used(&text).contains(&"cli"), "{file} uses crate::cli");
        }
    }
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
        .chain(sources_of("connectors/host/src"))
        // A list of shared hosts, including website builders whose owners also make CRMs.
        .filter(|(file, _)| file != "identity/hosts.txt")
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

/// The operators' manual.
fn manual() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operate.md")).unwrap()
}

/// The settings in a struct of `config.rs`: its fields, and those of nested structs.
fn settings(structs: &[(String, Vec<(String, String)>)], of: &str, path: &str, found: &mut Vec<String>) {
    let (_, fields) = structs.iter().find(|(name, _)| name == of).unwrap();
    for (field, kind) in fields {
        let plain = kind.trim_start_matches("Option<").trim_end_matches('>');
        let (inner, key) = match plain.strip_prefix("BTreeMap<String, ") {
            Some(value) => (value, format!("{path}{field}.<name>")),
            None => (plain, format!("{path}{field}")),
        };
        if structs.iter().any(|(name, _)| name == inner) {
            settings(structs, inner, &format!("{key}."), found);
        } else {
            found.push(format!("{path}{field}"));
        }
    }
}

#[test]
fn every_setting_stands_in_the_operators_manual() {
    // The second file has the section `limits`.
    let text: Vec<String> = ["config.rs", "service/limits.rs"]
        .iter()
        .map(|wanted| {
            let (_, text) = sources().into_iter().find(|(file, _)| file == wanted).unwrap();
            text
        })
        .collect();
    let text = text.concat();
    let mut structs: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("pub struct ") {
            structs.push((name.trim_end_matches(" {").to_owned(), Vec::new()));
        } else if let Some((field, kind)) = line
            .strip_prefix("    pub ")
            .filter(|rest| !rest.starts_with("fn "))
            .and_then(|rest| rest.split_once(": "))
        {
            let fields = &mut structs.last_mut().unwrap().1;
            fields.push((field.to_owned(), kind.trim_end_matches(',').to_owned()));
        }
    }
    let mut found = Vec::new();
    settings(&structs, "Options", "", &mut found);
    assert!(
        found.len() > 25 && found.contains(&"connector.<name>.ca_file".to_owned()),
        "{found:?}"
    );
    let manual = manual();
    let missing: Vec<_> = found
        .iter()
        .filter(|key| !manual.contains(&format!("| `{key}` |")))
        .collect();
    assert!(missing.is_empty(), "docs/operate.md lacks {missing:?}");
}

#[test]
fn every_metric_stands_in_the_operators_manual() {
    let mut found = std::collections::BTreeSet::new();
    for (_, text) in sources().into_iter().chain(sources_of("connectors/host/src")) {
        for kind in ["counter!(", "gauge!(", "histogram!("] {
            for (at, _) in text.match_indices(kind) {
                let name = text[at + kind.len()..].trim_start().strip_prefix('"');
                found.extend(name.and_then(|name| name.split('"').next()).map(str::to_owned));
            }
        }
    }
    assert!(found.len() > 10, "{found:?}");
    let manual = manual();
    let missing: Vec<_> = found
        .iter()
        .filter(|name| !manual.contains(&format!("| `{name}` |")))
        .collect();
    assert!(missing.is_empty(), "docs/operate.md lacks {missing:?}");
}

#[test]
fn every_error_reason_stands_in_the_operators_manual() {
    let (manual, mut number) = (manual(), 0);
    let (_, table) = manual.split_once("## Every error reason").unwrap();
    for value in 1..1_000 {
        if let Ok(reason) = tether::proto::v1::ErrorReason::try_from(value) {
            number += 1;
            let name = format!("`{}`", reason.as_reason());
            assert!(table.contains(&name), "docs/operate.md lacks {name}");
        }
    }
    assert!(number > 40);
}

#[test]
fn commands_of_the_guides_can_be_pasted() {
    let guides = include_str!("../../docs/guides.md");
    let mut commands = 0;
    for block in guides.split("```sh\n").skip(1) {
        let block = block.split("```").next().unwrap();
        commands += block.lines().count();
        for word in block.split(|c: char| !(c.is_ascii_hexdigit() || c == '-')) {
            assert!(
                uuid::Uuid::try_parse(word).is_err(),
                "an id of another server: {word}"
            );
        }
        assert!(!block.contains('…'), "{block}");
    }
    assert!(commands > 60);
}

/// Labels of metrics with few values: known RPCs, codes, connectors of the folder, enums.
const LABELS: &[&str] = &[
    "call",
    "cause",
    "code",
    "connector",
    "database",
    "kind",
    "limit",
    "listener",
    "outcome",
    "reason",
    "rpc",
    "state",
    "task",
];

#[test]
fn labels_of_metrics_have_few_values() {
    let mut files = sources();
    files.extend(sources_of("connectors/host/src"));
    let (mut unknown, mut seen) = (Vec::new(), 0);
    for (file, text) in &files {
        for macro_name in ["counter!(", "gauge!(", "histogram!("] {
            for (at, _) in text.match_indices(&format!("metrics::{macro_name}")) {
                let call = &text[at..];
                let call = &call[..call.find(';').unwrap_or(call.len())];
                for (arrow, _) in call.match_indices("\" =>") {
                    seen += 1;
                    let label = call[..arrow].rsplit('"').next().unwrap_or_default();
                    if !LABELS.contains(&label) {
                        unknown.push(format!("{file}: {label}"));
                    }
                }
            }
        }
    }
    assert!(seen > 10, "{seen} labels were found");
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// The functions of these files: (name, signature, body).
fn functions(of: &[(String, String)]) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for (_, text) in of {
        for part in text.split("async fn ").skip(1) {
            let (signature, body) = part.split_once("{\n").unwrap_or((part, ""));
            let name = signature.split(['(', '<']).next().unwrap_or_default().to_owned();
            // Up to its end, of a method or a free function: bodies have no blank lines.
            let end = [body.find("\n    }\n\n"), body.find("\n}\n")]
                .into_iter()
                .flatten()
                .min();
            let body = body[..end.unwrap_or(body.len())].to_owned();
            found.push((name, signature.to_owned(), body));
        }
    }
    found
}

#[test]
fn whatever_changes_something_writes_an_audit_entry() {
    // A handler of an RPC that changes something passes its author on.
    let handlers = functions(&sources_of("src/grpc"));
    for (rpc, _, effect) in policy::TABLE {
        if *effect != Effect::Changes {
            continue;
        }
        let snake = rpc
            .rsplit('/')
            .next()
            .unwrap()
            .chars()
            .fold(String::new(), |mut name, letter| {
                if letter.is_uppercase() && !name.is_empty() {
                    name.push('_');
                }
                name.extend(letter.to_lowercase());
                name
            });
        let of_rpc = |(name, _, body): &&(String, String, String)| {
            *name == snake && (body.contains("Response") || body.contains("Error::not_yet("))
        };
        let (_, _, body) = handlers
            .iter()
            .find(of_rpc)
            .unwrap_or_else(|| panic!("no handler of {rpc}"));
        assert!(
            body.contains("gate::author(&request)") || body.contains("Error::not_yet("),
            "{rpc} changes something, by nobody"
        );
    }
    // A service that receives an author makes its change through `Inner::change`, directly or through another
    // one.
    let services = functions(&sources_of("src/service"));
    let given: Vec<_> = services
        .iter()
        .filter(|(name, signature, _)| !name.starts_with("change") && signature.contains("author: &Author"))
        .collect();
    assert!(given.len() > 15, "{} services are given an author", given.len());
    let mut records: Vec<&str> = vec!["change", "change_anew"];
    while let Some((name, ..)) = given.iter().find(|(name, _, body)| {
        !records.contains(&name.as_str())
            && records.iter().any(|known| {
                let call = format!(".{known}(");
                body.split(&call).skip(1).any(|rest| {
                    let rest = rest.trim_start().trim_start_matches('&');
                    rest.starts_with("author")
                })
            })
    }) {
        records.push(name);
    }
    let silent: Vec<_> = given
        .iter()
        .map(|(name, ..)| name)
        .filter(|name| !records.contains(&name.as_str()))
        .collect();
    assert!(
        silent.is_empty(),
        "services that leave the audit entry out: {silent:?}"
    );
    // Changes of the store on a caller's behalf are functions of `Tx`: services open no transactions.
    for (file, text) in sources_of("src/service") {
        let opened = text.matches(".transaction(").count();
        let expected = usize::from(file.ends_with("audit.rs")) + usize::from(file.ends_with("group.rs"));
        assert_eq!(opened, expected, "{file} opens a transaction of its own");
    }
}

/// A method of the store that only tests call. The list only becomes shorter.
const ONLY_TESTED: &[&str] = &[];

#[test]
fn every_method_of_the_store_is_used() {
    let mut code = String::new();
    for (file, text) in sources() {
        if file.ends_with(".rs") {
            let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            code.extend(lines.flat_map(|line| [line, "\n"]));
        }
    }
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !word(c))
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let mut count: std::collections::HashMap<String, i32> = Default::default();
    let all = words(&code);
    for pair in all.windows(2) {
        // The declarations are not counted.
        *count.entry(pair[1].clone()).or_default() += if pair[0] == "fn" { 0 } else { 1 };
    }
    let (mut methods, mut unused) = (0, Vec::new());
    for (_, text) in sources_of("src/store") {
        for part in text
            .split("pub fn ")
            .skip(1)
            .chain(text.split("pub async fn ").skip(1))
        {
            let name: String = part.chars().take_while(|c| word(*c)).collect();
            methods += 1;
            if count.get(&name).is_none_or(|count| *count == 0) {
                unused.push(name);
            }
        }
    }
    assert!(methods > 100, "{methods} methods");
    assert_eq!(unused, ONLY_TESTED, "only tests call these methods of the store");
}
