//! The read of an object: all of its records, what changed, or some by id; with a checkpoint after each page. A checkpoint
//! contains the last id, so any process can resume, and expired cursors of the CRM do no harm.
//!
//! Changes are read in the order of ids, too, not of times: very many records may have the same time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tether_connector_sdk::proto::{Covers, Error, ErrorKind, ObjectCount};
use tether_connector_sdk::reading::{Change, Looked, Page, Pass, Recovery, Source, Wanted, of_one_object};

use crate::composite::MOST_QUERIES;
use crate::describe::Described;
use crate::objects::{self, CrmObject};
use crate::plan::{Column, Plan, label_of};
use crate::query::{self, Place, Scope};
use crate::rest::{self, Session};
use crate::soql::Filter;
use crate::{errors, fields, ids, page, soql};

/// How often in a row a cursor may be left without a page in between.
const MOST_CURSORS_LOST: u32 = 5;
/// How often in a row a query may time out before the object is given up: with the pauses in between, about a minute.
const MOST_TIME_OUTS: u32 = 7;
/// The error code for a page with rows without ids. The error may be temporary, so the page is requested again.
const ROWS_WITHOUT_IDS: &str = "rows_without_ids";

/// The position in the list of an object.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    #[serde(flatten)]
    place: Place,
    /// Rows so far.
    rows: u64,
    /// The CRM's order of ids was not the order of their bytes, or some ids are unknown.
    unordered: bool,
    /// Some rows could not be used.
    #[serde(default)]
    unusable: bool,
}

/// The plan for an object, and the recoveries tried so far.
pub struct Reading {
    plan: Plan,
    scope: Scope,
    /// Lost cursors since the last page.
    lost: u32,
    /// Timed-out queries since the last page.
    timed_out: u32,
    described_again: bool,
    /// A page with rows without ids was requested again.
    asked_again: bool,
}

/// A page with the columns that were asked for.
type Answered = (Vec<Vec<Column>>, page::Page);

/// The read on behalf of an account.
pub struct Reader {
    session: Session,
    budget: usize,
    /// The describes of objects that are to be read.
    described: HashMap<&'static str, Described>,
    /// The first page of changes of objects that were asked for together.
    changes: Mutex<HashMap<&'static str, Answered>>,
}

impl Reader {
    pub(crate) fn new(session: Session) -> Self {
        Self {
            budget: session.api().options.query_budget,
            session,
            described: HashMap::new(),
            changes: Mutex::default(),
        }
    }

    /// Asks for the first page of changes of all objects in one call, where that is possible.
    async fn ask_together(&mut self, left: &[Wanted<&'static CrmObject>]) -> Result<(), Error> {
        let changed = left.iter().filter(|one| one.ids.is_empty());
        let mut asked = Vec::new();
        for one in changed {
            let Some(since_us) = one.since_us else { continue };
            let seen = self.described.get(one.object.key).filter(|seen| seen.whole);
            let (plan, _) = Plan::new(
                one.object,
                &one.fields,
                seen.map(|seen| &seen.object),
                self.budget,
            );
            if plan.parts.len() == 1 {
                asked.push((plan, Scope::Since(soql::time(since_us))));
            }
        }
        for some in asked.chunks(MOST_QUERIES).filter(|some| some.len() > 1) {
            let start = Place::default();
            let paths = some
                .iter()
                .map(|(plan, scope)| start.path(&self.session, plan, scope));
            let paths: Vec<String> = paths.collect();
            let read = |index: usize, text: &str| page::read(text, &some[index].0.parts[0]);
            let (pages, read_us) = match rest::parts(&self.session, &paths, read).await {
                Ok(answered) => answered,
                Err(error) if error.is_account_wide() => return Err(error),
                // Each query is asked alone then, and can be narrowed.
                Err(error) => {
                    tracing::warn!("the objects are asked for their changes one by one: {error}");
                    continue;
                }
            };
            let mut known = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
            for ((plan, _), page) in some.iter().zip(pages) {
                if let Ok(page) = page {
                    let page = page::Page { read_us, ..page };
                    known.insert(plan.object.key, (plan.parts.clone(), page));
                }
            }
        }
        Ok(())
    }

    /// How many ids a query can have besides its columns.
    fn ids_at_once(&self, plan: &Plan) -> usize {
        /// The encoded size of an id, with quotes and comma.
        const ENCODED: usize = 25;
        let longest =
            (0..plan.parts.len()).map(|part| soql::encode(&plan.soql(part, &Filter::Ids(&[]), None)).len());
        let left = self.budget.saturating_sub(longest.max().unwrap_or(0));
        (left / ENCODED).clamp(10, 500)
    }
}

impl Source for Reader {
    const CRM: &'static str = "Salesforce";
    const AHEAD: bool = true;
    const CHANGES: bool = true;
    type Object = &'static CrmObject;
    type Plan = Reading;
    type Place = At;
    type Loaded = page::Page;

    fn object(key: &str) -> Result<&'static CrmObject, Error> {
        objects::named(key)
    }

