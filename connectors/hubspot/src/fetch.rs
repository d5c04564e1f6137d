//! Reads one company with its related records, live. HubSpot has no single call for this: one call reads the company
//! and its links, and for each related object one call reads the records and one their companies, so at most seven
//! calls if everything fits into one page each. Independent calls run concurrently.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures_util::future::{join_all, try_join, try_join_all};
use futures_util::{StreamExt, TryStreamExt, stream};
use tether_connector_sdk::crm::{CrmObject as _, Fields as _, describe};
use tether_connector_sdk::proto::{Error, ErrorKind, FetchCompanyRequest, ObjectResult, Record};
use tether_connector_sdk::reading::Known;

use crate::batch::Batched;
use crate::objects::{self, COMPANY, CrmObject};
use crate::page::{self, Page, Row, tombstone};
use crate::plan::Plan;
use crate::properties::Described;
use crate::rest::Session;
use crate::{associations, batch, ids};

/// Default number of related records per object.
const RELATED_LIMIT: u32 = 200;
/// The largest number.
const MOST_RELATED: u32 = 1_000;
/// Companies fetched concurrently.
const AT_ONCE: usize = 4;

/// Linked records of one object, ordered by id, and whether there are more.
type Linked = Result<(Vec<String>, bool), Error>;

/// A company as returned by HubSpot.
struct Found {
    record: Record,
    linked: HashMap<&'static str, Linked>,
    unmentioned: Vec<String>,
    time_us: i64,
}

/// Fetches companies. Also returns the time of the read by HubSpot's clock; 0 if unknown.
pub(crate) async fn fetch(
    session: &Session,
    request: FetchCompanyRequest,
) -> Result<(Vec<ObjectResult>, i64), Error> {
    let limit = match request.related_limit {
        0 => RELATED_LIMIT,
        limit => limit.min(MOST_RELATED),
    } as usize;
    for id in &request.external_ids {
        ids::check(id).ok_or_else(|| Error::invalid_input("an external id is no HubSpot record id"))?;
    }
    let budget = session.api().options.address_budget;
    let mut plans = Vec::with_capacity(request.selection.len());
    for selection in &request.selection {
        let object = objects::named(&selection.object)?;
        plans.push(Plan::new(object, &selection.fields, None, budget).0);
    }
    let company = plans.iter().find(|plan| plan.object.is_company()).cloned();
    let company = company.unwrap_or_else(|| Plan::new(COMPANY, &[], None, budget).0);
    let related: Vec<&'static CrmObject> = plans
        .iter()
        .map(|plan| plan.object)
        .filter(|object| !object.is_company())
        .collect();
    let found: Vec<Found> = stream::iter(request.external_ids)
        .map(|id| one(session, &company, id, &related, limit))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let mut objects = Vec::with_capacity(plans.len());
    for plan in &plans {
        objects.push(result(session, plan, &found));
    }
    let objects = try_join_all(objects).await?;
    let answered = found
        .iter()
        .map(|one| one.time_us)
        .filter(|time| *time != i64::MAX);
    Ok((objects, answered.min().unwrap_or(0)))
}

