//! The cost of the connector boundary (P12), and whether resources grow with its use.
//!
//! `cargo bench --bench boundary` calls the dummy connector and reads its rows: without a library, through a
//! library in this process, and through one in a process of its own, in turns. It prints the medians, and the
//! cost of a row beyond its creation by the dummy. `… -- --cycles 1000` opens and closes the connector that
//! many times in both places, with one call each time, and prints threads, descriptors and memory of this
//! process before, during and after.
//!
//! Programs: the release build, which the bench builds unless TETHER_TRUTH_BIN is the folder with the
//! programs. Prints JSON.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a program for people"
)]

#[path = "support/world.rs"]
mod world;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tether::connectors::proto::{
    AuthKind, Connection, Credentials, ListFieldsRequest, ObjectSelection, OpenRequest, ReadMode,
    ReadRequest, RevokeRequest, SelectedField, call_request::Call, stream_event::Event,
};
use tether::connectors::{Connector, ConnectorOptions, Options, Registry};
use tether_connector_dummy::Dummy;
use tether_connector_sdk::testing::Native;
use world::{programs_with, said};

/// The dummy's batch size.
const BATCH: &str = "1000";

/// The command line's options.
struct Asked {
    turns: usize,
    calls: u32,
    rows: u32,
    cycles: u32,
}

impl Asked {
    fn read() -> Self {
        let mut asked = Self {
            turns: 5,
            calls: 5_000,
            rows: 200_000,
            cycles: 0,
        };
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            let value = words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match word.as_str() {
                "--turns" => asked.turns = value.parse().unwrap(),
                "--calls" => asked.calls = value.parse().unwrap(),
                "--rows" => asked.rows = value.parse().unwrap(),
                "--cycles" => asked.cycles = value.parse().unwrap(),
                _ => panic!("unknown: {word}"),
            }
        }
        asked
    }

    fn settings(&self) -> HashMap<String, String> {
        let settings = [
            ("companies", self.rows.to_string()),
            ("batch", BATCH.to_owned()),
            ("checkpoint_every", "4000".to_owned()),
        ];
        settings.map(|(key, value)| (key.to_owned(), value)).into()
    }
}

fn connection() -> Option<Connection> {
    Some(Connection {
        auth_kind: AuthKind::ApiKey.into(),
        credentials: Some(Credentials {
            access_token: "access.alice.acme.0".to_owned(),
            refresh_token: "refresh.alice.acme.0".to_owned(),
            ..Credentials::default()
        }),
        ..Connection::default()
    })
}

async fn opened(asked: &Asked, bin: &Path, folder: &Path, trusted: bool) -> (Registry, Connector) {
    let dummy = ConnectorOptions {
        settings: asked.settings().into_iter().collect::<BTreeMap<_, _>>(),
        trusted,
        ..ConnectorOptions::default()
    };
    let registry = Options {
        folders: vec![folder.to_owned()],
        connectors: BTreeMap::from([("dummy".to_owned(), dummy)]),
        program: Some(bin.join("tether")),
        ..Options::default()
    };
    let registry = registry.build().await;
    let connector = registry.get("dummy").expect("the dummy is ready");
    (registry, connector)
}

fn soon() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(60)
}

/// Every field of the companies.
async fn selection(connector: &Connector) -> Vec<ObjectSelection> {
    let request = ListFieldsRequest {
        connection: connection(),
        objects: vec!["Company".to_owned()],
    };
    let listed = connector.list_fields(request, soon()).await.unwrap();
    let selected = |field: tether::connectors::proto::Field| SelectedField {
        key: field.key,
        r#type: field.r#type,
        currency: field.currency,
    };
    let objects = listed.objects.into_iter().map(|object| ObjectSelection {
        object: object.object,
        fields: object.fields.into_iter().map(selected).collect(),
        ..ObjectSelection::default()
    });
    objects.collect()
}

/// Microseconds of one call.
async fn a_call(connector: &Connector, calls: u32) -> f64 {
    let started = Instant::now();
    for _ in 0..calls {
        let request = RevokeRequest {
            connection: connection(),
        };
        connector.revoke(request, soon()).await.unwrap();
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
}

fn read(selection: &[ObjectSelection]) -> ReadRequest {
    ReadRequest {
        connection: connection(),
        selection: selection.to_vec(),
        mode: ReadMode::Full.into(),
        checkpoint: Vec::new(),
        ..ReadRequest::default()
    }
}

/// Microseconds of one row, and bytes of its payload.
async fn a_row(connector: &Connector, selection: &[ObjectSelection]) -> (f64, usize) {
    let mut stream = connector.read(read(selection), None).await.unwrap();
    let (started, mut rows, mut bytes, mut acknowledged) = (Instant::now(), 0, 0, 0);
    loop {
        match stream.next(acknowledged).await.unwrap() {
            Event::Batch(batch) => {
                rows += batch.records.len();
                bytes += batch
                    .records
                    .iter()
                    .map(|record| record.payload.len())
                    .sum::<usize>();
            }
            Event::Checkpoint(checkpoint) => acknowledged = checkpoint.sequence,
            Event::End(_) => break,
            _ => {}
        }
    }
    (started.elapsed().as_secs_f64() * 1e6 / rows as f64, bytes / rows)
}

/// The same figures without a library.
async fn native(asked: &Asked, selection: &[ObjectSelection]) -> (f64, f64) {
    let request = OpenRequest {
        settings: asked.settings(),
        ..OpenRequest::default()
    };
    let dummy = Native::<Dummy>::open(request).expect("the dummy opens");
    let started = Instant::now();
    for _ in 0..asked.calls {
        let request = RevokeRequest {
            connection: connection(),
        };
        dummy.call(Call::Revoke(request), 0).await.unwrap();
    }
    let call = started.elapsed().as_secs_f64() * 1e6 / f64::from(asked.calls);
    let number = dummy.read(read(selection)).await.unwrap();
    let (started, mut rows) = (Instant::now(), 0);
    loop {
        match dummy.next(number, 0).await.unwrap().event {
            Some(Event::Batch(batch)) => rows += batch.records.len(),
            Some(Event::End(_)) => break,
            _ => {}
        }
    }
    (call, started.elapsed().as_secs_f64() * 1e6 / rows as f64)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[sorted.len() / 2] * 1_000.0).round() / 1_000.0
}

