//! A server that is stopped in the middle of a transaction, and another server that takes its work over.

use diesel::{
    Connection as _, PgConnection, QueryableByName, RunQueryDsl as _, connection::SimpleConnection as _,
};
use tether::caller::Role;
use tether::proto::v1::sync::State;

use crate::support::server::{Database, World, until};

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    n: i64,
}

/// The number of servers' connections to this database that are in this state.
fn connections(url: &str, state: &str) -> i64 {
    let mut conn = PgConnection::establish(url).unwrap();
    let sql = format!(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'tether' \
         AND {state}"
    );
    let found: Count = diesel::sql_query(sql).get_result(&mut conn).unwrap();
    found.n
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_is_taken_over_from() {
    let mut world = World::start(Database::Postgres, 200).await;
    let url = world.postgres_url().unwrap().to_owned();
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let name = ann.create("salesforce", "Acme Salesforce").await;
    ann.log_in(&name).await;
    ann.select(&name, &["Account.Industry"]).await;

    // The first rows of the sync wait inside their transaction, which has locked the integration and the
    // sync.
    let mut table = PgConnection::establish(&url).unwrap();
    table
        .batch_execute("BEGIN; LOCK TABLE record IN SHARE MODE")
        .unwrap();
    let sync = ann.activate(&name).await;
    until("the rows wait", || async {
        connections(
            &url,
            "wait_event_type = 'Lock' AND query LIKE 'INSERT INTO record %'",
        ) == 1
    })
    .await;
    world.signal("STOP");
    table.batch_execute("ROLLBACK").unwrap();
    drop(table);

    let second = world.another().await;
    let token = world.token("ann", Some("acme"), Role::Administrator);
    let mut other = world.bearer_at(&second, "acme", &token).await;
    other.succeeds(&sync).await;
    assert_eq!(connections(&url, "state = 'idle in transaction'"), 0);
    let companies = other.all_companies(500).await.len();
    assert!(companies > 150, "{companies}");

    // The first server, resumed, learns that it lost the sync, changes nothing of it, and continues to serve.
    world.signal("CONT");
    assert_eq!(ann.all_companies(500).await.len(), companies);
    let last = ann.watch(&sync).await.pop().unwrap();
    assert_eq!(last.state(), State::Succeeded, "{last:?}");
}
