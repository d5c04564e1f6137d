//! The index returns the same as a slow, simple evaluator; `cargo bench --bench filters` runs longer.

use crate::proof;
use crate::store::Fixture;

async fn agrees(store: &Fixture, seed: u64) {
    let found = proof::run(store, seed, 250, 40).await;
    assert!(found.differences.is_empty(), "{}", found.differences.join("\n"));
    assert!(found.telling > 50, "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_filters_on_sqlite() {
    agrees(&Fixture::sqlite().await, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_filters_on_postgres() {
    agrees(&Fixture::postgres().await, 2).await;
}
