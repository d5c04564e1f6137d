//! A long run of the comparison of the index: `cargo bench --bench filters -- --filters 10000 --datasets 3`.
//!
//! This many random filters (with words, orders and pages) for each random dataset, on SQLite and on
//! PostgreSQL, compared with a slow and simple evaluator. Prints JSON; exits with 1 if an answer differs.
//! `--seed` sets the first seed, `--companies` the company records of each source.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a program for people"
)]

#[path = "../tests/it/support/postgres.rs"]
mod postgres;
#[path = "../tests/it/proof/mod.rs"]
mod proof;
mod support {
    #[path = "../../tests/it/support/alone.rs"]
    pub(crate) mod alone;
}

use std::time::Instant;

use tether::store::{Options, Store};

fn asked(name: &str, usual: usize) -> usize {
    let mut given = std::env::args()
        .skip_while(|one| one != &format!("--{name}"))
        .skip(1);
    given.next().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

async fn bench(store: &Store) -> usize {
    store.migrate().await.unwrap();
    let (filters, datasets) = (asked("filters", 10_000), asked("datasets", 3));
    let mut differences = 0;
    for seed in 0..datasets {
        let start = Instant::now();
        let seed = (asked("seed", 1_000) + seed) as u64;
        let found = proof::run(store, seed, filters, asked("companies", 60)).await;
        println!(
            r#"{{"bench":"filters","backend":"{}","seed":{seed},"filters":{},"pages":{},"companies":{},"telling":{},"differences":{},"seconds":{:.1}}}"#,
            store.backend(),
            found.questions,
            found.pages,
            found.companies,
            found.telling,
            found.differences.len(),
            start.elapsed().as_secs_f64()
        );
        for difference in &found.differences {
            println!("{difference}");
        }
        differences += found.differences.len();
    }
    differences
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("bench.db").display());
    let mut differences = runtime.block_on(bench(&Store::open(&Options::new(url)).unwrap()));
    let given = std::env::var("TETHER_BENCH_POSTGRES").ok();
    let made = given.is_none().then(postgres::database);
    let url = given.or(made.as_ref().map(|d| d.url.clone())).unwrap_or_default();
    differences += runtime.block_on(bench(&Store::open(&Options::new(url)).unwrap()));
    drop(runtime);
    if differences > 0 {
        std::process::exit(1);
    }
}
