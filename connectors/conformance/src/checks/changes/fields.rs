//! Fields of all records: those that stored records lack, and calculated ones.

use tether_connector_host::proto::{ObjectSelection, ReadMode, ReadRequest};

use super::incremental::check_effect;
use super::{begin, begin_with, check_changes, end, make};
use crate::checks::check::Check;
use crate::finding::{CheckResult, Findings, Halt};
use crate::mirror::Mirror;
use crate::quirks::Kind;
use crate::reading::Reader;
use crate::rows::Rows;
use crate::world::World;

pub(crate) const UNREAD: Check = Check {
    id: "changes.unread",
    title: "unread fields are returned for all records, in full or in partial records that have the listed fields only",
    why: "A newly selected field would have values only in records that happen to change.",
    spec: &["CHG-6", "CHG-9", "CHG-10"],
    run: |world| Box::pin(unread(world)),
};

pub(crate) const CALCULATED: Check = Check {
    id: "changes.calculated",
    title: "with calculated_due, calculated fields are returned for all records",
    why: "Their values change without a change of the record's time: users would see outdated ones for ever.",
    spec: &["CHG-7", "CHG-10"],
    run: |world| Box::pin(calculated(world)),
};

/// A selection without every second field; the others are unread in the second one.
pub(super) fn halves(selection: &[ObjectSelection]) -> (Vec<ObjectSelection>, Vec<ObjectSelection>) {
    let (mut half, mut rest) = (selection.to_vec(), selection.to_vec());
    for (half, rest) in half.iter_mut().zip(&mut rest) {
        let second = half.fields.iter().skip(1).step_by(2);
        rest.unread = second.map(|field| field.key.clone()).collect();
        half.fields.retain(|field| !rest.unread.contains(&field.key));
    }
    (half, rest)
}

/// A read of everything with another selection.
pub(super) async fn read_some(reader: &Reader, selection: &[ObjectSelection]) -> Result<Rows, Halt> {
    let request = ReadRequest {
        selection: selection.to_vec(),
        ..reader.request(ReadMode::Full)
    };
    reader.read(request, "a read of some fields").await
}

async fn unread(world: &World) -> CheckResult {
    let own = begin(world).await?;
    let mut findings = Findings::default();
    let reader = Reader::open(&own).await?;
    let (half, rest) = halves(&reader.selection);
    let base = read_some(&reader, &half).await?;
    make(&own, &[Kind::Update], &Mirror::of(&base)).await?;
    let mut everything = reader.selection.clone();
    for one in &mut everything {
        one.unread = one.fields.iter().map(|field| field.key.clone()).collect();
    }
    let (mut fields, mut partial) = (0, 0);
    for (what, selection) in [
        ("with every second field unread", rest),
        ("with all fields unread", everything),
    ] {
        let mut stored = Mirror::of(&base);
        fields += selection.iter().map(|one| one.unread.len()).sum::<usize>();
        // The settings may have changed.
        let reader = Reader::open(&own).await?;
        let request = ReadRequest {
            selection,
            ..reader.changes_since(&base.last_checkpoint())
        };
        let (rows, _) = check_changes(&mut findings, &reader, request, &mut stored, what).await?;
        partial += rows
            .batches
            .iter()
            .filter(|batch| batch.partial.is_some())
            .count();
    }
    end(
        findings,
        &own,
        format!("{fields} unread fields, {partial} partial batches"),
    )
}

async fn calculated(world: &World) -> CheckResult {
    let own = begin_with(world, Kind::Calculate).await?;
    let mut findings = Findings::default();
    let reader = Reader::open(&own).await?;
    let base = reader.full().await?;
    let before = Mirror::of(&base);
    own.change(Kind::Calculate, &before.ids(), 1).await?;
    let mut stored = before.clone();
    let reader = Reader::open(&own).await?;
    let mut request = reader.changes_since(&base.last_checkpoint());
    for one in &mut request.selection {
        one.calculated_due = true;
    }
    let (_, all) = check_changes(
        &mut findings,
        &reader,
        request,
        &mut stored,
        "with calculated_due",
    )
    .await?;
    check_effect(Kind::Calculate, &before, &Mirror::of(&all))?;
    let listed = own.listed(&reader.connector).await?;
    let fields = listed.iter().flat_map(|object| &object.fields);
    let count = fields.filter(|field| field.calculated).count();
    findings.unless(count > 0, || {
        "[changes.calculate] is there, but ListFields marks no field as `calculated`".to_owned()
    });
    end(findings, &own, format!("{count} calculated fields"))
}