    fn key(object: &'static CrmObject) -> &'static str {
        object.key
    }

    fn is_place(at: &At) -> bool {
        let after = &at.place.after;
        after.is_empty() || ids::normalise(after).as_ref() == Some(after)
    }

    async fn open(&mut self, left: &[Wanted<&'static CrmObject>]) -> Result<Vec<ObjectCount>, Error> {
        let described = left.iter().filter(|wanted| wanted.is_of_all_records());
        let objects: Vec<_> = described.map(|wanted| wanted.object).collect();
        let (described, estimates) = self.describe(&objects, true).await?;
        self.described = described;
        self.ask_together(left).await?;
        Ok(estimates)
    }

    /// Formulas and roll-ups; and references with a label: another record has the label. All fields, if it is not known which
    /// are formulas.
    fn calculated(&self, wanted: &Wanted<&'static CrmObject>) -> Vec<String> {
        let described = self.described.get(wanted.object.key).filter(|seen| seen.whole);
        let is_formula = |key: &str| {
            described.is_none_or(|seen| {
                let mut fields = seen.object.fields.iter();
                fields.any(|field| field.calculated && field.key == key)
            })
        };
        let keys = wanted.fields.iter().map(|field| &field.key);
        keys.filter(|key| is_formula(key) || label_of(key).is_some())
            .cloned()
            .collect()
    }

    async fn look(
        &mut self,
        wanted: &Wanted<&'static CrmObject>,
        pass: &Pass,
    ) -> Result<Looked<Reading>, Error> {
        let object = wanted.object;
        let seen = self.described.get(object.key);
        if seen.as_ref().is_some_and(|seen| !seen.object.visible) {
            let text = format!("the user cannot see {}", object.label);
            return Ok(Looked::Hidden(Error::object_gone(text)));
        }
        // Without a complete describe the selection is used as it is: the query itself shows missing fields.
        let seen = seen.filter(|seen| seen.whole).map(|seen| &seen.object);
        let (plan, changes) = Plan::new(object, &wanted.fields, seen, self.budget);
        let scope = match pass {
            Pass::Full | Pass::Fields => Scope::All,
            Pass::Changes { since_us } => Scope::Since(soql::time(*since_us)),
            Pass::Records(ids) => Scope::Ids {
                ids: ids.iter().filter_map(|id| ids::normalise(id)).collect(),
                at_once: self.ids_at_once(&plan),
            },
        };
        Ok(Looked::Seen {
            plan: Reading {
                plan,
                scope,
                lost: 0,
                timed_out: 0,
                described_again: false,
                asked_again: false,
            },
            changes,
            expected: None,
        })
    }

    async fn load(&self, reading: &Reading, at: &At) -> Result<page::Page, Error> {
        if matches!(reading.scope, Scope::Since(_)) && *at == At::default() {
            let key = reading.plan.object.key;
            let mut known = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
            // Another plan, without a field that turned out to be missing, is asked for anew.
            if let Some((parts, page)) = known.remove(key)
                && parts == reading.plan.parts
            {
                return Ok(page);
            }
        }
        if matches!(reading.scope, Scope::Ids { .. }) && reading.scope.is_end(&at.place.after) {
            return Ok(page::Page::end());
        }
        let path = at.place.path(&self.session, &reading.plan, &reading.scope);
        rest::page(&self.session, &path, &reading.plan.parts[0]).await
    }

    async fn page(&mut self, reading: &mut Reading, at: &At, page: page::Page) -> Result<Page<At>, Error> {
        let mut next = at.clone();
        let mut step = next.place.step(&page)?;
        step.last = reading
            .scope
            .after_page(&mut next.place, &at.place.after, step.last)?;
        let plan = &reading.plan;
        let whole = query::whole(&self.session, plan, &reading.scope, page, &at.place.after).await?;
        if whole.unusable > 0 && !std::mem::replace(&mut reading.asked_again, true) {
            return Err(Error::transient("Salesforce gave records without ids").code(ROWS_WITHOUT_IDS));
        }
        (reading.lost, reading.timed_out) = (0, 0);
        // After a record whose position is unknown, no range is known to be complete.
        next.unordered |= !step.in_order || whole.unusable > 0;
        next.unusable |= whole.unusable > 0;
        next.rows += whole.records.len() as u64;
        let covers = (!next.unordered).then(|| Covers {
            after: at.place.after.clone(),
            through: if step.last {
                String::new()
            } else {
                next.place.after.clone()
            },
        });
        let label = reading.plan.object.label;
        Ok(Page {
            records: whole.records,
            covers,
            covers_numbers: None,
            read_time_us: whole.read_us,
            expected: step.total.map(|total| at.rows + total),
            lacking: next
                .unusable
                .then(|| Error::bug(format!("Salesforce gave {label} without ids that can be used"))),
            next: (!step.last).then_some(next),
        })
    }

    async fn recover(&mut self, error: Error, reading: &mut Reading, at: &mut At) -> Result<Recovery, Error> {
        let again = Ok(Recovery::Again(Vec::new()));
        match error.what() {
            ErrorKind::Transient if error.code == ROWS_WITHOUT_IDS => {
                let object = reading.plan.object.key;
                tracing::warn!(object, "records without ids are asked for again");
                at.place.leave_cursor();
                again
            }
            ErrorKind::CursorGone => {
                at.place.leave_cursor();
                reading.lost += 1;
                if reading.lost > MOST_CURSORS_LOST {
                    Err(error)
                } else {
                    again
                }
            }
            ErrorKind::QueryTooBig => {
                let whole_is_big = matches!(error.code.as_str(), "QUERY_TIMEOUT" | "http.body_too_large");
                let smaller = if whole_is_big {
                    // The CRM's database may be slow temporarily, so there is an additional pause.
                    reading.timed_out += 1;
                    let narrower = at.place.narrow();
                    (narrower || reading.timed_out <= MOST_TIME_OUTS)
                        && self.session.pause(reading.timed_out).await?
                } else {
                    at.place.leave_cursor();
                    reading.plan.split()
                };
                if smaller {
                    again
                } else {
                    Ok(Recovery::GiveUp(error))
                }
            }
            ErrorKind::FieldGone => {
                at.place.leave_cursor();
                match self.gone_fields(&error, reading).await? {
                    Some(gone) => Ok(Recovery::Again(gone.into_iter().map(Change::Missing).collect())),
                    None => Ok(Recovery::GiveUp(error)),
                }
            }
            // An administrator can solve it for this object; the others are not affected.
            ErrorKind::AdminAction
                if matches!(error.code.as_str(), "OPERATION_TOO_LARGE" | "API_ERROR")
                    || error.code.starts_with("TXN_SECURITY_") =>
            {
                Ok(Recovery::GiveUp(error))
            }
            _ => of_one_object(error),
        }
    }

    fn renew(&mut self, access_token: String, base_url: &str) {
        self.session.renew(access_token, base_url);
    }

    /// A cursor ends with its session.
    fn leave_session(at: &mut At) {
        at.place.leave_cursor();
    }

    fn refused_again(&self, error: Error) -> Error {
        errors::refused_again(error)
    }
}

impl Reader {
    /// Removes missing fields from the plan; returns the selected ones among them, or None if that does not help.
    async fn gone_fields(&self, error: &Error, reading: &mut Reading) -> Result<Option<Vec<String>>, Error> {
        let plan = &mut reading.plan;
        let mut gone = Vec::new();
        let mut smaller = false;
        if !reading.described_again {
            let (described, _) = self.describe(&[plan.object], false).await?;
            reading.described_again = true;
            let before: usize = plan.parts.iter().map(Vec::len).sum();
            // The field was hidden after the read began: the query decides.
            let seen = described.get(plan.object.key);
            if let Some(seen) = seen.filter(|seen| seen.whole && seen.object.visible) {
                gone = plan.keep_seen(&seen.object);
            }
            smaller = plan.parts.iter().map(Vec::len).sum::<usize>() < before;
        }
        // The describe may still list a field that the query refuses.
        if !smaller && !plan.drop_labels() {
            if plan.has_selected(&error.field) {
                gone.push(error.field.clone());
            }
            if !plan.drop_field(&error.field) {
                return Ok(None);
            }
        }
        Ok(Some(gone))
    }

    /// Describes objects. An object that cannot be described is omitted: it can be read without a describe.
    async fn describe(
        &self,
        objects: &[&'static CrmObject],
        estimate: bool,
    ) -> Result<(HashMap<&'static str, Described>, Vec<ObjectCount>), Error> {
        let (described, estimates) = fields::describe(&self.session, objects, estimate).await?;
        let mut all = HashMap::with_capacity(objects.len());
        for (object, described) in objects.iter().zip(described) {
            match described {
                Ok(described) => _ = all.insert(object.key, described),
                Err(error) if error.is_account_wide() => return Err(error),
                Err(error) => {
                    tracing::warn!(
                        object = object.key,
                        "an object is read without its describe: {error}"
                    );
                }
            }
        }
        Ok((all, estimates))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_cannot_be_gone_on_from() {
        let at = |after: &str| At {
            place: Place::after(after.into()),
            rows: 7,
            ..At::default()
        };
        assert!(Reader::is_place(&at("003000000000001AAA")) && Reader::is_place(&At::default()));
        assert!(!Reader::is_place(&at("x' OR Id != '")));
    }

    #[test]
    fn a_place_in_a_checkpoint_is_the_last_id_without_the_cursor() {
        let mut at = At {
            place: Place::after("003000000000001AAA".into()),
            rows: 7,
            ..At::default()
        };
        at.place.narrow();
        let text = serde_json::to_string(&at).unwrap();
        assert_eq!(
            text,
            r#"{"after":"003000000000001AAA","rows":7,"unordered":false,"unusable":false}"#
        );
        let old = r#"{"after":"003000000000001AAA","rows":7,"unordered":false}"#;
        let read: At = serde_json::from_str(old).unwrap();
        assert_eq!((read.place.after, read.rows), (at.place.after, at.rows));
    }
}
