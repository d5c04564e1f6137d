//! Refusals of the CRM: few token requests, the cause is shown from the first one on, and automatic recovery.

use serde_json::{Value as Json, json};
use tether::caller::Role;
use tether::proto::v1::integration::State;
use tether::proto::v1::{self, ErrorReason, sync};

use crate::support::server::{Database, Person, World, encoded, http, ok, on_both_databases, refused, until};

on_both_databases!(
    a_lasting_refusal_costs_few_token_requests,
    an_unknown_refusal_is_told_word_for_word,
    what_is_put_right_heals_by_itself,
    a_login_ends_a_refusal,
    a_refusal_after_a_refresh_counts,
    what_a_refresh_does_not_cure_is_not_refreshed_again,
    a_refusal_of_old_credentials_leaves_new_ones_alone,
    the_callback_page_shows_what_the_crm_said,
);

/// Attempts are an hour apart.
const RARE: &[&str] = &[
    "grants.first_retry_seconds=3600",
    "grants.longest_retry_seconds=3600",
];
const NOT_APPROVED: &str =
    r#"{"error":"invalid_grant","error_description":"user hasn't approved this consumer"}"#;

/// The number of refreshes that the simulator received.
async fn refreshes(world: &World) -> usize {
    let journal = world.control("GET", "/requests?limit=100000", Json::Null).await;
    let requests = journal["requests"].as_array().unwrap();
    requests
        .iter()
        .filter(|request| request["grantType"] == "refresh_token")
        .count()
}

/// From now on every refresh gets this answer, and all sessions expire.
async fn refuse_refreshes(world: &World, body: &str) {
    let fault = json!({
        "path": "/services/oauth2/token", "contains": "grant_type=refresh_token", "times": 1_000_000,
        "status": 400, "body": body, "contentType": "application/json;charset=UTF-8",
    });
    world.control("POST", "/faults", fault).await;
    world.control("POST", "/sessions/expire", Json::Null).await;
}

async fn cause(person: &mut Person, name: &str) -> (State, v1::Cause) {
    let of = person.get(name).await;
    (of.state(), of.state_reason.unwrap_or_default())
}

/// Opens a profile; returns why its card of the integration is stale.
async fn stale(person: &mut Person, company: &v1::Company) -> v1::Cause {
    let card = person.open(&company.name).await.cards.remove(0);
    assert!(!card.company_records.unwrap().records.is_empty());
    card.freshness.unwrap().stale_reason.expect("the card is stale")
}

async fn a_lasting_refusal_costs_few_token_requests(database: Database) {
    let mut world = World::start_with(database, 30, RARE).await;
    world.connect("globex", true).await;
    let mut ann = world.ann().await;
    let mut gil = world.person("gil", "globex", Role::Member).await;
    ann.enable("salesforce").await;
    let name = ann.salesforce("Acme Sales", &["Account.Name"]).await;
    ann.share(&name, "globex", &[]).await;
    let companies = ann.all_companies(100).await;
    let mut people = vec![ann.clone()];
    if database == Database::Postgres {
        let other = world.another().await;
        let token = world.token("ann", Some("acme"), Role::Administrator);
        people.push(world.bearer_at(&other, "acme", &token).await);
    }
    let before = refreshes(&world).await;
    refuse_refreshes(&world, NOT_APPROVED).await;

    // Regardless of the number of readers and replicas, the CRM is asked once, and all readers get its
    // message.
    for company in &companies[..10] {
        for person in &mut people {
            let why = stale(person, company).await;
            assert_eq!(why.reason(), ErrorReason::CrmAdminActionNeeded);
            assert!(
                why.message.contains("user hasn't approved this consumer"),
                "{why:?}"
            );
        }
    }
    let fields = v1::ListAvailableFieldsRequest {
        parent: name.clone(),
        ..Default::default()
    };
    let no = refused(ann.integrations.list_available_fields(fields)).await;
    assert_eq!(no.reason, "CRM_ADMIN_ACTION_NEEDED");
    assert_eq!(
        no.details.error_info().unwrap().metadata["crm_code"],
        "invalid_grant"
    );
    for _ in 0..3 {
        let sync = ann.sync(&name).await;
        let ended = ann.watch(&sync).await.pop().unwrap();
        assert_eq!(ended.state(), sync::State::Failed);
        let why = ended.error.unwrap();
        assert_eq!(why.reason(), ErrorReason::CrmAdminActionNeeded);
        assert!(
            why.message.contains("user hasn't approved this consumer"),
            "{why:?}"
        );
    }
    assert_eq!(refreshes(&world).await - before, 1);

    // The integration shows it too: who has to act, and when tether retries. No new login is needed.
    let (state, why) = cause(&mut ann, &name).await;
    assert_eq!(
        (state, why.reason()),
        (State::Paused, ErrorReason::CrmAdminActionNeeded)
    );
    assert!(
        why.message.contains("user hasn't approved this consumer"),
        "{why:?}"
    );
    assert!(why.time.is_some() && why.retry_time.is_some());
    let list = v1::ListIntegrationsRequest {
        parent: ann.parent.clone(),
        states: vec![State::Paused as i32],
        ..Default::default()
    };
    let listed = ok(ann.integrations.list_integrations(list.clone()))
        .await
        .integrations;
    assert_eq!((listed.len(), listed[0].state()), (1, State::Paused));
    let active = v1::ListIntegrationsRequest {
        states: vec![State::Active as i32],
        ..list
    };
    assert!(
        ok(ann.integrations.list_integrations(active))
            .await
            .integrations
            .is_empty()
    );

    // A receiver sees the state, and not the CRM's message.
    let (state, why) = cause(&mut gil, &name).await;
    assert_eq!(
        (state, why.reason()),
        (State::Paused, ErrorReason::CrmAdminActionNeeded)
    );
    assert!(
        !why.message.contains("approved") && why.retry_time.is_none(),
        "{why:?}"
    );
    let why = stale(&mut gil, &companies[12]).await;
    assert!(!why.message.contains("approved"), "{why:?}");
    assert_eq!(refreshes(&world).await - before, 1);
}

