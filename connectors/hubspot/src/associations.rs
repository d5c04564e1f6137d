//! Associations of records with companies. HubSpot associations are many to many and stored apart from the records:
//! up to a thousand records are queried per request, labels are ignored, and a change of an association changes no
//! time stamp.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use serde::Deserialize;
use serde_json::value::RawValue;
use tether_connector_sdk::crm::CrmObject as _;
use tether_connector_sdk::proto::{Error, ErrorKind, Parent, Record};

use crate::bodies::{self, Associations, Input};
use crate::ids;
use crate::objects::{COMPANY, CrmObject};
use crate::outcome::{Failed, IDS, Outcome};
use crate::page::Paging;
use crate::rest::{self, Session};
use crate::values;

/// The largest number of records in one request.
pub(crate) const A_REQUEST: usize = 1_000;
/// The limit for accounts where HubSpot refuses so many.
const FEW_A_REQUEST: usize = 100;
/// The largest number of additional requests for the links of the same records, before it is an error.
const MOST_ROUNDS: usize = 1_000;

/// The records linked to each record; records without links are absent.
pub(crate) type Ends = BTreeMap<String, BTreeSet<String>>;

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    results: Vec<Linked<'a>>,
    #[serde(default)]
    errors: Vec<Failed>,
    #[serde(flatten, borrow)]
    outcome: Outcome<'a>,
}

#[derive(Deserialize)]
struct Linked<'a> {
    #[serde(borrow)]
    from: From<'a>,
    /// If absent, the links of the record are unknown.
    #[serde(borrow, default)]
    to: Option<Vec<To<'a>>>,
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
    #[serde(borrow, default)]
    to_object_id: Option<&'a RawValue>,
}

/// The answer to one request: links, and cursors of records with more links.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    ends: Vec<(String, String)>,
    more: Vec<(String, String)>,
    /// Records answered completely, as far as this page goes.
    answered: HashSet<String>,
    /// Records that, according to HubSpot, have no links.
    none: HashSet<String>,
    /// The number of such records without an id.
    unnamed: usize,
    /// The reply has errors: records without an answer may have links.
    partial: bool,
    /// The reason why some links may be missing.
    failed: Option<String>,
}

fn read(text: &str) -> Result<Answer, serde_json::Error> {
    let reply: Reply<'_> = serde_json::from_str(text)?;
    let failed = reply.outcome.shortfall(&reply.errors);
    let mut answer = Answer {
        partial: !reply.errors.is_empty() || failed.is_some(),
        failed,
        ..Answer::default()
    };
    for linked in reply.results {
        let from = values::text(linked.from.id).into_owned();
        let mut told = linked.to.is_some();
        let links = linked.to.iter().flatten();
        let ends = links.map(|to| to.to_object_id.map(values::text).unwrap_or_default());
        for end in ends {
            match ids::check(&end) {
                Some(end) => answer.ends.push((from.clone(), end.to_owned())),
                None => told = false,
            }
        }
        if !told {
            answer.failed = Some("a link without an id, or no list of links".to_owned());
            answer.partial = true;
            continue;
        }
        if let Some(after) = Paging::after(linked.paging) {
            answer.more.push((from.clone(), after));
        }
        answer.answered.insert(from);
    }
    for error in &reply.errors {
        // The absence of links is reported as an error; other errors do not mean absence.
        if error.is_absence() {
            let named = error.ids(&IDS);
            answer.unnamed += usize::from(named.is_empty());
            answer.none.extend(named);
        } else {
            answer.failed = Some(error.text());
        }
    }
    Ok(answer)
}

impl Answer {
    /// The requested records that the answer does not mention: they may have links. A reply without errors lists all
    /// records with links.
    fn unknown(&self, asked: Vec<Input>) -> Vec<Input> {
        if !self.partial {
            return Vec::new();
        }
        let silent = |input: &Input| !self.answered.contains(&input.id) && !self.none.contains(&input.id);
        let unknown: Vec<Input> = asked.into_iter().filter(silent).collect();
        if self.failed.is_none() && unknown.len() <= self.unnamed {
            return Vec::new();
        }
        unknown
    }
}

