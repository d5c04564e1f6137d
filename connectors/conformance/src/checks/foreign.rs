//! Replies that are not the CRM's own, in the middle of a read or call: they are no evidence.

use tether_connector_host::proto::call_response::Result as Answer;
use tether_connector_host::proto::{
    CountRecordsResponse, ErrorKind, FetchCompanyResponse, ListFieldsResponse, ObjectStatus,
};

use super::check::Check;
use super::fault::{read, targets};
use crate::connector::{CALL_TIMEOUT, Failure};
use crate::fault::Fault;
use crate::finding::{CheckResult, Context as _, Findings};
use crate::proxy::Which;
use crate::rows::{Rows, same};
use crate::stream::Stream;
use crate::world::World;

pub(super) const STREAMS: Check = Check {
    id: "foreign.streams",
    title: "one reply of a gateway during a read does not end an object, neither as complete nor as deleted",
    why: "Proxies and firewalls answer with 404 and 403 too. If such replies were believed, a sync would succeed with a part of the \
          records, or remove them.",
    spec: &["ERR-9", "STREAM-8", "STREAM-9"],
    run: |world| Box::pin(streams(world)),
};

pub(super) const CALLS: Check = Check {
    id: "foreign.calls",
    title: "one reply of a gateway to a call does not hide a field, an object, a count or a record",
    why: "A company that is opened while a gateway fails would be stored as deleted, and its fields as missing.",
    spec: &["ERR-9", "FETCH-2", "FETCH-4", "FIELD-2"],
    run: |world| Box::pin(calls(world)),
};

/// Replies that no API documents. A 200 is the most dangerous one: it looks like an empty result.
const REPLIES: [Fault; 9] = [
    Fault::Page(400),
    Fault::Page(403),
    Fault::Page(404),
    Fault::Page(405),
    Fault::Page(415),
    Fault::Empty(404),
    Fault::OtherJson(403),
    Fault::OtherJson(404),
    Fault::OtherJson(200),
];

/// Whether a failure is reported as transient.
fn is_transient(failure: &Failure) -> bool {
    failure
        .reported()
        .is_some_and(|error| matches!(error.what(), ErrorKind::Transient | ErrorKind::RateLimited))
}

/// Every reply at every one of these requests.
fn pairs(faulted: &[usize]) -> Vec<(Fault, usize)> {
    let mut pairs = Vec::with_capacity(REPLIES.len() * faulted.len());
    for reply in REPLIES {
        pairs.extend(faulted.iter().map(|&at| (reply, at)));
    }
    pairs
}

async fn streams(world: &World) -> CheckResult {
    let proxy = world.network()?;
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let whole = world.full_read(&connector).await?;
    let selection = world.selection(&connector).await?;
    let connection = world.log_in(&connector).await?;
    let requests_before = proxy.count();
    read(&connector, &connection, &selection, &mut Rows::default())
        .await
        .context("a read")?;
    let requests = proxy.count() - requests_before;
    // The first request, one in the middle and the last: each may have another kind.
    let mut faulted: Vec<usize> = vec![1, requests / 2 + 1, requests];
    faulted.dedup();
    for (reply, at) in pairs(&faulted) {
        let context = format!("a stream, {reply} to its request {at} of {requests}");
        let connection = world.log_in(&connector).await?;
        proxy.inject(reply, Which::Once(at));
        let mut rows = Rows::default();
        let end = read(&connector, &connection, &selection, &mut rows).await;
        proxy.clear();
        for ObjectStatus { object, error, .. } in &rows.statuses {
            findings.unless(error.is_none(), || {
                format!(
                    "{context}: {object} is reported as unreadable because of a reply that is not the CRM's"
                )
            });
        }
        super::read::check_ranges(&mut findings, &rows, whole, true);
        let mut all = rows.clone();
        if let Err(failure) = &end {
            findings.unless(is_transient(failure), || {
                format!("{context}: {failure}; expected TRANSIENT")
            });
            all = rows
                .checkpoints
                .len()
                .checked_sub(1)
                .map_or_else(Rows::default, |last| rows.stored(last));
            let stream = Stream::open(&connector, &connection, &selection, &rows.last_checkpoint())
                .await
                .context("Read")?;
            let mut rest = Rows::default();
            stream.take(&mut rest, |_| false).await.context(&context)?;
            all.extend(&rest);
        }
        if let Some(difference) = all.difference(whole) {
            findings.add(format!("{context}: it ends successfully, but {difference}"));
        }
    }
    findings.done(format!(
        "{} replies, to the requests {faulted:?} of {requests}",
        REPLIES.len()
    ))
}

