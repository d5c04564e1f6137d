//! Processes that die while a job is created, runs or is read: the next one adopts the job or removes it.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::bulk::{BULK, World, assert_same};
use crate::harness::*;

const ACCOUNTS: [&str; 4] = ["--accounts", "900", "--related", "0"];

/// The job in a checkpoint; null for a mark.
fn job(checkpoint: &[u8]) -> Option<Json> {
    let state: Json = serde_json::from_slice(checkpoint).unwrap();
    state.get("bulk").map(|bulk| bulk["job"].clone())
}

/// Resumes a read in another process, to its end.
async fn resume(world: &World, checkpoint: &[u8], store: Store) -> (Store, Outcome) {
    let connector = world.sim.connector_with(&BULK);
    let reading = Reading::start(&connector, &world.connection, &world.selection, checkpoint, store).await;
    let (store, outcome, _) = reading.finish().await;
    assert!(matches!(outcome.end, Some(Ok(()))), "{:?}", outcome.end);
    (store, outcome)
}

#[tokio::test]
async fn the_mark_comes_before_the_job_and_its_id_right_after_it() {
    let world = World::of_accounts(&ACCOUNTS, &BULK).await;
    let (_, outcome) = world.read_into(Store::default()).await;
    let jobs: Vec<Option<Json>> = outcome.checkpoints.iter().map(|one| job(one)).collect();
    assert_eq!(jobs[0], Some(Json::Null));
    assert!(
        jobs[1]
            .as_ref()
            .is_some_and(|job| job["total"].is_null() && job["version"] == "v62.0")
    );
    assert!(jobs[2].as_ref().is_some_and(|job| job["total"].is_u64()));
    assert!(
        jobs[jobs.len() - 2]
            .as_ref()
            .is_some_and(|job| job["ended"] == true)
    );
    assert_eq!(jobs.last(), Some(&None));
    // The job is created only when the mark is stored.
    let mut reading = Reading::start(
        &world.connector,
        &world.connection,
        &world.selection,
        &[],
        Store::default(),
    )
    .await;
    let created = world.jobs().await.0;
    assert!(reading.checkpoint().await);
    assert_eq!(world.jobs().await.0, created);
    reading.kill();
}

#[tokio::test]
async fn a_read_goes_on_from_every_checkpoint_with_the_same_job() {
    let world = World::of_accounts(&ACCOUNTS, &BULK).await;
    let right = world.by_rest().await;
    let mut checkpoints = 0;
    loop {
        let (created, _) = world.jobs().await;
        let mut reading = Reading::start(
            &world.connector,
            &world.connection,
            &world.selection,
            &[],
            Store::default(),
        )
        .await;
        for _ in 0..=checkpoints {
            if !reading.checkpoint().await {
                break;
            }
        }
        let Some(checkpoint) = reading.outcome.checkpoints.get(checkpoints).cloned() else {
            break;
        };
        let store = reading.kill();
        let (store, outcome) = resume(&world, &checkpoint, store).await;
        assert_same(&store, &right, &format!("after checkpoint {checkpoints}"));
        let (now, existing) = world.jobs().await;
        assert_eq!(
            (now - created, existing),
            (1, 0),
            "after checkpoint {checkpoints}"
        );
        assert!(outcome.rows <= right.rows.len() as u64);
        checkpoints += 1;
    }
    assert!(checkpoints > 6, "{checkpoints}");
}

