//! How a read goes on after an error of a page: by REST, or by Bulk.

use tether_connector_sdk::proto::{Error, ErrorKind};
use tether_connector_sdk::reading::{Change, Recovery, of_one_object};

use crate::bulk;
use crate::bulk::api::{DAMAGED, FAILED, GONE, LOCATOR_GONE, NO_LAYOUT, REFUSED};
use crate::bulk::layout::Layout;
use crate::bulk::place::{PageAt, Task};
use crate::read::{At, Reader, Reading};

/// How often in a row a cursor may be left without a page in between.
const MOST_CURSORS_LOST: u32 = 5;
/// How often in a row a query may time out before the object is given up: with the pauses in between, about a minute.
const MOST_TIME_OUTS: u32 = 7;
/// How often in a row a page of a job's result is read again.
const MOST_DAMAGED: u32 = 3;
/// Jobs of a pass that may fail.
const MOST_JOBS: u8 = 2;
/// The error code for a page with rows without ids. The error may be temporary, so the page is requested again.
pub(crate) const ROWS_WITHOUT_IDS: &str = "rows_without_ids";

impl Reader {
    /// After an error of a page by REST.
    pub(crate) async fn recover_rest(
        &mut self,
        error: Error,
        reading: &mut Reading,
        at: &mut At,
    ) -> Result<Recovery, Error> {
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

    /// After an error of a step by Bulk.
    pub(crate) async fn recover_bulk(
        &mut self,
        error: Error,
        reading: &mut Reading,
        at: &mut At,
    ) -> Result<Recovery, Error> {
        let page = at
            .bulk
            .as_mut()
            .and_then(|task| task.job.as_mut())
            .map(|job| &mut job.page);
        let again = Ok(Recovery::Again(Vec::new()));
        match (error.code.as_str(), error.what(), page) {
            (DAMAGED, _, Some(page)) if reading.damaged < MOST_DAMAGED => {
                reading.damaged += 1;
                tracing::warn!(object = reading.plan.object.key, "a page is read again: {error}");
                page.again();
                again
            }
            (LOCATOR_GONE | DAMAGED, _, Some(page)) if !std::mem::replace(&mut reading.relocated, true) => {
                // Other locators of the same job may be valid; an earlier page may have led to the wrong one.
                tracing::warn!(
                    object = reading.plan.object.key,
                    "a result is read from its beginning: {error}"
                );
                *page = PageAt::behind(&at.place.after);
                reading.damaged = 0;
                again
            }
            (NO_LAYOUT, ..) => {
                // Another process began the job.
                if !self.has_layout(reading).await? {
                    self.go_by_rest(reading, at, &error).await;
                }
                again
            }
            (GONE | FAILED | LOCATOR_GONE, ..) => {
                let failed = at.bulk.as_ref().map_or(0, |task| task.failed) + 1;
                if failed < MOST_JOBS {
                    tracing::warn!(
                        object = reading.plan.object.key,
                        "another job is created: {error}"
                    );
                    self.another_job(reading, at, failed).await;
                } else {
                    self.go_by_rest(reading, at, &error).await;
                }
                again
            }
            (REFUSED | DAMAGED, ..) | (_, ErrorKind::QueryTooBig, _) if !is_large_page(&error, reading) => {
                self.refuse(reading);
                self.go_by_rest(reading, at, &error).await;
                again
            }
            (_, ErrorKind::QueryTooBig, _) => again,
            (_, ErrorKind::FieldGone, _) => self.recover_field(&error, reading, at).await,
            _ => of_one_object(error),
        }
    }

    /// A field is gone: another job is created without it.
    async fn recover_field(
        &mut self,
        error: &Error,
        reading: &mut Reading,
        at: &mut At,
    ) -> Result<Recovery, Error> {
        let is_part = reading
            .layout
            .as_ref()
            .is_some_and(|layout| layout.is_part(&error.field));
        let gone = match is_part {
            // REST asks for the compound field.
            true => None,
            false => self.gone_fields(error, reading).await?,
        };
        match gone {
            Some(gone) => {
                let failed = at.bulk.as_ref().map_or(0, |task| task.failed);
                self.another_job(reading, at, failed).await;
                Ok(Recovery::Again(gone.into_iter().map(Change::Missing).collect()))
            }
            None => {
                self.go_by_rest(reading, at, error).await;
                Ok(Recovery::Again(Vec::new()))
            }
        }
    }

    /// Begins the rest of the pass again, with another job.
    async fn another_job(&self, reading: &Reading, at: &mut At, failed: u8) {
        let task = Task {
            failed,
            ..self.task(at.bulk.as_ref().map_or(&at.place.after, |task| &task.through))
        };
        self.end_job(reading, at.bulk.replace(task)).await;
    }

    /// Leaves the rest of the pass to REST.
    async fn go_by_rest(&self, reading: &Reading, at: &mut At, why: &Error) {
        let object = reading.plan.object.key;
        tracing::warn!(object, "it is read by REST instead of Bulk: {why}");
        self.end_job(reading, at.bulk.take()).await;
        at.rest = true;
        at.place.leave_cursor();
    }

    /// Aborts and deletes a job that is not used any more. One that stays is deleted by a later sync.
    async fn end_job(&self, reading: &Reading, task: Option<Task>) {
        let Some(task) = task else { return };
        let object = reading.plan.object.key;
        let ended = self
            .bulk
            .discard(&self.session, object, &task, self.session.api().clock.now_us());
        if let Err(error) = ended.await {
            tracing::warn!(object, "a job could not be ended: {error}");
        }
    }

    /// Whether the columns of a job are known. An object of which only changes are read is described first.
    pub(crate) async fn has_layout(&mut self, reading: &mut Reading) -> Result<bool, Error> {
        let object = reading.plan.object;
        if reading.layout.is_none() && !self.described.contains_key(object.key) {
            let (described, _) = self.describe(&[object], false).await?;
            self.described.extend(described);
            self.lay_out(reading);
        }
        Ok(reading.layout.is_some())
    }

    /// Adapts the columns of jobs to a plan that has changed.
    pub(crate) fn lay_out(&self, reading: &mut Reading) {
        let seen = self
            .described
            .get(reading.plan.object.key)
            .filter(|seen| seen.whole);
        reading.layout = Layout::new(&reading.plan, seen.map(|seen| &seen.object));
    }

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
        self.lay_out(reading);
        Ok(Some(gone))
    }
}

/// Whether a page was too large, and is asked for with fewer rows now.
fn is_large_page(error: &Error, reading: &mut Reading) -> bool {
    let fewer = (error.code == "http.body_too_large").then(|| bulk::fewer_rows(reading.page_rows));
    match fewer.flatten() {
        Some(rows) => {
            reading.page_rows = rows;
            true
        }
        None => false,
    }
}
