//! Listings of ids, and reads by ids.

use std::collections::{BTreeMap, HashSet};

use super::incremental::check_effect;
use super::{begin, check_changes, check_listings, end};
use crate::checks::check::Check;
use crate::finding::{CheckResult, Findings};
use crate::mirror::Mirror;
use crate::quirks::Kind;
use crate::range::Order;
use crate::reading::Reader;
use crate::rows::{Rows, same};
use crate::world::World;

/// Most ids of each object in a read by ids.
const MOST_OF_AN_OBJECT: usize = 150;

pub(crate) const SWEEP: Check = Check {
    id: "changes.sweep",
    title: "with sweep_due, complete ranges list the ids of all records, and those that are gone without a trace are missing",
    why: "Hard deletes and lost permissions leave no trace: only a complete listing finds such records.",
    spec: &["CHG-8", "CHG-9", "CHG-10"],
    run: |world| Box::pin(sweep(world)),
};

pub(crate) const RECORDS: Check = Check {
    id: "changes.records",
    title: "a read by ids returns exactly the named records, in full, claims no ranges, and leaves out what does not exist",
    why: "The server reads single records so. A record that is only hidden for now must not be removed by it.",
    spec: &["CHG-11"],
    run: |world| Box::pin(records(world)),
};

async fn sweep(world: &World) -> CheckResult {
    let own = begin(world).await?;
    let mut findings = Findings::default();
    let base = Reader::open(&own).await?.full().await?;
    let before = Mirror::of(&base);
    let purges = own.can(Kind::Purge);
    if purges {
        own.change(Kind::Purge, &before.ids(), 1).await?;
    }
    let (mut stored, what) = (before.clone(), "with sweep_due");
    let reader = Reader::open(&own).await?;
    let mut request = reader.changes_since(&base.last_checkpoint());
    for one in &mut request.selection {
        one.sweep_due = true;
    }
    let (rows, all) = check_changes(&mut findings, &reader, request, &mut stored, what).await?;
    if purges {
        check_effect(Kind::Purge, &before, &Mirror::of(&all))?;
    }
    let objects = reader.selection.iter().map(|one| one.object.as_str());
    let objects: Vec<_> = objects.collect();
    check_listings(&mut findings, &rows, &all, &objects, what);
    let gone = before.live.len().saturating_sub(stored.live.len());
    end(
        findings,
        &own,
        match purges {
            true => format!("{} ids, {gone} records are gone", stored.live.len()),
            false => format!(
                "{} ids; none is gone: there is no [changes.purge]",
                stored.live.len()
            ),
        },
    )
}

async fn records(world: &World) -> CheckResult {
    let own = begin(world).await?;
    let mut findings = Findings::default();
    let reader = Reader::open(&own).await?;
    let all = reader.full().await?;
    let company = own.company(&reader.connector).await?;
    let mut named: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // In reverse order, so that another one than that of the CRM is seen.
    for (object, id) in all.records.keys().rev().step_by(2) {
        let ids = named.entry(object.clone()).or_default();
        if ids.len() < MOST_OF_AN_OBJECT {
            ids.push(id.clone());
        }
    }
    let absent = own.quirks.absent_company.clone();
    named.entry(company.clone()).or_default().push(absent.clone());
    let rows = reader.records(&named).await?;
    for (object, ids) in &named {
        check_named(&mut findings, object, ids, &rows, &all);
    }
    if let Some(record) = rows.records.get(&(company.clone(), absent.clone())) {
        let how = if record.deleted { "as deleted" } else { "as live" };
        findings.add(format!(
            "{company} {absent}, which does not exist, is returned {how}; expected is that it is left out"
        ));
    }
    for batch in &rows.batches {
        findings.unless(matches!(Order::of(batch), Ok(None)), || {
            format!("a batch of {} claims a range of ids", batch.object)
        });
        findings.unless(batch.partial.is_none(), || {
            format!("a batch of {} is partial", batch.object)
        });
    }
    end(findings, &own, format!("{} records", rows.records.len()))
}

/// Checks that the named records of an object, and no others, are returned as by a full read.
fn check_named(findings: &mut Findings, object: &str, ids: &[String], rows: &Rows, all: &Rows) {
    let named: HashSet<&String> = ids.iter().collect();
    let (mut missing, mut different) = (Vec::new(), Vec::new());
    for id in ids {
        let key = (object.to_owned(), id.clone());
        match (all.records.get(&key), rows.records.get(&key)) {
            (Some(_), None) => missing.push(id),
            (Some(expected), Some(record)) if !same(expected, record) => different.push(id),
            _ => {}
        }
    }
    let returned = rows.records.keys().filter(|(of, _)| of == object);
    let others: Vec<_> = returned
        .map(|(_, id)| id)
        .filter(|id| !named.contains(id))
        .collect();
    for (what, ids) in [
        ("are named, and not returned", missing),
        ("differ from those of a full read", different),
        ("are returned, and were not named", others),
    ] {
        if let Some(first) = ids.first() {
            findings.add(format!(
                "{} records of {object} {what}, among them {first}",
                ids.len()
            ));
        }
    }
}
