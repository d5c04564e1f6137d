//! Watching a group: each event is sent once, in order, across interrupted streams and a stopped server.

use serde_json::json;
use tether::caller::Role;
use tether::proto::v1::{self, group_event::Kind};
use tonic::{Code, Status, Streaming};

use crate::support::server::{Database, Person, World, ok, on_both_databases, refused};

on_both_databases!(a_broken_stream_goes_on_where_it_was);

type Stream = Streaming<v1::WatchGroupResponse>;

/// Opens a stream; returns it with the token of its first message.
async fn watch(person: &mut Person, resume_token: &str) -> (Stream, String) {
    let request = v1::WatchGroupRequest {
        parent: person.parent.clone(),
        resume_token: resume_token.to_owned(),
    };
    let mut stream = ok(person.integrations.watch_group(request)).await;
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(first.event, None);
    (stream, first.resume_token)
}

async fn message(stream: &mut Stream) -> Result<v1::WatchGroupResponse, Status> {
    let next = tokio::time::timeout(std::time::Duration::from_secs(20), stream.message()).await;
    Ok(next.expect("something happens")?.expect("the stream goes on"))
}

/// The next event, as (kind, subject), and the token after it.
async fn next(stream: &mut Stream) -> (Kind, String, String) {
    let message = message(stream).await.unwrap();
    let event = message.event.unwrap();
    assert!(event.time.is_some() && event.subject.starts_with(&event.integration));
    (event.kind(), event.subject, message.resume_token)
}

async fn a_broken_stream_goes_on_where_it_was(database: Database) {
    let mut world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    let mut max = world.person("max", "acme", Role::Member).await;
    let mut eve = world.person("eve", "globex", Role::Administrator).await;
    let mut platform = world.person("platform", "", Role::Service).await;
    platform.parent.clone_from(&ann.parent);
    let (mut theirs, _) = watch(&mut eve, "").await;
    let (mut stream, began) = watch(&mut max, "").await;
    let (mut over_all, _) = watch(&mut platform, "").await;

    let (name, sync) = ann.dummy("Ours", "ann").await;
    let (kind, subject, after_first) = next(&mut stream).await;
    assert_eq!((kind, &subject), (Kind::SyncFinished, &sync));
    assert_eq!(next(&mut over_all).await.1, sync);

    // A second event without a watching stream; then, from each position, exactly the later events.
    drop(stream);
    world.script(&json!({"script.read": "error:forbidden"}));
    let failed = ann.sync(&name).await;
    ann.watch(&failed).await;
    world.script(&json!({}));
    for (token, expected) in [
        (
            &began,
            vec![(Kind::SyncFinished, &sync), (Kind::SyncFailed, &failed)],
        ),
        (&after_first, vec![(Kind::SyncFailed, &failed)]),
    ] {
        let (mut stream, again) = watch(&mut max, token).await;
        let (mut twice, _) = watch(&mut max, &again).await;
        for (kind, subject) in expected {
            for stream in [&mut stream, &mut twice] {
                let told = next(stream).await;
                assert_eq!((told.0, &told.1), (kind, subject));
            }
        }
    }

    // The server stops: the streams end with SHUTTING_DOWN, and continue at the next server.
    let (mut stream, token) = watch(&mut max, "").await;
    world.terminate().await;
    let ended = message(&mut stream).await.unwrap_err();
    let ended = crate::support::server::Refused::from(ended);
    assert_eq!(
        (ended.code, ended.reason.as_str()),
        (Code::Unavailable, "SHUTTING_DOWN")
    );
    assert!(ended.details.retry_info().is_some());
    world.start_again().await;
    let mut ann = world.ann().await;
    let sync = ann.sync(&name).await;
    ann.succeeds(&sync).await;
    let mut max = world.person("max", "acme", Role::Member).await;
    let (mut stream, _) = watch(&mut max, &token).await;
    assert_eq!(next(&mut stream).await.1, sync);

    // The login is revoked: the owner gets an event.
    world.script(&json!({"script.list_fields": "error:credentials_revoked"}));
    let fields = v1::ListAvailableFieldsRequest {
        parent: name.clone(),
        ..Default::default()
    };
    refused(ann.integrations.list_available_fields(fields)).await;
    let told = message(&mut stream).await.unwrap().event.unwrap();
    assert_eq!((told.kind(), &told.subject), (Kind::NeedsReauthorization, &name));
    assert_eq!(told.reason(), v1::ErrorReason::CredentialsRevoked);

    // No other group gets an event, or can continue with another group's token.
    let nothing = tokio::time::timeout(std::time::Duration::from_secs(2), theirs.message()).await;
    assert!(!matches!(nothing, Ok(Ok(Some(_)))), "{nothing:?}");
    let mut eve = world.person("eve", "globex", Role::Administrator).await;
    for (parent, token, reason) in [
        ("groups/globex", token.as_str(), "INVALID_PAGE_TOKEN"),
        ("groups/globex", "made-up", "INVALID_PAGE_TOKEN"),
        ("groups/acme", "", "NOT_FOUND"),
        ("groups/nobody", "", "NOT_FOUND"),
    ] {
        let request = v1::WatchGroupRequest {
            parent: parent.to_owned(),
            resume_token: token.to_owned(),
        };
        assert_eq!(
            refused(eve.integrations.watch_group(request)).await.reason,
            reason,
            "{parent}"
        );
    }
    let mut platform = world.person("platform", "", Role::Service).await;
    let request = v1::WatchGroupRequest {
        parent: "groups/nobody".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        refused(platform.integrations.watch_group(request)).await.reason,
        "NOT_FOUND"
    );
}
