//! Cancellation, deadlines and closing.

use std::time::{Duration, Instant};

use prost::Message as _;
use tether_connector_host::proto::call_request::Call;
use tether_connector_host::proto::{CallRequest, ErrorKind, ReadMode, ReadRequest, stream_event::Event};
use tether_connector_host::raw;

use super::check::Check;
use super::trouble::targets;
use crate::connector::{self, AMPLE, Connector, Failure, GRACE, micros, now_us};
use crate::finding::{Findings, Seen, Told as _};
use crate::proxy::Which;
use crate::rows::Rows;
use crate::stream::Stream;
use crate::trouble::Trouble;
use crate::world::World;

/// Time limit for the answer to a cancelled call.
const CANCELLED_WITHIN: Duration = Duration::from_secs(1);
/// A short deadline.
const DEADLINE_MS: Duration = Duration::from_millis(700);
/// The host kills a child that takes longer to close.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

pub(super) const CANCEL: Check = Check {
    id: "time.cancel",
    title: "every call that is cancelled is answered within a second, and asks the CRM nothing more",
    why: "A page that was left must not go on spending the customer's allowance.",
    spec: &["TIME-3", "TIME-4", "CALL-1"],
    run: |world| Box::pin(cancel(world)),
};

pub(super) const DEADLINE: Check = Check {
    id: "time.deadline",
    title: "every call, and a stream, is answered by its deadline when the CRM does not answer",
    why: "A profile shows stored data when the CRM hangs; a connector that hangs with it is opened anew, and loses all calls.",
    spec: &["TIME-1", "TIME-2"],
    run: |world| Box::pin(deadline(world)),
};

pub(super) const PULLS: Check = Check {
    id: "time.pulls",
    title: "a cancelled pull loses no event; a second pull at a time is refused; a closed stream is over",
    why: "The server gives up a pull to look at something else, and takes the event with the next one.",
    spec: &["STREAM-2", "STREAM-4", "STREAM-5"],
    run: |world| Box::pin(pulls(world)),
};

pub(super) const CLOSE: Check = Check {
    id: "time.close",
    title: "closing answers every open call and pull, and nothing after",
    why: "The server waits for these answers when it drains; one that comes after its end is a crash in the making.",
    spec: &["LIFE-3", "LIFE-6", "CALL-1"],
    run: |world| Box::pin(close(world)),
};

async fn cancel(world: &World) -> Seen {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let targets = targets(world, &connector).await?;
    let unexpected = raw::unexpected_answers();
    for target in &targets {
        let call = target.call(world, &connector).await?;
        let place = world.proxy.as_ref().map_or(0, |proxy| proxy.count());
        if let Some(proxy) = &world.proxy {
            proxy.order(Trouble::Never, Which::From(1));
        }
        let name = target.name;
        let mut waiting = connector.start(call, AMPLE);
        asked(world, place).await;
        let seen = world.proxy.as_ref().map_or(0, |proxy| proxy.count());
        let began = Instant::now();
        waiting.cancel();
        let answer = connector.finish(name, &mut waiting, CANCELLED_WITHIN * 3).await;
        let took = began.elapsed();
        match answer {
            // The call may have completed just then, or may need no request to the CRM.
            Ok(_) => {}
            Err(failure) if failure.kind() == Some(ErrorKind::Cancelled) => {}
            Err(failure) => findings.add(format!("{name}, cancelled: {failure}; CANCELLED is right")),
        }
        findings.unless(took <= CANCELLED_WITHIN, || {
            format!(
                "{name}, cancelled, is answered after {} ms; a second is allowed",
                took.as_millis()
            )
        });
        waiting.cancel();
        if world.proxy.is_some() {
            tokio::time::sleep(Duration::from_millis(150)).await;
            let more = world.proxy.as_ref().map_or(0, |proxy| proxy.count()) - seen;
            findings.unless(more == 0, || {
                format!("{name} makes {more} requests after it was cancelled")
            });
        }
        if let Some(proxy) = &world.proxy {
            proxy.clear();
        }
    }
    twice(&mut findings, unexpected).await;
    alive(&mut findings, &connector).await;
    findings.done(format!("{} calls", targets.len()))
}

/// Waits until a call has sent all requests that it sends without an answer, or seems to send none.
async fn asked(world: &World, place: usize) {
    let Some(proxy) = &world.proxy else { return };
    let (mut seen, mut quiet) = (place, 0);
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = proxy.count();
        quiet = if now == seen { quiet + 1 } else { 0 };
        seen = now;
        // Concurrent requests arrive one by one; if none has arrived, it may still be on its way.
        if quiet >= if seen > place { 20 } else { 50 } {
            return;
        }
    }
}

/// Checks that no call was answered twice.
async fn twice(findings: &mut Findings, before: u64) {
    tokio::time::sleep(Duration::from_millis(100)).await;
    let more = raw::unexpected_answers() - before;
    findings.unless(more == 0, || {
        format!("{more} answers came that nobody waited for: a call is answered once")
    });
}

async fn alive(findings: &mut Findings, connector: &Connector) {
    if let Some(failure) = connector.raw.failure() {
        findings.add(format!("the instance failed: {failure}"));
    } else if let Err(failure) = connector.describe(Default::default(), AMPLE).await {
        findings.add(format!(
            "the instance does not answer Describe any more: {failure}"
        ));
    }
}

