//! Logins at the simulated HubSpot, in the browser and with the token of a private app.

use serde_json::{Value as Json, json};
use tether::proto::v1::integration::State;
use tether::proto::v1::{self, delete_integration_response::Access, sync};
use tonic::Code;

use crate::support::server::{Crm, Database, Person, World, on_both_databases, refused, until};

on_both_databases!(
    logins_end_and_five_are_enough,
    what_the_crm_lets_nobody_revoke_is_not_called_revoked
);

const KEY: &str = "pat-na1-11111111-2222-4333-8444-555555555555";
const FIELDS: &[&str] = &["companies.name"];

async fn logins_end_and_five_are_enough(database: Database) {
    let world = World::start_crm(database, Crm::HubSpot, 12, &[]).await;
    world.control("POST", "/limits", json!({"searches": 1_000})).await;
    // HubSpot may answer a second login of a user with the refresh token of the first.
    world
        .control("POST", "/settings", json!({"sameRefreshToken": true}))
        .await;
    let mut ann = world.ann().await;
    ann.enable("hubspot").await;
    let names = five_of_one_account(&mut ann).await;
    the_sixth_is_refused(&world, &mut ann, &names).await;
    both_kinds_are_revoked(&world, &mut ann, &names).await;
    a_new_login_keeps_all(&mut ann, &names[0]).await;
}

/// The private app of a user is the same account as the user's logins.
async fn five_of_one_account(ann: &mut Person) -> Vec<String> {
    let mut names = Vec::new();
    for number in 1..=3 {
        names.push(ann.synced("hubspot", &format!("OAuth {number}"), FIELDS).await);
    }
    for number in 4..=5 {
        let name = ann.create("hubspot", &format!("Key {number}")).await;
        let no = refused(
            ann.integrations
                .authorize_with_credentials(Person::key(&name, "pat-na1-nobody")),
        )
        .await;
        assert_eq!(no.code, Code::InvalidArgument, "{no:?}");
        ann.log_in_with_key(&name, KEY).await;
        ann.select(&name, FIELDS).await;
        let sync = ann.activate(&name).await;
        ann.succeeds(&sync).await;
        names.push(name);
    }
    let account = ann.get(&names[4]).await.account.unwrap();
    assert_eq!(
        (account.active_integration_count, account.active_integration_limit),
        (5, 5)
    );
    names
}

/// With either kind of login, and the token that it shares with the five stays valid.
async fn the_sixth_is_refused(world: &World, ann: &mut Person, names: &[String]) {
    let sixth = ann.create("hubspot", "Sixth").await;
    let no = refused(ann.try_log_in(&sixth, "admin@acme.example")).await;
    assert_eq!(no.reason, "ACCOUNT_LIMIT_REACHED");
    let no = refused(
        ann.integrations
            .authorize_with_credentials(Person::key(&sixth, KEY)),
    )
    .await;
    assert_eq!(no.reason, "ACCOUNT_LIMIT_REACHED");
    world.control("POST", "/sessions/expire", Json::Null).await;
    for name in [&names[0], &names[4]] {
        let sync = ann.sync(name).await;
        ann.succeeds(&sync).await;
    }
    // Deleting one frees its place; the others of its account keep theirs.
    assert_eq!(ann.delete(&names[2]).await.access(), Access::Kept);
    ann.log_in(&sixth).await;
    let sync = ann.sync(&names[0]).await;
    ann.succeeds(&sync).await;
}

/// The app is uninstalled and the private app is deleted: tether reports it and keeps the data.
async fn both_kinds_are_revoked(world: &World, ann: &mut Person, names: &[String]) {
    let companies = ann.all_companies(100).await;
    world
        .control("POST", "/grants/revoke", json!({"user": "admin@acme.example"}))
        .await;
    world
        .control(
            "POST",
            "/oauth/private-apps",
            json!({"token": KEY, "delete": true}),
        )
        .await;
    for name in [&names[0], &names[4]] {
        let sync = ann.sync(name).await;
        let failed = ann.watch(&sync).await.pop().unwrap();
        assert_eq!(failed.state(), sync::State::Failed, "{failed:?}");
        assert_eq!(
            failed.error.unwrap().reason(),
            v1::ErrorReason::CredentialsRevoked
        );
        assert_eq!(ann.get(name).await.state(), State::NeedsReauthorization);
    }
    assert_eq!(ann.all_companies(100).await, companies);
    let card = ann.open(&companies[3].name).await.cards.remove(0);
    assert!(!card.freshness.as_ref().unwrap().live);
}

/// A sync is started automatically.
async fn a_new_login_keeps_all(ann: &mut Person, name: &str) {
    let no = refused(ann.try_log_in(name, "admin@globex.example")).await;
    assert_eq!(no.reason, "DIFFERENT_ORGANIZATION");
    assert_eq!(ann.log_in(name).await.state(), State::Active);
    until("the sync after the login ends well", async || {
        let newest = ann.clone().syncs(name).await.remove(0);
        (newest.trigger(), newest.state()) == (sync::Trigger::LogIn, sync::State::Succeeded)
    })
    .await;
}

/// A private app's token has no revocation: the answer of the deletion says so, because the token goes on working.
async fn what_the_crm_lets_nobody_revoke_is_not_called_revoked(database: Database) {
    let world = World::start_crm(database, Crm::HubSpot, 12, &[]).await;
    let mut ann = world.ann().await;
    ann.enable("hubspot").await;
    for _ in 0..2 {
        let name = ann.create("hubspot", "Key").await;
        ann.log_in_with_key(&name, KEY).await;
        ann.select(&name, &["companies.name"]).await;
        let sync = ann.activate(&name).await;
        ann.succeeds(&sync).await;
        assert_eq!(ann.delete(&name).await.access(), Access::NotRevocable);
    }
    // Also for a draft; a login with OAuth is revoked.
    let draft = ann.create("hubspot", "Draft").await;
    ann.log_in_with_key(&draft, KEY).await;
    assert_eq!(ann.delete(&draft).await.access(), Access::NotRevocable);
    let draft = ann.create("hubspot", "Draft").await;
    ann.log_in(&draft).await;
    assert_eq!(ann.delete(&draft).await.access(), Access::Revoked);
}
