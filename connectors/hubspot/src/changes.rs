//! What changed, by HubSpot's search; and records by their ids.
//!
//! A search returns at most 10,000 records, and very many records may have the same time of change. So it is sorted by id, and
//! each page is a search of its own for what is behind the last id: no search is ever paged. (That a search sorts and compares
//! `hs_object_id` as a number is not documented; other connectors rely on it. It is checked.)
//!
//! The index of the search follows the records with a delay, so a search is asked for ids only: the records are then read
//! themselves. A record that was archived meanwhile is in the list of archived records, and a merged one in its winner.

use serde::Deserialize;
use tether_connector_sdk::proto::{Error, Record};

use crate::bodies::{self, Filter, FilterGroup, Search, Sort};
use crate::objects::CrmObject;
use crate::page::{Paging, Row, tombstone};
use crate::plan::Plan;
use crate::rest::{self, Session};
use crate::{batch, ids};

/// Ids per search, HubSpot's maximum.
const A_SEARCH: usize = 200;
/// How often a search is sent that counts records and lists none.
const MOST_TRIES: u32 = 3;
/// The error code of a search that may leave something out: it is not in the order of ids, or its count and its records disagree.
pub(crate) const UNUSABLE: &str = "search_unusable";

/// The ids of some records that changed.
#[derive(Debug, PartialEq)]
pub(crate) struct Changed {
    pub(crate) ids: Vec<String>,
    /// No others follow.
    pub(crate) last: bool,
}

#[derive(Deserialize)]
struct Reply {
    total: usize,
    results: Vec<Found>,
    #[serde(default)]
    paging: Option<Paging>,
}

#[derive(Deserialize)]
struct Found {
    id: String,
}

/// The search for what changed at `since_us` or later, behind the id `after`.
fn search(object: &CrmObject, since_us: i64, after: &str) -> Search {
    const ID: &str = "hs_object_id";
    let filter = |property: &str, operator: &str, value: String| Filter {
        property_name: property.to_owned(),
        operator: operator.to_owned(),
        value,
    };
    let since_ms = since_us.div_euclid(1_000);
    let mut filters = vec![filter(object.modified, "GTE", since_ms.to_string())];
    if !after.is_empty() {
        filters.push(filter(ID, "GT", after.to_owned()));
    }
    Search {
        limit: A_SEARCH,
        properties: vec![ID.to_owned()],
        filter_groups: vec![FilterGroup { filters }],
        sorts: vec![Sort {
            property_name: ID.to_owned(),
            direction: "ASCENDING".to_owned(),
        }],
    }
}

/// The ids of the next records that changed at `since_us` or later, and HubSpot's time.
pub(crate) async fn changed(
    session: &Session,
    object: &CrmObject,
    since_us: i64,
    after: &str,
) -> Result<(Changed, i64), Error> {
    let path = format!("/crm/v3/objects/{}/search", object.key);
    let body = bodies::text(&search(object, since_us, after));
    let read = |text: &str| serde_json::from_str::<Reply>(text);
    let mut tries = 0;
    loop {
        tries += 1;
        let (reply, time_us) = session.post(&path, &body, read).await?;
        let changed = checked(reply, after).map_err(|error| error.object(object.key))?;
        if changed.last || !changed.ids.is_empty() {
            return Ok((changed, time_us));
        }
        if tries == MOST_TRIES || !rest::pause(session, tries).await? {
            let error = Error::bug("HubSpot's search counts records and lists none").code(UNUSABLE);
            return Err(error.object(object.key));
        }
    }
}

/// Checks that a search lists what is behind an id in the order of ids: only then nothing is left out. Count and records come from an
/// index that changes meanwhile, and may disagree: the last page is one of which neither says that others follow.
fn checked(reply: Reply, after: &str) -> Result<Changed, Error> {
    let mut before = after;
    for Found { id } in &reply.results {
        let behind = before.is_empty() || ids::value(id) > ids::value(before);
        if ids::check(id).is_none() || !behind {
            return Err(Error::bug("HubSpot's search is not in the order of ids").code(UNUSABLE));
        }
        before = id;
    }
    let last = reply.results.len() >= reply.total && Paging::after(reply.paging).is_none();
    let ids = reply.results.into_iter().map(|found| found.id).collect();
    Ok(Changed { ids, last })
}

