//! The content of a read.

use std::collections::{HashMap, HashSet};

use tether_connector_host::proto::{
    FetchCompanyRequest, FieldChangeKind, FieldType, ObjectSelection, Record, SelectedField,
};

use super::check::Check;
use crate::canonical::{self, Form};
use crate::connector::{CALL_TIMEOUT, Connector};
use crate::finding::{CheckResult, Context as _, Findings, Halt};
use crate::quirks::Lack;
use crate::range::{self, Order};
use crate::rows::Rows;
use crate::stream::Stream;
use crate::world::World;

const MOST_CHECKPOINT_BYTES: usize = 64 * 1024;
const MOST_ROWS_BETWEEN: usize = 50_000;
/// A field that no CRM has.
const NO_FIELD: &str = "NoSuchFieldOfTheKit__c";

pub(super) const PAYLOADS: Check = Check {
    id: "read.payloads",
    title: "payloads are canonical: sorted keys, no white space, each value in the form of its type",
    why: "The server compares and hashes these bytes; another form of the same value would be stored as a change.",
    spec: &["RECORD-2", "RECORD-3", "RECORD-7", "RECORD-9", "LIMIT-2"],
    run: |world| Box::pin(payloads(world)),
};

pub(super) const RECORDS: Check = Check {
    id: "read.records",
    title: "records have one id each, a name, parents that exist; objects come in order, each with its ObjectStatus",
    why: "Ids are keys, parents link records to companies, and an object without ObjectStatus is never complete.",
    spec: &[
        "RECORD-1", "RECORD-4", "RECORD-5", "RECORD-6", "RECORD-8", "STREAM-3", "STREAM-7", "STREAM-9",
    ],
    run: |world| Box::pin(records(world)),
};

pub(super) const COVERS: Check = Check {
    id: "read.covers",
    title: "a batch with a range of ids has every record in the range",
    why: "Stored records of the range that the batch lacks are removed: a wrong range deletes a customer's data.",
    spec: &["STREAM-8"],
    run: |world| Box::pin(covers(world)),
};

pub(super) const CHECKPOINTS: Check = Check {
    id: "read.checkpoints",
    title: "checkpoints are numbered 1, 2, 3, …, are small, and at most 50,000 rows apart",
    why: "The checkpoint is the commit unit: rows after the last one are read again after every interruption.",
    spec: &["CKPT-1", "CKPT-2", "CKPT-6"],
    run: |world| Box::pin(checkpoints(world)),
};

pub(super) const MISSING: Check = Check {
    id: "read.missing-field",
    title: "reads and FetchCompany report a selected field that does not exist as missing, and read the others",
    why: "Fields are deleted and hidden in CRMs every day; a sync that fails because of one would never succeed again.",
    spec: &["STREAM-10", "FETCH-3", "ERR-8"],
    run: |world| Box::pin(missing(world)),
};

fn forms(selection: &ObjectSelection) -> HashMap<&str, Form> {
    let form = |field: &SelectedField| Form {
        kind: field.r#type(),
        currency: field.currency.is_some(),
    };
    let fields = selection.fields.iter();
    fields.map(|field| (field.key.as_str(), form(field))).collect()
}

async fn payloads(world: &World) -> CheckResult {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let whole = world.full_read(&connector).await?;
    let selection = world.selection(&connector).await?;
    let mut filled = HashSet::new();
    let mut values = 0;
    for selection in &selection {
        let forms = forms(selection);
        let mut reported = HashSet::new();
        for ((object, id), record) in &whole.records {
            if *object != selection.object || record.deleted {
                continue;
            }
            if let Some(what) = canonical::violation(&record.payload, &forms) {
                // One row for each kind of error is sufficient.
                let kind = what.split(':').next().unwrap_or_default().to_owned();
                if reported.insert(kind) {
                    findings.add(format!("{object} {id}: {what}"));
                }
            } else if let Ok(serde_json::Value::Object(members)) = serde_json::from_slice(&record.payload) {
                values += members.len();
                filled.extend(
                    members
                        .keys()
                        .filter_map(|key| Some(forms.get(key.as_str())?.kind)),
                );
            }
        }
    }
    let plain = without_currencies(world, &connector, whole, &selection).await?;
    for what in plain {
        findings.add(what);
    }
    findings.done(format!("{values} values of {} types", filled.len()))
}

