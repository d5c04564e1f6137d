//! Malformed requests.

use std::time::Duration;

use prost::Message as _;
use tether_connector_host::proto::call_request::Call;
use tether_connector_host::proto::{
    CallRequest, CallResponse, DescribeRequest, ErrorKind, ProvideCredentialsRequest, StreamEvent,
    call_response::Result as Answer, stream_event::Event,
};
use tether_connector_host::raw;
use tokio::time::timeout;

use super::check::Check;
use crate::connector::{AMPLE, Connector};
use crate::finding::{Findings, Seen, Told as _};
use crate::stream::Stream;
use crate::world::World;

/// Field 2047, a varint, as a future version might add: key 16376 in two bytes, value 1.
const UNKNOWN_FIELD: &[u8] = &[0xf8, 0x7f, 0x01];
/// Time limit for an answer that needs no work.
const SOON: Duration = Duration::from_secs(5);
/// A number that was never assigned.
const MADE_UP: u64 = 0x7e57_0000_dead_beef;

pub(super) const GARBAGE: Check = Check {
    id: "door.garbage",
    title: "requests that are no messages are answered with errors; unknown fields and calls are borne",
    why: "A newer server says more than this library knows; neither that nor a broken message may crash it.",
    spec: &["CALL-2", "CALL-3", "VER-3", "ERR-7"],
    run: |world| Box::pin(garbage(world)),
};

pub(super) const NUMBERS: Check = Check {
    id: "door.numbers",
    title: "numbers of instances, calls and streams that were never given are harmless",
    why: "The server and the connector race: a stream is closed while it is pulled, a call cancelled when it is done.",
    spec: &["LIFE-3", "CALL-6", "STREAM-2", "TIME-3"],
    run: |world| Box::pin(numbers(world)),
};

/// The error of an answer to a call; None for any other answer.
async fn answered(waiting: raw::Waiting) -> Result<CallResponse, String> {
    let mut waiting = waiting;
    match timeout(SOON, waiting.answer()).await {
        Err(_) => Err("no answer".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(answer)) => {
            CallResponse::decode(answer).map_err(|_| "the answer is not a CallResponse".to_owned())
        }
    }
}

fn kind(answer: &CallResponse) -> Option<ErrorKind> {
    match &answer.result {
        Some(Answer::Error(error)) => Some(error.what()),
        _ => None,
    }
}

async fn garbage(world: &World) -> Seen {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let describe = CallRequest {
        deadline_us: 0,
        call: Some(Call::Describe(DescribeRequest {})),
    }
    .encode_to_vec();
    let cut = &describe[..describe.len() - 1];
    // A length beyond the end, an unterminated group, a text that is not UTF-8.
    let broken: [(&str, &[u8]); 4] = [
        ("bytes that are no message", b"\xff\xff\xff\xff garbage"),
        ("a length beyond the end", b"\x12\xff\xff\xff\xff\x0f"),
        ("a message that breaks off", cut),
        ("a text that is not UTF-8", b"\x1a\x06\x12\x04\xff\xfe\xfd\xfc"),
    ];
    for (what, request) in broken {
        let expected = [ErrorKind::Bug, ErrorKind::Unsupported, ErrorKind::InvalidInput];
        match answered(connector.raw.call(request)).await {
            Ok(answer) => findings.unless(kind(&answer).is_some_and(|kind| expected.contains(&kind)), || {
                format!("{what}: {}; an error of the kind BUG is right", words(&answer))
            }),
            Err(why) => findings.add(format!("{what}: {why}")),
        }
    }
    // No call, and a call of a future version.
    for (what, request) in [
        ("a request without a call", &b""[..]),
        ("an unknown call", UNKNOWN_FIELD),
    ] {
        match answered(connector.raw.call(request)).await {
            Ok(answer) => findings.unless(kind(&answer) == Some(ErrorKind::Unsupported), || {
                format!("{what}: {}; UNSUPPORTED is right", words(&answer))
            }),
            Err(why) => findings.add(format!("{what}: {why}")),
        }
    }
    let newer = [&describe, UNKNOWN_FIELD].concat();
    match answered(connector.raw.call(&newer)).await {
        Ok(answer) => findings.unless(matches!(answer.result, Some(Answer::Describe(_))), || {
            format!(
                "Describe with a field of a later contract: {}; it must be ignored",
                words(&answer)
            )
        }),
        Err(why) => findings.add(format!("Describe with a field of a later contract: {why}")),
    }
    // A pull with invalid bytes: an event or an error, but no crash.
    let selection = world.selection(&connector).await?;
    let connection = world.log_in(&connector).await?;
    let stream = Stream::open(&connector, &connection, &selection, b"")
        .await
        .told("Read")?;
    let mut pull = connector
        .raw
        .stream_next(stream.number, b"\xff\xff\xff\xff garbage");
    match timeout(SOON, pull.answer()).await {
        Ok(Ok(answer)) if StreamEvent::decode(answer.clone()).is_ok_and(|event| event.event.is_some()) => {}
        Ok(Ok(_)) => findings.add("a pull that is no message: the answer is not a StreamEvent"),
        Ok(Err(error)) => findings.add(format!("a pull that is no message: {error}")),
        Err(_) => findings.add("a pull that is no message: no answer"),
    }
    drop(stream);
    alive(&mut findings, &connector).await;
    findings.done("8 requests, 1 pull")
}

