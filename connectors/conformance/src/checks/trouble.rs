//! Faults of the CRM.

use std::collections::HashSet;
use std::time::Duration;

use tether_connector_host::proto::call_request::Call;
use tether_connector_host::proto::call_response::Result as Answer;
use tether_connector_host::proto::{
    Connection, CountRecordsRequest, ErrorKind, FetchCompanyRequest, ListFieldsRequest, ObjectSelection,
    RefreshRequest, RevokeRequest, stream_event::Event,
};

use super::check::Check;
use crate::connector::{AMPLE, Connector, Failure, GRACE, micros, now_us};
use crate::finding::{Findings, Halt, Seen, Told as _};
use crate::login::Attempt;
use crate::proxy::{Proxy, Which};
use crate::quirks::{Lack, Method};
use crate::rows::Rows;
use crate::stream::Stream;
use crate::trouble::{ALL, Concern, RETRY_AFTER, Trouble, allowed};
use crate::world::World;

/// Time limit for a call under a fault: a connector may retry a few times.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// Deadline for a call without an answer.
const DEADLINE: Duration = Duration::from_millis(700);

pub(super) const CALLS: Check = Check {
    id: "trouble.calls",
    title: "401, 403, 429, 5xx, cuts, garbage and silence are told as what they are, on every call",
    why: "The kind decides: refresh, log in again, wait, or try again. A wrong one disconnects a customer, or hammers a CRM.",
    spec: &["ERR-1", "ERR-3", "ERR-4", "ERR-5", "TIME-1"],
    run: |world| Box::pin(calls(world)),
};

pub(super) const STREAMS: Check = Check {
    id: "trouble.streams",
    title: "the same in the middle of a stream, which then goes on from its last checkpoint",
    why: "Reads last for hours: they meet all of this, and a sync must come to the truth after it.",
    spec: &["ERR-1", "ERR-4", "ERR-5", "CKPT-3", "STREAM-3"],
    run: |world| Box::pin(streams(world)),
};

/// A call that can be repeated.
pub(super) struct Target {
    pub(super) name: &'static str,
    concern: Concern,
    selection: Vec<ObjectSelection>,
    company: Vec<String>,
}

impl Target {
    /// The call, with its own credentials.
    pub(super) async fn call(&self, world: &World, connector: &Connector) -> Result<Call, Halt> {
        let connection =
            async || -> Result<Option<Connection>, Halt> { Ok(Some(world.log_in(connector).await?)) };
        Ok(match self.name {
            "ExchangeCode" => {
                let attempt = Attempt::new();
                let callback = world.callback(connector, &attempt, "allow").await?;
                Call::ExchangeCode(world.exchange_request(&attempt, callback))
            }
            "LogIn" => Call::LogIn(world.log_in_request()),
            "Refresh" => Call::Refresh(RefreshRequest {
                connection: connection().await?,
            }),
            "Revoke" => Call::Revoke(RevokeRequest {
                connection: connection().await?,
            }),
            "ListFields" => Call::ListFields(ListFieldsRequest {
                connection: connection().await?,
                objects: Vec::new(),
            }),
            "CountRecords" => Call::CountRecords(CountRecordsRequest {
                connection: connection().await?,
                objects: self
                    .selection
                    .iter()
                    .map(|selection| selection.object.clone())
                    .collect(),
            }),
            _ => Call::FetchCompany(FetchCompanyRequest {
                connection: connection().await?,
                external_ids: self.company.clone(),
                selection: self.selection.clone(),
                related_limit: 0,
            }),
        })
    }
}

/// Every call of the connector.
pub(super) async fn targets(world: &World, connector: &Connector) -> Result<Vec<Target>, Halt> {
    let selection = world.selection(connector).await?;
    let company = world.company(connector).await?;
    let whole = world.whole(connector).await?;
    let first = whole
        .records
        .iter()
        .find(|((object, _), record)| *object == company && !record.deleted);
    let company: Vec<_> = first.map(|((_, id), _)| id.clone()).into_iter().collect();
    let login = if world.quirks.login.method == Method::AuthorizationCode {
        "ExchangeCode"
    } else {
        "LogIn"
    };
    let mut names = vec![(login, Concern::Login)];
    if world.quirks.lack(Lack::Expiry).is_none() {
        names.push(("Refresh", Concern::Grant));
    }
    if world.quirks.lack(Lack::Revocation).is_none() {
        names.push(("Revoke", Concern::Grant));
    }
    names.extend(["ListFields", "CountRecords", "FetchCompany"].map(|name| (name, Concern::Data)));
    let target = |(name, concern)| Target {
        name,
        concern,
        selection: selection.clone(),
        company: company.clone(),
    };
    Ok(names.into_iter().map(target).collect())
}

/// The faults that this connector can recognize.
fn troubles(world: &World) -> impl Iterator<Item = Trouble> {
    let deaf = world.quirks.lack(Lack::RetryAfter).is_some();
    ALL.iter()
        .copied()
        .filter(move |trouble| !deaf || *trouble != Trouble::TooManyUntil)
}

