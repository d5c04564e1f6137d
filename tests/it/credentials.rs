//! Credentials of accounts: logins without a browser, concurrent refreshes.

use std::time::Duration;

use serde_json::{Value as Json, json};
use tether::caller::Role;
use tether::proto::v1::integration::State;
use tether::proto::v1::{self, AuthKind};
use tonic::Code;

use crate::support::server::{Database, Person, World, ok, on_both_databases, refused, until};

on_both_databases!(
    a_program_logs_in_without_a_browser,
    a_rotating_credential_survives_many_at_once,
    a_caller_who_goes_away_takes_no_token_along,
    a_login_that_is_not_used_is_refreshed,
);

const PRIVATE_KEY: &str = include_str!("../../connectors/salesforce/tests/simulator/keys/private.pem");
const PUBLIC_KEY: &str = include_str!("../../connectors/salesforce/tests/simulator/keys/public.pem");
const CLIENT: &str = "3MVG9tether.demo";

/// The number of token requests of this kind that the simulator received.
async fn asked(world: &World, grant_type: &str) -> usize {
    let journal = world.control("GET", "/requests?limit=100000", Json::Null).await;
    let requests = journal["requests"].as_array().unwrap();
    requests
        .iter()
        .filter(|request| request["grantType"] == grant_type)
        .count()
}

fn own(name: &str, secret: &str) -> v1::AuthorizeWithCredentialsRequest {
    let parameters = [("client_id", "3MVG9own"), ("client_secret", secret)];
    Person::with(name, AuthKind::ClientCredentials, &parameters)
}

fn jwt(name: &str, username: &str, key: &str) -> v1::AuthorizeWithCredentialsRequest {
    let parameters = [("username", username), ("private_key", key)];
    Person::with(name, AuthKind::JwtBearer, &parameters)
}

async fn a_program_logs_in_without_a_browser(database: Database) {
    let world = World::start(database, 20).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    world
        .control(
            "POST",
            "/oauth/clients",
            json!({"id": CLIENT, "publicKey": PUBLIC_KEY}),
        )
        .await;

    parameters_are_described(&mut ann).await;
    // Two drafts, of which one is in an organization with its own domain.
    let name = ann.create_in_domain("Acme by key").await;
    let elsewhere = ann.create("salesforce", "No own domain").await;
    wrong_parameters_reach_no_crm(&world, &mut ann, &name).await;
    the_crm_refuses(&world, &mut ann, &name, &elsewhere).await;
    both_kinds_log_in(&mut ann, &name, &elsewhere).await;
    they_log_in_again_instead_of_a_refresh(&world, &mut ann, &name, &elsewhere).await;
    a_changed_secret_needs_a_login(&world, &mut ann, &name).await;

    // By browser instead, as the same user: the same account, nothing is read again, nothing is lost.
    let back = ann.log_in(&name).await;
    assert_eq!(back.account.unwrap().auth_kind(), AuthKind::AuthorizationCode);
    let card = ann.all_companies(5).await.remove(0);
    assert!(!ann.open(&card.name).await.cards.is_empty());
}

/// The required parameters of each kind of login.
async fn parameters_are_described(ann: &mut Person) {
    let request = v1::GetConnectorRequest {
        name: "connectors/salesforce".to_owned(),
        parent: ann.parent.clone(),
    };
    let described = ok(ann.integrations.get_connector(request)).await;
    let parameters = |kind: AuthKind| {
        let method = described
            .auth_methods
            .iter()
            .find(|one| one.kind() == kind)
            .unwrap();
        let listed = method.parameters.iter();
        listed
            .map(|one| (one.key.as_str(), one.required, one.secret))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        parameters(AuthKind::ClientCredentials),
        [("client_id", false, false), ("client_secret", false, true)]
    );
    assert_eq!(
        parameters(AuthKind::JwtBearer),
        [
            ("username", true, false),
            ("private_key", true, true),
            ("client_id", false, false)
        ]
    );
}

/// Missing or unknown parameters are refused without a call to the CRM.
async fn wrong_parameters_reach_no_crm(world: &World, ann: &mut Person, name: &str) {
    for (kind, parameter) in [
        (AuthKind::JwtBearer, ("username", "admin@acme.example")),
        (AuthKind::ClientCredentials, ("surprise", "x")),
    ] {
        let login = Person::with(name, kind, &[parameter]);
        let no = refused(ann.integrations.authorize_with_credentials(login)).await;
        assert_eq!(no.reason, "INVALID_FIELD_VALUE", "{kind:?}");
    }
    assert_eq!(asked(world, "client_credentials").await, 0);
}

async fn a_parameter_is_wrong(ann: &mut Person, login: v1::AuthorizeWithCredentialsRequest, parameter: &str) {
    let no = refused(ann.integrations.authorize_with_credentials(login)).await;
    let violations = &no.details.bad_request().unwrap().field_violations;
    let field = format!("parameters[\"{parameter}\"]");
    assert_eq!(
        (no.reason.as_str(), violations[0].field.as_str()),
        ("AUTHORIZATION_REJECTED", field.as_str())
    );
    assert!(!no.message.contains("no key"), "{}", no.message);
}

