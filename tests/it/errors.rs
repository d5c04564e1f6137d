//! One failing call for each reason, checked against the comment in `error_reason.proto`.

use std::collections::{BTreeMap, BTreeSet};

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection, SqliteConnection};
use prost::Message as _;
use serde_json::json;
use tether::caller::Role;
use tether::error::Reason;
use tether::proto::v1;
use tonic_types::ErrorDetails;

use crate::policy::{expired, signed};
use crate::support::server::{Database, Person, Refused, World, ok, on_both_databases, refused};

on_both_databases!(every_reason_is_told_as_its_manual_says);

/// Reasons that no call here can cause, and why.
const NOT_PROVOKED: &[(Reason, &str)] = &[
    (
        Reason::FieldPassive,
        "every selected field is active until groups can say otherwise; the checker's own test has passive ones",
    ),
    (
        Reason::Overloaded,
        "takes thousands of calls at once; the limiter's own test refuses the one too many",
    ),
    (
        Reason::RequestMalformed,
        "takes a request that no client makes; `edge` sends it raw",
    ),
    (
        Reason::RequestTooLarge,
        "takes a request that no client makes; `edge` sends it raw",
    ),
    (
        Reason::EncodingUnsupported,
        "takes a request that no client makes; `edge` sends it raw",
    ),
    (
        Reason::RpcUnknown,
        "takes a request that no client makes; `edge` sends it raw",
    ),
    (
        Reason::AnswerTooLarge,
        "no answer is that large as far as known; the layer's own test has one",
    ),
    (
        Reason::GroupOverloaded,
        "takes many calls at once; the story of one group beside another has them",
    ),
    (
        Reason::ReaderTooSlow,
        "takes a reader that does not read; the streams' and the answers' own tests have one",
    ),
    (
        Reason::RemovalHeldBack,
        "stands in a sync's objects, never in the error of a call; `truth` has it",
    ),
    (
        Reason::NothingToConfirm,
        "takes a sync that held nothing back, or another's; `truth` has both",
    ),
    (
        Reason::RefreshLimited,
        "stands in a card's freshness, never in the error of a call",
    ),
    (
        Reason::ShuttingDown,
        "told while a server stops; the story of SIGTERM hears it",
    ),
    (
        Reason::StorageUnavailable,
        "told on SQLite alone, where a second process can hold the file",
    ),
];

#[test]
fn every_reason_stands_in_the_manual() {
    for reason in Reason::ALL {
        let name = format!("ERROR_REASON_{}", reason.as_str());
        assert!(v1::ErrorReason::from_str_name(&name).is_some(), "{name}");
    }
}

/// The comment of each value of `tether.v1.ErrorReason`.
fn manual() -> BTreeMap<String, String> {
    let set = prost_types::FileDescriptorSet::decode(tether::proto::FILE_DESCRIPTOR_SET).unwrap();
    let file = set
        .file
        .iter()
        .find(|file| file.name() == "tether/v1/error_reason.proto")
        .unwrap();
    let at = file
        .enum_type
        .iter()
        .position(|one| one.name() == "ErrorReason")
        .unwrap();
    let locations = &file.source_code_info.as_ref().unwrap().location;
    let values = file.enum_type[at]
        .value
        .iter()
        .enumerate()
        .map(|(number, value)| {
            // enum_type = 5, value = 2
            let path = [5, at as i32, 2, number as i32];
            let comment = locations
                .iter()
                .find(|one| one.path == path)
                .map(|one| one.leading_comments());
            let name = value.name().trim_start_matches("ERROR_REASON_").to_owned();
            (
                name,
                comment
                    .unwrap_or_default()
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" "),
            )
        });
    values.collect()
}

