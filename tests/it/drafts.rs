//! Drafts at their limits: checks that write nothing, concurrent calls, and unsupported features.

use tether::caller::Role;
use tether::proto::v1::{self, Integration};

use crate::support::server::{Database, Person, World, ok, on_both_databases, refused};

on_both_databases!(
    a_check_writes_nothing,
    fifty_drafts_and_no_more,
    saving_without_an_etag_meets_no_etag,
    an_earlier_login_stays_good,
    a_login_returns_to_no_address_of_two_readings,
);

fn named(name: &str, change: impl Fn(&mut Integration), paths: &[&str]) -> v1::UpdateIntegrationRequest {
    let mut integration = Integration {
        name: name.to_owned(),
        ..Default::default()
    };
    change(&mut integration);
    v1::UpdateIntegrationRequest {
        integration: Some(integration),
        update_mask: (!paths.is_empty()).then(|| prost_types::FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
        ..Default::default()
    }
}

async fn drafts(person: &mut Person) -> Vec<Integration> {
    let request = v1::ListIntegrationsRequest {
        parent: person.parent.clone(),
        states: vec![v1::integration::State::Draft as i32],
        page_size: 200,
        ..Default::default()
    };
    ok(person.integrations.list_integrations(request))
        .await
        .integrations
}

async fn a_check_writes_nothing(database: Database) {
    let world = World::start(database, 1).await;
    world.connect("globex", true).await;
    let mut ann = world.ann().await;
    ann.enable("dummy").await;
    let check = v1::CreateIntegrationRequest {
        validate_only: true,
        ..ann.draft("dummy", "Acme Sales")
    };
    // Concurrently: a check that wrote would conflict with another.
    let mut checks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (mut ann, check) = (ann.clone(), check.clone());
        checks.spawn(async move { ok(ann.integrations.create_integration(check)).await });
    }
    for checked in checks.join_all().await {
        assert_eq!(
            (checked.name.as_str(), checked.label.as_str()),
            ("", "acme_sales")
        );
        assert_eq!(checked.state(), v1::integration::State::Draft);
        assert!(checked.expire_time.is_some());
    }
    assert!(drafts(&mut ann).await.is_empty());

    // It fails like creating the draft would.
    let name = ann.create("dummy", "Acme Sales").await;
    assert_eq!(
        refused(ann.integrations.create_integration(check.clone()))
            .await
            .reason,
        "NAME_TAKEN"
    );
    let mut labelled = v1::CreateIntegrationRequest {
        validate_only: true,
        ..ann.draft("dummy", "Other")
    };
    labelled.integration.as_mut().unwrap().label = "acme_sales".to_owned();
    assert_eq!(
        refused(ann.integrations.create_integration(labelled.clone()))
            .await
            .reason,
        "LABEL_TAKEN"
    );
    labelled.integration.as_mut().unwrap().label.clear();
    assert_eq!(
        ok(ann.integrations.create_integration(labelled)).await.label,
        "other"
    );

    // Checks of an edit and of saving do the same.
    let other = ann.create("dummy", "Other").await;
    let taken = |label: bool| {
        let change = |of: &mut Integration| match label {
            true => of.label = "acme_sales".to_owned(),
            false => of.display_name = "ACME sales".to_owned(),
        };
        let path = if label { "label" } else { "display_name" };
        v1::UpdateIntegrationRequest {
            validate_only: true,
            ..named(&other, change, &[path])
        }
    };
    assert_eq!(
        refused(ann.integrations.update_integration(taken(false)))
            .await
            .reason,
        "NAME_TAKEN"
    );
    assert_eq!(
        refused(ann.integrations.update_integration(taken(true)))
            .await
            .reason,
        "LABEL_TAKEN"
    );
    ann.log_in_with_key(&name, "ann").await;
    ann.select(&name, &["Company.Industry"]).await;
    ann.share(&name, "globex", &[]).await;
    let save = v1::ActivateIntegrationRequest {
        name: name.clone(),
        validate_only: true,
        ..Default::default()
    };
    let checked = ok(ann.integrations.activate_integration(save.clone())).await;
    assert!(checked.sync.is_none());
    assert_eq!(ann.get(&name).await.state(), v1::integration::State::Draft);
    world.connect("globex", false).await;
    let no = refused(ann.integrations.activate_integration(save)).await;
    // A draft keeps its shares when groups are disconnected, and saving reports it.
    assert_eq!(no.reason, "GROUPS_NOT_CONNECTED");
    assert_eq!(ann.get(&name).await.state(), v1::integration::State::Draft);
}