/// What is wrong with the payloads of a company that is read as by a host that does not know amounts with a currency.
async fn without_currencies(
    world: &World,
    connector: &Connector,
    whole: &Rows,
    selection: &[ObjectSelection],
) -> Result<Vec<String>, Halt> {
    let is_amount = |field: &SelectedField| field.currency.is_some();
    if !selection.iter().any(|object| object.fields.iter().any(is_amount)) {
        return Ok(Vec::new());
    }
    let company = world.company(connector).await?;
    let mut companies = whole.records.iter();
    let Some(((_, id), _)) = companies.find(|((object, _), record)| *object == company && !record.deleted)
    else {
        return Ok(Vec::new());
    };
    let mut plain = selection.to_vec();
    for object in &mut plain {
        for field in &mut object.fields {
            field.currency = None;
        }
    }
    let request = FetchCompanyRequest {
        connection: Some(world.log_in(connector).await?),
        external_ids: vec![id.clone()],
        selection: plain.clone(),
        related_limit: 0,
    };
    let fetched = connector.fetch_company(request, CALL_TIMEOUT).await;
    let fetched = fetched.context("a fetch without currencies")?;
    let mut wrong = Vec::new();
    for (selection, result) in plain.iter().zip(&fetched.objects) {
        let forms = forms(selection);
        let records = result.records.iter().filter(|record| !record.deleted);
        let found = records.filter_map(|record| canonical::violation(&record.payload, &forms));
        wrong.extend(
            found
                .take(1)
                .map(|what| format!("{}, to a host that asks for no currency: {what}", result.object)),
        );
    }
    Ok(wrong)
}

async fn records(world: &World) -> CheckResult {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let company = world.company(&connector).await?;
    let whole = world.full_read(&connector).await?;
    let selection = world.selection(&connector).await?;
    let order: Vec<_> = selection
        .iter()
        .map(|selection| selection.object.as_str())
        .collect();
    let mut last = 0;
    let mut ids: HashMap<(&str, &str), usize> = HashMap::new();
    for batch in &whole.batches {
        match order.iter().position(|object| *object == batch.object) {
            Some(at) => {
                findings.unless(at >= last, || {
                    format!("a batch of {} comes after one of {}", batch.object, order[last])
                });
                last = at.max(last);
            }
            None => findings.add(format!(
                "a batch is of {:?}, which was not selected",
                batch.object
            )),
        }
        for record in &batch.records {
            *ids.entry((&batch.object, &record.external_id)).or_default() += 1;
            check_record(&mut findings, &company, &batch.object, record);
        }
    }
    let twice = ids.iter().filter(|(_, times)| **times > 1).count();
    findings.unless(twice == 0, || {
        format!("{twice} records are returned twice in one read without faults")
    });
    let (mut parents, mut dangling) = (0, HashMap::<String, usize>::new());
    for ((object, _), record) in whole.records.iter().filter(|(_, record)| !record.deleted) {
        for parent in &record.parents {
            parents += 1;
            let found = whole
                .records
                .get(&(parent.object.clone(), parent.external_id.clone()));
            if order.contains(&parent.object.as_str()) && found.is_none() {
                *dangling
                    .entry(format!("{object} under {}", parent.object))
                    .or_default() += 1;
            }
        }
    }
    if world.quirks.lack(Lack::WholeParents).is_none() {
        for (what, times) in dangling {
            findings.add(format!(
                "{times} records of {what} have a parent that the read does not return"
            ));
        }
    }
    for object in &order {
        let of_it = whole.statuses.iter().filter(|status| status.object == **object);
        let (complete, failed): (Vec<_>, Vec<_>) = of_it.partition(|status| status.complete);
        findings.unless(complete.len() == 1 && failed.is_empty(), || {
            let why = failed.iter().find_map(|status| status.error.as_ref());
            let why = why.map_or_else(String::new, |error| format!(" ({error})"));
            format!(
                "{object} ends with {} ObjectStatus that are complete and {} that are not{why}",
                complete.len(),
                failed.len()
            )
        });
    }
    findings.done(format!("{} records, {parents} parents", whole.records.len()))
}

