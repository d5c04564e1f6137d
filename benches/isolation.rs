//! The effect of a killed connector process on a sync, and the cost of a separate process.
//!
//! `cargo bench --bench isolation -- --kills 5 --rounds 4 --accounts 12000 --delay-ms 600` syncs a simulated
//! Salesforce, kills the connector's process while it reads (SIGKILL and SIGSEGV in turns) this many times
//! per round, and compares all data of the server with the simulator's. The server is one process for the
//! whole run. More than five kills per round take long, because a connector that keeps failing is quarantined
//! and tried once a minute.
//!
//! `… -- --turns 3 --accounts 100000` syncs without kills, in a process of its own and in the server, in
//! turns, each time into a new database, and prints the ratio of the medians.
//!
//! Programs and environment as in the bench `truth`. Prints JSON; fails if the data differs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a program for people"
)]

#[path = "support/truth.rs"]
mod truth;
#[path = "support/world.rs"]
mod world;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value as Json, json};
use tether::proto::v1::sync::State;
use truth::{compare, round};
use world::{Api, Place, Sim, http_json, programs, said};

/// The command line's options.
struct Asked {
    accounts: u32,
    kills: u32,
    rounds: u32,
    turns: u32,
    kill_within_ms: u64,
    delay_ms: u64,
    seed: u64,
}

impl Asked {
    fn read() -> Self {
        let mut asked = Self {
            accounts: 20_000,
            kills: 0,
            rounds: 1,
            turns: 0,
            kill_within_ms: 1_500,
            delay_ms: 300,
            seed: 1,
        };
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            let value = words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match word.as_str() {
                "--accounts" => asked.accounts = value.parse().unwrap(),
                "--kills" => asked.kills = value.parse().unwrap(),
                "--rounds" => asked.rounds = value.parse().unwrap(),
                "--turns" => asked.turns = value.parse().unwrap(),
                "--kill-within-ms" => asked.kill_within_ms = value.parse().unwrap(),
                "--delay-ms" => asked.delay_ms = value.parse().unwrap(),
                "--seed" => asked.seed = value.parse().unwrap(),
                _ => panic!("unknown: {word}"),
            }
        }
        asked
    }
}

/// The processes of a server that run the connector.
fn children(server: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1));
        line.ends_with(b"\0connector-host\0salesforce\0") && parent == Some(&server.to_string())
    };
    numbers.filter(is).collect()
}

