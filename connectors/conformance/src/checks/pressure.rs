//! A host that does not pull.

use std::time::Duration;

use super::check::Check;
use crate::finding::{CheckResult, Context as _, Findings, fails};
use crate::measure::Held;
use crate::rows::Rows;
use crate::stream::Stream;
use crate::world::World;

/// More memory than a bounded stream can need.
const MOST_MEMORY: u64 = 256 * 1024 * 1024;

pub(super) const BOUNDED: Check = Check {
    id: "pressure.bounded",
    title: "a stream without pulls stops sending requests, and continues with the next pull",
    why: "A database that is slower than the CRM would otherwise fill the memory, and use up the customer's allowance.",
    spec: &["STREAM-6"],
    run: |world| Box::pin(bounded(world)),
};

async fn bounded(world: &World) -> CheckResult {
    let proxy = world.network()?;
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let whole = world.full_read(&connector).await?;
    let selection = world.selection(&connector).await?;
    let connection = world.log_in(&connector).await?;
    let process = connector.raw.process();
    let before = Held::by(process);
    let requests_before = proxy.count();
    let stream = Stream::open(&connector, &connection, &selection, b"")
        .await
        .context("Read")?;
    let mut rows = Rows::default();
    rows.take(stream.next(0).await.context("the first event")?);
    let quiet = proxy
        .quiet(Duration::from_millis(700), Duration::from_secs(10))
        .await;
    let unpulled = proxy.count() - requests_before;
    if !quiet {
        return Err(fails(format!(
            "{unpulled} requests in 10 seconds without a pull, and still more"
        )));
    }
    if let (Some(before), Some(after)) = (before, Held::by(process)) {
        let grown = after.memory.saturating_sub(before.memory);
        findings.unless(grown <= MOST_MEMORY, || {
            format!("the process grew by {} MiB meanwhile", grown >> 20)
        });
    }
    stream
        .take(&mut rows, |_| false)
        .await
        .context("the stream after the pause")?;
    let all = proxy.count() - requests_before;
    findings.unless(unpulled < all, || {
        format!(
            "the whole read ({all} requests, {} events) was made without pulls: at most 4 events may be prepared in \
             advance, or the fixture has too few records",
            rows.events
        )
    });
    if let Some(difference) = rows.difference(whole) {
        findings.add(format!("after the pause: {difference}"));
    }
    findings.done(format!("{unpulled} of {all} requests without a pull"))
}
