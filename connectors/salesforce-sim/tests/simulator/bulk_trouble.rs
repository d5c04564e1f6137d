//! Jobs and pages that go wrong, by order of the control routes.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::bulk::{csv_rows, path};
use crate::world::{ADMIN, V, World};

#[tokio::test]
async fn the_course_of_a_job_can_be_ordered() {
    let world = World::start(100, 0).await;
    let api = world.as_user(ADMIN).await;
    let order = async |script: Value| world.control("/jobs/script", script).await;
    order(json!({ "object": "Account", "then": "Failed", "errorMessage": "QUERY_TIMEOUT" })).await;
    let contacts = api.finished("query", "SELECT Id FROM Contact").await;
    assert_eq!(contacts["state"], "JobComplete", "another object");
    let failed = api.finished("query", "SELECT Id FROM Account").await;
    assert_eq!(
        (&failed["state"], &failed["errorMessage"]),
        (&json!("Failed"), &json!("QUERY_TIMEOUT"))
    );
    order(json!({ "states": ["UploadComplete", "InProgress", "UploadComplete", "Aborted"] })).await;
    let (_, job) = api.job("query", "SELECT Id FROM Account").await;
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(api.info(&job).await["state"].as_str().unwrap().to_owned());
    }
    assert_eq!(
        seen,
        [
            "UploadComplete",
            "InProgress",
            "UploadComplete",
            "Aborted",
            "Aborted"
        ]
    );
    order(json!({ "polls": 0, "then": "InProgress" })).await;
    let (_, stuck) = api.job("query", "SELECT Id FROM Account").await;
    for _ in 0..5 {
        assert_eq!(api.info(&stuck).await["state"], "InProgress");
    }
    let ended = json!({ "id": stuck["id"], "state": "Failed", "errorMessage": "retried more than 15 times" });
    assert_eq!(world.control("/jobs/end", ended).await["changed"], 1);
    assert_eq!(
        api.info(&stuck).await["errorMessage"],
        "retried more than 15 times"
    );
    // Chunks are in any order, unless the query has one.
    world.control("/jobs/settings", json!({ "chunkRows": 30 })).await;
    for (soql, ordered) in [
        ("SELECT Id FROM Account", false),
        ("SELECT Id FROM Account ORDER BY Id", true),
        ("SELECT Id FROM Account LIMIT 90", true),
    ] {
        let job = api.finished("query", soql).await;
        assert_eq!(job["isPkChunkingSupported"], !ordered, "{soql}");
        let rows = api.csv(&job, 1000).await.1;
        assert_eq!(rows.is_sorted(), ordered, "{soql}");
    }
}

#[tokio::test]
async fn rows_that_change_while_a_job_runs_are_in_it_twice() {
    let world = World::start(100, 0).await;
    let api = world.as_user(ADMIN).await;
    let script = json!({ "duplicates": 3, "miscount": -2 });
    world.control("/jobs/script", script).await;
    let (_, job) = api.job("query", "SELECT Id, Name FROM Account").await;
    assert_eq!(api.info(&job).await["state"], "InProgress");
    let first = api.query("SELECT Id, Name FROM Account LIMIT 1").await["records"][0].clone();
    let change = json!({ "id": first["Id"], "fields": { "Name": "Newer" } });
    world.control("/records/update", change).await;
    assert_eq!(api.info(&job).await["numberRecordsProcessed"], 101);
    let rows = api.csv(&job, 60).await.1;
    let ids: BTreeSet<&String> = rows.iter().map(|row| &row[0]).collect();
    assert_eq!((rows.len(), ids.len()), (103, 100));
    let both: Vec<&String> = rows
        .iter()
        .filter(|row| first["Id"] == row[0])
        .map(|row| &row[1])
        .collect();
    assert_eq!(both, [first["Name"].as_str().unwrap(), "Newer"]);
}

