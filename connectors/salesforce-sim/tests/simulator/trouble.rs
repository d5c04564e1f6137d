//! Faults, limits, journal.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{ADMIN, Api, V, World};

/// A query that faults are ordered for.
fn path() -> String {
    format!("{V}/query?q=SELECT+FIELDS(STANDARD)+FROM+Account")
}

#[tokio::test]
async fn trouble_can_be_ordered_and_everything_is_journaled() {
    let world = World::start(200, 0).await;
    let api = world.as_user(ADMIN).await;
    faults_are_ordered(&world, &api).await;
    limits_end(&world, &api).await;
    let api = world.as_user(ADMIN).await;
    writes_are_journaled(&world, &api).await;
}

async fn faults_are_ordered(world: &World, api: &Api<'_>) {
    let path = path();
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
}

/// Long addresses, the daily limit, an expired session.
async fn limits_end(world: &World, api: &Api<'_>) {
    let path = path();
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
}

async fn writes_are_journaled(world: &World, api: &Api<'_>) {
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

#[tokio::test]
async fn refusals_are_ordered_by_their_codes_for_a_number_or_a_time() {
    let world = World::start(50, 0).await;
    let api = world.as_user(ADMIN).await;
    let order = async |fault: Value| world.control("/faults", fault).await;
    let query = "SELECT Id FROM Account";
    for (code, status, text) in [
        (
            "QUERY_TIMEOUT",
            400,
            "Your query request was running for too long.",
        ),
        ("INVALID_AUTH_HEADER", 401, "INVALID_JWT_FORMAT"),
        ("GONE", 410, "The requested API version is no longer supported"),
        (
            "LIMIT_EXCEEDED",
            400,
            "Max bulk v2 query jobs (10000) per 24 hrs has been reached",
        ),
        (
            "INSUFFICIENT_ACCESS",
            403,
            "insufficient access rights on object id",
        ),
    ] {
        order(json!({ "path": "/services/data", "code": code })).await;
        let expected = json!([{ "message": text, "errorCode": code }]);
        assert_eq!(api.try_query("query", query).await, (status, expected));
    }
    // Salesforce's own errors contain the allowance, a gateway's page does not.
    let path = format!("{V}/limits");
    order(json!({ "path": "/services/data", "code": "REQUEST_LIMIT_EXCEEDED" })).await;
    let refused = api.send(Method::GET, &path, None).await;
    assert!(refused.headers().contains_key("sforce-limit-info"));
    for status in [400, 403, 404, 405, 415] {
        order(json!({ "path": "/services/data", "kind": "html", "status": status })).await;
        let page = api.send(Method::GET, &path, None).await;
        assert_eq!(page.status().as_u16(), status);
        assert!(!page.headers().contains_key("sforce-limit-info"));
        assert!(page.text().await.unwrap().starts_with("<html>"));
    }
    order(json!({ "path": "/services/data", "code": "QUERY_TIMEOUT", "seconds": 3600 })).await;
    for _ in 0..3 {
        assert_eq!(api.try_query("query", query).await.0, 400);
    }
    order(json!({ "path": "/services/data", "code": "QUERY_TIMEOUT", "seconds": 0 })).await;
    world
        .http
        .delete(format!("{}/faults", world.sim.control))
        .send()
        .await
        .unwrap();
    assert_eq!(api.try_query("query", query).await.0, 200);
    // The same in a composite.
    let inner = json!({ "compositeRequest": [{ "method": "GET", "referenceId": "a", "url": format!("{V}/limits") }] });
    for fault in [
        json!({ "code": "NOT_FOUND" }),
        json!({ "kind": "html", "status": 404 }),
    ] {
        let mut fault = fault;
        fault["path"] = "/services/data".into();
        fault["inner"] = true.into();
        order(fault).await;
        let answer = api
            .send(Method::POST, &format!("{V}/composite"), Some(inner.clone()))
            .await;
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["compositeResponse"][0]["httpStatusCode"], 404, "{answer}");
    }
}

