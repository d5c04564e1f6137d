//! Many instances at once, and repeatedly.

use futures_util::future::join_all;
use tether_connector_host::manifest::Isolation;
use tether_connector_host::proto::{CountRecordsRequest, DescribeRequest, ListFieldsRequest};

use super::check::Check;
use crate::connector::AMPLE;
use crate::finding::{Findings, Halt, Seen, Told as _};
use crate::measure::{Held, children};
use crate::rows::Rows;
use crate::stream::Stream;
use crate::world::World;

/// Number of times that an instance is opened and closed.
const CYCLES: usize = 200;
/// Child processes are slower, and the system cleans up after each.
const CHILD_CYCLES: usize = 10;
/// Streams of one process: each sends requests to the CRM.
const STREAM_CYCLES: usize = 60;
/// Cycles until allocators and pools stop growing.
const WARM_UP: usize = 20;
/// Allowed growth of memory, whatever the number of cycles: that of the allocator.
const SLACK: u64 = 8 * 1024 * 1024;

pub(super) const CONCURRENT: Check = Check {
    id: "life.concurrent",
    title: "calls and streams of one instance, at the same time, answer as they do alone",
    why: "One instance serves all groups: what one waits for, another must not.",
    spec: &["CALL-4", "LIFE-5"],
    run: |world| Box::pin(concurrent(world)),
};

pub(super) const GROWTH: Check = Check {
    id: "life.growth",
    title: "opening and closing leaves no thread, descriptor, memory or process behind",
    why: "A server that runs for months opens connectors anew after every failure.",
    spec: &["LIFE-6", "LIFE-7", "ISO-3"],
    run: |world| Box::pin(growth(world)),
};

async fn concurrent(world: &World) -> Seen {
    const STREAMS: usize = 3;
    const CALLS: usize = 8;
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let whole = world.whole(&connector).await?;
    let selection = world.selection(&connector).await?;
    let listed = world.listed(&connector).await?;
    let connection = world.log_in(&connector).await?;
    let streams = join_all((0..STREAMS).map(|_| async {
        let stream = Stream::open(&connector, &connection, &selection, b"").await?;
        let mut rows = Rows::default();
        stream.take(&mut rows, |_| false).await.map(|_| rows)
    }));
    let calls = join_all((0..CALLS).map(|_| async {
        let request = ListFieldsRequest {
            connection: Some(connection.clone()),
            objects: Vec::new(),
        };
        let fields = connector.list_fields(request, AMPLE).await?;
        let objects = selection
            .iter()
            .map(|selection| selection.object.clone())
            .collect();
        let request = CountRecordsRequest {
            connection: Some(connection.clone()),
            objects,
        };
        connector
            .count_records(request, AMPLE)
            .await
            .map(|_| fields.objects)
    }));
    let (streams, calls) = tokio::join!(streams, calls);
    for rows in streams {
        match rows {
            Ok(rows) => {
                if let Some(difference) = rows.difference(whole) {
                    findings.add(format!("a stream beside others: {difference}"));
                }
            }
            Err(failure) => findings.add(format!("a stream beside others: {failure}")),
        }
    }
    for fields in calls {
        match fields {
            Ok(fields) => findings.unless(fields == listed, || {
                "ListFields beside others answers differently".to_owned()
            }),
            Err(failure) => findings.add(format!("a call beside others: {failure}")),
        }
    }
    findings.done(format!("{STREAMS} streams, {CALLS} times two calls"))
}

/// One cycle of an instance; in some cycles a stream is left open.
async fn cycle(world: &World, number: usize) -> Result<(), Halt> {
    let connector = world.open().await?;
    connector
        .describe(DescribeRequest {}, AMPLE)
        .await
        .told("Describe")?;
    let stream = if number.is_multiple_of(20) {
        let selection = world.selection(&connector).await?;
        let connection = world.log_in(&connector).await?;
        let stream = Stream::open(&connector, &connection, &selection, b"")
            .await
            .told("Read")?;
        stream.next(0).await.told("a stream")?;
        Some(stream)
    } else {
        None
    };
    connector.raw.close().await;
    drop(stream);
    Ok(())
}

async fn growth(world: &World) -> Seen {
    match world.isolation {
        Isolation::InProcess => {
            for number in 0..WARM_UP {
                cycle(world, number).await?;
            }
            // Meanwhile the kit releases resources of earlier checks.
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            let Some(before) = Held::by(None) else {
                return Err(Halt::Lacks("this system has no /proc to measure with".to_owned()));
            };
            for number in 0..CYCLES {
                cycle(world, number).await?;
            }
            compare(
                before,
                Held::settled(None, before).await,
                CYCLES,
                "lives of an instance",
            )
        }
        Isolation::Child => {
            let kept = children();
            for number in 0..CHILD_CYCLES {
                cycle(world, number).await?;
            }
            let mut findings = Findings::default();
            let left = children().saturating_sub(kept);
            findings.unless(left == 0, || {
                format!("{left} processes are left after {CHILD_CYCLES} lives")
            });
            // Leaks of streams and calls within one process.
            let connector = world.open().await?;
            let process = connector.raw.process();
            let selection = world.selection(&connector).await?;
            let connection = world.log_in(&connector).await?;
            let turn = async || -> Result<(), Halt> {
                let stream = Stream::open(&connector, &connection, &selection, b"")
                    .await
                    .told("Read")?;
                stream.next(0).await.told("a stream")?;
                drop(stream);
                connector
                    .describe(DescribeRequest {}, AMPLE)
                    .await
                    .told("Describe")
                    .map(|_| ())
            };
            for _ in 0..WARM_UP {
                turn().await?;
            }
            world.quiet(std::time::Duration::from_secs(3)).await;
            let Some(before) = Held::by(process) else {
                return Err(Halt::Lacks("this system has no /proc to measure with".to_owned()));
            };
            for _ in 0..STREAM_CYCLES {
                turn().await?;
            }
            world.quiet(std::time::Duration::from_secs(3)).await;
            findings.part(compare(
                before,
                Held::settled(process, before).await,
                STREAM_CYCLES,
                "streams",
            ));
            findings.done(format!("{CHILD_CYCLES} processes, {STREAM_CYCLES} streams"))
        }
    }
}

fn compare(before: Held, after: Option<Held>, cycles: usize, what: &str) -> Seen {
    let mut findings = Findings::default();
    let Some(after) = after else {
        findings.add("its process ended");
        return findings.done("");
    };
    // A pool may grow by one; a leak grows with the cycles.
    let most = cycles / 20;
    let threads = after.threads.saturating_sub(before.threads);
    let descriptors = after.descriptors.saturating_sub(before.descriptors);
    let memory = after.memory.saturating_sub(before.memory);
    findings.unless(threads <= most, || {
        format!("{threads} more threads after {cycles} {what}")
    });
    findings.unless(descriptors <= most, || {
        format!("{descriptors} more descriptors after {cycles} {what}")
    });
    findings.unless(memory <= SLACK, || {
        format!(
            "{} KiB more memory after {cycles} {what}: {} KiB each",
            memory >> 10,
            (memory >> 10) / cycles as u64
        )
    });
    findings.done(format!(
        "{cycles} {what}: {threads} more threads, {descriptors} descriptors, {} KiB",
        memory >> 10
    ))
}
