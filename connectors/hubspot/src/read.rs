//! The reads: object after object, with several pages of a list between two checkpoints.
//!
//! HubSpot lists records in the order of their ids, which are numbers. This was observed but is not documented, so it
//! is checked. While it holds, each batch is a complete listing of a range of numbers, and stored records in that
//! range that are not listed are deleted. If it does not hold, or if a list ends long before the count of the search,
//! missing records are not treated as deleted; then the list of archived records shows the deleted ones.
//!
//! What changed is in two places: the list of archived records, which has no order by time and is read as a whole, and the
//! search (`changes`). Neither shows a changed association, so contacts, deals and tickets are read in full instead when something
//! of all records is due: a list has a hundred records per request anyway, whatever it says of them.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tether_connector_sdk::crm::{CrmObject as _, describe};
use tether_connector_sdk::proto::{Covers, Error, ErrorKind, ObjectCount, Record, SelectedField};
use tether_connector_sdk::reading::{Change, Looked, Page, Pass, Recovery, Source, Wanted, of_one_object};

use crate::objects::{self, CrmObject};
use crate::page::{self, Row, tombstone};
use crate::plan::{PAGE, Plan};
use crate::properties::Described;
use crate::rest::Session;
use crate::{associations, batch, changes, fields, ids};

/// How often the list of one object may be restarted.
const MOST_RESTARTS: u32 = 3;
/// Largest length of a stored cursor.
const LONGEST_CURSOR: usize = 2_000;
/// The error code for properties that changed since they were selected, found when the first changed records came.
const FIELDS_CHANGED: &str = "fields_changed";
const HOUR_US: i64 = 3_600 * 1_000_000;
const DAY_US: i64 = 24 * HOUR_US;

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
    /// Of changes: the archived records were listed; now those that changed are.
    #[serde(default)]
    changed: bool,
    /// Of changes: they are taken from the list of all records, because the search is of no use.
    #[serde(default)]
    by_list: bool,
}

/// Which records of an object are read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    All,
    /// Those that changed at this time or later, unix microseconds.
    Since(i64),
    /// Those with these ids.
    Ids(Vec<String>),
}

/// How the next records are loaded.
enum Way {
    List { archived: bool },
    Search { since_us: i64 },
    Ids,
}

impl Scope {
    fn way(&self, place: &Place) -> Way {
        match self {
            Self::All => Way::List {
                archived: place.archived,
            },
            Self::Since(_) if !place.changed => Way::List { archived: true },
            Self::Since(_) if place.by_list => Way::List { archived: false },
            Self::Since(since_us) => Way::Search { since_us: *since_us },
            Self::Ids(_) => Way::Ids,
        }
    }

    /// Whether a listed record is one of them.
    fn has(&self, record: &Record) -> bool {
        match self {
            // A time that cannot be read is no reason to leave a record out.
            Self::Since(since_us) => record.modified_us == 0 || record.modified_us >= *since_us,
            Self::All | Self::Ids(_) => true,
        }
    }
}

/// The plan for an object, and its state.
pub struct Reading {
    plan: Plan,
    scope: Scope,
    /// The selected fields, and whether they were compared with the object's description.
    fields: Vec<SelectedField>,
    is_described: bool,
    /// How they have changed since they were selected, if it was found while records were read.
    changes: Vec<Change>,
    /// The search count of the object.
    total: Option<u64>,
    /// How often its list was restarted.
    restarts: u32,
}

impl Reading {
    /// Whether records with values come of what was loaded.
    fn has_values(&self, place: &Place, stride: &Stride) -> bool {
        match self.scope.way(place) {
            Way::List { archived } => !archived && !stride.rows.is_empty(),
            Way::Search { .. } | Way::Ids => !stride.ids.is_empty(),
        }
    }
}

/// Some pages of a list, or some ids.
pub struct Stride {
    rows: Vec<Row>,
    /// Records that are still to be read.
    ids: Vec<String>,
    /// The earliest time of the replies by HubSpot's clock; 0 if one is unknown.
    time_us: i64,
    /// None at the end of the list.
    next: Option<String>,
    last: String,
    in_order: bool,
}

impl Stride {
    fn at(place: &Place) -> Self {
        Self {
            rows: Vec::new(),
            ids: Vec::new(),
            time_us: i64::MAX,
            next: Some(place.after.clone()),
            last: place.last.clone(),
            in_order: true,
        }
    }
}

/// The reads on behalf of an account.
pub struct Reader {
    session: Session,
    pages: usize,
    /// The descriptions of objects whose calculated fields are due; None if the login cannot see the object.
    described: HashMap<&'static str, Option<Arc<Described>>>,
}

impl Reader {
    pub(crate) fn new(session: Session) -> Self {
        let pages = session.api().options.checkpoint_pages;
        Self {
            session,
            pages,
            described: HashMap::new(),
        }
    }
}