#[tokio::test]
async fn a_job_that_nobody_knows_of_is_removed() {
    let world = World::of_accounts(&ACCOUNTS, &BULK).await;
    let right = world.by_rest().await;
    // Jobs of another program, of the same user and at the same time.
    for body in [
        json!({"operation": "queryAll", "query": "SELECT Id FROM Account"}),
        json!({"operation": "queryAll", "query": "SELECT Id FROM Account", "columnDelimiter": "PIPE", "lineEnding": "CRLF"}),
        json!({"operation": "query", "query": "SELECT Id FROM Account", "columnDelimiter": "CARET"}),
        json!({"operation": "query", "query": "SELECT Id FROM Account", "columnDelimiter": "BACKQUOTE"}),
    ] {
        let url = format!("{}/services/data/v62.0/jobs/query", world.sim.base);
        let token = &world.connection.credentials.as_ref().unwrap().access_token;
        let made = world
            .sim
            .http
            .post(url)
            .bearer_auth(token)
            .json(&body)
            .send()
            .await
            .unwrap();
        assert!(made.status().is_success());
    }
    let (others, _) = world.jobs().await;
    // The process dies after the job was created and before it knows of it.
    world
        .sim
        .fault(json!({"request": "bulk_create", "kind": "stall"}))
        .await;
    let mut reading = Reading::start(
        &world.connector,
        &world.connection,
        &world.selection,
        &[],
        Store::default(),
    )
    .await;
    assert!(reading.checkpoint().await);
    let created = async {
        while world.jobs().await.0 == others {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = reading.checkpoint() => panic!("the answer does not come"),
        () = created => {}
    }
    let mark = reading.outcome.checkpoints[0].clone();
    let store = reading.kill();
    assert_eq!(world.jobs().await, (others + 1, others + 1));
    let (store, _) = resume(&world, &mark, store).await;
    assert_same(&store, &right, "an unknown job");
    assert_eq!(world.jobs().await, (others + 2, others));
    assert!(world.count("bulk_abort").await == 1);
}

#[tokio::test]
async fn an_answer_that_is_lost_leaves_no_job() {
    let world = World::of_accounts(&ACCOUNTS, &BULK).await;
    let right = world.by_rest().await;
    world
        .sim
        .fault(json!({"request": "bulk_create", "kind": "lost", "times": 3}))
        .await;
    let (store, outcome) = world.read_into(Store::default()).await;
    assert!(matches!(outcome.end, Some(Ok(()))), "{:?}", outcome.end);
    assert_same(&store, &right, "lost");
    assert_eq!(world.jobs().await, (4, 0));
}

#[tokio::test]
async fn what_a_cancelled_read_left_is_removed_by_a_later_one() {
    let world = World::of_accounts(&ACCOUNTS, &BULK).await;
    let stop = |checkpoints: usize| {
        let world = &world;
        async move {
            let mut reading = Reading::start(
                &world.connector,
                &world.connection,
                &world.selection,
                &[],
                Store::default(),
            )
            .await;
            for _ in 0..checkpoints {
                assert!(reading.checkpoint().await);
            }
            let state = reading.outcome.checkpoints.last().unwrap().clone();
            reading.kill();
            state
        }
    };
    // The next read has the state of the one that was cancelled.
    for checkpoints in [2, 4] {
        let state = stop(checkpoints).await;
        assert_eq!(world.jobs().await.1, 1);
        let reading = Reading::of(&world.connector, world.changes(&state), Store::default()).await;
        let (store, outcome, _) = reading.finish().await;
        assert!(matches!(outcome.end, Some(Ok(()))), "{:?}", outcome.end);
        assert_same(&store, &world.by_rest().await, "after a cancelled read");
        assert_eq!(world.jobs().await.1, 0);
    }
    // A read that knows nothing of it finds it after some hours: until then it may belong to a running one.
    stop(3).await;
    assert!(matches!(
        world.read_into(Store::default()).await.1.end,
        Some(Ok(()))
    ));
    assert_eq!(world.jobs().await.1, 1);
    world
        .sim
        .control("/clock", json!({"advanceSeconds": 7 * 3_600}))
        .await;
    assert!(matches!(
        world.read_into(Store::default()).await.1.end,
        Some(Ok(()))
    ));
    assert_eq!(world.jobs().await.1, 0);
}

#[tokio::test]
async fn the_job_of_another_selection_is_not_used() {
    let world = World::of_accounts(&ACCOUNTS, &BULK).await;
    let mut reading = Reading::start(
        &world.connector,
        &world.connection,
        &world.selection,
        &[],
        Store::default(),
    )
    .await;
    for _ in 0..4 {
        assert!(reading.checkpoint().await);
    }
    let checkpoint = reading.outcome.checkpoints.last().unwrap().clone();
    let store = reading.kill();
    let mut other = World {
        selection: select(&world.fields, &[("Account", &["Name", "Phone"])]),
        ..world
    };
    let (store, _) = resume(&other, &checkpoint, store).await;
    assert_same(&store, &other.by_rest().await, "another selection");
    assert_eq!(other.jobs().await, (2, 0));
    // A checkpoint that does not fit at all.
    other.selection = select(&other.fields, &[("Case", &["Subject"])]);
    resume(&other, &checkpoint, Store::default()).await;
    assert_eq!(other.jobs().await.1, 0);
}

#[tokio::test]
async fn a_job_of_another_integration_is_left_alone() {
    let world = World::of_accounts(&ACCOUNTS, &BULK).await;
    let right = world.by_rest().await;
    let start = |checkpoint: Vec<u8>| {
        let world = &world;
        async move {
            let connection = &world.connection;
            Reading::start(
                &world.connector,
                connection,
                &world.selection,
                &checkpoint,
                Store::default(),
            )
            .await
        }
    };
    // It has its job.
    let mut other = start(Vec::new()).await;
    while job(other
        .outcome
        .checkpoints
        .last()
        .map_or(b"{}".as_slice(), |last| last.as_slice()))
    .is_none_or(|job| job.is_null())
    {
        assert!(other.checkpoint().await);
    }
    // Another integration of the same user goes on after a crash in which a job was about to be created, with the
    // same form at the same time.
    let mut mark: Json = serde_json::from_slice(&other.outcome.checkpoints[0]).unwrap();
    assert!(mark["bulk"]["job"].is_null() && mark["bulk"]["mark"].is_u64());
    mark["bulk"]["mark"] = json!(1);
    let (store, outcome, _) = start(serde_json::to_vec(&mark).unwrap()).await.finish().await;
    assert!(matches!(outcome.end, Some(Ok(()))), "{:?}", outcome.end);
    assert_same(&store, &right, "the one that goes on");
    assert_eq!(world.jobs().await, (2, 1));
    let (store, outcome, _) = other.finish().await;
    assert!(matches!(outcome.end, Some(Ok(()))), "{:?}", outcome.end);
    assert_same(&store, &right, "the other one");
    assert_eq!(world.jobs().await, (2, 0));
    assert_eq!(world.count("bulk_abort").await, 0);
}
