//! Whether crashes lose or repeat anything, and leave jobs behind at the CRM.
//!
//! `cargo bench --bench crashes -- --kills 100 --way all --victim all --database both --seed 1` syncs a simulated Salesforce
//! into a server, and then again and again after random changes, by Bulk or by changes with everything that is due
//! besides. In each of these syncs the server, or the connector's process, is killed (SIGKILL) at a random moment. The sync
//! goes on by itself. Every ten kills, and at the end, all data is read back over gRPC and compared with the simulator's
//! truth, and no job of Bulk may be left there.
//!
//! Programs and PostgreSQL as in the bench `truth`. Prints one JSON object for each run; fails on a difference.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a program for people"
)]

#[path = "../tests/it/support/postgres.rs"]
mod postgres;
#[path = "support/truth.rs"]
mod truth;
#[path = "support/way.rs"]
mod way;
#[path = "support/world.rs"]
mod world;

use std::process::Command;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value as Json, json};
use tether::proto::v1::sync::State;
use truth::compare;
use way::{CHANGES, CONTACTS, DATA, Way};
use world::{Api, Place, Server, Sim, http_json, programs, said};

/// Answers are so slow that kills fall between requests, too.
const DELAY_MS: u64 = 25;
const COMPARED_EVERY: u32 = 10;
/// A connector that fails six times, each time within a minute, is called once a minute only. The server is restarted before.
const CONNECTOR_KILLS: u32 = 3;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Server,
    Connector,
}

/// The command line's options.
struct Asked {
    accounts: u32,
    kills: u32,
    databases: Vec<&'static str>,
    ways: Vec<Way>,
    victims: Vec<Victim>,
    seed: u64,
}

impl Asked {
    fn read() -> Self {
        let mut asked = Self {
            accounts: 150,
            kills: 100,
            databases: vec!["sqlite", "postgres"],
            ways: vec![Way::Bulk, Way::Incremental],
            victims: vec![Victim::Server, Victim::Connector],
            seed: 1,
        };
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            let value = words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match (word.as_str(), value.as_str()) {
                ("--accounts", _) => asked.accounts = value.parse().unwrap(),
                ("--kills", _) => asked.kills = value.parse().unwrap(),
                ("--seed", _) => asked.seed = value.parse().unwrap(),
                ("--way" | "--victim", "all") | ("--database", "both") => {}
                ("--way", _) => {
                    asked.ways = Way::ALL.to_vec();
                    asked.ways.retain(|way| way.name() == value);
                }
                ("--victim", "server") => asked.victims = vec![Victim::Server],
                ("--victim", "connector") => asked.victims = vec![Victim::Connector],
                ("--database", "sqlite") => asked.databases = vec!["sqlite"],
                ("--database", "postgres") => asked.databases = vec!["postgres"],
                _ => panic!("unknown: {word} {value}"),
            }
        }
        assert!(!asked.ways.is_empty(), "no such way");
        asked
    }
}

/// A server that is killed and started again.
struct Running<'a> {
    sim: &'a Sim,
    place: &'a Place,
    token: String,
    server: Server,
    api: Api,
    integration: String,
    way: Way,
}

impl Running<'_> {
    async fn kill(&mut self, victim: Victim) {
        if victim == Victim::Connector {
            let pid = self.server.process.0.id().to_string();
            // There is none between a crash and the next call.
            let _ = Command::new("pkill").args(["-KILL", "-P", &pid]).status();
            return;
        }
        self.start_again().await;
    }

    async fn start_again(&mut self) {
        self.server.process.0.kill().unwrap();
        self.server.process.0.wait().unwrap();
        self.server = self.place.start();
        self.api = Api::connect(&self.server, &self.token).await;
    }

    fn control(&self, path: &str, body: &Json) {
        http_json("POST", &format!("{}{path}", self.sim.control), &body.to_string());
    }

    /// One sync with a kill; returns whether the sync was running, how long it took, and its attempts.
    async fn once(&mut self, victim: Victim, seed: u64, dice: &mut StdRng, usual: Duration) -> (bool, u32) {
        self.control(
            "/records/random",
            &json!({ "seed": seed, "count": 20, "kinds": CHANGES }),
        );
        let sync = self.way.begin(&self.api, &self.integration).await;
        let most = u64::try_from(usual.as_millis()).unwrap_or(1_000).max(50);
        tokio::time::sleep(Duration::from_millis(dice.random_range(0..most))).await;
        let running = self.api.sync(&sync).await.end_time.is_none();
        self.kill(victim).await;
        let ended = self.api.finished(&sync).await;
        assert_eq!(ended.state(), State::Succeeded, "{ended:?}");
        (running, u32::try_from(ended.attempt).unwrap_or(0))
    }

    /// The difference between the server and the simulator, and the jobs that are left there.
    async fn check(&self) -> Json {
        let jobs = http_json("GET", &format!("{}/jobs", self.sim.control), "");
        let compared = compare(self.sim, &self.api).await;
        json!({
            "agrees": compared["agrees"] == true && jobs["existing"] == 0, "jobs_left": jobs["existing"],
            "differences": compared["differences"], "examples": compared["examples"],
        })
    }
}