fn check_record(findings: &mut Findings, company: &str, object: &str, record: &Record) {
    let id = &record.external_id;
    findings.unless(!id.is_empty() && id.len() <= 255 && !id.contains('\0'), || {
        format!("{object}: the id {id:?} is empty, longer than 255 bytes, or has a NUL")
    });
    findings.unless(record.merged_into.is_empty() || record.deleted, || {
        format!("{object} {id} was merged and is not deleted")
    });
    findings.unless(record.merged_into != *id || id.is_empty(), || {
        format!("{object} {id} was merged into itself")
    });
    if !record.deleted {
        findings.unless(object != company || !record.display_name.is_empty(), || {
            format!("{object} {id} has no display_name")
        });
        let first = record.homepages.first();
        findings.unless(first.is_none_or(|first| *first == record.homepage), || {
            format!("{object} {id}: homepage is not the first of homepages")
        });
    }
}

/// Checks the ranges of one stream against all existing ids.
pub(super) fn check_ranges(
    findings: &mut Findings,
    rows: &Rows,
    all: &Rows,
    from_the_beginning: bool,
) -> usize {
    let mut ends: HashMap<&str, Option<&str>> = HashMap::new();
    let mut ranges = 0;
    for batch in &rows.batches {
        let object = batch.object.as_str();
        let (covers, order) = match Order::of(batch) {
            Ok(None) => continue,
            Ok(Some(range)) => range,
            Err(both) => {
                findings.add(format!("{object}: {both}"));
                continue;
            }
        };
        ranges += 1;
        let before = ends.get(object).copied();
        let begins = match before {
            Some(Some(through)) => through == covers.after,
            Some(None) => false,
            None => covers.after.is_empty() || !from_the_beginning,
        };
        findings.unless(begins, || {
            format!(
                "{object}: a range begins after {:?}, but the previous range of the object does not end there",
                covers.after
            )
        });
        ends.insert(
            object,
            (!covers.through.is_empty()).then_some(covers.through.as_str()),
        );
        let listed: HashSet<_> = batch
            .records
            .iter()
            .map(|record| record.external_id.as_str())
            .collect();
        if let Some(id) = listed.iter().find(|id| !order.inside(covers, id)) {
            findings.add(format!(
                "{object} {id} is outside of its batch's range {}",
                range::text(covers)
            ));
        }
        let existing = all
            .records
            .iter()
            .filter(|((of, _), record)| of == object && !record.deleted);
        let lacking: Vec<_> = existing
            .filter(|((_, id), _)| order.inside(covers, id) && !listed.contains(id.as_str()))
            .map(|((_, id), _)| id.as_str())
            .collect();
        findings.unless(lacking.is_empty(), || {
            format!(
                "{object}: the range {} lacks {} existing records, among them {}",
                range::text(covers),
                lacking.len(),
                lacking[0]
            )
        });
    }
    ranges
}

async fn covers(world: &World) -> CheckResult {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let whole = world.full_read(&connector).await?;
    let ranges = check_ranges(&mut findings, whole, whole, true);
    findings.done(match ranges {
        0 => "no ranges: deletions are reported in other ways".to_owned(),
        ranges => format!("{ranges} ranges"),
    })
}

