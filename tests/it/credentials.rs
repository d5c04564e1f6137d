//! Credentials of accounts: logins without a browser, concurrent refreshes, changes of keys.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tether::caller::Role;
use tether::credentials::seal::Sealer;
use tether::proto::v1::begin_authorization_request::ReturnTo;
use tether::proto::v1::integration::State;
use tether::proto::v1::{self, AuthKind};
use tonic::Code;

use crate::support::server::{Database, Person, World, encoded, http, ok, on_both_databases, refused, until};

on_both_databases!(
    a_program_logs_in_without_a_browser,
    a_rotating_credential_survives_many_at_once,
    a_caller_who_goes_away_takes_no_token_along,
    keys_change_while_servers_refresh,
);

const PRIVATE_KEY: &str = include_str!("../../connectors/salesforce/tests/simulator/keys/private.pem");
const PUBLIC_KEY: &str = include_str!("../../connectors/salesforce/tests/simulator/keys/public.pem");
const CLIENT: &str = "3MVG9tether.demo";

fn with(name: &str, kind: AuthKind, parameters: &[(&str, &str)]) -> v1::AuthorizeWithCredentialsRequest {
    v1::AuthorizeWithCredentialsRequest {
        name: name.to_owned(),
        auth_kind: kind as i32,
        parameters: parameters
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    }
}

/// A draft in an organization with its own domain.
async fn draft(person: &mut Person, display_name: &str) -> String {
    let mut draft = person.draft("salesforce", display_name);
    draft.integration.as_mut().unwrap().settings = HashMap::from([
        ("environment".to_owned(), "domain".to_owned()),
        ("domain".to_owned(), "acme.my.salesforce.com".to_owned()),
    ]);
    ok(person.integrations.create_integration(draft)).await.name
}

