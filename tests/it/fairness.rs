//! The group that a call counts for: for the service identity the group that it is about. And which calls
//! release their permit while they wait.

use std::os::unix::fs::symlink;

use serde_json::json;
use tether::caller::Role;
use tether::proto::v1::{self, source::IndexState};

use crate::support::server::{Database, Person, Refused, World, ok, on_both_databases, refused, until};

on_both_databases!(
    calls_of_the_service_identity_count_for_their_group,
    a_list_that_waits_for_an_index_holds_no_place
);

/// The limit that a group has reached.
fn quota(no: &Refused) -> Option<String> {
    let info = no.details.error_info()?;
    (no.reason == "GROUP_OVERLOADED").then(|| info.metadata["quota"].clone())
}

/// Calls repeatedly, in a task that ends with an answer; waits for a position that is never reached.
fn waiting(of: &Person, list: v1::ListCompaniesRequest) -> tokio_util::task::AbortOnDropHandle<()> {
    let mut of = of.clone();
    tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            let answer = of.companies.list_companies(list.clone()).await;
            let reason = Refused::from(answer.unwrap_err()).reason;
            assert!(
                reason == "INDEX_NOT_READY" || reason == "GROUP_OVERLOADED",
                "{reason}"
            );
        }
    }))
}

async fn calls_of_the_service_identity_count_for_their_group(database: Database) {
    let settings = ["limits.calls_per_group=2", "limits.streams_per_group=1"];
    let world = World::start_with(database, 1, &settings).await;
    let mut ann = world.ann().await;
    let mut greta = world.person("greta", "globex", Role::Administrator).await;
    let about = async |group: &str| {
        let mut platform = world.person("platform", "", Role::Service).await;
        platform.parent = format!("groups/{group}");
        platform
    };
    let (mut of_acme, mut of_globex) = (about("acme").await, about("globex").await);
    world.script(&json!({"companies": "2"}));
    let (name, sync) = ann.dummy("Ours", "ann").await;
    ann.succeeds(&sync).await;

    // Streams: one for each group, regardless of the caller.
    let watch = |person: &Person| v1::WatchGroupRequest {
        parent: person.parent.clone(),
        resume_token: String::new(),
    };
    let stream = ok(of_acme.integrations.watch_group(watch(&of_acme))).await;
    ok(of_globex.integrations.watch_group(watch(&of_globex))).await;
    for person in [&mut of_acme, &mut ann] {
        let no = refused(person.integrations.watch_group(watch(person))).await;
        assert_eq!(quota(&no).as_deref(), Some("streams"), "{no:?}");
    }
    drop(stream);
    until("the place of the stream is free", async || {
        let mut ann = ann.clone();
        ann.integrations.watch_group(watch(&ann)).await.is_ok()
    })
    .await;

    // Calls: two of the platform about acme count as two of acme, and for no other group.
    let list = v1::ListCompaniesRequest {
        parent: ann.parent.clone(),
        at_least: vec![v1::SourcePosition {
            integration: name.clone(),
            change_number: i64::MAX,
            time: None,
        }],
        ..Default::default()
    };
    let _two = [waiting(&of_acme, list.clone()), waiting(&of_acme, list)];
    let get = |name: &str| v1::GetIntegrationRequest {
        name: name.to_owned(),
    };
    let full = async |person: &Person| {
        let answer = person.clone().integrations.get_integration(get(&name)).await;
        answer.is_err_and(|status| quota(&status.into()).as_deref() == Some("calls"))
    };
    until("acme's own calls have no place", async || full(&ann).await).await;
    until("nor have calls about its integrations", async || {
        full(&of_acme).await
    })
    .await;
    for person in [&mut greta, &mut of_globex] {
        let request = v1::ListSourcesRequest {
            parent: person.parent.clone(),
            ..Default::default()
        };
        ok(person.companies.list_sources(request)).await;
    }
    ok(of_acme.groups.list_groups(v1::ListGroupsRequest::default())).await;
}

async fn a_list_that_waits_for_an_index_holds_no_place(database: Database) {
    let settings = ["limits.lists_per_group=1", "limits.waits_per_group=1"];
    let world = World::start_with(database, 1, &settings).await;
    let mut ann = world.ann().await;
    world.script(&json!({"companies": "2"}));
    ann.enable("dummy").await;
    let name = ann.create("dummy", "Ours").await;
    ann.log_in_with_key(&name, "ann").await;
    ann.select(&name, &["Company.Name"]).await;
    // The index cannot be created: its path is a link to itself.
    let (index, id) = (world.data().join("index"), name.rsplit('/').next().unwrap());
    std::fs::create_dir_all(&index).unwrap();
    let folder = index.join(id);
    symlink(&folder, &folder).unwrap();
    let sync = ann.activate(&name).await;
    ann.succeeds(&sync).await;

    let plain = v1::ListCompaniesRequest {
        parent: ann.parent.clone(),
        ..Default::default()
    };
    let search = v1::ListCompaniesRequest {
        filter: "source = ours".to_owned(),
        ..plain.clone()
    };
    let waits = waiting(&ann, search.clone());
    until("a list by name is answered while a search waits", async || {
        let mut ann = ann.clone();
        let second = ann.companies.list_companies(search.clone()).await.unwrap_err();
        let waits = quota(&second.into()).as_deref() == Some("waits");
        waits && ann.companies.list_companies(plain.clone()).await.is_ok()
    })
    .await;
    drop(waits);
    let sources = v1::ListSourcesRequest {
        parent: ann.parent.clone(),
        ..Default::default()
    };
    let source = ok(ann.companies.list_sources(sources.clone()))
        .await
        .sources
        .remove(0);
    assert_eq!(
        (source.index_state(), source.company_count),
        (IndexState::Building, 2)
    );

    std::fs::remove_file(&folder).unwrap();
    until("the index is built", async || {
        let mut ann = ann.clone();
        let source = ok(ann.companies.list_sources(sources.clone()))
            .await
            .sources
            .remove(0);
        source.index_state() == IndexState::Ready
    })
    .await;
    let found = ann.companies.list_companies(search).await;
    assert!(found.is_ok_and(|found| found.into_inner().companies.len() == 2));
}