async fn calls(world: &World) -> Seen {
    let proxy = world.network()?;
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let mut tried = 0;
    for target in targets(world, &connector).await? {
        let call = target.call(world, &connector).await?;
        let place = proxy.count();
        let answer = connector.ask(call, AMPLE).await.told(target.name)?;
        learn(world, &answer);
        let requests = proxy.count() - place;
        if requests == 0 {
            continue;
        }
        for trouble in troubles(world) {
            tried += 1;
            let place = format!("{}, {trouble}", target.name);
            troubled(
                &mut findings,
                world,
                proxy,
                &connector,
                &target,
                trouble,
                1,
                &place,
            )
            .await?;
            // The fault also occurs after a part of the work is done.
            if requests > 1 && matches!(trouble, Trouble::Status(500) | Trouble::CutMiddle) {
                let place = format!("{place}, from its request {requests} on");
                troubled(
                    &mut findings,
                    world,
                    proxy,
                    &connector,
                    &target,
                    trouble,
                    requests,
                    &place,
                )
                .await?;
            }
        }
        // A delayed answer is not lost.
        let call = target.call(world, &connector).await?;
        proxy.order(Trouble::Slow(Duration::from_millis(250)), Which::From(1));
        match connector.ask(call, AMPLE).await {
            Ok(answer) => learn(world, &answer),
            Err(failure) => findings.add(format!("{}, answers 250 ms late: {failure}", target.name)),
        }
        proxy.clear();
    }
    if let Some(failure) = connector.raw.failure() {
        findings.add(format!("the instance failed: {failure}"));
    }
    findings.done(format!("{tried} troubles"))
}

fn learn(world: &World, answer: &Answer) {
    match answer {
        Answer::LoggedIn(answer) => world.know(answer.credentials.as_ref()),
        Answer::Refresh(answer) => world.know(answer.credentials.as_ref()),
        _ => {}
    }
}

#[expect(clippy::too_many_arguments, reason = "one trouble is all of these")]
async fn troubled(
    findings: &mut Findings,
    world: &World,
    proxy: &Proxy,
    connector: &Connector,
    target: &Target,
    trouble: Trouble,
    from: usize,
    place: &str,
) -> Result<(), Halt> {
    let call = target.call(world, connector).await?;
    let limit = if trouble == Trouble::Never {
        DEADLINE
    } else {
        PATIENCE
    };
    proxy.order(trouble, Which::From(from));
    let began = now_us();
    let mut waiting = connector.start(call, limit);
    let answer = connector.finish(target.name, &mut waiting, limit + GRACE).await;
    let struck = proxy.clear();
    match answer {
        Ok(answer) => {
            learn(world, &answer);
            let told = told_inside(&answer);
            match told.first() {
                // Unreadable objects are reported one by one.
                Some(_) => {
                    for said in &told {
                        right(
                            findings,
                            place,
                            trouble,
                            target.concern,
                            &Failure::Said(Box::new(said.clone())),
                            began,
                        );
                    }
                }
                // The CRM may refuse to revoke a token that is no longer valid, so success is a right answer to a refusal.
                None if target.name == "Revoke" && !serious(trouble) => {}
                None if struck == 0 => {}
                // These two calls omit objects that the user may not see.
                None if trouble == Trouble::Status(403) && shows_less(&answer) => {}
                // A login may succeed without its last request: names of the organization and the user.
                None if from > 1 && target.concern == Concern::Login => {}
                None => findings.add(format!("{place}: it answers as if all were well")),
            }
        }
        Err(failure) => right(findings, place, trouble, target.concern, &failure, began),
    }
    Ok(())
}

fn serious(trouble: Trouble) -> bool {
    !matches!(
        trouble,
        Trouble::Status(401 | 403) | Trouble::Garbage | Trouble::CutMiddle
    )
}

/// Errors of single objects in an answer.
pub(super) fn told_inside(answer: &Answer) -> Vec<tether_connector_host::proto::Error> {
    match answer {
        Answer::FetchCompany(answer) => answer
            .objects
            .iter()
            .filter_map(|result| result.error.clone())
            .collect(),
        _ => Vec::new(),
    }
}

/// Whether a listing reports an object as not visible, or a count omits it.
fn shows_less(answer: &Answer) -> bool {
    match answer {
        Answer::ListFields(listed) => listed.objects.iter().any(|object| !object.visible),
        Answer::CountRecords(counted) => counted.counts.is_empty(),
        _ => false,
    }
}

