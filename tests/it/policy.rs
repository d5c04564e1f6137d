//! The roles of every RPC of the server, and the visibility of resources.

use prost::Message as _;
use tether::caller::Role;
use tether::policy::{self, Who};
use tether::proto::v1;
use tonic::Code;
use tonic::codegen::http::uri::PathAndQuery;

use crate::support::server::{Database, Person, Refused, World, on_both_databases, refused};

on_both_databases!(what_is_another_groups_reads_like_what_is_not_there);

/// Every rpc of these descriptors, `package.Service/Method`.
fn rpcs(descriptors: &[u8]) -> Vec<String> {
    let set = prost_types::FileDescriptorSet::decode(descriptors).unwrap();
    let mut rpcs = Vec::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                rpcs.push(format!("{}.{}/{}", file.package(), service.name(), method.name()));
            }
        }
    }
    rpcs
}

/// Every RPC that is served.
fn all() -> Vec<String> {
    let mut all = rpcs(tether::proto::FILE_DESCRIPTOR_SET);
    all.extend(rpcs(tonic_health::pb::FILE_DESCRIPTOR_SET));
    all.extend(rpcs(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET));
    all.extend(rpcs(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET));
    all
}

#[test]
fn the_table_has_a_row_for_every_rpc_and_for_nothing_else() {
    let (mut all, mut rows) = (
        all(),
        policy::TABLE
            .iter()
            .map(|(rpc, _, _)| (*rpc).to_owned())
            .collect::<Vec<_>>(),
    );
    assert!(
        all.iter()
            .all(|rpc| policy::who_may(&format!("/{rpc}")).is_some())
    );
    all.sort_unstable();
    rows.sort_unstable();
    assert_eq!(all, rows);
    assert_eq!(policy::who_may("/tether.v1.IntegrationService/Surprise"), None);
}

/// Calls an rpc with an empty message.
async fn call(world: &World, rpc: &str, token: Option<&str>) -> Option<Refused> {
    let mut client = tonic::client::Grpc::new(world.channel().await);
    client.ready().await.unwrap();
    let mut request = tonic::Request::new(());
    if let Some(token) = token {
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = PathAndQuery::try_from(format!("/{rpc}")).unwrap();
    // Any RPC is read as a stream; an endless one is dropped after its first message.
    match client.server_streaming(request, path, codec).await {
        Ok(answer) => answer.into_inner().message().await.err().map(Refused::from),
        Err(status) => Some(status.into()),
    }
}

#[tokio::test]
async fn the_table_holds_over_the_wire() {
    let world = World::start(Database::Sqlite, 1).await;
    let expired = expired(&world);
    let of = |role: Role| world.token("ann", (role != Role::Service).then_some("globex"), role);
    let roles = [Role::Member, Role::Administrator, Role::Service].map(|role| (role, of(role)));
    for rpc in all() {
        let anyone = policy::who_may(&format!("/{rpc}")) == Some(Who::Anyone);
        for (token, reason) in [
            (None, "TOKEN_MISSING"),
            (Some("nonsense"), "TOKEN_INVALID"),
            (Some(&*expired), "TOKEN_EXPIRED"),
        ] {
            let told = call(&world, &rpc, token).await;
            if anyone {
                assert!(
                    told.is_none_or(|told| told.code != Code::Unauthenticated),
                    "{rpc}"
                );
            } else {
                let told = told.unwrap();
                assert_eq!(
                    (told.code, told.reason.as_str()),
                    (Code::Unauthenticated, reason),
                    "{rpc}"
                );
            }
        }
        for (role, token) in &roles {
            let told = call(&world, &rpc, Some(token)).await;
            let admitted = match policy::who_may(&format!("/{rpc}")) {
                Some(Who::Anyone) => true,
                Some(Who::Roles(roles)) => roles.contains(role),
                None => false,
            };
            let denied = told
                .as_ref()
                .is_some_and(|told| told.code == Code::PermissionDenied);
            assert_eq!(denied, !admitted, "{rpc} as {role}: {told:?}");
            if let Some(told) = told {
                assert_eq!(
                    told.reason == "ROLE_NOT_ALLOWED",
                    denied,
                    "{rpc} as {role}: {told:?}"
                );
                assert_ne!(told.code, Code::Unauthenticated, "{rpc} as {role}: {told:?}");
            }
        }
    }
    let told = call(&world, "tether.v1.IntegrationService/Surprise", Some(&roles[1].1))
        .await
        .unwrap();
    assert_eq!(told.code, Code::Unimplemented);
}

/// A token that expired an hour ago.
pub(crate) fn expired(world: &World) -> String {
    signed(
        world,
        serde_json::json!({"exp": tether::time::now_us() / 1_000_000 - 3_600}),
    )
}

/// A token of the right key that is valid except for these claims.
pub(crate) fn signed(world: &World, other: serde_json::Value) -> String {
    use base64::Engine as _;
    let seed = std::fs::read_to_string(world.data().join("dev-signing.key")).unwrap();
    let seed = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(seed.trim())
        .unwrap();
    // PKCS #8 around an Ed25519 key.
    let mut der = vec![
        0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
    ];
    der.extend(seed);
    let mut claims = serde_json::json!({
        "sub": "ann", "group": "acme", "role": "administrator", "exp": tether::time::now_us() / 1_000_000 + 3_600,
        "iss": tether::tokens::dev::DEV_ISSUER, "aud": tether::tokens::dev::DEV_AUDIENCE,
    });
    for (claim, value) in other.as_object().unwrap() {
        claims[claim] = value.clone();
    }
    let key = jsonwebtoken::EncodingKey::from_ed_der(&der);
    jsonwebtoken::encode(
        &jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA),
        &claims,
        &key,
    )
    .unwrap()
}

