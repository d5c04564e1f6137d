//! The full read: object after object, with several pages of a list between two checkpoints.
//!
//! HubSpot lists records in the order of their ids, which are numbers. This was observed but is not documented, so it
//! is checked. While it holds, each batch is a complete listing of a range of numbers, and stored records in that
//! range that are not listed are deleted. If it does not hold, or if a list ends long before the count of the search,
//! missing records are not treated as deleted; then the list of archived records shows the deleted ones.

use serde::{Deserialize, Serialize};
use tether_connector_sdk::crm::describe;
use tether_connector_sdk::proto::{Covers, Error, ErrorKind, Record};
use tether_connector_sdk::reading::{Looked, Page, Pass, Recovery, Source, Wanted, of_one_object};

use crate::objects::{self, CrmObject};
use crate::page::{self, Row, tombstone};
use crate::plan::Plan;
use crate::rest::Session;
use crate::{associations, batch, fields, ids};

/// How often the list of one object may be restarted.
const MOST_RESTARTS: u32 = 3;
/// Largest length of a stored cursor.
const LONGEST_CURSOR: usize = 2_000;

/// The position in the list of an object.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// HubSpot's cursor of the next page.
    after: String,
    /// The last id that was read.
    last: String,
    /// Rows so far.
    rows: u64,
    /// Missing records are no evidence: the list was not ordered by id, or it ended too soon.
    doubtful: bool,
    /// The archived records are being listed.
    archived: bool,
}

/// The plan for an object, and its state.
pub struct Reading {
    plan: Plan,
    /// The search count of the object.
    total: Option<u64>,
    /// How often its list was restarted.
    restarts: u32,
}

/// Some pages of a list.
pub struct Stride {
    rows: Vec<Row>,
    /// The earliest time of the replies by HubSpot's clock; 0 if one is unknown.
    time_us: i64,
    /// None at the end of the list.
    next: Option<String>,
    last: String,
    in_order: bool,
}

/// The full read on behalf of an account.
pub struct Reader {
    session: Session,
    pages: usize,
}

impl Reader {
    pub(crate) fn new(session: Session) -> Self {
        let pages = session.api().options.checkpoint_pages;
        Self { session, pages }
    }
}

impl Source for Reader {
    const CRM: &'static str = "HubSpot";
    type Object = &'static CrmObject;
    type Plan = Reading;
    type Place = Place;
    type Loaded = Stride;

    fn object(key: &str) -> Result<&'static CrmObject, Error> {
        objects::named(key)
    }

    fn key(object: &'static CrmObject) -> &'static str {
        object.key
    }

    fn is_place(place: &Place) -> bool {
        let id = place.last.is_empty() || ids::check(&place.last).is_some();
        id && place.after.len() <= LONGEST_CURSOR
    }

    async fn look(
        &mut self,
        wanted: &Wanted<&'static CrmObject>,
        _: &Pass,
    ) -> Result<Looked<Reading>, Error> {
        let object = wanted.object;
        let Some(described) = describe(&self.session, object).await? else {
            return Ok(Looked::Hidden(Error::object_gone(format!(
                "the login cannot see {}: it lacks the scope {}",
                object.label, object.scope
            ))));
        };
        let total = fields::total(&self.session, object).await?;
        let budget = self.session.api().options.address_budget;
        let (plan, changes) = Plan::new(object, &wanted.fields, Some(&described), budget);
        Ok(Looked::Seen {
            plan: Reading {
                plan,
                total,
                restarts: 0,
            },
            changes,
            expected: total,
        })
    }

    /// Loads several pages of the list.
    async fn load(&self, reading: &Reading, place: &Place) -> Result<Stride, Error> {
        let plan = &reading.plan;
        let mut stride = Stride {
            rows: Vec::new(),
            time_us: i64::MAX,
            next: Some(place.after.clone()),
            last: place.last.clone(),
            in_order: true,
        };
        for _ in 0..self.pages {
            let Some(after) = stride.next.take() else { break };
            let path = plan.list_path(&after, place.archived);
            let (page, time_us) = self.session.get(&path, |text| page::read(plan, text)).await?;
            stride.time_us = stride.time_us.min(time_us);
            for row in &page.rows {
                let id = row.record.external_id.as_str();
                stride.in_order &= stride.last.is_empty() || ids::value(id) > ids::value(&stride.last);
                id.clone_into(&mut stride.last);
            }
            if page
                .next
                .as_ref()
                .is_some_and(|next| *next == after || next.len() > LONGEST_CURSOR)
            {
                return Err(Error::cursor_gone(
                    "HubSpot's list leads to the same page again and again",
                ));
            }
            stride.next = page.next;
            stride.rows.extend(page.rows);
            if stride.next.is_none() {
                break;
            }
        }
        Ok(stride)
    }

    async fn page(
        &mut self,
        reading: &mut Reading,
        place: &Place,
        mut stride: Stride,
    ) -> Result<Page<Place>, Error> {
        let records = self.records(&reading.plan, place, &mut stride).await?;
        let mut next = place.clone();
        let covers_numbers = covers(reading, &mut next, &stride);
        next.rows += stride.rows.len() as u64;
        next.last = stride.last;
        next.after = stride.next.unwrap_or_default();
        let next = match (next.after.is_empty(), next.doubtful && !next.archived) {
            (false, _) => Some(next),
            (true, true) => Some(Place {
                doubtful: true,
                archived: true,
                ..Place::default()
            }),
            (true, false) => None,
        };
        Ok(Page {
            records,
            covers: None,
            covers_numbers,
            read_time_us: stride.time_us,
            expected: None,
            next,
            lacking: None,
        })
    }

    async fn recover(
        &mut self,
        error: Error,
        reading: &mut Reading,
        place: &mut Place,
    ) -> Result<Recovery, Error> {
        match error.what() {
            ErrorKind::CursorGone if reading.restarts < MOST_RESTARTS => {
                reading.restarts += 1;
                *place = Place {
                    doubtful: place.doubtful,
                    archived: place.archived,
                    ..Place::default()
                };
                Ok(Recovery::Again(Vec::new()))
            }
            ErrorKind::QueryTooBig if !reading.plan.wide => {
                reading.plan.wide = true;
                Ok(Recovery::Again(Vec::new()))
            }
            _ => of_one_object(error),
        }
    }

    fn renew(&mut self, access_token: String, base_url: &str) {
        self.session.renew(access_token, base_url);
    }
}

