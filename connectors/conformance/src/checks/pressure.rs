//! A host that does not pull.

use std::time::Duration;

use super::check::Check;
use crate::finding::{Findings, Seen, Told as _, fails};
use crate::measure::Held;
use crate::rows::Rows;
use crate::stream::Stream;
use crate::world::World;

/// More memory than a bounded stream can need.
const MOST_MEMORY: u64 = 256 * 1024 * 1024;

pub(super) const BOUNDED: Check = Check {
    id: "pressure.bounded",
    title: "a stream that nobody pulls stops asking the CRM, and goes on when it is pulled",
    why: "A database that is slower than the CRM would otherwise fill the memory, and burn the customer's allowance.",
    spec: &["STREAM-6"],
    run: |world| Box::pin(bounded(world)),
};

async fn bounded(world: &World) -> Seen {
    let proxy = world.network()?;
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let whole = world.whole(&connector).await?;
    let selection = world.selection(&connector).await?;
    let connection = world.log_in(&connector).await?;
    let process = connector.raw.process();
    let before = Held::by(process);
    let place = proxy.count();
    let stream = Stream::open(&connector, &connection, &selection, b"")
        .await
        .told("Read")?;
    let mut rows = Rows::default();
    rows.take(stream.next(0).await.told("the first event")?);
    let quiet = proxy
        .quiet(Duration::from_millis(700), Duration::from_secs(10))
        .await;
    let unpulled = proxy.count() - place;
    if !quiet {
        return Err(fails(format!(
            "{unpulled} requests in 10 seconds without a pull, and no end of it"
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
        .told("the stream, pulled again")?;
    let all = proxy.count() - place;
    findings.unless(unpulled < all, || {
        format!(
            "the whole read ({all} requests, {} events) was made while nobody pulled: at most 4 events may be prepared \
             ahead, or the fixture is too small to show it",
            rows.events
        )
    });
    if let Some(difference) = rows.difference(whole) {
        findings.add(format!("after the pause: {difference}"));
    }
    findings.done(format!("{unpulled} of {all} requests without a pull"))
}