async fn calls(world: &World) -> CheckResult {
    let proxy = world.network()?;
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let mut tried = 0;
    for target in targets(world, &connector).await? {
        if !matches!(target.name, "ListFields" | "CountRecords" | "FetchCompany") {
            continue;
        }
        let call = target.call(world, &connector).await?;
        let requests_before = proxy.count();
        let expected = connector.ask(call, CALL_TIMEOUT).await.context(target.name)?;
        let requests = proxy.count() - requests_before;
        let faulted: Vec<usize> = (1..=requests.min(3)).collect();
        for (reply, at) in pairs(&faulted) {
            tried += 1;
            let context = format!("{}, {reply} to its request {at}", target.name);
            let call = target.call(world, &connector).await?;
            proxy.inject(reply, Which::Once(at));
            let answer = connector.ask(call, CALL_TIMEOUT).await;
            proxy.clear();
            match answer {
                Err(failure) => {
                    findings.unless(is_transient(&failure), || {
                        format!("{context}: {failure}; expected TRANSIENT")
                    });
                }
                Ok(answer) => {
                    if let Some(difference) = difference(&expected, &answer) {
                        findings.add(format!("{context}: {difference}"));
                    }
                }
            }
        }
    }
    findings.done(format!("{tried} replies"))
}

/// The difference of an answer to the expected one.
fn difference(expected: &Answer, answer: &Answer) -> Option<String> {
    match (expected, answer) {
        (Answer::ListFields(expected), Answer::ListFields(answer)) => field_difference(expected, answer),
        (Answer::CountRecords(expected), Answer::CountRecords(answer)) => count_difference(expected, answer),
        (Answer::FetchCompany(expected), Answer::FetchCompany(answer)) => record_difference(expected, answer),
        _ => Some("an answer of another type".to_owned()),
    }
}

fn field_difference(expected: &ListFieldsResponse, answer: &ListFieldsResponse) -> Option<String> {
    let mut pairs = expected.objects.iter().zip(&answer.objects);
    let hidden = pairs
        .find(|(expected, answer)| expected.visible != answer.visible || expected.fields != answer.fields);
    hidden.map(|(expected, answer)| {
        format!(
            "{} has {} fields, expected {}, or other content",
            answer.object,
            answer.fields.len(),
            expected.fields.len()
        )
    })
}

fn count_difference(expected: &CountRecordsResponse, answer: &CountRecordsResponse) -> Option<String> {
    let exact = |counted: &CountRecordsResponse| -> Vec<(String, Option<u64>)> {
        let counts = counted.counts.iter();
        counts
            .map(|count| (count.object.clone(), count.exact.then_some(count.count)))
            .collect()
    };
    (exact(expected) != exact(answer))
        .then(|| format!("it counts {:?}; expected {:?}", answer.counts, expected.counts))
}

fn record_difference(expected: &FetchCompanyResponse, answer: &FetchCompanyResponse) -> Option<String> {
    for (expected, answer) in expected.objects.iter().zip(&answer.objects) {
        if let Some(error) = &answer.error {
            if !matches!(error.what(), ErrorKind::Transient | ErrorKind::RateLimited) {
                return Some(format!("{}: {error}; expected TRANSIENT", answer.object));
            }
            continue;
        }
        let equal = expected.records.len() == answer.records.len()
            && expected
                .records
                .iter()
                .zip(&answer.records)
                .all(|(expected, answer)| same(expected, answer));
        if !equal || expected.missing_fields != answer.missing_fields {
            return Some(format!(
                "{}: {} records, expected {}, or other content",
                answer.object,
                answer.records.len(),
                expected.records.len()
            ));
        }
    }
    None
}