async fn an_unknown_refusal_is_told_word_for_word(database: Database) {
    let world = World::start_with(database, 20, RARE).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let name = ann.salesforce("Acme Sales", &["Account.Name"]).await;
    let companies = ann.all_companies(100).await;
    let before = refreshes(&world).await;
    let words = "The Moon app is not allowed on Tuesdays";
    refuse_refreshes(
        &world,
        &json!({"error": "moon_phase_wrong", "error_description": words}).to_string(),
    )
    .await;
    for company in &companies[..10] {
        let why = stale(&mut ann, company).await;
        assert!(
            why.message.contains("moon_phase_wrong") && why.message.contains(words),
            "{why:?}"
        );
    }
    let sync = ann.sync(&name).await;
    until("the sync says why", async || {
        let sync = v1::GetSyncRequest { name: sync.clone() };
        let mut ann = ann.clone();
        let sync = ok(ann.integrations.get_sync(sync)).await;
        sync.error.is_some_and(|why| why.message.contains(words))
    })
    .await;
    let (state, why) = cause(&mut ann, &name).await;
    assert!(why.message.contains(words) && why.retry_time.is_some(), "{why:?}");
    // The login was not revoked, and waiting does not help: an administrator has to act.
    assert_eq!(
        (state, why.reason()),
        (State::Paused, ErrorReason::CrmAdminActionNeeded)
    );
    assert_eq!(refreshes(&world).await - before, 1);
}

async fn what_is_put_right_heals_by_itself(database: Database) {
    let world = World::start_with(
        database,
        10,
        &["grants.first_retry_seconds=1", "grants.longest_retry_seconds=1"],
    )
    .await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let name = ann.salesforce("Acme Sales", &["Account.Name"]).await;
    let companies = ann.all_companies(100).await;
    refuse_refreshes(&world, NOT_APPROVED).await;
    stale(&mut ann, &companies[0]).await;
    let (state, first) = cause(&mut ann, &name).await;
    assert_eq!(state, State::Paused);
    // It is retried without a call, with the same refusal since the same time.
    let before = refreshes(&world).await;
    until("it is tried again", async || refreshes(&world).await > before + 1).await;
    let (_, later) = cause(&mut ann, &name).await;
    assert_eq!((later.time, later.reason), (first.time, first.reason));
    // The administrator resolves it.
    world.control("DELETE", "/faults", Json::Null).await;
    until("it has healed", async || {
        let mut ann = ann.clone();
        cause(&mut ann, &name).await == (State::Active, v1::Cause::default())
    })
    .await;
    let card = ann.open(&companies[1].name).await.cards.remove(0);
    assert!(card.freshness.unwrap().live);
    assert_eq!(ann.get(&name).await.selected_fields, ["Account.Name"]);
}

async fn a_login_ends_a_refusal(database: Database) {
    let world = World::start_with(database, 10, RARE).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let name = ann.salesforce("Acme Sales", &["Account.Name"]).await;
    let companies = ann.all_companies(100).await;
    refuse_refreshes(&world, NOT_APPROVED).await;
    stale(&mut ann, &companies[0]).await;
    assert_eq!(cause(&mut ann, &name).await.0, State::Paused);
    let back = ann.log_in(&name).await;
    assert_eq!((back.state(), back.state_reason), (State::Active, None));
    let card = ann.open(&companies[1].name).await.cards.remove(0);
    assert!(card.freshness.unwrap().live);
}

async fn a_refusal_after_a_refresh_counts(database: Database) {
    let world = World::start(database, 10).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let name = ann.salesforce("Acme Sales", &["Account.Name"]).await;
    let companies = ann.all_companies(100).await;
    // The session has expired; with the new one the CRM reports that the user was deactivated.
    world.control("POST", "/sessions/expire", Json::Null).await;
    let inactive =
        json!({"path": "/services/data", "skip": 1, "times": 1_000, "status": 403, "body": "Inactive"});
    world.control("POST", "/faults", inactive).await;
    let why = stale(&mut ann, &companies[0]).await;
    assert_eq!(why.reason(), ErrorReason::AccountSuspended);
    let (state, why) = cause(&mut ann, &name).await;
    assert_eq!(
        (state, why.reason()),
        (State::NeedsReauthorization, ErrorReason::AccountSuspended)
    );
    // Cards keep showing the cause, as the integration does.
    let why = stale(&mut ann, &companies[1]).await;
    assert_eq!(why.reason(), ErrorReason::AccountSuspended);
}

