//! From an empty database to search results, and the syncs after it.
//!
//! `cargo bench --bench first_load -- --accounts 100000 --database both --follower off --floors true` syncs this many accounts
//! with 30 fields, and as many opportunities with 5, from the simulated Salesforce:
//!
//! - the full sync: rows a second, processor time, bytes written, the peak of private memory of the server and the connector's
//!   child, API calls. With `--follower on`, also the time until a search finds all of its data (`at_least`); with `off`, the
//!   index follower cannot write its folder
//! - `--floors true`: the same rows by Bulk with curl, into nothing and into keyed tables with `sqlite3 .import` or `COPY`
//! - a sync without changes, and one after a change of 1 % of the accounts
//!
//! On PostgreSQL the large tables are never analyzed: they have no statistics from the first row to the last, as before the first
//! run of autovacuum. Programs and PostgreSQL as in the bench `truth`. Prints one JSON object per database and follower.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a program for people"
)]

#[path = "support/floors.rs"]
mod floors;
#[path = "../tests/it/support/postgres.rs"]
mod postgres;
#[path = "support/watch.rs"]
mod watch;
#[path = "support/world.rs"]
mod world;

use std::time::{Duration, Instant};

use diesel::{Connection as _, PgConnection, connection::SimpleConnection as _};
use serde_json::{Value as Json, json};
use tether::proto::v1;
use watch::Watch;
use world::{Api, GROUP, Place, Sim, http_json, programs, said};

#[rustfmt::skip]
const FIELDS: &[floors::Selected<'_>] = &[
    ("Account", &[
        "Name", "Type", "Phone", "Fax", "AccountNumber", "Website", "Industry", "AnnualRevenue", "NumberOfEmployees", "Ownership",
        "TickerSymbol", "Rating", "Site", "OwnerId", "CreatedDate", "BillingCity", "BillingState", "BillingPostalCode",
        "BillingCountry", "ShippingCity", "ShippingCountry", "AccountSource", "DunsNumber", "NaicsCode", "NaicsDesc", "YearStarted",
        "SicDesc", "Segment__c", "ARR__c", "Billing_Email__c",
    ]),
    ("Opportunity", &["AccountId", "Name", "StageName", "Amount", "CloseDate", "IsWon"]),
];
/// Syncs without changes, of which the median counts.
const UNCHANGED: usize = 5;

fn selected() -> Vec<String> {
    let of = |(object, fields): &floors::Selected<'_>| {
        let fields: Vec<String> = fields.iter().map(|field| format!("{object}.{field}")).collect();
        fields
    };
    // The parent of a record is read in any case.
    FIELDS
        .iter()
        .flat_map(of)
        .filter(|field| field != "Opportunity.AccountId")
        .collect()
}

fn micros(at: Option<prost_types::Timestamp>) -> f64 {
    at.map_or(0.0, |at| at.seconds as f64 + f64::from(at.nanos) / 1e9)
}

/// From the first lease to the end, as the server reports it.
fn seconds(sync: &v1::Sync) -> f64 {
    micros(sync.end_time) - micros(sync.start_time)
}

fn integration(sync: &v1::Sync) -> String {
    sync.name.split("/syncs/").next().unwrap().to_owned()
}

/// The companies that a search finds when it has all of the sync's data.
async fn searchable(api: &Api, sync: &v1::Sync) -> i64 {
    let ask = v1::ListCompaniesRequest {
        parent: GROUP.to_owned(),
        filter: "display_name:*".to_owned(),
        show_total_size: true,
        at_least: vec![v1::SourcePosition {
            integration: integration(sync),
            change_number: sync.change_number,
            time: None,
        }],
        ..Default::default()
    };
    loop {
        match api.companies().list_companies(api.ask(ask.clone())).await {
            Ok(page) => return page.into_inner().total_size.unwrap(),
            Err(status) if status.code() == tonic::Code::Unavailable => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(status) => panic!("{status}"),
        }
    }
}

/// The requests that the simulator has had.
fn requests(sim: &Sim) -> u64 {
    let log = http_json("GET", &format!("{}/requests?limit=0", sim.control), "");
    log["total"].as_u64().unwrap()
}

/// A sync of what changed, with its requests.
async fn again(sim: &Sim, api: &Api, of: &str) -> (v1::Sync, Json) {
    let before = requests(sim);
    let begun = Instant::now();
    let sync = api.sync_now(of).await;
    let sync = api.succeeded(&sync).await;
    let wall = begun.elapsed().as_secs_f64();
    let asked = requests(sim) - before;
    let totals = sync.totals.unwrap_or_default();
    let figures = json!({
        "seconds": seconds(&sync), "wall_seconds": wall, "api_calls": sync.api_calls_used, "simulator_requests": asked,
        "read": totals.read, "written": totals.written,
    });
    (sync, figures)
}

