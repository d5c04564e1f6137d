//! The limit of five integrations per account, and an integration that moves to another account.

use tether::proto::v1::integration::State;
use tether::proto::v1::{self, sync};
use tonic::Code;

use crate::support::server::{Database, Person, World, ok, on_all_databases, refused};

on_all_databases!(five_per_account, logging_in_again_as_another_user_moves_it);

async fn five_per_account(database: Database) {
    let world = World::start(database, 5).await;
    let (mut ann, mut gil) = (world.ann().await, world.gil().await);
    ann.enable("salesforce").await;
    gil.enable("salesforce").await;
    let fields = &["Account.Name"];
    // Over all groups.
    let mut names = Vec::new();
    for number in 1..=3 {
        names.push(ann.salesforce(&format!("Acme {number}"), fields).await);
    }
    for number in 1..=2 {
        names.push(gil.salesforce(&format!("Globex {number}"), fields).await);
    }
    let account = ann.get(&names[0]).await.account.unwrap();
    assert_eq!(
        (account.active_integration_count, account.active_integration_limit),
        (5, 5)
    );

    // The sixth is refused at login; only the new token is revoked, and the credential of the five is not
    // changed.
    let sixth = ann.create("salesforce", "Sixth").await;
    let no = refused(ann.try_log_in(&sixth, "admin@acme.example")).await;
    assert_eq!(
        (no.code, no.reason.as_str()),
        (Code::ResourceExhausted, "ACCOUNT_LIMIT_REACHED")
    );
    let quota = no.details.quota_failure().unwrap();
    assert!(
        quota.violations[0].description.contains('5') && no.message.contains("delete"),
        "{no:?}"
    );
    let info = no.details.error_info().unwrap();
    assert_eq!(
        (info.metadata["limit"].as_str(), info.metadata["active"].as_str()),
        ("5", "5")
    );
    assert!(
        !no.message.contains("lobex"),
        "other groups' are counted, never named: {}",
        no.message
    );
    for person in [&mut ann, &mut gil] {
        let sync = person.integrations().await[0].name.clone();
        let sync = person.sync(&sync).await;
        person.succeeds(&sync).await;
    }
    assert!(ann.get(&sixth).await.account.is_none());
    // One of the five logs in again, which needs no further place.
    let again = ann.log_in(&names[0]).await;
    assert_eq!(again.state(), State::Active);

    // Deleting one frees its place.
    gil.delete(&names[4]).await;
    ann.log_in(&sixth).await;
    ann.select(&sixth, fields).await;
    // Two drafts that logged in while a place was free: one of them gets it.
    let seventh = gil.create("salesforce", "Seventh").await;
    gil.log_in(&seventh).await;
    gil.select(&seventh, fields).await;
    let reviewed = gil.review(&seventh).await;
    assert!(
        reviewed
            .warnings
            .iter()
            .any(|one| one.kind() == v1::review_warning::Kind::LastPlace)
    );
    let sync = ann.activate(&sixth).await;
    ann.succeeds(&sync).await;
    let activate = v1::ActivateIntegrationRequest {
        name: seventh.clone(),
        ..Default::default()
    };
    let no = refused(gil.integrations.activate_integration(activate)).await;
    assert_eq!(no.reason, "ACCOUNT_LIMIT_REACHED");
    let reviewed = gil.review(&seventh).await;
    assert_eq!(
        reviewed.warnings[0].reason(),
        v1::ErrorReason::AccountLimitReached
    );
}

async fn logging_in_again_as_another_user_moves_it(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    let (name, first) = ann.dummy("One", "user").await;
    let before = ann.get(&name).await;
    // The same user: the account and the settings stay, and a sync is started.
    let same = ok(ann
        .integrations
        .authorize_with_credentials(Person::key(&name, "user")))
    .await;
    assert!(!same.account_changed);
    let at = |integration: &v1::Integration| {
        let time = integration.account.as_ref().unwrap().log_in_time.unwrap();
        (time.seconds, time.nanos)
    };
    assert!(at(&same.integration.unwrap()) > at(&before));
    // Another user of the organization: the integration moves to that account, counts there, and reads
    // everything again.
    let moved = ok(ann
        .integrations
        .authorize_with_credentials(Person::key(&name, "other")))
    .await;
    assert!(moved.account_changed);
    let account = moved.integration.unwrap().account.unwrap();
    assert_eq!(
        (account.username.as_str(), account.active_integration_count),
        ("other@acme.invalid", 1)
    );
    let after = ann.get(&name).await;
    assert_eq!(
        (&after.selected_fields, &after.display_name),
        (&before.selected_fields, &before.display_name)
    );
    let syncs = ann.syncs(&name).await;
    assert!(
        syncs.len() > 1 && syncs[0].name != first && syncs[0].trigger() == sync::Trigger::LogIn,
        "{syncs:?}"
    );
    ann.succeeds(&syncs[0].name).await;
    // Its place at the former account is free: five more fit there.
    for number in 2..=6 {
        ann.dummy(&format!("Number {number}"), "user").await;
    }
    // If the other account is full, it stays at its own.
    for number in 7..=10 {
        ann.dummy(&format!("Number {number}"), "other").await;
    }
    let no = refused(
        ann.integrations
            .authorize_with_credentials(Person::key(&name, "user")),
    )
    .await;
    assert_eq!(no.reason, "ACCOUNT_LIMIT_REACHED");
    assert_eq!(
        ann.get(&name).await.account.unwrap().username,
        "other@acme.invalid"
    );
}
