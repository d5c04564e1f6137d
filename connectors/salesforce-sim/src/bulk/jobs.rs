//! The jobs, and how they advance.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::csv::Layout;
use super::refused::{Column, columns};
use super::script::{Script, Settings, Snapshot};
use crate::app::{App, UserKey};
use crate::errors::Error;
use crate::ids;
use crate::org::Org;
use crate::rest::Call;
use crate::soql::plan::plan;
use crate::soql::{Viewer, eval, parser};

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) enum State {
    UploadComplete,
    InProgress,
    JobComplete,
    Failed,
    Aborted,
}

impl State {
    pub(crate) fn finished(self) -> bool {
        matches!(self, State::JobComplete | State::Failed | State::Aborted)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            State::UploadComplete => "UploadComplete",
            State::InProgress => "InProgress",
            State::JobComplete => "JobComplete",
            State::Failed => "Failed",
            State::Aborted => "Aborted",
        }
    }
}

/// The rows of a job's query, as they were when it ran.
#[derive(Clone)]
pub(crate) struct Outcome {
    pub(crate) org: Arc<Org>,
    pub(crate) table: usize,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<u32>,
    /// The rows from this number on were read twice, as they are in a later snapshot.
    again: Option<(usize, Arc<Org>)>,
}

impl Outcome {
    /// The snapshot that the nth row was read from.
    pub(crate) fn org_of(&self, n: usize) -> &Org {
        match &self.again {
            Some((from, org)) if n >= *from => org,
            _ => &self.org,
        }
    }

    /// Adds rows that were in a second chunk too: those that changed since the snapshot, then others.
    fn repeat(&mut self, count: usize, all: bool, now: Arc<Org>) {
        let stamp = |org: &Org, row: u32| org.tables[self.table].change(row).and_then(|c| c.stamp);
        let changed = |row: &u32| stamp(&self.org, *row) != stamp(&now, *row);
        let table = &now.tables[self.table];
        let found = |row: &u32| if all { table.exists(*row) } else { table.live(*row) };
        let rows = || self.rows.iter().copied().filter(found);
        let others = rows().filter(|row| !changed(row));
        let again: Vec<u32> = rows().filter(changed).chain(others).take(count).collect();
        self.again = Some((self.rows.len(), now));
        self.rows.extend(again);
    }
}

/// One job.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) number: u32,
    pub(crate) owner: UserKey,
    /// `queryAll`: with deleted rows.
    pub(crate) all: bool,
    pub(crate) soql: String,
    pub(crate) object: String,
    pub(crate) created: i64,
    pub(crate) stamp: i64,
    pub(crate) state: State,
    /// `62.0`
    pub(crate) version: String,
    pub(crate) layout: Layout,
    pub(crate) chunked: bool,
    pub(crate) script: Script,
    pub(crate) polls: u32,
    pub(crate) outcome: Option<Arc<Outcome>>,
    pub(crate) error: Option<String>,
    /// Deleted by its owner, or expired.
    pub(crate) gone: bool,
    /// The number of times that its locators were invalidated.
    pub(crate) epoch: u32,
    pub(crate) pages_read: u64,
}

impl Job {
    pub(crate) fn id(&self) -> String {
        ids::text("750", self.number)
    }

    /// The rows of the finished result.
    pub(crate) fn total(&self) -> usize {
        self.outcome.as_ref().map_or(0, |outcome| outcome.rows.len())
    }

    /// The `numberRecordsProcessed` of now.
    pub(crate) fn processed(&self) -> i64 {
        let total = self.total() as i64;
        match self.state {
            State::JobComplete => (total + self.script.miscount).max(0),
            State::UploadComplete => 0,
            _ => {
                total * i64::from(self.polls)
                    / i64::from(self.script.polls + 1).max(i64::from(self.polls) + 1)
            }
        }
    }

    /// The state after the next look.
    fn next(&self) -> State {
        if self.state.finished() {
            return self.state;
        }
        let look = self.polls + 1;
        match self.script.states.as_slice() {
            [] if look <= self.script.polls => State::InProgress,
            [] => self.script.then,
            states => states[(look as usize - 1).min(states.len() - 1)],
        }
    }
}

/// All jobs.
#[derive(Default)]
pub(crate) struct Jobs {
    pub(crate) list: Vec<Job>,
    pub(crate) settings: Settings,
    pub(crate) scripts: Vec<Script>,
    /// The jobs of the last 24 hours, by org.
    pub(crate) used: HashMap<usize, u64>,
}

