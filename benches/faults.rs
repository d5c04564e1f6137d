//! Whether a sync reports its result correctly, for any fault.
//!
//! `cargo bench --bench faults -- --accounts 150 --database both --way all --seed 1` syncs a simulated Salesforce once for
//! each way of reading (`support/way.rs`). Then, for each fault of `support/trouble.rs`, rows are changed, deleted and
//! created in the simulator, the fault is activated, and a sync is started. If it ends as SUCCEEDED, all data of the server
//! is compared with the simulator's, record by record. If it ends otherwise, no company that is still in the CRM may have
//! left the list, and a cause must be shown; the fault is removed, the next sync must succeed, and the same comparison
//! must find no difference. With the way `live`, profiles are opened during the fault: each must be live or say why not.
//! The seed chooses the requests that the faults meet. `--only WORDS` runs the faults whose names contain the words.
//!
//! Programs and PostgreSQL as in the bench `truth`. Prints one JSON object per database, with a line for each
//! fault on standard error; fails if a sync that ended as SUCCEEDED, or a recovery, is not complete.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a program for people"
)]

#[path = "../tests/it/support/postgres.rs"]
mod postgres;
#[path = "support/trouble.rs"]
mod trouble;
#[path = "support/truth.rs"]
mod truth;
#[path = "support/way.rs"]
mod way;
#[path = "support/world.rs"]
mod world;

use std::collections::HashSet;
use std::process::Command;
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use serde_json::{Value as Json, json};
use tether::proto::v1;
use trouble::{Blow, Fault, Retyped};
use truth::{But, compare, compare_but};
use way::{CONTACTS, Way};
use world::{Api, GROUP, Place, Server, Sim, http_json, http_reply, programs, said};

/// How long a sync may wait before the fault is removed.
const PATIENCE: Duration = Duration::from_secs(20);
/// Within this time the server detects that a refusal has ended.
const SPACED: Duration = Duration::from_secs(60);
const LEASE_SECONDS: u64 = 4;
/// How long syncs wait when the allowance of a day is used up.
const ALLOWANCE_SECONDS: i64 = 3_600;

/// A server that can be killed, and its client.
struct Running<'a> {
    place: &'a Place,
    token: String,
    server: Server,
    api: Api,
    integration: String,
}

