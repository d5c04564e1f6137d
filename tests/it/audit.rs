//! The audit log, compared with the calls that were made.

use serde_json::json;
use tether::caller::Role;
use tether::proto::v1;
use tether::proto::v1::company_to_track::Company;

use crate::support::server::{Database, Person, World, ok, on_both_databases, refused};

on_both_databases!(
    every_change_has_one_entry_and_no_secret,
    the_same_request_many_times_at_once_is_one_change,
);

/// All entries of a group's log, from the oldest, page by page.
async fn log(person: &mut Person, parent: &str, resource: &str) -> Vec<v1::AuditEntry> {
    let (mut entries, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListAuditEntriesRequest {
            parent: parent.to_owned(),
            page_size: 3,
            page_token,
            resource: resource.to_owned(),
            ..Default::default()
        };
        let page = ok(person.integrations.list_audit_entries(request)).await;
        entries.extend(page.audit_entries);
        if page.next_page_token.is_empty() {
            entries.reverse();
            return entries;
        }
        page_token = page.next_page_token;
    }
}

fn made(entries: &[v1::AuditEntry]) -> Vec<(&str, &str, &str)> {
    entries
        .iter()
        .map(|entry| {
            (
                entry.method.as_str(),
                entry.actor.as_str(),
                entry.resource.as_str(),
            )
        })
        .collect()
}

/// What the calls were about.
struct Calls {
    integration: String,
    sync: String,
    /// Deleted again.
    draft: String,
    state: String,
}

async fn every_change_has_one_entry_and_no_secret(database: Database) {
    let world = World::start(database, 3).await;
    let mut ann = world.ann().await;
    let mut max = world.person("max", "acme", Role::Member).await;
    let (integration, state) = a_login(&mut ann).await;
    let sync = syncs(&world, &mut ann, &integration).await;
    the_own_list(&mut max).await;
    let draft = ann.create("dummy", "Abandoned").await;
    ann.delete(&draft).await;
    ann.disable("dummy").await;
    world.connect("globex", true).await;
    let calls = Calls {
        integration,
        sync,
        draft,
        state,
    };
    let entries = each_change_has_its_entry(&mut ann, &calls).await;
    no_secret_is_in_it(&world, &entries, &calls);
    it_is_filtered(&mut ann, &entries, &calls).await;
    others_read_their_own(&world, &mut ann, &mut max, &entries).await;
}

