//! Logins and their renewal, with the simulated Salesforce.

use serde_json::{Value as Json, json};
use tether::caller::Role;
use tether::proto::v1::begin_authorization_request::ReturnTo;
use tether::proto::v1::integration::State;
use tether::proto::v1::{self, sync};

use crate::support::server::Database;
use crate::support::server::{Person, World, encoded, http, ok, on_all_databases, refused, until};

on_all_databases!(
    the_callback_page_asks_before_it_connects,
    a_login_is_lost_and_found
);

/// The value of a hidden input of a page.
fn hidden(page: &str, name: &str) -> String {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
    rest.split('"').next().unwrap().to_owned()
}

/// The path and query of a URL.
fn path(url: &url::Url) -> String {
    format!("{}?{}", url.path(), url.query().unwrap_or_default())
}

async fn confirm(world: &World, state: &str, token: &str) -> (u16, String) {
    let form = format!("state={}&token={}", encoded(state), encoded(token));
    let answer = http(
        &world.callback,
        "POST",
        "/oauth/confirm",
        "application/x-www-form-urlencoded",
        &form,
    )
    .await;
    (answer.status, answer.body)
}

async fn the_callback_page_asks_before_it_connects(database: Database) {
    let world = World::start(database, 5).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let name = ann.create("salesforce", "<i>Sales & \"Co\"</i>").await;
    let begin = v1::BeginAuthorizationRequest {
        name: name.clone(),
        return_to: ReturnTo::Tether as i32,
        ..Default::default()
    };

    // The page names the account of the login; names are escaped. Nothing is connected yet.
    let begun = ok(ann.integrations.begin_authorization(begin.clone())).await;
    let to = ann
        .consent(&begun.authorization_uri, "admin@acme.example", true)
        .await;
    assert!(
        to.as_str()
            .starts_with(&format!("http://{}/oauth/callback?", world.callback)),
        "{to}"
    );
    let page = http(&world.callback, "GET", &path(&to), "", "").await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("Acme Research"), "{}", page.body);
    assert!(
        page.body
            .contains("&lt;i&gt;Sales &amp; &quot;Co&quot;&lt;/i&gt;"),
        "{}",
        page.body
    );
    assert!(!page.body.contains("<i>"));
    assert!(ann.get(&name).await.account.is_none());

    // A caller that has not read the page cannot confirm, even with the state; nor can the platform complete
    // the login.
    let (state, token) = (hidden(&page.body, "state"), hidden(&page.body, "token"));
    assert_eq!(state, begun.state);
    let (status, text) = confirm(&world, &state, "guessed").await;
    assert!(
        status == 400 && text.contains("AUTHORIZATION_STATE_INVALID"),
        "{text}"
    );
    let no = refused(ann.integrations.complete_authorization(Person::came_back(&to))).await;
    assert_eq!(no.reason, "AUTHORIZATION_STATE_INVALID");
    assert!(ann.get(&name).await.account.is_none());

    // The user of the page can confirm, once.
    assert_eq!(confirm(&world, &state, &token).await.0, 200);
    assert_eq!(
        ann.get(&name).await.account.unwrap().username,
        "admin@acme.example"
    );
    let (status, text) = confirm(&world, &state, &token).await;
    assert!(
        status == 400 && text.contains("AUTHORIZATION_STATE_INVALID"),
        "{text}"
    );
    assert_eq!(http(&world.callback, "GET", &path(&to), "", "").await.status, 400);

    // A user who declines at the CRM gets the error at once, and nothing changes.
    let begun = ok(ann.integrations.begin_authorization(begin)).await;
    let to = ann
        .consent(&begun.authorization_uri, "admin@acme.example", false)
        .await;
    let page = http(&world.callback, "GET", &path(&to), "", "").await;
    assert!(
        page.status == 400 && page.body.contains("AUTHORIZATION_DENIED"),
        "{}",
        page.body
    );
    assert!(ann.get(&name).await.account.is_some());
}

async fn a_login_is_lost_and_found(database: Database) {
    let world = World::start(database, 20).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let name = ann.create("salesforce", "Acme Sales").await;

    a_callback_is_for_who_began(&world, &mut ann, &name).await;
    ann.select(&name, &["Account.Name", "Contact.Name"]).await;
    let sync = ann.activate(&name).await;
    ann.succeeds(&sync).await;
    let companies = ann.all_companies(100).await;

    sessions_expire_without_effect(&world, &mut ann, &name, &companies).await;
    revoked_access_is_reported(&world, &mut ann, &name, &companies).await;
    another_organization_is_refused(&world, &mut ann, &name).await;
    the_right_user_finds_all_again(&mut ann, &name, &companies).await;
}

