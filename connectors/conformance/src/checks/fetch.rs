//! Live reads of one company.

use std::collections::{BTreeMap, HashSet};

use tether_connector_host::proto::{
    Connection, FetchCompanyRequest, FetchCompanyResponse, ObjectSelection, Record,
};

use super::check::Check;
use crate::connector::{CALL_TIMEOUT, Connector, now_us};
use crate::finding::{CheckResult, Context as _, Findings, Halt, fails};
use crate::quirks::Lack;
use crate::rows::{Rows, same};
use crate::world::World;

pub(super) const KNOWN: Check = Check {
    id: "fetch.known",
    title: "FetchCompany returns the same bytes as a full read, with all related records",
    why: "The records of an opened profile are stored: another form of the same value would be stored as a change.",
    spec: &["FETCH-1", "FETCH-5", "RECORD-2"],
    run: |world| Box::pin(known(world)),
};

pub(super) const ABSENT: Check = Check {
    id: "fetch.absent",
    title: "a company record that does not exist is returned as deleted",
    why: "The server removes the stored record because of it; after an error the record would stay forever.",
    spec: &["FETCH-2"],
    run: |world| Box::pin(absent(world)),
};

pub(super) const DELETED: Check = Check {
    id: "fetch.deleted",
    title: "a company record that the CRM has marked as deleted is never returned as a live one",
    why: "Many CRMs still return records in the recycle bin: a deleted company would stay on the platform.",
    spec: &["FETCH-2", "RECORD-6"],
    run: |world| Box::pin(deleted(world)),
};

pub(super) const MANY: Check = Check {
    id: "fetch.many",
    title: "up to 20 companies at once; related_limit is respected, and `more` is true exactly if there are more records",
    why: "Without `more` the list counts as complete, and stored records that it lacks are removed.",
    spec: &["FETCH-4", "LIMIT-5"],
    run: |world| Box::pin(many(world)),
};

/// The related records of a company in a full read, by object.
fn related<'a>(rows: &'a Rows, company: &str, id: &str) -> BTreeMap<&'a str, Vec<&'a Record>> {
    let mut related: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for ((object, _), record) in &rows.records {
        let under = record
            .parents
            .iter()
            .any(|parent| parent.object == company && parent.external_id == id);
        if object != company && under && !record.deleted {
            related.entry(object).or_default().push(record);
        }
    }
    related
}

/// The live companies of a full read, those with the most related records first.
fn companies<'a>(rows: &'a Rows, company: &str) -> Vec<&'a str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for ((object, id), record) in &rows.records {
        if object == company && !record.deleted {
            counts.entry(id).or_default();
        }
        for parent in record
            .parents
            .iter()
            .filter(|parent| parent.object == company && !record.deleted)
        {
            *counts.entry(&parent.external_id).or_default() += 1;
        }
    }
    let exists = |id: &&str| {
        rows.records
            .get(&(company.to_owned(), (*id).to_owned()))
            .is_some_and(|record| !record.deleted)
    };
    let mut ids: Vec<_> = counts.into_iter().filter(|(id, _)| exists(id)).collect();
    ids.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    ids.into_iter().map(|(id, _)| id).collect()
}

async fn fetch(
    connector: &Connector,
    connection: &Connection,
    selection: &[ObjectSelection],
    ids: &[&str],
    related_limit: u32,
) -> Result<FetchCompanyResponse, Halt> {
    let request = FetchCompanyRequest {
        connection: Some(connection.clone()),
        external_ids: ids.iter().map(|&id| id.to_owned()).collect(),
        selection: selection.to_vec(),
        related_limit,
    };
    let fetched = connector
        .fetch_company(request, CALL_TIMEOUT)
        .await
        .context("FetchCompany")?;
    let objects: Vec<_> = fetched
        .objects
        .iter()
        .map(|result| result.object.as_str())
        .collect();
    let expected: Vec<_> = selection
        .iter()
        .map(|selection| selection.object.as_str())
        .collect();
    if objects != expected {
        return Err(fails(format!(
            "FetchCompany returns {objects:?}; expected {expected:?}, in this order"
        )));
    }
    Ok(fetched)
}

