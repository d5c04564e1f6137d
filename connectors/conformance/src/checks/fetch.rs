//! Live reads of one company.

use std::collections::{BTreeMap, HashSet};

use tether_connector_host::proto::{
    Connection, FetchCompanyRequest, FetchCompanyResponse, ObjectSelection, Record,
};

use super::check::Check;
use crate::connector::{AMPLE, Connector, now_us};
use crate::finding::{Findings, Halt, Seen, Told as _, fails};
use crate::quirks::Lack;
use crate::rows::{Rows, same};
use crate::world::World;

pub(super) const KNOWN: Check = Check {
    id: "fetch.known",
    title: "a company fetched live is, to the byte, what a full read gives, with all its related records",
    why: "A profile that is opened stores what it reads: another form of the same value is a change that is none.",
    spec: &["FETCH-1", "FETCH-5", "RECORD-2"],
    run: |world| Box::pin(known(world)),
};

pub(super) const ABSENT: Check = Check {
    id: "fetch.absent",
    title: "a company record that is gone comes as deleted",
    why: "It is the proof on which the server removes it; an error would keep it forever.",
    spec: &["FETCH-2"],
    run: |world| Box::pin(absent(world)),
};

pub(super) const DELETED: Check = Check {
    id: "fetch.deleted",
    title: "a company record that the CRM still has, as deleted, is never given as a live one",
    why: "Many CRMs go on giving what lies in the recycle bin: a company that was deleted would stay on the platform.",
    spec: &["FETCH-2", "RECORD-6"],
    run: |world| Box::pin(deleted(world)),
};

pub(super) const MANY: Check = Check {
    id: "fetch.many",
    title: "up to 20 companies at once; related_limit is kept and `more` is true exactly where there are more",
    why: "Without `more` the list counts as complete, and what is not in it is taken for gone.",
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
    let there = |id: &&str| {
        rows.records
            .get(&(company.to_owned(), (*id).to_owned()))
            .is_some_and(|record| !record.deleted)
    };
    let mut ids: Vec<_> = counts.into_iter().filter(|(id, _)| there(id)).collect();
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
        .fetch_company(request, AMPLE)
        .await
        .told("FetchCompany")?;
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
            "FetchCompany answers {objects:?}; {expected:?} was selected, in this order"
        )));
    }
    Ok(fetched)
}

async fn known(world: &World) -> Seen {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let company = world.company(&connector).await?;
    let whole = world.whole(&connector).await?;
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
            compare(&mut findings, object, id, &result.records, &expected, result.more);
            rows += result.records.len();
        }
    }
    findings.unless(fetched_companies > 0, || "the fixture has no company".to_owned());
    findings.done(format!("{fetched_companies} companies, {rows} rows"))
}

fn compare(
    findings: &mut Findings,
    object: &str,
    id: &str,
    found: &[Record],
    expected: &[&Record],
    more: bool,
) {
    let ids: HashSet<_> = found.iter().map(|record| record.external_id.as_str()).collect();
    findings.unless(ids.len() == found.len(), || {
        format!("{object} of {id}: a record comes twice")
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
                "{object} {} of {id} is not as in the full read: {}",
                record.external_id,
                differs(record, expected)
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

fn differs(one: &Record, other: &Record) -> &'static str {
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

async fn absent(world: &World) -> Seen {
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
                "{} of a company that is not there: {error}",
                result.object
            ));
        } else if result.object == company {
            let gone = matches!(result.records.as_slice(), [record] if record.deleted);
            findings.unless(gone, || {
                let (all, deleted) = (
                    result.records.len(),
                    result.records.iter().filter(|record| record.deleted).count(),
                );
                format!(
                    "{company} has {all} records, {deleted} of them deleted; one that is deleted is right"
                )
            });
        } else {
            findings.unless(result.records.is_empty() && !result.more, || {
                format!("{} has records of a company that is not there", result.object)
            });
        }
    }
    findings.done(format!("{absent} is told as deleted"))
}

async fn deleted(world: &World) -> Seen {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let company = world.company(&connector).await?;
    let whole = world.whole(&connector).await?;
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
    findings.unless(!live, || format!("the full read gives {company} {id} as live"));
    let selection = world.selection(&connector).await?;
    let connection = world.log_in(&connector).await?;
    let fetched = fetch(&connector, &connection, &selection, &[&id], 0).await?;
    for result in fetched.objects.iter().filter(|result| result.object == company) {
        let gone =
            matches!(result.records.as_slice(), [record] if record.deleted && record.external_id == id);
        findings.unless(gone, || {
            format!(
                "FetchCompany gives {company} {id}, which is deleted, as {} live records",
                result.records.len()
            )
        });
    }
    findings.done(format!("{id} is told as deleted"))
}

async fn many(world: &World) -> Seen {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let company = world.company(&connector).await?;
    let whole = world.whole(&connector).await?;
    let selection = world.selection(&connector).await?;
    let connection = world.log_in(&connector).await?;
    let mut ids = companies(whole, &company);
    ids.truncate(19);
    let rich = ids.first().copied().unwrap_or_default();
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
            let right = matches!(records.as_slice(), [record] if record.deleted != ids.contains(id));
            findings.unless(right, || {
                format!(
                    "{} companies at once: {id} comes {} times, or wrong",
                    all.len(),
                    records.len()
                )
            });
        }
    }
    let related = related(whole, &company, rich);
    let limited = fetch(&connector, &connection, &selection, &[rich], 1).await?;
    let mut several = 0;
    for result in limited.objects.iter().filter(|result| result.object != company) {
        let there = related.get(result.object.as_str()).map_or(0, Vec::len);
        several += usize::from(there > 1);
        findings.unless(result.records.len() == there.min(1), || {
            format!(
                "{} with related_limit 1: {} of {there} records",
                result.object,
                result.records.len()
            )
        });
        findings.unless(result.more == (there > 1), || {
            format!(
                "{} with related_limit 1: `more` is {}, there are {there}",
                result.object, result.more
            )
        });
    }
    let shown = several > 0 || world.quirks.lack(Lack::Related).is_some();
    findings.unless(shown, || {
        "no company of the fixture has two related records of one object: related_limit proves nothing"
            .to_owned()
    });
    findings.done(format!("{} at once; {several} objects limited", all.len()))
}