async fn fifty_drafts_and_no_more(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    ann.enable("dummy").await;
    let mut creates = tokio::task::JoinSet::new();
    for n in 0..63 {
        let mut ann = ann.clone();
        creates.spawn(async move {
            let draft = ann.draft("dummy", &format!("Draft {n}"));
            ann.integrations.create_integration(draft).await
        });
    }
    let mut begun = 0;
    for outcome in creates.join_all().await {
        match outcome {
            Ok(_) => begun += 1,
            Err(status) => {
                let no = crate::support::server::Refused::from(status);
                assert_eq!(no.reason, "LIMIT_REACHED", "{no:?}");
                assert_eq!(no.details.error_info().unwrap().metadata["limit"], "50");
            }
        }
    }
    assert_eq!((begun, drafts(&mut ann).await.len()), (50, 50));
    // So does a check.
    let check = v1::CreateIntegrationRequest {
        validate_only: true,
        ..ann.draft("dummy", "One more")
    };
    assert_eq!(
        refused(ann.integrations.create_integration(check)).await.reason,
        "LIMIT_REACHED"
    );
}

async fn saving_without_an_etag_meets_no_etag(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    ann.enable("dummy").await;
    for round in 0..5 {
        let name = ann.create("dummy", &format!("Round {round}")).await;
        ann.log_in_with_key(&name, &format!("user{round}")).await;
        ann.select(&name, &["Company.Industry"]).await;
        let mut edits = tokio::task::JoinSet::new();
        for n in 0..8 {
            let (mut ann, name) = (ann.clone(), name.clone());
            edits.spawn(async move {
                let change = |of: &mut Integration| of.display_name = format!("Round {round} edit {n}");
                ok(ann
                    .integrations
                    .update_integration(named(&name, change, &["display_name"])))
                .await;
            });
        }
        let save = v1::ActivateIntegrationRequest {
            name: name.clone(),
            ..Default::default()
        };
        let saved = ok(ann.integrations.activate_integration(save)).await;
        assert_eq!(saved.integration.unwrap().state(), v1::integration::State::Active);
        edits.join_all().await;
    }
}

async fn an_earlier_login_stays_good(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let name = ann.create("salesforce", "Acme Sales").await;
    // Two tabs: the first completed login counts.
    let (first, second) = (ann.begin(&name).await, ann.begin(&name).await);
    let to_first = ann
        .consent(&first.authorization_uri, "admin@acme.example", true)
        .await;
    let to_second = ann
        .consent(&second.authorization_uri, "admin@acme.example", true)
        .await;
    ok(ann
        .integrations
        .complete_authorization(Person::came_back(&to_first)))
    .await;
    assert!(ann.get(&name).await.account.is_some());
    let no = refused(
        ann.integrations
            .complete_authorization(Person::came_back(&to_second)),
    )
    .await;
    assert_eq!(no.reason, "AUTHORIZATION_STATE_INVALID");
    // A refused login does not affect the other.
    let (first, second) = (ann.begin(&name).await, ann.begin(&name).await);
    let denied = ann
        .consent(&first.authorization_uri, "admin@acme.example", false)
        .await;
    let no = refused(
        ann.integrations
            .complete_authorization(Person::came_back(&denied)),
    )
    .await;
    assert_eq!(no.reason, "AUTHORIZATION_DENIED");
    let to_second = ann
        .consent(&second.authorization_uri, "admin@acme.example", true)
        .await;
    ok(ann
        .integrations
        .complete_authorization(Person::came_back(&to_second)))
    .await;
}

async fn a_login_returns_to_no_address_of_two_readings(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.person("ann", "acme", Role::Administrator).await;
    ann.enable("salesforce").await;
    let name = ann.create("salesforce", "Acme Sales").await;
    for address in [
        "http://127.0.0.1:9\\@evil.com/",
        "http://127.0.0.1:9@evil.com/",
        "http://evil.com@127.0.0.1:9/",
        "http://127.0.0.1.evil.com/",
        "http:127.0.0.1:9/",
        "http://127.0.0.1:9/#there",
        "https://evil.example/",
    ] {
        let begin = v1::BeginAuthorizationRequest {
            name: name.clone(),
            redirect_uri: address.to_owned(),
            ..Default::default()
        };
        let no = refused(ann.integrations.begin_authorization(begin)).await;
        assert_eq!(no.reason, "REDIRECT_URI_NOT_ALLOWED", "{address}");
    }
    for address in [
        "http://127.0.0.1:9/callback",
        "http://localhost:3000/callback?from=tether",
    ] {
        let begin = v1::BeginAuthorizationRequest {
            name: name.clone(),
            redirect_uri: address.to_owned(),
            ..Default::default()
        };
        ok(ann.integrations.begin_authorization(begin)).await;
    }
}
