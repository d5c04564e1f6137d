//! Reads one company with its related records, live. The company and four lists are five queries, the largest number
//! in one composite call.

use futures_util::{StreamExt, TryStreamExt, stream};
use tether_connector_sdk::proto::{
    Error, ErrorKind, FetchCompanyRequest, ObjectFields, ObjectResult, ObjectSelection, Record,
};

use crate::composite::MOST_QUERIES;
use crate::objects::{self, CrmObject};
use crate::page::{self, Page, short};
use crate::plan::Plan;
use crate::query::{Whole, cursor_path, together};
use crate::rest::{self, App, Session, earlier};
use crate::row::Row;
use crate::soql::Filter;
use crate::{fields, ids};

/// Default number of related records per object.
const RELATED_LIMIT: u32 = 200;
/// The largest number: one page, minus one row that shows whether there are more.
const MOST_RELATED: u32 = 1_999;
/// Companies fetched concurrently.
const AT_ONCE: usize = 4;
/// Rounds of queries without fields that no longer exist.
const ROUNDS: usize = 6;

/// One object of one company during the fetch.
struct Part {
    plan: Plan,
    missing: Vec<String>,
    done: Option<Result<(Vec<Record>, bool), Error>>,
}

/// Fetches companies. Also returns the time of the read by Salesforce's clock; 0 if unknown.
pub(crate) async fn fetch(
    session: &Session,
    request: FetchCompanyRequest,
) -> Result<(Vec<ObjectResult>, i64), Error> {
    let limit = match request.related_limit {
        0 => RELATED_LIMIT,
        limit => limit.min(MOST_RELATED),
    };
    let mut companies = Vec::with_capacity(request.external_ids.len());
    for id in &request.external_ids {
        companies.push(
            ids::normalise(id).ok_or_else(|| Error::invalid_input("an external id is no Salesforce id"))?,
        );
    }
    let plans = plans(session.api(), &request.selection)?;
    let fetched: Vec<(Vec<Part>, i64)> = stream::iter(companies)
        .map(|company| one(session, plans.clone(), company, limit))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let mut results: Vec<ObjectResult> = plans
        .iter()
        .map(|plan| ObjectResult {
            object: plan.object.key.to_owned(),
            ..ObjectResult::default()
        })
        .collect();
    let mut read_time_us = 0;
    for (parts, time_us) in fetched {
        read_time_us = earlier(read_time_us, time_us);
        for (result, part) in results.iter_mut().zip(parts) {
            for field in part.missing {
                if !result.missing_fields.contains(&field) {
                    result.missing_fields.push(field);
                }
            }
            match part
                .done
                .unwrap_or_else(|| Err(Error::bug("an object was not asked for")))
            {
                Ok((records, more)) => {
                    result.records.extend(records);
                    result.more |= more;
                }
                Err(error) => result.error = Some(error.object(part.plan.object.key)),
            }
        }
    }
    Ok((results, read_time_us))
}

fn plans(app: &App, selection: &[ObjectSelection]) -> Result<Vec<Plan>, Error> {
    let plan = |selection: &ObjectSelection| {
        let object = objects::named(&selection.object)?;
        Ok(Plan::new(object, &selection.fields, None, app.options.query_budget).0)
    };
    selection.iter().map(plan).collect()
}

/// Fetches one company. Also returns the time of the read.
async fn one(
    session: &Session,
    plans: Vec<Plan>,
    company: String,
    limit: u32,
) -> Result<(Vec<Part>, i64), Error> {
    let part = |plan| Part {
        plan,
        missing: Vec::new(),
        done: None,
    };
    let mut parts: Vec<Part> = plans.into_iter().map(part).collect();
    let ids = [company];
    let (mut time_us, mut described) = (0, false);
    for _ in 0..ROUNDS {
        let (answers, answered_us) = ask(session, &parts, &ids, limit).await?;
        if answers.is_empty() {
            break;
        }
        time_us = earlier(time_us, answered_us);
        let gone = settle(session, &mut parts, answers, &ids[0], limit).await?;
        drop_gone(session, &mut parts, gone, &mut described).await?;
    }
    for part in parts.iter_mut().filter(|part| part.done.is_none()) {
        part.done = Some(Err(Error::field_gone(
            "fields keep disappearing while they are read",
        )));
    }
    Ok((parts, time_us))
}

/// The pages of an object, one for each part of its plan, or the error of one of them.
type Pages = Result<Vec<Page>, Error>;

/// Sends the queries of all parts that are not done; returns their answers with the index of the part, and the earliest
/// time of the replies.
async fn ask(
    session: &Session,
    parts: &[Part],
    company: &[String; 1],
    limit: u32,
) -> Result<(Vec<(usize, Pages)>, i64), Error> {
    // Every query with the index of its object and of its part of the plan.
    let mut wanted = Vec::new();
    for (at, part) in parts.iter().enumerate().filter(|(_, part)| part.done.is_none()) {
        for share in 0..part.plan.parts.len() {
            wanted.push((at, share, query(session, &part.plan, share, company, limit)));
        }
    }
    let mut answers: Vec<(usize, Pages)> = Vec::with_capacity(parts.len());
    let mut time_us = 0;
    for chunk in wanted.chunks(MOST_QUERIES) {
        let paths: Vec<String> = chunk.iter().map(|(_, _, path)| path.clone()).collect();
        let columns = |index: usize| {
            let (at, share, _) = &chunk[index];
            &parts[*at].plan.parts[*share]
        };
        let read = |index: usize, text: &str| page::read(text, columns(index));
        let (pages, answered_us) = rest::parts(session, &paths, read).await?;
        time_us = earlier(time_us, answered_us);
        for (index, page) in pages.into_iter().enumerate() {
            let at = chunk[index].0;
            let page = match page {
                Ok(page) => rest_of(session, page, columns(index), limit).await,
                Err(error) => Err(error),
            };
            if answers.last().is_none_or(|(last, _)| *last != at) {
                answers.push((at, Ok(Vec::new())));
            }
            if let Some((_, pages)) = answers.last_mut() {
                match (page, pages.as_mut()) {
                    (Ok(page), Ok(pages)) => pages.push(page),
                    (Err(error), _) => *pages = Err(error),
                    (Ok(_), Err(_)) => {}
                }
            }
        }
    }
    Ok((answers, time_us))
}