async fn deadline(world: &World) -> Seen {
    let proxy = world.network()?;
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let targets = targets(world, &connector).await?;
    for target in &targets {
        let name = target.name;
        let call = target.call(world, &connector).await?;
        proxy.order(Trouble::Never, Which::From(1));
        let began = Instant::now();
        let mut waiting = connector.start(call, DEADLINE_MS);
        let answer = connector
            .finish(name, &mut waiting, DEADLINE_MS + GRACE * 2)
            .await;
        kept(
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
    proxy.order(Trouble::Never, Which::From(1));
    let began = Instant::now();
    let request = CallRequest {
        deadline_us: now_us() + micros(DEADLINE_MS),
        call: Some(Call::Read(ReadRequest {
            connection: Some(connection),
            selection,
            mode: ReadMode::Full.into(),
            checkpoint: Vec::new(),
        })),
    };
    let mut waiting = connector.raw.call(&request.encode_to_vec());
    let opened = connector
        .finish("Read", &mut waiting, AMPLE)
        .await
        .told("Read, which must be answered without the CRM")?;
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
        kept(&mut findings, "a stream", began.elapsed(), DEADLINE_MS, end);
    }
    proxy.clear();
    alive(&mut findings, &connector).await;
    findings.done(format!(
        "{} calls and a stream, {} ms each",
        targets.len(),
        DEADLINE_MS.as_millis()
    ))
}

fn kept(
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
            "{name}, past its deadline: {failure}; DEADLINE_EXCEEDED is right"
        )),
    }
}

async fn pulls(world: &World) -> Seen {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let whole = world.whole(&connector).await?;
    let selection = world.selection(&connector).await?;
    let connection = world.log_in(&connector).await?;
    let stream = Stream::open(&connector, &connection, &selection, b"")
        .await
        .told("Read")?;
    let (mut rows, mut cancelled) = (Rows::default(), 0);
    loop {
        let acknowledged = rows.checkpoints.len() as u64;
        let mut pull = stream.pull(acknowledged);
        pull.cancel();
        let event = match stream.event(&mut pull, AMPLE).await {
            Err(failure) if failure.kind() == Some(ErrorKind::Cancelled) => {
                cancelled += 1;
                stream
                    .next(acknowledged)
                    .await
                    .told("the pull after a cancelled one")?
            }
            other => other.told("a cancelled pull")?,
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
    refused(&mut findings, &stream, "a pull after the end").await;

    let stream = Stream::open(&connector, &connection, &selection, b"")
        .await
        .told("Read")?;
    let mut rows = Rows::default();
    let mut refusals = 0;
    loop {
        let acknowledged = rows.checkpoints.len() as u64;
        let (mut first, mut second) = (stream.pull(acknowledged), stream.pull(acknowledged));
        let first = stream.event(&mut first, AMPLE).await;
        let second = stream.event(&mut second, AMPLE).await;
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
                Err(failure) => findings.add(format!("two pulls at a time: {failure}; BUG is right")),
            }
        }
        if ended || refusals > 100_000 {
            break;
        }
    }
    if let Some(difference) = rows.difference(whole) {
        findings.add(format!("with two pulls at a time: {difference}"));
    }
    let stream = Stream::open(&connector, &connection, &selection, b"")
        .await
        .told("Read")?;
    rows.take(stream.next(0).await.told("a stream")?);
    connector.raw.stream_close(stream.number);
    connector.raw.stream_close(stream.number);
    refused(&mut findings, &stream, "a pull of a closed stream").await;
    findings.unless(world.quiet(Duration::from_secs(3)).await, || {
        "a closed stream goes on asking the CRM".to_owned()
    });
    alive(&mut findings, &connector).await;
    findings.done(format!("{cancelled} cancelled, {refusals} refused"))
}

async fn refused(findings: &mut Findings, stream: &Stream, what: &str) {
    match stream.next(0).await {
        Ok(_) => findings.add(format!("{what} gives an event")),
        Err(failure) => findings.unless(failure.said().is_some(), || {
            format!("{what}: {failure}; CANCELLED is right")
        }),
    }
}

async fn close(world: &World) -> Seen {
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
            .told("Read")?,
        Stream::open(&connector, &connection, &selection, b"")
            .await
            .told("Read")?,
    ];
    let place = world.proxy.as_ref().map_or(0, |proxy| proxy.count());
    if let Some(proxy) = &world.proxy {
        proxy.order(Trouble::Never, Which::From(1));
    }
    let unexpected = raw::unexpected_answers();
    let mut open: Vec<_> = calls
        .into_iter()
        .map(|(name, call)| (name, connector.start(call, AMPLE)))
        .collect();
    let mut pulls: Vec<_> = streams.iter().map(|stream| stream.pull(0)).collect();
    asked(world, place).await;
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
    let (mut cancelled, mut done) = (0, 0);
    for (name, waiting) in &mut open {
        match connector.finish(name, waiting, at_once).await {
            Ok(_) => done += 1,
            Err(Failure::Silent(_) | Failure::Lost(_)) => {
                findings.add(format!(
                    "{name} was open and is not answered when closing has returned"
                ));
            }
            Err(_) => cancelled += 1,
        }
    }
    for (pull, stream) in pulls.iter_mut().zip(&streams) {
        match stream.event(pull, at_once).await {
            Ok(_) => done += 1,
            Err(Failure::Silent(_) | Failure::Lost(_)) => {
                findings.add("a pull was open and is not answered when closing has returned");
            }
            Err(_) => cancelled += 1,
        }
    }
    if let Some(proxy) = &world.proxy {
        proxy.clear();
    }
    // In process the numbers stay known: a pull is now answered as closed, or not at all.
    if connector.raw.process().is_none() {
        let late = connector.describe(Default::default(), connector::GRACE).await;
        if let Ok(_) | Err(Failure::Garbled(_)) = late {
            findings.add("a closed instance answers Describe");
        }
    }
    drop(streams);
    connector.raw.close().await;
    twice(&mut findings, unexpected).await;
    findings.done(format!(
        "{cancelled} cancelled, {done} done, in {} ms",
        took.as_millis()
    ))
}
