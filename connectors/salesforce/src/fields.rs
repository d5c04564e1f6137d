//! Fields and counts, each of all objects in one call.

use serde::Deserialize;
use tether_connector_sdk::proto::{Error, ErrorKind, ObjectCount, ObjectFields};

use crate::composite::Answer;
use crate::objects::CrmObject;
use crate::rest::Session;
use crate::{describe, page, soql};

/// `limits/recordCount`: what the CRM believes, without counting.
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

/// The fields of objects, in their order; with `estimate`, also about how many records there are, where the CRM tells.
pub(crate) async fn describe(
    session: &Session,
    objects: &[&'static CrmObject],
    estimate: bool,
) -> Result<(Vec<ObjectFields>, Vec<ObjectCount>), Error> {
    if objects.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let mut paths: Vec<String> = objects
        .iter()
        .map(|object| session.path(&format!("sobjects/{}/describe", object.key)))
        .collect();
    if estimate {
        paths.push(estimate_path(session, objects));
    }
    let (answers, _) = session.composite(&paths).await?;
    let mut fields = Vec::with_capacity(objects.len());
    for (index, object) in objects.iter().enumerate() {
        let answer = find(&answers, index)?;
        fields.push(match answer.status {
            200 => describe::fields(object, &answer.body)
                .map_err(|_| Error::bug(format!("the describe of {} cannot be read", object.key)))?,
            _ => {
                let error = session.classify(answer);
                match error.what() {
                    ErrorKind::RecordGone | ErrorKind::ObjectGone | ErrorKind::Forbidden => {
                        describe::invisible(object)
                    }
                    _ => return Err(error.object(object.key)),
                }
            }
        });
    }
    let estimates = answers
        .iter()
        .find(|answer| answer.index == objects.len() && answer.status == 200);
    Ok((
        fields,
        estimates
            .map(|answer| estimates_of(&answer.body))
            .unwrap_or_default(),
    ))
}

/// How many records the user can see; objects that he cannot see are left out.
pub(crate) async fn count(
    session: &Session,
    objects: &[&'static CrmObject],
) -> Result<Vec<ObjectCount>, Error> {
    if objects.is_empty() {
        return Ok(Vec::new());
    }
    let paths: Vec<String> = objects
        .iter()
        .map(|object| session.query_path(&soql::count(object.key), false))
        .collect();
    let (answers, _) = session.composite(&paths).await?;
    let mut counts = Vec::with_capacity(objects.len());
    let mut too_many: Vec<&'static CrmObject> = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        let answer = find(&answers, index)?;
        if answer.status == 200 {
            let count = page::total(&answer.body)
                .map_err(|_| Error::bug(format!("the count of {} cannot be read", object.key)))?;
            counts.push(ObjectCount {
                object: object.key.to_owned(),
                count,
                exact: true,
            });
            continue;
        }
        let error = session.classify(answer);
        match error.what() {
            ErrorKind::RecordGone | ErrorKind::ObjectGone | ErrorKind::Forbidden => {}
            ErrorKind::QueryTooBig | ErrorKind::AdminAction => too_many.push(object),
            _ => return Err(error.object(object.key)),
        }
    }
    // Where counting takes too long, an estimate is better than none.
    if !too_many.is_empty() {
        let (answers, _) = session.composite(&[estimate_path(session, &too_many)]).await?;
        counts.extend(
            answers
                .iter()
                .filter(|a| a.status == 200)
                .flat_map(|a| estimates_of(&a.body)),
        );
    }
    Ok(counts)
}

fn estimate_path(session: &Session, objects: &[&'static CrmObject]) -> String {
    let keys: Vec<&str> = objects.iter().map(|object| object.key).collect();
    session.path(&format!("limits/recordCount?sObjects={}", keys.join(",")))
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

/// The answer to a part.
pub(crate) fn find(answers: &[Answer], index: usize) -> Result<&Answer, Error> {
    answers
        .iter()
        .find(|answer| answer.index == index)
        .ok_or_else(|| Error::bug("Salesforce left a part of a composite call unanswered"))
}
