//! The cost of deleting a large integration, and whether any of its data is visible afterwards.
//!
//! `cargo bench --bench delete -- --accounts 100000 --database both` gives acme an integration with this many
//! accounts (three related rows each), shared with globex, which has a small one of its own. Four tasks call
//! for globex continuously: three read (companies of the small integration, their stored profiles,
//! integrations), one syncs the small one. After `--baseline-seconds` the large one is deleted. After the
//! answer, both groups search for it with every read, repeatedly, until the last of its rows is deleted from
//! the database.
//!
//! Each task pauses for `--pause-ms` between calls, so that the figures show waiting times and not the load
//! of the shared cores. Programs and PostgreSQL as in the bench `truth`. Prints one JSON object per database;
//! fails if any of its data was visible after the answer, or a call of the four tasks failed.
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

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use diesel::{Connection as _, PgConnection, RunQueryDsl as _, SqliteConnection, sql_types};
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use tether::proto::v1::{self, get_company_profile_request::Refresh};
use tonic::Code;
use world::{Api, GROUP, Place, Sim, programs, said};

const OTHER: &str = "groups/globex";
const FIELDS: &[&str] = &[
    "Account.Name",
    "Account.Website",
    "Account.Industry",
    "Account.AnnualRevenue",
    "Account.BillingAddress",
    "Account.Description",
    "Contact.Name",
    "Contact.Email",
    "Opportunity.Name",
    "Opportunity.Amount",
    "Contract.ContractNumber",
    "Case.Subject",
];

struct Asked {
    accounts: u32,
    databases: Vec<&'static str>,
    baseline: Duration,
    pause: Duration,
    seed: u64,
}

impl Asked {
    fn read() -> Self {
        let mut asked = Self {
            accounts: 100_000,
            databases: vec!["sqlite", "postgres"],
            baseline: Duration::from_secs(15),
            pause: Duration::from_millis(5),
            seed: 1,
        };
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            let value = words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match (word.as_str(), value.as_str()) {
                ("--accounts", _) => asked.accounts = value.parse().unwrap(),
                ("--baseline-seconds", _) => asked.baseline = Duration::from_secs(value.parse().unwrap()),
                ("--pause-ms", _) => asked.pause = Duration::from_millis(value.parse().unwrap()),
                ("--seed", _) => asked.seed = value.parse().unwrap(),
                ("--database", "sqlite") => asked.databases = vec!["sqlite"],
                ("--database", "postgres") => asked.databases = vec!["postgres"],
                ("--database", "both") => {}
                _ => panic!("unknown: {word} {value}"),
            }
        }
        asked
    }
}

// Direct access to the database --------------------------------------------------------------------------------------

enum Peek {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

#[derive(diesel::QueryableByName)]
struct Number {
    #[diesel(sql_type = sql_types::BigInt)]
    n: i64,
}

impl Peek {
    fn open(place: &Place) -> Self {
        match &place.database {
            Some(url) => Self::Postgres(PgConnection::establish(url).unwrap()),
            None => {
                let file = place.data.path().join("tether.db");
                Self::Sqlite(SqliteConnection::establish(file.to_str().unwrap()).unwrap())
            }
        }
    }

    /// The number of rows of a table that belong to an integration.
    fn count(&mut self, table: &str, key: &str, id: &str) -> i64 {
        let sql = format!("SELECT count(*) AS n FROM {table} WHERE {key} = '{id}'");
        let found: Number = match self {
            Self::Sqlite(conn) => diesel::sql_query(sql).get_result(conn).unwrap(),
            Self::Postgres(conn) => diesel::sql_query(sql).get_result(conn).unwrap(),
        };
        found.n
    }
}

// The tasks that keep calling ----------------------------------------------------------------------------------------

const BASELINE: u8 = 1;
const DELETING: u8 = 2;
const OVER: u8 = 3;

#[derive(Default)]
struct Work {
    phase: AtomicU8,
    /// Microseconds of each call, by kind and phase.
    took: Mutex<BTreeMap<(&'static str, u8), Vec<u64>>>,
    failed: Mutex<Vec<String>>,
}

impl Work {
    fn is_over(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == OVER
    }

    /// Times a call; a call that overlaps with the deletion counts for it.
    async fn time<T>(
        &self,
        kind: &'static str,
        call: impl Future<Output = Result<T, tonic::Status>>,
    ) -> Option<T> {
        let begun = Instant::now();
        let result = call.await;
        let phase = self.phase.load(Ordering::Relaxed).min(DELETING);
        let took = begun.elapsed().as_micros() as u64;
        self.took.lock().entry((kind, phase)).or_default().push(took);
        match result {
            Ok(answer) => Some(answer),
            Err(status) => {
                self.failed.lock().push(format!("{kind}: {status}"));
                None
            }
        }
    }

