//! The calls that cause each reason.

use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use serde_json::json;
use tether::caller::Role;
use tether::error::Reason;
use tether::proto::v1;

use super::Told;
use crate::policy::{expired, signed};
use crate::support::server::{Database, Person, World, ok, refused};

/// Logs in again, and waits for the sync that this begins: it lists the fields too, and would meet what the script says next.
async fn log_in_and_sync(ann: &mut Person, name: &str) {
    ann.log_in_with_key(name, "ann").await;
    let begun = ann.get(name).await.last_sync.unwrap();
    ann.watch(&begun.sync).await;
}

/// Calls without a valid token, without the role, and of a group that is unknown.
pub(super) async fn callers(world: &World, told: &mut Told) {
    let list = v1::ListConnectorsRequest::default();
    let mut nobody = v1::integration_service_client::IntegrationServiceClient::new(world.channel().await);
    told.is(
        Reason::TokenMissing,
        refused(nobody.list_connectors(list.clone())).await,
    );
    let mut stranger = world
        .bearer("acme", &signed(world, json!({"aud": "another"})))
        .await;
    told.is(
        Reason::TokenInvalid,
        refused(stranger.integrations.list_connectors(list.clone())).await,
    );
    let mut late = world.bearer("acme", &expired(world)).await;
    told.is(
        Reason::TokenExpired,
        refused(late.integrations.list_connectors(list)).await,
    );
    let mut max = world.person("max", "acme", Role::Member).await;
    let draft = max.draft("dummy", "Draft");
    told.is(
        Reason::RoleNotAllowed,
        refused(max.integrations.create_integration(draft)).await,
    );
    let mut new = world.person("new", "newcomers", Role::Administrator).await;
    let enable = v1::EnableConnectorRequest {
        parent: new.parent.clone(),
        connector: "connectors/dummy".to_owned(),
    };
    told.is(
        Reason::GroupUnknown,
        refused(new.integrations.enable_connector(enable)).await,
    );
    let mut platform = world.person("platform", "", Role::Service).await;
    let group = v1::Group {
        name: new.parent.clone(),
        display_name: "Newcomers".to_owned(),
        ..Default::default()
    };
    ok(platform
        .groups
        .upsert_group(v1::UpsertGroupRequest { group: Some(group) }))
    .await;
    new.enable("dummy").await;
}

/// Requests to create an integration; answers the name of the one that is created.
pub(super) async fn creations(told: &mut Told, ann: &mut Person) -> String {
    let draft = ann.draft("dummy", "Draft");
    let gone = v1::EnableConnectorRequest {
        parent: ann.parent.clone(),
        connector: "connectors/nothing".to_owned(),
    };
    told.is(
        Reason::NotFound,
        refused(ann.integrations.enable_connector(gone)).await,
    );
    told.is(
        Reason::ConnectorDisabled,
        refused(ann.integrations.create_integration(draft)).await,
    );
    ann.enable("dummy").await;
    let nameless = ann.draft("dummy", "");
    told.is(
        Reason::InvalidFieldValue,
        refused(ann.integrations.create_integration(nameless)).await,
    );
    let request_id = "0198c0de-0000-4000-8000-000000000000".to_owned();
    let once = v1::CreateIntegrationRequest {
        request_id: request_id.clone(),
        ..ann.draft("dummy", "Draft")
    };
    let name = ok(ann.integrations.create_integration(once.clone())).await.name;
    assert_eq!(ok(ann.integrations.create_integration(once)).await.name, name);
    let twice = v1::CreateIntegrationRequest {
        request_id,
        ..ann.draft("dummy", "Another")
    };
    told.is(
        Reason::RequestIdReused,
        refused(ann.integrations.create_integration(twice)).await,
    );
    let same = ann.draft("dummy", "Draft");
    told.is(
        Reason::NameTaken,
        refused(ann.integrations.create_integration(same)).await,
    );
    name
}

/// Edits, pages and an RPC that is not implemented.
pub(super) async fn edits_and_pages(told: &mut Told, ann: &mut Person, name: &str) {
    let other = ann.create("dummy", "Other").await;
    let edit = |of: &str, mask: Option<&str>, label: &str, etag: &str| {
        let mut edit = Person::selection(of, &[]);
        if let Some(path) = mask {
            edit.update_mask = Some(prost_types::FieldMask {
                paths: vec![path.to_owned()],
            });
        }
        let integration = edit.integration.as_mut().unwrap();
        integration.label = label.to_owned();
        integration.etag = etag.to_owned();
        edit
    };
    for (edit, reason) in [
        (edit(&other, Some("label"), "draft", ""), Reason::LabelTaken),
        (edit(name, Some("surprise"), "", ""), Reason::InvalidUpdateMask),
        (edit(name, None, "", "r999"), Reason::EtagMismatch),
    ] {
        told.is(reason, refused(ann.integrations.update_integration(edit)).await);
    }
    let page = v1::ListIntegrationsRequest {
        parent: ann.parent.clone(),
        page_token: "made-up".to_owned(),
        ..Default::default()
    };
    told.is(
        Reason::InvalidPageToken,
        refused(ann.integrations.list_integrations(page)).await,
    );
}

