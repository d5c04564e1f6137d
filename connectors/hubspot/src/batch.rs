//! Records by their ids. Each id is either returned, reported as absent by HubSpot itself, or requested again.

use std::collections::{HashMap, HashSet};

use tether_connector_sdk::proto::{Error, ErrorKind};

use crate::bodies::{self, Batch, Input};
use crate::page::{self, Row};
use crate::plan::{PAGE, Plan};
use crate::rest::{self, Session};

/// Records by id, and the selected properties that no record mentions (all of them if there is no record). A missing
/// id is a deleted record: HubSpot reported it as absent or merged. An id that HubSpot does not mention is requested
/// again, and finally becomes an error.
pub(crate) async fn records(
    session: &Session,
    plan: &Plan,
    ids: &[&str],
) -> Result<(HashMap<String, Row>, Vec<String>), Error> {
    let path = format!("/crm/v3/objects/{}/batch/read", plan.object.key);
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
            let ((page, lacking), _) = session.post(&path, &body, read).await?;
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
    Ok((found, unmentioned))
}

/// Checks that a record missing from a batch is deleted or merged; the id of a merged record resolves to its winner.
async fn is_gone(session: &Session, plan: &Plan, id: &str) -> Result<(), Error> {
    let path = Plan::new(plan.object, &[], None, session.api().options.address_budget)
        .0
        .record_path(id, &[]);
    match session.get(&path, |text| page::read_one(plan, text)).await {
        Ok((page, _)) if page.rows.iter().all(|row| row.record.external_id != id) => Ok(()),
        Ok(_) => Err(Error::transient("HubSpot passed over a record that it has").object(plan.object.key)),
        Err(error) if error.is(ErrorKind::RecordGone) => Ok(()),
        Err(error) => Err(error),
    }
}
