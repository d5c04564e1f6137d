//! Reads of what changed, with a fixture of their own: each check changes the CRM.

mod fields;
mod ids;
mod incremental;
mod state;

use std::collections::HashSet;

use tether_connector_host::proto::ObjectSelection;

pub(super) use self::fields::{CALCULATED, UNREAD};
pub(super) use self::ids::{RECORDS, SWEEP};
pub(super) use self::incremental::{APPLIED, LATE, NOTHING};
pub(super) use self::state::{FULL, KILLED, STATE};
use super::{read, safety};
use crate::finding::{CheckResult, Findings, Halt};
use crate::mirror::Mirror;
use crate::quirks::Kind;
use crate::range::Order;
use crate::reading::Reader;
use crate::rows::Rows;
use crate::world::World;

/// The feature.
const FEATURE: &str = "changes";

/// A fixture of its own, if the connector reads changes.
async fn begin(world: &World) -> Result<World, Halt> {
    let connector = world.open().await?;
    let features = &world.description(&connector).await?.features;
    if !features.iter().any(|feature| feature == FEATURE) {
        return Err(Halt::Lacks(format!(
            "the connector does not list the feature `{FEATURE}`: it is read in full each time"
        )));
    }
    world.beside().await
}

/// The same for a check that needs a change that not every fixture can make.
async fn begin_with(world: &World, kind: Kind) -> Result<World, Halt> {
    let own = begin(world).await?;
    if !own.can(kind) {
        return Err(Halt::Lacks(format!(
            "conformance.toml has no [changes.{}]",
            kind.name()
        )));
    }
    Ok(own)
}

/// The result of a check: its requests must have been reads.
fn end(mut findings: Findings, own: &World, seen: impl Into<String>) -> CheckResult {
    if let Some(proxy) = &own.proxy {
        safety::only_reads(&mut findings, own, &proxy.since(0));
    }
    findings.done(seen)
}

/// Makes those of the changes that the fixture can make. Returns their names.
async fn make(own: &World, kinds: &[Kind], stored: &Mirror) -> Result<Vec<&'static str>, Halt> {
    let ids = stored.ids();
    let mut made = Vec::new();
    for kind in kinds.iter().filter(|kind| own.can(**kind)) {
        own.change(*kind, &ids, 1).await?;
        made.push(kind.name());
    }
    Ok(made)
}

/// Checks that every object of the selection was read to its end.
fn check_complete(findings: &mut Findings, rows: &Rows, selection: &[ObjectSelection], what: &str) {
    for ObjectSelection { object, .. } in selection {
        let of_it = rows.statuses.iter().filter(|status| status.object == *object);
        let (complete, failed): (Vec<_>, Vec<_>) = of_it.partition(|status| status.complete);
        findings.unless(complete.len() == 1 && failed.is_empty(), || {
            let why = failed.iter().find_map(|status| status.error.as_ref());
            let why = why.map_or_else(String::new, |error| format!(" ({error})"));
            format!("{what}: {object} has no ObjectStatus that is complete{why}")
        });
    }
    findings.unless(!rows.checkpoints.is_empty(), || {
        format!("{what}: there is no checkpoint, so that the next read has no state")
    });
}

/// Checks that complete ranges list all ids of these objects.
fn check_listings(findings: &mut Findings, rows: &Rows, all: &Rows, objects: &[&str], what: &str) {
    read::check_ranges(findings, rows, all, true);
    for object in objects {
        let of_it = rows.batches.iter().filter(|batch| batch.object == **object);
        let mut ranges = of_it.filter_map(|batch| Order::of(batch).ok().flatten());
        match ranges.next_back() {
            None => findings.add(format!("{what}: no range of {object} is listed as complete")),
            Some((covers, _)) => findings.unless(covers.through.is_empty(), || {
                format!("{what}: the ranges of {object} do not reach to the end")
            }),
        }
    }
}

/// Checks partial batches: RecordBatch.partial says what they have.
fn check_partial(findings: &mut Findings, rows: &Rows, all: &Rows, selection: &[ObjectSelection]) {
    let mut reported = HashSet::new();
    for batch in &rows.batches {
        let Some(partial) = &batch.partial else { continue };
        let object = &batch.object;
        let selected = selection.iter().find(|one| one.object == *object);
        let is_selected =
            |key: &String| selected.is_some_and(|one| one.fields.iter().any(|field| field.key == *key));
        let mut report = |what: String| {
            if reported.insert(what.clone()) {
                findings.add(format!("partial records of {object}: {what}"));
            }
        };
        if let Some(other) = partial.fields.iter().find(|key| !is_selected(key)) {
            report(format!("{other} is among the fields, and was not selected"));
        }
        for record in batch.records.iter().filter(|record| !record.deleted) {
            let payload: serde_json::Map<String, serde_json::Value> =
                serde_json::from_slice(&record.payload).unwrap_or_default();
            if let Some(other) = payload.keys().find(|key| !partial.fields.contains(key)) {
                report(format!("a payload has {other}, which is not among their fields"));
            }
            let named = !record.display_name.is_empty() || !record.homepages.is_empty();
            if named || !record.homepage.is_empty() || !record.parents.is_empty() {
                report("a record has a name, a homepage or parents".to_owned());
            }
            let key = (object.clone(), record.external_id.clone());
            let timed = all
                .records
                .get(&key)
                .is_some_and(|full| full.modified_us > 0 && !full.deleted);
            if timed && record.modified_us == 0 {
                report("modified_us is not set: a later change could not be recognized".to_owned());
            }
        }
    }
}

/// Reads the changes since a state, applies them as a host does, and compares the result with a read of everything. Returns
/// both reads.
async fn check_changes(
    findings: &mut Findings,
    reader: &Reader,
    request: tether_connector_host::proto::ReadRequest,
    stored: &mut Mirror,
    what: &str,
) -> Result<(Rows, Rows), Halt> {
    let selection = request.selection.clone();
    let rows = reader
        .read(request, &format!("a read of changes, {what}"))
        .await?;
    reader.store(stored, &rows).await?;
    let all = reader.full().await?;
    check_complete(findings, &rows, &selection, what);
    check_partial(findings, &rows, &all, &selection);
    if let Some(difference) = stored.difference(&Mirror::of(&all)) {
        findings.add(format!(
            "{what}: with the changes, the stored records are not those of a full read: {difference}"
        ));
    }
    Ok((rows, all))
}
