//! States: those that a connector cannot use, and reads that are interrupted.

use bytes::Bytes;
use tether_connector_host::proto::{ObjectSelection, ReadMode, ReadRequest, stream_event::Event};

use super::fields::{halves, read_some};
use super::{begin, check_changes, check_complete, check_listings, end, make};
use crate::checks::check::Check;
use crate::finding::{CheckResult, Context as _, Findings, Halt, fails};
use crate::mirror::Mirror;
use crate::quirks::Kind;
use crate::reading::Reader;
use crate::rows::Rows;
use crate::stream::Stream;
use crate::world::World;

pub(crate) const STATE: Check = Check {
    id: "changes.state",
    title: "a state that cannot be used is no error, and objects about which it says nothing are read in full",
    why: "After an update a connector gets the states of its earlier version; and users select further objects.",
    spec: &["CHG-2", "CHG-3", "CHG-16", "VER-5"],
    run: |world| Box::pin(state(world)),
};

pub(crate) const FULL: Check = Check {
    id: "changes.full",
    title: "READ_MODE_FULL reads everything, whatever was read before",
    why: "It is what the server falls back to when it does not trust what is stored.",
    spec: &["CHG-1"],
    run: |world| Box::pin(full(world)),
};

pub(crate) const KILLED: Check = Check {
    id: "changes.killed",
    title: "killed after every checkpoint and resumed with the same state, a read of changes returns the same records",
    why: "The state and the checkpoint of a sync are from different reads; what a resumed read skips stays missing.",
    spec: &["CHG-2", "CKPT-3", "CKPT-4"],
    run: |world| Box::pin(killed(world)),
};

async fn state(world: &World) -> CheckResult {
    let own = begin(world).await?;
    let mut findings = Findings::default();
    let reader = Reader::open(&own).await?;
    let base = reader.full().await?;
    let last = base.last_checkpoint();
    let objects: Vec<_> = reader.selection.iter().map(|one| one.object.as_str()).collect();
    for (what, state) in [
        ("without a state", Vec::new()),
        ("with a state of random bytes", b"\x00\xff no state".to_vec()),
        ("with {} as its state", b"{}".to_vec()),
    ] {
        // Nothing is stored: everything has to come.
        let mut stored = Mirror::default();
        let request = reader.changes_since(&state);
        let (rows, all) = check_changes(&mut findings, &reader, request, &mut stored, what).await?;
        check_listings(&mut findings, &rows, &all, &objects, what);
    }
    let what = "with the first half of a state";
    let request = reader.changes_since(&last[..last.len() / 2]);
    check_changes(&mut findings, &reader, request, &mut Mirror::of(&base), what).await?;
    for old in &own.quirks.old_states {
        let rows = reader.changes(old.as_bytes()).await?;
        check_complete(
            &mut findings,
            &rows,
            &reader.selection,
            "with a state of old_states",
        );
    }
    if let [first, others @ ..] = &reader.selection[..] {
        of_some(&mut findings, &reader, first, others, &base).await?;
    }
    let old = own.quirks.old_states.len();
    end(
        findings,
        &own,
        format!("4 states that cannot be used, {old} of earlier versions"),
    )
}

/// A state knows only some of the selected objects, or further ones.
async fn of_some(
    findings: &mut Findings,
    reader: &Reader,
    first: &ObjectSelection,
    others: &[ObjectSelection],
    base: &Rows,
) -> Result<(), Halt> {
    let rows = read_some(reader, std::slice::from_ref(first)).await?;
    let what = "with a state that knows one object";
    let request = reader.changes_since(&rows.last_checkpoint());
    let (rows, all) = check_changes(findings, reader, request, &mut Mirror::of(&rows), what).await?;
    let objects: Vec<_> = others.iter().map(|one| one.object.as_str()).collect();
    check_listings(findings, &rows, &all, &objects, what);
    let what = "with a state that knows further objects";
    let request = ReadRequest {
        selection: vec![first.clone()],
        ..reader.changes_since(&base.last_checkpoint())
    };
    let rows = reader.read(request, what).await?;
    check_complete(findings, &rows, std::slice::from_ref(first), what);
    let other = rows.batches.iter().find(|batch| batch.object != first.object);
    findings.unless(other.is_none(), || {
        format!("{what}: records are returned of objects that are not selected")
    });
    Ok(())
}