/// Completes the parts that were answered. Returns those with a field that no longer exists, which are asked again.
async fn settle(
    session: &Session,
    parts: &mut [Part],
    answers: Vec<(usize, Pages)>,
    company: &str,
    limit: u32,
) -> Result<Vec<(usize, Error)>, Error> {
    let mut gone = Vec::new();
    for (at, pages) in answers {
        let part = &mut parts[at];
        let error = match pages {
            Ok(pages) => {
                part.done = Some(finish(session, &part.plan, pages, company, limit).await);
                continue;
            }
            Err(error) => error,
        };
        match error.what() {
            ErrorKind::FieldGone if part.plan.object.parent == Some(error.field.as_str()) => {
                let text = format!(
                    "the user cannot see which company a record of {} is under",
                    part.plan.object.label
                );
                part.done = Some(Err(Error::forbidden(text).field(error.field)));
            }
            ErrorKind::FieldGone => gone.push((at, error)),
            ErrorKind::QueryTooBig if part.plan.split() => {}
            _ if error.is_account_wide() => return Err(error),
            _ => part.done = Some(Err(error)),
        }
    }
    Ok(gone)
}

fn query(session: &Session, plan: &Plan, share: usize, company: &[String; 1], limit: u32) -> String {
    match plan.object.parent {
        // With deleted rows: a merged company has the id of the company that replaced it.
        None => session
            .api()
            .query_path(&plan.soql(share, &Filter::Ids(company), None), true),
        Some(field) => {
            let filter = Filter::Under {
                field,
                id: &company[0],
            };
            session
                .api()
                .query_path(&plan.soql(share, &filter, Some(limit + 1)), false)
        }
    }
}

/// Reads the rows after the first page, for wide selections.
async fn rest_of(
    session: &Session,
    mut page: Page,
    columns: &[crate::plan::Column],
    limit: u32,
) -> Result<Page, Error> {
    while !page.done && page.rows.len() <= limit as usize {
        let next = page.next.as_deref().and_then(cursor_path);
        let next = next.ok_or_else(|| Error::cursor_gone("Salesforce did not say where the next page is"))?;
        page.append(rest::page(session, &next, columns).await?);
    }
    Ok(page)
}

/// The records of an object, and whether there are more.
async fn finish(
    session: &Session,
    plan: &Plan,
    pages: Vec<Page>,
    company: &str,
    limit: u32,
) -> Result<(Vec<Record>, bool), Error> {
    if pages.iter().any(Page::is_short) {
        return Err(short().object(plan.object.key));
    }
    let more = pages.iter().any(|page| {
        let asked = |row: &Row| plan.object.parent.is_some() || row.id == company;
        page.rows.len() > limit as usize || !page.rows.iter().all(asked)
    });
    let Whole {
        mut records,
        unusable,
        ..
    } = together(session, plan, pages).await?;
    // Unusable rows exist nevertheless, so the list is not complete.
    let more = more || unusable > 0;
    if plan.object.parent.is_none() {
        records.retain(|record| record.external_id == company);
        if records.is_empty() && more {
            return Err(Error::bug(
                "Salesforce answered with another record than was asked for",
            ));
        }
    }
    if plan.object.parent.is_some() {
        records.sort_by(|a, b| a.external_id.cmp(&b.external_id));
        records.truncate(limit as usize);
    } else if records.is_empty() {
        records.push(Record {
            external_id: company.to_owned(),
            deleted: true,
            ..Record::default()
        });
    }
    Ok((records, more))
}

/// Removes all fields that the user can no longer see, with one describe of the affected objects.
async fn drop_gone(
    session: &Session,
    parts: &mut [Part],
    gone: Vec<(usize, Error)>,
    described: &mut bool,
) -> Result<(), Error> {
    if gone.is_empty() {
        return Ok(());
    }
    let objects: Vec<&'static CrmObject> = gone.iter().map(|(at, _)| parts[*at].plan.object).collect();
    let seen = if *described {
        Vec::new()
    } else {
        fields::describe(session, &objects, false).await?.0
    };
    // If a describe failed or is incomplete, a field that it lacks may still exist.
    let seen: Vec<Option<ObjectFields>> = seen
        .into_iter()
        .map(|seen| seen.ok().filter(|seen| seen.whole).map(|seen| seen.object))
        .collect();
    let seen = |place: usize| seen.get(place).and_then(Option::as_ref);
    *described = true;
    for (place, (at, error)) in gone.into_iter().enumerate() {
        let part = &mut parts[at];
        let before = part.missing.len();
        if let Some(seen) = seen(place) {
            part.missing.extend(part.plan.keep_seen(seen));
        }
        if part.missing.len() == before && !part.plan.drop_labels() {
            if part.plan.has_selected(&error.field) {
                part.missing.push(error.field.clone());
            }
            // A missing column of the connector's own is not a selected field; an unknown column cannot be removed.
            let dropped = part.plan.drop_field(&error.field);
            if !dropped && seen(place).is_none() {
                part.done = Some(Err(error));
            }
        }
    }
    Ok(())
}