/// One sync whose connector is killed repeatedly.
async fn killed(sim: &Sim, place: &Place, asked: &Asked, seed: u64) -> Json {
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    let mut server = place.start();
    let pid = server.process.0.id();
    let api = Api::connect(&server, &place.token()).await;
    let fault =
        json!({ "path": "/services/data/", "kind": "delay", "delayMs": asked.delay_ms, "times": 4_000_000 });
    let sync = api.activate(sim).await.name;
    http_json("POST", &format!("{}/faults", sim.control), &fault.to_string());
    let began = Instant::now();
    let mut kills = Vec::new();
    let mut before = 0;
    while (kills.len() as u32) < asked.kills {
        // The connector has read again since the last kill, and the sync has made progress.
        let since = Instant::now();
        // The sync may end with fewer reads.
        while sim.reads() < before + 3 && api.sync(&sync).await.state() != State::Succeeded {
            assert!(since.elapsed() < Duration::from_secs(120), "it does not go on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..asked.kill_within_ms))).await;
        let seen = api.sync(&sync).await;
        if seen.state() == State::Succeeded {
            break;
        }
        let Some(child) = children(pid).pop() else {
            continue;
        };
        let signal = if kills.len() % 2 == 0 { "KILL" } else { "SEGV" };
        // The first external SIGSEGV only removes Rust's handler for stack overflows.
        while children(pid).contains(&child) {
            let _ = Command::new("kill")
                .args(["-s", signal, &child.to_string()])
                .stderr(Stdio::null())
                .status();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let rows = seen.totals.map_or(0, |totals| totals.read);
        eprintln!("  {signal} to {child}: {:?}, {rows} rows", seen.state());
        kills.push(json!({
            "signal": signal, "child": child, "state": seen.state().as_str_name(), "rows": rows,
            "after_seconds": round(began.elapsed().as_secs_f64()),
        }));
        before = sim.reads();
    }
    http_json("DELETE", &format!("{}/faults", sim.control), "");
    let done = api.succeeded(&sync).await;
    let compared = compare(sim, &api).await;
    let served_on = server.process.0.try_wait().unwrap().is_none();
    let mid_sync = kills
        .iter()
        .filter(|kill| kill["state"] == "STATE_RUNNING")
        .count();
    json!({
        "agrees": compared["agrees"], "kills": kills.len(), "kills_while_running": mid_sync,
        "server_pid": pid, "server_is_the_same_process": served_on, "attempt": done.attempt,
        "seconds": round(began.elapsed().as_secs_f64()), "kill_list": kills, "comparison": compared,
    })
}

/// The duration of a complete sync in seconds, and its rows.
async fn synced(sim: &Sim, place: &Place) -> (f64, i64) {
    let server = place.start();
    let api = Api::connect(&server, &place.token()).await;
    let sync = api.activate(sim).await;
    let sync = api.succeeded(&sync.name).await;
    let at = |time: Option<prost_types::Timestamp>| {
        time.map_or(0.0, |time| time.seconds as f64 + f64::from(time.nanos) / 1e9)
    };
    (
        at(sync.end_time) - at(sync.start_time),
        sync.totals.map_or(0, |totals| totals.read),
    )
}

fn median(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn main() {
    let asked = Asked::read();
    let scratch = tempfile::tempdir().unwrap();
    let (bin, connectors) = programs(scratch.path());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let place = |sim: &Sim, trusted: bool| Place {
        bin: PathBuf::from(&bin),
        connectors: connectors.clone(),
        data: tempfile::tempdir().unwrap(),
        database: None,
        sim: sim.host.clone(),
        lease_seconds: 30,
        refresh_seconds: 120,
        more: vec![("connector.salesforce.trusted", trusted.to_string())],
    };
    let mut agrees = true;
    let mut rounds = Vec::new();
    if asked.kills > 0 {
        for number in 0..asked.rounds {
            eprintln!("round {} of {}", number + 1, asked.rounds);
            let seed = asked.seed + u64::from(number);
            let sim = Sim::start(&bin, asked.accounts, seed);
            let round = runtime.block_on(killed(&sim, &place(&sim, false), &asked, seed));
            agrees &= round["agrees"] == true && round["server_is_the_same_process"] == true;
            rounds.push(round);
        }
    }
    let (mut child, mut in_process, mut rows) = (Vec::new(), Vec::new(), 0);
    if asked.turns > 0 {
        let sim = Sim::start(&bin, asked.accounts, asked.seed);
        for turn in 0..asked.turns {
            for trusted in [turn % 2 == 0, turn % 2 != 0] {
                let (seconds, read) = runtime.block_on(synced(&sim, &place(&sim, trusted)));
                eprintln!(
                    "  {}: {seconds:.1} s",
                    if trusted { "in the server" } else { "child" }
                );
                if trusted { &mut in_process } else { &mut child }.push(seconds);
                assert!(rows == 0 || rows == read, "{rows} rows, and now {read}");
                rows = read;
            }
        }
    }
    let cost = (asked.turns > 0).then(|| {
        json!({
            "rows": rows, "child_seconds": child, "in_process_seconds": in_process,
            "child_median": round(median(&child)), "in_process_median": round(median(&in_process)),
            "ratio": round(median(&child) / median(&in_process)),
        })
    });
    let all = json!({
        "bench": "isolation", "accounts": asked.accounts, "related": asked.accounts * 3, "seed": asked.seed,
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "rustc": said("rustc", &["--version"]), "commit": said("git", &["rev-parse", "HEAD"]),
        "command": std::env::args().skip(1).collect::<Vec<_>>().join(" "), "rounds": rounds, "cost": cost,
    });
    println!("{}", serde_json::to_string_pretty(&all).unwrap());
    assert!(
        agrees,
        "what came out is not what went in, or the server has ended"
    );
}
