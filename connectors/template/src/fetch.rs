//! The live read of one company with its related records.

use tether_connector_sdk::Error;
use tether_connector_sdk::proto::{
    ErrorKind, FetchCompanyRequest, FieldChangeKind, ObjectResult, ObjectSelection, Record,
};

use crate::api::{Session, segment};
use crate::fields::{self, COMPANIES};
use crate::rows::{Item, Rows};

/// Default number of related records.
const RELATED: u32 = 200;
/// The API's largest page.
const MOST_OF_A_PAGE: u32 = 100;

/// A result for each object of the selection. An unreadable object has an error; expired credentials fail the call.
pub(crate) async fn company(
    session: &Session,
    request: &FetchCompanyRequest,
) -> Result<Vec<ObjectResult>, Error> {
    let mut results = Vec::new();
    for selection in &request.selection {
        let mut result = match object(session, request, selection).await {
            Ok(result) => result,
            Err(error) if is_of_the_object(&error) => ObjectResult {
                error: Some(error.object(&selection.object)),
                ..ObjectResult::default()
            },
            Err(error) => return Err(error),
        };
        result.object.clone_from(&selection.object);
        results.push(result);
    }
    Ok(results)
}

fn is_of_the_object(error: &Error) -> bool {
    matches!(error.what(), ErrorKind::Forbidden | ErrorKind::ObjectGone)
}

async fn object(
    session: &Session,
    request: &FetchCompanyRequest,
    selection: &ObjectSelection,
) -> Result<ObjectResult, Error> {
    let object = &selection.object;
    let gone = || Error::object_gone(format!("{object} cannot be seen by the logged-in user"));
    if !fields::is_known(object) {
        return Err(gone());
    }
    let listed = fields::of_object(session, object).await?.ok_or_else(gone)?;
    let (_, changes) = Rows::as_now(object, &selection.fields, &listed);
    let missing = changes
        .into_iter()
        .filter(|change| change.kind() == FieldChangeKind::Missing);
    // This call cannot report a new type, so values have the types that the host knows.
    let mut rows = Rows::new(object, &selection.fields);
    let mut result = ObjectResult {
        missing_fields: missing.map(|change| change.field).collect(),
        ..ObjectResult::default()
    };
    let limit = match request.related_limit {
        0 => RELATED,
        limit => limit,
    } as usize;
    for id in &request.external_ids {
        if object == COMPANIES {
            let found: Option<Item> = session.find(&format!("{object}/{}", segment(id))).await?;
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
        result.more |= related(session, object, id, limit, &mut rows, &mut result.records).await?;
    }
    Ok(result)
}

/// The records of a company, at most `limit`; returns also whether there are more.
async fn related(
    session: &Session,
    object: &str,
    company: &str,
    limit: usize,
    rows: &mut Rows,
    records: &mut Vec<Record>,
) -> Result<bool, Error> {
    let page_size = MOST_OF_A_PAGE.to_string();
    let mut after = String::new();
    loop {
        let query = [
            ("company_id", company),
            ("limit", page_size.as_str()),
            ("after", after.as_str()),
        ];
        let page = session.page(object, &query).await?;
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