async fn run(sim: &Sim, place: &Place, way: Way, victim: Victim, asked: &Asked) -> Json {
    let server = place.start();
    let token = place.token();
    let api = Api::connect(&server, &token).await;
    let sync = api.activate(sim).await;
    let sync = api.succeeded(&sync.name).await;
    let (integration, _) = sync.name.split_once("/syncs/").unwrap();
    let mut running = Running {
        sim,
        place,
        token,
        server,
        api,
        integration: integration.to_owned(),
        way,
    };
    running.control(
        "/faults",
        &json!({ "path": DATA, "kind": "delay", "delayMs": DELAY_MS, "times": 100_000_000 }),
    );
    let started = Instant::now();
    let sync = way.begin(&running.api, &running.integration).await;
    running.api.succeeded(&sync).await;
    let usual = started.elapsed();
    let mut dice = StdRng::seed_from_u64(asked.seed);
    let (mut while_running, mut attempts) = (0, 0);
    let mut last = Json::Null;
    for n in 1..=asked.kills {
        let seed = asked.seed * 100_000 + u64::from(n);
        let (was, attempt) = running.once(victim, seed, &mut dice, usual).await;
        while_running += u32::from(was);
        attempts += attempt;
        if victim == Victim::Connector && n % CONNECTOR_KILLS == 0 {
            running.start_again().await;
        }
        if n % COMPARED_EVERY == 0 || n == asked.kills {
            last = running.check().await;
            eprintln!(
                "  {n} kills, {while_running} of them in a sync: {}",
                last["agrees"]
            );
            if last["agrees"] != true {
                break;
            }
        }
    }
    json!({
        "agrees": last["agrees"], "kills": asked.kills, "kills_in_a_sync": while_running, "attempts": attempts,
        "usual_sync_ms": usual.as_millis() as u64, "last": last,
    })
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
        for &way in &asked.ways {
            for &victim in &asked.victims {
                eprintln!("{database}, {}, {victim:?}", way.name());
                let made = (*database == "postgres").then(postgres::database);
                let sim = Sim::start_with(&bin, asked.accounts, asked.seed, CONTACTS);
                let mut more = way.settings();
                if way == Way::Incremental {
                    more.push(("sync.sweep_hours", "0".to_owned()));
                    more.push(("sync.calculated_hours", "0".to_owned()));
                }
                more.push(("connector.salesforce.settings.back_off_ms", "50".to_owned()));
                more.push(("sync.first_pause_milliseconds", "100".to_owned()));
                let place = Place {
                    bin: bin.clone(),
                    connectors: connectors.clone(),
                    data: tempfile::tempdir().unwrap(),
                    database: made.as_ref().map(|database| database.url.clone()),
                    sim: sim.host.clone(),
                    refresh_seconds: 30,
                    more,
                    lease_seconds: 2,
                };
                let result = runtime.block_on(run(&sim, &place, way, victim, &asked));
                all_agree &= result["agrees"] == true;
                let whole = json!({
                    "bench": "crashes", "database": database, "way": way.name(), "victim": format!("{victim:?}"),
                    "accounts": asked.accounts, "seed": asked.seed, "commit": said("git", &["rev-parse", "HEAD"]),
                    "command": std::env::args().skip(1).collect::<Vec<_>>().join(" "), "result": result,
                });
                println!("{}", serde_json::to_string_pretty(&whole).unwrap());
            }
        }
    }
    assert!(all_agree, "data differs, or a job is left");
}
