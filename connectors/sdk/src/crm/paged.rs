//! The reads of a CRM whose objects are lists: one page after another.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::objects::{CrmObject, Fields as _, describe, hidden, named};
use super::{Crm, Listed, Order, Rows};
use crate::proto::{Covers, Error, ErrorKind, ObjectCount, Record, SelectedField};
use crate::reading::{Change, Known, Looked, Page, Pass, Recovery, Source, Wanted, of_one_object};
use crate::session::{Api, Session};

/// How often the list of one object begins again because the CRM no longer knows a cursor.
const MOST_RESTARTS: u32 = 3;
/// The largest cursor: a checkpoint has at most 64 KiB.
const LONGEST_CURSOR: usize = 32_000;
/// Records that are asked for by id at once.
const NAMED_AT_ONCE: usize = 100;
/// The error code for fields that changed since they were selected, found when the first changed records came.
const FIELDS_CHANGED: &str = "fields_changed";

/// The position in the list of an object.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The CRM's cursor of the next page; empty at the beginning.
    cursor: String,
    /// The last id since the beginning of the list.
    last: String,
    /// The last id of the ranges so far: that of an earlier walk through the list may be further on.
    through: String,
}

/// How an object is read.
pub struct Plan<O: 'static> {
    rows: Rows<O>,
    scope: Scope,
    restarts: u32,
    /// The selected fields, and whether they were compared with the CRM's description.
    selection: Vec<SelectedField>,
    is_described: bool,
    /// How they have changed since they were selected, if it was found while records were read.
    changes: Vec<Change>,
}

/// Which records are read.
enum Scope {
    All,
    Since(i64),
    Named(Vec<String>),
}

/// The reads on behalf of an account.
pub struct Pages<C: Crm> {
    session: Session<C>,
    /// The descriptions of objects whose calculated fields are due; None if the user cannot see the object.
    described: HashMap<&'static str, Option<Arc<C::Fields>>>,
}

impl<C: Crm> Pages<C> {
    pub(super) fn new(session: Session<C>) -> Self {
        Self {
            session,
            described: HashMap::new(),
        }
    }
}

impl<C: Crm> Source for Pages<C> {
    const CRM: &'static str = <C as Api>::CRM;
    const AHEAD: bool = true;
    const CHANGES: bool = C::CHANGES;
    const LATE_US: i64 = C::LATE_US;
    const KEPT_US: i64 = C::KEPT_US;
    type Object = &'static C::Object;
    type Plan = Plan<C::Object>;
    type Place = Place;
    type Loaded = Listed;

    fn object(key: &str) -> Result<Self::Object, Error> {
        named(C::objects(), key)
    }

