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
use crate::connector::{CALL_TIMEOUT, Connector};
use crate::finding::{CheckResult, Context as _, Findings};
use crate::stream::Stream;
use crate::world::World;

/// Field 2047, a varint, as a future version might add: key 16376 in two bytes, value 1.
const UNKNOWN_FIELD: &[u8] = &[0xf8, 0x7f, 0x01];
/// Time limit for an answer that needs no work.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A number that was never assigned.
const NEVER_ASSIGNED: u64 = 0x7e57_0000_dead_beef;

pub(super) const MALFORMED: Check = Check {
    id: "request.malformed",
    title: "malformed requests are answered with errors; unknown fields are ignored, unknown calls refused",
    why: "A newer server sends fields and calls that this library does not know; neither they nor a malformed message may crash it.",
    spec: &["CALL-2", "CALL-3", "VER-3", "ERR-7"],
    run: |world| Box::pin(malformed(world)),
};

pub(super) const NUMBERS: Check = Check {
    id: "request.numbers",
    title: "numbers of instances, calls and streams that were never assigned are refused or ignored",
    why: "Server and connector run concurrently: a stream is closed during a pull, a call is cancelled after its end.",
    spec: &["LIFE-3", "CALL-6", "STREAM-2", "TIME-3"],
    run: |world| Box::pin(numbers(world)),
};

/// The error of an answer to a call; None for any other answer.
async fn answered(waiting: raw::Waiting) -> Result<CallResponse, String> {
    let mut waiting = waiting;
    match timeout(ANSWER_TIMEOUT, waiting.answer()).await {
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

async fn malformed(world: &World) -> CheckResult {
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
        ("random bytes", b"\xff\xff\xff\xff no message"),
        ("a length beyond the end", b"\x12\xff\xff\xff\xff\x0f"),
        ("a truncated message", cut),
        ("a text that is not UTF-8", b"\x1a\x06\x12\x04\xff\xfe\xfd\xfc"),
    ];
    for (what, request) in broken {
        let expected = [ErrorKind::Bug, ErrorKind::Unsupported, ErrorKind::InvalidInput];
        match answered(connector.raw.call(request)).await {
            Ok(answer) => findings.unless(kind(&answer).is_some_and(|kind| expected.contains(&kind)), || {
                format!(
                    "{what}: {}; expected an error of the kind BUG",
                    answer_text(&answer)
                )
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
                format!("{what}: {}; expected UNSUPPORTED", answer_text(&answer))
            }),
            Err(why) => findings.add(format!("{what}: {why}")),
        }
    }
    let newer = [&describe, UNKNOWN_FIELD].concat();
    match answered(connector.raw.call(&newer)).await {
        Ok(answer) => findings.unless(matches!(answer.result, Some(Answer::Describe(_))), || {
            format!(
                "Describe with a field of a later contract: {}; expected that the field is ignored",
                answer_text(&answer)
            )
        }),
        Err(why) => findings.add(format!("Describe with a field of a later contract: {why}")),
    }
    // A pull with invalid bytes: an event or an error, but no crash.
    let selection = world.selection(&connector).await?;
    let connection = world.log_in(&connector).await?;
    let stream = Stream::open(&connector, &connection, &selection, b"")
        .await
        .context("Read")?;
    let mut pull = connector
        .raw
        .stream_next(stream.number, b"\xff\xff\xff\xff no message");
    match timeout(ANSWER_TIMEOUT, pull.answer()).await {
        Ok(Ok(answer)) if StreamEvent::decode(answer.clone()).is_ok_and(|event| event.event.is_some()) => {}
        Ok(Ok(_)) => findings.add("a malformed pull: the answer is not a StreamEvent"),
        Ok(Err(error)) => findings.add(format!("a malformed pull: {error}")),
        Err(_) => findings.add("a malformed pull: no answer"),
    }
    drop(stream);
    check_instance(&mut findings, &connector).await;
    findings.done("8 requests, 1 pull")
}

fn answer_text(answer: &CallResponse) -> String {
    match &answer.result {
        Some(Answer::Error(error)) => format!("{} ({error})", error.label().to_uppercase()),
        Some(_) => "it succeeds".to_owned(),
        None => "the answer is empty".to_owned(),
    }
}

async fn numbers(world: &World) -> CheckResult {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    for call in [0, 1, NEVER_ASSIGNED, u64::MAX] {
        connector.raw.cancel(call);
    }
    for stream in [0, NEVER_ASSIGNED, u64::MAX] {
        connector.raw.stream_close(stream);
        match Stream::of(&connector, stream).next(0).await {
            Ok(Event::End(_)) | Err(crate::connector::Failure::Reported(_)) => {}
            Ok(_) => findings.add(format!(
                "a pull of the unassigned stream {stream} returns an event"
            )),
            Err(failure) => findings.add(format!(
                "a pull of the unassigned stream {stream}: {failure}; expected CANCELLED"
            )),
        }
        let request = ProvideCredentialsRequest {
            stream,
            ..Default::default()
        };
        match connector.provide_credentials(request, CALL_TIMEOUT).await {
            Ok(_) => findings.add(format!(
                "credentials for the unassigned stream {stream} are accepted"
            )),
            Err(failure) => findings.unless(failure.reported().is_some(), || {
                format!("credentials for the unassigned stream {stream}: {failure}; expected an error")
            }),
        }
    }
    let describe = CallRequest {
        deadline_us: 0,
        call: Some(Call::Describe(DescribeRequest {})),
    }
    .encode_to_vec();
    let mut seen = "calls and streams";
    for instance in [0, NEVER_ASSIGNED, u64::MAX] {
        let Some(waiting) = connector.raw.call_of(instance, &describe) else {
            continue;
        };
        seen = "instances, calls and streams";
        match answered(waiting).await {
            Ok(answer) => findings.unless(kind(&answer).is_some(), || {
                format!(
                    "a call on the unassigned instance {instance}: {}; expected CANCELLED",
                    answer_text(&answer)
                )
            }),
            Err(why) => findings.add(format!(
                "a call on the unassigned instance {instance}: {why}; expected CANCELLED"
            )),
        }
    }
    check_instance(&mut findings, &connector).await;
    findings.done(seen)
}

async fn check_instance(findings: &mut Findings, connector: &Connector) {
    if let Some(failure) = connector.raw.failure() {
        findings.add(format!("the instance failed: {failure}"));
    } else if let Err(failure) = connector.describe(DescribeRequest {}, CALL_TIMEOUT).await {
        findings.add(format!(
            "afterwards the instance does not answer Describe: {failure}"
        ));
    }
}
