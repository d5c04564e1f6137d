//! Whether the server returns exactly the data of the CRM, and the cost.
//!
//! `cargo bench --bench truth -- --accounts 100000 --database both` syncs a simulated Salesforce (three related rows for
//! each account) into a server of its own, reads everything back over gRPC, and compares it with the simulator's truth,
//! record by record and as a hash. With `--kills 20` the server is killed (SIGKILL) at random moments and started again
//! on its data, until it was killed so often; then the same comparison. With `--between true` each kill falls between a
//! commit of control and one of the data set (PostgreSQL). `--database split` has the data sets in two further databases.
//!
//! Programs: the release build, which the bench builds unless TETHER_TRUTH_BIN is the folder with the
//! programs. PostgreSQL is the tests' throw-away cluster (without fsync) unless TETHER_BENCH_POSTGRES is the
//! address of an empty database. Prints one JSON object per database, and progress on standard error; fails
//! if the data differs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a program for people"
)]

#[path = "../tests/it/support/postgres.rs"]
mod postgres;
#[path = "support/seam.rs"]
mod seam;
#[path = "support/truth.rs"]
mod truth;
#[path = "support/world.rs"]
mod world;

use std::collections::HashMap;
use std::io::BufRead as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::{Rng as _, SeedableRng as _};
use seam::{Between, Seam};
use serde_json::{Value as Json, json};
use tether::proto::v1;
use truth::{FIELDS, compare, round};
use world::{Api, Place, Sim, http, http_json, programs, said};

const PAGE: usize = 2_000;

/// The peak memory of a process, sampled.
struct Memory {
    anon: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    pid: u32,
}