impl Jobs {
    pub(crate) fn add(&mut self, job: impl FnOnce(u32) -> Job) -> Job {
        let job = job(self.list.len() as u32 + 1);
        *self.used.entry(job.owner.org).or_default() += 1;
        self.list.push(job.clone());
        job
    }

    /// Whether a caller may see a job: the owner, and the administrator of the org.
    fn visible(&self, job: &Job, call: &Call<'_>) -> bool {
        let kept = call.app.now() - job.created <= self.settings.retention_days * 86_400;
        let own = job.owner == call.user || job.owner.org == call.user.org && call.user.user == 0;
        !job.gone && kept && own
    }

    pub(crate) fn visible_to(&self, call: &Call<'_>) -> Vec<u32> {
        let seen = self.list.iter().filter(|job| self.visible(job, call));
        seen.map(|job| job.number).collect()
    }

    pub(crate) fn by_number(&mut self, number: u32) -> Option<&mut Job> {
        self.list.get_mut((number as usize).checked_sub(1)?)
    }

    pub(crate) fn find(&mut self, id: &str, call: &Call<'_>) -> Result<&mut Job, Error> {
        let gone = || Error::new(404, "NOT_FOUND", "The requested resource does not exist");
        let number = ids::decode("750", id).ok_or_else(gone)?;
        let job = self.by_number(number).ok_or_else(gone)?.clone();
        if !self.visible(&job, call) {
            return Err(gone());
        }
        self.by_number(number).ok_or_else(gone)
    }
}

/// One look at a job, which advances it.
pub(crate) fn look(app: &App, number: u32) -> Option<Job> {
    let mut job = app.jobs.lock().by_number(number)?.clone();
    let next = job.next();
    if !job.state.finished() {
        job.polls += 1;
        let snapshot = app.jobs.lock().settings.snapshot;
        let early = snapshot == Snapshot::Start && next != State::UploadComplete;
        if job.outcome.is_none() && (early || next == State::JobComplete) {
            // Not under the lock: the query may be long.
            match run(app, &job) {
                Ok(outcome) => job.outcome = Some(Arc::new(outcome)),
                Err(error) => {
                    job.state = State::Failed;
                    job.error = Some(format!("{}: {}", error.code, error.message.trim_start()));
                }
            }
        }
        if job.state != State::Failed {
            job.state = next;
        }
        let repeated = job.script.duplicates;
        if let (State::JobComplete, Some(outcome), true) = (job.state, &mut job.outcome, repeated > 0) {
            let now = Arc::new(app.orgs[job.owner.org].read().clone());
            Arc::make_mut(outcome).repeat(repeated, job.all, now);
        }
        if job.state == State::Failed && job.error.is_none() {
            job.error.clone_from(&job.script.error_message);
        }
        job.stamp = app.now();
    }
    let mut jobs = app.jobs.lock();
    let kept = jobs.by_number(number)?;
    // Another caller may have ended it meanwhile.
    if !kept.state.finished() {
        (kept.state, kept.polls, kept.stamp) = (job.state, job.polls, job.stamp);
        (kept.outcome, kept.error) = (job.outcome, job.error);
    }
    Some(kept.clone())
}

/// Runs the query of a job on a snapshot of the org.
fn run(app: &App, job: &Job) -> Result<Outcome, Error> {
    let org = Arc::new(app.orgs[job.owner.org].read().clone());
    let user = org.user(job.owner.user).ok_or_else(Error::session)?;
    let viewer = Viewer { org: &org, user };
    let query = parser::parse(&job.soql)?;
    let plan = plan(viewer, &job.soql, &query)?;
    let mut columns = columns(&plan.node)?;
    let mut rows = eval::rows(&org, &plan, job.all);
    let settings = app.jobs.lock().settings.clone();
    if settings.columns_sorted {
        columns.sort_by(|a, b| a.name.cmp(&b.name));
    }
    if let Some(size) = settings.chunk_rows.filter(|size| *size > 0 && job.chunked) {
        // Chunks end in any order; here from the last to the first.
        rows = rows.chunks(size).rev().flatten().copied().collect();
    }
    rows.truncate(job.script.keep.unwrap_or(usize::MAX));
    let table = plan.table;
    Ok(Outcome {
        org,
        table,
        columns,
        rows,
        again: None,
    })
}
