//! Reading by Bulk 2.0: a query runs as a job of Salesforce, and its result is read page by page.
//!
//! | place in the checkpoint | what loading it does |
//! |---|---|
//! | a mark: a job is about to be created | creates the job. The mark is stored before, the job's id right after it |
//! | a job that runs | looks at it, with growing pauses |
//! | a position in the result | reads rows, in batches; the download goes on from one batch to the next |
//! | a job that was read | deletes it |
//!
//! So a process that dies in between leaves a job that the checkpoint names, or one that was created since the mark: the next
//! process finds it among the jobs ([`api::discard_left_over`]) by the form of its result, aborts and deletes it, unless it knows that another
//! read has it ([`jobs`](crate::jobs)).
//! When a stream is closed, its job stays: a server that is restarted closes its streams too, and the next one adopts the job. What
//! a cancelled sync has left is deleted by a later sync: by the next one if that has its state, else by the first one after six hours.
//! A job whose deletion fails is noted in the checkpoints ([`left`]), and deleted by the next attempt or sync.
//!
//! Rows come in no order that Salesforce documents. While they come in the order of ids, ranges are listed; otherwise the ids alone are
//! listed apart, in order ([`Page::unlisted`](tether_connector_sdk::reading::Page)). A query with ORDER BY would not be
//! divided among Salesforce's servers, and fail for very large objects.
//!
//! A job that fails is created once more; a second failure, a refusal, and a result that stays damaged leave the rest of the
//! pass to REST. A result is taken for complete only if its rows are as many as Salesforce says.

pub(crate) mod api;
mod csv;
pub(crate) mod layout;
mod left;
pub(crate) mod place;
pub(crate) mod results;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tether_connector_sdk::http::jitter;
use tether_connector_sdk::proto::{Error, ErrorKind};

use self::api::{FAILED, LeftOver, REFUSED};
use self::layout::Layout;
use self::place::{Job, PageAt, Task};
use self::results::{Kept, Rows};
use crate::ids;
use crate::rest::Session;

/// The longest time of one load: the host expects an event now and then.
const LONGEST_WAIT: Duration = Duration::from_secs(240);
/// Each pause between two looks at a job is longer than the one before, up to this many times the first one: 30 s.
const LONGEST_PAUSE: u32 = 60;
/// An estimate of the bytes of a row, besides those of each column, before the first page.
const ROW_BYTES: u64 = 60;
const COLUMN_BYTES: u64 = 25;
/// The numbers of rows of a page.
const PAGE_ROWS: std::ops::RangeInclusive<u64> = 200..=100_000;

/// What one load did.
#[derive(Debug)]
pub(crate) enum Step {
    /// Bulk was chosen.
    Chosen,
    /// The job was created.
    Created(Job),
    /// It runs.
    Runs { processed: u64, moved_us: i64 },
    /// It is complete, with so many records.
    Complete(u64),
    /// Rows of its result.
    Rows(Rows),
    /// It was deleted.
    Deleted,
}

/// The reading of jobs on behalf of an account.
#[derive(Default)]
pub(crate) struct Bulk {
    /// The page that is being downloaded.
    kept: tokio::sync::Mutex<Kept>,
    /// Jobs of earlier reads were searched for.
    searched: AtomicBool,
    /// Jobs that could not be deleted.
    pub(crate) left: left::LeftJobs,
}

/// What a job reads.
pub(crate) struct Query<'a> {
    pub(crate) object: &'static str,
    pub(crate) soql: &'a str,
    pub(crate) layout: &'a Layout,
    pub(crate) page_rows: u64,
}

impl Bulk {
    /// Does the next step of a task. `now_us` is Salesforce's time, 0 if unknown.
    pub(crate) async fn load(
        &self,
        session: &Session,
        query: &Query<'_>,
        task: &Task,
        now_us: i64,
    ) -> Result<Step, Error> {
        let Some(job) = &task.job else {
            let job = self.create(session, query, task, now_us).await?;
            learn(session, &job, task);
            return Ok(Step::Created(job));
        };
        // It may be that of a process that has ended.
        learn(session, job, task);
        if job.ended {
            return match api::discard(session, &job.version, &job.id, false).await {
                Err(error) if error.is_account_wide() => Err(error),
                Err(error) => {
                    tracing::warn!(job = job.id, "a job could not be deleted: {error}");
                    self.left.note(&job.version, &job.id);
                    Ok(Step::Deleted)
                }
                Ok(()) => Ok(Step::Deleted),
            };
        }
        if job.total.is_none() {
            return wait(session, job, now_us).await;
        }
        let reading = results::Reading {
            session,
            layout: query.layout,
            task,
            job,
            page_rows: query.page_rows,
        };
        let rows = reading.rows(&mut *self.kept.lock().await).await?;
        Ok(Step::Rows(rows))
    }

