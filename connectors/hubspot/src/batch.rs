//! Records by their ids. Each id is either returned, reported as absent by HubSpot itself, or requested again.

use std::collections::{HashMap, HashSet};

use tether_connector_sdk::proto::{Error, ErrorKind};

use crate::bodies::{self, Batch, Input};
use crate::objects::CrmObject;
use crate::page::{self, Row};
use crate::plan::{PAGE, Plan};
use crate::rest::{self, Session};

/// Records by id.
pub(crate) struct Batched {
    pub(crate) rows: HashMap<String, Row>,
    /// The selected properties that no record mentions; all of them if there is no record.
    pub(crate) unmentioned: Vec<String>,
    /// The earliest time of the replies by HubSpot's clock; 0 if one is unknown.
    pub(crate) time_us: i64,
}

/// Reads records by id. A missing id is a deleted record: HubSpot reported it as absent or merged. An id that HubSpot does
/// not mention is requested again, and finally becomes an error.
pub(crate) async fn records(session: &Session, plan: &Plan, ids: &[&str]) -> Result<Batched, Error> {
    let path = format!("/crm/v3/objects/{}/batch/read", plan.object.key);
    let mut time_us = None;
    let mut found: HashMap<String, Row> = HashMap::with_capacity(ids.len());
    let mut unmentioned: Option<HashSet<String>> = None;
    for ids in ids.chunks(PAGE) {
        let mut left: Vec<&str> = ids.to_vec();
        let mut attempt = 0;
        while !left.is_empty() {
            attempt += 1;
            let input = |id: &&str| Input {
                id: (*id).to_owned(),
                after: None,
            };
            let body = bodies::text(&Batch {
                inputs: left.iter().map(input).collect(),
                properties: plan.names().into_iter().map(str::to_owned).collect(),
            });
            let read = |text: &str| page::read_batch(plan, text);
            let ((page, lacking), read_us) = session.post(&path, &body, read).await?;
            time_us = Some(time_us.map_or(read_us, |before: i64| before.min(read_us)));
            if !page.rows.is_empty() {
                let none: HashSet<String> = page.unmentioned.into_iter().collect();
                unmentioned = Some(match unmentioned {
                    Some(before) => before.intersection(&none).cloned().collect(),
                    None => none,
                });
            }
            let asked: HashSet<&str> = left.iter().copied().collect();
            let rows = page
                .rows
                .into_iter()
                .filter(|row| asked.contains(row.record.external_id.as_str()));
            found.extend(rows.map(|row| (row.record.external_id.clone(), row)));
            left.retain(|id| !found.contains_key(*id) && !lacking.gone.contains(*id));
            match lacking.failed {
                _ if left.is_empty() => {}
                Some(_) if rest::pause(session, attempt).await? => {}
                Some(failed) => {
                    let text = format!("HubSpot did not give all records ({failed})");
                    return Err(Error::transient(text).object(plan.object.key));
                }
                None => {
                    for id in std::mem::take(&mut left) {
                        is_gone(session, plan, id).await?;
                    }
                }
            }
        }
    }
    let unmentioned = match unmentioned {
        Some(unmentioned) => unmentioned.into_iter().collect(),
        None => plan.columns.iter().map(|column| column.key.clone()).collect(),
    };
    Ok(Batched {
        rows: found,
        unmentioned,
        time_us: time_us.unwrap_or(0),
    })
}

/// Those of the ids that HubSpot lists as archived.
pub(crate) async fn archived(
    session: &Session,
    object: &'static CrmObject,
    ids: &[&str],
) -> Result<HashMap<String, Row>, Error> {
    let path = format!("/crm/v3/objects/{}/batch/read?archived=true", object.key);
    let plan = Plan::new(object, &[], None, session.api().options.address_budget).0;
    let mut found = HashMap::new();
    for ids in ids.chunks(PAGE) {
        let input = |id: &&str| Input {
            id: (*id).to_owned(),
            after: None,
        };
        let body = bodies::text(&Batch {
            inputs: ids.iter().map(input).collect(),
            properties: vec!["hs_object_id".to_owned()],
        });
        let mut attempt = 0;
        loop {
            attempt += 1;
            let ((page, lacking), _) = session
                .post(&path, &body, |text| page::read_batch(&plan, text))
                .await?;
            if let Some(failed) = lacking.failed {
                if rest::pause(session, attempt).await? {
                    continue;
                }
                let text = format!("HubSpot did not give all archived records ({failed})");
                return Err(Error::transient(text).object(object.key));
            }
            let rows = page.rows.into_iter();
            let rows =
                rows.filter(|row| row.record.deleted && ids.contains(&row.record.external_id.as_str()));
            found.extend(rows.map(|row| (row.record.external_id.clone(), row)));
            break;
        }
    }
    Ok(found)
}

/// The record as which HubSpot knows an id: of a merged record its winner; None if it does not know the id.
pub(crate) async fn known_as(
    session: &Session,
    object: &'static CrmObject,
    id: &str,
) -> Result<Option<String>, Error> {
    let plan = Plan::new(object, &[], None, session.api().options.address_budget).0;
    let path = plan.record_path(id, &[]);
    match session.get(&path, |text| page::read_one(&plan, text)).await {
        Ok((page, _)) => Ok(page.rows.into_iter().next().map(|row| row.record.external_id)),
        Err(error) if error.is(ErrorKind::RecordGone) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Checks that a record missing from a batch is deleted or merged; the id of a merged record resolves to its winner.
async fn is_gone(session: &Session, plan: &Plan, id: &str) -> Result<(), Error> {
    match known_as(session, plan.object, id).await? {
        Some(known) if known == id => {
            Err(Error::transient("HubSpot passed over a record that it has").object(plan.object.key))
        }
        _ => Ok(()),
    }
}
