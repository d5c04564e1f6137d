//! Replies that are not the CRM's own, in the middle of a read or call: they are no evidence.

use tether_connector_host::proto::call_response::Result as Answer;
use tether_connector_host::proto::{
    CountRecordsResponse, ErrorKind, FetchCompanyResponse, ListFieldsResponse, ObjectStatus,
};

use super::check::Check;
use super::trouble::{read, targets};
use crate::connector::{AMPLE, Failure};
use crate::finding::{Findings, Seen, Told as _};
use crate::proxy::Which;
use crate::rows::{Rows, same};
use crate::stream::Stream;
use crate::trouble::Trouble;
use crate::world::World;

pub(super) const STREAMS: Check = Check {
    id: "foreign.streams",
    title: "one reply of a gateway in the middle of a read ends no object, as read or as gone",
    why: "Proxies and firewalls answer with 404 and 403 too. Taken at their word, a sync succeeds with a part of the records, or \
          removes them.",
    spec: &["ERR-9", "STREAM-8", "STREAM-9"],
    run: |world| Box::pin(streams(world)),
};

pub(super) const CALLS: Check = Check {
    id: "foreign.calls",
    title: "nor does it hide a field, an object, a count or a record of a call",
    why: "A company that is opened while a gateway fails would be taken for deleted, and its fields for missing.",
    spec: &["ERR-9", "FETCH-2", "FETCH-4", "FIELD-2"],
    run: |world| Box::pin(calls(world)),
};

/// Replies that no API documents. A 200 is the most dangerous one: it looks like an empty result.
const REPLIES: [Trouble; 9] = [
    Trouble::Page(400),
    Trouble::Page(403),
    Trouble::Page(404),
    Trouble::Page(405),
    Trouble::Page(415),
    Trouble::Empty(404),
    Trouble::OtherJson(403),
    Trouble::OtherJson(404),
    Trouble::OtherJson(200),
];

/// Whether a failure is reported as transient.
fn passing(failure: &Failure) -> bool {
    failure
        .said()
        .is_some_and(|said| matches!(said.what(), ErrorKind::Transient | ErrorKind::RateLimited))
}

/// Every reply at every one of these requests.
fn pairs(struck: &[usize]) -> Vec<(Trouble, usize)> {
    let mut pairs = Vec::with_capacity(REPLIES.len() * struck.len());
    for reply in REPLIES {
        pairs.extend(struck.iter().map(|&at| (reply, at)));
    }
    pairs
}

async fn streams(world: &World) -> Seen {
    let proxy = world.network()?;
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let whole = world.whole(&connector).await?;
    let selection = world.selection(&connector).await?;
    let connection = world.log_in(&connector).await?;
    let place = proxy.count();
    read(&connector, &connection, &selection, &mut Rows::default())
        .await
        .told("a read")?;
    let requests = proxy.count() - place;
    // The first request, one in the middle and the last: each may have another kind.
    let mut struck: Vec<usize> = vec![1, requests / 2 + 1, requests];
    struck.dedup();
    for (reply, at) in pairs(&struck) {
        let place = format!("a stream, {reply} to its request {at} of {requests}");
        let connection = world.log_in(&connector).await?;
        proxy.order(reply, Which::Once(at));
        let mut rows = Rows::default();
        let end = read(&connector, &connection, &selection, &mut rows).await;
        proxy.clear();
        for ObjectStatus { object, error, .. } in &rows.statuses {
            findings.unless(error.is_none(), || {
                format!(
                    "{place}: {object} is told as one that cannot be read, for a reply that is not the CRM's"
                )
            });
        }
        super::read::ranges(&mut findings, &rows, whole, true);
        let mut all = rows.clone();
        if let Err(failure) = &end {
            findings.unless(passing(failure), || {
                format!("{place}: {failure}; TRANSIENT is right")
            });
            all = rows
                .checkpoints
                .len()
                .checked_sub(1)
                .map_or_else(Rows::default, |last| rows.stored(last));
            let stream = Stream::open(&connector, &connection, &selection, &rows.last_checkpoint())
                .await
                .told("Read")?;
            let mut rest = Rows::default();
            stream.take(&mut rest, |_| false).await.told(&place)?;
            all.extend(&rest);
        }
        if let Some(difference) = all.difference(whole) {
            findings.add(format!("{place}: it ends as if all were well, {difference}"));
        }
    }
    findings.done(format!(
        "{} replies at {struck:?} of {requests} requests",
        REPLIES.len()
    ))
}