async fn known(world: &World) -> CheckResult {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let company = world.company(&connector).await?;
    let whole = world.full_read(&connector).await?;
    let selection = world.selection(&connector).await?;
    let connection = world.log_in(&connector).await?;
    let ids = companies(whole, &company);
    let (mut rows, mut fetched_companies) = (0, 0);
    for id in ids.iter().take(3).chain(ids.iter().skip(3).last()) {
        fetched_companies += 1;
        let fetched = fetch(&connector, &connection, &selection, &[id], 0).await?;
        let late = fetched.read_time_us > now_us() + 5_000_000;
        findings.unless(!late && fetched.read_time_us >= 0, || {
            format!(
                "{company} {id}: read_time_us is {}: before 1970, or in the future",
                fetched.read_time_us
            )
        });
        let related = related(whole, &company, id);
        for result in &fetched.objects {
            let object = &result.object;
            if let Some(error) = &result.error {
                findings.add(format!("{object} of {id}: {error}"));
                continue;
            }
            findings.unless(result.missing_fields.is_empty(), || {
                format!(
                    "{object} of {id}: fields of the full read are missing: {:?}",
                    result.missing_fields
                )
            });
            let key = (company.clone(), (*id).to_owned());
            let expected: Vec<&Record> = if *object == company {
                whole.records.get(&key).into_iter().collect()
            } else {
                related.get(object.as_str()).cloned().unwrap_or_default()
            };
            compare_with_full_read(&mut findings, object, id, &result.records, &expected, result.more);
            rows += result.records.len();
        }
    }
    findings.unless(fetched_companies > 0, || "the fixture has no company".to_owned());
    findings.done(format!("{fetched_companies} companies, {rows} rows"))
}

fn compare_with_full_read(
    findings: &mut Findings,
    object: &str,
    id: &str,
    found: &[Record],
    expected: &[&Record],
    more: bool,
) {
    let ids: HashSet<_> = found.iter().map(|record| record.external_id.as_str()).collect();
    findings.unless(ids.len() == found.len(), || {
        format!("{object} of {id}: a record is returned twice")
    });
    for record in found {
        match expected
            .iter()
            .find(|expected| expected.external_id == record.external_id)
        {
            None => findings.add(format!(
                "{object} {} of {id} is not in the full read",
                record.external_id
            )),
            Some(expected) if !same(record, expected) => findings.add(format!(
                "{object} {} of {id} differs from the full read: {}",
                record.external_id,
                differing_part(record, expected)
            )),
            Some(_) => {}
        }
    }
    let lacking = expected
        .iter()
        .filter(|expected| !ids.contains(expected.external_id.as_str()))
        .count();
    findings.unless(lacking == 0 || more, || {
        format!("{object} of {id} lacks {lacking} records of the full read, and `more` is not set")
    });
}

fn differing_part(one: &Record, other: &Record) -> &'static str {
    match () {
        () if one.payload != other.payload => "the payload differs",
        () if one.modified_us != other.modified_us => "modified_us differs",
        () if one.parents != other.parents => "the parents differ",
        () if one.display_name != other.display_name => "display_name differs",
        () if one.homepage != other.homepage => "homepage differs",
        () if one.homepages != other.homepages => "homepages differ",
        () => "deleted or merged_into differ",
    }
}

