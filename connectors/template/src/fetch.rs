//! The live read of one company with its related records.

use tether_connector_sdk::Error;
use tether_connector_sdk::proto::{ErrorKind, FetchCompanyRequest, ObjectResult, ObjectSelection, Record};
use tether_connector_sdk::reading::Change;

use crate::api::{self, Page, Session, segment};
use crate::fields;
use crate::rows::{Item, Rows};

/// Default number of related records.
const RELATED: u32 = 200;
/// The API's largest page.
const MOST_OF_A_PAGE: &str = "100";

/// A result for each object of the selection, and the CRM's time of the read (0 if unknown). An unreadable object has an
/// error; errors that concern the whole account, such as expired credentials, fail the call.
pub(crate) async fn company(
    session: &Session,
    request: &FetchCompanyRequest,
) -> Result<(Vec<ObjectResult>, i64), Error> {
    let mut results = Vec::new();
    for selection in &request.selection {
        let mut result = match object(session, request, selection).await {
            Ok(result) => result,
            Err(error) if matches!(error.what(), ErrorKind::Forbidden | ErrorKind::ObjectGone) => {
                ObjectResult {
                    error: Some(error.object(&selection.object)),
                    ..ObjectResult::default()
                }
            }
            Err(error) => return Err(error),
        };
        result.object.clone_from(&selection.object);
        results.push(result);
    }
    Ok((results, 0))
}

async fn object(
    session: &Session,
    request: &FetchCompanyRequest,
    selection: &ObjectSelection,
) -> Result<ObjectResult, Error> {
    let object = fields::find(&selection.object)?;
    let Some(listed) = fields::of_object(session, object).await? else {
        return Err(fields::hidden(object));
    };
    let (_, changes) = Rows::as_now(object, &selection.fields, &listed);
    let missing = changes.into_iter().filter_map(|change| match change {
        Change::Missing(field) => Some(field),
        Change::Type(..) => None,
    });
    // This call cannot report a new type, so values have the types that the host knows.
    let mut rows = Rows::new(object, &selection.fields);
    let mut result = ObjectResult {
        missing_fields: missing.collect(),
        ..ObjectResult::default()
    };
    let limit = match request.related_limit {
        0 => RELATED,
        limit => limit,
    } as usize;
    for id in &request.external_ids {
        if object.is_company() {
            // If your API still gives deleted records, with a mark, make them tombstones too.
            let found: Option<Item> = api::find(session, &format!("{}/{}", object.key, segment(id))).await?;
            result.records.push(match found {
                Some(item) => rows.record(&item)?,
                None => Record {
                    external_id: id.clone(),
                    deleted: true,
                    ..Record::default()
                },
            });
            continue;
        }
        result.more |= related(session, id, limit, &mut rows, &mut result.records).await?;
    }
    Ok(result)
}

/// The records of a company, at most `limit`; returns also whether there are more.
async fn related(
    session: &Session,
    company: &str,
    limit: usize,
    rows: &mut Rows,
    records: &mut Vec<Record>,
) -> Result<bool, Error> {
    let mut after = String::new();
    loop {
        let query = [
            ("company_id", company),
            ("limit", MOST_OF_A_PAGE),
            ("after", after.as_str()),
        ];
        let page: Page = api::get(session, rows.object.key, &query).await?;
        for item in &page.items {
            if records.len() == limit {
                return Ok(true);
            }
            let record = rows.record(item)?;
            after.clone_from(&record.external_id);
            records.push(record);
        }
        if !page.more || page.items.is_empty() {
            return Ok(false);
        }
    }
}
