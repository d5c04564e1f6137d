//! Broken connections, changes between two requests, damaged pages.

use serde_json::{Value, json};

use crate::world::{ADMIN, V, World};

#[tokio::test]
async fn connections_are_reset_or_stay_silent() {
    let world = World::start(20, 0).await;
    let api = world.as_user(ADMIN).await;
    let order = async |fault: Value| world.control("/faults", fault).await;
    let path = format!("{V}/sobjects/Account/describe");
    let ask = || {
        world
            .http
            .get(format!("{}{path}", world.sim.http))
            .bearer_auth(&api.token)
    };

    order(json!({ "request": "describe", "kind": "reset" })).await;
    let error = async {
        match ask().send().await {
            Err(error) => error,
            Ok(answer) => answer.bytes().await.unwrap_err(),
        }
    }
    .await;
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    let mut texts = String::new();
    while let Some(error) = cause {
        texts += &error.to_string();
        cause = error.source();
    }
    assert!(texts.contains("reset by peer"), "{texts}");

    // The silent ones are in the log although nothing was answered.
    for kind in ["hang", "stall"] {
        order(json!({ "request": "describe", "kind": kind })).await;
        let silent = ask().timeout(std::time::Duration::from_millis(300)).send().await;
        assert!(silent.is_err_and(|error| error.is_timeout()), "{kind}");
    }
    let log = world.seen("/requests?kind=describe").await;
    let seen: Vec<_> = log["requests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            (
                entry["fault"].as_str().unwrap(),
                entry["status"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(seen, [("reset", 200), ("hang", 0), ("stall", 0)]);

    // The client of this test decompresses.
    for kind in ["mislabelled", "cutGzip"] {
        order(json!({ "request": "describe", "kind": kind })).await;
        assert!(ask().send().await.unwrap().text().await.is_err(), "{kind}");
        assert!(ask().send().await.unwrap().text().await.unwrap().starts_with('{'));
    }
}

#[tokio::test]
async fn the_org_changes_between_two_requests() {
    let world = World::start(2_500, 0).await;
    let api = world.as_user(ADMIN).await;
    let order = async |fault: Value| world.control("/faults", fault).await;
    let act = json!([{ "route": "/sessions/expire" }, { "route": "/fields/remove", "body": { "object": "Account", "field": "Site" } }]);
    order(json!({ "request": "query_more", "kind": "act", "act": act })).await;
    let first = api.query("SELECT Id, Site FROM Account").await;
    let next = first["nextRecordsUrl"].as_str().unwrap();
    assert_eq!(api.get(next).await.0, 401);
    let renewed = world.as_user(ADMIN).await;
    let (_, gone) = renewed.try_query("query", "SELECT Id, Site FROM Account").await;
    assert_eq!(gone[0]["errorCode"], "INVALID_FIELD");
    // An act that is refused shows.
    order(json!({ "request": "query", "kind": "act", "act": [{ "route": "/fields/remove", "body": { "object": "Account" } }] })).await;
    assert_eq!(renewed.try_query("query", "SELECT Id FROM Account").await.0, 501);
}

#[tokio::test]
async fn pages_of_a_query_can_be_damaged() {
    let world = World::start(2_500, 0).await;
    let api = world.as_user(ADMIN).await;
    let damage = async |how: &str| {
        world
            .control("/pages", json!({ "how": how, "api": "rest" }))
            .await
    };
    let page = async || api.query("SELECT Id FROM Account ORDER BY Id").await;
    damage("short").await;
    let short = page().await;
    assert_eq!(
        (short["records"].as_array().unwrap().len(), &short["totalSize"]),
        (1_999, &json!(2_500))
    );
    damage("early").await;
    assert_eq!(page().await["done"], true);
    let whole = page().await;
    let next = whole["nextRecordsUrl"].as_str().unwrap();
    damage("repeat").await;
    assert_eq!(api.get(next).await.1["records"], whole["records"]);
    damage("loop").await;
    assert_eq!(api.get(next).await.1["nextRecordsUrl"], next);
    assert_eq!(api.get(next).await.1["done"], true);
}
