//! Resuming streams.

use tether_connector_host::proto::{ErrorKind, stream_event::Event};

use super::check::Check;
use crate::finding::{CheckResult, Context as _, Findings, fails};
use crate::rows::Rows;
use crate::stream::Stream;
use crate::world::World;

pub(super) const EVERY: Check = Check {
    id: "resume.every",
    title: "a read resumes from every checkpoint, in a new instance, and returns the same records",
    why: "Deployments and crashes interrupt syncs; records that are skipped then stay missing.",
    spec: &["CKPT-3", "CKPT-4", "LIFE-9"],
    run: |world| Box::pin(every(world)),
};

pub(super) const KILLED: Check = Check {
    id: "resume.killed",
    title: "killed after every checkpoint, with a pull in progress, a read still returns the same records",
    why: "A process may be killed at any time, and again while it recovers.",
    spec: &["CKPT-4", "ISO-3", "ISO-4"],
    run: |world| Box::pin(killed(world)),
};

pub(super) const INVALID_CHECKPOINT: Check = Check {
    id: "resume.invalid-checkpoint",
    title: "an invalid checkpoint restarts the read or is refused",
    why: "After an update, a connector receives checkpoints of its earlier version; they must not fail a sync permanently.",
    spec: &["CKPT-5", "VER-5", "ERR-7"],
    run: |world| Box::pin(invalid_checkpoint(world)),
};

async fn every(world: &World) -> CheckResult {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let whole = world.full_read(&connector).await?;
    let selection = world.selection(&connector).await?;
    for (at, (sequence, state, _)) in whole.checkpoints.iter().enumerate() {
        let fresh = world.open().await?;
        let connection = world.log_in(&fresh).await?;
        let resumed = async {
            let stream = Stream::open(&fresh, &connection, &selection, state).await?;
            let mut rest = Rows::default();
            stream.take(&mut rest, |_| false).await.map(|_| rest)
        };
        match resumed.await {
            Ok(rest) => {
                let mut all = whole.stored(at);
                all.extend(&rest);
                if let Some(difference) = all.difference(whole) {
                    findings.add(format!(
                        "stopped after checkpoint {sequence} and resumed: {difference}"
                    ));
                }
                findings.unless(
                    rest.checkpoints
                        .first()
                        .is_none_or(|(sequence, ..)| *sequence == 1),
                    || format!("resumed from checkpoint {sequence}, its first checkpoint is not numbered 1"),
                );
                super::read::check_ranges(&mut findings, &rest, whole, false);
            }
            Err(failure) => findings.add(format!("resumed from checkpoint {sequence}: {failure}")),
        }
        fresh.raw.close().await;
    }
    findings.done(format!(
        "{} checkpoints, {} records",
        whole.checkpoints.len(),
        whole.records.len()
    ))
}

async fn killed(world: &World) -> CheckResult {
    let connector = world.open().await?;
    let whole = world.full_read(&connector).await?;
    let selection = world.selection(&connector).await?;
    let (mut stored, mut checkpoint, mut kills) = (Rows::default(), bytes::Bytes::new(), 0);
    // Each attempt reaches at least one more checkpoint, so there are no more attempts than checkpoints, plus some
    // for repeated reads.
    let most = whole.checkpoints.len() * 2 + 4;
    loop {
        let instance = world.open().await?;
        let connection = world.log_in(&instance).await?;
        let stream = Stream::open(&instance, &connection, &selection, &checkpoint)
            .await
            .context("Read")?;
        let mut rows = Rows::default();
        let ended = stream
            .take(&mut rows, |event| matches!(event, Event::Checkpoint(_)))
            .await;
        let ended = ended.context(&format!("the read after {kills} kills"))?;
        if ended {
            stored.extend(&rows);
            break;
        }
        // Only rows before a checkpoint are stored with it; the next event is pending when the stream is killed.
        stored.extend(&rows.stored(rows.checkpoints.len() - 1));
        checkpoint = rows.last_checkpoint();
        let in_flight = stream.pull(rows.checkpoints.len() as u64);
        instance.raw.kill().await;
        drop((in_flight, stream));
        kills += 1;
        if kills > most {
            return Err(fails(format!(
                "killed after each checkpoint, the read has not ended after {kills} kills"
            )));
        }
    }
    let mut findings = Findings::default();
    if let Some(difference) = stored.difference(whole) {
        findings.add(format!("after {kills} kills: {difference}"));
    }
    findings.done(format!("{kills} kills"))
}

async fn invalid_checkpoint(world: &World) -> CheckResult {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let whole = world.full_read(&connector).await?;
    let selection = world.selection(&connector).await?;
    let connection = world.log_in(&connector).await?;
    let last = whole
        .checkpoints
        .last()
        .map(|(_, state, _)| state.to_vec())
        .unwrap_or_default();
    let cut = last[..last.len() / 2].to_vec();
    let (mut restarted, mut refused) = (0, 0);
    for (what, checkpoint) in [
        ("random bytes", b"\x00\xff no checkpoint".to_vec()),
        ("the first half of a checkpoint", cut),
    ] {
        let read = async {
            let stream = Stream::open(&connector, &connection, &selection, &checkpoint).await?;
            let mut rows = Rows::default();
            stream.take(&mut rows, |_| false).await.map(|_| rows)
        };
        match read.await {
            Ok(rows) => {
                restarted += 1;
                if let Some(difference) = rows.difference(whole) {
                    findings.add(format!("{what}: the read succeeds, but {difference}"));
                }
            }
            Err(failure) => {
                refused += 1;
                let expected = [
                    ErrorKind::CursorGone,
                    ErrorKind::InvalidInput,
                    ErrorKind::Unsupported,
                ];
                findings.unless(
                    failure.kind().is_some_and(|kind| expected.contains(&kind)),
                    || format!("{what}: {failure}; expected a read from the beginning, or CURSOR_GONE"),
                );
            }
        }
    }
    if let Some(failure) = connector.raw.failure() {
        findings.add(format!("the instance failed: {failure}"));
    }
    findings.done(format!("{restarted} restarted, {refused} refused"))
}
