//! Logging in and out.

use serde_json::{Value, json};

use crate::world::{ADMIN, RESTRICTED, World};

#[tokio::test]
async fn logging_in_follows_salesforces_rules() {
    let world = World::start(10, 0).await;
    let token = world.login(ADMIN).await;
    assert!(token.get("expires_in").is_none());
    assert!(token["issued_at"].is_string() && token["access_token"].as_str().unwrap().contains('!'));
    let id = token["id"].as_str().unwrap();
    let me: Value = world
        .http
        .get(id)
        .bearer_auth(token["access_token"].as_str().unwrap())
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(me["username"], ADMIN);
    assert!(id.ends_with(&format!(
        "{}/{}",
        me["organization_id"].as_str().unwrap(),
        me["user_id"].as_str().unwrap()
    )));
    let bad = world.http.get(id).bearer_auth("x").send().await.unwrap();
    assert_eq!(
        (bad.status().as_u16(), bad.text().await.unwrap().as_str()),
        (403, "Bad_OAuth_Token")
    );

    // A code works once, and a second use revokes the tokens of the first.
    let code = world.code(ADMIN).await;
    let (_, first) = world.exchange(&code).await;
    let (status, second) = world.exchange(&code).await;
    assert_eq!(status, 400);
    assert_eq!(
        second,
        json!({ "error": "invalid_grant", "error_description": "expired authorization code" })
    );
    assert_eq!(
        world.refresh(&first).await.1["error_description"],
        "expired access/refresh token"
    );

    // Without rotation a refresh returns no new refresh token; with it, a used one revokes the family.
    let (_, again) = world.refresh(&token).await;
    assert!(again.get("refresh_token").is_none() && again["access_token"] != token["access_token"]);
    world
        .control("/oauth/settings", json!({ "rotation": true }))
        .await;
    let (_, rotated) = world.refresh(&token).await;
    assert_ne!(rotated["refresh_token"], token["refresh_token"]);
    assert_eq!(world.refresh(&token).await.0, 400);
    assert_eq!(
        world.refresh(&rotated).await.1["error_description"],
        "expired access/refresh token"
    );

    // The sixth approval silently revokes the first.
    let mut tokens = Vec::new();
    for _ in 0..6 {
        tokens.push(world.login(RESTRICTED).await);
    }
    assert_eq!(world.refresh(&tokens[0]).await.0, 400);
    assert_eq!(world.refresh(&tokens[1]).await.0, 200);
}
