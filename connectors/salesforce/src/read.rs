//! The read of an object: all of its records, what changed, or some by id; with a checkpoint after each page. A checkpoint
//! contains the last id, so any process can resume, and expired cursors of the CRM do no harm.
//!
//! Changes are read in the order of ids, too, not of times: very many records may have the same time.
//!
//! Pages come by REST ([`crate::query`]) or from a job of Bulk ([`crate::bulk`]), as [`crate::planner`] chooses; what follows is common.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use tether_connector_sdk::proto::{Error, ErrorKind, ObjectCount};
use tether_connector_sdk::reading::{Looked, Page, Pass, Recovery, Source, Wanted};

use crate::bulk::api::Form;
use crate::bulk::layout::Layout;
use crate::bulk::place::Task;
use crate::bulk::{self, Bulk, Step};
use crate::describe::Described;
use crate::objects::{self, CrmObject};
use crate::plan::{Column, Plan, label_of};
use crate::planner::{Facts, Way, choose};
use crate::query::{Place, Scope};
use crate::rest::Session;
use crate::soql::Filter;
use crate::{errors, fields, ids, page, soql};

/// The position in the list of an object.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    /// By REST. While a job is used, the job has the records after it.
    #[serde(flatten)]
    pub(crate) place: Place,
    /// Rows so far.
    pub(crate) rows: u64,
    /// The CRM's order of ids was not the order of their bytes, or some ids are unknown.
    pub(crate) unordered: bool,
    /// Some rows could not be used.
    #[serde(default)]
    pub(crate) unusable: bool,
    /// Salesforce announced more rows than it gave, twice.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) lost: bool,
    /// Ranges were listed through this id, and the rows up to it are read again.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) listed: String,
    /// The job that is used, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bulk: Option<Task>,
    /// Bulk was given up: the rest is read by REST.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) rest: bool,
}

/// The plan for an object, and the recoveries tried so far.
pub struct Reading {
    pub(crate) plan: Plan,
    pub(crate) scope: Scope,
    /// The columns of a job; None if the object cannot be read with one.
    pub(crate) layout: Option<Layout>,
    /// The approximate number of records, if it is known.
    estimate: Option<u64>,
    /// Only ids are read, to list ranges: a job returns them in order.
    pub(crate) lists_ids: bool,
    /// Rows of a page of a job's result.
    pub(crate) page_rows: u64,
    /// Lost cursors since the last page.
    pub(crate) lost: u32,
    /// Timed-out queries since the last page.
    pub(crate) timed_out: u32,
    pub(crate) described_again: bool,
    /// A page with rows without ids was requested again.
    pub(crate) asked_again: bool,
    /// Damaged pages of a job in a row; and that its result was read from the beginning again.
    pub(crate) damaged: u32,
    pub(crate) relocated: bool,
}

/// A page with the columns that were asked for.
type Answered = (Vec<Vec<Column>>, page::Page);

/// The result of a load.
pub struct Loaded(Came);

/// A page by REST, or a step of Bulk.
enum Came {
    Rest(page::Page),
    Bulk(Step),
}

/// The read on behalf of an account.
pub struct Reader {
    pub(crate) session: Session,
    pub(crate) budget: usize,
    /// The describes of objects that are to be read.
    pub(crate) described: HashMap<&'static str, Described>,
    estimates: Vec<ObjectCount>,
    /// The first page of changes of objects that were asked for together.
    pub(crate) changes: Mutex<HashMap<&'static str, Answered>>,
    pub(crate) bulk: Bulk,
    /// Objects of which Salesforce refused a job; the next read tries again.
    refused: HashSet<&'static str>,
}

impl Reader {
    pub(crate) fn new(session: Session) -> Self {
        Self {
            budget: session.api().options.query_budget,
            session,
            described: HashMap::new(),
            estimates: Vec::new(),
            changes: Mutex::default(),
            bulk: Bulk::default(),
            refused: HashSet::new(),
        }
    }

    /// How rows are read, if there are so many.
    pub(crate) fn way(&self, reading: &Reading, rows: Option<u64>) -> Way {
        match reading.layout {
            Some(_) => self.cheaper_way(reading, rows),
            None => Way::Rest,
        }
    }

    pub(crate) fn cheaper_way(&self, reading: &Reading, rows: Option<u64>) -> Way {
        let by_ids = matches!(reading.scope, Scope::Ids { .. });
        if by_ids || self.refused.contains(reading.plan.object.key) {
            return Way::Rest;
        }
        let usage = self.session.call().usage();
        choose(&Facts {
            rows,
            parts: reading.plan.parts.len(),
            break_even: self.session.api().options.bulk_rows,
            calls_left: (usage.limit > 0).then(|| usage.limit.saturating_sub(usage.used)),
        })
    }

    /// Notes that Salesforce refuses jobs of an object. A permission or a daily limit concerns the others as well, which then
    /// learn it with one call each.
    pub(crate) fn refuse(&mut self, reading: &Reading) {
        self.refused.insert(reading.plan.object.key);
    }

