//! Cancellation, deadlines and closing.

use std::time::{Duration, Instant};

use prost::Message as _;
use tether_connector_host::proto::call_request::Call;
use tether_connector_host::proto::{CallRequest, ErrorKind, ReadMode, ReadRequest, stream_event::Event};
use tether_connector_host::raw;

use super::check::Check;
use super::fault::targets;
use crate::connector::{self, CALL_TIMEOUT, Connector, Failure, GRACE, micros, now_us};
use crate::fault::Fault;
use crate::finding::{CheckResult, Context as _, Findings};
use crate::proxy::Which;
use crate::rows::Rows;
use crate::stream::Stream;
use crate::world::World;

/// Time limit for the answer to a cancelled call.
const CANCELLED_WITHIN: Duration = Duration::from_secs(1);
/// A short deadline.
const DEADLINE_MS: Duration = Duration::from_millis(700);
/// The host kills a child that takes longer to close.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

pub(super) const CANCEL: Check = Check {
    id: "time.cancel",
    title: "a cancelled call is answered within a second, and sends no further request",
    why: "A request that the user no longer waits for must not use the customer's allowance.",
    spec: &["TIME-3", "TIME-4", "CALL-1"],
    run: |world| Box::pin(cancel(world)),
};

pub(super) const DEADLINE: Check = Check {
    id: "time.deadline",
    title: "every call, and a stream, is answered by its deadline when the CRM does not answer",
    why: "A profile shows stored data when the CRM hangs; a connector that hangs with it is restarted, and all its calls fail.",
    spec: &["TIME-1", "TIME-2"],
    run: |world| Box::pin(deadline(world)),
};

pub(super) const PULLS: Check = Check {
    id: "time.pulls",
    title: "a cancelled pull loses no event; a second concurrent pull is refused; a closed stream gives no events",
    why: "The server cancels a pull to do other work, and receives the event with the next one.",
    spec: &["STREAM-2", "STREAM-4", "STREAM-5"],
    run: |world| Box::pin(pulls(world)),
};

pub(super) const CLOSE: Check = Check {
    id: "time.close",
    title: "closing answers every open call and pull, and there is no answer afterwards",
    why: "The server waits for these answers when it stops; an answer after the end may crash it.",
    spec: &["LIFE-3", "LIFE-6", "CALL-1"],
    run: |world| Box::pin(close(world)),
};

async fn cancel(world: &World) -> CheckResult {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let targets = targets(world, &connector).await?;
    let unexpected = raw::unexpected_answers();
    for target in &targets {
        let call = target.call(world, &connector).await?;
        let requests_before = world.proxy.as_ref().map_or(0, |proxy| proxy.count());
        if let Some(proxy) = &world.proxy {
            proxy.inject(Fault::NoAnswer, Which::From(1));
        }
        let name = target.name;
        let mut waiting = connector.start(call, CALL_TIMEOUT);
        wait_for_requests(world, requests_before).await;
        let seen = world.proxy.as_ref().map_or(0, |proxy| proxy.count());
        let began = Instant::now();
        waiting.cancel();
        let answer = connector.finish(name, &mut waiting, CANCELLED_WITHIN * 3).await;
        let took = began.elapsed();
        match answer {
            // The call may have completed just then, or may need no request to the CRM.
            Ok(_) => {}
            Err(failure) if failure.kind() == Some(ErrorKind::Cancelled) => {}
            Err(failure) => findings.add(format!("{name}, cancelled: {failure}; expected CANCELLED")),
        }
        findings.unless(took <= CANCELLED_WITHIN, || {
            format!(
                "{name}, cancelled, is answered after {} ms; 1,000 are allowed",
                took.as_millis()
            )
        });
        waiting.cancel();
        if world.proxy.is_some() {
            tokio::time::sleep(Duration::from_millis(150)).await;
            let more = world.proxy.as_ref().map_or(0, |proxy| proxy.count()) - seen;
            findings.unless(more == 0, || {
                format!("{name} sends {more} requests after it was cancelled")
            });
        }
        if let Some(proxy) = &world.proxy {
            proxy.clear();
        }
    }
    check_answered_once(&mut findings, unexpected).await;
    check_instance(&mut findings, &connector).await;
    findings.done(format!("{} calls", targets.len()))
}

/// Waits until a call has sent all requests that it sends without an answer, or seems to send none.
async fn wait_for_requests(world: &World, requests_before: usize) {
    let Some(proxy) = &world.proxy else { return };
    let (mut seen, mut quiet) = (requests_before, 0);
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = proxy.count();
        quiet = if now == seen { quiet + 1 } else { 0 };
        seen = now;
        // Concurrent requests arrive one by one; if none has arrived, it may still be on its way.
        if quiet >= if seen > requests_before { 20 } else { 50 } {
            return;
        }
    }
}