/// The links of records to another object. With `enough`, no further links of a record are queried once it has that
/// many. Failed parts are requested again, and finally become an error: a record that is absent from the result has
/// no links.
pub(crate) async fn ends(
    session: &Session,
    from: &CrmObject,
    to: &CrmObject,
    records: &[&str],
    enough: usize,
) -> Result<Ends, Error> {
    let path = format!("/crm/v4/associations/{}/{}/batch/read", from.key, to.key);
    let input = |id: &str, after| Input {
        id: id.to_owned(),
        after,
    };
    let mut ends = Ends::new();
    let mut queue: VecDeque<Input> = records.iter().map(|id| input(id, None)).collect();
    let (mut rounds, mut attempt) = (0, 0);
    while !queue.is_empty() {
        rounds += 1;
        if rounds > MOST_ROUNDS + records.len() {
            return Err(Error::bug("HubSpot's list of links does not end").object(from.key));
        }
        let size = session.api().links_a_request().min(queue.len());
        let asked: Vec<Input> = queue.drain(..size).collect();
        let body = bodies::text(&Associations {
            inputs: asked.clone(),
        });
        let answer = match session.post(&path, &body, read).await {
            Ok((answer, _)) => answer,
            Err(error)
                if size > FEW_A_REQUEST
                    && matches!(error.what(), ErrorKind::Bug | ErrorKind::QueryTooBig) =>
            {
                session.api().set_links_a_request(FEW_A_REQUEST);
                queue.extend(asked);
                continue;
            }
            Err(error) => return Err(error),
        };
        let unknown = answer.unknown(asked);
        if unknown.is_empty() {
            attempt = 0;
        } else {
            attempt += 1;
            if !rest::pause(session, attempt).await? {
                let failed = answer
                    .failed
                    .unwrap_or_else(|| "some records are passed over".to_owned());
                let text = format!("HubSpot did not give all links ({failed})");
                return Err(Error::transient(text).object(from.key));
            }
            queue.extend(unknown);
        }
        for (record, end) in answer.ends {
            ends.entry(record).or_default().insert(end);
        }
        let more = answer.more.into_iter();
        let wanted = more.filter(|(record, _)| ends.get(record).map_or(0, BTreeSet::len) < enough);
        queue.extend(wanted.map(|(record, after)| input(&record, Some(after))));
    }
    Ok(ends)
}

/// Sets the companies of records.
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

/// The companies of a record.
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
        assert_eq!(answer.none, HashSet::from(["151".to_owned()]));
    }

    #[test]
    fn what_is_not_answered_is_not_taken_for_having_no_links() {
        let unknown = |text: &str, asked: &[&str]| {
            let answer = read(text).unwrap_or_else(|error| panic!("{error}"));
            let input = |id: &&str| Input {
                id: (*id).to_owned(),
                after: None,
            };
            let unknown = answer.unknown(asked.iter().map(input).collect());
            unknown
                .into_iter()
                .map(|input| input.id)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let linked = r#"{"from":{"id":"1"},"to":[{"toObjectId":9}]}"#;
        let none =
            |id: &str| format!(r#"{{"category":"OBJECT_NOT_FOUND","context":{{"fromObjectId":["{id}"]}}}}"#);
        let reply = |results: &str, errors: &str| {
            format!(r#"{{"status":"COMPLETE","results":[{results}],"errors":[{errors}]}}"#)
        };
        for (results, errors, right) in [
            // Complete and without errors: a record that is not listed has no links.
            (linked, String::new(), ""),
            (linked, format!("{},{}", none("2"), none("3")), ""),
            (linked, none("2"), "3"),
            (
                linked,
                r#"{"category":"OBJECT_NOT_FOUND","message":"No company"},{"category":"OBJECT_NOT_FOUND"}"#
                    .to_owned(),
                "",
            ),
            (
                linked,
                r#"{"category":"OBJECT_NOT_FOUND","message":"No company"}"#.to_owned(),
                "2 3",
            ),
            (
                linked,
                r#"{"category":"RATE_LIMITS","message":"later"}"#.to_owned(),
                "2 3",
            ),
            (
                linked,
                format!(
                    r#"{},{{"category":"RATE_LIMITS","context":{{"fromObjectId":["3"]}}}}"#,
                    none("2")
                ),
                "3",
            ),
            (
                "",
                r#"{"category":"INTERNAL_ERROR","message":"try again"}"#.to_owned(),
                "1 2 3",
            ),
            // A link without target: that record is requested again.
            (
                r#"{"from":{"id":"1"},"to":[{"toObjectId":9},{"toObjectId":null}]}"#,
                format!("{},{}", none("2"), none("3")),
                "1",
            ),
            (r#"{"from":{"id":"1"},"to":[{}]}"#, String::new(), "1 2 3"),
            // A missing list is not an empty list.
            (r#"{"from":{"id":"1"}}"#, String::new(), "1 2 3"),
            (
                r#"{"from":{"id":"1"},"to":null}"#,
                format!("{},{}", none("2"), none("3")),
                "1",
            ),
        ] {
            assert_eq!(
                unknown(&reply(results, &errors), &["1", "2", "3"]),
                right,
                "{results} {errors}"
            );
        }
        for not_whole in [
            r#"{"status":"PENDING","results":[]}"#,
            r#"{"results":[]}"#,
            r#"{"status":"COMPLETE","results":[],"numErrors":1}"#,
        ] {
            assert_eq!(unknown(not_whole, &["1"]), "1", "{not_whole}");
        }
        assert!(read("{}").is_err());
    }
}