async fn what_a_refresh_does_not_cure_is_not_refreshed_again(database: Database) {
    let world = World::start_with(database, 20, RARE).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let name = ann.salesforce("Acme Sales", &["Account.Name"]).await;
    let companies = ann.all_companies(100).await;
    let before = refreshes(&world).await;
    let body = r#"[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]"#;
    let expired = json!({"path": "/services/data", "times": 1_000_000, "status": 401, "body": body});
    world.control("POST", "/faults", expired).await;
    for company in &companies[..10] {
        let why = stale(&mut ann, company).await;
        assert!(why.message.contains("INVALID_SESSION_ID"), "{why:?}");
    }
    assert_eq!(refreshes(&world).await - before, 1);
    let (state, why) = cause(&mut ann, &name).await;
    assert_eq!(
        (state, why.reason()),
        (State::Active, ErrorReason::CrmUnavailable)
    );
    // The CRM accepts it again, and so everything else works again.
    world.control("DELETE", "/faults", Json::Null).await;
    let card = ann.open(&companies[11].name).await.cards.remove(0);
    assert!(card.freshness.unwrap().live);
    assert_eq!(
        cause(&mut ann, &name).await,
        (State::Active, v1::Cause::default())
    );
}

async fn a_refusal_of_old_credentials_leaves_new_ones_alone(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    let (name, _) = ann.dummy("Acme Dummy", "ann").await;
    let company = ann.all_companies(1).await.remove(0);
    world.script(&json!({"script.fetch_company": "log:it is asked,slow:5000,error:credentials_revoked"}));
    let mut opener = ann.clone();
    let opened = tokio::spawn(async move { stale(&mut opener, &company).await });
    until("the CRM is asked with the old credentials", async || {
        world.log().contains("it is asked")
    })
    .await;
    // A new login is made before the answer arrives.
    ann.log_in_with_key(&name, "ann").await;
    assert_eq!(opened.await.unwrap().reason(), ErrorReason::CredentialsRevoked);
    assert_eq!(
        cause(&mut ann, &name).await,
        (State::Active, v1::Cause::default())
    );
}

async fn the_callback_page_shows_what_the_crm_said(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let name = ann.create("salesforce", "Acme Sales").await;
    let begin = v1::BeginAuthorizationRequest {
        name: name.clone(),
        return_to: v1::begin_authorization_request::ReturnTo::Tether as i32,
        ..Default::default()
    };
    let words = format!(
        "<script>alert(1)</script>\u{202e}app must be installed into org{}",
        "x".repeat(3_000)
    );
    let begun = ok(ann.integrations.begin_authorization(begin)).await;
    let query = format!(
        "state={}&error=invalid_client&error_description={}",
        encoded(&begun.state),
        encoded(&words)
    );
    let page = http(
        &world.callback,
        "GET",
        &format!("/oauth/callback?{query}"),
        "",
        "",
    )
    .await;
    assert_eq!(page.status, 400);
    assert!(page.body.contains("CRM_ADMIN_ACTION_NEEDED"), "{}", page.body);
    assert!(
        page.body.contains("&lt;script&gt;") && !page.body.contains("<script>"),
        "{}",
        page.body
    );
    assert!(
        !page.body.contains('\u{202e}') && page.body.len() < 3_000,
        "{}",
        page.body.len()
    );

    // The platform gets the same error through its own RPC.
    for code in ["OAUTH_APP_BLOCKED", "OAUTH_EC_APP_NOT_FOUND", "MOON_PHASE_WRONG"] {
        let came = v1::CompleteAuthorizationRequest {
            state: ann.begin(&name).await.state,
            callback_parameters: [
                ("error".to_owned(), code.to_owned()),
                ("error_description".to_owned(), "not on Tuesdays".to_owned()),
            ]
            .into(),
        };
        let no = refused(ann.integrations.complete_authorization(came)).await;
        assert_eq!(no.reason, "CRM_ADMIN_ACTION_NEEDED", "{code}");
        assert!(
            no.message.contains(code) && no.message.contains("not on Tuesdays"),
            "{}",
            no.message
        );
    }
    let begun = ann.begin(&name).await;
    let came = v1::CompleteAuthorizationRequest {
        state: begun.state,
        callback_parameters: [
            ("error".to_owned(), "invalid_client".to_owned()),
            ("error_description".to_owned(), words),
        ]
        .into(),
    };
    let no = refused(ann.integrations.complete_authorization(came)).await;
    assert_eq!(no.reason, "CRM_ADMIN_ACTION_NEEDED");
    assert!(
        no.message.contains("app must be installed") && no.message.chars().count() <= 501,
        "{}",
        no.message
    );
}
