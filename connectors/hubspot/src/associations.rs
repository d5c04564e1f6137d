//! Who hangs under whom. HubSpot links many to many and keeps the links apart from the records: they are asked for by the
//! thousand, a link's labels do not count, and no time stamp moves with them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::value::RawValue;
use tether_connector_sdk::proto::{Error, Parent, Record};

use crate::bodies::{self, Associations, Input};
use crate::ids;
use crate::objects::{COMPANY, CrmObject};
use crate::page::Paging;
use crate::rest::Session;
use crate::values;

/// Records that one request may ask about.
const A_REQUEST: usize = 1_000;
/// Requests for the links of the same records, before something is wrong.
const MOST_ROUNDS: usize = 1_000;

/// The other ends of the links of records, by record; records without any are not there.
pub(crate) type Ends = BTreeMap<String, BTreeSet<String>>;

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    results: Vec<Linked<'a>>,
    #[serde(default)]
    errors: Vec<Failed>,
}

#[derive(Deserialize)]
struct Linked<'a> {
    #[serde(borrow)]
    from: From<'a>,
    #[serde(borrow, default)]
    to: Vec<To<'a>>,
    #[serde(default)]
    paging: Option<Paging>,
}

#[derive(Deserialize)]
struct From<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct To<'a> {
    /// A number in some versions, a text in others.
    #[serde(borrow)]
    to_object_id: &'a RawValue,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Failed {
    category: String,
    message: String,
}

/// What one request answered: links, and where some records go on.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    ends: Vec<(String, String)>,
    more: Vec<(String, String)>,
    /// Why some links are not here though they may exist.
    failed: Option<String>,
}

fn read(text: &str) -> Result<Answer, serde_json::Error> {
    let reply: Reply<'_> = serde_json::from_str(text)?;
    let mut answer = Answer::default();
    for linked in reply.results {
        let from = values::text(linked.from.id).into_owned();
        for to in &linked.to {
            if let Some(to) = ids::check(&values::text(to.to_object_id)) {
                answer.ends.push((from.clone(), to.to_owned()));
            }
        }
        if let Some(after) = Paging::after(linked.paging) {
            answer.more.push((from, after));
        }
    }
    // Having no links is told as an error; any other must not be taken for it.
    let failed = reply
        .errors
        .into_iter()
        .find(|error| error.category != "OBJECT_NOT_FOUND");
    answer.failed = failed.map(|error| format!("{} {}", error.category, error.message));
    Ok(answer)
}

/// The links of records to another object. `enough` ends the search for more of one record once it has so many.
pub(crate) async fn ends(
    session: &Session,
    from: &CrmObject,
    to: &CrmObject,
    records: &[&str],
    enough: usize,
) -> Result<Ends, Error> {
    let path = format!("/crm/v4/associations/{}/{}/batch/read", from.key, to.key);
    let mut ends = Ends::new();
    for records in records.chunks(A_REQUEST) {
        let input = |id: &str, after| Input {
            id: id.to_owned(),
            after,
        };
        let mut inputs: Vec<Input> = records.iter().map(|id| input(id, None)).collect();
        let mut rounds = 0;
        while !inputs.is_empty() {
            rounds += 1;
            if rounds > MOST_ROUNDS {
                return Err(Error::bug("HubSpot's list of links does not end").object(from.key));
            }
            let body = bodies::text(&Associations { inputs });
            let (answer, _) = session.post(&path, &body, read).await?;
            if let Some(failed) = answer.failed {
                return Err(
                    Error::transient(format!("HubSpot did not give all links ({failed})")).object(from.key),
                );
            }
            for (record, end) in answer.ends {
                ends.entry(record).or_default().insert(end);
            }
            inputs = answer
                .more
                .into_iter()
                .filter(|(record, _)| ends.get(record).map_or(0, BTreeSet::len) < enough)
                .map(|(record, after)| input(&record, Some(after)))
                .collect();
        }
    }
    Ok(ends)
}

/// Puts records under their companies.
pub(crate) async fn adopt(
    session: &Session,
    object: &CrmObject,
    records: &mut [Record],
) -> Result<(), Error> {
    if object.is_company() {
        return Ok(());
    }
    let live: Vec<&str> = records
        .iter()
        .filter(|record| !record.deleted)
        .map(|record| record.external_id.as_str())
        .collect();
    if live.is_empty() {
        return Ok(());
    }
    let ends = ends(session, object, COMPANY, &live, usize::MAX).await?;
    for record in records.iter_mut().filter(|record| !record.deleted) {
        record.parents = parents(&ends, &record.external_id);
    }
    Ok(())
}

/// The companies that a record hangs under.
pub(crate) fn parents(ends: &Ends, id: &str) -> Vec<Parent> {
    let companies = ends.get(id).into_iter().flatten();
    companies
        .map(|company| Parent {
            object: COMPANY.key.to_owned(),
            external_id: company.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_both_spellings_and_where_they_go_on() {
        let answer = read(
            r#"{"status":"COMPLETE","results":[
            {"from":{"id":"51"},"to":[{"toObjectId":9999999800,"associationTypes":[{"category":"HUBSPOT_DEFINED","typeId":1,"label":"Primary"}]},
              {"toObjectId":"10000000000","associationTypes":[]}],"paging":{"next":{"after":"2","link":"x"}}},
            {"from":{"id":101},"to":[]}],
            "numErrors":1,"errors":[{"status":"error","category":"OBJECT_NOT_FOUND","subCategory":"crm.associations.NO_ASSOCIATIONS_FOUND",
              "message":"No company is associated with contact 151.","context":{"fromObjectId":["151"]}}]}"#,
        );
        let answer = answer.unwrap_or_else(|e| panic!("{e}"));
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(answer.ends, [pair("51", "9999999800"), pair("51", "10000000000")]);
        assert_eq!((answer.more, answer.failed), (vec![pair("51", "2")], None));
    }

    #[test]
    fn an_error_is_not_taken_for_having_no_links() {
        let answer = read(r#"{"results":[],"errors":[{"category":"INTERNAL_ERROR","message":"try again"}]}"#);
        assert_eq!(
            answer.ok().and_then(|a| a.failed).as_deref(),
            Some("INTERNAL_ERROR try again")
        );
        assert!(read("{}").is_err());
    }
}
