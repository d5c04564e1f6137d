//! The platform's own calls: it names groups, and reads for any of them.

use tether::caller::Role;
use tether::proto::v1;
use tonic::Code;

use crate::support::server::{Database, Refused, World, ok, refused, until};

#[tokio::test]
async fn a_group_that_the_platform_never_named_is_told_so_by_every_rpc() {
    let world = World::start(Database::Sqlite, 1).await;
    let mut new = world.person("new", "newcomers", Role::Administrator).await;
    let told = |told: Refused| {
        assert_eq!(
            (told.code, told.reason.as_str()),
            (Code::FailedPrecondition, "GROUP_UNKNOWN")
        );
        assert_eq!(
            told.details.error_info().unwrap().metadata["group"],
            "groups/newcomers"
        );
    };
    let parent = new.parent.clone();
    told(
        refused(
            new.integrations
                .list_connectors(v1::ListConnectorsRequest::default()),
        )
        .await,
    );
    let request = v1::ListIntegrationsRequest {
        parent: parent.clone(),
        ..Default::default()
    };
    told(refused(new.integrations.list_integrations(request)).await);
    let request = v1::ListCompaniesRequest {
        parent: parent.clone(),
        ..Default::default()
    };
    told(refused(new.companies.list_companies(request)).await);
    let request = v1::WatchGroupRequest {
        parent: parent.clone(),
        ..Default::default()
    };
    told(Refused::from(
        new.integrations.watch_group(request).await.err().unwrap(),
    ));

    // The group is known as soon as it is created.
    let mut platform = world.person("platform", "", Role::Service).await;
    let group = v1::Group {
        name: parent,
        display_name: "Newcomers".to_owned(),
        ..Default::default()
    };
    ok(platform
        .groups
        .upsert_group(v1::UpsertGroupRequest { group: Some(group) }))
    .await;
    until("the group is known", async || {
        let mut new = new.clone();
        new.integrations
            .list_connectors(v1::ListConnectorsRequest::default())
            .await
            .is_ok()
    })
    .await;
}

#[tokio::test]
async fn the_service_identity_reads_for_any_group() {
    let world = World::start(Database::Sqlite, 1).await;
    world.connect("globex", true).await;
    let mut ann = world.ann().await;
    let (name, sync) = ann.dummy("Ours", "ann").await;
    let draft = ann.create("dummy", "Draft").await;
    ann.share(&name, "globex", &[]).await;
    let mut platform = world.person("platform", "", Role::Service).await;
    platform.parent.clone_from(&ann.parent);
    // The service identity sees what members of the owner group see.
    let mut max = world.person("max", "acme", Role::Member).await;
    assert_eq!(platform.get(&name).await, max.get(&name).await);
    assert_eq!(platform.integrations().await, max.integrations().await);
    assert_eq!(platform.fields(&name).await, max.fields(&name).await);
    assert_eq!(platform.all_companies(100).await, max.all_companies(100).await);
    let company = ann.all_companies(1).await.remove(0).name;
    assert_eq!(
        platform.open(&company).await.cards.len(),
        max.open(&company).await.cards.len()
    );
    let shares = v1::ListSharesRequest {
        parent: name.clone(),
        ..Default::default()
    };
    assert_eq!(
        ok(platform.integrations.list_shares(shares.clone())).await,
        ok(max.integrations.list_shares(shares)).await
    );
    assert_eq!(
        ok(platform
            .integrations
            .get_sync(v1::GetSyncRequest { name: sync.clone() }))
        .await,
        ok(max.integrations.get_sync(v1::GetSyncRequest { name: sync })).await
    );
    // With another group as parent it sees what that group sees.
    let mut gil = world.person("gil", "globex", Role::Member).await;
    platform.parent.clone_from(&gil.parent);
    assert_eq!(platform.integrations().await, gil.integrations().await);
    assert_eq!(platform.all_companies(100).await, gil.all_companies(100).await);
    // It does not see drafts, unknown groups are NOT_FOUND, and it can change nothing.
    let no = refused(
        platform
            .integrations
            .get_integration(v1::GetIntegrationRequest { name: draft }),
    )
    .await;
    assert_eq!(no.reason, "NOT_FOUND");
    let request = v1::ListCompaniesRequest {
        parent: "groups/nobody".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        refused(platform.companies.list_companies(request)).await.reason,
        "NOT_FOUND"
    );
    let no = refused(
        platform
            .integrations
            .sync_integration(v1::SyncIntegrationRequest {
                name,
                ..Default::default()
            }),
    )
    .await;
    assert_eq!(no.reason, "ROLE_NOT_ALLOWED");
}
