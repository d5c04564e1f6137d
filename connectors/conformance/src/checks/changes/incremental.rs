//! What changed between two reads.

use std::collections::BTreeMap;

use super::{begin, begin_with, check_changes, check_complete, end};
use crate::checks::check::Check;
use crate::connector::now_us;
use crate::finding::{CheckResult, Findings, Halt, fails};
use crate::mirror::Mirror;
use crate::quirks::{Kind, Lack};
use crate::reading::Reader;
use crate::rows::Rows;
use crate::world::World;

/// Records that changed so shortly before a read may be returned again by the next one: two hours, because search indexes can be
/// so far behind, and a minute between the clocks of the host and the CRM.
const OVERLAP_US: i64 = (2 * 3_600 + 60) * 1_000_000;
/// The changes that come one after the other.
const KINDS: [Kind; 6] = [
    Kind::Add,
    Kind::Update,
    Kind::Delete,
    Kind::Undelete,
    Kind::Merge,
    Kind::Move,
];

pub(crate) const NOTHING: Check = Check {
    id: "changes.nothing",
    title: "a read of changes in which nothing changed returns no old records, and needs a request for each object at most",
    why: "Syncs run every few minutes: one that reads everything each time uses up the customer's API allowance.",
    spec: &["CHG-2", "CHG-10", "CHG-12"],
    run: |world| Box::pin(nothing(world)),
};

pub(crate) const APPLIED: Check = Check {
    id: "changes.applied",
    title: "stored records with the changes since are those of a full read, after each kind of change and after all",
    why: "A change that a read misses stays missing until everything is read again.",
    spec: &["CHG-1", "CHG-2", "CHG-13", "RECORD-6"],
    run: |world| Box::pin(applied(world)),
};

pub(crate) const LATE: Check = Check {
    id: "changes.late",
    title: "a change is returned that appears after a read, with the same time as one that the read returned",
    why: "CRMs set the time of a change before its transaction ends, and many records may have the same time.",
    spec: &["CHG-5"],
    run: |world| Box::pin(late(world)),
};

async fn nothing(world: &World) -> CheckResult {
    let own = begin(world).await?;
    let mut findings = Findings::default();
    let reader = Reader::open(&own).await?;
    let base = reader.full().await?;
    let (mut state, mut requests) = (base.last_checkpoint(), Vec::new());
    for what in ["after a full read", "after a read of changes"] {
        // As the next sync: another instance.
        let reader = Reader::open(&own).await?;
        let before = own.proxy.as_ref().map_or(0, |proxy| proxy.count());
        let rows = reader.changes(&state).await?;
        requests.push(own.proxy.as_ref().map_or(0, |proxy| proxy.count()) - before);
        check_complete(&mut findings, &rows, &reader.selection, what);
        let mut stored = Mirror::of(&base);
        reader.store(&mut stored, &rows).await?;
        if let Some(difference) = stored.difference(&Mirror::of(&base)) {
            findings.add(format!("{what}, nothing changed in the CRM, but: {difference}"));
        }
        if own.quirks.lack(Lack::ChangeTimes).is_none() {
            check_few(&mut findings, &rows, &base, what);
            let objects = reader.selection.len();
            let most = objects * (1 + usize::from(own.quirks.lack(Lack::ChangeFeeds).is_some()));
            let last = requests.last().copied().unwrap_or_default();
            findings.unless(last <= most, || {
                format!("{what}, nothing changed, and the read needs {last} requests for {objects} objects")
            });
        }
        state = rows.last_checkpoint();
    }
    end(findings, &own, format!("{requests:?} requests"))
}

/// Checks that only records come that changed shortly before.
fn check_few(findings: &mut Findings, rows: &Rows, base: &Rows, what: &str) {
    let times = base.batches.iter().map(|batch| batch.read_time_us);
    let read_us = times.filter(|us| *us > 0).min().unwrap_or_else(now_us);
    let mut old: BTreeMap<&str, usize> = BTreeMap::new();
    for batch in &rows.batches {
        let records = batch.records.iter().filter(|record| !record.deleted);
        let count = records
            .filter(|record| record.modified_us < read_us - OVERLAP_US)
            .count();
        *old.entry(batch.object.as_str()).or_default() += count;
    }
    for (object, count) in old.into_iter().filter(|(_, count)| *count > 0) {
        findings.add(format!(
            "{what}, {count} records of {object} are returned that did not change"
        ));
    }
}