#[tokio::test]
async fn answers_are_made_to_say_what_is_not_so() {
    let world = World::start(50, 0).await;
    let api = world.as_user(ADMIN).await;
    let set = async |answer: Value| world.control("/answers", answer).await;
    let page = async || {
        api.query("SELECT Id, Name, OwnerId FROM Account ORDER BY Id")
            .await
    };
    let whole = page().await;
    let id = whole["records"][0]["Id"].as_str().unwrap().to_owned();
    set(json!({ "object": "Account", "keep": 0 })).await;
    assert_eq!(
        page().await,
        json!({ "totalSize": 0, "done": true, "records": [] })
    );
    assert!(api.count("SELECT COUNT() FROM Contact").await > 0);
    set(json!({ "object": "Account", "keep": 1, "shortIds": true })).await;
    let one = page().await;
    assert_eq!(
        (&one["totalSize"], &one["records"][0]["Id"]),
        (&json!(1), &json!(id[..15]))
    );
    let rows = json!({ (id.as_str()): { "Id": null, "Name": null } });
    set(json!({ "object": "Account", "rows": rows })).await;
    assert_eq!(page().await["records"][0]["Id"], Value::Null);
    set(json!({ "object": "Account", "describe": { "Website": { "scale": 0.0, "length": -1 } } })).await;
    let described = api.get(&format!("{V}/sobjects/Account/describe")).await.1;
    let website = described["fields"]
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["name"] == "Website");
    assert_eq!(website.unwrap()["length"], -1);
    set(json!({ "forbidden": true })).await;
    let (status, body) = api.try_query("query", "SELECT Id FROM Contact").await;
    assert_eq!(
        (status, &body[0]["errorCode"]),
        (403, &json!("INSUFFICIENT_ACCESS"))
    );
    world
        .http
        .delete(format!("{}/answers", world.sim.control))
        .send()
        .await
        .unwrap();
    assert_eq!(page().await, whole);
}

#[tokio::test]
async fn a_host_is_left_and_a_refresh_names_the_next() {
    let world = World::start(20, 0).await;
    let token = world.login(ADMIN).await;
    let port = world.sim.http.rsplit(':').next().unwrap();
    let (from, to) = (format!("127.0.0.1:{port}"), format!("localhost:{port}"));
    let get = async |host: &str| {
        let url = format!("http://{host}{V}/limits");
        let bearer = token["access_token"].as_str().unwrap();
        let answer = world.http.get(url).bearer_auth(bearer).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for (how, status, text) in [
        ("notReset", 400, "URL_NOT_RESET"),
        ("page", 404, "URL No Longer Exists"),
        ("redirect", 302, ""),
    ] {
        world
            .control("/hosts", json!({ "from": from, "to": to, "how": how }))
            .await;
        let (answered, body) = get(&from).await;
        assert!(
            answered == status && body.contains(text),
            "{how}: {answered} {body}"
        );
        assert_eq!(get(&to).await.0, 200);
        assert_eq!(
            world.refresh(&token).await.1["instance_url"],
            format!("http://{to}")
        );
    }
}

#[tokio::test]
async fn a_cursor_dies_with_its_session_and_the_clock_can_differ() {
    let world = World::start(2500, 0).await;
    world
        .control(
            "/oauth/settings",
            json!({ "rotation": true, "endSessions": true }),
        )
        .await;
    let token = world.login(ADMIN).await;
    let as_ = |token: &Value| crate::world::Api {
        world: &world,
        token: token["access_token"].as_str().unwrap().to_owned(),
    };
    let next = as_(&token).query("SELECT Id FROM Account").await["nextRecordsUrl"]
        .as_str()
        .unwrap()
        .to_owned();
    // Another session of the same user cannot use it.
    let other = world.as_user(ADMIN).await.get(&next).await;
    assert_eq!(
        (other.0, &other.1[0]["errorCode"]),
        (400, &json!("INVALID_QUERY_LOCATOR"))
    );
    assert_eq!(as_(&token).get(&next).await.0, 200);
    let renewed = world.refresh(&token).await.1;
    assert_eq!(
        as_(&token).get(&next).await.0,
        401,
        "the refresh ended the session"
    );
    assert_eq!(as_(&renewed).get(&next).await.0, 400);

    let dated = async || {
        let answer = as_(&renewed)
            .send(Method::GET, &format!("{V}/sobjects/Account/describe"), None)
            .await;
        let headers = answer.headers().clone();
        for name in ["etag", "last-modified", "x-sfdc-request-id", "set-cookie"] {
            assert!(headers.contains_key(name), "{name}");
        }
        assert_eq!(headers.get("transfer-encoding").unwrap(), "chunked");
        headers["date"].to_str().unwrap().to_owned()
    };
    let before = dated().await;
    world
        .control("/clock", json!({ "skewSeconds": 86_400 * 400 }))
        .await;
    assert_ne!(before[12..16], dated().await[12..16], "another year");
}

#[tokio::test]
async fn logins_are_refused_as_ordered() {
    let world = World::start(10, 0).await;
    let token = world.login(ADMIN).await;
    world
        .control(
            "/oauth/refusal",
            json!({ "callback": "OAUTH_APP_BLOCKED", "token": "invalid_app_access" }),
        )
        .await;
    let (status, body) = world.refresh(&token).await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_app_access")));
    let url = format!(
        "{}/services/oauth2/authorize?response_type=code&client_id=3MVG9tether.demo&redirect_uri=http://localhost:1/cb&code_challenge=x",
        world.sim.http
    );
    let asked = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("url", &url)
        .finish();
    assert_eq!(
        world.seen(&format!("/oauth/approve?{asked}")).await["error"],
        "OAUTH_APP_BLOCKED"
    );
    world.control("/oauth/refusal", json!({})).await;
    assert_eq!(world.refresh(&token).await.0, 200);
}