async fn checkpoints(world: &World) -> CheckResult {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let whole = world.full_read(&connector).await?;
    findings.unless(!whole.checkpoints.is_empty(), || {
        "there is no checkpoint".to_owned()
    });
    let (mut before, mut longest) = (0, 0);
    let search = world.secrets.search();
    for (at, (sequence, state, batches)) in whole.checkpoints.iter().enumerate() {
        findings.unless(*sequence == at as u64 + 1, || {
            format!("checkpoint {} is numbered {sequence}", at + 1)
        });
        findings.unless(state.len() <= MOST_CHECKPOINT_BYTES, || {
            format!(
                "checkpoint {sequence} has {} bytes; 64 KiB are allowed",
                state.len()
            )
        });
        findings.unless(!state.is_empty(), || {
            format!("checkpoint {sequence} is empty, which a read takes for the beginning")
        });
        for name in search.found_in(&String::from_utf8_lossy(state)) {
            findings.add(format!("checkpoint {sequence} contains {name}"));
        }
        let rows: usize = whole.batches[before..*batches]
            .iter()
            .map(|batch| batch.records.len())
            .sum();
        before = *batches;
        longest = longest.max(rows);
    }
    let rest: usize = whole.batches[before..]
        .iter()
        .map(|batch| batch.records.len())
        .sum();
    findings.unless(longest.max(rest) <= MOST_ROWS_BETWEEN, || {
        format!(
            "{} rows come between two checkpoints; 50,000 are allowed",
            longest.max(rest)
        )
    });
    findings.unless(rest == 0, || {
        format!("{rest} rows come after the last checkpoint: they would never be stored")
    });
    let size = whole
        .checkpoints
        .iter()
        .map(|(_, state, _)| state.len())
        .max()
        .unwrap_or_default();
    findings.done(format!(
        "{} checkpoints, {size} bytes at most",
        whole.checkpoints.len()
    ))
}

async fn missing(world: &World) -> CheckResult {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let company = world.company(&connector).await?;
    let whole = world.full_read(&connector).await?;
    let connection = world.log_in(&connector).await?;
    let mut selection = world.selection(&connector).await?;
    for selection in &mut selection {
        let kind = FieldType::Text.into();
        selection.fields.push(SelectedField {
            key: NO_FIELD.to_owned(),
            r#type: kind,
            ..SelectedField::default()
        });
    }
    let stream = Stream::open(&connector, &connection, &selection, b"")
        .await
        .context("Read")?;
    let mut rows = Rows::default();
    stream
        .take(&mut rows, |_| false)
        .await
        .context("a read with a field that does not exist")?;
    for selection in &selection {
        let object = &selection.object;
        let reports = rows.changes.iter().filter(|change| {
            change.object == *object && change.field == NO_FIELD && change.kind() == FieldChangeKind::Missing
        });
        let times = reports.count();
        findings.unless(times == 1, || {
            format!("{object}: a read reports the missing field {times} times")
        });
    }
    if let Some(difference) = rows.difference(whole) {
        findings.add(format!(
            "with a field that does not exist, the rows differ: {difference}"
        ));
    }
    let known = whole
        .records
        .iter()
        .find(|((object, _), record)| *object == company && !record.deleted);
    if let Some(((_, id), _)) = known {
        let request = FetchCompanyRequest {
            connection: Some(connection),
            external_ids: vec![id.clone()],
            selection: selection.clone(),
            related_limit: 0,
        };
        let fetched = connector.fetch_company(request, CALL_TIMEOUT).await;
        let fetched = fetched.context("FetchCompany with a field that does not exist")?;
        for result in &fetched.objects {
            // If a company has no records of an object, its missing fields may be undetectable.
            let reported = result.missing_fields.iter().any(|field| field == NO_FIELD);
            findings.unless(reported, || {
                format!(
                    "{}: missing_fields of FetchCompany lacks the field",
                    result.object
                )
            });
            if let Some(error) = &result.error {
                findings.add(format!(
                    "{}: FetchCompany fails because of a field that does not exist: {error}",
                    result.object
                ));
            }
        }
    }
    findings.done(format!("reported for {} objects", selection.len()))
}
