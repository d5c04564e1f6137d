//! Whether a sync reports its result correctly, for any fault.
//!
//! `cargo bench --bench faults -- --accounts 2500 --database both` syncs a simulated Salesforce once. Then,
//! for each fault of `support/trouble.rs`, rows are changed, deleted and created in the simulator, the fault
//! is activated, and a sync is started. If it ends as SUCCEEDED, all data of the server is compared with the
//! simulator's, record by record. If it ends otherwise, no company that is still in the CRM may have left the
//! list, and a cause must be shown; the fault is removed, the next sync must succeed, and the same comparison
//! must find no difference. `--only WORDS` runs the faults whose names contain the words.
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
#[path = "support/world.rs"]
mod world;

use std::collections::HashSet;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tether::proto::v1;
use trouble::{Blow, Fault};
use truth::{compare, compare_without};
use world::{Api, GROUP, Place, Server, Sim, http_json, programs, said};

/// How long a sync may wait before the fault is removed.
const PATIENCE: Duration = Duration::from_secs(20);
/// Within this time the server detects that a refusal has ended.
const SPACED: Duration = Duration::from_secs(60);
const LEASE_SECONDS: u64 = 4;

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

    /// Another sync, after its end.
    async fn again(&self) -> v1::Sync {
        let sync = self.api.sync_now(&self.integration).await;
        self.api.finished(&sync).await
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

async fn one(run: &mut Running<'_>, sim: &Sim, fault: &Fault, round: usize) -> Json {
    let post =
        |path: &str, body: &Json| http_json("POST", &format!("{}{path}", sim.control), &body.to_string());
    let before: HashSet<String> = run.api.company_names().await.into_iter().collect();
    change(sim, round);
    for (path, body) in &fault.before {
        post(path, body);
    }
    let started = Instant::now();
    let sync = run.api.sync_now(&run.integration).await;
    if let Some(blow) = fault.blow {
        run.reads(&sync).await;
        run.strike(blow).await;
    }
    let ended = run.outcome(&sync).await;
    let seconds = started.elapsed().as_secs_f64();
    let state = ended
        .state()
        .as_str_name()
        .trim_start_matches("STATE_")
        .to_owned();
    let mut objects = serde_json::Map::new();
    let mut has_cause = ended.error.is_some();
    for object in &ended.objects {
        if let Some(error) = &object.error {
            has_cause = true;
            objects.insert(
                object.object.clone(),
                json!(format!("{}: {}", error.reason().as_str_name(), error.message)),
            );
        }
    }
    let mut report = json!({
        "fault": fault.name, "state": state, "attempt": ended.attempt, "seconds": truth::round(seconds),
        "error": ended.error.as_ref().map(|e| format!("{}: {}", e.reason().as_str_name(), e.message)),
        "objects": objects,
    });
    let succeeded = ended.state() == v1::sync::State::Succeeded;
    let (mut good, mut whole) = (true, Json::Null);
    if !succeeded {
        // The names of the expected companies are known only after the recovery.
        report["told"] = json!(has_cause || state == "CANCELLED");
        if ended.end_time.is_none() {
            run.cancel(&sync).await;
        }
    }
    let listed: HashSet<String> = run.api.company_names().await.into_iter().collect();
    http_json("DELETE", &format!("{}/faults", sim.control), "");
    for (path, body) in &fault.after {
        post(path, body);
    }
    if succeeded {
        whole = compare_without(sim, &run.api, &ended.missing_fields).await;
        good &= whole["agrees"] == true;
        report["whole"] = json!(whole["agrees"]);
        report["missing_fields"] = json!(ended.missing_fields);
    }
    // Recovery: also after a success, if the fault hid data.
    if !succeeded || !good || !fault.after.is_empty() {
        if fault.log_in {
            assert!(run.api.try_log_in(sim, &run.integration).await);
        }
        // A refused credential is not tried again within seconds, even on request.
        let (mut again, wished) = (run.again().await, Instant::now());
        while again.state() == v1::sync::State::Failed && wished.elapsed() < SPACED {
            tokio::time::sleep(Duration::from_secs(3)).await;
            again = run.again().await;
        }
        let recovered = again.state() == v1::sync::State::Succeeded;
        report["recovery_seconds"] = json!(truth::round(wished.elapsed().as_secs_f64()));
        report["recovery"] = json!(again.state().as_str_name());
        if recovered {
            whole = compare(sim, &run.api).await;
        } else {
            report["recovery_error"] = json!(format!("{:?}", again.error));
        }
        report["recovered"] = json!(recovered && whole["agrees"] == true);
        good &= recovered && whole["agrees"] == true;
    }
    if !succeeded {
        let still: HashSet<String> = run.api.company_names().await.into_iter().collect();
        let gone = before
            .intersection(&still)
            .filter(|name| !listed.contains(*name))
            .count();
        report["companies_lost"] = json!(gone);
        good &= gone == 0 && report["told"] == true;
    }
    if !good {
        report["differences"] = whole["differences"].clone();
        report["examples"] = whole["examples"].clone();
    }
    report["good"] = json!(good);
    eprintln!(
        "  {} {:<74} {:<10} attempt {} {:>5.1} s {}",
        if good { "ok  " } else { "FAIL" },
        fault.name,
        state,
        ended.attempt,
        seconds,
        report["error"]
            .as_str()
            .unwrap_or_default()
            .chars()
            .take(90)
            .collect::<String>()
    );
    report
}

async fn all(sim: &Sim, place: &Place, only: &str) -> Json {
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
    let mut reports = Vec::new();
    for (round, fault) in trouble::all()
        .iter()
        .enumerate()
        .filter(|(_, f)| f.name.contains(only))
    {
        reports.push(one(&mut run, sim, fault, round + 1).await);
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

fn main() {
    let mut accounts = 2_500_u32;
    let mut databases = vec!["sqlite", "postgres"];
    let mut only = String::new();
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_else(|| panic!("{word} needs a value"));
        match (word.as_str(), value.as_str()) {
            ("--accounts", _) => accounts = value.parse().unwrap(),
            ("--only", _) => only = value,
            ("--database", "sqlite") => databases = vec!["sqlite"],
            ("--database", "postgres") => databases = vec!["postgres"],
            ("--database", "both") => {}
            _ => panic!("unknown: {word} {value}"),
        }
    }
    let scratch = tempfile::tempdir().unwrap();
    let (bin, connectors) = programs(scratch.path());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut all_agree = true;
    for database in databases {
        eprintln!("{database}: {accounts} accounts");
        let given = std::env::var("TETHER_BENCH_POSTGRES").ok();
        let made = (database == "postgres" && given.is_none()).then(postgres::database);
        let url = (database == "postgres").then(|| given.or(made.as_ref().map(|d| d.url.clone())).unwrap());
        let sim = Sim::start(&bin, accounts, 1);
        let place = Place {
            bin: bin.clone(),
            connectors: connectors.clone(),
            data: tempfile::tempdir().unwrap(),
            database: url,
            sim: sim.host.clone(),
            refresh_seconds: 30,
            more: Vec::new(),
            lease_seconds: LEASE_SECONDS,
        };
        let result = runtime.block_on(all(&sim, &place, &only));
        all_agree &= result["agrees"] == true;
        let whole = json!({
            "bench": "faults", "database": database, "accounts": accounts,
            "cores": std::thread::available_parallelism().map_or(0, usize::from),
            "rustc": said("rustc", &["--version"]), "commit": said("git", &["rev-parse", "HEAD"]),
            "command": std::env::args().skip(1).collect::<Vec<_>>().join(" "), "result": result,
        });
        println!("{}", serde_json::to_string_pretty(&whole).unwrap());
    }
    assert!(all_agree, "a sync did not say what it did, or did not recover");
}
