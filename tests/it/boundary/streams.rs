//! Streams: all data arrives, from the beginning or from any checkpoint, and no more than requested.

use std::collections::BTreeMap;
use std::time::Duration;

use tether::connectors::proto::{
    Credentials, Error as Failure, ErrorKind, FieldChangeKind, Record, stream_event::Event,
};
use tether::connectors::{Connector, Error, RecordStream};
use tether_connector_sdk::proto::StreamEvent;

use super::{dummy, everything, native, read};

super::in_process_and_in_a_child! {
    a_library_streams_as_the_connector_does,
    a_stream_goes_on_from_every_checkpoint,
    events_say_what_cannot_be_read,
    a_stream_waits_for_credentials,
    a_stream_that_fails_says_why_and_keeps_what_was_checkpointed,
    a_pull_may_be_given_up_and_asked_again,
    a_closed_stream_stops_its_reader,
}

/// Reads a stream to its end. Returns its records by object and id, and its checkpoints.
async fn drain(
    mut stream: RecordStream,
) -> Result<(BTreeMap<(String, String), Record>, Vec<Vec<u8>>), Error> {
    let (mut records, mut checkpoints) = (BTreeMap::new(), Vec::new());
    loop {
        match stream.next(checkpoints.len() as u64).await? {
            Event::Batch(batch) => {
                for record in batch.records {
                    records.insert((batch.object.clone(), record.external_id.clone()), record);
                }
            }
            Event::Checkpoint(checkpoint) => {
                assert_eq!(checkpoint.sequence, checkpoints.len() as u64 + 1);
                checkpoints.push(checkpoint.state.to_vec());
            }
            Event::End(_) => return Ok((records, checkpoints)),
            _ => {}
        }
    }
}

async fn all(connector: &Connector, checkpoint: &[u8]) -> (BTreeMap<(String, String), Record>, Vec<Vec<u8>>) {
    let selection = everything(connector).await;
    let stream = connector
        .read(read(&selection, &[], checkpoint), None)
        .await
        .expect("a stream");
    drain(stream).await.expect("it ends well")
}

async fn a_library_streams_as_the_connector_does(trusted: bool) {
    let settings = [
        ("companies", "230"),
        ("revision", "2"),
        ("missing", "Company.Industry,Deal"),
    ];
    let (_registry, connector) = dummy(&settings, trusted).await;
    let native = native(&settings);
    let selection = everything(&dummy(&[], trusted).await.1).await;
    let number = native.read(read(&selection, &[], b"")).await.expect("a stream");
    let mut stream = connector
        .read(read(&selection, &[], b""), None)
        .await
        .expect("a stream");
    loop {
        let StreamEvent { event } = native.next(number, 0).await.expect("an event");
        let loaded = stream.next(0).await.expect("an event");
        assert_eq!(event.as_ref(), Some(&loaded));
        if matches!(loaded, Event::End(_)) {
            break;
        }
    }
    assert!(stream.next(0).await.is_err(), "nothing follows the end");
}

async fn a_stream_goes_on_from_every_checkpoint(trusted: bool) {
    let (_registry, connector) = dummy(&[("companies", "230"), ("checkpoint_every", "60")], trusted).await;
    let (whole, checkpoints) = all(&connector, b"").await;
    assert_eq!(whole.len(), 230 * 4);
    assert!(checkpoints.len() > 10);
    let selection = everything(&connector).await;
    for (at, checkpoint) in checkpoints.iter().enumerate() {
        // What is stored when the stream is cut right after a checkpoint, and what follows.
        let mut stream = connector
            .read(read(&selection, &[], b""), None)
            .await
            .expect("a stream");
        let (mut stored, mut unsaved, mut seen) = (BTreeMap::new(), Vec::new(), 0);
        while seen <= at {
            match stream.next(seen as u64).await.expect("an event") {
                Event::Batch(batch) => unsaved.push(batch),
                Event::Checkpoint(_) => {
                    seen += 1;
                    for batch in unsaved.drain(..) {
                        for record in batch.records {
                            stored.insert((batch.object.clone(), record.external_id.clone()), record);
                        }
                    }
                }
                _ => {}
            }
        }
        drop(stream);
        let (rest, _) = all(&connector, checkpoint).await;
        stored.extend(rest);
        assert!(stored == whole, "checkpoint {at} gives another set");
    }
}

