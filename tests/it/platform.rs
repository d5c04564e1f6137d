//! The platform's own calls: it names groups, and reads for any of them.

use std::collections::BTreeSet;

use tether::caller::Role;
use tether::policy::{self, Effect, Who};
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

/// Every rpc that the policy table gives the service identity for reading a group.
fn reads() -> BTreeSet<String> {
    let snake = |name: &str| {
        let words = name.char_indices().flat_map(|(at, c)| {
            let between = (at > 0 && c.is_ascii_uppercase()).then_some('_');
            between.into_iter().chain([c.to_ascii_lowercase()])
        });
        words.collect::<String>()
    };
    let of_groups = policy::TABLE.iter().filter(|(rpc, who, effect)| {
        let service =
            rpc.starts_with("tether.v1.IntegrationService/") || rpc.starts_with("tether.v1.CompanyService/");
        let reads = matches!(who, Who::Roles(roles) if roles.contains(&Role::Service));
        service && reads && *effect == Effect::Reads
    });
    of_groups
        .map(|(rpc, ..)| snake(rpc.rsplit('/').next().unwrap()))
        .collect()
}

/// Calls RPCs for a group that exists, and for one that does not.
macro_rules! for_any {
    ($platform:ident, $made:ident, $exists:expr, $absent:expr, $(($service:ident.$rpc:ident, $request:expr)),+ $(,)?) => {$({
        let request = $request;
        if let Err(status) = $platform.$service.$rpc(request($exists.to_owned())).await {
            panic!("{}: {:?}", stringify!($rpc), Refused::from(status));
        }
        if let Err(status) = $platform.$service.$rpc(request($absent.to_owned())).await {
            let no = Refused::from(status);
            assert_eq!(no.reason, "NOT_FOUND", "{}: {no:?}", stringify!($rpc));
        } else {
            panic!("{} knows {}", stringify!($rpc), $absent);
        }
        $made.insert(stringify!($rpc).to_owned());
    })+};
}

#[tokio::test]
async fn every_read_is_there_for_the_service_identity_about_any_group() {
    let world = World::start(Database::Sqlite, 1).await;
    let mut ann = world.ann().await;
    let (integration, sync) = ann.dummy("Ours", "ann").await;
    let company = ann.all_companies(1).await.remove(0).name;
    let mut platform = world.person("platform", "", Role::Service).await;
    let mut made = BTreeSet::new();
    for_any!(
        platform,
        made,
        "groups/acme",
        "groups/nobody",
        (integrations.list_connectors, |parent| v1::ListConnectorsRequest {
            parent,
            ..Default::default()
        }),
        (integrations.get_connector, |parent| v1::GetConnectorRequest {
            name: "connectors/dummy".to_owned(),
            parent,
        }),
        (integrations.list_integrations, |parent| {
            v1::ListIntegrationsRequest {
                parent,
                ..Default::default()
            }
        }),
        (integrations.watch_group, |parent| v1::WatchGroupRequest {
            parent,
            ..Default::default()
        }),
        (companies.list_companies, |parent| v1::ListCompaniesRequest {
            parent,
            ..Default::default()
        }),
        (companies.get_company, |parent| v1::GetCompanyRequest {
            name: company.clone(),
            parent
        }),
        (companies.get_company_profile, |parent| {
            v1::GetCompanyProfileRequest {
                name: company.clone(),
                parent,
                ..Default::default()
            }
        }),
        (companies.list_sources, |parent| v1::ListSourcesRequest {
            parent,
            ..Default::default()
        }),
        (companies.aggregate_companies, |parent| {
            v1::AggregateCompaniesRequest {
                parent,
                ..Default::default()
            }
        }),
        (companies.export_companies, |parent| v1::ExportCompaniesRequest {
            parent,
            ..Default::default()
        }),
    );
    for_any!(
        platform,
        made,
        integration,
        "integrations/0198c0de-0000-7000-8000-000000000000",
        (integrations.get_integration, |name| v1::GetIntegrationRequest {
            name
        }),
        (integrations.list_fields, |parent| v1::ListFieldsRequest {
            parent,
            ..Default::default()
        }),
        (integrations.list_shares, |parent| v1::ListSharesRequest {
            parent,
            ..Default::default()
        }),
        (integrations.list_syncs, |parent| v1::ListSyncsRequest {
            parent,
            ..Default::default()
        }),
    );
    for_any!(
        platform,
        made,
        sync,
        "integrations/0198c0de-0000-7000-8000-000000000000/syncs/0198c0de-0000-7000-8000-000000000001",
        (integrations.get_sync, |name| v1::GetSyncRequest { name }),
        (integrations.watch_sync, |name| v1::WatchSyncRequest { name }),
    );
    // The log of a deleted group outlives it.
    let log = v1::ListAuditEntriesRequest {
        parent: "groups/acme".to_owned(),
        ..Default::default()
    };
    assert!(
        !ok(platform.integrations.list_audit_entries(log))
            .await
            .audit_entries
            .is_empty()
    );
    made.insert("list_audit_entries".to_owned());
    assert_eq!(made, reads());
}