/// `FailedPrecondition` as `FAILED_PRECONDITION`.
fn spelled(code: tonic::Code) -> String {
    let mut out = String::new();
    for (at, c) in format!("{code:?}").char_indices() {
        if at > 0 && c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

/// The errors so far, by reason.
#[derive(Default)]
struct Told(BTreeMap<&'static str, Refused>);

impl Told {
    fn is(&mut self, reason: Reason, told: Refused) {
        assert_eq!(told.reason, reason.as_str(), "{told:?}");
        assert!(!told.message.is_empty());
        self.0.insert(reason.as_str(), told);
    }
}

/// Changes the database directly.
fn sql(world: &World, sql: &str) {
    let done = match world.postgres_url() {
        Some(url) => PgConnection::establish(url).unwrap().batch_execute(sql),
        None => {
            let path = world.data().join("tether.db");
            let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
            conn.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
            conn.batch_execute(sql)
        }
    };
    done.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// Logs in again, and waits for the sync that this begins: it lists the fields too, and would meet what the script says next.
async fn log_in_and_sync(ann: &mut Person, name: &str) {
    ann.log_in_with_key(name, "ann").await;
    let begun = ann.get(name).await.last_sync.unwrap();
    ann.watch(&begun.sync).await;
}

async fn every_reason_is_told_as_its_manual_says(database: Database) {
    let world = World::start(database, 1).await;
    let mut told = Told::default();
    let mut ann = world.ann().await;
    let draft = ann.draft("dummy", "Draft");

    // Tokens and roles.
    let list = v1::ListConnectorsRequest::default();
    let mut nobody = v1::integration_service_client::IntegrationServiceClient::new(world.channel().await);
    told.is(
        Reason::TokenMissing,
        refused(nobody.list_connectors(list.clone())).await,
    );
    let mut stranger = world
        .bearer("acme", &signed(&world, json!({"aud": "another"})))
        .await;
    told.is(
        Reason::TokenInvalid,
        refused(stranger.integrations.list_connectors(list.clone())).await,
    );
    let mut late = world.bearer("acme", &expired(&world)).await;
    told.is(
        Reason::TokenExpired,
        refused(late.integrations.list_connectors(list)).await,
    );
    let mut max = world.person("max", "acme", Role::Member).await;
    told.is(
        Reason::RoleNotAllowed,
        refused(max.integrations.create_integration(draft.clone())).await,
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

    // Requests.
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
    let other = ann.create("dummy", "Other").await;
    let mut edit = Person::selection(&other, &[]);
    edit.update_mask = Some(prost_types::FieldMask {
        paths: vec!["label".to_owned()],
    });
    edit.integration.as_mut().unwrap().label = "draft".to_owned();
    told.is(
        Reason::LabelTaken,
        refused(ann.integrations.update_integration(edit)).await,
    );
    let mut edit = Person::selection(&name, &[]);
    edit.update_mask = Some(prost_types::FieldMask {
        paths: vec!["surprise".to_owned()],
    });
    told.is(
        Reason::InvalidUpdateMask,
        refused(ann.integrations.update_integration(edit)).await,
    );
    let mut edit = Person::selection(&name, &[]);
    edit.integration.as_mut().unwrap().etag = "r999".to_owned();
    told.is(
        Reason::EtagMismatch,
        refused(ann.integrations.update_integration(edit)).await,
    );
    let page = v1::ListIntegrationsRequest {
        parent: ann.parent.clone(),
        page_token: "made-up".to_owned(),
        ..Default::default()
    };
    told.is(
        Reason::InvalidPageToken,
        refused(ann.integrations.list_integrations(page)).await,
    );
    told.is(
        Reason::NotImplementedYet,
        refused(
            ann.companies
                .aggregate_companies(v1::AggregateCompaniesRequest::default()),
        )
        .await,
    );

    // Calls in the wrong state.
    let save = v1::ActivateIntegrationRequest {
        name: name.clone(),
        ..Default::default()
    };
    told.is(
        Reason::NotLoggedIn,
        refused(ann.integrations.activate_integration(save.clone())).await,
    );
    let sync = v1::SyncIntegrationRequest {
        name: name.clone(),
        ..Default::default()
    };
    told.is(
        Reason::IllegalState,
        refused(ann.integrations.sync_integration(sync.clone())).await,
    );

    // Logging in.
    let mut other_way = Person::key(&name, "ann");
    other_way.auth_kind = v1::AuthKind::JwtBearer as i32;
    told.is(
        Reason::ConnectorUnsupported,
        refused(ann.integrations.authorize_with_credentials(other_way)).await,
    );
    let away = v1::BeginAuthorizationRequest {
        name: name.clone(),
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
    let denied = answer(&ann.begin(&name).await.state, "error", "access_denied");
    told.is(
        Reason::AuthorizationDenied,
        refused(ann.integrations.complete_authorization(denied)).await,
    );
    let bad = answer(&ann.begin(&name).await.state, "code", "bad");
    told.is(
        Reason::AuthorizationRejected,
        refused(ann.integrations.complete_authorization(bad)).await,
    );
    let old = answer(&ann.begin(&name).await.state, "code", "ann");
    sql(
        &world,
        "UPDATE \"authorization\" SET create_us = 0, expire_us = 1",
    );
    told.is(
        Reason::AuthorizationExpired,
        refused(ann.integrations.complete_authorization(old)).await,
    );

    // Fields.
    ann.log_in_with_key(&name, "ann").await;
    told.is(
        Reason::NoFieldsSelected,
        refused(ann.integrations.activate_integration(save)).await,
    );
    let unknown = Person::selection(&name, &["Company.Surprise"]);
    told.is(
        Reason::FieldUnknown,
        refused(ann.integrations.update_integration(unknown)).await,
    );
    ann.select(&name, &["Company.Industry"]).await;
    let first = ann.activate(&name).await;
    ann.succeeds(&first).await;
    let list = |filter: &str, order_by: &str, change_number| v1::ListCompaniesRequest {
        parent: "groups/acme".to_owned(),
        filter: filter.to_owned(),
        order_by: order_by.to_owned(),
        at_least: vec![v1::SourcePosition {
            integration: name.clone(),
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
    let different = Person::key(&name, "ann@elsewhere");
    told.is(
        Reason::DifferentOrganization,
        refused(ann.integrations.authorize_with_credentials(different)).await,
    );
    world.script(&json!({"script.read": "hang"}));
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

    // Errors of the CRM.
    let fields = v1::ListAvailableFieldsRequest {
        parent: name.clone(),
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
        told.is(
            reason,
            refused(ann.integrations.list_available_fields(fields.clone())).await,
        );
    }
    world.script(&json!({}));
    log_in_and_sync(&mut ann, &name).await;
    world.script(&json!({"script.list_fields": "error:suspended"}));
    told.is(
        Reason::AccountSuspended,
        refused(ann.integrations.list_available_fields(fields.clone())).await,
    );
    world.script(&json!({}));
    log_in_and_sync(&mut ann, &name).await;
    world.script(&json!({"script.list_fields": "panic"}));
    for _ in 0..10 {
        let failed = refused(ann.integrations.list_available_fields(fields.clone())).await;
        if failed.reason != Reason::ConnectorFault.as_str() {
            told.is(Reason::ConnectorUnavailable, failed);
            break;
        }
    }

    // Limits, and the database.
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
    if database == Database::Sqlite {
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
    sql(&world, "UPDATE integration SET settings = 'damaged'");
    let damaged = v1::GetIntegrationRequest { name };
    told.is(
        Reason::Internal,
        refused(ann.integrations.get_integration(damaged)).await,
    );

    between_groups(&mut told, database).await;

    let all: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let exempt = |reason: &&&str| !NOT_PROVOKED.iter().any(|(one, _)| one.as_str() == **reason);
    let missing: Vec<_> = all
        .iter()
        .filter(exempt)
        .filter(|reason| !told.0.contains_key(**reason))
        .collect();
    assert!(missing.is_empty(), "nothing was told of {missing:?}");
    as_the_manual_says(&told);
}

/// Errors that other groups cause: receivers, disconnected groups, a full account.
async fn between_groups(told: &mut Told, database: Database) {
    let world = World::start(database, 1).await;
    world.connect("globex", true).await;
    let (mut ann, mut gil) = (
        world.ann().await,
        world.person("gil", "globex", Role::Administrator).await,
    );
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

/// The comments name the gRPC code, the details and the metadata of each reason.
fn as_the_manual_says(told: &Told) {
    let manual = manual();
    let mut wrong = Vec::new();
    for (reason, told) in &told.0 {
        let (comment, details): (&String, &ErrorDetails) = (&manual[*reason], &told.details);
        if !comment.contains(&format!("{}.", spelled(told.code)))
            && !comment.contains(&format!("{},", spelled(told.code)))
        {
            wrong.push(format!("{reason} came as {}: {comment}", spelled(told.code)));
        }
        for (named, there) in [
            ("BadRequest", details.bad_request().is_some()),
            ("RetryInfo", details.retry_info().is_some()),
            ("PreconditionFailure", details.precondition_failure().is_some()),
            ("QuotaFailure", details.quota_failure().is_some()),
        ] {
            if comment.contains(named) && !there {
                wrong.push(format!("{reason} lacks {named}"));
            }
        }
        let documented = comment
            .split_once("Metadata: ")
            .map_or("", |(_, rest)| rest.split('.').next().unwrap());
        let metadata = details.error_info().map(|info| &info.metadata);
        for key in documented.split('`').skip(1).step_by(2) {
            if metadata.is_none_or(|metadata| !metadata.contains_key(key)) {
                wrong.push(format!("{reason} lacks the metadata {key}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