/// Calls in the wrong state of a draft.
pub(super) async fn states(told: &mut Told, ann: &mut Person, name: &str) {
    let save = activation(name);
    told.is(
        Reason::NotLoggedIn,
        refused(ann.integrations.activate_integration(save)).await,
    );
    let sync = v1::SyncIntegrationRequest {
        name: name.to_owned(),
        ..Default::default()
    };
    told.is(
        Reason::IllegalState,
        refused(ann.integrations.sync_integration(sync)).await,
    );
}

fn activation(name: &str) -> v1::ActivateIntegrationRequest {
    v1::ActivateIntegrationRequest {
        name: name.to_owned(),
        ..Default::default()
    }
}

/// Logins.
pub(super) async fn logins(world: &World, told: &mut Told, ann: &mut Person, name: &str) {
    let mut other_way = Person::key(name, "ann");
    other_way.auth_kind = v1::AuthKind::JwtBearer as i32;
    told.is(
        Reason::ConnectorUnsupported,
        refused(ann.integrations.authorize_with_credentials(other_way)).await,
    );
    let away = v1::BeginAuthorizationRequest {
        name: name.to_owned(),
        redirect_uri: "https://evil.example/".to_owned(),
        ..Default::default()
    };
    told.is(
        Reason::RedirectUriNotAllowed,
        refused(ann.integrations.begin_authorization(away)).await,
    );
    let answer = |state: &str, key: &str, value: &str| v1::CompleteAuthorizationRequest {
        state: state.to_owned(),
        callback_parameters: [(key.to_owned(), value.to_owned())].into(),
    };
    let unknown = answer("unknown", "code", "x");
    told.is(
        Reason::AuthorizationStateInvalid,
        refused(ann.integrations.complete_authorization(unknown)).await,
    );
    for (key, value, reason) in [
        ("error", "access_denied", Reason::AuthorizationDenied),
        ("code", "bad", Reason::AuthorizationRejected),
    ] {
        let answer = answer(&ann.begin(name).await.state, key, value);
        told.is(
            reason,
            refused(ann.integrations.complete_authorization(answer)).await,
        );
    }
    let old = answer(&ann.begin(name).await.state, "code", "ann");
    world.sql("UPDATE \"authorization\" SET create_us = 0, expire_us = 1");
    told.is(
        Reason::AuthorizationExpired,
        refused(ann.integrations.complete_authorization(old)).await,
    );
}

/// Fields that are not selected or unknown, and the first sync.
pub(super) async fn fields(told: &mut Told, ann: &mut Person, name: &str) {
    let save = activation(name);
    ann.log_in_with_key(name, "ann").await;
    told.is(
        Reason::NoFieldsSelected,
        refused(ann.integrations.activate_integration(save)).await,
    );
    let unknown = Person::selection(name, &["Company.Surprise"]);
    told.is(
        Reason::FieldUnknown,
        refused(ann.integrations.update_integration(unknown)).await,
    );
    ann.select(name, &["Company.Industry"]).await;
    let first = ann.activate(name).await;
    ann.succeeds(&first).await;
}

/// Filters, another organization's login, and two syncs at a time.
pub(super) async fn searches_and_syncs(world: &World, told: &mut Told, ann: &mut Person, name: &str) {
    let list = |filter: &str, order_by: &str, change_number| v1::ListCompaniesRequest {
        parent: "groups/acme".to_owned(),
        filter: filter.to_owned(),
        order_by: order_by.to_owned(),
        at_least: vec![v1::SourcePosition {
            integration: name.to_owned(),
            change_number,
            time: None,
        }],
        ..Default::default()
    };
    for (request, reason) in [
        (list("industry", "", 0), Reason::InvalidFilter),
        (list("", "industry", 0), Reason::InvalidOrderBy),
        (list("", "", i64::MAX), Reason::IndexNotReady),
    ] {
        told.is(reason, refused(ann.companies.list_companies(request)).await);
    }
    let different = Person::key(name, "ann@elsewhere");
    told.is(
        Reason::DifferentOrganization,
        refused(ann.integrations.authorize_with_credentials(different)).await,
    );
    world.script(&json!({"script.read": "hang"}));
    let sync = v1::SyncIntegrationRequest {
        name: name.to_owned(),
        ..Default::default()
    };
    let running = ok(ann.integrations.sync_integration(sync.clone())).await.name;
    told.is(
        Reason::SyncAlreadyRunning,
        refused(ann.integrations.sync_integration(sync)).await,
    );
    ok(ann.integrations.cancel_sync(v1::CancelSyncRequest {
        name: running.clone(),
    }))
    .await;
    ann.watch(&running).await;
}