impl Reader {
    /// The records of a stride: complete, with their companies, and with tombstones of the records merged into them.
    /// The source rows stay in the stride.
    async fn records(&self, plan: &Plan, place: &Place, stride: &mut Stride) -> Result<Vec<Record>, Error> {
        if place.archived {
            // A record that is not marked archived is no evidence, and has no values here.
            stride.rows.retain(|row| row.record.deleted);
        } else if plan.wide {
            let listed = std::mem::take(&mut stride.rows);
            let ids: Vec<&str> = listed.iter().map(|row| row.record.external_id.as_str()).collect();
            let mut whole = batch::records(&self.session, plan, &ids).await?.0;
            // Records archived between the list and the batch are missing.
            stride.rows = ids.iter().filter_map(|id| whole.remove(*id)).collect();
        }
        let mut records: Vec<Record> = Vec::with_capacity(stride.rows.len());
        for row in &stride.rows {
            records.push(row.record.clone());
            // The list does not contain them, and their ids resolve to this record.
            if !row.record.deleted {
                let lost = row.merged.iter();
                records.extend(lost.map(|loser| tombstone(loser, &row.record.external_id)));
            }
        }
        associations::adopt(&self.session, plan.object, &mut records).await?;
        Ok(records)
    }
}

/// The range that a stride lists completely, if there is one; updates `place` if there is none from here on.
fn covers(reading: &Reading, place: &mut Place, stride: &Stride) -> Option<Covers> {
    if place.archived {
        return None;
    }
    let object = reading.plan.object.key;
    let last = stride.next.is_none();
    let rows = place.rows + stride.rows.len() as u64;
    if !stride.in_order && !place.doubtful {
        tracing::warn!(
            object,
            "the list is not in the order of its ids: removals are taken from the archived records"
        );
    }
    place.doubtful |= !stride.in_order;
    let claimed = !place.doubtful;
    if last && claimed && ends_too_soon(rows, reading.total) {
        tracing::warn!(
            object,
            rows,
            total = ?reading.total,
            "the list ended long before what search counts"
        );
        place.doubtful = true;
    }
    let through = if last && !place.doubtful {
        String::new()
    } else {
        stride.last.clone()
    };
    // An empty end would mean the end of all records.
    let ends = !through.is_empty() || last && !place.doubtful;
    (claimed && ends).then(|| Covers {
        after: place.last.clone(),
        through,
    })
}

/// Whether a list that ended lacks more records than the delay of the search index explains. A list truncated by a
/// fault must not be evidence that the remaining records were deleted.
fn ends_too_soon(rows: u64, total: Option<u64>) -> bool {
    total.is_some_and(|total| rows == 0 && total > 0 || rows + (total / 50).max(100) < total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_cannot_be_gone_on_from() {
        let place = Place {
            after: "10051".into(),
            last: "10001".into(),
            rows: 7,
            ..Place::default()
        };
        assert!(Reader::is_place(&place) && Reader::is_place(&Place::default()));
        for other in [
            Place {
                last: "1&x=2".into(),
                ..place.clone()
            },
            Place {
                after: "9".repeat(3_000),
                ..place.clone()
            },
        ] {
            assert!(!Reader::is_place(&other));
        }
    }

    #[test]
    fn a_list_that_was_cut_off_proves_nothing() {
        for (rows, total, too_soon) in [
            (0, Some(0), false),
            (0, Some(1), true),
            (0, None, false),
            (50, Some(140), false),
            (50, Some(151), true),
            (97_999, Some(100_000), true),
            (98_000, Some(100_000), false),
            (10, Some(5), false),
        ] {
            assert_eq!(ends_too_soon(rows, total), too_soon, "{rows} of {total:?}");
        }
    }
}