fn words(answer: &CallResponse) -> String {
    match &answer.result {
        Some(Answer::Error(error)) => format!("{} ({error})", error.label().to_uppercase()),
        Some(_) => "it is answered as if it were one".to_owned(),
        None => "the answer is empty".to_owned(),
    }
}

async fn numbers(world: &World) -> Seen {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    for call in [0, 1, MADE_UP, u64::MAX] {
        connector.raw.cancel(call);
    }
    for stream in [0, MADE_UP, u64::MAX] {
        connector.raw.stream_close(stream);
        match Stream::of(&connector, stream).next(0).await {
            Ok(Event::End(_)) | Err(crate::connector::Failure::Said(_)) => {}
            Ok(_) => findings.add(format!("a pull of the made-up stream {stream} gives an event")),
            Err(failure) => findings.add(format!(
                "a pull of the made-up stream {stream}: {failure}; CANCELLED is right"
            )),
        }
        let request = ProvideCredentialsRequest {
            stream,
            ..Default::default()
        };
        match connector.provide_credentials(request, AMPLE).await {
            Ok(_) => findings.add(format!("credentials for the made-up stream {stream} are taken")),
            Err(failure) => findings.unless(failure.said().is_some(), || {
                format!("credentials for the made-up stream {stream}: {failure}; an error is right")
            }),
        }
    }
    let describe = CallRequest {
        deadline_us: 0,
        call: Some(Call::Describe(DescribeRequest {})),
    }
    .encode_to_vec();
    let mut seen = "calls and streams";
    for instance in [0, MADE_UP, u64::MAX] {
        let Some(waiting) = connector.raw.call_of(instance, &describe) else {
            continue;
        };
        seen = "instances, calls and streams";
        match answered(waiting).await {
            Ok(answer) => findings.unless(kind(&answer).is_some(), || {
                format!(
                    "a call on the made-up instance {instance}: {}; CANCELLED is right",
                    words(&answer)
                )
            }),
            Err(why) => findings.add(format!(
                "a call on the made-up instance {instance}: {why}; CANCELLED is right"
            )),
        }
    }
    alive(&mut findings, &connector).await;
    findings.done(seen)
}

async fn alive(findings: &mut Findings, connector: &Connector) {
    if let Some(failure) = connector.raw.failure() {
        findings.add(format!("the instance failed: {failure}"));
    } else if let Err(failure) = connector.describe(DescribeRequest {}, AMPLE).await {
        findings.add(format!(
            "after it the instance does not answer Describe: {failure}"
        ));
    }
}