impl Running<'_> {
    async fn start_again(&mut self) {
        self.server.process.0.kill().unwrap();
        self.server.process.0.wait().unwrap();
        self.server = self.place.start();
        self.api = Api::connect(&self.server, &self.token).await;
    }

    /// The sync, once it is final or has waited too long.
    async fn outcome(&self, sync: &str) -> v1::Sync {
        let started = Instant::now();
        loop {
            let sync = self.api.sync(sync).await;
            if sync.end_time.is_some() || started.elapsed() > PATIENCE {
                return sync;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn cancel(&self, sync: &str) {
        let cancel = v1::CancelSyncRequest {
            name: sync.to_owned(),
        };
        let _ = self.api.integrations().cancel_sync(self.api.ask(cancel)).await;
        loop {
            let sync = self.api.sync(sync).await;
            if sync.end_time.is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Another sync, after its end; of everything, if `full`.
    async fn again(&self, full: bool) -> v1::Sync {
        let sync = match full {
            true => way::sync(&self.api, &self.integration, v1::sync::Mode::Full).await,
            false => self.api.sync_now(&self.integration).await,
        };
        loop {
            let sync = self.api.sync(&sync).await;
            if sync.end_time.is_some() {
                return sync;
            }
            let used_up = v1::ErrorReason::CrmAllowanceExhausted;
            if sync.state() == v1::sync::State::Waiting
                && sync.error.is_some_and(|why| why.reason() == used_up)
            {
                // Until the CRM is asked again.
                self.place.pass(ALLOWANCE_SECONDS);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until rows are read or the sync is over.
    async fn reads(&self, sync: &str) {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let sync = self.api.sync(sync).await;
            if sync.end_time.is_some() || sync.totals.is_some_and(|totals| totals.read > 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn strike(&mut self, blow: Blow) {
        let pid = self.server.process.0.id().to_string();
        let run = |program: &str, arguments: &[&str]| {
            assert!(Command::new(program).args(arguments).status().unwrap().success());
        };
        let connector = v1::EnableConnectorRequest {
            parent: GROUP.to_owned(),
            connector: "connectors/salesforce".to_owned(),
        };
        match blow {
            Blow::ServerKilled => self.start_again().await,
            Blow::ConnectorKilled => run("pkill", &["-KILL", "-P", &pid]),
            Blow::ServerFrozen => {
                run("kill", &["-STOP", &pid]);
                tokio::time::sleep(Duration::from_secs(LEASE_SECONDS + 2)).await;
                run("kill", &["-CONT", &pid]);
            }
            Blow::ConnectorDisabled => {
                let disable = v1::DisableConnectorRequest {
                    parent: connector.parent.clone(),
                    connector: connector.connector.clone(),
                };
                let mut api = self.api.integrations();
                api.disable_connector(self.api.ask(disable)).await.unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
                api.enable_connector(self.api.ask(connector)).await.unwrap();
            }
        }
    }
}

/// Changes rows at the simulator, differently each time.
fn change(sim: &Sim, round: usize) {
    let ids = |object: &str| {
        let mut ids = Vec::new();
        sim.truth(object, |id, _, _| ids.push(id));
        ids
    };
    let accounts = ids("Account");
    let step = accounts.len() / 40;
    let some: Vec<&String> = accounts
        .iter()
        .skip(round % step.max(1))
        .step_by(step.max(1))
        .collect();
    let post =
        |path: &str, body: Json| http_json("POST", &format!("{}{path}", sim.control), &body.to_string());
    post(
        "/records/update",
        json!({ "ids": some, "fields": { "Industry": format!("Industry {round}"), "NumberOfEmployees": round } }),
    );
    let contacts = ids("Contact");
    let step = contacts.len() / 20;
    let some: Vec<&String> = contacts
        .iter()
        .skip(round % step.max(1))
        .step_by(step.max(1))
        .collect();
    post(
        "/records/update",
        json!({ "ids": some, "fields": { "Title": format!("Title {round}") } }),
    );
    let last = accounts.len() - 1;
    post(
        "/records/delete",
        json!({ "ids": [&accounts[(round * 7) % last], &accounts[(round * 13 + last / 2) % last]], "cascade": true }),
    );
    post(
        "/records/create",
        json!({ "object": "Account", "fields": {
            "Name": format!("New {round}"), "Website": format!("https://new-{round}.example.com") } }),
    );
}

fn post(sim: &Sim, path: &str, body: &Json) {
    http_json("POST", &format!("{}{path}", sim.control), &body.to_string());
}

/// What happened under a fault.
struct Seen {
    /// The companies that were in the list before it.
    before: HashSet<String>,
    report: Json,
    /// The sync succeeded, and reported these fields as missing.
    success: Option<Vec<String>>,
    /// Everybody could see what happened.
    good: bool,
}

/// A sync under a fault; it is over afterwards.
async fn sync_under(run: &mut Running<'_>, way: Way, fault: &Fault) -> (Json, Option<Vec<String>>, bool) {
    let started = Instant::now();
    let sync = way.begin(&run.api, &run.integration).await;
    if let Some(blow) = fault.blow {
        run.reads(&sync).await;
        run.strike(blow).await;
    }
    let ended = run.outcome(&sync).await;
    let state = ended.state().as_str_name().trim_start_matches("STATE_");
    let cause = |error: &v1::Cause| json!(format!("{}: {}", error.reason().as_str_name(), error.message));
    let objects: serde_json::Map<String, Json> = ended
        .objects
        .iter()
        .filter_map(|object| Some((object.object.clone(), cause(object.error.as_ref()?))))
        .collect();
    // One that waits for an answer has nothing to say yet.
    let has_cause = ended.error.is_some() || !objects.is_empty() || matches!(state, "CANCELLED" | "RUNNING");
    let report = json!({
        "state": state, "attempt": ended.attempt, "seconds": truth::round(started.elapsed().as_secs_f64()),
        "api_calls": ended.api_calls_used, "error": ended.error.as_ref().map(cause), "objects": objects,
        "mode": ended.mode().as_str_name(),
    });
    if ended.state() == v1::sync::State::Succeeded {
        return (report, Some(ended.missing_fields), true);
    }
    if ended.end_time.is_none() {
        run.cancel(&sync).await;
    }
    (report, None, has_cause)
}

/// Profiles that are opened under a fault.
async fn profiles_under(run: &mut Running<'_>, fault: &Fault, before: &HashSet<String>) -> (Json, bool) {
    let started = Instant::now();
    let some: Vec<String> = before.iter().take(4).cloned().collect();
    let opened = {
        let api = run.api.clone();
        tokio::spawn(async move { way::open(&api, &some).await })
    };
    if let Some(blow) = fault.blow {
        tokio::time::sleep(Duration::from_millis(100)).await;
        run.strike(blow).await;
    }
    let said = opened.await.unwrap();
    // A call of a server that is killed fails, and is repeated by whoever needs it.
    let may_fail = matches!(fault.blow, Some(Blow::ServerKilled | Blow::ServerFrozen));
    let good = may_fail
        || said
            .iter()
            .all(|said| !said.starts_with("refused") && !said.ends_with("without a reason"));
    let live = said.iter().filter(|said| *said == "live").count();
    let report = json!({
        "state": format!("{live} LIVE"), "seconds": truth::round(started.elapsed().as_secs_f64()),
        "error": said.iter().find(|said| *said != "live"), "profiles": said,
    });
    (report, good)
}

async fn under(run: &mut Running<'_>, sim: &Sim, way: Way, fault: &Fault, round: usize) -> Seen {
    way.prepare(&run.api, &run.integration).await;
    let before: HashSet<String> = run.api.company_names().await.into_iter().collect();
    change(sim, round);
    for (path, body) in &fault.before {
        post(sim, path, body);
    }
    let (report, success, good) = match way {
        Way::Live => {
            let (report, good) = profiles_under(run, fault, &before).await;
            (report, None, good)
        }
        _ => sync_under(run, way, fault).await,
    };
    Seen {
        before,
        report,
        success,
        good,
    }
}

/// Syncs until the server has what the simulator has: a field that comes back is noticed by one sync and filled by the next.
async fn recover(run: &Running<'_>, sim: &Sim, full: bool, report: &mut Json) -> Json {
    let wished = Instant::now();
    let mut whole = Json::Null;
    for _ in 0..3 {
        let mut again = run.again(full).await;
        // A refused credential is not tried again within seconds, even on request.
        while again.state() == v1::sync::State::Failed && wished.elapsed() < SPACED {
            tokio::time::sleep(Duration::from_secs(3)).await;
            again = run.again(full).await;
        }
        report["recovery"] = json!(again.state().as_str_name());
        if again.state() != v1::sync::State::Succeeded {
            report["recovery_error"] = json!(format!("{:?}", again.error));
            continue;
        }
        whole = compare(sim, &run.api).await;
        if whole["agrees"] == true {
            break;
        }
    }
    report["recovery_seconds"] = json!(truth::round(wished.elapsed().as_secs_f64()));
    report["recovered"] = json!(whole["agrees"] == true);
    whole
}

async fn one(run: &mut Running<'_>, sim: &Sim, way: Way, fault: &Fault, round: usize) -> Json {
    let Seen {
        before,
        mut report,
        success,
        mut good,
    } = under(run, sim, way, fault, round).await;
    report["fault"] = json!(fault.name);
    let listed: HashSet<String> = run.api.company_names().await.into_iter().collect();
    let mut whole = Json::Null;
    if let Some(Retyped { field, is, later }) = fault.retyped {
        // The data is compared as long as the field has the other type.
        let again = if later { Some(run.again(true).await) } else { None };
        let missing = again.map(|sync| sync.missing_fields).or(success.clone());
        let retyped = Some((field, is));
        if let Some(missing) = missing {
            whole = compare_but(sim, &run.api, &But { missing, retyped }).await;
            good &= whole["agrees"] == true;
            report["whole"] = whole["agrees"].clone();
        }
    }
    http_json("DELETE", &format!("{}/faults", sim.control), "");
    for (method, path, body) in &fault.after {
        // It is refused if the fault met no request.
        let _ = http_reply(method, &format!("{}{path}", sim.control), &body.to_string());
    }
    if let Some(missing) = &success
        && fault.retyped.is_none()
        && !fault.changes
    {
        let but = But {
            missing: missing.clone(),
            ..But::default()
        };
        whole = compare_but(sim, &run.api, &but).await;
        good &= whole["agrees"] == true;
        report["whole"] = json!(whole["agrees"]);
        report["missing_fields"] = json!(missing);
    }
    // Also after a success, if the fault hid data.
    if success.is_none() || !good || !fault.after.is_empty() || fault.changes {
        if fault.log_in {
            assert!(run.api.try_log_in(sim, &run.integration).await);
        }
        let recovered = recover(run, sim, fault.retyped.is_some() || fault.everything, &mut report).await;
        if good || whole.is_null() {
            whole = recovered;
        }
        good &= report["recovered"] == true;
    }
    if success.is_none() {
        let still: HashSet<String> = run.api.company_names().await.into_iter().collect();
        let gone = before
            .intersection(&still)
            .filter(|name| !listed.contains(*name))
            .count();
        report["companies_lost"] = json!(gone);
        good &= gone == 0;
    }
    let jobs = || http_json("GET", &format!("{}/jobs", sim.control), "")["existing"].clone();
    if jobs() != 0 {
        // The deletion failed under the fault: the next sync does it.
        report["jobs_for_the_next_sync"] = jobs();
        run.again(false).await;
    }
    report["jobs_left"] = jobs();
    good &= report["jobs_left"] == 0;
    if !good {
        report["differences"] = whole["differences"].clone();
        report["examples"] = whole["examples"].clone();
    }
    report["good"] = json!(good);
    said_of(way, fault, &report);
    report
}

/// A line for people.
fn said_of(way: Way, fault: &Fault, report: &Json) {
    let error = report["error"].as_str().unwrap_or_default();
    eprintln!(
        "  {} {:<11} {:<74} {:<10} attempt {} {:>4} calls {:>5} s {}",
        if report["good"] == true { "ok  " } else { "FAIL" },
        way.name(),
        fault.name,
        report["state"].as_str().unwrap_or_default(),
        report["attempt"],
        report["api_calls"],
        report["seconds"],
        error.chars().take(90).collect::<String>()
    );
}

async fn all(sim: &Sim, place: &Place, way: Way, asked: &Asked) -> Json {
    let server = place.start();
    let token = place.token();
    let api = Api::connect(&server, &token).await;
    let sync = api.activate(sim).await;
    let sync = api.succeeded(&sync.name).await;
    let (integration, _) = sync.name.split_once("/syncs/").unwrap();
    let mut run = Running {
        place,
        token,
        server,
        api,
        integration: integration.to_owned(),
    };
    let first = compare(sim, &run.api).await;
    assert_eq!(first["agrees"], true, "{first}");
    let mut dice = rand::rngs::StdRng::seed_from_u64(asked.seed);
    let faults = trouble::all(way, &mut dice, &sim.host);
    let mut reports = Vec::new();
    for (round, fault) in faults.iter().enumerate() {
        if fault.name.contains(&asked.only) {
            let round = round + 1 + usize::try_from(asked.seed % 1_000).unwrap_or(0) * 100;
            reports.push(one(&mut run, sim, way, fault, round).await);
        }
    }
    let count = |key: &str, value: &str| reports.iter().filter(|r| r[key] == value).count();
    let bad: Vec<&Json> = reports.iter().filter(|r| r["good"] != true).collect();
    let states: serde_json::Map<String, Json> = reports
        .iter()
        .filter_map(|report| report["state"].as_str())
        .map(|state| (state.to_owned(), json!(count("state", state))))
        .collect();
    json!({
        "agrees": bad.is_empty(), "faults": reports.len(),
        "states": states,
        "succeeded_and_not_whole": reports.iter().filter(|r| r["whole"] == false).count(),
        "not_recovered": reports.iter().filter(|r| r["recovered"] == false).count(),
        "bad": bad, "reports": reports,
    })
}

/// The command line's options.
struct Asked {
    accounts: u32,
    databases: Vec<&'static str>,
    ways: Vec<Way>,
    only: String,
    seed: u64,
}

impl Asked {
    fn read() -> Self {
        let mut asked = Self {
            accounts: 150,
            databases: vec!["sqlite", "postgres"],
            ways: Way::ALL.to_vec(),
            only: String::new(),
            seed: 1,
        };
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            let value = words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match (word.as_str(), value.as_str()) {
                ("--accounts", _) => asked.accounts = value.parse().unwrap(),
                ("--only", _) => asked.only = value,
                ("--seed", _) => asked.seed = value.parse().unwrap(),
                ("--way", "all") | ("--database", "both") => {}
                ("--way", _) => {
                    asked.ways.retain(|way| way.name() == value);
                    assert!(!asked.ways.is_empty(), "no such way: {value}");
                }
                ("--database", "sqlite") => asked.databases = vec!["sqlite"],
                ("--database", "postgres") => asked.databases = vec!["postgres"],
                _ => panic!("unknown: {word} {value}"),
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
        for &way in &asked.ways {
            eprintln!("{database}, {}: {} accounts", way.name(), asked.accounts);
            let given = std::env::var("TETHER_BENCH_POSTGRES").ok();
            let made = (*database == "postgres" && given.is_none()).then(postgres::database);
            let url =
                (*database == "postgres").then(|| given.or(made.as_ref().map(|d| d.url.clone())).unwrap());
            let sim = Sim::start_with(&bin, asked.accounts, asked.seed, CONTACTS);
            let mut more = way.settings();
            more.push(("connector.salesforce.settings.back_off_ms", "50".to_owned()));
            more.push(("sync.first_pause_milliseconds", "100".to_owned()));
            let place = Place {
                bin: bin.clone(),
                connectors: connectors.clone(),
                data: tempfile::tempdir().unwrap(),
                database: url,
                sim: sim.host.clone(),
                refresh_seconds: 30,
                more,
                lease_seconds: LEASE_SECONDS,
            };
            let result = runtime.block_on(all(&sim, &place, way, &asked));
            all_agree &= result["agrees"] == true;
            let whole = json!({
                "bench": "faults", "database": database, "way": way.name(), "accounts": asked.accounts, "seed": asked.seed,
                "cores": std::thread::available_parallelism().map_or(0, usize::from),
                "rustc": said("rustc", &["--version"]), "commit": said("git", &["rev-parse", "HEAD"]),
                "command": std::env::args().skip(1).collect::<Vec<_>>().join(" "), "result": result,
            });
            println!("{}", serde_json::to_string_pretty(&whole).unwrap());
        }
    }
    assert!(all_agree, "a sync did not say what it did, or did not recover");
}