/// Checks that no call was answered twice.
async fn check_answered_once(findings: &mut Findings, before: u64) {
    tokio::time::sleep(Duration::from_millis(100)).await;
    let more = raw::unexpected_answers() - before;
    findings.unless(more == 0, || {
        format!("{more} answers for completed calls: each call must be answered once")
    });
}

async fn check_instance(findings: &mut Findings, connector: &Connector) {
    if let Some(failure) = connector.raw.failure() {
        findings.add(format!("the instance failed: {failure}"));
    } else if let Err(failure) = connector.describe(Default::default(), CALL_TIMEOUT).await {
        findings.add(format!(
            "the instance does not answer Describe any more: {failure}"
        ));
    }
}

async fn deadline(world: &World) -> CheckResult {
    let proxy = world.network()?;
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let targets = targets(world, &connector).await?;
    for target in &targets {
        let name = target.name;
        let call = target.call(world, &connector).await?;
        proxy.inject(Fault::NoAnswer, Which::From(1));
        let began = Instant::now();
        let mut waiting = connector.start(call, DEADLINE_MS);
        let answer = connector
            .finish(name, &mut waiting, DEADLINE_MS + GRACE * 2)
            .await;
        check_deadline(
            &mut findings,
            name,
            began.elapsed(),
            DEADLINE_MS,
            answer.map(|_| ()),
        );
        proxy.clear();
    }
    let selection = world.selection(&connector).await?;
    let connection = world.log_in(&connector).await?;
    proxy.inject(Fault::NoAnswer, Which::From(1));
    let began = Instant::now();
    let request = CallRequest {
        deadline_us: now_us() + micros(DEADLINE_MS),
        call: Some(Call::Read(ReadRequest {
            connection: Some(connection),
            selection,
            mode: ReadMode::Full.into(),
            checkpoint: Vec::new(),
            ..ReadRequest::default()
        })),
    };
    let mut waiting = connector.raw.call(&request.encode_to_vec());
    let opened = connector
        .finish("Read", &mut waiting, CALL_TIMEOUT)
        .await
        .context("Read, which must be answered without a request to the CRM")?;
    if let tether_connector_host::proto::call_response::Result::Read(opened) = opened {
        let stream = Stream::of(&connector, opened.stream);
        let end = loop {
            let mut pull = stream.pull(0);
            match stream.event(&mut pull, DEADLINE_MS + GRACE * 2).await {
                Ok(Event::End(_)) => break Ok(()),
                Ok(_) => {}
                Err(failure) => break Err(failure),
            }
        };
        check_deadline(&mut findings, "a stream", began.elapsed(), DEADLINE_MS, end);
    }
    proxy.clear();
    check_instance(&mut findings, &connector).await;
    findings.done(format!(
        "{} calls and a stream, {} ms each",
        targets.len(),
        DEADLINE_MS.as_millis()
    ))
}

fn check_deadline(
    findings: &mut Findings,
    name: &str,
    took: Duration,
    deadline: Duration,
    answer: Result<(), Failure>,
) {
    let late = took > deadline + GRACE;
    findings.unless(!late, || {
        format!(
            "{name}: the deadline was after {} ms, the answer came after {}",
            deadline.as_millis(),
            took.as_millis()
        )
    });
    match answer {
        // The call needs no request to the CRM.
        Ok(()) => {}
        Err(failure)
            if matches!(
                failure.kind(),
                Some(ErrorKind::DeadlineExceeded | ErrorKind::Transient)
            ) => {}
        Err(failure) => findings.add(format!(
            "{name}, past its deadline: {failure}; expected DEADLINE_EXCEEDED"
        )),
    }
}