    fn of(&self, phase: u8) -> Json {
        let mut kinds = serde_json::Map::new();
        for ((kind, at), took) in self.took.lock().iter() {
            if *at == phase {
                let mut took = took.clone();
                took.sort_unstable();
                let part =
                    |share: f64| took[((took.len() - 1) as f64 * share).round() as usize] as f64 / 1_000.0;
                kinds.insert(
                    (*kind).to_owned(),
                    json!({ "calls": took.len(), "p50_ms": part(0.5), "p99_ms": part(0.99), "max_ms": part(1.0) }),
                );
            }
        }
        kinds.into()
    }
}

fn list(parent: &str, sources: &[&str]) -> v1::ListCompaniesRequest {
    v1::ListCompaniesRequest {
        parent: parent.to_owned(),
        sources: sources.iter().map(|&one| one.to_owned()).collect(),
        show_total_size: true,
        ..Default::default()
    }
}

fn profile(parent: &str, name: &str) -> v1::GetCompanyProfileRequest {
    v1::GetCompanyProfileRequest {
        name: name.to_owned(),
        parent: parent.to_owned(),
        refresh: Refresh::Never.into(),
        ..Default::default()
    }
}

fn integrations(parent: &str) -> v1::ListIntegrationsRequest {
    v1::ListIntegrationsRequest {
        parent: parent.to_owned(),
        ..Default::default()
    }
}

async fn reader(api: Api, small: String, work: Arc<Work>, pause: Duration) {
    while !work.is_over() {
        let (mut companies, mut of_group) = (api.companies(), api.integrations());
        let asked = companies.list_companies(api.ask(list(OTHER, &[&small])));
        if let Some(page) = work.time("list_companies", asked).await {
            for company in page.into_inner().companies.iter().take(5) {
                tokio::time::sleep(pause).await;
                let asked = companies.get_company_profile(api.ask(profile(OTHER, &company.name)));
                work.time("get_company_profile", asked).await;
            }
        }
        tokio::time::sleep(pause).await;
        let asked = of_group.list_integrations(api.ask(integrations(OTHER)));
        work.time("list_integrations", asked).await;
        tokio::time::sleep(pause).await;
    }
}

/// Syncs repeatedly; the kind `sync` measures from the call to the successful end.
async fn syncer(api: Api, small: String, work: Arc<Work>, pause: Duration) {
    while !work.is_over() {
        let sync = v1::SyncIntegrationRequest {
            name: small.clone(),
            ..Default::default()
        };
        let whole = async {
            let mut calls = api.integrations();
            let called = calls.sync_integration(api.ask(sync));
            if let Some(begun) = work.time("sync_integration", called).await {
                api.succeeded(&begun.into_inner().name).await;
            }
            Ok(())
        };
        work.time("sync", whole).await;
        tokio::time::sleep(pause).await;
    }
}

// The search for deleted data ----------------------------------------------------------------------------------------

struct Witness {
    api: Api,
    group: &'static str,
    /// A company that only the deleted integration has.
    company: String,
    /// The number of companies that must be left.
    companies: i64,
}

impl Witness {
    async fn new(api: Api, group: &'static str, gone: &str, companies: i64) -> Self {
        let page = api
            .companies()
            .list_companies(api.ask(list(group, &[gone])))
            .await;
        let listed = page.unwrap().into_inner().companies;
        let only = listed
            .into_iter()
            .find(|company| company.sources.iter().all(|source| source.integration == gone));
        Self {
            company: only.unwrap().name,
            api,
            group,
            companies,
        }
    }

