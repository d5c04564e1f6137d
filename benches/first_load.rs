//! From an empty database to search results: the time of the first sync, and the time after it until a search
//! finds all of its data.
//!
//! `cargo bench --bench first_load -- --database both --accounts 100000` syncs this many accounts, and the
//! opportunities that the simulator adds to them, and requests companies `at_least` as of the sync's change
//! number until it gets an answer. On PostgreSQL the large tables are never analyzed: they have no statistics
//! from the first row to the last, as before the first run of autovacuum. Programs and PostgreSQL as in the
//! bench `truth`. Prints one JSON object per database.
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

use std::time::{Duration, Instant};

use diesel::{Connection as _, PgConnection, connection::SimpleConnection as _};
use serde_json::{Value as Json, json};
use tether::proto::v1;
use world::{Api, GROUP, Place, Sim, programs, said};

const FIELDS: &[&str] = &[
    "Account.Name",
    "Account.Website",
    "Account.Industry",
    "Account.AnnualRevenue",
    "Account.BillingAddress",
    "Account.Description",
    "Opportunity.Name",
    "Opportunity.Amount",
];

async fn load(sim: &Sim, place: &Place) -> Json {
    let server = place.start();
    let api = Api::connect(&server, &place.token()).await;
    let begun = Instant::now();
    let sync = api
        .connect_crm(sim, FIELDS.iter().map(|&field| field.to_owned()).collect())
        .await;
    let sync = api.succeeded(&sync.name).await;
    let stored = begun.elapsed();
    let integration = sync.name.split("/syncs/").next().unwrap().to_owned();
    let ask = v1::ListCompaniesRequest {
        parent: GROUP.to_owned(),
        filter: "display_name:*".to_owned(),
        show_total_size: true,
        at_least: vec![v1::SourcePosition {
            integration,
            change_number: sync.change_number,
            time: None,
        }],
        ..Default::default()
    };
    let found = loop {
        match api.companies().list_companies(api.ask(ask.clone())).await {
            Ok(page) => break page.into_inner().total_size.unwrap(),
            Err(status) if status.code() == tonic::Code::Unavailable => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(status) => panic!("{status}"),
        }
    };
    let searchable = begun.elapsed();
    json!({
        "rows": sync.totals.map_or(0, |totals| totals.written), "companies": found,
        "stored_seconds": stored.as_secs_f64(), "searchable_seconds": searchable.as_secs_f64(),
        "from_stored_to_searchable_seconds": (searchable - stored).as_secs_f64(),
    })
}

fn main() {
    let (mut accounts, mut seed, mut databases) = (100_000, 1, vec!["sqlite", "postgres"]);
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_else(|| panic!("{word} needs a value"));
        match (word.as_str(), value.as_str()) {
            ("--accounts", _) => accounts = value.parse().unwrap(),
            ("--seed", _) => seed = value.parse().unwrap(),
            ("--database", "sqlite") => databases = vec!["sqlite"],
            ("--database", "postgres") => databases = vec!["postgres"],
            ("--database", "both") => {}
            _ => panic!("unknown: {word} {value}"),
        }
    }
    let scratch = tempfile::tempdir().unwrap();
    let (bin, connectors) = programs(scratch.path());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    for database in databases {
        let made = (database == "postgres").then(postgres::database);
        if let Some(made) = &made {
            let tables = "ALTER TABLE record SET (autovacuum_enabled = false); \
                          ALTER TABLE record_link SET (autovacuum_enabled = false)";
            PgConnection::establish(&made.url)
                .unwrap()
                .batch_execute(tables)
                .unwrap();
        }
        let sim = Sim::start(&bin, accounts, seed);
        let place = Place {
            bin: bin.clone(),
            connectors: connectors.clone(),
            data: tempfile::tempdir().unwrap(),
            database: made.as_ref().map(|made| made.url.clone()),
            sim: sim.host.clone(),
            lease_seconds: 30,
            refresh_seconds: 120,
            more: Vec::new(),
        };
        let result = runtime.block_on(load(&sim, &place));
        let whole = json!({
            "bench": "first_load", "database": database, "accounts": accounts, "seed": seed,
            "cores": std::thread::available_parallelism().map_or(0, usize::from),
            "commit": said("git", &["rev-parse", "HEAD"]), "programs": bin.display().to_string(),
            "command": std::env::args().skip(1).collect::<Vec<_>>().join(" "), "result": result,
        });
        println!("{}", serde_json::to_string_pretty(&whole).unwrap());
    }
}