/// The number of token requests of this kind that the simulator received.
async fn asked(world: &World, grant_type: &str) -> usize {
    let journal = world.control("GET", "/requests?limit=100000", Json::Null).await;
    let requests = journal["requests"].as_array().unwrap();
    requests
        .iter()
        .filter(|request| request["grantType"] == grant_type)
        .count()
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

    // The required parameters are described; missing or unknown ones are refused without a call to the CRM.
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
    let name = draft(&mut ann, "Acme by key").await;
    let missing = with(&name, AuthKind::JwtBearer, &[("username", "admin@acme.example")]);
    let no = refused(ann.integrations.authorize_with_credentials(missing)).await;
    assert_eq!(no.reason, "INVALID_FIELD_VALUE");
    let unknown = with(&name, AuthKind::ClientCredentials, &[("surprise", "x")]);
    let no = refused(ann.integrations.authorize_with_credentials(unknown)).await;
    assert_eq!(no.reason, "INVALID_FIELD_VALUE");
    assert_eq!(asked(&world, "client_credentials").await, 0);

    // Refusals of the CRM have its code, and the parameter if one is wrong.
    let jwt = |username: &'static str, key: &'static str| {
        with(
            &name,
            AuthKind::JwtBearer,
            &[("username", username), ("private_key", key)],
        )
    };
    let field = |no: &crate::support::server::Refused| {
        let request = no.details.bad_request().unwrap();
        request.field_violations[0].field.clone()
    };
    let no = refused(
        ann.integrations
            .authorize_with_credentials(jwt("admin@acme.example", "no key")),
    )
    .await;
    assert_eq!(
        (no.reason.as_str(), field(&no).as_str()),
        ("AUTHORIZATION_REJECTED", "parameters[\"private_key\"]")
    );
    assert!(!no.message.contains("no key"), "{}", no.message);
    let stranger = jwt("nobody@acme.example", PRIVATE_KEY);
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
    let own = |secret: &'static str| {
        with(
            &name,
            AuthKind::ClientCredentials,
            &[("client_id", "3MVG9own"), ("client_secret", secret)],
        )
    };
    let no = refused(ann.integrations.authorize_with_credentials(own("x"))).await;
    assert_eq!(
        (no.reason.as_str(), field(&no).as_str()),
        ("AUTHORIZATION_REJECTED", "parameters[\"client_id\"]")
    );
    let client = json!({"id": "3MVG9own", "secret": "right", "runAs": "admin@acme.example"});
    world.control("POST", "/oauth/clients", client).await;
    let no = refused(ann.integrations.authorize_with_credentials(own("wrong"))).await;
    assert_eq!(
        (no.reason.as_str(), field(&no).as_str()),
        ("AUTHORIZATION_REJECTED", "parameters[\"client_secret\"]")
    );
    let elsewhere = ann.create("salesforce", "No own domain").await;
    let no = with(&elsewhere, AuthKind::ClientCredentials, &[]);
    let no = refused(ann.integrations.authorize_with_credentials(no)).await;
    assert_eq!(no.reason, "AUTHORIZATION_REJECTED");
    assert!(no.message.contains("My Domain"), "{}", no.message);
    assert!(ann.get(&name).await.account.is_none());

    // With a signed assertion on login.salesforce.com, and with client credentials of the customer's own app.
    let by_key = with(
        &elsewhere,
        AuthKind::JwtBearer,
        &[("username", "admin@acme.example"), ("private_key", PRIVATE_KEY)],
    );
    let landed = ok(ann.integrations.authorize_with_credentials(by_key.clone())).await;
    let account = landed.integration.unwrap().account.unwrap();
    assert_eq!(
        (account.username.as_str(), account.auth_kind()),
        ("admin@acme.example", AuthKind::JwtBearer)
    );
    ok(ann.integrations.authorize_with_credentials(own("right"))).await;
    for one in [&name, &elsewhere] {
        ann.select(one, &["Account.Name"]).await;
        let sync = ann.activate(one).await;
        ann.succeeds(&sync).await;
    }
    // Both belong to one account, regardless of the kind of login and the app.
    assert_eq!(ann.get(&name).await.account.unwrap().active_integration_count, 2);

    // Instead of a refresh, these log in again; this has no visible effect.
    let before = asked(&world, "client_credentials").await;
    world.control("POST", "/sessions/expire", Json::Null).await;
    for one in [&name, &elsewhere] {
        let sync = ann.sync(one).await;
        ann.succeeds(&sync).await;
    }
    assert_eq!(asked(&world, "client_credentials").await, before + 1);
    // A repeated login replaces the stored secret and has no other effect.
    ok(ann.integrations.authorize_with_credentials(by_key)).await;
    let request = v1::ListSyncsRequest {
        parent: elsewhere.clone(),
        ..Default::default()
    };
    let newest = ok(ann.integrations.list_syncs(request)).await.syncs.remove(0);
    ann.succeeds(&newest.name).await;

    // Another organization is refused; a changed secret needs a new login, which keeps everything.
    let client = json!({"id": "3MVG9globex", "secret": "s", "runAs": "admin@globex.example"});
    world.control("POST", "/oauth/clients", client).await;
    let globex = with(
        &name,
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
        parent: name.clone(),
        ..Default::default()
    };
    let no = refused(ann.integrations.list_available_fields(fields)).await;
    assert_eq!(no.reason, "CREDENTIALS_REVOKED", "{no:?}");
    assert_eq!(no.details.error_info().unwrap().metadata["name"], name);
    assert_eq!(ann.get(&name).await.state(), State::NeedsReauthorization);
    let back = ok(ann.integrations.authorize_with_credentials(own("changed"))).await;
    assert!(!back.account_changed);
    let back = back.integration.unwrap();
    assert_eq!(
        (back.state(), back.selected_fields),
        (State::Active, vec!["Account.Name".to_owned()])
    );

    // By browser instead, as the same user: the same account, nothing is read again, nothing is lost.
    let back = ann.log_in(&name).await;
    assert_eq!(back.account.unwrap().auth_kind(), AuthKind::AuthorizationCode);
    let card = ann.all_companies(5).await.remove(0);
    assert!(!ann.open(&card.name).await.cards.is_empty());
}

async fn oauth(world: &World) -> Json {
    world.control("GET", "/oauth", Json::Null).await
}