    /// What it still sees of the deleted integration, for each read.
    async fn sees(&self, gone: &str) -> Vec<String> {
        let (api, mut seen) = (&self.api, Vec::new());
        let mut note = |read: &str, what: String| seen.push(format!("{} {read}: {what}", self.group));
        let missing = |status: &tonic::Status| status.code() == Code::NotFound;

        let listed = api
            .integrations()
            .list_integrations(api.ask(integrations(self.group)))
            .await;
        match listed.map(|answer| answer.into_inner().integrations) {
            Ok(all) if all.iter().any(|one| one.name == gone) => note("ListIntegrations", "there".to_owned()),
            Ok(_) => {}
            Err(status) => note("ListIntegrations", status.to_string()),
        }
        let get = v1::GetIntegrationRequest {
            name: gone.to_owned(),
        };
        match api.integrations().get_integration(api.ask(get)).await {
            Err(status) if missing(&status) => {}
            other => note("GetIntegration", format!("{other:?}")),
        }
        match api
            .companies()
            .list_companies(api.ask(list(self.group, &[])))
            .await
        {
            Ok(page) => {
                let page = page.into_inner();
                if page.total_size != Some(self.companies) {
                    note(
                        "ListCompanies",
                        format!("{:?} and not {}", page.total_size, self.companies),
                    );
                }
                let mut sources = page.companies.iter().flat_map(|company| &company.sources);
                if sources.any(|source| source.integration == gone) {
                    note("ListCompanies", "a source".to_owned());
                }
            }
            Err(status) => note("ListCompanies", status.to_string()),
        }
        match api
            .companies()
            .list_companies(api.ask(list(self.group, &[gone])))
            .await
        {
            Ok(page) if page.get_ref().total_size == Some(0) => {}
            Err(status) if missing(&status) => {}
            other => note("ListCompanies of it", format!("{other:?}")),
        }
        let get = v1::GetCompanyRequest {
            name: self.company.clone(),
            parent: self.group.to_owned(),
        };
        match api.companies().get_company(api.ask(get)).await {
            Err(status) if missing(&status) => {}
            other => note("GetCompany", format!("{other:?}")),
        }
        let get = profile(self.group, &self.company);
        match api.companies().get_company_profile(api.ask(get)).await {
            Err(status) if missing(&status) => {}
            other => note("GetCompanyProfile", format!("{other:?}")),
        }
        let ask = v1::ListSourcesRequest {
            parent: self.group.to_owned(),
            ..Default::default()
        };
        match api.companies().list_sources(api.ask(ask)).await {
            Ok(answer) => {
                if format!("{answer:?}").contains(gone) {
                    note("ListSources", "there".to_owned());
                }
            }
            Err(status) => note("ListSources", status.to_string()),
        }
        seen
    }
}

/// The number of companies that a group sees. The search index follows a sync, so the call is repeated while
/// the index has not reached it.
async fn total(api: &Api, group: &str, sources: &[&str]) -> i64 {
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        match api
            .companies()
            .list_companies(api.ask(list(group, sources)))
            .await
        {
            Ok(page) => return page.into_inner().total_size.unwrap(),
            Err(status) if status.code() == Code::Unavailable && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(status) => panic!("{status}"),
        }
    }
}

async fn prove(sim: &Sim, place: &Place, asked: &Asked) -> Json {
    let server = place.start();
    let acme = Api::connect(&server, &place.token()).await;
    let globex = Api::connect(&server, &place.token_for(&["--group", "globex"])).await;
    let platform = Api::connect(&server, &place.token_for(&["--role", "service"])).await;
    let connect = v1::ConnectGroupsRequest {
        group: GROUP.to_owned(),
        other_group: OTHER.to_owned(),
    };
    platform
        .groups()
        .connect_groups(platform.ask(connect))
        .await
        .unwrap();
    let fields = || FIELDS.iter().map(|&field| field.to_owned()).collect();
    let begun = Instant::now();
    let sync = globex
        .connect_crm_as(sim, OTHER, "admin@globex.example", fields())
        .await;
    globex.succeeded(&sync.name).await;
    let small = sync.name.split("/syncs/").next().unwrap().to_owned();
    let sync = acme.connect_crm(sim, fields()).await;
    let large = sync.name.split("/syncs/").next().unwrap().to_owned();
    let share = v1::Share {
        name: format!("{large}/shares/globex"),
        all_active_fields: true,
        ..Default::default()
    };
    let set = v1::SetShareRequest { share: Some(share) };
    acme.integrations().set_share(acme.ask(set)).await.unwrap();
    acme.succeeded(&sync.name).await;
    eprintln!(
        "  connected, shared and synced in {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    let seen = total(&acme, GROUP, &[&large]).await;
    assert!(seen > 0 && total(&globex, OTHER, &[&large]).await == seen);
    let left = total(&globex, OTHER, &[&small]).await;
    let witnesses = [
        Witness::new(acme.clone(), GROUP, &large, 0).await,
        Witness::new(globex.clone(), OTHER, &large, left).await,
    ];
    let id = large.trim_start_matches("integrations/").to_owned();
    let mut peek = Peek::open(place);
    let records = peek.count("record", "integration_id", &id);
    let links = peek.count("record_link", "integration_id", &id);

    let work = Arc::new(Work::default());
    work.phase.store(BASELINE, Ordering::Relaxed);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..3 {
        tasks.spawn(reader(globex.clone(), small.clone(), work.clone(), asked.pause));
    }
    tasks.spawn(syncer(globex.clone(), small.clone(), work.clone(), asked.pause));
    tokio::time::sleep(asked.baseline).await;

    work.phase.store(DELETING, Ordering::Relaxed);
    let purged = Arc::new(AtomicBool::new(false));
    let delete = v1::DeleteIntegrationRequest {
        name: large.clone(),
        ..Default::default()
    };
    let begun = Instant::now();
    let deleted = acme.integrations().delete_integration(acme.ask(delete)).await;
    let deleted = deleted.unwrap().into_inner();
    let (answered, call) = (Instant::now(), begun.elapsed());
    // Its own row is deleted after all others.
    let watcher = {
        let purged = purged.clone();
        std::thread::spawn(move || {
            while peek.count("integration", "id", &id) > 0 {
                std::thread::sleep(Duration::from_millis(100));
            }
            let took = answered.elapsed();
            purged.store(true, Ordering::Relaxed);
            let rest = peek.count("record", "integration_id", &id)
                + peek.count("record_link", "integration_id", &id);
            (took, rest)
        })
    };
    let (mut rounds, mut seen, mut first_round) = (0, Vec::new(), Duration::ZERO);
    let mut invisible = None;
    loop {
        let last = purged.load(Ordering::Relaxed);
        let started = answered.elapsed();
        let mut found = Vec::new();
        for witness in &witnesses {
            found.extend(witness.sees(&large).await);
        }
        if rounds == 0 {
            first_round = answered.elapsed();
        }
        rounds += 1;
        if found.is_empty() {
            invisible.get_or_insert(started);
        }
        seen.extend(
            found
                .into_iter()
                .map(|what| format!("{:.3} s: {what}", started.as_secs_f64())),
        );
        if last {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (took, rest) = watcher.join().unwrap();
    work.phase.store(OVER, Ordering::Relaxed);
    tasks.join_all().await;
    let failed = work.failed.lock().clone();
    let rows = records + links;
    let good = seen.is_empty() && failed.is_empty() && rest == 0;
    seen.truncate(20);
    json!({
        "good": good, "delete_call_ms": call.as_secs_f64() * 1e3,
        "company_records": deleted.company_record_count, "affected_groups": deleted.affected_group_count,
        "invisible_from_the_answer_after_ms": invisible.map(|at| at.as_secs_f64() * 1e3),
        "first_round_of_reads_ms": first_round.as_secs_f64() * 1e3, "rounds_of_reads": rounds, "seen_after": seen,
        "records": records, "links": links, "purge_seconds": took.as_secs_f64(),
        "rows_purged_per_second": (rows as f64 / took.as_secs_f64()).round(), "rows_left": rest,
        "baseline": work.of(BASELINE), "meanwhile": work.of(DELETING),
        "calls_failed": failed.len(), "first_failures": failed.iter().take(5).collect::<Vec<_>>(),
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
    let mut all_good = true;
    for database in &asked.databases {
        eprintln!("{database}: {} accounts", asked.accounts);
        let given = std::env::var("TETHER_BENCH_POSTGRES").ok();
        let made = (*database == "postgres" && given.is_none()).then(postgres::database);
        let url = (*database == "postgres").then(|| given.or(made.as_ref().map(|d| d.url.clone())).unwrap());
        let sim = Sim::start(&bin, asked.accounts, asked.seed);
        let place = Place {
            bin: bin.clone(),
            connectors: connectors.clone(),
            data: tempfile::tempdir().unwrap(),
            database: url,
            sim: sim.host.clone(),
            lease_seconds: 30,
            refresh_seconds: 120,
            more: Vec::new(),
        };
        let result = runtime.block_on(prove(&sim, &place, &asked));
        all_good &= result["good"] == true;
        let whole = json!({
            "bench": "delete", "database": database, "accounts": asked.accounts, "seed": asked.seed,
            "cores": std::thread::available_parallelism().map_or(0, usize::from),
            "commit": said("git", &["rev-parse", "HEAD"]), "programs": bin.display().to_string(),
            "command": std::env::args().skip(1).collect::<Vec<_>>().join(" "), "result": result,
        });
        println!("{}", serde_json::to_string_pretty(&whole).unwrap());
    }
    assert!(
        all_good,
        "something of it was seen after its deletion, is left, or others failed"
    );
}
