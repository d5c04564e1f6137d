//! The live read of companies with their related records, object by object.

use std::collections::HashSet;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::objects::{CrmObject, Fields as _, Objects, describe, hidden, named};
use super::{Crm, Rows};
use crate::proto::{
    Error, ErrorKind, FetchCompanyRequest, ObjectResult, ObjectSelection, Record, SelectedField,
};
use crate::reading::{Change, is_of_one_object};
use crate::session::Session;

/// The default number of related records of an object (FETCH-4).
const RELATED: u32 = 200;
/// Companies that are asked for at the same time.
const AT_ONCE: usize = 4;

/// A result for each object of the selection, and the earliest time of the replies; 0 if unknown. An object that cannot
/// be read has an error; errors that concern more than one object fail the call.
pub(super) async fn fetch<C: Crm>(
    session: &Session<C>,
    request: FetchCompanyRequest,
) -> Result<(Vec<ObjectResult>, i64), Error> {
    let mut objects = Vec::with_capacity(request.selection.len());
    for (at, selection) in request.selection.iter().enumerate() {
        objects.push((at, named(C::objects(), &selection.object)?, selection));
    }
    // Companies come first: of those that are gone, nothing else is asked.
    objects.sort_by_key(|(_, object, _)| !object.is_company());
    let mut live = Live {
        session,
        ids: request.external_ids,
        limit: match request.related_limit {
            0 => RELATED,
            limit => limit,
        } as usize,
        time_us: 0,
    };
    let mut results = vec![ObjectResult::default(); objects.len()];
    for (at, object, selection) in objects {
        let result = match live.object(object, selection).await {
            Err(error) if is_of_one_object(&error) => ObjectResult {
                error: Some(error.object(object.key())),
                ..ObjectResult::default()
            },
            result => result?,
        };
        results[at] = ObjectResult {
            object: object.key().to_owned(),
            ..result
        };
    }
    Ok((results, live.time_us))
}

/// A live read.
struct Live<'s, C: Crm> {
    session: &'s Session<C>,
    /// The companies; from the second object on, without those that are deleted.
    ids: Vec<String>,
    limit: usize,
    time_us: i64,
}

impl<C: Crm> Live<'_, C> {
    async fn object(
        &mut self,
        object: &'static C::Object,
        selection: &ObjectSelection,
    ) -> Result<ObjectResult, Error> {
        if self.ids.is_empty() {
            // All companies are deleted, and so is what was under them.
            return Ok(ObjectResult::default());
        }
        match self.described(object, selection).await {
            // What is remembered of the fields is older than this.
            Err(error) if error.is(ErrorKind::FieldGone) => {
                self.session.forget();
                self.described(object, selection).await
            }
            result => result,
        }
    }

    /// The records, with those fields that are not missing.
    async fn described(
        &mut self,
        object: &'static C::Object,
        selection: &ObjectSelection,
    ) -> Result<ObjectResult, Error> {
        let missing_fields = missing(self.session, object, &selection.fields).await?;
        let mut fields = selection.fields.clone();
        fields.retain(|field| !missing_fields.contains(&field.key));
        let rows = Rows::as_selected(object, &fields);
        let (records, more) = match object.is_company() {
            true => (self.companies(&rows).await?, false),
            false => self.related(&rows).await?,
        };
        Ok(ObjectResult {
            records,
            more,
            missing_fields,
            ..ObjectResult::default()
        })
    }

    async fn companies(&mut self, rows: &Rows<C::Object>) -> Result<Vec<Record>, Error> {
        let session = self.session;
        let found: Vec<(Option<Record>, i64)> = stream::iter(self.ids.clone())
            .map(|id| one(session, rows.clone(), id))
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let mut records = Vec::with_capacity(found.len());
        for (id, (record, time_us)) in self.ids.iter().zip(found) {
            self.time_us = earlier(self.time_us, time_us);
            records.push(record.unwrap_or_else(|| Record {
                external_id: id.clone(),
                deleted: true,
                ..Record::default()
            }));
        }
        let gone = records.iter().filter(|record| record.deleted);
        let gone: HashSet<&str> = gone.map(|record| record.external_id.as_str()).collect();
        self.ids.retain(|id| !gone.contains(id.as_str()));
        Ok(records)
    }

    async fn related(&mut self, rows: &Rows<C::Object>) -> Result<(Vec<Record>, bool), Error> {
        let (session, limit) = (self.session, self.limit);
        let found: Vec<(Vec<Record>, bool, i64)> = stream::iter(self.ids.clone())
            .map(|id| related(session, rows.clone(), id, limit))
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let (mut all, mut any_more) = (Vec::new(), false);
        for (records, more, time_us) in found {
            self.time_us = earlier(self.time_us, time_us);
            all.extend(records);
            any_more |= more;
        }
        Ok((all, any_more))
    }
}

/// The selected fields that no longer exist. What is remembered of the fields shows only that none is missing.
async fn missing<C: Objects>(
    session: &Session<C>,
    object: &'static C::Object,
    selection: &[SelectedField],
) -> Result<Vec<String>, Error> {
    let missing = |fields: &C::Fields| -> Vec<String> {
        let (_, changes) = Rows::now(object, selection, |key| fields.known(key));
        let missing = changes.into_iter().filter_map(|change| match change {
            Change::Missing(field) => Some(field),
            Change::Type(..) => None,
        });
        missing.collect()
    };
    if let Some(fields) = session.remembered::<C::Fields>(object.key())
        && missing(&fields).is_empty()
    {
        return Ok(Vec::new());
    }
    match describe(session, object).await? {
        Some(fields) => Ok(missing(&fields)),
        None => Err(hidden(object)),
    }
}

async fn one<C: Crm>(
    session: &Session<C>,
    mut rows: Rows<C::Object>,
    id: String,
) -> Result<(Option<Record>, i64), Error> {
    C::one(session, &mut rows, &id).await
}

/// The related records of a company, at most `limit`; whether there are more; the earliest time of the replies.
async fn related<C: Crm>(
    session: &Session<C>,
    mut rows: Rows<C::Object>,
    company: String,
    limit: usize,
) -> Result<(Vec<Record>, bool, i64), Error> {
    let (mut records, mut cursor, mut time_us) = (Vec::new(), String::new(), 0);
    loop {
        let listed = C::related(session, &mut rows, &company, &cursor).await?;
        time_us = earlier(time_us, listed.read_time_us);
        records.extend(listed.records.into_iter().filter(|record| !record.deleted));
        if records.len() > limit {
            records.truncate(limit);
            return Ok((records, true, time_us));
        }
        match listed.next {
            None => return Ok((records, false, time_us)),
            Some(next) if next == cursor => {
                let text = format!("{} leads to the same page again and again", C::CRM);
                return Err(Error::cursor_gone(text));
            }
            Some(next) => cursor = next,
        }
    }
}

/// The earlier of two times; 0 means unknown.
fn earlier(a: i64, b: i64) -> i64 {
    match (a, b) {
        (0, other) | (other, 0) => other,
        (a, b) => a.min(b),
    }
}