/// A saved integration of the simulated Salesforce whose refresh tokens are single use.
async fn rotating(world: &World, accounts: &mut Person) -> (String, Vec<v1::Company>) {
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

async fn keys_change_while_servers_refresh(database: Database) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sealing.keys");
    let keys = [(); 3].map(|()| Sealer::generate_key());
    let [old, new, other] = &keys;
    let [old_id, new_id, _] = [old, new, other].map(|key| Sealer::new([key.as_str()]).unwrap().key_id());
    std::fs::write(&file, old).unwrap();
    let setting = format!("secrets.keys_file={}", file.display());
    let mut world = World::start_with(database, 300, &[&setting]).await;
    let mut ann = world.ann().await;
    let (name, companies) = rotating(&world, &mut ann).await;

    // A secret of each kind: a credential, one of the dummy, a login that waits for its confirmation, a
    // pending revocation.
    ann.dummy("Acme Dummy", "ann").await;
    world.script(&json!({"script.revoke": "error:transient"}));
    let gone = ann.create("dummy", "Gone").await;
    ann.log_in_with_key(&gone, "ben").await;
    ok(ann.integrations.delete_integration(v1::DeleteIntegrationRequest {
        name: gone,
        ..Default::default()
    }))
    .await;
    let waits = ann.create("salesforce", "Waits").await;
    let begin = v1::BeginAuthorizationRequest {
        name: waits.clone(),
        return_to: ReturnTo::Tether as i32,
        ..Default::default()
    };
    let begun = ok(ann.integrations.begin_authorization(begin)).await;
    let to = ann
        .consent(&begun.authorization_uri, "admin@acme.example", true)
        .await;
    let path = format!("{}?{}", to.path(), to.query().unwrap());
    let page = http(&world.callback, "GET", &path, "", "").await.body;
    let (_, confirm) = page.split_once("name=\"token\" value=\"").unwrap();
    let confirm = confirm.split('"').next().unwrap().to_owned();

    // A missing key: the command names the required one.
    std::fs::write(&file, other).unwrap();
    let (good, said, error) = world.command(&["secrets", "status"]).await;
    assert!(
        !good && error.contains(&old_id) && said.contains("NOT CONFIGURED"),
        "{said}{error}"
    );
    let (good, said, error) = world.command(&["secrets", "rotate"]).await;
    assert!(
        !good && error.contains(&old_id) && said.contains("left as it is"),
        "{said}{error}"
    );

    // The new key first, the old one still configured; rotation while the credential is refreshed
    // continuously.
    std::fs::write(&file, format!("{new}\n{old}\n")).unwrap();
    world.restart().await;
    let before = world.command(&["secrets", "rotate", "--dry-run"]).await.1;
    assert!(before.contains(&format!("credentials\t{old_id}")), "{before}");
    assert!(before.contains(&format!("outbox\t{old_id}")), "{before}");
    assert!(
        before.contains(&format!("authorization\t{old_id}\t2")),
        "{before}"
    );
    let token = world.token("ann", Some("acme"), Role::Administrator);
    let mut person = world.bearer("acme", &token).await;
    let refresh = async {
        for company in companies.iter().take(15) {
            world.control("POST", "/sessions/expire", Json::Null).await;
            let card = person.open(&company.name).await.cards.remove(0);
            assert!(card.freshness.unwrap().live);
        }
    };
    let rotate = async {
        for _ in 0..3 {
            let (good, said, error) = world.command(&["secrets", "rotate"]).await;
            assert!(good && !said.contains("left"), "{said}{error}");
        }
    };
    tokio::join!(refresh, rotate);
    let (good, after, _) = world.command(&["secrets", "status"]).await;
    assert!(
        good && after.contains(&new_id) && !after.contains(&old_id),
        "{after}"
    );

    // Without the old key everything can still be opened.
    std::fs::write(&file, new).unwrap();
    world.restart().await;
    world.script(&json!({}));
    let mut ann = world.ann().await;
    world.control("POST", "/sessions/expire", Json::Null).await;
    let sync = ann.sync(&name).await;
    ann.succeeds(&sync).await;
    let form = format!("state={}&token={}", encoded(&begun.state), encoded(&confirm));
    let kind = "application/x-www-form-urlencoded";
    let confirmed = http(&world.callback, "POST", "/oauth/confirm", kind, &form).await;
    assert_eq!(confirmed.status, 200, "{}", confirmed.body);
    assert!(ann.get(&waits).await.account.is_some());
    until("access was given back", async || {
        !world.command(&["secrets", "status"]).await.1.contains("outbox")
    })
    .await;
    assert_eq!(oauth(&world).await["reused"], 0);
}
