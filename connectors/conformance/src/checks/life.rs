//! Many instances at once, and repeatedly.

use futures_util::future::join_all;
use tether_connector_host::manifest::Isolation;
use tether_connector_host::proto::{CountRecordsRequest, DescribeRequest, ListFieldsRequest};

use super::check::Check;
use crate::connector::CALL_TIMEOUT;
use crate::finding::{CheckResult, Context as _, Findings, Halt};
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
    title: "concurrent calls and streams of one instance return the same as single ones",
    why: "One instance serves all groups: one group must not wait for another.",
    spec: &["CALL-4", "LIFE-5"],
    run: |world| Box::pin(concurrent(world)),
};

pub(super) const GROWTH: Check = Check {
    id: "life.growth",
    title: "opening and closing releases all threads, descriptors, memory and processes",
    why: "A server runs for months, and opens connectors again after every failure.",
    spec: &["LIFE-6", "LIFE-7", "ISO-3"],
    run: |world| Box::pin(growth(world)),
};

async fn concurrent(world: &World) -> CheckResult {
    const STREAMS: usize = 3;
    const CALLS: usize = 8;
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let whole = world.full_read(&connector).await?;
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
        let fields = connector.list_fields(request, CALL_TIMEOUT).await?;
        let objects = selection
            .iter()
            .map(|selection| selection.object.clone())
            .collect();
        let request = CountRecordsRequest {
            connection: Some(connection.clone()),
            objects,
        };
        connector
            .count_records(request, CALL_TIMEOUT)
            .await
            .map(|_| fields.objects)
    }));
    let (streams, calls) = tokio::join!(streams, calls);
    for rows in streams {
        match rows {
            Ok(rows) => {
                if let Some(difference) = rows.difference(whole) {
                    findings.add(format!("a concurrent stream: {difference}"));
                }
            }
            Err(failure) => findings.add(format!("a concurrent stream: {failure}")),
        }
    }
    for fields in calls {
        match fields {
            Ok(fields) => findings.unless(fields == listed, || {
                "concurrent calls of ListFields return different answers".to_owned()
            }),
            Err(failure) => findings.add(format!("a concurrent call: {failure}")),
        }
    }
    findings.done(format!("{STREAMS} streams, {} calls", CALLS * 2))
}

/// One cycle of an instance; in some cycles a stream is left open.
async fn cycle(world: &World, number: usize) -> Result<(), Halt> {
    let connector = world.open().await?;
    connector
        .describe(DescribeRequest {}, CALL_TIMEOUT)
        .await
        .context("Describe")?;
    let stream = if number.is_multiple_of(20) {
        let selection = world.selection(&connector).await?;
        let connection = world.log_in(&connector).await?;
        let stream = Stream::open(&connector, &connection, &selection, b"")
            .await
            .context("Read")?;
        stream.next(0).await.context("a stream")?;
        Some(stream)
    } else {
        None
    };
    connector.raw.close().await;
    drop(stream);
    Ok(())
}

async fn growth(world: &World) -> CheckResult {
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
                Held::after_release(None, before).await,
                CYCLES,
                "instances",
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
                format!("{left} processes are left after {CHILD_CYCLES} instances")
            });
            // Leaks of streams and calls within one process.
            let connector = world.open().await?;
            let process = connector.raw.process();
            let selection = world.selection(&connector).await?;
            let connection = world.log_in(&connector).await?;
            let turn = async || -> Result<(), Halt> {
                let stream = Stream::open(&connector, &connection, &selection, b"")
                    .await
                    .context("Read")?;
                stream.next(0).await.context("a stream")?;
                drop(stream);
                connector
                    .describe(DescribeRequest {}, CALL_TIMEOUT)
                    .await
                    .context("Describe")
                    .map(|_| ())
            };
            for _ in 0..WARM_UP {
                turn().await?;
            }
            world.is_quiet(std::time::Duration::from_secs(3)).await;
            let Some(before) = Held::by(process) else {
                return Err(Halt::Lacks("this system has no /proc to measure with".to_owned()));
            };
            for _ in 0..STREAM_CYCLES {
                turn().await?;
            }
            world.is_quiet(std::time::Duration::from_secs(3)).await;
            findings.part(compare(
                before,
                Held::after_release(process, before).await,
                STREAM_CYCLES,
                "streams",
            ));
            findings.done(format!("{CHILD_CYCLES} processes, {STREAM_CYCLES} streams"))
        }
    }
}

fn compare(before: Held, after: Option<Held>, cycles: usize, what: &str) -> CheckResult {
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