#[tokio::test]
async fn pages_of_a_job_can_be_damaged() {
    let world = World::start(100, 0).await;
    let api = world.as_user(ADMIN).await;
    let job = api.finished("query", "SELECT Id FROM Account ORDER BY Id").await;
    let page = async |locator: &str| {
        let answer = api.results(&job, &format!("?maxRecords=40{locator}")).await;
        let header = |name: &str| answer.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        let (count, locator) = (header("sforce-numberofrecords"), header("sforce-locator"));
        let rows = csv_rows(&answer.text().await.unwrap());
        (count.unwrap_or_default(), locator.unwrap_or_default(), rows)
    };
    let (_, second, whole) = page("").await;
    let then = format!("&locator={second}");
    let order = async |how: &str| {
        world
            .control("/pages", json!({ "how": how, "api": "bulk" }))
            .await
    };
    order("short").await;
    let short = page("").await;
    assert_eq!(
        (short.0.as_str(), short.2.len()),
        ("40", 40),
        "39 rows and a header"
    );
    order("repeat").await;
    assert_eq!(page(&then).await.2, whole);
    order("loop").await;
    assert_eq!(page(&then).await.1, second);
    order("early").await;
    assert_eq!(page("").await.1, "null");
    order("miscount").await;
    assert_eq!(page("").await.0, "39");
    order("uncounted").await;
    assert_eq!(page("").await.0, "");
    order("headerless").await;
    assert_eq!(page(&then).await.2.len(), 40);
    order("empty").await;
    assert!(page("").await.2.is_empty());
    assert_eq!(page("").await.2, whole);
    let set = async |settings: Value| world.control("/jobs/settings", settings).await;
    set(json!({ "headerOnEveryPage": false })).await;
    assert_eq!((page("").await.2.len(), page(&then).await.2.len()), (41, 40));
    for (end, seen) in [("null", "null"), ("empty", ""), ("absent", "")] {
        set(json!({ "end": end })).await;
        assert_eq!(page("&locator=ODA").await.1, seen);
    }
    world.control("/jobs/locators/drop", json!({})).await;
    let dropped = api.results(&job, &then.replace('&', "?")).await;
    assert_eq!(dropped.status(), 400);
    let (_, renewed, _) = page("").await;
    assert_ne!(renewed, second);
    assert_eq!(page(&format!("&locator={renewed}")).await.0, "40");
}

#[tokio::test]
async fn a_job_whose_creation_was_not_answered_can_be_found_and_ended() {
    let world = World::start(50, 0).await;
    let api = world.as_user(ADMIN).await;
    world
        .control("/clock", json!({ "at": "2026-06-01T12:00:00Z" }))
        .await;
    world
        .control("/faults", json!({ "request": "bulk_create", "kind": "lost" }))
        .await;
    let body = json!({ "operation": "query", "query": "SELECT Id FROM Account" });
    let request = world
        .http
        .post(format!("{}{V}/jobs/query", world.sim.http))
        .bearer_auth(&api.token)
        .json(&body);
    let lost = match request.send().await {
        Ok(answer) => answer.bytes().await.is_err(),
        Err(_) => true,
    };
    assert!(lost);
    assert_eq!(world.seen("/jobs").await["unfinished"], 1);
    let (_, list) = api.get(&format!("{V}/jobs/query?jobType=V2Query")).await;
    let job = list["records"][0].clone();
    assert_eq!(
        (&job["object"], &job["createdDate"], &job["state"]),
        (
            &json!("Account"),
            &json!("2026-06-01T12:00:00.000+0000"),
            &json!("InProgress")
        )
    );
    let abort = Some(json!({ "state": "Aborted" }));
    api.send(Method::PATCH, &path(&job, ""), abort).await;
    api.send(Method::DELETE, &path(&job, ""), None).await;
    let jobs = world.seen("/jobs").await;
    assert_eq!((&jobs["created"], &jobs["existing"]), (&json!(1), &json!(0)));
    // An expired one is gone too.
    let job = api.finished("query", "SELECT Id FROM Account").await;
    world.control("/jobs/expire", json!({ "id": job["id"] })).await;
    assert_eq!(api.get(&path(&job, "")).await.0, 404);
}