/// Whether an error has the right kind and content.
fn right(
    findings: &mut Findings,
    place: &str,
    trouble: Trouble,
    concern: Concern,
    failure: &Failure,
    began: i64,
) {
    let allowed = allowed(trouble, concern);
    let Some(said) = failure.said() else {
        findings.add(format!("{place}: {failure}"));
        return;
    };
    let words = |kinds: &[ErrorKind]| {
        let words = kinds
            .iter()
            .map(|kind| kind.as_str_name().trim_start_matches("ERROR_KIND_"));
        words.collect::<Vec<_>>().join(" or ")
    };
    findings.unless(allowed.contains(&said.what()), || {
        format!("{place}: {failure}; {} is right", words(allowed))
    });
    findings.unless(said.code != "connector.panicked", || {
        format!("{place}: it panicked")
    });
    if trouble == Trouble::TooManyUntil && concern == Concern::Data && said.what() == ErrorKind::RateLimited {
        let wait = said.retry_us - began;
        let near = (micros(RETRY_AFTER) - wait).abs() < 30_000_000;
        findings.unless(near, || {
            format!(
                "{place}: retry_us is {} s from now; the CRM said {}",
                wait / 1_000_000,
                RETRY_AFTER.as_secs()
            )
        });
    }
}

async fn streams(world: &World) -> Seen {
    let proxy = world.network()?;
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let whole = world.whole(&connector).await?;
    let selection = world.selection(&connector).await?;
    let connection = world.log_in(&connector).await?;
    let place = proxy.count();
    let stream = Stream::open(&connector, &connection, &selection, b"")
        .await
        .told("Read")?;
    stream
        .take(&mut Rows::default(), |_| false)
        .await
        .told("a read")?;
    let requests = proxy.count() - place;
    if requests < 2 {
        return Err(crate::finding::fails(format!(
            "a read makes {requests} request: the fixture needs more records, for a middle"
        )));
    }
    let middle = requests / 2 + 1;
    for trouble in troubles(world).filter(|trouble| *trouble != Trouble::Never) {
        let connection = world.log_in(&connector).await?;
        proxy.order(trouble, Which::From(middle));
        let place = format!("a stream, {trouble} from its request {middle} of {requests} on");
        let began = now_us();
        let mut rows = Rows::default();
        let end = read(&connector, &connection, &selection, &mut rows).await;
        let struck = proxy.clear();
        let broken: HashSet<_> = rows
            .statuses
            .iter()
            .filter(|status| !status.complete)
            .map(|status| &status.object)
            .collect();
        for status in &rows.statuses {
            if let Some(error) = &status.error {
                let failure = Failure::Said(Box::new(error.clone()));
                right(
                    &mut findings,
                    &format!("{place}, {}", status.object),
                    trouble,
                    Concern::Data,
                    &failure,
                    began,
                );
            }
        }
        match &end {
            Err(failure) => right(&mut findings, &place, trouble, Concern::Data, failure, began),
            Ok(()) => findings.unless(struck == 0 || !broken.is_empty(), || {
                format!(
                    "{place}: it ends as if all were well, after {} of {} records",
                    rows.records.len(),
                    whole.records.len()
                )
            }),
        }
        // A wrong range would remove records, also under a fault.
        super::read::ranges(&mut findings, &rows, whole, true);
        // After the fault a host resumes from the last checkpoint in a new instance. A later sync reads the
        // objects that were reported as failed.
        if end.is_err() {
            let fresh = world.open().await?;
            let connection = world.log_in(&fresh).await?;
            let kept = rows
                .checkpoints
                .len()
                .checked_sub(1)
                .map_or_else(Rows::default, |last| rows.stored(last));
            let stream = Stream::open(&fresh, &connection, &selection, &rows.last_checkpoint())
                .await
                .told("Read")?;
            let (mut all, mut rest) = (kept, Rows::default());
            match stream.take(&mut rest, |_| false).await {
                Ok(_) => {
                    all.extend(&rest);
                    let mut expected = Rows::default();
                    expected.extend(whole);
                    expected.records.retain(|(object, _), _| !broken.contains(object));
                    all.records.retain(|(object, _), _| !broken.contains(object));
                    if let Some(difference) = all.difference(&expected) {
                        findings.add(format!("{place}, then resumed: {difference}"));
                    }
                }
                Err(failure) => findings.add(format!("{place}, then resumed: {failure}")),
            }
        }
    }
    if let Some(failure) = connector.raw.failure() {
        findings.add(format!("the instance failed: {failure}"));
    }
    findings.done(format!(
        "{} troubles from request {middle} of {requests} on",
        ALL.len() - 1
    ))
}

/// Reads to the end; requests for credentials are answered with the current ones.
pub(super) async fn read(
    connector: &Connector,
    connection: &Connection,
    selection: &[ObjectSelection],
    rows: &mut Rows,
) -> Result<(), Failure> {
    let stream = Stream::open(connector, connection, selection, b"").await?;
    loop {
        let mut needs = None;
        let ended = stream
            .take(rows, |event| match event {
                Event::CredentialsNeeded(needed) => {
                    needs = needed.error.clone();
                    true
                }
                _ => false,
            })
            .await?;
        if ended {
            return Ok(());
        }
        match needs {
            // The host cannot refresh the credentials and reports the error: the stream must end with that
            // error.
            Some(why) => stream.refuse(why).await?,
            None => return Err(Failure::Garbled("CredentialsNeeded does not say why")),
        }
    }
}