/// The answers about another group's resource and about one that does not exist differ only in the name.
fn alike(rpc: &str, (theirs, one): (&str, Refused), (absent, other): (&str, Refused)) {
    assert_eq!(
        (one.code, one.reason.as_str()),
        (Code::NotFound, "NOT_FOUND"),
        "{rpc}: {one:?}"
    );
    assert_eq!(
        (other.code, other.reason.as_str()),
        (Code::NotFound, "NOT_FOUND"),
        "{rpc}: {other:?}"
    );
    assert_eq!(one.message.replace(theirs, absent), other.message, "{rpc}");
    let info = |told: &Refused| format!("{:?}", told.details.error_info()).replace(theirs, absent);
    assert_eq!(info(&one), info(&other), "{rpc}");
}

/// Calls RPCs with the name of another group's resource and with an unknown name. A row is the RPC and its request
/// about a resource of a name.
macro_rules! same {
    ($eve:ident, $theirs:expr, $absent:expr, $(($service:ident.$rpc:ident, $request:expr)),+ $(,)?) => {$({
        let (request, theirs, absent): (_, &str, &str) = ($request, $theirs, $absent);
        let one = refused($eve.$service.$rpc(request(theirs.to_owned()))).await;
        let other = refused($eve.$service.$rpc(request(absent.to_owned()))).await;
        alike(stringify!($rpc), (theirs, one), (absent, other));
    })+};
}

async fn what_is_another_groups_reads_like_what_is_not_there(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    let (name, sync) = ann.dummy("Ours", "ann").await;
    let draft = ann.create("dummy", "Our draft").await;
    let company = ann.all_companies(1).await.remove(0).name;

    let mut eve = world.person("eve", "globex", Role::Administrator).await;
    eve.enable("dummy").await;
    assert!(eve.all_companies(100).await.is_empty());
    for theirs in [&name, &draft] {
        integrations_of_others(&mut eve, theirs).await;
    }
    syncs_of_others(&mut eve, &sync).await;
    companies_of_others(&mut eve, &company).await;
    connectors_and_integrations_in_other_groups(&mut eve).await;
    companies_in_other_groups(&mut eve, &company).await;
    // None of these calls changed anything.
    assert_eq!(ann.get(&draft).await.display_name, "Our draft");
    assert!(!ann.all_companies(100).await.is_empty());
}

