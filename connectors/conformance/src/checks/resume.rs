//! Resuming streams.

use tether_connector_host::proto::{ErrorKind, stream_event::Event};

use super::check::Check;
use crate::finding::{Findings, Seen, Told as _, fails};
use crate::rows::Rows;
use crate::stream::Stream;
use crate::world::World;

pub(super) const EVERY: Check = Check {
    id: "resume.every",
    title: "a read goes on from every checkpoint, in a fresh instance, and ends with the same set",
    why: "Syncs are interrupted by deployments and crashes; what is skipped then is missing for good.",
    spec: &["CKPT-3", "CKPT-4", "LIFE-9"],
    run: |world| Box::pin(every(world)),
};

pub(super) const KILLED: Check = Check {
    id: "resume.killed",
    title: "killed after every checkpoint, with work in flight, a read still ends with the same set",
    why: "A process is killed at the worst moment, and again while it recovers.",
    spec: &["CKPT-4", "ISO-3", "ISO-4"],
    run: |world| Box::pin(killed(world)),
};

pub(super) const NONSENSE: Check = Check {
    id: "resume.nonsense",
    title: "a checkpoint that is none of its own begins the read again, or is refused",
    why: "After an update of the connector old checkpoints come back; they must not end a sync for good.",
    spec: &["CKPT-5", "VER-5", "ERR-7"],
    run: |world| Box::pin(nonsense(world)),
};

async fn every(world: &World) -> Seen {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let whole = world.whole(&connector).await?;
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
                    || format!("resumed from checkpoint {sequence}, its own first one is not numbered 1"),
                );
                super::read::ranges(&mut findings, &rest, whole, false);
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

async fn killed(world: &World) -> Seen {
    let connector = world.open().await?;
    let whole = world.whole(&connector).await?;
    let selection = world.selection(&connector).await?;
    let (mut stored, mut checkpoint, mut kills) = (Rows::default(), bytes::Bytes::new(), 0);
    // Each attempt reaches at least one more checkpoint, so there are no more attempts than checkpoints, plus some
    // for repeated reads.
    let most = whole.checkpoints.len() * 2 + 4;
    loop {
        let life = world.open().await?;
        let connection = world.log_in(&life).await?;
        let stream = Stream::open(&life, &connection, &selection, &checkpoint)
            .await
            .told("Read")?;
        let mut rows = Rows::default();
        let ended = stream
            .take(&mut rows, |event| matches!(event, Event::Checkpoint(_)))
            .await;
        let ended = ended.told(&format!("the read after {kills} kills"))?;
        if ended {
            stored.extend(&rows);
            break;
        }
        // Only rows before a checkpoint are stored with it; the next event is pending when the stream is killed.
        stored.extend(&rows.stored(rows.checkpoints.len() - 1));
        checkpoint = rows.last_checkpoint();
        let in_flight = stream.pull(rows.checkpoints.len() as u64);
        life.raw.kill().await;
        drop((in_flight, stream));
        kills += 1;
        if kills > most {
            return Err(fails(format!(
                "killed after each checkpoint, the read has not ended after {kills} lives"
            )));
        }
    }
    let mut findings = Findings::default();
    if let Some(difference) = stored.difference(whole) {
        findings.add(format!("after {kills} kills: {difference}"));
    }
    findings.done(format!("{kills} kills"))
}

async fn nonsense(world: &World) -> Seen {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let whole = world.whole(&connector).await?;
    let selection = world.selection(&connector).await?;
    let connection = world.log_in(&connector).await?;
    let last = whole
        .checkpoints
        .last()
        .map(|(_, state, _)| state.to_vec())
        .unwrap_or_default();
    let cut = last[..last.len() / 2].to_vec();
    let (mut again, mut refused) = (0, 0);
    for (what, checkpoint) in [
        ("garbage", b"\x00\xff no checkpoint".to_vec()),
        ("half of its own", cut),
    ] {
        let read = async {
            let stream = Stream::open(&connector, &connection, &selection, &checkpoint).await?;
            let mut rows = Rows::default();
            stream.take(&mut rows, |_| false).await.map(|_| rows)
        };
        match read.await {
            Ok(rows) => {
                again += 1;
                if let Some(difference) = rows.difference(whole) {
                    findings.add(format!("{what}: it reads, and not everything: {difference}"));
                }
            }
            Err(failure) => {
                refused += 1;
                let right = [
                    ErrorKind::CursorGone,
                    ErrorKind::InvalidInput,
                    ErrorKind::Unsupported,
                ];
                findings.unless(failure.kind().is_some_and(|kind| right.contains(&kind)), || {
                    format!("{what}: {failure}; a read from the start, or CURSOR_GONE, is right")
                });
            }
        }
    }
    if let Some(failure) = connector.raw.failure() {
        findings.add(format!("the instance failed: {failure}"));
    }
    findings.done(format!("{again} began again, {refused} refused"))
}