    /// Creates a job. If it is not known whether a request has created one, it is searched for before the next attempt.
    async fn create(
        &self,
        session: &Session,
        query: &Query<'_>,
        task: &Task,
        now_us: i64,
    ) -> Result<Job, Error> {
        let mut left = LeftOver {
            object: query.object,
            since: (!task.fresh).then_some((task.form, task.since_us)),
            mark: task.mark,
            now_us,
        };
        let retries = session.retries();
        let mut attempt = 0;
        loop {
            if left.since.is_some() || !self.searched.swap(true, Relaxed) {
                api::discard_left_over(session, &left, &self.left).await?;
            }
            attempt += 1;
            let refusal = match api::create(session, query.soql, task.form).await {
                Ok((info, made_us)) => return job(session, &info.id, made_us.max(now_us)),
                Err(refusal) => refusal,
            };
            left.since = Some((task.form, task.since_us));
            match retries.wait(attempt, &refusal, jitter()) {
                Some(wait) if session.has(wait) => session.call().sleep(wait).await?,
                _ => return Err(refused(session.gave_up(refusal))),
            }
        }
    }

    /// Ends what was begun for a task that nobody goes on with.
    pub(crate) async fn discard(
        &self,
        session: &Session,
        object: &'static str,
        task: &Task,
        now_us: i64,
    ) -> Result<(), Error> {
        match &task.job {
            Some(job) => {
                self.kept.lock().await.download = None;
                let ended = api::discard(session, &job.version, &job.id, job.total.is_none()).await;
                if ended.is_err() {
                    self.left.note(&job.version, &job.id);
                }
                ended
            }
            None if task.fresh => Ok(()),
            None => {
                let since = Some((task.form, task.since_us));
                let left = LeftOver {
                    object,
                    since,
                    mark: task.mark,
                    now_us,
                };
                api::discard_left_over(session, &left, &self.left).await
            }
        }
    }
}

/// Notes that this read has a job.
fn learn(session: &Session, job: &Job, task: &Task) {
    let url = session.url(&api::path(&job.version, &format!("/{}", job.id)));
    session.api().jobs.learn(&url, task.mark);
}

/// The first position of a new job.
fn job(session: &Session, id: &str, now_us: i64) -> Result<Job, Error> {
    let id = ids::normalise(id).ok_or_else(|| Error::bug("Salesforce gave a job an id that is none"))?;
    Ok(Job {
        id,
        version: session.api().options.api_version.clone(),
        processed: 0,
        moved_us: now_us,
        total: None,
        ended: false,
        page: PageAt::default(),
    })
}

/// A refusal of Salesforce to create a job; other errors stay.
fn refused(error: Error) -> Error {
    use ErrorKind::{
        AdminAction, Bug, Configuration, CursorGone, Forbidden, InvalidInput, ObjectGone, QueryTooBig,
        RecordGone, Unsupported,
    };
    match error.what() {
        AdminAction | Bug | Configuration | CursorGone | Forbidden | InvalidInput | ObjectGone
        | QueryTooBig | RecordGone | Unsupported => Error::transient(error.message).code(REFUSED),
        _ => error,
    }
}

