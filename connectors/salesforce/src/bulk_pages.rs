//! Steps of a read by Bulk, and the pages that they give.

use tether_connector_sdk::proto::{Covers, Error, Record};
use tether_connector_sdk::reading::Page;

use crate::bulk::layout::Layout;
use crate::bulk::place::{PageAt, Task};
use crate::bulk::results::{self, Rows};
use crate::bulk::{self, Step};
use crate::query::Scope;
use crate::read::{At, Reader, Reading, lacking};
use crate::soql::Filter;
use crate::{records, soql};

impl Reader {
    pub(crate) async fn load_bulk(&self, reading: &Reading, at: &At, task: &Task) -> Result<Step, Error> {
        let lacks = || Error::transient("the columns of a job are not known").code(bulk::api::NO_LAYOUT);
        let layout = reading.layout.as_ref().ok_or_else(lacks)?;
        let query = bulk::Query {
            object: reading.plan.object.key,
            soql: &soql_of_job(reading, layout, &at.place.after),
            layout,
            page_rows: reading.page_rows,
        };
        let now_us = self.session.api().clock.now_us();
        self.bulk.load(&self.session, &query, task, now_us).await
    }

    /// The position after a step, and its records.
    pub(crate) fn bulk_page(&self, reading: &mut Reading, at: &At, step: Step) -> Result<Page<At>, Error> {
        let mut next = at.clone();
        let mut page = Page {
            records: Vec::new(),
            covers: None,
            covers_numbers: None,
            read_time_us: 0,
            expected: None,
            next: None,
            lacking: None,
            unlisted: false,
        };
        let task = next.bulk.get_or_insert_with(|| self.task(&at.place.after));
        // The query began to run after that.
        page.read_time_us = task.since_us;
        match (step, &mut task.job) {
            (Step::Chosen, _) => {}
            (Step::Created(mut job), _) => {
                job.page = PageAt::behind(&at.place.after);
                task.job = Some(job);
                task.fresh = false;
            }
            (Step::Runs { processed, moved_us }, Some(job)) => {
                (job.processed, job.moved_us) = (processed, moved_us);
            }
            (Step::Complete(total), Some(job)) => {
                job.total = Some(total);
                page.expected = Some(at.rows + total);
            }
            (Step::Rows(rows), Some(_)) => {
                next.unusable |= rows.page.unusable > 0;
                let bytes = self.session.api().options.bulk_page_bytes;
                (page.records, page.covers) = rows_of_job(reading, task, rows, at.unordered, bytes)?;
            }
            (Step::Deleted, _) => {
                page.unlisted = task.unordered || at.unordered;
                page.lacking = lacking(reading, &next);
                return Ok(page);
            }
            _ => return Err(Error::bug("a step of a job that there is not")),
        }
        page.next = Some(next);
        Ok(page)
    }
}

/// The query of a job. It has no order, which would keep Salesforce from dividing it, except for a listing of ids.
fn soql_of_job(reading: &Reading, layout: &Layout, after: &str) -> String {
    let filter = match &reading.scope {
        Scope::Since(since) => Filter::Changed { since, after },
        _ => Filter::After(after),
    };
    let columns: Vec<&str> = layout.asked.iter().map(String::as_str).collect();
    let mut soql = soql::unordered(reading.plan.object.key, &columns, &filter);
    if reading.lists_ids {
        soql.push_str(soql::ORDER_BY_ID);
    }
    soql
}

/// The records of rows of a job and the range that they list, if they came in order so far.
fn rows_of_job(
    reading: &mut Reading,
    task: &mut Task,
    rows: Rows,
    unordered: bool,
    page_bytes: u64,
) -> Result<(Vec<Record>, Option<Covers>), Error> {
    let Some(job) = &mut task.job else {
        return Err(Error::bug("rows of a job that there is not"));
    };
    let first = rows.page.rows.first().map(|row| row.id.as_str());
    if job.page.rows == 0 && first.is_some_and(|first| first == job.page.first_before) {
        return Err(results::damaged(
            "a page of a result has the rows of the page before",
        ));
    }
    let ids = rows.page.rows.iter().map(|row| row.id.as_str());
    let in_order = job.page.advance(rows.count, ids);
    if reading.lists_ids && !in_order {
        // The only purpose of the listing is its order.
        let text = "a job returned ids in another order than it was asked for";
        return Err(Error::transient(text).code(bulk::api::REFUSED));
    }
    task.unordered |= !in_order || rows.page.unusable > 0;
    let is_end = rows.end.as_ref().is_some_and(|end| end.next.is_none());
    let last = &job.page.last;
    let covers = (!task.unordered && !unordered && (is_end || *last > task.through)).then(|| Covers {
        after: task.through.clone(),
        through: if is_end { String::new() } else { last.clone() },
    });
    if *last > task.through {
        task.through.clone_from(last);
    }
    if let Some(end) = rows.end {
        reading.damaged = 0;
        if end.rows > 0 {
            let seen = Some((end.rows, end.bytes));
            reading.page_rows = bulk::page_rows(page_bytes, 0, seen);
        }
        match end.next {
            Some(next) => job.page.next(end.rows, next),
            None => job.ended = true,
        }
    }
    Ok((records::records(reading.plan.object, rows.page), covers))
}