/// A draft and its logins, with calls that fail and some that only read. Answers it, and the state of a login.
async fn a_login(ann: &mut Person) -> (String, String) {
    ann.enable("dummy").await;
    let name = ann.create("dummy", "Ours").await;
    let same = ann.draft("dummy", "Ours");
    refused(ann.integrations.create_integration(same)).await;
    let check = v1::CreateIntegrationRequest {
        validate_only: true,
        ..ann.draft("dummy", "Only checked")
    };
    ok(ann.integrations.create_integration(check)).await;
    let begun = ann.begin(&name).await;
    let callback = v1::CompleteAuthorizationRequest {
        state: begun.state.clone(),
        callback_parameters: [("code", "ann"), ("extra", "CANARY")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    };
    ok(ann.integrations.complete_authorization(callback)).await;
    ann.log_in_with_key(&name, "ann").await;
    ann.select(&name, &["Company.Industry"]).await;
    ann.review(&name).await;
    (name, begun.state)
}

/// A sync that succeeds, and one that is cancelled; answers the latter.
async fn syncs(world: &World, ann: &mut Person, name: &str) -> String {
    let first = ann.activate(name).await;
    ann.succeeds(&first).await;
    world.script(&json!({"script.read": "hang"}));
    let second = ann.sync(name).await;
    let again = v1::SyncIntegrationRequest {
        name: name.to_owned(),
        ..Default::default()
    };
    refused(ann.integrations.sync_integration(again)).await;
    ok(ann
        .integrations
        .cancel_sync(v1::CancelSyncRequest { name: second.clone() }))
    .await;
    ann.watch(&second).await;
    second
}

async fn the_own_list(max: &mut Person) {
    let company = max.all_companies(10).await.remove(0).name;
    max.track(Company::Name(company.clone())).await;
    let untrack = v1::UntrackCompaniesRequest {
        parent: max.parent.clone(),
        names: vec![company],
    };
    ok(max.companies.untrack_companies(untrack)).await;
}

async fn each_change_has_its_entry(ann: &mut Person, calls: &Calls) -> Vec<v1::AuditEntry> {
    let Calls {
        integration: name,
        sync: second,
        draft,
        ..
    } = calls;
    let parent = ann.parent.clone();
    let entries = log(ann, &parent, "").await;
    let (acme, dummy) = ("groups/acme", "connectors/dummy");
    assert_eq!(
        made(&entries),
        [
            ("EnableConnector", "ann", dummy),
            ("CreateIntegration", "ann", name),
            ("BeginAuthorization", "ann", name),
            ("CompleteAuthorization", "ann", name),
            ("AuthorizeWithCredentials", "ann", name),
            ("UpdateIntegration", "ann", name),
            ("ActivateIntegration", "ann", name),
            ("SyncIntegration", "ann", second),
            ("CancelSync", "ann", second),
            ("TrackCompanies", "max", acme),
            ("UntrackCompanies", "max", acme),
            ("CreateIntegration", "ann", draft),
            ("DeleteIntegration", "ann", draft),
            ("DisableConnector", "ann", dummy),
            ("ConnectGroups", "platform", acme),
        ]
    );
    let detail = |at: usize, key: &str| entries[at].detail.get(key).cloned().unwrap_or_default();
    assert_eq!(
        (detail(4, "auth_kind"), detail(4, "parameters")),
        ("API_KEY".to_owned(), "api_key".to_owned())
    );
    assert_eq!(
        (detail(5, "selected_fields"), detail(14, "other_group")),
        ("1".to_owned(), "groups/globex".to_owned())
    );
    assert_eq!(
        (entries[9].role.as_str(), entries[14].role.as_str()),
        ("member", "service")
    );
    assert!(
        entries
            .iter()
            .all(|one| one.time.is_some() && uuid::Uuid::try_parse(&one.request_id).is_ok())
    );
    entries
}

/// No secrets: the parameters and the result of the login, the state, the token.
fn no_secret_is_in_it(world: &World, entries: &[v1::AuditEntry], calls: &Calls) {
    let (text, token) = (
        format!("{entries:?}"),
        world.token("ann", Some("acme"), Role::Administrator),
    );
    for secret in [
        "CANARY",
        calls.state.as_str(),
        "access.",
        "refresh.",
        &token[..40],
    ] {
        assert!(!text.contains(secret), "{secret} stands in {text}");
    }
}

/// By resource, including those below it and deleted ones, by actor, and by time.
async fn it_is_filtered(ann: &mut Person, entries: &[v1::AuditEntry], calls: &Calls) {
    let parent = ann.parent.clone();
    let of = log(ann, &parent, &calls.integration).await;
    assert_eq!(of.len(), 8);
    assert_eq!(log(ann, &parent, &calls.draft).await.len(), 2);
    let filtered = |actor: &str, start_time, end_time| v1::ListAuditEntriesRequest {
        parent: parent.clone(),
        actor: actor.to_owned(),
        start_time,
        end_time,
        ..Default::default()
    };
    let list = ok(ann.integrations.list_audit_entries(filtered("max", None, None))).await;
    assert_eq!(list.audit_entries.len(), 2);
    let (start, end) = (entries[3].time, entries[5].time);
    let list = ok(ann.integrations.list_audit_entries(filtered("", start, end)))
        .await
        .audit_entries;
    assert!(
        list.iter().any(|one| one.name == entries[3].name)
            && list.iter().all(|one| one.name != entries[5].name)
    );
}

/// For the group's administrators and the platform. The other group of a connection has its own entry.
async fn others_read_their_own(
    world: &World,
    ann: &mut Person,
    max: &mut Person,
    entries: &[v1::AuditEntry],
) {
    let request = v1::ListAuditEntriesRequest {
        parent: ann.parent.clone(),
        ..Default::default()
    };
    assert_eq!(
        refused(max.integrations.list_audit_entries(request.clone()))
            .await
            .reason,
        "ROLE_NOT_ALLOWED"
    );
    let mut eve = world.person("eve", "globex", Role::Administrator).await;
    assert_eq!(
        refused(eve.integrations.list_audit_entries(request)).await.reason,
        "NOT_FOUND"
    );
    let theirs = log(&mut eve, "groups/globex", "").await;
    assert_eq!(made(&theirs), [("ConnectGroups", "platform", "groups/acme")]);
    let mut platform = world.person("platform", "", Role::Service).await;
    let all = log(&mut platform, "groups/-", "").await;
    assert_eq!(all.len(), entries.len() + 1);
    let wild = v1::ListAuditEntriesRequest {
        parent: "groups/-".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        refused(ann.integrations.list_audit_entries(wild)).await.reason,
        "INVALID_FIELD_VALUE"
    );
}

/// Makes the same call eight times concurrently; all results must be equal, and this is the result.
async fn eight_times<T, F, R>(call: impl Fn() -> F, name: impl Fn(T) -> R) -> R
where
    F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    R: PartialEq + std::fmt::Debug,
{
    let answers = futures_util::future::join_all((0..8).map(|_| call())).await;
    let mut names = answers
        .into_iter()
        .map(|answer| name(answer.unwrap().into_inner()));
    let first = names.next().unwrap();
    for other in names {
        assert_eq!(other, first);
    }
    first
}

async fn the_same_request_many_times_at_once_is_one_change(database: Database) {
    let world = World::start(database, 3).await;
    let mut ann = world.ann().await;
    ann.enable("dummy").await;
    let clients = ann.integrations.clone();
    let create = v1::CreateIntegrationRequest {
        request_id: "0198c0de-0000-4000-8000-000000000001".to_owned(),
        ..ann.draft("dummy", "Once")
    };
    let call = || {
        let (mut client, create) = (clients.clone(), create.clone());
        async move { client.create_integration(create).await }
    };
    let name = eight_times(call, |created| created.name).await;
    ann.log_in_with_key(&name, "ann").await;
    ann.select(&name, &["Company.Industry"]).await;
    // Long enough for all calls to arrive while the sync is in progress.
    world.script(&json!({"script.read": "hang"}));
    let activate = v1::ActivateIntegrationRequest {
        name: name.clone(),
        request_id: "0198c0de-0000-4000-8000-000000000002".to_owned(),
        ..Default::default()
    };
    let call = || {
        let (mut client, activate) = (clients.clone(), activate.clone());
        async move { client.activate_integration(activate).await }
    };
    let first = eight_times(call, |activated| activated.sync.unwrap().name).await;
    ok(ann
        .integrations
        .cancel_sync(v1::CancelSyncRequest { name: first.clone() }))
    .await;
    ann.watch(&first).await;
    let sync = v1::SyncIntegrationRequest {
        name: name.clone(),
        request_id: "0198c0de-0000-4000-8000-000000000003".to_owned(),
        ..Default::default()
    };
    let call = || {
        let (mut client, sync) = (clients.clone(), sync.clone());
        async move { client.sync_integration(sync).await }
    };
    let second = eight_times(call, |sync| sync.name).await;
    assert_ne!(first, second);
    let parent = ann.parent.clone();
    let entries = log(&mut ann, &parent, "").await;
    for method in ["CreateIntegration", "ActivateIntegration", "SyncIntegration"] {
        let entries = entries.iter().filter(|entry| entry.method == method);
        assert_eq!(entries.count(), 1, "{method}");
    }
}