async fn cost(asked: &Asked, bin: &Path, folder: &Path) -> Json {
    let (_here, in_process) = opened(asked, bin, folder, true).await;
    let (_there, child) = opened(asked, bin, folder, false).await;
    let selection = selection(&in_process).await;
    let mut calls: [Vec<f64>; 3] = Default::default();
    let mut rows: [Vec<f64>; 3] = Default::default();
    let mut payload = 0;
    for turn in 0..asked.turns {
        let (call, row) = native(asked, &selection).await;
        calls[0].push(call);
        rows[0].push(row);
        for (at, connector) in [(1, &in_process), (2, &child)] {
            calls[at].push(a_call(connector, asked.calls).await);
            let (row, bytes) = a_row(connector, &selection).await;
            rows[at].push(row);
            payload = bytes;
        }
        eprintln!("  turn {} of {}", turn + 1, asked.turns);
    }
    let above = |at: usize| {
        let each: Vec<f64> = rows[at]
            .iter()
            .zip(&rows[0])
            .map(|(with, without)| with - without)
            .collect();
        median(&each)
    };
    json!({
        "turns": asked.turns, "calls": asked.calls, "rows": asked.rows, "batch": BATCH, "payload_bytes": payload,
        "call_us": { "native": median(&calls[0]), "in_process": median(&calls[1]), "child": median(&calls[2]) },
        "row_us": { "native": median(&rows[0]), "in_process": median(&rows[1]), "child": median(&rows[2]) },
        "row_us_above_native": { "in_process": above(1), "child": above(2) },
        "goals_row_us": { "in_process": 0.25, "child": 1.3 },
    })
}

/// Threads, descriptors and private memory of this process, and its children.
fn held() -> Json {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let number = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    let children = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let children = children.map(|task| {
        let list = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        list.split_whitespace().count()
    });
    json!({
        "threads": number("Threads:"), "descriptors": std::fs::read_dir("/proc/self/fd").unwrap().count() - 1,
        "private_kb": number("RssAnon:"), "children": children.sum::<usize>(),
    })
}

async fn growth(asked: &Asked, bin: &Path, folder: &Path, trusted: bool) -> Json {
    let (registry, connector) = opened(asked, bin, folder, trusted).await;
    let cycle = async || {
        connector.reopen().await.expect("it opens");
        let request = RevokeRequest {
            connection: connection(),
        };
        connector.revoke(request, soon()).await.unwrap();
    };
    // After this, everything that is created once exists.
    for _ in 0..50 {
        cycle().await;
    }
    let settled = async || tokio::time::sleep(Duration::from_secs(3)).await;
    settled().await;
    let before = held();
    let mut meanwhile = Vec::new();
    let started = Instant::now();
    for number in 1..=asked.cycles {
        cycle().await;
        if number % (asked.cycles / 4).max(1) == 0 {
            meanwhile.push(held());
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    settled().await;
    let after = held();
    drop((registry, connector));
    settled().await;
    json!({
        "cycles": asked.cycles, "ms_a_cycle": (seconds * 1e6 / f64::from(asked.cycles)).round() / 1e3,
        "before": before, "meanwhile": meanwhile, "after": after, "closed": held(),
    })
}

fn main() {
    let asked = Asked::read();
    let scratch = tempfile::tempdir().unwrap();
    let (bin, folder): (PathBuf, PathBuf) = programs_with(scratch.path(), "dummy");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let result = runtime.block_on(async {
        match asked.cycles {
            0 => cost(&asked, &bin, &folder).await,
            _ => json!({
                "in_process": growth(&asked, &bin, &folder, true).await,
                "child": growth(&asked, &bin, &folder, false).await,
            }),
        }
    });
    let all = json!({
        "bench": "boundary", "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "rustc": said("rustc", &["--version"]), "commit": said("git", &["rev-parse", "HEAD"]),
        "command": std::env::args().skip(1).collect::<Vec<_>>().join(" "), "result": result,
    });
    println!("{}", serde_json::to_string_pretty(&all).unwrap());
}