async fn absent(world: &World) -> CheckResult {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let company = world.company(&connector).await?;
    let selection = world.selection(&connector).await?;
    let connection = world.log_in(&connector).await?;
    let absent = world.quirks.absent_company.as_str();
    let fetched = fetch(&connector, &connection, &selection, &[absent], 0).await?;
    for result in &fetched.objects {
        if let Some(error) = &result.error {
            findings.add(format!(
                "{} of a company that does not exist: {error}",
                result.object
            ));
        } else if result.object == company {
            let gone = matches!(result.records.as_slice(), [record] if record.deleted);
            findings.unless(gone, || {
                let (all, deleted) = (
                    result.records.len(),
                    result.records.iter().filter(|record| record.deleted).count(),
                );
                format!("{company} has {all} records, {deleted} of them deleted; expected one deleted record")
            });
        } else {
            findings.unless(result.records.is_empty() && !result.more, || {
                format!("{} has records of a company that does not exist", result.object)
            });
        }
    }
    findings.done(format!("{absent} is returned as deleted"))
}

async fn deleted(world: &World) -> CheckResult {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let company = world.company(&connector).await?;
    let whole = world.full_read(&connector).await?;
    let of_companies = || whole.records.iter().filter(|((object, _), _)| *object == company);
    let listed = of_companies().find(|(_, record)| record.deleted);
    let id = match (&world.quirks.deleted_company, listed) {
        (Some(id), _) => id.clone(),
        (None, Some(((_, id), _))) => id.clone(),
        (None, None) => {
            let reason =
                "the full read lists no deleted company, and conformance.toml names no deleted_company";
            return Err(Halt::Lacks(reason.to_owned()));
        }
    };
    let live = of_companies().any(|((_, listed), record)| *listed == id && !record.deleted);
    findings.unless(!live, || format!("the full read returns {company} {id} as live"));
    let selection = world.selection(&connector).await?;
    let connection = world.log_in(&connector).await?;
    let fetched = fetch(&connector, &connection, &selection, &[&id], 0).await?;
    for result in fetched.objects.iter().filter(|result| result.object == company) {
        let gone =
            matches!(result.records.as_slice(), [record] if record.deleted && record.external_id == id);
        findings.unless(gone, || {
            format!(
                "FetchCompany returns {company} {id}, which is deleted, as {} live records",
                result.records.len()
            )
        });
    }
    findings.done(format!("{id} is returned as deleted"))
}

async fn many(world: &World) -> CheckResult {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let company = world.company(&connector).await?;
    let whole = world.full_read(&connector).await?;
    let selection = world.selection(&connector).await?;
    let connection = world.log_in(&connector).await?;
    let mut ids = companies(whole, &company);
    ids.truncate(19);
    let company_with_most = ids.first().copied().unwrap_or_default();
    let all: Vec<_> = ids
        .iter()
        .copied()
        .chain([world.quirks.absent_company.as_str()])
        .collect();
    let fetched = fetch(&connector, &connection, &selection, &all, 0).await?;
    if let Some(result) = fetched.objects.iter().find(|result| result.object == company) {
        for id in &all {
            let records: Vec<_> = result
                .records
                .iter()
                .filter(|record| record.external_id == **id)
                .collect();
            let found = matches!(records.as_slice(), [record] if record.deleted != ids.contains(id));
            findings.unless(found, || {
                format!(
                    "{} companies at once: {id} is returned {} times, or as deleted by mistake",
                    all.len(),
                    records.len()
                )
            });
        }
    }
    let related = related(whole, &company, company_with_most);
    let limited = fetch(&connector, &connection, &selection, &[company_with_most], 1).await?;
    let mut several = 0;
    for result in limited.objects.iter().filter(|result| result.object != company) {
        let existing = related.get(result.object.as_str()).map_or(0, Vec::len);
        several += usize::from(existing > 1);
        findings.unless(result.records.len() == existing.min(1), || {
            format!(
                "{} with related_limit 1: {} of {existing} records",
                result.object,
                result.records.len()
            )
        });
        findings.unless(result.more == (existing > 1), || {
            format!(
                "{} with related_limit 1: `more` is {}, {existing} exist",
                result.object, result.more
            )
        });
    }
    let shown = several > 0 || world.quirks.lack(Lack::Related).is_some();
    findings.unless(shown, || {
        "no company of the fixture has two related records of one object: related_limit cannot be checked"
            .to_owned()
    });
    findings.done(format!("{} at once; {several} objects limited", all.len()))
}