/// What the CRM or the connector does.
pub(super) async fn errors_of_the_crm(world: &World, told: &mut Told, ann: &mut Person, name: &str) {
    let fields = v1::ListAvailableFieldsRequest {
        parent: name.to_owned(),
        ..Default::default()
    };
    for (kind, reason) in [
        ("transient", Reason::CrmUnavailable),
        ("rate_limited:2000", Reason::CrmRateLimited),
        ("allowance_exhausted:2000", Reason::CrmAllowanceExhausted),
        ("forbidden", Reason::CrmForbidden),
        ("admin_action", Reason::CrmAdminActionNeeded),
        ("configuration", Reason::ConnectorMisconfigured),
        ("deadline_exceeded", Reason::DeadlineExceeded),
        ("bug", Reason::ConnectorFault),
        ("credentials_revoked", Reason::CredentialsRevoked),
    ] {
        world.script(&json!({"script.list_fields": format!("error:{kind}")}));
        let mut failed = refused(ann.integrations.list_available_fields(fields.clone())).await;
        // For two seconds after the allowance was refused, the CRM is not asked.
        while reason != Reason::CrmAllowanceExhausted
            && failed.reason == Reason::CrmAllowanceExhausted.as_str()
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
            failed = refused(ann.integrations.list_available_fields(fields.clone())).await;
        }
        told.is(reason, failed);
    }
    world.script(&json!({}));
    log_in_and_sync(ann, name).await;
    world.script(&json!({"script.list_fields": "error:suspended"}));
    told.is(
        Reason::AccountSuspended,
        refused(ann.integrations.list_available_fields(fields.clone())).await,
    );
    world.script(&json!({}));
    log_in_and_sync(ann, name).await;
    world.script(&json!({"script.list_fields": "panic"}));
    for _ in 0..10 {
        let failed = refused(ann.integrations.list_available_fields(fields.clone())).await;
        if failed.reason != Reason::ConnectorFault.as_str() {
            told.is(Reason::ConnectorUnavailable, failed);
            break;
        }
    }
}

/// The most drafts of a group.
pub(super) async fn limits(world: &World, told: &mut Told) {
    let mut greta = world.person("greta", "globex", Role::Administrator).await;
    greta.enable("salesforce").await;
    for number in 0..50 {
        greta.create("salesforce", &format!("Draft {number}")).await;
    }
    let one_more = greta.draft("salesforce", "One more");
    told.is(
        Reason::LimitReached,
        refused(greta.integrations.create_integration(one_more)).await,
    );
}

/// A file that another process holds, and a damaged row.
pub(super) async fn database(world: &World, told: &mut Told, ann: &mut Person, of: Database, name: String) {
    if of == Database::Sqlite {
        let path = world.data().join("tether.db");
        let mut holder = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        holder
            .batch_execute("PRAGMA busy_timeout = 5000; BEGIN IMMEDIATE")
            .unwrap();
        let enable = v1::EnableConnectorRequest {
            parent: ann.parent.clone(),
            connector: "connectors/salesforce".to_owned(),
        };
        told.is(
            Reason::StorageUnavailable,
            refused(ann.integrations.enable_connector(enable)).await,
        );
        holder.batch_execute("ROLLBACK").unwrap();
    }
    world.sql("UPDATE integration SET settings = 'damaged'");
    let damaged = v1::GetIntegrationRequest { name };
    told.is(
        Reason::Internal,
        refused(ann.integrations.get_integration(damaged)).await,
    );
}

/// Errors that other groups cause: receivers, disconnected groups, a full account.
pub(super) async fn between_groups(told: &mut Told, of: Database) {
    let world = World::start(of, 1).await;
    world.connect("globex", true).await;
    let (mut ann, mut gil) = (world.ann().await, world.gil().await);
    let (name, _) = ann.dummy("One", "user").await;
    ann.share(&name, "globex", &[]).await;
    let theirs = v1::ListSharesRequest {
        parent: name.clone(),
        ..Default::default()
    };
    told.is(
        Reason::NotOwner,
        refused(gil.integrations.list_shares(theirs)).await,
    );
    ann.decide(&name, &[], &["Company.Industry"]).await;
    let share = v1::Share {
        name: format!("{name}/shares/globex"),
        fields: vec!["Company.Industry".to_owned()],
        ..Default::default()
    };
    let share = v1::SetShareRequest { share: Some(share) };
    told.is(
        Reason::FieldPassive,
        refused(ann.integrations.set_share(share)).await,
    );

    let draft = ann.create("dummy", "Draft").await;
    ann.log_in_with_key(&draft, "user").await;
    ann.select(&draft, &["Company.Industry"]).await;
    ann.share(&draft, "globex", &[]).await;
    world.connect("globex", false).await;
    let save = v1::ActivateIntegrationRequest {
        name: draft.clone(),
        ..Default::default()
    };
    told.is(
        Reason::GroupsNotConnected,
        refused(ann.integrations.activate_integration(save)).await,
    );
    for number in 2..=5 {
        ann.dummy(&format!("Number {number}"), "user").await;
    }
    let sixth = ann.create("dummy", "Sixth").await;
    told.is(
        Reason::AccountLimitReached,
        refused(
            ann.integrations
                .authorize_with_credentials(Person::key(&sixth, "user")),
        )
        .await,
    );
}
