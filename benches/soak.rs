//! Whether the stored data stays true for a long time, with everything going on at once.
//!
//! `cargo bench --bench soak -- --minutes 30 --accounts 3000 --seed 1` runs two servers on one PostgreSQL. An integration
//! with a schedule of five minutes follows a simulated Salesforce in which rows are created, changed, deleted, restored,
//! purged, merged and moved, rows and fields are hidden and shown, sessions end, and answers fail, all at random. Callers
//! open profiles on both servers meanwhile. At the end the changes stop, hidden things are shown again, and after the next
//! syncs all data is read back over gRPC and compared with the simulator's truth.
//!
//! Programs and PostgreSQL as in the bench `truth`. Prints a JSON object; fails on a difference.
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

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value as Json, json};
use tether::proto::v1;
use truth::compare;
use way::{CHANGES, DATA, open};
use world::{Api, Place, Sim, http_json, http_reply, programs, said};

const CALLERS: usize = 3;
const ADMIN: &str = "admin@acme.example";
/// Syncs after which everything must be true: a field that comes back is noticed by one and filled by the next.
const LAST_SYNCS: usize = 3;

/// The command line's options.
struct Asked {
    minutes: u64,
    accounts: u32,
    seed: u64,
}

impl Asked {
    fn read() -> Self {
        let mut asked = Self {
            minutes: 30,
            accounts: 3_000,
            seed: 1,
        };
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            let value = words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match word.as_str() {
                "--minutes" => asked.minutes = value.parse().unwrap(),
                "--accounts" => asked.accounts = value.parse().unwrap(),
                "--seed" => asked.seed = value.parse().unwrap(),
                _ => panic!("unknown: {word} {value}"),
            }
        }
        asked
    }
}

/// What goes on in the simulator.
struct Life {
    control: String,
    dice: StdRng,
    accounts: Vec<String>,
    unshared: Vec<String>,
    hidden: bool,
    done: BTreeMap<&'static str, u64>,
}

impl Life {
    fn control(&self, path: &str, body: &Json) {
        http_json("POST", &format!("{}{path}", self.control), &body.to_string());
    }

    /// Hides a record from the user, or shows it. It is refused for one that is gone.
    fn sight(&self, path: &str, id: &str) {
        let body = json!({ "id": id, "user": ADMIN });
        let _ = http_reply("POST", &format!("{}{path}", self.control), &body.to_string());
    }

    /// One thing.
    fn step(&mut self) {
        let what = self.dice.random_range(0..100);
        let name = match what {
            0..70 => {
                let seed = self.dice.random::<u32>();
                self.control(
                    "/records/random",
                    &json!({ "seed": seed, "count": 5, "kinds": CHANGES }),
                );
                "changes"
            }
            70..77 => {
                let id = self.accounts.choose(&mut self.dice).unwrap().clone();
                self.sight("/records/unshare", &id);
                self.unshared.push(id);
                "unshare"
            }
            77..84 => {
                if let Some(id) = self.unshared.pop() {
                    self.sight("/records/share", &id);
                }
                "share"
            }
            84..87 => {
                let how = if self.hidden {
                    "/fields/show"
                } else {
                    "/fields/hide"
                };
                self.control(how, &json!({ "object": "Account", "field": "Industry" }));
                self.hidden = !self.hidden;
                "field"
            }
            87..90 => {
                self.control("/sessions/expire", &json!({}));
                "session"
            }
            90..93 => {
                self.control("/cursors/drop", &json!({}));
                "cursors"
            }
            _ => {
                let kinds = ["cut", "reset", "lost", "html", "garbage", "cutGzip"];
                let kind = kinds.choose(&mut self.dice).unwrap();
                let times = self.dice.random_range(1..4);
                self.control("/faults", &json!({ "path": DATA, "kind": kind, "times": times }));
                "fault"
            }
        };
        *self.done.entry(name).or_default() += 1;
    }

    /// Shows what is hidden, and ends the faults.
    fn end(&mut self) {
        http_json("DELETE", &format!("{}/faults", self.control), "");
        for id in std::mem::take(&mut self.unshared) {
            self.sight("/records/share", &id);
        }
        if self.hidden {
            self.control(
                "/fields/show",
                &json!({ "object": "Account", "field": "Industry" }),
            );
        }
    }
}

/// Opens profiles until the end; counts what they said.
async fn caller(
    api: Api,
    names: Arc<Vec<String>>,
    seed: u64,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<BTreeMap<String, u64>>>,
) {
    let mut dice = StdRng::seed_from_u64(seed);
    while !stop.load(Ordering::Relaxed) {
        let name = names.choose(&mut dice).unwrap().clone();
        for said in open(&api, &[name]).await {
            let kind = said.split(':').next().unwrap_or_default().to_owned();
            *seen.lock().entry(kind).or_default() += 1;
        }
        tokio::time::sleep(Duration::from_millis(dice.random_range(50..400))).await;
    }
}

