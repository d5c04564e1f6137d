//! Whether a credential with single-use refresh tokens stays valid: many callers, two processes, kills.
//!
//! `cargo bench --bench credentials -- --refreshes 1000 --database both` connects a simulated Salesforce that
//! rotates refresh tokens and revokes all tokens of a login when an old one is used again. Sixteen callers
//! open profiles while the simulator repeatedly expires all access tokens, until this many refreshes were
//! made: with two server processes on PostgreSQL, with one on SQLite. With `--kills 20` a process is killed
//! (SIGKILL) at random moments and restarted, this many times. A crash between the CRM's answer and its
//! storage loses the token, and Salesforce documents no grace period: such a loss is counted, and repaired by
//! a login; any other loss fails the bench.
//!
//! Programs and PostgreSQL as in the bench `truth`. Prints one JSON object for each database.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a program for people"
)]

#[path = "../tests/it/support/postgres.rs"]
mod postgres;
#[path = "support/world.rs"]
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value as Json, json};
use tether::proto::v1::{self, ErrorReason, get_company_profile_request::Refresh};
use world::{Api, GROUP, Place, Server, Sim, http_json, programs, said};

const CALLERS: usize = 16;
const PAUSE_FIRST: &str = "grants.first_retry_seconds";
const PAUSE_LONGEST: &str = "grants.longest_retry_seconds";

struct Asked {
    refreshes: u64,
    databases: Vec<&'static str>,
    kills: u64,
    seed: u64,
}

impl Asked {
    fn read() -> Self {
        let mut asked = Self {
            refreshes: 1_000,
            databases: vec!["sqlite", "postgres"],
            kills: 0,
            seed: 1,
        };
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            let value = words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match (word.as_str(), value.as_str()) {
                ("--refreshes", _) => asked.refreshes = value.parse().unwrap(),
                ("--kills", _) => asked.kills = value.parse().unwrap(),
                ("--seed", _) => asked.seed = value.parse().unwrap(),
                ("--database", "sqlite") => asked.databases = vec!["sqlite"],
                ("--database", "postgres") => asked.databases = vec!["postgres"],
                ("--database", _) => {}
                _ => panic!("unknown: {word}"),
            }
        }
        asked
    }
}

/// The results of the callers.
#[derive(Default)]
struct Seen {
    live: AtomicU64,
    /// Stored data was shown, for another reason than a lost login.
    stale: AtomicU64,
    /// The card's reason was a lost login.
    lost: AtomicU64,
    /// The server could not be reached, because it had just been killed.
    unreachable: AtomicU64,
    longest_ms: AtomicU64,
}

/// The current addresses of the servers.
type Servers = Arc<Vec<Mutex<String>>>;