async fn load(sim: &Sim, place: &Place, follower: bool) -> Json {
    if !follower {
        // A file where the index has its folder: each try of the follower fails at once.
        std::fs::write(place.data.path().join("index"), "").unwrap();
    }
    let server = place.start();
    let watch = Watch::new(server.process.0.id());
    let api = Api::connect(&server, &place.token()).await;
    let begun = Instant::now();
    let sync = api.connect_crm(sim, selected()).await;
    let sync = api.succeeded(&sync.name).await;
    let wall = begun.elapsed().as_secs_f64();
    let used = watch.so_far();
    let rows = sync.totals.unwrap_or_default().written;
    let full = seconds(&sync);
    let mut found = json!(null);
    if follower {
        let companies = searchable(&api, &sync).await;
        found = json!({ "companies": companies, "seconds": begun.elapsed().as_secs_f64(), "used": watch.so_far() });
    }
    let names = first_page(&api).await;
    let of = integration(&sync);
    let mut unchanged = Vec::new();
    for _ in 0..UNCHANGED {
        unchanged.push(again(sim, &api, &of).await.1);
    }
    unchanged.sort_by(|a, b| {
        a["seconds"]
            .as_f64()
            .unwrap()
            .total_cmp(&b["seconds"].as_f64().unwrap())
    });
    let change =
        json!({ "object": "Account", "every": 100, "from": 3, "fields": { "Site": "A changed site" } });
    http_json(
        "POST",
        &format!("{}/records/update", sim.control),
        &change.to_string(),
    );
    let (changed, figures) = again(sim, &api, &of).await;
    let expected = changed.totals.unwrap_or_default().written as f64 * full / rows as f64;
    json!({
        "full": {
            "rows": rows, "seconds": full, "wall_seconds": wall, "rows_per_second": (rows as f64 / full).round(),
            "api_calls": sync.api_calls_used, "used": used,
        },
        "searchable": found, "first_page_of_all_companies": names,
        "unchanged_median": unchanged[UNCHANGED / 2], "unchanged": unchanged,
        "changed_1_percent": figures, "changed_by_the_rate_of_the_full_sync": seconds(&changed) / expected,
        "after_all": watch.so_far(),
    })
}

async fn first_page(api: &Api) -> usize {
    let list = v1::ListCompaniesRequest {
        parent: GROUP.to_owned(),
        page_size: 50,
        ..Default::default()
    };
    let page = api.companies().list_companies(api.ask(list)).await.unwrap();
    page.into_inner().companies.len()
}

struct Asked {
    accounts: u32,
    seed: u64,
    databases: Vec<&'static str>,
    follower: Vec<bool>,
    floors: bool,
}

impl Asked {
    fn read() -> Self {
        let mut asked = Self {
            accounts: 100_000,
            seed: 1,
            databases: vec!["sqlite", "postgres"],
            follower: vec![true],
            floors: false,
        };
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            let value = words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match (word.as_str(), value.as_str()) {
                ("--accounts", _) => asked.accounts = value.parse().unwrap(),
                ("--seed", _) => asked.seed = value.parse().unwrap(),
                ("--database", "sqlite") => asked.databases = vec!["sqlite"],
                ("--database", "postgres") => asked.databases = vec!["postgres"],
                ("--database", "both") => {}
                ("--follower", "on") => asked.follower = vec![true],
                ("--follower", "off") => asked.follower = vec![false],
                ("--follower", "both") => asked.follower = vec![false, true],
                ("--floors", _) => asked.floors = value.parse().unwrap(),
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
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let runs = asked
        .databases
        .iter()
        .flat_map(|database| asked.follower.iter().map(move |on| (*database, *on)));
    for (database, follower) in runs {
        let given = std::env::var("TETHER_BENCH_POSTGRES")
            .ok()
            .filter(|_| database == "postgres");
        let made = (database == "postgres" && given.is_none()).then(postgres::database);
        let url = given.or(made.as_ref().map(|made| made.url.clone()));
        if let Some(url) = &url {
            let tables = "ALTER TABLE record SET (autovacuum_enabled = false); \
                          ALTER TABLE record_link SET (autovacuum_enabled = false)";
            let mut conn = PgConnection::establish(url).unwrap();
            // An empty database has no tables yet.
            let _ = conn.batch_execute(tables);
        }
        let sim = Sim::start(&bin, asked.accounts, asked.seed);
        let place = Place {
            bin: bin.clone(),
            connectors: connectors.clone(),
            data: tempfile::tempdir().unwrap(),
            database: url.clone(),
            sim: sim.host.clone(),
            lease_seconds: 30,
            refresh_seconds: 120,
            more: Vec::new(),
        };
        let mut floor = json!(null);
        if asked.floors {
            let download = floors::download(&sim, FIELDS);
            let stored = match &url {
                Some(url) => floors::postgres(&sim, FIELDS, url),
                None => floors::sqlite(&sim, FIELDS, scratch.path()),
            };
            let _ = std::fs::remove_file(scratch.path().join("floor.db"));
            floor = json!({ "download_seconds": download, "download_and_store_seconds": stored });
        }
        let result = runtime.block_on(load(&sim, &place, follower));
        let ratio = floor["download_and_store_seconds"]
            .as_f64()
            .map(|floor| result["full"]["seconds"].as_f64().unwrap() / floor);
        let whole = json!({
            "bench": "first_load", "database": database, "follower": follower, "accounts": asked.accounts,
            "seed": asked.seed, "cores": std::thread::available_parallelism().map_or(0, usize::from),
            "load_average": std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
            "commit": said("git", &["rev-parse", "HEAD"]), "programs": bin.display().to_string(),
            "command": std::env::args().skip(1).collect::<Vec<_>>().join(" "), "floor": floor,
            "full_to_floor": ratio, "result": result,
        });
        println!("{}", serde_json::to_string_pretty(&whole).unwrap());
    }
}
