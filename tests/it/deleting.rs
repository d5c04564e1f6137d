//! What goes when an integration or a group is deleted, over gRPC with the simulated Salesforce.

use serde_json::json;
use tether::caller::Role;
use tether::proto::v1;
use tether::proto::v1::company_to_track::Company;
use tether::proto::v1::delete_integration_response::Access;

use crate::sharing::FIELDS;
use crate::support::server::{Database, Person, World, ok, on_all_databases, refused, until};

on_all_databases!(
    a_deleted_integration_is_gone_everywhere,
    a_group_goes_with_all_that_is_its_own,
);

async fn a_deleted_integration_is_gone_everywhere(database: Database) {
    let world = World::start(database, 30).await;
    world.connect("globex", true).await;
    let (mut ann, mut gil) = (world.ann().await, world.gil().await);
    ann.enable("salesforce").await;
    let (one, two) = (
        ann.salesforce("One", FIELDS).await,
        ann.salesforce("Two", FIELDS).await,
    );
    ann.share(&one, "globex", &[]).await;
    let companies = gil.all_companies(500).await;
    let tracked = companies[0].name.clone();
    gil.track(Company::Name(tracked.clone())).await;

    // The other integration of the account still needs the access.
    let gone = ann.delete(&one).await;
    assert_eq!((gone.access(), gone.affected_group_count), (Access::Kept, 2));
    assert_eq!(gone.company_record_count, 30);
    let left = gil.all_companies(500).await;
    assert_eq!((left.len(), left[0].name.as_str()), (1, tracked.as_str()));
    let profile = gil.open(&tracked).await;
    assert!(profile.cards.is_empty());
    assert_eq!(ann.all_companies(500).await.len(), companies.len());
    for person in [&mut ann, &mut gil] {
        assert_eq!(person.cannot_get(&one).await.reason, "NOT_FOUND");
        let syncs = person.integrations.list_syncs(Person::history(&one));
        assert_eq!(refused(syncs).await.reason, "NOT_FOUND");
    }
    // Its name, its label and its place are free again.
    assert_eq!(ann.get(&two).await.account.unwrap().active_integration_count, 1);
    let again = ann.create("salesforce", "One").await;
    assert_eq!(ann.get(&again).await.label, "one");
    ann.delete(&again).await;

    // With the last integration, the access is revoked; the answer waits for this.
    let gone = ann.delete(&two).await;
    assert_eq!((gone.access(), gone.affected_group_count), (Access::Revoked, 1));
    assert!(ann.all_companies(500).await.is_empty());
    let seen = world.control("GET", "/requests", json!(null)).await.to_string();
    assert!(seen.contains("revoke"), "{seen}");
    // The rows are removed in the background.
    until("the rows are removed", async || {
        world.log().matches("the rows of").count() >= 2
    })
    .await;
}

async fn a_group_goes_with_all_that_is_its_own(database: Database) {
    let world = World::start(database, 10).await;
    world.connect("globex", true).await;
    let (mut ann, mut gil) = (world.ann().await, world.gil().await);
    ann.enable("salesforce").await;
    let name = ann.salesforce("Acme Sales", FIELDS).await;
    ann.share(&name, "globex", &[]).await;
    assert!(!gil.all_companies(500).await.is_empty());
    let mut platform = world.person("platform", "", Role::Service).await;
    let delete = v1::DeleteGroupRequest {
        name: "groups/acme".to_owned(),
    };
    let gone = ok(platform.groups.delete_group(delete.clone())).await;
    assert_eq!((gone.deleted_integration_count, gone.ended_share_count), (1, 0));
    assert_eq!(
        refused(platform.groups.delete_group(delete)).await.reason,
        "NOT_FOUND"
    );
    assert!(gil.all_companies(500).await.is_empty() && gil.integrations().await.is_empty());
    let list = v1::ListIntegrationsRequest {
        parent: ann.parent.clone(),
        ..Default::default()
    };
    assert_eq!(
        refused(ann.integrations.list_integrations(list)).await.reason,
        "GROUP_UNKNOWN"
    );
    until("the rows are removed", async || {
        world.log().contains("the rows of")
    })
    .await;
    // A group that is created again starts empty.
    let group = v1::Group {
        name: "groups/acme".to_owned(),
        display_name: "Acme again".to_owned(),
        ..Default::default()
    };
    ok(platform
        .groups
        .upsert_group(v1::UpsertGroupRequest { group: Some(group) }))
    .await;
    assert!(ann.integrations().await.is_empty());
    let no = refused(
        ann.integrations
            .create_integration(ann.draft("salesforce", "New")),
    )
    .await;
    assert_eq!(no.reason, "CONNECTOR_DISABLED");
}