/// Looks at a job until it is complete, or for some minutes.
async fn wait(session: &Session, job: &Job, now_us: i64) -> Result<Step, Error> {
    let options = &session.api().options;
    let first = options.back_off / 2;
    let (mut processed, mut moved_us, mut state) = (job.processed, job.moved_us, String::new());
    let begun = Instant::now();
    let mut look = 0;
    loop {
        let (info, at_us) = api::look(session, &job.version, &job.id).await?;
        match info.state.as_str() {
            "JobComplete" => return Ok(Step::Complete(info.number_records_processed.unwrap_or(0))),
            "Failed" => return Err(api::failed(&job.id, &info)),
            "Aborted" => {
                let text = format!("someone has aborted the job {} in Salesforce", job.id);
                return Err(Error::transient(text).code(FAILED));
            }
            _ => {}
        }
        let at_us = if at_us > 0 { at_us } else { now_us };
        let count = info.number_records_processed.unwrap_or(processed);
        if count != processed || info.state != state && !state.is_empty() {
            (processed, moved_us) = (count, at_us);
        }
        state = info.state;
        if at_us - moved_us > options.bulk_wait_us {
            let minutes = (at_us - moved_us) / 60_000_000;
            let text = format!("the job {} has not got on for {minutes} minutes", job.id);
            return Err(Error::transient(text).code(FAILED));
        }
        if begun.elapsed() > LONGEST_WAIT {
            return Ok(Step::Runs { processed, moved_us });
        }
        session.call().sleep(pause(first, look)).await?;
        look += 1;
    }
}

/// The pause after a look: each is one and a half times as long as the one before.
fn pause(first: Duration, look: i32) -> Duration {
    first.mul_f64(1.5f64.powi(look.min(20)).min(f64::from(LONGEST_PAUSE)))
}

/// The rows of a page of so many bytes, by the rows and bytes of the page before; an estimate before the first page.
pub(crate) fn page_rows(page_bytes: u64, columns: usize, seen: Option<(u64, u64)>) -> u64 {
    let columns = u64::try_from(columns).unwrap_or(u64::MAX);
    let row_bytes = match seen {
        Some((rows, bytes)) if rows > 0 => bytes / rows,
        _ => ROW_BYTES + columns.saturating_mul(COLUMN_BYTES),
    };
    (page_bytes / row_bytes.max(1)).clamp(*PAGE_ROWS.start(), *PAGE_ROWS.end())
}

/// Half of a page that was too large; None if it is the smallest.
pub(crate) fn fewer_rows(rows: u64) -> Option<u64> {
    (rows > *PAGE_ROWS.start()).then(|| (rows / 2).max(*PAGE_ROWS.start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_become_rarer() {
        let first = Duration::from_millis(500);
        let pauses: Vec<u128> = (0..4).map(|look| pause(first, look).as_millis()).collect();
        assert_eq!(pauses, [500, 750, 1_125, 1_687]);
        assert_eq!(pause(first, 11), Duration::from_secs(30));
        assert_eq!(pause(first, i32::MAX), Duration::from_secs(30));
        // About fifteen looks in the first two minutes, then two in a minute.
        let total: Duration = (0..13).map(|look| pause(first, look)).sum();
        assert!(total > Duration::from_secs(120), "{total:?}");
    }

    #[test]
    fn pages_are_of_some_megabytes() {
        const BYTES: u64 = 24_000_000;
        assert_eq!(page_rows(BYTES, 20, None), BYTES / 560);
        assert_eq!(page_rows(BYTES, 1, None), 100_000);
        assert_eq!(page_rows(BYTES, 800, Some((1_000, 1_000_000))), BYTES / 1_000);
        assert_eq!(page_rows(BYTES, 1, Some((2, 20_000_000))), 200);
        assert_eq!(page_rows(BYTES, 1, Some((0, 0))), 100_000);
        assert_eq!(
            (fewer_rows(1_000), fewer_rows(300), fewer_rows(200)),
            (Some(500), Some(200), None)
        );
    }

    #[test]
    fn refusals_leave_the_object_to_rest_and_outages_do_not() {
        for error in [
            Error::bug("x").code("FEATURENOTENABLED"),
            Error::bug("x").code("INVALIDENTITY"),
            Error::forbidden("x"),
            Error::query_too_big("x"),
        ] {
            assert_eq!(refused(error).code, REFUSED);
        }
        for error in [
            Error::credentials_expired("x"),
            Error::transient("x"),
            Error::rate_limited("x"),
            Error::cancelled("x"),
            Error::new(ErrorKind::FieldGone, "x"),
            Error::new(ErrorKind::AllowanceExhausted, "x"),
        ] {
            assert_eq!(refused(error.clone()).what(), error.what());
        }
    }
}