/// Refusals of the CRM have its code, and the parameter if one is wrong.
async fn the_crm_refuses(world: &World, ann: &mut Person, name: &str, elsewhere: &str) {
    let login = jwt(name, "admin@acme.example", "no key");
    a_parameter_is_wrong(ann, login, "private_key").await;
    a_parameter_is_wrong(ann, own(name, "x"), "client_id").await;
    let client = json!({"id": "3MVG9own", "secret": "right", "runAs": "admin@acme.example"});
    world.control("POST", "/oauth/clients", client).await;
    a_parameter_is_wrong(ann, own(name, "wrong"), "client_secret").await;
    let stranger = jwt(name, "nobody@acme.example", PRIVATE_KEY);
    let no = refused(ann.integrations.authorize_with_credentials(stranger)).await;
    assert_eq!(
        (no.code, no.reason.as_str()),
        (Code::FailedPrecondition, "CRM_ADMIN_ACTION_NEEDED")
    );
    assert!(
        no.message.contains("user hasn't approved this consumer"),
        "{}",
        no.message
    );
    let no = Person::with(elsewhere, AuthKind::ClientCredentials, &[]);
    let no = refused(ann.integrations.authorize_with_credentials(no)).await;
    assert_eq!(no.reason, "AUTHORIZATION_REJECTED");
    assert!(no.message.contains("My Domain"), "{}", no.message);
    assert!(ann.get(name).await.account.is_none());
}

/// With a signed assertion on login.salesforce.com, and with client credentials of the customer's own app.
async fn both_kinds_log_in(ann: &mut Person, name: &str, elsewhere: &str) {
    let by_key = jwt(elsewhere, "admin@acme.example", PRIVATE_KEY);
    let landed = ok(ann.integrations.authorize_with_credentials(by_key)).await;
    let account = landed.integration.unwrap().account.unwrap();
    assert_eq!(
        (account.username.as_str(), account.auth_kind()),
        ("admin@acme.example", AuthKind::JwtBearer)
    );
    ok(ann.integrations.authorize_with_credentials(own(name, "right"))).await;
    for one in [name, elsewhere] {
        ann.select(one, &["Account.Name"]).await;
        let sync = ann.activate(one).await;
        ann.succeeds(&sync).await;
    }
    // Both belong to one account, regardless of the kind of login and the app.
    assert_eq!(ann.get(name).await.account.unwrap().active_integration_count, 2);
}

/// This has no visible effect. A repeated login replaces the stored secret and has no other effect.
async fn they_log_in_again_instead_of_a_refresh(
    world: &World,
    ann: &mut Person,
    name: &str,
    elsewhere: &str,
) {
    let before = asked(world, "client_credentials").await;
    world.control("POST", "/sessions/expire", Json::Null).await;
    for one in [name, elsewhere] {
        let sync = ann.sync(one).await;
        ann.succeeds(&sync).await;
    }
    assert_eq!(asked(world, "client_credentials").await, before + 1);
    let by_key = jwt(elsewhere, "admin@acme.example", PRIVATE_KEY);
    ok(ann.integrations.authorize_with_credentials(by_key)).await;
    let newest = ann.syncs(elsewhere).await.remove(0);
    ann.succeeds(&newest.name).await;
}

/// Another organization is refused; a changed secret needs a new login, which keeps everything.
async fn a_changed_secret_needs_a_login(world: &World, ann: &mut Person, name: &str) {
    let client = json!({"id": "3MVG9globex", "secret": "s", "runAs": "admin@globex.example"});
    world.control("POST", "/oauth/clients", client).await;
    let globex = Person::with(
        name,
        AuthKind::ClientCredentials,
        &[("client_id", "3MVG9globex"), ("client_secret", "s")],
    );
    let no = refused(ann.integrations.authorize_with_credentials(globex)).await;
    assert_eq!(no.reason, "DIFFERENT_ORGANIZATION");
    world
        .control(
            "POST",
            "/oauth/clients",
            json!({"id": "3MVG9own", "secret": "changed"}),
        )
        .await;
    world.control("POST", "/sessions/expire", Json::Null).await;
    let fields = v1::ListAvailableFieldsRequest {
        parent: name.to_owned(),
        ..Default::default()
    };
    let no = refused(ann.integrations.list_available_fields(fields)).await;
    assert_eq!(no.reason, "CREDENTIALS_REVOKED", "{no:?}");
    assert_eq!(no.details.error_info().unwrap().metadata["name"], name);
    assert_eq!(ann.get(name).await.state(), State::NeedsReauthorization);
    let back = ok(ann.integrations.authorize_with_credentials(own(name, "changed"))).await;
    assert!(!back.account_changed);
    let back = back.integration.unwrap();
    assert_eq!(
        (back.state(), back.selected_fields),
        (State::Active, vec!["Account.Name".to_owned()])
    );
}