async fn full(world: &World) -> CheckResult {
    let own = begin(world).await?;
    let mut findings = Findings::default();
    let base = Reader::open(&own).await?.full().await?;
    make(&own, &[Kind::Update], &Mirror::of(&base)).await?;
    let reader = Reader::open(&own).await?;
    let changed = reader.changes(&base.last_checkpoint()).await?;
    // Hosts send no state with it, and a connector has to ignore one.
    let request = ReadRequest {
        state: changed.last_checkpoint().to_vec(),
        ..reader.request(ReadMode::Full)
    };
    let rows = reader.read(request, "a full read with a state").await?;
    let expected = Reader::open(&own).await?.full().await?;
    if let Some(difference) = rows.difference(&expected) {
        findings.add(format!("a full read after a read of changes: {difference}"));
    }
    check_complete(&mut findings, &rows, &reader.selection, "a full read");
    end(findings, &own, format!("{} records", rows.records.len()))
}

async fn killed(world: &World) -> CheckResult {
    let own = begin(world).await?;
    let mut findings = Findings::default();
    let reader = Reader::open(&own).await?;
    let (half, mut selection) = halves(&reader.selection);
    let base = read_some(&reader, &half).await?;
    let kinds = [
        Kind::Add,
        Kind::Update,
        Kind::Delete,
        Kind::Merge,
        Kind::Calculate,
        Kind::Purge,
    ];
    let made = make(&own, &kinds, &Mirror::of(&base)).await?;
    for one in &mut selection {
        (one.calculated_due, one.sweep_due) = (true, true);
    }
    let reader = Reader::open(&own).await?;
    let request = ReadRequest {
        selection,
        ..reader.changes_since(&base.last_checkpoint())
    };
    let mut whole = Mirror::of(&base);
    let what = "without interruption";
    let (rows, all) = check_changes(&mut findings, &reader, request.clone(), &mut whole, what).await?;
    let most = rows.checkpoints.len() * 2 + 4;
    let (mut stored, kills) = with_kills(&own, &request, Mirror::of(&base), most).await?;
    reader.settle(&mut stored).await?;
    if let Some(difference) = stored.difference(&Mirror::of(&all)) {
        findings.add(format!("after {kills} kills: {difference}"));
    }
    end(findings, &own, format!("{kills} kills; {}", made.join(", ")))
}

/// Reads changes, with a kill after each checkpoint. Returns what is stored then, and the number of kills.
async fn with_kills(
    own: &World,
    request: &ReadRequest,
    mut stored: Mirror,
    most: usize,
) -> Result<(Mirror, usize), Halt> {
    let (mut checkpoint, mut statuses, mut kills) = (Bytes::new(), Vec::new(), 0);
    stored.begin();
    loop {
        let instance = Reader::open(own).await?;
        let request = ReadRequest {
            connection: Some(instance.connection.clone()),
            checkpoint: checkpoint.to_vec(),
            ..request.clone()
        };
        let stream = Stream::read(&instance.connector, request).await.context("Read")?;
        let mut rows = Rows::default();
        let ended = stream
            .take(&mut rows, |event| matches!(event, Event::Checkpoint(_)))
            .await;
        let ended = ended.context(&format!("the read of changes after {kills} kills"))?;
        stored.take(&rows.batches);
        statuses.append(&mut rows.statuses);
        if ended {
            stored.finish(&statuses);
            return Ok((stored, kills));
        }
        checkpoint = rows.last_checkpoint();
        let in_flight = stream.pull(rows.checkpoints.len() as u64);
        instance.connector.raw.kill().await;
        drop((in_flight, stream));
        kills += 1;
        if kills > most {
            return Err(fails(format!(
                "killed after each checkpoint, the read of changes has not ended after {kills} kills"
            )));
        }
    }
}
