//! A database of data sets that does not answer costs the integrations whose records it has, and nobody else.

use diesel::{
    Connection as _, PgConnection, QueryableByName, RunQueryDsl as _, connection::SimpleConnection as _,
};
use tether::proto::v1;
use tether::proto::v1::{ErrorReason, sync::State};
use tonic::Code;

use crate::support::person::Person;
use crate::support::server::{Database, World, ok, refused, until};

const FIELDS: &[&str] = &["Account.Name", "Account.Industry"];

/// An integration of acme whose records are in this database, synced once.
async fn in_database(world: &World, ann: &mut Person, display_name: &str, database: &str) -> String {
    let name = ann.create("salesforce", display_name).await;
    let (_, id) = name.rsplit_once('/').unwrap();
    // The server draws one when it creates an integration; nothing was stored yet.
    PgConnection::establish(world.postgres_url().unwrap())
        .unwrap()
        .batch_execute(&format!(
            "UPDATE integration SET data_database = '{database}' WHERE id = '{id}'"
        ))
        .unwrap();
    ann.log_in(&name).await;
    ann.select(&name, FIELDS).await;
    let sync = ann.activate(&name).await;
    ann.succeeds(&sync).await;
    name
}

fn list(of: &Person) -> v1::ListCompaniesRequest {
    v1::ListCompaniesRequest {
        parent: of.parent.clone(),
        page_size: 1_000,
        ..Default::default()
    }
}

/// Syncs, and waits until a search has what it stored; answers the number of companies.
async fn synced_and_searched(of: &mut Person, name: &str, source: &str) -> usize {
    let sync = of.sync(name).await;
    let done = of.succeeds(&sync).await;
    let request = v1::ListCompaniesRequest {
        filter: format!("{source}.Account.Industry:*"),
        at_least: vec![v1::SourcePosition {
            integration: name.to_owned(),
            change_number: done.change_number,
            time: None,
        }],
        ..list(of)
    };
    ok(of.companies.list_companies(request)).await.companies.len()
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    n: i64,
}

/// Records of an integration that are stored in a database of data sets.
fn records(url: &str, name: &str) -> i64 {
    let (_, id) = name.rsplit_once('/').unwrap();
    let sql = format!("SELECT count(*) AS n FROM record WHERE integration_id = '{id}'");
    let count: Count = diesel::sql_query(sql)
        .get_result(&mut PgConnection::establish(url).unwrap())
        .unwrap();
    count.n
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_database_costs_its_own_integrations_only() {
    let mut world = World::start(Database::Split, 60).await;
    let mut ann = world.ann().await;
    let mut gil = world.gil().await;
    ann.enable("salesforce").await;
    gil.enable("salesforce").await;
    let lost = in_database(&world, &mut ann, "Lost", "data0").await;
    let lost_too = in_database(&world, &mut ann, "Lost too", "data0").await;
    let kept = in_database(&world, &mut gil, "Kept", "data1").await;
    let kept_too = in_database(&world, &mut gil, "Kept too", "data1").await;
    let companies = synced_and_searched(&mut ann, &lost, "lost").await;
    assert_eq!(synced_and_searched(&mut gil, &kept, "kept").await, companies);
    assert!(companies > 30, "{companies}");

    world.data_database(0, false);
    // Its integrations: lists fail with a reason, syncs wait and say why, and what is in control is served.
    let answer = refused(ann.companies.list_companies(list(&ann))).await;
    assert_eq!(
        (answer.code, answer.reason.as_str()),
        (Code::Unavailable, "STORAGE_UNAVAILABLE")
    );
    let waiting = ann.sync(&lost).await;
    until("the sync waits and says why", || {
        let mut integrations = ann.integrations.clone();
        let request = v1::GetSyncRequest {
            name: waiting.clone(),
        };
        async move {
            let sync = ok(integrations.get_sync(request)).await;
            sync.state() == State::Waiting
                && sync
                    .error
                    .is_some_and(|error| error.reason() == ErrorReason::StorageUnavailable)
        }
    })
    .await;
    assert_eq!(ann.get(&lost).await.display_name, "Lost");
    ann.delete(&lost_too).await;

    // All others: they are read, synced, indexed and deleted.
    assert_eq!(synced_and_searched(&mut gil, &kept, "kept").await, companies);
    gil.delete(&kept_too).await;
    let other = world.data_url(1).to_owned();
    until("the deleted rows are gone", || async {
        records(&other, &kept_too) == 0
    })
    .await;
    // A new one is not put where it could not be synced.
    for n in 0..4 {
        let name = gil.salesforce(&format!("New {n}"), FIELDS).await;
        assert!(records(&other, &name) > 0);
        gil.delete(&name).await;
    }

    // A server starts without it, and keeps the index.
    world.restart().await;
    let mut ann = world.ann().await;
    let mut gil = world.gil().await;
    assert_eq!(synced_and_searched(&mut gil, &kept, "kept").await, companies);
    let (_, id) = lost.rsplit_once('/').unwrap();
    assert!(world.data().join("index").join(id).is_dir());
    let (ended_well, _, errors) = world.command(&["migrate"]).await;
    assert!(!ended_well && errors.contains("\"data0\""), "{errors}");

    // It is back: everything goes on by itself.
    world.data_database(0, true);
    ann.succeeds(&waiting).await;
    assert_eq!(synced_and_searched(&mut ann, &lost, "lost").await, companies);
    let back = world.data_url(0).to_owned();
    until("the rows deleted meanwhile are gone", || async {
        records(&back, &lost_too) == 0
    })
    .await;
}