/// The simulator's counts of tokens.
pub(crate) async fn oauth(world: &World) -> Json {
    world.control("GET", "/oauth", Json::Null).await
}

/// A saved integration of the simulated Salesforce whose refresh tokens are single use.
pub(crate) async fn rotating(world: &World, accounts: &mut Person) -> (String, Vec<v1::Company>) {
    accounts.enable("salesforce").await;
    let name = accounts.create("salesforce", "Acme Sales").await;
    accounts.log_in(&name).await;
    accounts.select(&name, &["Account.Name"]).await;
    let sync = accounts.activate(&name).await;
    accounts.succeeds(&sync).await;
    world
        .control("POST", "/oauth/settings", json!({"rotation": true}))
        .await;
    let companies = accounts.all_companies(500).await;
    (name, companies)
}

async fn a_rotating_credential_survives_many_at_once(database: Database) {
    let mut world = World::start(database, 120).await;
    let mut ann = world.ann().await;
    let (name, companies) = rotating(&world, &mut ann).await;
    let mut servers = vec![world.grpc.clone()];
    if database == Database::Postgres {
        servers.push(world.another().await);
    }
    let token = world.token("ann", Some("acme"), Role::Administrator);
    let mut fresh = companies.iter().cycle();
    for _ in 0..12 {
        world.control("POST", "/sessions/expire", Json::Null).await;
        let mut opens = tokio::task::JoinSet::new();
        for at in 0..8 {
            let mut person = world
                .bearer_at(&servers[at % servers.len()], "acme", &token)
                .await;
            let company = fresh.next().unwrap().name.clone();
            opens.spawn(async move { person.open(&company).await });
        }
        for profile in opens.join_all().await {
            let freshness = profile.cards[0].freshness.clone().unwrap();
            assert!(freshness.live, "{freshness:?}");
        }
    }
    let oauth = oauth(&world).await;
    assert_eq!(oauth["reused"], 0, "{oauth}");
    assert_eq!(oauth["rotated"], 12, "one refresh for each expiry: {oauth}");
    assert_eq!(ann.get(&name).await.state(), State::Active);
}

async fn a_caller_who_goes_away_takes_no_token_along(database: Database) {
    let mut world = World::start(database, 10).await;
    let mut ann = world.ann().await;
    let (name, companies) = rotating(&world, &mut ann).await;
    let slow = json!({"tokenDelayMs": 700});
    let refreshed = async |world: &World, count: u64| {
        until("the refresh is through", async || {
            oauth(world).await["rotated"] == count
        })
        .await;
    };
    let fields = v1::ListAvailableFieldsRequest {
        parent: name.clone(),
        ..Default::default()
    };
    world.control("POST", "/oauth/settings", slow.clone()).await;
    for round in 1..=2 {
        world.control("POST", "/sessions/expire", Json::Null).await;
        let call = ann.integrations.list_available_fields(fields.clone());
        assert!(
            tokio::time::timeout(Duration::from_millis(300), call)
                .await
                .is_err()
        );
        refreshed(&world, round).await;
        ok(ann.integrations.list_available_fields(fields.clone())).await;
    }

    // A server that is stopped loses no refresh either.
    world.control("POST", "/sessions/expire", Json::Null).await;
    let call = ann.integrations.list_available_fields(fields.clone());
    assert!(
        tokio::time::timeout(Duration::from_millis(300), call)
            .await
            .is_err()
    );
    world.signal("TERM");
    assert!(world.ended().await.success());
    refreshed(&world, 3).await;
    world
        .control("POST", "/oauth/settings", json!({"tokenDelayMs": 0}))
        .await;
    world.start_again().await;
    let mut ann = world.ann().await;
    world.control("POST", "/sessions/expire", Json::Null).await;
    let card = ann.open(&companies[0].name).await.cards.remove(0);
    assert!(card.freshness.unwrap().live);
    assert_eq!(oauth(&world).await["reused"], 0);
    assert_eq!(ann.get(&name).await.state(), State::Active);
}

/// Stops the server and starts it.
async fn restart(world: &mut World) {
    world.signal("TERM");
    world.ended().await;
    world.start_again().await;
}

async fn a_login_that_is_not_used_is_refreshed(database: Database) {
    const UNUSED: &str = "UPDATE credentials SET log_in_us = log_in_us - 21 * 86400000000,
        refresh_us = refresh_us - 21 * 86400000000";
    let mut world = World::start(database, 20).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let name = ann.salesforce("Acme Sales", &["Account.Industry"]).await;
    let before = asked(&world, "refresh_token").await;
    world.sql(UNUSED);
    // It is looked for at the start.
    restart(&mut world).await;
    until("the login is refreshed", async || {
        asked(&world, "refresh_token").await == before + 1
    })
    .await;
    // It counts as used now.
    restart(&mut world).await;
    let mut ann = world.ann().await;
    let sync = ann.sync(&name).await;
    ann.succeeds(&sync).await;
    assert_eq!(asked(&world, "refresh_token").await, before + 1);
}