async fn applied(world: &World) -> CheckResult {
    let own = begin(world).await?;
    if !own.can(Kind::Update) {
        return Err(fails(
            "conformance.toml has no [changes.update]: without a change nothing can be checked",
        ));
    }
    let mut findings = Findings::default();
    let base = Reader::open(&own).await?.full().await?;
    let ids = Mirror::of(&base).ids();
    let (mut stored, mut state) = (Mirror::of(&base), base.last_checkpoint());
    let mut made = Vec::new();
    let unseen = |kind: &Kind| *kind == Kind::Move && own.quirks.lack(Lack::MoveTimes).is_some();
    let kinds = || KINDS.into_iter().filter(|kind| own.can(*kind));
    for kind in kinds().filter(|kind| !unseen(kind)) {
        own.change(kind, &ids, 1).await?;
        made.push(kind.name());
        let (before, what) = (stored.clone(), format!("after [changes.{}]", kind.name()));
        let reader = Reader::open(&own).await?;
        let request = reader.changes_since(&state);
        let (rows, all) = check_changes(&mut findings, &reader, request, &mut stored, &what).await?;
        check_effect(kind, &before, &Mirror::of(&all))?;
        state = rows.last_checkpoint();
        // A fault of one kind of change is no fault of the next one.
        stored = Mirror::of(&all);
    }
    let reader = Reader::open(&own).await?;
    let request = reader.changes_since(&base.last_checkpoint());
    let mut stored = Mirror::of(&base);
    let (rows, all) =
        check_changes(&mut findings, &reader, request, &mut stored, "after all changes").await?;
    let (mut stored, state) = (Mirror::of(&all), rows.last_checkpoint());
    for kind in kinds().filter(unseen) {
        own.change(kind, &ids, 1).await?;
        made.push(kind.name());
        let before = stored.clone();
        for flag in ["sweep_due", "calculated_due"] {
            let what = format!("after [changes.move], with {flag}");
            let reader = Reader::open(&own).await?;
            let mut request = reader.changes_since(&state);
            for one in &mut request.selection {
                one.sweep_due = flag == "sweep_due";
                one.calculated_due = !one.sweep_due;
            }
            stored.clone_from(&before);
            let (_, all) = check_changes(&mut findings, &reader, request, &mut stored, &what).await?;
            check_effect(kind, &before, &Mirror::of(&all))?;
        }
    }
    end(findings, &own, made.join(", "))
}

/// Checks that the fixture made the change.
pub(super) fn check_effect(kind: Kind, before: &Mirror, after: &Mirror) -> Result<(), Halt> {
    let added = after.live.keys().any(|key| !before.live.contains_key(key));
    let removed = before.live.keys().any(|key| !after.live.contains_key(key));
    let changed = |is: fn(&_, &_) -> bool| {
        let mut both = before.live.iter();
        both.any(|(key, record)| after.live.get(key).is_some_and(|now| is(record, now)))
    };
    let done = match kind {
        Kind::Add | Kind::Undelete => added,
        Kind::Delete | Kind::Purge | Kind::Merge => removed,
        Kind::Move => changed(|before, now| before.parents != now.parents),
        Kind::Update | Kind::Late | Kind::Calculate => changed(|before, now| before.payload != now.payload),
    };
    match done {
        true => Ok(()),
        false => Err(fails(format!(
            "[changes.{}] had no effect on a full read: it would pass for any connector",
            kind.name()
        ))),
    }
}

async fn late(world: &World) -> CheckResult {
    let own = begin_with(world, Kind::Late).await?;
    let mut findings = Findings::default();
    let reader = Reader::open(&own).await?;
    let ids = Mirror::of(&reader.full().await?).ids();
    own.change(Kind::Late, &ids, 1).await?;
    let base = Reader::open(&own).await?.full().await?;
    own.change(Kind::Late, &ids, 2).await?;
    let mut stored = Mirror::of(&base);
    let reader = Reader::open(&own).await?;
    let request = reader.changes_since(&base.last_checkpoint());
    let (_, all) = check_changes(
        &mut findings,
        &reader,
        request,
        &mut stored,
        "after a late change",
    )
    .await?;
    let (before, after) = (Mirror::of(&base), Mirror::of(&all));
    check_effect(Kind::Late, &before, &after)?;
    let read_us = base.batches.iter().map(|batch| batch.read_time_us).max();
    let read_us = read_us.filter(|us| *us > 0).unwrap_or_else(now_us);
    let is_late = |(key, record): (_, &tether_connector_host::proto::Record)| {
        let other = before
            .live
            .get(key)
            .is_some_and(|old| old.payload != record.payload);
        other && record.modified_us < read_us
    };
    if !after.live.iter().any(is_late) {
        return Err(fails(
            "[changes.late]: the changed records have times after the read: they are not late",
        ));
    }
    end(findings, &own, "it is returned")
}