async fn integrations_of_others(eve: &mut Person, theirs: &str) {
    let parent = eve.parent.clone();
    same!(
        eve,
        theirs,
        "integrations/0198c0de-0000-7000-8000-000000000000",
        (integrations.get_integration, |name| v1::GetIntegrationRequest {
            name
        }),
        (integrations.update_integration, |name: String| Person::selection(
            &name,
            &[]
        )),
        (integrations.delete_integration, |name| {
            v1::DeleteIntegrationRequest {
                name,
                ..Default::default()
            }
        }),
        (integrations.begin_authorization, |name| {
            v1::BeginAuthorizationRequest {
                name,
                ..Default::default()
            }
        }),
        (integrations.authorize_with_credentials, |name: String| {
            Person::key(&name, "eve")
        }),
        (integrations.list_available_fields, |parent| {
            v1::ListAvailableFieldsRequest {
                parent,
                ..Default::default()
            }
        }),
        (integrations.review_integration, |name| {
            v1::ReviewIntegrationRequest {
                name,
                ..Default::default()
            }
        }),
        (integrations.activate_integration, |name| {
            v1::ActivateIntegrationRequest {
                name,
                ..Default::default()
            }
        }),
        (integrations.list_fields, |parent| v1::ListFieldsRequest {
            parent,
            ..Default::default()
        }),
        (integrations.sync_integration, |name| v1::SyncIntegrationRequest {
            name,
            ..Default::default()
        }),
        (integrations.list_syncs, |parent| v1::ListSyncsRequest {
            parent,
            ..Default::default()
        }),
        (companies.list_companies, |source| v1::ListCompaniesRequest {
            parent: parent.clone(),
            sources: vec![source],
            ..Default::default()
        }),
    );
}

async fn syncs_of_others(eve: &mut Person, theirs: &str) {
    same!(
        eve,
        theirs,
        "integrations/0198c0de-0000-7000-8000-000000000000/syncs/0198c0de-0000-7000-8000-000000000001",
        (integrations.get_sync, |name| v1::GetSyncRequest { name }),
        (integrations.watch_sync, |name| v1::WatchSyncRequest { name }),
        (integrations.cancel_sync, |name| v1::CancelSyncRequest { name }),
    );
}

async fn companies_of_others(eve: &mut Person, theirs: &str) {
    let parent = eve.parent.clone();
    let track = |company| v1::TrackCompaniesRequest {
        parent: parent.clone(),
        companies: vec![v1::CompanyToTrack {
            company: Some(company),
        }],
    };
    same!(
        eve,
        theirs,
        "companies/0198c0de-0000-5000-8000-000000000000",
        (companies.get_company, |name| v1::GetCompanyRequest {
            name,
            parent: parent.clone()
        }),
        (companies.get_company_profile, |name| {
            v1::GetCompanyProfileRequest {
                name,
                parent: parent.clone(),
                ..Default::default()
            }
        }),
        (companies.track_companies, |name| track(
            v1::company_to_track::Company::Name(name)
        )),
    );
}

async fn connectors_and_integrations_in_other_groups(eve: &mut Person) {
    let dummy = || "connectors/dummy".to_owned();
    same!(
        eve,
        "groups/acme",
        "groups/nobody",
        (integrations.list_connectors, |parent| v1::ListConnectorsRequest {
            parent,
            ..Default::default()
        }),
        (integrations.get_connector, |parent| v1::GetConnectorRequest {
            name: dummy(),
            parent
        }),
        (integrations.enable_connector, |parent| {
            v1::EnableConnectorRequest {
                parent,
                connector: dummy(),
            }
        }),
        (integrations.disable_connector, |parent| {
            v1::DisableConnectorRequest {
                parent,
                connector: dummy(),
            }
        }),
        (integrations.create_integration, |parent| {
            v1::CreateIntegrationRequest {
                parent,
                ..Default::default()
            }
        }),
        (integrations.list_integrations, |parent| {
            v1::ListIntegrationsRequest {
                parent,
                ..Default::default()
            }
        }),
    );
}

async fn companies_in_other_groups(eve: &mut Person, company: &str) {
    let name = || company.to_owned();
    same!(
        eve,
        "groups/acme",
        "groups/nobody",
        (companies.list_companies, |parent| v1::ListCompaniesRequest {
            parent,
            ..Default::default()
        }),
        (companies.get_company, |parent| v1::GetCompanyRequest {
            name: name(),
            parent
        }),
        (companies.get_company_profile, |parent| {
            v1::GetCompanyProfileRequest {
                name: name(),
                parent,
                ..Default::default()
            }
        }),
        (companies.track_companies, |parent| v1::TrackCompaniesRequest {
            parent,
            ..Default::default()
        }),
        (companies.untrack_companies, |parent| {
            v1::UntrackCompaniesRequest {
                parent,
                ..Default::default()
            }
        }),
    );
}