impl Source for Reader {
    const CRM: &'static str = "HubSpot";
    const CHANGES: bool = true;
    /// HubSpot does not say how far the index of the search may be behind. Usually it is seconds; another vendor's connector looks back an
    /// hour, this one twice as long. What appears later comes with the read of all records that is due next (docs/hubspot.md).
    const LATE_US: i64 = 2 * HOUR_US;
    /// Archived records are kept for 90 days.
    const KEPT_US: i64 = 80 * DAY_US;
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

    /// Describes the objects whose calculated fields are due. The others are described when they are read.
    async fn open(&mut self, left: &[Wanted<&'static CrmObject>]) -> Result<Vec<ObjectCount>, Error> {
        let due = left
            .iter()
            .filter(|wanted| wanted.calculated_due && wanted.since_us.is_some());
        for wanted in due {
            let described = describe(&self.session, wanted.object).await?;
            self.described.insert(wanted.object.key, described);
        }
        Ok(Vec::new())
    }

    /// Calculations, roll-ups and scores; all fields, if it is not known which are.
    fn calculated(&self, wanted: &Wanted<&'static CrmObject>) -> Vec<String> {
        let described = self.described.get(wanted.object.key).and_then(Option::as_ref);
        let is_calculated = |key: &str| {
            let known = described.filter(|described| described.whole);
            known.is_none_or(|described| {
                let mut properties = described.properties.iter().map(|property| &property.field);
                properties.any(|field| field.calculated && field.key == key)
            })
        };
        let keys = wanted.fields.iter().map(|field| &field.key);
        keys.filter(|key| is_calculated(key)).cloned().collect()
    }

    /// Neither the search nor the list of archived records shows that a record has other companies.
    fn in_full(wanted: &Wanted<&'static CrmObject>) -> bool {
        !wanted.object.is_company() && (wanted.calculated_due || wanted.sweep_due)
    }

    async fn look(
        &mut self,
        wanted: &Wanted<&'static CrmObject>,
        pass: &Pass,
    ) -> Result<Looked<Reading>, Error> {
        let object = wanted.object;
        let scope = match pass {
            Pass::Full | Pass::Fields => Scope::All,
            Pass::Changes { since_us } => Scope::Since(*since_us),
            Pass::Records(ids) => Scope::Ids(ids.clone()),
        };
        // Where nothing changed, a description would be a request for nothing.
        let (described, total) = if scope == Scope::All {
            let described = match self.described.remove(object.key) {
                Some(described) => described,
                None => describe(&self.session, object).await?,
            };
            let Some(described) = described else {
                return Ok(Looked::Hidden(hidden(object)));
            };
            (Some(described), fields::total(&self.session, object).await?)
        } else {
            (None, None)
        };
        let budget = self.session.api().options.address_budget;
        let (plan, changes) = Plan::new(object, &wanted.fields, described.as_deref(), budget);
        Ok(Looked::Seen {
            plan: Reading {
                plan,
                scope,
                fields: wanted.fields.clone(),
                is_described: described.is_some(),
                changes: Vec::new(),
                total,
                restarts: 0,
            },
            changes,
            expected: total,
        })
    }

    /// Loads several pages of a list, or some ids.
    async fn load(&self, reading: &Reading, place: &Place) -> Result<Stride, Error> {
        let plan = &reading.plan;
        let mut stride = Stride::at(place);
        let archived = match reading.scope.way(place) {
            Way::List { archived } => archived,
            Way::Search { since_us } => {
                self.search(plan.object, since_us, &mut stride).await?;
                return Ok(stride);
            }
            Way::Ids => return Ok(self.some_ids(reading, place)),
        };
        for _ in 0..self.pages {
            let Some(after) = stride.next.take() else { break };
            let path = plan.list_path(&after, archived);
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
        if !reading.is_described && reading.has_values(place, &stride) {
            reading.changes = self.describe(reading).await?;
            if !reading.changes.is_empty() {
                let text = "properties have changed since they were selected";
                return Err(Error::new(ErrorKind::FieldGone, text).code(FIELDS_CHANGED));
            }
        }
        let records = self.records(reading, place, &mut stride).await?;
        let mut next = place.clone();
        let covers_numbers = match reading.scope {
            Scope::All => covers(reading, &mut next, &stride),
            Scope::Since(_) | Scope::Ids(_) => None,
        };
        next.rows += match reading.scope {
            Scope::Ids(_) => stride.ids.len(),
            Scope::All | Scope::Since(_) => stride.rows.len(),
        } as u64;
        next.last = stride.last;
        let is_last = stride.next.is_none();
        next.after = stride.next.unwrap_or_default();
        let next = match (is_last, &reading.scope) {
            (false, _) => Some(next),
            (true, Scope::All) if next.doubtful && !next.archived => Some(Place {
                doubtful: true,
                archived: true,
                ..Place::default()
            }),
            (true, Scope::Since(_)) if !next.changed => Some(Place {
                changed: true,
                ..Place::default()
            }),
            (true, _) => None,
        };
        Ok(Page {
            records,
            covers: None,
            covers_numbers,
            read_time_us: stride.time_us,
            expected: None,
            next,
            lacking: None,
            unlisted: false,
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
                    changed: place.changed,
                    by_list: place.by_list,
                    ..Place::default()
                };
                Ok(Recovery::Again(Vec::new()))
            }
            ErrorKind::Bug if error.code == changes::UNUSABLE => {
                let object = reading.plan.object.key;
                tracing::warn!(
                    object,
                    "{error}: what changed is taken from the list of all records"
                );
                *place = Place {
                    changed: true,
                    by_list: true,
                    ..Place::default()
                };
                Ok(Recovery::Again(Vec::new()))
            }
            ErrorKind::FieldGone if error.code == FIELDS_CHANGED => {
                Ok(Recovery::Again(std::mem::take(&mut reading.changes)))
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
    /// Searches for the next records that changed.
    async fn search(&self, object: &CrmObject, since_us: i64, stride: &mut Stride) -> Result<(), Error> {
        while stride.next.is_some() && stride.ids.len() < self.pages * PAGE {
            let (changed, time_us) = changes::changed(&self.session, object, since_us, &stride.last).await?;
            stride.time_us = stride.time_us.min(time_us);
            if let Some(last) = changed.ids.last() {
                stride.last.clone_from(last);
            }
            stride.ids.extend(changed.ids);
            if changed.last {
                stride.next = None;
            }
        }
        Ok(())
    }

    /// The next ids of those that are to be read.
    fn some_ids(&self, reading: &Reading, place: &Place) -> Stride {
        let Scope::Ids(all) = &reading.scope else {
            return Stride::at(place);
        };
        let (from, at_once) = (place.rows as usize, self.pages * PAGE);
        let some = all.iter().skip(from).take(at_once);
        Stride {
            ids: some.cloned().collect(),
            next: (from + at_once < all.len()).then(String::new),
            ..Stride::at(place)
        }
    }

    /// Compares the selected fields with the description of the object; returns the changes.
    async fn describe(&self, reading: &mut Reading) -> Result<Vec<Change>, Error> {
        let object = reading.plan.object;
        let described = describe(&self.session, object).await?;
        let described = described.ok_or_else(|| hidden(object))?;
        let budget = self.session.api().options.address_budget;
        let (plan, changes) = Plan::new(object, &reading.fields, Some(&described), budget);
        (reading.plan, reading.is_described) = (plan, true);
        Ok(changes)
    }

    /// The records of a stride: complete, with their companies, and with tombstones of the records merged into them.
    /// The source rows stay in the stride.
    async fn records(
        &self,
        reading: &Reading,
        place: &Place,
        stride: &mut Stride,
    ) -> Result<Vec<Record>, Error> {
        let plan = &reading.plan;
        let mut records: Vec<Record> = Vec::with_capacity(stride.rows.len());
        match reading.scope.way(place) {
            Way::List { archived: true } => {
                // A record that is not marked archived is no evidence, and has no values here.
                stride
                    .rows
                    .retain(|row| row.record.deleted && reading.scope.has(&row.record));
            }
            Way::List { archived: false } => {
                stride.rows.retain(|row| reading.scope.has(&row.record));
                if plan.wide {
                    let listed = std::mem::take(&mut stride.rows);
                    let ids: Vec<&str> = listed.iter().map(|row| row.record.external_id.as_str()).collect();
                    let mut whole = batch::records(&self.session, plan, &ids).await?.rows;
                    // Records archived between the list and the batch are missing.
                    stride.rows = ids.iter().filter_map(|id| whole.remove(*id)).collect();
                }
            }
            Way::Search { .. } => {
                let ids: Vec<&str> = stride.ids.iter().map(String::as_str).collect();
                let mut rows = batch::records(&self.session, plan, &ids).await?.rows;
                // What is missing was archived or merged meanwhile: its list and its winner have it.
                stride.rows = ids.iter().filter_map(|id| rows.remove(*id)).collect();
            }
            Way::Ids => {
                let ids: Vec<&str> = stride.ids.iter().map(String::as_str).collect();
                let named = changes::named(&self.session, plan, &ids).await?;
                (stride.rows, stride.time_us) = (named.rows, named.time_us);
                records.extend(named.gone);
            }
        }
        for row in &stride.rows {
            records.push(row.record.clone());
            // No list contains them, and their ids resolve to this record.
            if !matches!(reading.scope, Scope::Ids(_)) {
                let lost = row.merged.iter();
                records.extend(lost.map(|loser| tombstone(loser, &row.record.external_id)));
            }
        }
        associations::adopt(&self.session, plan.object, &mut records).await?;
        Ok(records)
    }
}

fn hidden(object: &CrmObject) -> Error {
    Error::object_gone(format!(
        "the login cannot see {}: it lacks the scope {}",
        object.label, object.scope
    ))
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