/// It is valid for the user who began the login, in their group, once.
async fn a_callback_is_for_who_began(world: &World, ann: &mut Person, name: &str) {
    let begun = ann.begin(name).await;
    let no = ann
        .consent(&begun.authorization_uri, "admin@acme.example", false)
        .await;
    let denied = refused(ann.integrations.complete_authorization(Person::came_back(&no))).await;
    assert_eq!(denied.reason, "AUTHORIZATION_DENIED");
    let begun = ann.begin(name).await;
    let to = ann
        .consent(&begun.authorization_uri, "admin@acme.example", true)
        .await;
    let mut ben = world.person("ben", "acme", Role::Administrator).await;
    let mut eve = world.person("ann", "globex", Role::Administrator).await;
    for other in [&mut ben, &mut eve] {
        let no = refused(other.integrations.complete_authorization(Person::came_back(&to))).await;
        assert_eq!(no.reason, "AUTHORIZATION_STATE_INVALID");
    }
    ok(ann.integrations.complete_authorization(Person::came_back(&to))).await;
    let no = refused(ann.integrations.complete_authorization(Person::came_back(&to))).await;
    assert_eq!(no.reason, "AUTHORIZATION_STATE_INVALID");
}

/// Sessions expire at the CRM and refresh tokens are single use: this has no visible effect.
async fn sessions_expire_without_effect(
    world: &World,
    ann: &mut Person,
    name: &str,
    companies: &[v1::Company],
) {
    world
        .control("POST", "/oauth/settings", json!({"rotation": true}))
        .await;
    for company in &companies[..2] {
        world.control("POST", "/sessions/expire", Json::Null).await;
        let card = ann.open(&company.name).await.cards.remove(0);
        assert!(card.freshness.as_ref().unwrap().live, "{card:?}");
    }
    world.control("POST", "/sessions/expire", Json::Null).await;
    let sync = ann.sync(name).await;
    ann.succeeds(&sync).await;
}

/// The CRM's administrator revokes access: tether reports it, and shows its stored data.
async fn revoked_access_is_reported(world: &World, ann: &mut Person, name: &str, companies: &[v1::Company]) {
    world
        .control("POST", "/grants/revoke", json!({"user": "admin@acme.example"}))
        .await;
    let sync = ann.sync(name).await;
    let failed = ann.watch(&sync).await.pop().unwrap();
    assert_eq!(failed.state(), sync::State::Failed, "{failed:?}");
    assert_eq!(
        failed.error.unwrap().reason(),
        v1::ErrorReason::CredentialsRevoked
    );
    let lost = ann.get(name).await;
    assert_eq!(lost.state(), State::NeedsReauthorization);
    assert_eq!(
        lost.state_reason.unwrap().reason(),
        v1::ErrorReason::CredentialsRevoked
    );
    assert_eq!(ann.all_companies(100).await, *companies);
    let card = ann.open(&companies[3].name).await.cards.remove(0);
    assert_eq!(
        card.freshness.unwrap().stale_reason.unwrap().reason(),
        v1::ErrorReason::CredentialsRevoked
    );
    assert_eq!(card.company_records.unwrap().records.len(), 1);
    let request = v1::SyncIntegrationRequest {
        name: name.to_owned(),
        ..Default::default()
    };
    assert_eq!(
        refused(ann.integrations.sync_integration(request)).await.reason,
        "CREDENTIALS_REVOKED"
    );
}

/// And the new access is revoked.
async fn another_organization_is_refused(world: &World, ann: &mut Person, name: &str) {
    let no = refused(ann.try_log_in(name, "admin@globex.example")).await;
    assert_eq!(no.reason, "DIFFERENT_ORGANIZATION");
    until("the refused login's token is revoked", || async {
        let oauth = world.control("GET", "/oauth", Json::Null).await;
        let credentials = oauth["grants"].as_array().unwrap();
        let theirs: Vec<_> = credentials
            .iter()
            .filter(|credential| credential["user"] == "admin@globex.example")
            .collect();
        !theirs.is_empty() && theirs.iter().all(|credential| credential["revoked"] == true)
    })
    .await;
    assert_eq!(ann.get(name).await.state(), State::NeedsReauthorization);
}

/// All settings are kept, and a sync starts automatically.
async fn the_right_user_finds_all_again(ann: &mut Person, name: &str, companies: &[v1::Company]) {
    let back = ann.log_in(name).await;
    assert_eq!((back.state(), back.state_reason), (State::Active, None));
    assert_eq!(back.selected_fields, ["Account.Name", "Contact.Name"]);
    let newest = ann.syncs(name).await.remove(0);
    assert_eq!(newest.trigger(), sync::Trigger::LogIn);
    ann.succeeds(&newest.name).await;
    assert_eq!(ann.all_companies(100).await, *companies);
    let card = ann.open(&companies[4].name).await.cards.remove(0);
    assert!(card.freshness.unwrap().live);
}