    fn key(object: Self::Object) -> &'static str {
        object.key()
    }

    /// Describes the objects whose calculated fields are due. The others are described when they are read.
    async fn open(&mut self, left: &[Wanted<Self::Object>]) -> Result<Vec<ObjectCount>, Error> {
        let due = left
            .iter()
            .filter(|wanted| wanted.calculated_due && wanted.since_us.is_some());
        for wanted in due {
            let described = describe(&self.session, wanted.object).await?;
            self.described.insert(wanted.object.key(), described);
        }
        Ok(Vec::new())
    }

    /// Calculated fields; also those of which it is not known.
    fn calculated(&self, wanted: &Wanted<Self::Object>) -> Vec<String> {
        let described = self.described.get(wanted.object.key()).and_then(Option::as_ref);
        let is_calculated = |key: &str| match described.map_or(Known::Unknown, |fields| fields.known(key)) {
            Known::Field(field) => field.calculated,
            Known::Gone => false,
            Known::Unknown => true,
        };
        let keys = wanted.fields.iter().map(|field| &field.key);
        keys.filter(|key| is_calculated(key)).cloned().collect()
    }

    fn in_full(wanted: &Wanted<Self::Object>) -> bool {
        C::in_full(wanted.object) && (wanted.calculated_due || wanted.sweep_due)
    }

    async fn look(
        &mut self,
        wanted: &Wanted<Self::Object>,
        pass: &Pass,
    ) -> Result<Looked<Self::Plan>, Error> {
        let object = wanted.object;
        let scope = match pass {
            Pass::Full | Pass::Fields => Scope::All,
            Pass::Changes { since_us } => Scope::Since(*since_us),
            Pass::Records(ids) => Scope::Named(ids.clone()),
        };
        // Where nothing changed, a description would be a request for nothing.
        let is_described = matches!(scope, Scope::All);
        let (rows, changes) = if is_described {
            let described = match self.described.remove(object.key()) {
                Some(described) => described,
                None => describe(&self.session, object).await?,
            };
            let Some(fields) = described else {
                return Ok(Looked::Hidden(hidden(object)));
            };
            Rows::now(object, &wanted.fields, |key| fields.known(key))
        } else {
            (Rows::as_selected(object, &wanted.fields), Vec::new())
        };
        Ok(Looked::Seen {
            plan: Plan {
                rows,
                scope,
                restarts: 0,
                selection: wanted.fields.clone(),
                is_described,
                changes: Vec::new(),
            },
            changes,
            expected: None,
        })
    }

    async fn load(&self, plan: &Self::Plan, place: &Place) -> Result<Listed, Error> {
        let (session, rows) = (&self.session, &mut plan.rows.clone());
        match &plan.scope {
            Scope::All => C::page(session, rows, &place.cursor).await,
            Scope::Since(since_us) => C::changed(session, rows, *since_us, &place.cursor).await,
            Scope::Named(ids) => {
                let from: usize = place.cursor.parse().unwrap_or(0);
                let to = ids.len().min(from + NAMED_AT_ONCE);
                let some = ids.get(from..to).unwrap_or_default();
                let listed = C::named(session, rows, some).await?;
                Ok(Listed {
                    next: (to < ids.len()).then(|| to.to_string()),
                    ..listed
                })
            }
        }
    }

    async fn page(
        &mut self,
        plan: &mut Self::Plan,
        place: &Place,
        listed: Listed,
    ) -> Result<Page<Place>, Error> {
        let key = plan.rows.object.key();
        if let Some(next) = &listed.next {
            if *next == place.cursor {
                let text = format!("{} leads to the same page again and again", C::CRM);
                return Err(Error::cursor_gone(text).object(key));
            }
            if next.len() > LONGEST_CURSOR {
                return Err(Error::bug(format!("a cursor of {} is too long", C::CRM)).object(key));
            }
        }
        if !plan.is_described && !listed.records.is_empty() {
            plan.changes = self.describe(plan).await?;
            if !plan.changes.is_empty() {
                let text = "fields have changed since they were selected";
                return Err(Error::new(ErrorKind::FieldGone, text).code(FIELDS_CHANGED));
            }
        }
        // What is not a list of all records has any order, and no ranges.
        let order = match plan.scope {
            Scope::All => C::ORDER,
            Scope::Since(_) | Scope::Named(_) => Order::Unknown,
        };
        let last = last_in_order(order, &place.last, &listed.records).map_err(|error| error.object(key))?;
        let range = range(order, &place.through, &last, listed.next.is_none());
        let through = match &range {
            Some(range) => range.through.clone(),
            None => place.through.clone(),
        };
        let (covers, covers_numbers) = match order {
            Order::Numbers => (None, range),
            Order::Bytes | Order::Unknown => (range, None),
        };
        Ok(Page {
            records: listed.records,
            covers,
            covers_numbers,
            read_time_us: listed.read_time_us,
            expected: listed
                .total
                .filter(|_| place.cursor.is_empty() && matches!(plan.scope, Scope::All)),
            next: listed.next.map(|cursor| Place {
                cursor,
                last,
                through,
            }),
            lacking: None,
            unlisted: false,
        })
    }

    /// A read goes on after days, with a cursor that the CRM may no longer know: then the list begins again, and the
    /// ranges go on where they were. A window of changes begins again once: its cursor may be too old, or its time; then the object
    /// is given up, and [`crate::reading`] reads it in full.
    async fn recover(
        &mut self,
        error: Error,
        plan: &mut Self::Plan,
        place: &mut Place,
    ) -> Result<Recovery, Error> {
        let most_restarts = match plan.scope {
            Scope::Since(_) => 1,
            Scope::All | Scope::Named(_) => MOST_RESTARTS,
        };
        if error.is(ErrorKind::CursorGone) && plan.restarts < most_restarts {
            plan.restarts += 1;
            *place = Place {
                through: std::mem::take(&mut place.through),
                ..Place::default()
            };
            return Ok(Recovery::Again(Vec::new()));
        }
        if error.code == FIELDS_CHANGED {
            return Ok(Recovery::Again(std::mem::take(&mut plan.changes)));
        }
        if error.is(ErrorKind::FieldGone) && !plan.is_described {
            return match self.describe(plan).await {
                Ok(changes) => Ok(Recovery::Again(changes)),
                Err(error) => of_one_object(error),
            };
        }
        of_one_object(error)
    }

    fn renew(&mut self, access_token: String, base_url: &str) {
        self.session.renew(access_token, base_url);
    }
}