/// Fetches one company, with the ids of its related records.
async fn one(
    session: &Session,
    plan: &Plan,
    id: String,
    related: &[&'static CrmObject],
    limit: usize,
) -> Result<Found, Error> {
    let id = id.as_str();
    let keys: Vec<&'static str> = related.iter().map(|object| object.key).collect();
    let mut listed = !keys.is_empty();
    let mut answer = get(session, plan, id, &keys).await;
    // One invisible object must not hide the company: the links are queried one by one.
    if let Err(error) = &answer
        && listed
        && matches!(error.what(), ErrorKind::Forbidden | ErrorKind::Bug)
    {
        listed = false;
        answer = get(session, plan, id, &[]).await;
    }
    let gone = |record, time_us| Found {
        record,
        linked: HashMap::new(),
        unmentioned: Vec::new(),
        time_us,
    };
    let (mut page, time_us) = match answer {
        Ok(answered) => answered,
        // Archived, or permanently deleted.
        Err(error) if error.is(ErrorKind::RecordGone) => return Ok(gone(tombstone(id, ""), i64::MAX)),
        Err(error) => return Err(error.object(COMPANY.key)),
    };
    let Some(row) = page.rows.pop() else {
        return Err(Error::bug("HubSpot answered without a record").object(COMPANY.key));
    };
    if row.record.external_id != id {
        return Ok(gone(tombstone(id, &row.record.external_id), time_us));
    }
    let (mut record, mut unmentioned) = (row.record.clone(), page.unmentioned);
    if plan.wide {
        let mut whole = batch::records(session, plan, &[id]).await?;
        match whole.rows.remove(id) {
            Some(row) => (record, unmentioned) = (row.record, whole.unmentioned),
            None => return Ok(gone(tombstone(id, ""), time_us)),
        }
    }
    let mut links = Vec::with_capacity(related.len());
    for object in related {
        let inline = listed.then(|| {
            row.linked
                .get(object.key)
                .cloned()
                .unwrap_or((BTreeSet::new(), true))
        });
        links.push(linked(session, object, id, inline, limit));
    }
    let links = join_all(links).await;
    Ok(Found {
        record,
        linked: keys.into_iter().zip(links).collect(),
        unmentioned,
        time_us,
    })
}

async fn get(session: &Session, plan: &Plan, id: &str, related: &[&str]) -> Result<(Page, i64), Error> {
    let path = plan.record_path(id, related);
    session.get(&path, |text| page::read_one(plan, text)).await
}

/// The related records of one object of a company: from the company's record, or queried if that list is incomplete.
async fn linked(
    session: &Session,
    object: &CrmObject,
    id: &str,
    inline: Option<(BTreeSet<String>, bool)>,
    limit: usize,
) -> Linked {
    let ends = match inline {
        Some((ends, all)) if all || ends.len() > limit => ends,
        _ => {
            let ends = associations::ends(session, COMPANY, object, &[id], limit + 1).await?;
            ends.into_values().flatten().collect()
        }
    };
    let more = ends.len() > limit;
    let mut ends: Vec<String> = ends.into_iter().collect();
    ends.sort_by_key(|id| ids::value(id));
    ends.truncate(limit);
    Ok((ends, more))
}

/// The result for one object.
async fn result(session: &Session, plan: &Plan, found: &[Found]) -> Result<ObjectResult, Error> {
    let result = if plan.object.is_company() {
        companies(session, plan, found).await?
    } else {
        children(session, plan, found).await?
    };
    Ok(ObjectResult {
        object: plan.object.key.to_owned(),
        ..result
    })
}

async fn companies(session: &Session, plan: &Plan, found: &[Found]) -> Result<ObjectResult, Error> {
    let live = found.iter().filter(|one| !one.record.deleted);
    let unmentioned = common(live.map(|one| &one.unmentioned));
    Ok(ObjectResult {
        records: found.iter().map(|one| one.record.clone()).collect(),
        missing_fields: missing(session, plan, unmentioned).await?,
        ..ObjectResult::default()
    })
}

async fn children(session: &Session, plan: &Plan, found: &[Found]) -> Result<ObjectResult, Error> {
    match try_children(session, plan, found).await {
        Ok(result) => Ok(result),
        Err(error) if error.is_account_wide() => Err(error),
        Err(error) => Ok(ObjectResult {
            error: Some(error.object(plan.object.key)),
            ..ObjectResult::default()
        }),
    }
}

async fn try_children(session: &Session, plan: &Plan, found: &[Found]) -> Result<ObjectResult, Error> {
    let mut more = false;
    let mut wanted: BTreeMap<u64, &str> = BTreeMap::new();
    for one in found {
        match one.linked.get(plan.object.key) {
            Some(Ok((ids, longer))) => {
                more |= longer;
                wanted.extend(ids.iter().map(|id| (ids::value(id), id.as_str())));
            }
            Some(Err(error)) => return Err(error.clone()),
            None => {}
        }
    }
    let wanted: Vec<&str> = wanted.into_values().collect();
    if wanted.is_empty() {
        // No record shows which fields are missing; for a deleted company this is not needed.
        let live = found.iter().any(|one| !one.record.deleted);
        return Ok(ObjectResult {
            more,
            missing_fields: match live {
                true => missing_without_records(session, plan).await?,
                false => Vec::new(),
            },
            ..ObjectResult::default()
        });
    }
    let (
        Batched {
            mut rows,
            unmentioned,
            ..
        },
        parents,
    ) = try_join(
        batch::records(session, plan, &wanted),
        associations::ends(session, plan.object, COMPANY, &wanted, usize::MAX),
    )
    .await?;
    let mut records: Vec<Record> = wanted
        .iter()
        .filter_map(|id| rows.remove(*id))
        .map(|Row { record, .. }| record)
        .collect();
    for record in &mut records {
        record.parents = associations::parents(&parents, &record.external_id);
    }
    Ok(ObjectResult {
        records,
        more,
        missing_fields: missing(session, plan, unmentioned).await?,
        ..ObjectResult::default()
    })
}

/// The ids that all lists have in common.
fn common<'a>(mut lists: impl Iterator<Item = &'a Vec<String>>) -> Vec<String> {
    let first = lists.next().cloned().unwrap_or_default();
    lists.fold(first, |common, list| {
        common.into_iter().filter(|one| list.contains(one)).collect()
    })
}

/// The missing properties of an object of which the company has no records. What is remembered of the properties shows
/// only that none is missing.
async fn missing_without_records(session: &Session, plan: &Plan) -> Result<Vec<String>, Error> {
    let keys = || plan.columns.iter().map(|column| column.key.as_str());
    if let Some(described) = session.remembered::<Described>(plan.object.key)
        && keys().all(|key| matches!(described.known(key), Known::Field(_)))
    {
        return Ok(Vec::new());
    }
    missing(session, plan, keys().map(str::to_owned).collect()).await
}

/// HubSpot silently omits properties that it does not know. Properties that no record mentions are looked up before
/// they are reported as missing.
async fn missing(session: &Session, plan: &Plan, unmentioned: Vec<String>) -> Result<Vec<String>, Error> {
    if unmentioned.is_empty() {
        return Ok(Vec::new());
    }
    let Some(described) = describe(session, plan.object).await? else {
        // They are invisible together with their object, not missing.
        return Ok(Vec::new());
    };
    Ok(unmentioned
        .into_iter()
        .filter(|key| matches!(described.known(key), Known::Gone))
        .collect())
}