    /// A job that is about to be created.
    pub(crate) fn task(&self, through: &str) -> Task {
        Task::new(self.session.api().clock.now_us(), Form::any(), through)
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
    type Loaded = Loaded;

    fn object(key: &str) -> Result<&'static CrmObject, Error> {
        objects::named(key)
    }

    fn key(object: &'static CrmObject) -> &'static str {
        object.key
    }

    fn is_place(at: &At) -> bool {
        let is_id = |id: &String| id.is_empty() || ids::normalise(id).as_ref() == Some(id);
        is_id(&at.place.after) && is_id(&at.listed) && at.bulk.as_ref().is_none_or(Task::is_valid)
    }

    fn must_be_stored(at: &At) -> bool {
        at.bulk.as_ref().is_some_and(|task| task.job.is_none())
    }

    async fn abandon(&mut self, object: &'static CrmObject, at: &At) -> Result<(), Error> {
        match &at.bulk {
            Some(task) => {
                let now_us = self.session.api().clock.now_us();
                self.bulk.discard(&self.session, object.key, task, now_us).await
            }
            None => Ok(()),
        }
    }

    fn left(&self) -> Vec<String> {
        self.bulk.left.all()
    }

    async fn end_left(&mut self, left: &[String]) -> Result<(), Error> {
        self.bulk.left.end(&self.session, left).await
    }

    async fn open(&mut self, left: &[Wanted<&'static CrmObject>]) -> Result<Vec<ObjectCount>, Error> {
        let described = left.iter().filter(|wanted| wanted.is_of_all_records());
        let objects: Vec<_> = described.map(|wanted| wanted.object).collect();
        let (described, estimates) = self.describe(&objects, true).await?;
        self.described = described;
        self.estimates.clone_from(&estimates);
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
            let text = format!(
                "the user cannot see {}; a Salesforce administrator has to give the user read access to them",
                object.label
            );
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
        let estimate = self.estimates.iter().find(|one| one.object == object.key);
        let layout = Layout::new(&plan, seen);
        let columns = layout.as_ref().map_or(0, |layout| layout.asked.len());
        Ok(Looked::Seen {
            plan: Reading {
                plan,
                estimate: estimate.map(|one| one.count).filter(|_| scope == Scope::All),
                scope,
                layout,
                lists_ids: *pass == Pass::Fields && wanted.fields.is_empty(),
                page_rows: bulk::page_rows(self.session.api().options.bulk_page_bytes, columns, None),
                lost: 0,
                timed_out: 0,
                described_again: false,
                asked_again: false,
                damaged: 0,
                relocated: false,
            },
            changes,
            expected: None,
        })
    }

    async fn load(&self, reading: &Reading, at: &At) -> Result<Loaded, Error> {
        Ok(Loaded(match &at.bulk {
            Some(task) => Came::Bulk(self.load_bulk(reading, at, task).await?),
            None if *at == At::default() && self.way(reading, reading.estimate) == Way::Bulk => {
                Came::Bulk(Step::Chosen)
            }
            None => Came::Rest(self.load_rest(reading, at).await?),
        }))
    }

    async fn page(&mut self, reading: &mut Reading, at: &At, loaded: Loaded) -> Result<Page<At>, Error> {
        match loaded.0 {
            Came::Rest(page) => self.rest_page(reading, at, page).await,
            Came::Bulk(step) => self.bulk_page(reading, at, step),
        }
    }

    async fn recover(&mut self, error: Error, reading: &mut Reading, at: &mut At) -> Result<Recovery, Error> {
        match at.bulk {
            Some(_) => self.recover_bulk(error, reading, at).await,
            None => self.recover_rest(error, reading, at).await,
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

/// Why an object is not complete although its list was read to the end.
pub(crate) fn lacking(reading: &Reading, at: &At) -> Option<Error> {
    let label = reading.plan.object.label;
    if at.lost {
        return Some(Error::transient(format!(
            "Salesforce announced more records of {label} than it gave, also when they were asked for again"
        )));
    }
    at.unusable
        .then(|| Error::bug(format!("Salesforce gave {label} without ids that can be used")))
}

impl Reader {
    /// Describes objects. An object that cannot be described is omitted: it can be read without a describe.
    pub(crate) async fn describe(
        &self,
        objects: &[&'static CrmObject],
        estimate: bool,
    ) -> Result<(HashMap<&'static str, Described>, Vec<ObjectCount>), Error> {
        let (described, estimates) = match fields::describe(&self.session, objects, estimate).await {
            // Of the call for all of them: it says nothing about an object, and no later call is as large.
            Err(error) if error.what() == ErrorKind::QueryTooBig => {
                tracing::warn!("the objects are read without their describes: {error}");
                return Ok((HashMap::new(), Vec::new()));
            }
            answered => answered?,
        };
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
        let listed = At {
            listed: "x".to_owned(),
            ..At::default()
        };
        assert!(!Reader::is_place(&listed));
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