async fn caller(
    servers: Servers,
    token: String,
    names: Arc<Vec<String>>,
    seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
) {
    let mut rng = rand::rngs::StdRng::from_os_rng();
    while !stop.load(Ordering::Relaxed) {
        let at = rng.random_range(0..servers.len());
        let address = servers[at].lock().clone();
        let Some(api) = Api::try_connect(&address, &token).await else {
            seen.unreachable.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        for _ in 0..20 {
            let get = v1::GetCompanyProfileRequest {
                name: names[rng.random_range(0..names.len())].clone(),
                parent: GROUP.to_owned(),
                refresh: Refresh::Always.into(),
                refresh_timeout: Some(Duration::from_secs(30).try_into().unwrap()),
                ..Default::default()
            };
            let begun = Instant::now();
            let Ok(answer) = api.companies().get_company_profile(api.ask(get)).await else {
                seen.unreachable.fetch_add(1, Ordering::Relaxed);
                break;
            };
            let took = begun.elapsed().as_millis() as u64;
            seen.longest_ms.fetch_max(took, Ordering::Relaxed);
            let freshness = answer.into_inner().cards.remove(0).freshness.unwrap();
            let what = match freshness.stale_reason.map(|why| why.reason()) {
                None => &seen.live,
                Some(ErrorReason::CredentialsRevoked | ErrorReason::NotLoggedIn) => &seen.lost,
                Some(_) => &seen.stale,
            };
            what.fetch_add(1, Ordering::Relaxed);
            if stop.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

async fn oauth(sim: &Sim) -> Json {
    let url = format!("{}/oauth", sim.control);
    tokio::task::spawn_blocking(move || http_json("GET", &url, ""))
        .await
        .unwrap()
}

async fn control(sim: &Sim, path: &str, body: &'static str) {
    let url = format!("{}{path}", sim.control);
    tokio::task::spawn_blocking(move || http_json("POST", &url, body))
        .await
        .unwrap();
}

/// A client of any server that answers.
async fn any(servers: &Servers, token: &str) -> Api {
    loop {
        for server in servers.iter() {
            let address = server.lock().clone();
            if let Some(api) = Api::try_connect(&address, token).await {
                return api;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn prove(sim: &Sim, place: &Arc<Place>, processes: usize, asked: &Asked) -> Json {
    let mut running: Vec<Server> = (0..processes).map(|_| place.start()).collect();
    let addresses = running
        .iter()
        .map(|server| Mutex::new(server.grpc.clone()))
        .collect();
    let (servers, token): (Servers, _) = (Arc::new(addresses), place.token());
    let api = any(&servers, &token).await;
    // The callers make more calls than the budget of a day allows by default.
    control(sim, "/limits", r#"{"max": 10000000, "used": 0}"#).await;
    let sync = api.connect_crm(sim, vec!["Account.Name".to_owned()]).await;
    api.succeeded(&sync.name).await;
    let integration = sync.name.split("/syncs/").next().unwrap().to_owned();
    let names = Arc::new(api.company_names().await);
    control(sim, "/oauth/settings", r#"{"rotation": true}"#).await;

    let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let (servers, token, names) = (servers.clone(), token.clone(), names.clone());
        callers.spawn(caller(servers, token, names, seen.clone(), stop.clone()));
    }
    let killer = {
        let (servers, place, stop) = (servers.clone(), place.clone(), stop.clone());
        let (kills, seed) = (asked.kills, asked.seed);
        std::thread::spawn(move || {
            let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
            let mut done = 0;
            while done < kills && !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(rng.random_range(100..1_500)));
                let at = rng.random_range(0..servers.len());
                running[at].process.0.kill().unwrap();
                running[at].process.0.wait().unwrap();
                running[at] = place.start();
                servers[at].lock().clone_from(&running[at].grpc);
                done += 1;
            }
            (done, running)
        })
    };
    // Access tokens expire again as soon as the last refresh is complete.
    let begun = Instant::now();
    let (mut rotated, mut logins, mut slowest) = (0, 0, Duration::ZERO);
    let mut rng = rand::rngs::StdRng::seed_from_u64(asked.seed);
    while rotated < asked.refreshes || !killer.is_finished() {
        // Long enough for some callers, too short for most.
        tokio::time::sleep(Duration::from_millis(rng.random_range(20..100))).await;
        control(sim, "/sessions/expire", "{}").await;
        let (ended, lost) = (Instant::now(), seen.lost.load(Ordering::Relaxed));
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let now = oauth(sim).await;
            if now["rotated"].as_u64().unwrap() > rotated {
                rotated = now["rotated"].as_u64().unwrap();
                slowest = slowest.max(ended.elapsed());
                break;
            }
            // Or the crash happened during a login: the CRM has a credential that the server never stored.
            let unknown =
                ended.elapsed() > Duration::from_secs(2) && seen.lost.load(Ordering::Relaxed) > lost;
            let dead = now["grants"]
                .as_array()
                .unwrap()
                .iter()
                .all(|credential| credential["revoked"] == true);
            if dead || unknown {
                // Lost in a crash: a new login keeps everything else.
                let api = any(&servers, &token).await;
                if api.try_log_in(sim, &integration).await {
                    logins += 1;
                }
                break;
            }
            assert!(
                ended.elapsed() < Duration::from_secs(120),
                "no refresh any more: {now}"
            );
        }
        if rotated % 100 == 0 {
            eprintln!(
                "  {rotated} refreshes, {:.0} s, {logins} logins",
                begun.elapsed().as_secs_f64()
            );
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    callers.join_all().await;
    let (kills, _running) = killer.join().unwrap();

    // The credential is valid: the next read is live.
    control(sim, "/sessions/expire", "{}").await;
    let api = any(&servers, &token).await;
    let sync = api.sync_now(&integration).await;
    api.succeeded(&sync).await;
    let end = oauth(sim).await;
    let reused = end["reused"].as_u64().unwrap();
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    // Each loss belongs to a crash; without crashes there is no loss.
    let survives = reused <= kills && logins <= kills && (kills > 0 || of(&seen.lost) == 0);
    json!({
        "processes": processes, "refreshes": rotated, "seconds": seconds, "refreshes_per_second": rotated as f64 / seconds,
        "slowest_refresh_seconds": slowest.as_secs_f64(), "kills": kills,
        "old_tokens_reused": reused, "logins_needed": logins,
        "opens": { "live": of(&seen.live), "stale": of(&seen.stale), "login_lost": of(&seen.lost),
            "unreachable": of(&seen.unreachable), "longest_ms": of(&seen.longest_ms) },
        "survives": survives,
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
    let mut all = true;
    for database in &asked.databases {
        eprintln!("{database}: {} refreshes, {} kills", asked.refreshes, asked.kills);
        let given = std::env::var("TETHER_BENCH_POSTGRES").ok();
        let made = (*database == "postgres" && given.is_none()).then(postgres::database);
        let url = (*database == "postgres").then(|| given.or(made.as_ref().map(|d| d.url.clone())).unwrap());
        let sim = Sim::start(&bin, 3_000, asked.seed);
        let place = Arc::new(Place {
            bin: bin.clone(),
            connectors: connectors.clone(),
            data: tempfile::tempdir().unwrap(),
            database: url,
            sim: sim.host.clone(),
            lease_seconds: 2,
            // If a process is killed during a refresh, the account waits for this time and a quarter of it.
            refresh_seconds: 4,
            // Sessions end here right after they begin, which servers take for a refusal that a refresh does not cure: they
            // pause a little longer after each.
            more: [PAUSE_FIRST, PAUSE_LONGEST]
                .map(|key| (key, "1".to_owned()))
                .into(),
        });
        let processes = if *database == "postgres" { 2 } else { 1 };
        let result = runtime.block_on(prove(&sim, &place, processes, &asked));
        all &= result["survives"] == true;
        let whole = json!({
            "bench": "credentials", "database": database, "cores": std::thread::available_parallelism().map_or(0, usize::from),
            "commit": said("git", &["rev-parse", "HEAD"]), "programs": bin.display().to_string(),
            "command": std::env::args().skip(1).collect::<Vec<_>>().join(" "), "result": result,
        });
        println!("{}", serde_json::to_string_pretty(&whole).unwrap());
    }
    assert!(all, "a credential was lost without a crash");
}
