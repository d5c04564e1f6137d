//! Rules of the house that no compiler holds.

use std::fs;
use std::path::{Path, PathBuf};

use tether::caller::Role;

use crate::support::server::{CLIENT_SECRET, Database, Person, World, ok};

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
    ("index", &["domain", "identity", "store", "value"]),
    ("query", &["domain", "index", "store", "value"]),
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
            "index",
            "ingest",
            "query",
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

#[tokio::test]
async fn no_secret_stands_in_the_log_or_in_the_database() {
    let world = World::start_with(Database::Sqlite, 20, &["log.filter=debug"]).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let name = ann.create("salesforce", "Acme Sales").await;
    let begun = ann.begin(&name).await;
    let to = ann
        .consent(&begun.authorization_uri, "admin@acme.example", true)
        .await;
    let done = Person::came_back(&to);
    let (state, code) = (begun.state, done.callback_parameters["code"].clone());
    let challenge = url::Url::parse(&begun.authorization_uri).unwrap();
    assert!(challenge.query_pairs().any(|(key, _)| key == "code_challenge"));
    ok(ann.integrations.complete_authorization(done)).await;
    ann.select(&name, &["Account.Name"]).await;
    let sync = ann.activate(&name).await;
    ann.succeeds(&sync).await;
    world
        .control("POST", "/sessions/expire", serde_json::Value::Null)
        .await;
    let sync = ann.sync(&name).await;
    ann.succeeds(&sync).await;
    // The dummy's tokens are known beforehand; Salesforce's by how they begin.
    ann.dummy("Acme Dummy", "hidden-key").await;
    let organization = ann.get(&name).await.account.unwrap().organization_id;
    let token = world.token("ann", Some("acme"), Role::Administrator);
    let secrets = [
        CLIENT_SECRET,
        &state,
        &code,
        &token[..40],
        "access.hidden-key",
        "refresh.hidden-key",
        "5Aep861",
        &format!("{}!", &organization[..15]),
    ]
    .map(str::to_owned);
    let mut places = vec![("the log".to_owned(), world.log().into_bytes())];
    let mut folders = vec![world.data().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = fs::read(&path) {
                // The index removes files while it works.
                places.push((path.display().to_string(), bytes));
            }
        }
    }
    assert!(
        places
            .iter()
            .any(|(name, bytes)| name.contains("tether.db") && !bytes.is_empty())
    );
    for (place, bytes) in places {
        for secret in &secrets {
            let there = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!there, "{secret} stands in {place}");
        }
    }
}