async fn pulls(world: &World) -> CheckResult {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let whole = world.full_read(&connector).await?;
    let selection = world.selection(&connector).await?;
    let connection = world.log_in(&connector).await?;
    let stream = Stream::open(&connector, &connection, &selection, b"")
        .await
        .context("Read")?;
    let (mut rows, mut cancelled) = (Rows::default(), 0);
    loop {
        let acknowledged = rows.checkpoints.len() as u64;
        let mut pull = stream.pull(acknowledged);
        pull.cancel();
        let event = match stream.event(&mut pull, CALL_TIMEOUT).await {
            Err(failure) if failure.kind() == Some(ErrorKind::Cancelled) => {
                cancelled += 1;
                stream
                    .next(acknowledged)
                    .await
                    .context("the pull after a cancelled one")?
            }
            other => other.context("a cancelled pull")?,
        };
        let ended = matches!(event, Event::End(_));
        rows.take(event);
        if ended {
            break;
        }
    }
    if let Some(difference) = rows.difference(whole) {
        findings.add(format!("with every pull cancelled and repeated: {difference}"));
    }
    // After the end a pull must be answered with an error.
    expect_refused(&mut findings, &stream, "a pull after the end").await;

    let stream = Stream::open(&connector, &connection, &selection, b"")
        .await
        .context("Read")?;
    let mut rows = Rows::default();
    let mut refusals = 0;
    loop {
        let acknowledged = rows.checkpoints.len() as u64;
        let (mut first, mut second) = (stream.pull(acknowledged), stream.pull(acknowledged));
        let first = stream.event(&mut first, CALL_TIMEOUT).await;
        let second = stream.event(&mut second, CALL_TIMEOUT).await;
        let mut ended = false;
        for event in [first, second] {
            match event {
                Ok(event) => {
                    ended |= matches!(event, Event::End(_));
                    rows.take(event);
                }
                // The second pull, or one after the end.
                Err(failure) if matches!(failure.kind(), Some(ErrorKind::Bug | ErrorKind::Cancelled)) => {
                    refusals += 1
                }
                Err(failure) => findings.add(format!("two concurrent pulls: {failure}; expected BUG")),
            }
        }
        if ended || refusals > 100_000 {
            break;
        }
    }
    if let Some(difference) = rows.difference(whole) {
        findings.add(format!("with two concurrent pulls: {difference}"));
    }
    let stream = Stream::open(&connector, &connection, &selection, b"")
        .await
        .context("Read")?;
    rows.take(stream.next(0).await.context("a stream")?);
    connector.raw.stream_close(stream.number);
    connector.raw.stream_close(stream.number);
    expect_refused(&mut findings, &stream, "a pull of a closed stream").await;
    findings.unless(world.is_quiet(Duration::from_secs(3)).await, || {
        "a closed stream still sends requests to the CRM".to_owned()
    });
    check_instance(&mut findings, &connector).await;
    findings.done(format!("{cancelled} cancelled, {refusals} refused"))
}

async fn expect_refused(findings: &mut Findings, stream: &Stream, what: &str) {
    match stream.next(0).await {
        Ok(_) => findings.add(format!("{what} returns an event")),
        Err(failure) => findings.unless(failure.reported().is_some(), || {
            format!("{what}: {failure}; expected CANCELLED")
        }),
    }
}

async fn close(world: &World) -> CheckResult {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let targets = targets(world, &connector).await?;
    let selection = world.selection(&connector).await?;
    let connection = world.log_in(&connector).await?;
    let mut calls = Vec::new();
    for target in &targets {
        calls.push((target.name, target.call(world, &connector).await?));
    }
    let streams = [
        Stream::open(&connector, &connection, &selection, b"")
            .await
            .context("Read")?,
        Stream::open(&connector, &connection, &selection, b"")
            .await
            .context("Read")?,
    ];
    let requests_before = world.proxy.as_ref().map_or(0, |proxy| proxy.count());
    if let Some(proxy) = &world.proxy {
        proxy.inject(Fault::NoAnswer, Which::From(1));
    }
    let unexpected = raw::unexpected_answers();
    let mut open: Vec<_> = calls
        .into_iter()
        .map(|(name, call)| (name, connector.start(call, CALL_TIMEOUT)))
        .collect();
    let mut pulls: Vec<_> = streams.iter().map(|stream| stream.pull(0)).collect();
    wait_for_requests(world, requests_before).await;
    let began = Instant::now();
    connector.raw.close().await;
    let took = began.elapsed();
    findings.unless(took <= CLOSED_WITHIN, || {
        format!(
            "closing takes {} ms with {} calls open; 5 seconds are allowed",
            took.as_millis(),
            open.len()
        )
    });
    let at_once = Duration::from_millis(100);
    let (mut cancelled, mut completed) = (0, 0);
    for (name, waiting) in &mut open {
        match connector.finish(name, waiting, at_once).await {
            Ok(_) => completed += 1,
            Err(Failure::TimedOut(_) | Failure::Lost(_)) => {
                findings.add(format!("{name} was open and had no answer when closing returned"));
            }
            Err(_) => cancelled += 1,
        }
    }
    for (pull, stream) in pulls.iter_mut().zip(&streams) {
        match stream.event(pull, at_once).await {
            Ok(_) => completed += 1,
            Err(Failure::TimedOut(_) | Failure::Lost(_)) => {
                findings.add("a pull was open and had no answer when closing returned");
            }
            Err(_) => cancelled += 1,
        }
    }
    if let Some(proxy) = &world.proxy {
        proxy.clear();
    }
    // In process the instance's number stays known: a call is refused now, or not answered.
    if connector.raw.process().is_none() {
        let late = connector.describe(Default::default(), connector::GRACE).await;
        if let Ok(_) | Err(Failure::Malformed(_)) = late {
            findings.add("a closed instance still answers Describe");
        }
    }
    drop(streams);
    connector.raw.close().await;
    check_answered_once(&mut findings, unexpected).await;
    findings.done(format!(
        "{cancelled} cancelled, {completed} completed, in {} ms",
        took.as_millis()
    ))
}