fn status_kb(pid: u32, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let found = text.lines().find_map(|line| line.strip_prefix(key));
    found
        .and_then(|rest| {
            rest.trim_start_matches(':')
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or(0)
}

impl Memory {
    fn watch(pid: u32) -> Self {
        let (anon, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (into, until) = (anon.clone(), stop.clone());
        std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                into.fetch_max(status_kb(pid, "RssAnon"), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { anon, stop, pid }
    }

    /// The peak so far, in MB: private, and resident with mapped files.
    fn so_far(&self) -> (u64, u64) {
        let anon = self.anon.load(Ordering::Relaxed);
        (anon / 1024, status_kb(self.pid, "VmHWM") / 1024)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn micros(at: Option<prost_types::Timestamp>) -> f64 {
    at.map_or(0.0, |at| at.seconds as f64 + f64::from(at.nanos) / 1e9)
}

fn counts(sync: &v1::Sync) -> Json {
    let one = |counts: Option<&v1::SyncCounts>| {
        let c = counts.copied().unwrap_or_default();
        json!({ "read": c.read, "written": c.written, "unchanged": c.unchanged, "removed": c.removed })
    };
    let objects: serde_json::Map<String, Json> = sync
        .objects
        .iter()
        .map(|object| (object.object.clone(), one(object.counts.as_ref())))
        .collect();
    json!({ "totals": one(sync.totals.as_ref()), "objects": objects })
}

// The runs -----------------------------------------------------------------------------------------------------------

async fn whole(sim: &Sim, place: &Place) -> Json {
    let server = place.start();
    let memory = Memory::watch(server.process.0.id());
    let api = Api::connect(&server, &place.token()).await;
    let before = memory.so_far();
    let start = Instant::now();
    let sync = api.activate(sim).await;
    let sync = api.succeeded(&sync.name).await;
    let wall = start.elapsed().as_secs_f64();
    let after_sync = memory.so_far();
    let seconds = micros(sync.end_time) - micros(sync.start_time);
    let rows = sync.totals.map_or(0, |totals| totals.read);
    eprintln!("  synced {rows} rows in {seconds:.1} s");
    let requests = sim.counts();
    let compared = compare(sim, &api).await;
    let after_all = memory.so_far();
    json!({
        "agrees": compared["agrees"], "sync_seconds": round(seconds), "wall_seconds": round(wall), "rows": rows,
        "rows_per_second": (rows as f64 / seconds).round(), "received_bytes": sync.received_bytes,
        "api_calls_used": sync.api_calls_used, "simulator_requests": requests["counts"],
        "simulator_writes": requests["writes"],
        "memory_mb": {
            "private_at_start": before.0, "private_peak_of_sync": after_sync.0,
            "resident_peak_of_sync": after_sync.1, "private_peak_of_all": after_all.0,
            "resident_peak_of_all": after_all.1,
        },
        "database_mb": database_mb(place), "counts": counts(&sync), "comparison": compared,
    })
}

fn database_mb(place: &Place) -> u64 {
    let files = std::fs::read_dir(place.data.path()).unwrap().flatten();
    let sizes = files
        .filter_map(|file| file.metadata().ok())
        .filter(|m| m.is_file());
    sizes.map(|m| m.len()).sum::<u64>() >> 20
}

async fn killed(sim: &Sim, place: &Place, asked: &Asked) -> Json {
    let mut rng = rand::rngs::StdRng::seed_from_u64(asked.seed);
    let token_server = place.start();
    let token = place.token();
    let api = Api::connect(&token_server, &token).await;
    let fault =
        json!({ "path": "/services/data/", "kind": "delay", "delayMs": asked.delay_ms, "times": 4_000_000 });
    let sync = api.activate(sim).await.name;
    http_json("POST", &format!("{}/faults", sim.control), &fault.to_string());
    let mut server = token_server;
    let mut api = api;
    let mut kills = Vec::new();
    let mut while_running = 0;
    let mut marks = Vec::new();
    let mut ended_early = false;
    let mut before = 0;
    for n in 0..asked.kills {
        // Three of four kills while it reads, one at any moment after a start.
        let reading = n % 4 != 3;
        let started = Instant::now();
        if reading {
            while sim.reads() <= before && started.elapsed() < Duration::from_secs(20) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let most = if reading { asked.kill_within_ms } else { 3_500 };
        let wait = Duration::from_millis(rng.random_range(0..most));
        tokio::time::sleep(wait).await;
        let seen = api.sync(&sync).await;
        let state = seen.state();
        if state == v1::sync::State::Succeeded {
            ended_early = true;
            break;
        }
        server.process.0.kill().unwrap();
        server.process.0.wait().unwrap();
        let running = state == v1::sync::State::Running;
        while_running += u32::from(running);
        let total = sim.counts()["total"].as_u64().unwrap();
        marks.push(total);
        kills.push(json!({
            "after_start_ms": started.elapsed().as_millis() as u64, "state": state.as_str_name(), "reading": reading,
            "rows": seen.totals.map_or(0, |totals| totals.read),
        }));
        eprintln!(
            "  kill {}: {:?}, {} rows",
            n + 1,
            state,
            seen.totals.map_or(0, |t| t.read)
        );
        before = sim.reads();
        server = place.start();
        api = Api::connect(&server, &token).await;
    }
    http_json("DELETE", &format!("{}/faults", sim.control), "");
    let done = api.succeeded(&sync).await;
    let pages = repeated(sim, kills.len());
    let compared = compare(sim, &api).await;
    json!({
        "agrees": compared["agrees"], "kills": kills.len(), "kills_while_running": while_running,
        "ended_before_all_kills": ended_early, "delay_ms": asked.delay_ms, "lease_seconds": place.lease_seconds,
        "pages": pages, "kill_list": kills, "attempt": done.attempt, "counts": counts(&done), "comparison": compared,
    })
}

/// Kills between the two commits, each kind in turns.
async fn killed_between(sim: &Sim, place: &Place, asked: &Asked, seam: Seam) -> Json {
    let mut server = place.start();
    let token = place.token();
    let api = Api::connect(&server, &token).await;
    let fault =
        json!({ "path": "/services/data/", "kind": "delay", "delayMs": asked.delay_ms, "times": 4_000_000 });
    let sync = api.activate(sim).await.name;
    http_json("POST", &format!("{}/faults", sim.control), &fault.to_string());
    while api.sync(&sync).await.totals.is_none_or(|totals| totals.read == 0) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (mut kills, mut tried) = ([0_u32; 2], 0);
    while kills[0] + kills[1] < asked.kills && tried < 2 * asked.kills {
        let between = match tried % 2 {
            0 => Between::CommitAndReport,
            _ => Between::LeaseAndClaim,
        };
        tried += 1;
        server.process.0.kill().unwrap();
        server.process.0.wait().unwrap();
        let running = std::cell::RefCell::new(None);
        let reached = tokio::task::block_in_place(|| {
            let start = || *running.borrow_mut() = Some(place.start());
            let kill = || {
                if let Some(mut server) = running.borrow_mut().take() {
                    server.process.0.kill().unwrap();
                    server.process.0.wait().unwrap();
                }
            };
            seam.kill(between, start, kill)
        });
        kills[tried as usize % 2] += u32::from(reached);
        eprintln!("  {between:?}: {}", if reached { "killed" } else { "missed" });
        server = place.start();
    }
    http_json("DELETE", &format!("{}/faults", sim.control), "");
    let api = Api::connect(&server, &token).await;
    let done = api.succeeded(&sync).await;
    let compared = compare(sim, &api).await;
    json!({
        "agrees": compared["agrees"] == true && kills[0] + kills[1] >= asked.kills, "kills_between_commit_and_report": kills[1],
        "kills_between_lease_and_claim": kills[0], "tried": tried, "delay_ms": asked.delay_ms,
        "attempt": done.attempt, "counts": counts(&done), "comparison": compared,
    })
}

/// What was read again, from the simulator's journal: where each stream of pages began, and how far the one before had
/// been answered.
fn repeated(sim: &Sim, kills: usize) -> Json {
    let journal = http_json("GET", &format!("{}/requests?limit=1000000", sim.control), "");
    let mut ids: HashMap<&str, Vec<String>> = HashMap::new();
    for (name, _) in FIELDS {
        let mut all = Vec::new();
        // The connector reads deleted rows too, to determine which are deleted.
        let url = format!("{}/truth?object={name}&fields=Id&deleted=true", sim.control);
        for text in http("GET", &url, "").lines() {
            let row: Json = serde_json::from_str(&text.unwrap()).unwrap();
            all.push(row["Id"].as_str().unwrap().to_owned());
        }
        all.sort();
        ids.insert(name, all);
    }
    // The number of answered rows of each object.
    let mut reached: HashMap<String, usize> = HashMap::new();
    let mut served = 0_u64;
    let mut restarts = Vec::new();
    let mut object = String::new();
    let mut at = 0_usize;
    for request in journal["requests"].as_array().unwrap() {
        let kind = request["kind"].as_str().unwrap();
        if request["status"] != 200 || !matches!(kind, "query" | "query_all" | "query_more") {
            continue;
        }
        if kind != "query_more" {
            let soql = request["soql"].as_str().unwrap();
            if soql.starts_with("SELECT COUNT()") || !soql.contains(" ORDER BY Id") {
                continue;
            }
            let from = soql.split(" FROM ").nth(1).unwrap();
            object = from.split_whitespace().next().unwrap().to_owned();
            let after = soql
                .split("WHERE Id > '")
                .nth(1)
                .map(|rest| rest.split('\'').next().unwrap());
            at = after.map_or(0, |after| {
                ids[object.as_str()].partition_point(|id| id.as_str() <= after)
            });
            let before = reached.get(&object).copied().unwrap_or(0);
            if before > 0 {
                restarts.push(json!({
                    "object": object, "from_row": at, "answered_to_row": before,
                    "rows_again": before.saturating_sub(at),
                    "pages_again": before.saturating_sub(at).div_ceil(PAGE), "rows_skipped": at.saturating_sub(before),
                }));
            }
        }
        at = (at + PAGE).min(ids[object.as_str()].len());
        reached.insert(object.clone(), at);
        served += 1;
    }
    let again = |n: u64| restarts.iter().filter(|r| r["pages_again"] == n).count();
    let most = restarts
        .iter()
        .map(|r| r["pages_again"].as_u64().unwrap())
        .max()
        .unwrap_or(0);
    let skipped: u64 = restarts.iter().map(|r| r["rows_skipped"].as_u64().unwrap()).sum();
    let needed: usize = ids.values().map(|ids| ids.len().div_ceil(PAGE)).sum();
    json!({
        "kills": kills, "pages_needed": needed, "pages_served": served, "restarts_within_an_object": restarts.len(),
        "pages_again_at_most": most, "with_0_pages_again": again(0), "with_1": again(1), "with_2": again(2),
        "with_3": again(3), "rows_skipped": skipped, "restarts": restarts,
    })
}

/// The command line's options.
struct Asked {
    accounts: u32,
    databases: Vec<&'static str>,
    kills: u32,
    between: bool,
    kill_within_ms: u64,
    delay_ms: u64,
    seed: u64,
}

impl Asked {
    fn read() -> Self {
        let mut asked = Self {
            accounts: 100_000,
            databases: vec!["sqlite", "postgres"],
            kills: 0,
            between: false,
            kill_within_ms: 2_000,
            delay_ms: 300,
            seed: 1,
        };
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            let value = words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match word.as_str() {
                "--accounts" => asked.accounts = value.parse().unwrap(),
                "--kills" => asked.kills = value.parse().unwrap(),
                "--between" => asked.between = value.parse().unwrap(),
                "--kill-within-ms" => asked.kill_within_ms = value.parse().unwrap(),
                "--delay-ms" => asked.delay_ms = value.parse().unwrap(),
                "--seed" => asked.seed = value.parse().unwrap(),
                "--database" => {
                    asked.databases = match value.as_str() {
                        "sqlite" => vec!["sqlite"],
                        "postgres" => vec!["postgres"],
                        "split" => vec!["split"],
                        _ => vec!["sqlite", "postgres"],
                    }
                }
                _ => panic!("unknown: {word}"),
            }
        }
        asked
    }
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
    let mut all_agree = true;
    for database in &asked.databases {
        eprintln!("{database}: {} accounts, {} kills", asked.accounts, asked.kills);
        let given = std::env::var("TETHER_BENCH_POSTGRES").ok();
        let made = match *database {
            "postgres" if given.is_none() => Some(postgres::database()),
            "split" => Some(postgres::split()),
            _ => None,
        };
        let url = match *database {
            "sqlite" => None,
            "split" => made.as_ref().map(|d| d.url.clone()),
            _ => given.or(made.as_ref().map(|d| d.url.clone())),
        };
        let data = made
            .as_ref()
            .map(postgres::Database::data_urls)
            .unwrap_or_default();
        let control = url.clone().unwrap_or_default();
        let sim = Sim::start(&bin, asked.accounts, asked.seed);
        let place = Place {
            bin: bin.clone(),
            connectors: connectors.clone(),
            data: tempfile::tempdir().unwrap(),
            database: url,
            sim: sim.host.clone(),
            refresh_seconds: 120,
            more: ["database.data.data0", "database.data.data1"]
                .into_iter()
                .zip(data.iter().map(|(_, url)| url.clone()))
                .collect(),
            lease_seconds: if asked.kills > 0 { 2 } else { 30 },
        };
        let result = runtime.block_on(async {
            match asked.kills {
                0 => whole(&sim, &place).await,
                _ if asked.between => {
                    let mut places: Vec<String> = data.iter().map(|(_, url)| url.clone()).collect();
                    if places.is_empty() {
                        places.push(control.clone());
                    }
                    killed_between(&sim, &place, &asked, Seam::new(&control, &places)).await
                }
                _ => killed(&sim, &place, &asked).await,
            }
        });
        all_agree &= result["agrees"] == true;
        let whole = json!({
            "bench": "truth", "database": database, "accounts": asked.accounts, "related": asked.accounts * 3,
            "seed": asked.seed, "cores": std::thread::available_parallelism().map_or(0, usize::from),
            "rustc": said("rustc", &["--version"]), "commit": said("git", &["rev-parse", "HEAD"]),
            "command": std::env::args().skip(1).collect::<Vec<_>>().join(" "), "result": result,
        });
        println!("{}", serde_json::to_string_pretty(&whole).unwrap());
    }
    assert!(all_agree, "what came out is not what went in");
}
