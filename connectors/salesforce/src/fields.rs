//! Fields and counts of all objects, each in one call.

use serde::Deserialize;
use tether_connector_sdk::crm::chosen;
use tether_connector_sdk::proto::{Error, ErrorKind, ObjectCount, ObjectFields};

use crate::describe::Described;
use crate::objects::{CrmObject, OBJECTS};
use crate::rest::{self, Session};
use crate::{currency, describe, page, soql};

/// The reply of `limits/recordCount`: estimates without counting.
#[derive(Deserialize)]
struct Estimates {
    #[serde(default, rename = "sObjects")]
    objects: Vec<Estimate>,
}

#[derive(Deserialize)]
struct Estimate {
    name: String,
    count: u64,
}

/// The fields of the objects, in their order, or the reason why one cannot be described; with `estimate`, also the
/// approximate numbers of records, if the CRM reports them.
pub(crate) async fn describe(
    session: &Session,
    objects: &[&'static CrmObject],
    estimate: bool,
) -> Result<(Vec<Result<Described, Error>>, Vec<ObjectCount>), Error> {
    if objects.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let mut paths: Vec<String> = objects
        .iter()
        .map(|object| describe_path(session, object))
        .collect();
    if estimate {
        paths.push(estimate_path(session, objects));
    }
    let read = |index: usize, text: &str| match objects.get(index) {
        Some(object) => describe::fields(object, text).map(Part::Object),
        // Estimates are optional, so an unreadable reply is not requested again.
        None => Ok(Part::Estimates(estimates_of(text))),
    };
    let (parts, _) = rest::parts(session, &paths, read).await?;
    let mut described = Vec::with_capacity(objects.len());
    let mut estimates = Vec::new();
    for (index, part) in parts.into_iter().enumerate() {
        match (part, objects.get(index)) {
            (Ok(Part::Object(object)), _) => described.push(Ok(object)),
            (Ok(Part::Estimates(counts)), _) => estimates = counts,
            (Err(error), Some(object)) => described.push(match error.what() {
                // Salesforce itself reports that the object does not exist for this user.
                ErrorKind::RecordGone | ErrorKind::ObjectGone | ErrorKind::Forbidden => {
                    Ok(describe::invisible(object))
                }
                _ => Err(error.object(object.key)),
            }),
            (Err(_), None) => {}
        }
    }
    Ok((described, estimates))
}

/// The fields of the objects with these keys; all if none is named.
pub(crate) async fn list(session: &Session, asked: &[String]) -> Result<Vec<ObjectFields>, Error> {
    let objects = chosen(&OBJECTS, asked);
    let (described, _) = describe(session, &objects, false).await?;
    let fields = described
        .into_iter()
        .map(|described| described.map(|described| described.object));
    let mut fields = fields.collect::<Result<Vec<ObjectFields>, Error>>()?;
    currency::add(session, &mut fields).await?;
    Ok(fields)
}

fn describe_path(session: &Session, object: &CrmObject) -> String {
    session.api().path(&format!("sobjects/{}/describe", object.key))
}

/// A part of the answer to a describe.
enum Part {
    Object(Described),
    Estimates(Vec<ObjectCount>),
}

/// The numbers of records that the user can see, of the objects with these keys; invisible objects are omitted.
pub(crate) async fn count(session: &Session, asked: &[String]) -> Result<Vec<ObjectCount>, Error> {
    let objects = chosen(&OBJECTS, asked);
    if objects.is_empty() {
        return Ok(Vec::new());
    }
    let paths: Vec<String> = objects
        .iter()
        .map(|object| session.api().query_path(&soql::count(object.key), false))
        .collect();
    let (parts, _) = rest::parts(session, &paths, |_, text| page::total(text)).await?;
    let mut counts = Vec::with_capacity(objects.len());
    let mut too_many: Vec<&'static CrmObject> = Vec::new();
    for (part, object) in parts.into_iter().zip(&objects) {
        match part {
            Ok(count) => counts.push(ObjectCount {
                object: object.key.to_owned(),
                count,
                exact: true,
            }),
            Err(error) => match error.what() {
                ErrorKind::RecordGone | ErrorKind::ObjectGone | ErrorKind::Forbidden => {}
                ErrorKind::QueryTooBig | ErrorKind::AdminAction => too_many.push(object),
                _ => return Err(error.object(object.key)),
            },
        }
    }
    // If counting takes too long, an estimate is used.
    if !too_many.is_empty() {
        let path = [estimate_path(session, &too_many)];
        let (parts, _) = rest::parts(session, &path, |_, text| Ok(estimates_of(text))).await?;
        counts.extend(parts.into_iter().flatten().flatten());
    }
    Ok(counts)
}

fn estimate_path(session: &Session, objects: &[&'static CrmObject]) -> String {
    let keys: Vec<&str> = objects.iter().map(|object| object.key).collect();
    session
        .api()
        .path(&format!("limits/recordCount?sObjects={}", keys.join(",")))
}

fn estimates_of(body: &str) -> Vec<ObjectCount> {
    let estimates = serde_json::from_str::<Estimates>(body)
        .map(|e| e.objects)
        .unwrap_or_default();
    estimates
        .into_iter()
        .map(|e| ObjectCount {
            object: e.name,
            count: e.count,
            exact: false,
        })
        .collect()
}