async fn calls(world: &World) -> Seen {
    let proxy = world.network()?;
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let mut tried = 0;
    for target in targets(world, &connector).await? {
        if !matches!(target.name, "ListFields" | "CountRecords" | "FetchCompany") {
            continue;
        }
        let call = target.call(world, &connector).await?;
        let place = proxy.count();
        let right = connector.ask(call, AMPLE).await.told(target.name)?;
        let requests = proxy.count() - place;
        let struck: Vec<usize> = (1..=requests.min(3)).collect();
        for (reply, at) in pairs(&struck) {
            tried += 1;
            let place = format!("{}, {reply} to its request {at}", target.name);
            let call = target.call(world, &connector).await?;
            proxy.order(reply, Which::Once(at));
            let answer = connector.ask(call, AMPLE).await;
            proxy.clear();
            match answer {
                Err(failure) => {
                    findings.unless(passing(&failure), || {
                        format!("{place}: {failure}; TRANSIENT is right")
                    });
                }
                Ok(answer) => {
                    if let Some(difference) = difference(&right, &answer) {
                        findings.add(format!("{place}: {difference}"));
                    }
                }
            }
        }
    }
    findings.done(format!("{tried} replies"))
}

/// The parts of the right answer that an answer lacks or reports wrongly.
fn difference(right: &Answer, answer: &Answer) -> Option<String> {
    match (right, answer) {
        (Answer::ListFields(right), Answer::ListFields(answer)) => fields(right, answer),
        (Answer::CountRecords(right), Answer::CountRecords(answer)) => counts(right, answer),
        (Answer::FetchCompany(right), Answer::FetchCompany(answer)) => records(right, answer),
        _ => Some("another kind of answer".to_owned()),
    }
}

fn fields(right: &ListFieldsResponse, answer: &ListFieldsResponse) -> Option<String> {
    let mut pairs = right.objects.iter().zip(&answer.objects);
    let hidden =
        pairs.find(|(right, answer)| right.visible != answer.visible || right.fields != answer.fields);
    hidden.map(|(_, answer)| {
        format!(
            "{} has {} fields, or other ones",
            answer.object,
            answer.fields.len()
        )
    })
}

fn counts(right: &CountRecordsResponse, answer: &CountRecordsResponse) -> Option<String> {
    let exact = |counted: &CountRecordsResponse| -> Vec<(String, Option<u64>)> {
        let counts = counted.counts.iter();
        counts
            .map(|count| (count.object.clone(), count.exact.then_some(count.count)))
            .collect()
    };
    (exact(right) != exact(answer))
        .then(|| format!("it counts {:?}; {:?} is right", answer.counts, right.counts))
}

fn records(right: &FetchCompanyResponse, answer: &FetchCompanyResponse) -> Option<String> {
    for (right, answer) in right.objects.iter().zip(&answer.objects) {
        if let Some(error) = &answer.error {
            if !matches!(error.what(), ErrorKind::Transient | ErrorKind::RateLimited) {
                return Some(format!("{}: {error}; TRANSIENT is right", answer.object));
            }
            continue;
        }
        let equal = right.records.len() == answer.records.len()
            && right
                .records
                .iter()
                .zip(&answer.records)
                .all(|(right, answer)| same(right, answer));
        if !equal || right.missing_fields != answer.missing_fields {
            return Some(format!(
                "{}: {} records; {} are right, or they say other things",
                answer.object,
                answer.records.len(),
                right.records.len()
            ));
        }
    }
    None
}