impl<C: Crm> Pages<C> {
    /// Compares the selected fields with the CRM's description, once records come or a field is refused; returns the changes.
    async fn describe(&self, plan: &mut Plan<C::Object>) -> Result<Vec<Change>, Error> {
        let object = plan.rows.object;
        let Some(fields) = describe(&self.session, object).await? else {
            return Err(hidden(object));
        };
        let (rows, changes) = Rows::now(object, &plan.selection, |key| fields.known(key));
        (plan.rows, plan.is_described) = (rows, true);
        Ok(changes)
    }
}

/// The last id of a page. Ranges are right only while the list has the order that the connector says.
fn last_in_order(order: Order, before: &str, records: &[Record]) -> Result<String, Error> {
    let mut last = before;
    for record in records {
        let id = record.external_id.as_str();
        let behind = last.is_empty() || compare(order, last, id)? == Ordering::Less;
        if order != Order::Unknown && !behind {
            return Err(Error::bug("the CRM lists records out of order"));
        }
        last = id;
    }
    Ok(last.to_owned())
}

/// The range that a page lists completely, behind `through`; `last` is its last id, or one before it.
fn range(order: Order, through: &str, last: &str, end: bool) -> Option<Covers> {
    let further = through.is_empty() || compare(order, through, last).ok()? == Ordering::Less;
    let claims = order != Order::Unknown && (end || !last.is_empty() && further);
    claims.then(|| Covers {
        after: through.to_owned(),
        through: if end { String::new() } else { last.to_owned() },
    })
}

fn compare(order: Order, one: &str, other: &str) -> Result<Ordering, Error> {
    match order {
        Order::Bytes | Order::Unknown => Ok(one.cmp(other)),
        Order::Numbers => Ok(number(one)?.cmp(&number(other)?)),
    }
}

/// A decimal number of any length, in an order of numbers.
fn number(id: &str) -> Result<(usize, &str), Error> {
    if id.is_empty() || !id.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(Error::bug("the id of a record is not a number"));
    }
    let digits = id.trim_start_matches('0');
    Ok((digits.len(), digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(order: Order, before: &str, ids: &[&str]) -> Option<String> {
        let record = |id: &&str| Record {
            external_id: (*id).to_owned(),
            ..Record::default()
        };
        let records: Vec<Record> = ids.iter().map(record).collect();
        last_in_order(order, before, &records).ok()
    }

    #[test]
    fn a_list_has_the_order_that_was_said() {
        let of = |id: &str| Some(id.to_owned());
        assert_eq!(last(Order::Numbers, "", &["9", "10", "100"]), of("100"));
        assert_eq!(last(Order::Numbers, "9", &["10"]), of("10"));
        assert_eq!(last(Order::Numbers, "10", &["9"]), None);
        assert_eq!(last(Order::Numbers, "9", &["9"]), None);
        assert_eq!(last(Order::Numbers, "", &["1", "x"]), None);
        assert_eq!(last(Order::Bytes, "", &["10", "9", "a"]), of("a"));
        assert_eq!(last(Order::Bytes, "9", &["10"]), None);
        assert_eq!(last(Order::Unknown, "b", &["a", "c", "a"]), of("a"));
        assert_eq!(last(Order::Numbers, "7", &[]), of("7"));
    }

    #[test]
    fn ranges_join_also_when_the_list_begins_again() {
        let range = |through: &str, last: &str, end| {
            let range = range(Order::Numbers, through, last, end)?;
            Some((range.after, range.through))
        };
        let pair = |after: &str, through: &str| Some((after.to_owned(), through.to_owned()));
        assert_eq!(range("", "500", false), pair("", "500"));
        assert_eq!(range("500", "1000", false), pair("500", "1000"));
        // The list began again: nothing until it is where the ranges were.
        assert_eq!(range("1000", "500", false), None);
        assert_eq!(range("1000", "1000", false), None);
        assert_eq!(range("1000", "1500", false), pair("1000", "1500"));
        // An end behind the last range, before it, and of nothing.
        assert_eq!(range("1000", "1500", true), pair("1000", ""));
        assert_eq!(range("1000", "700", true), pair("1000", ""));
        assert_eq!(range("", "", true), pair("", ""));
        // A page without records that is not the end.
        assert_eq!(range("", "", false), None);
        assert!(super::range(Order::Unknown, "", "5", true).is_none());
    }
}