/// All syncs of the integration.
async fn syncs(api: &Api, integration: &str) -> Vec<v1::Sync> {
    let list = v1::ListSyncsRequest {
        parent: integration.to_owned(),
        page_size: 200,
        ..Default::default()
    };
    let listed = api.integrations().list_syncs(api.ask(list)).await.unwrap();
    listed.into_inner().syncs
}

async fn soak(sim: &Sim, place: &Place, asked: &Asked) -> Json {
    let first = place.start();
    let beside = place.beside();
    let servers = [first, beside.start()];
    let token = place.token();
    let mut apis = Vec::new();
    for server in &servers {
        apis.push(Api::connect(server, &token).await);
    }
    let api = apis[0].clone();
    let sync = api.activate(sim).await;
    let sync = api.succeeded(&sync.name).await;
    let integration = sync.name.split("/syncs/").next().unwrap().to_owned();
    let update = v1::UpdateIntegrationRequest {
        integration: Some(v1::Integration {
            name: integration.clone(),
            schedule: Some(v1::SyncSchedule {
                interval: Some(prost_types::Duration {
                    seconds: 300,
                    nanos: 0,
                }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    api.integrations()
        .update_integration(api.ask(update))
        .await
        .unwrap();

    let names = Arc::new(api.company_names().await);
    let (stop, seen) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(Mutex::new(BTreeMap::new())),
    );
    let mut callers = tokio::task::JoinSet::new();
    for n in 0..CALLERS * apis.len() {
        let api = apis[n % apis.len()].clone();
        callers.spawn(caller(
            api,
            names.clone(),
            asked.seed + n as u64,
            stop.clone(),
            seen.clone(),
        ));
    }
    let mut accounts = Vec::new();
    sim.truth("Account", |id, _, _| accounts.push(id));
    let mut life = Life {
        control: sim.control.clone(),
        dice: StdRng::seed_from_u64(asked.seed),
        accounts,
        unshared: Vec::new(),
        hidden: false,
        done: BTreeMap::new(),
    };
    let begun = Instant::now();
    let (minute, mut told) = (Duration::from_secs(60), 0);
    while begun.elapsed() < minute * u32::try_from(asked.minutes).unwrap() {
        tokio::task::block_in_place(|| life.step());
        tokio::time::sleep(Duration::from_millis(300)).await;
        if begun.elapsed().as_secs() / 60 > told {
            told += 1;
            eprintln!(
                "  {told} minutes, {} syncs",
                syncs(&api, &integration).await.len()
            );
        }
    }
    stop.store(true, Ordering::Relaxed);
    callers.join_all().await;
    tokio::task::block_in_place(|| life.end());

    let mut compared = Json::Null;
    for _ in 0..LAST_SYNCS {
        let last = apis[1].sync_now(&integration).await;
        apis[1].finished(&last).await;
        compared = compare(sim, &apis[1]).await;
        if compared["agrees"] == true {
            break;
        }
    }
    let mut by_kind: BTreeMap<String, u64> = BTreeMap::new();
    let mut calls = 0;
    for sync in syncs(&api, &integration).await {
        let kind = format!("{} {}", sync.trigger().as_str_name(), sync.state().as_str_name());
        *by_kind.entry(kind).or_default() += 1;
        calls += sync.api_calls_used;
    }
    let jobs = http_json("GET", &format!("{}/jobs", sim.control), "");
    json!({
        "agrees": compared["agrees"] == true && jobs["existing"] == 0, "minutes": asked.minutes, "in_the_crm": life.done,
        "syncs": by_kind, "api_calls_of_syncs": calls, "profiles": *seen.lock(), "comparison": compared,
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
    let database = postgres::database();
    let sim = Sim::start(&bin, asked.accounts, asked.seed);
    let place = Place {
        bin,
        connectors,
        data: tempfile::tempdir().unwrap(),
        database: Some(database.url.clone()),
        sim: sim.host.clone(),
        refresh_seconds: 30,
        more: vec![
            ("sync.sweep_hours", "0".to_owned()),
            ("sync.calculated_hours", "0".to_owned()),
        ],
        lease_seconds: 5,
    };
    let result = runtime.block_on(soak(&sim, &place, &asked));
    let whole = json!({
        "bench": "soak", "accounts": asked.accounts, "seed": asked.seed, "commit": said("git", &["rev-parse", "HEAD"]),
        "command": std::env::args().skip(1).collect::<Vec<_>>().join(" "), "result": result,
    });
    println!("{}", serde_json::to_string_pretty(&whole).unwrap());
    assert!(whole["result"]["agrees"] == true, "the data differs");
}