/// Records by id.
pub(crate) struct Named {
    pub(crate) rows: Vec<Row>,
    /// Tombstones of archived and merged ones.
    pub(crate) gone: Vec<Record>,
    /// The earliest time of the replies by HubSpot's clock; 0 if one is unknown.
    pub(crate) time_us: i64,
}

/// The records with these ids. An id that HubSpot does not know is neither among the rows nor among those that are gone.
pub(crate) async fn named(session: &Session, plan: &Plan, ids: &[&str]) -> Result<Named, Error> {
    let mut found = batch::records(session, plan, ids).await?;
    let missing = ids.iter().copied().filter(|id| !found.rows.contains_key(*id));
    let missing: Vec<&str> = missing.collect();
    let rows = ids.iter().filter_map(|id| found.rows.remove(*id)).collect();
    let mut gone = Vec::with_capacity(missing.len());
    let mut archived = batch::archived(session, plan.object, &missing).await?;
    for id in missing {
        if let Some(row) = archived.remove(id) {
            gone.push(row.record);
        } else if let Some(winner) = batch::known_as(session, plan.object, id).await? {
            match winner == id {
                true => {
                    let text = "HubSpot has a record that it did not give";
                    return Err(Error::transient(text).object(plan.object.key));
                }
                false => gone.push(tombstone(id, &winner)),
            }
        }
    }
    Ok(Named {
        rows,
        gone,
        time_us: found.time_us,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::named;

    fn listed(text: &str, after: &str) -> Result<Changed, Error> {
        let reply = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}"));
        checked(reply, after)
    }

    #[test]
    fn a_search_begins_behind_the_last_id_and_includes_its_time() {
        let contacts = named("contacts").unwrap_or_else(|error| panic!("{error}"));
        let body = bodies::text(&search(contacts, 1_700_000_000_123_999, "51"));
        assert_eq!(
            body,
            r#"{"limit":200,"properties":["hs_object_id"],"filterGroups":[{"filters":[{"propertyName":"lastmodifieddate","operator":"GTE","value":"1700000000123"},{"propertyName":"hs_object_id","operator":"GT","value":"51"}]}],"sorts":[{"propertyName":"hs_object_id","direction":"ASCENDING"}]}"#
        );
    }

    #[test]
    fn a_search_that_may_leave_something_out_is_not_used() {
        let changed = |ids: &[&str], last| {
            let ids = ids.iter().map(|id| (*id).to_owned()).collect();
            Ok(Changed { ids, last })
        };
        let two = r#"{"total":3,"results":[{"id":"9"},{"id":"10"}]}"#;
        assert_eq!(listed(two, ""), changed(&["9", "10"], false));
        assert_eq!(listed(&two.replace('3', "2"), "8"), changed(&["9", "10"], true));
        assert_eq!(listed(r#"{"total":0,"results":[]}"#, "8"), changed(&[], true));
        for (text, after) in [
            (two, "9"),
            (r#"{"total":2,"results":[{"id":"10"},{"id":"9"}]}"#, ""),
            (r#"{"total":2,"results":[{"id":"9"},{"id":"9"}]}"#, ""),
            (r#"{"total":1,"results":[{"id":"x"}]}"#, ""),
        ] {
            assert_eq!(
                listed(text, after).map_err(|error| error.code),
                Err(UNUSABLE.to_owned()),
                "{text}"
            );
        }
        // Count, records and cursor disagree: others may follow.
        assert_eq!(listed(r#"{"total":1,"results":[]}"#, ""), changed(&[], false));
        let next = r#","paging":{"next":{"after":"1"}}}"#;
        for (text, ids) in [
            (r#"{"total":1,"results":[{"id":"9"}]"#, &["9"][..]),
            (r#"{"total":0,"results":[]"#, &[]),
        ] {
            assert_eq!(
                listed(&format!("{text}{next}"), ""),
                changed(ids, false),
                "{text}"
            );
            assert_eq!(listed(&format!("{text}}}"), ""), changed(ids, true), "{text}");
        }
        assert!(serde_json::from_str::<Reply>("{}").is_err());
    }
}