async fn events_say_what_cannot_be_read(trusted: bool) {
    let settings = [
        ("missing", "Company.Industry,Person"),
        ("retyped", "Company.Employees=text"),
    ];
    let selection = everything(&dummy(&[], trusted).await.1).await;
    let (_registry, connector) = dummy(&[], trusted).await;
    let mut stream = connector
        .read(read(&selection, &settings, b""), None)
        .await
        .expect("a stream");
    let (mut changes, mut gone) = (Vec::new(), Vec::new());
    loop {
        match stream.next(0).await.expect("an event") {
            Event::FieldChange(change) => changes.push((change.field.clone(), change.kind())),
            Event::ObjectStatus(status) if status.error.is_some() => gone.push(status.object),
            Event::Batch(batch) if batch.object == "Company" => {
                let payload = String::from_utf8(batch.records[0].payload.to_vec()).unwrap();
                assert!(
                    !payload.contains("Industry") && payload.contains("\"Employees\":\""),
                    "{payload}"
                );
            }
            Event::End(_) => break,
            _ => {}
        }
    }
    let expected = [
        ("Industry".to_owned(), FieldChangeKind::Missing),
        ("Employees".to_owned(), FieldChangeKind::TypeChanged),
    ];
    assert_eq!(changes, expected);
    assert_eq!(gone, ["Person"]);
}

async fn a_stream_waits_for_credentials(trusted: bool) {
    let (_registry, connector) = dummy(&[], trusted).await;
    let selection = everything(&connector).await;
    let settings = [("valid_generation", "1"), ("script.read", "credentials@150")];
    let fresh = || {
        let access_token = "access.alice.acme.1".to_owned();
        (
            Credentials {
                access_token,
                ..Credentials::default()
            },
            String::new(),
        )
    };

    let mut stream = connector
        .read(read(&selection, &settings, b""), None)
        .await
        .expect("a stream");
    let mut asked = 0;
    loop {
        match stream.next(0).await.expect("an event") {
            Event::CredentialsNeeded(needed) => {
                assert_eq!(needed.error.unwrap().what(), ErrorKind::CredentialsExpired);
                asked += 1;
                stream
                    .provide_credentials(Ok(fresh()))
                    .await
                    .expect("somebody waits");
            }
            Event::End(_) => break,
            _ => {}
        }
    }
    assert_eq!(asked, 2);

    let mut stream = connector
        .read(read(&selection, &settings, b""), None)
        .await
        .expect("a stream");
    assert!(matches!(stream.next(0).await, Ok(Event::CredentialsNeeded(_))));
    stream
        .provide_credentials(Err(Failure::credentials_revoked("gone")))
        .await
        .expect("somebody waits");
    assert_eq!(
        stream.next(0).await.unwrap_err().kind(),
        ErrorKind::CredentialsRevoked
    );
    assert!(
        stream.provide_credentials(Ok(fresh())).await.is_err(),
        "nobody waits any more"
    );
}

async fn a_stream_that_fails_says_why_and_keeps_what_was_checkpointed(trusted: bool) {
    let (_registry, connector) = dummy(&[], trusted).await;
    let selection = everything(&connector).await;
    for (script, kind) in [
        ("error:transient@250", ErrorKind::Transient),
        ("panic@250", ErrorKind::Bug),
    ] {
        let stream = connector
            .read(read(&selection, &[("script.read", script)], b""), None)
            .await;
        let mut stream = stream.expect("a stream");
        let mut checkpoints = 0;
        let error = loop {
            match stream.next(checkpoints).await {
                Ok(Event::Checkpoint(_)) => checkpoints += 1,
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!((error.kind(), checkpoints), (kind, 2), "{script}: {error}");
    }
}

async fn a_pull_may_be_given_up_and_asked_again(trusted: bool) {
    let (_registry, connector) = dummy(&[("companies", "20")], trusted).await;
    let selection = everything(&connector).await;
    let slow: Vec<_> = (1..=40).map(|row| format!("slow:3@{row}")).collect();
    let settings = [("script.read", &*slow.join(",")), ("batch", "1")];
    let mut stream = connector
        .read(read(&selection, &settings, b""), None)
        .await
        .expect("a stream");
    let (mut rows, mut given_up) = (0, 0);
    loop {
        match tokio::time::timeout(Duration::from_millis(1), stream.next(0)).await {
            Err(_) => given_up += 1,
            Ok(Ok(Event::Batch(batch))) => rows += batch.records.len(),
            Ok(Ok(Event::End(_))) => break,
            Ok(Ok(_)) => {}
            Ok(Err(error)) => panic!("{error}"),
        }
    }
    assert_eq!(rows, 80);
    assert!(given_up > 10, "{given_up}");
}

async fn a_closed_stream_stops_its_reader(trusted: bool) {
    let (_registry, connector) = dummy(&[("companies", "1000000")], trusted).await;
    let selection = everything(&connector).await;
    for _ in 0..50 {
        let mut stream = connector
            .read(read(&selection, &[], b""), None)
            .await
            .expect("a stream");
        stream.next(0).await.expect("an event");
    }
    // If readers went on, they would hold both threads.
    let (_, other) = dummy(&[], trusted).await;
    all(&other, b"").await;
    all(&dummy(&[("companies", "10")], trusted).await.1, b"").await;
}
