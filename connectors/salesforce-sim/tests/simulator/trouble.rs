//! Faults, limits, journal.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{ADMIN, V, World};

#[tokio::test]
async fn trouble_can_be_ordered_and_everything_is_journaled() {
    let world = World::start(200, 0).await;
    let api = world.as_user(ADMIN).await;
    let path = format!("{V}/query?q=SELECT+FIELDS(STANDARD)+FROM+Account");
    let order = async |fault: Value| world.control("/faults", fault).await;
    let base = json!({ "path": "/services/data" });
    let with = |more: Value| {
        let mut all: BTreeMap<String, Value> = serde_json::from_value(base.clone()).unwrap();
        all.extend(serde_json::from_value::<BTreeMap<String, Value>>(more).unwrap());
        json!(all)
    };
    order(with(
        json!({ "status": 503, "body": "busy", "headers": [["retry-after", "1"]] }),
    ))
    .await;
    let busy = api.send(Method::GET, &path, None).await;
    assert_eq!(
        (busy.status().as_u16(), &busy.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    order(with(json!({ "kind": "cut" }))).await;
    assert!(api.send(Method::GET, &path, None).await.bytes().await.is_err());
    order(with(json!({ "kind": "garbage" }))).await;
    assert!(
        api.send(Method::GET, &path, None)
            .await
            .json::<Value>()
            .await
            .is_err()
    );
    order(with(json!({ "kind": "html" }))).await;
    assert!(
        api.send(Method::GET, &path, None)
            .await
            .text()
            .await
            .unwrap()
            .contains("<form")
    );
    order(with(json!({ "kind": "lost", "contains": "SELECT FIELDS" }))).await;
    let lost = world
        .http
        .get(format!("{}{path}", world.sim.http))
        .bearer_auth(&api.token)
        .send()
        .await;
    assert!(match lost {
        Err(_) => true,
        Ok(answer) => answer.bytes().await.is_err(),
    });
    assert_eq!(api.get(&path).await.0, 200);

    let long = format!(
        "{V}/query?q=SELECT+Id+FROM+Account+WHERE+Name='{}'",
        "x".repeat(16_400)
    );
    assert_eq!(api.get(&long).await.0, 414);
    assert_eq!(api.get(&long[..16_300]).await.0, 431);
    world.control("/limits", json!({ "max": 100, "used": 100 })).await;
    let (status, body) = api.get(&path).await;
    assert_eq!(
        (status, &body[0]["errorCode"], &body[0]["message"]),
        (
            403,
            &json!("REQUEST_LIMIT_EXCEEDED"),
            &json!("TotalRequests Limit exceeded.")
        )
    );
    world.control("/limits", json!({ "used": 0 })).await;
    world.control("/sessions/expire", json!({})).await;
    assert_eq!(
        api.get(&path).await,
        (
            401,
            json!([{ "message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID" }])
        )
    );

    let api = world.as_user(ADMIN).await;
    assert_eq!(world.seen("/requests").await["writes"], 0);
    assert_eq!(
        api.send(Method::POST, &format!("{V}/sobjects/Account"), Some(json!({})))
            .await
            .status(),
        403
    );
    assert_eq!(
        api.send(Method::PUT, &format!("{V}/sobjects/Account"), None)
            .await
            .status(),
        405
    );
    let inner = json!({ "compositeRequest": [{ "method": "DELETE", "referenceId": "x", "url": format!("{V}/sobjects/Account/001Hs00002pxKmAIAU") }] });
    api.send(Method::POST, &format!("{V}/composite"), Some(inner))
        .await;
    let journal = world.seen("/requests").await;
    assert_eq!(
        (
            &journal["writes"],
            journal["writeRequests"].as_array().unwrap().len()
        ),
        (&json!(3), 3)
    );
}
