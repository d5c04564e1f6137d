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
use crate::connector::{CALL_TIMEOUT, Connector, Failure, GRACE, micros, now_us};
use crate::fault::{ALL, Concern, Fault, RETRY_AFTER, allowed};
use crate::finding::{CheckResult, Context as _, Findings, Halt};
use crate::login::Attempt;
use crate::proxy::{Proxy, Which};
use crate::quirks::{Lack, Method};
use crate::rows::Rows;
use crate::stream::Stream;
use crate::world::World;

/// Time limit for a call under a fault: a connector may retry a few times.
pub(super) const FAULT_TIMEOUT: Duration = Duration::from_secs(20);
/// Deadline for a call without an answer.
const DEADLINE: Duration = Duration::from_millis(700);

pub(super) const CALLS: Check = Check {
    id: "fault.calls",
    title: "every call reports 401, 403, 429, 5xx, cut connections, random bytes and missing answers with the right kind of error",
    why: "The kind decides whether the server refreshes, asks for a new login, waits or retries. A wrong one disconnects a customer or overloads a CRM.",
    spec: &["ERR-1", "ERR-3", "ERR-4", "ERR-5", "TIME-1"],
    run: |world| Box::pin(calls(world)),
};

pub(super) const STREAMS: Check = Check {
    id: "fault.streams",
    title: "a stream reports the same faults, and can be resumed from its last checkpoint",
    why: "Reads take hours, so they meet such faults; afterwards a sync must have the same data as the CRM.",
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
    let whole = world.full_read(connector).await?;
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
fn faults(world: &World) -> impl Iterator<Item = Fault> {
    let no_retry_after = world.quirks.lack(Lack::RetryAfter).is_some();
    ALL.iter()
        .copied()
        .filter(move |fault| !no_retry_after || *fault != Fault::RetryAfter)
}

async fn calls(world: &World) -> CheckResult {
    let proxy = world.network()?;
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let mut tried = 0;
    for target in targets(world, &connector).await? {
        let call = target.call(world, &connector).await?;
        let requests_before = proxy.count();
        let answer = connector.ask(call, CALL_TIMEOUT).await.context(target.name)?;
        remember_credentials(world, &answer);
        let requests = proxy.count() - requests_before;
        if requests == 0 {
            continue;
        }
        for fault in faults(world) {
            tried += 1;
            let context = format!("{}, {fault}", target.name);
            call_with_fault(
                &mut findings,
                world,
                proxy,
                &connector,
                &target,
                fault,
                1,
                &context,
            )
            .await?;
            // The fault also occurs after a part of the work is done.
            if requests > 1 && matches!(fault, Fault::Status(500) | Fault::CutMiddle) {
                let context = format!("{context}, from its request {requests} on");
                call_with_fault(
                    &mut findings,
                    world,
                    proxy,
                    &connector,
                    &target,
                    fault,
                    requests,
                    &context,
                )
                .await?;
            }
        }
        // A delayed answer must be used.
        let call = target.call(world, &connector).await?;
        proxy.inject(Fault::Delayed(Duration::from_millis(250)), Which::From(1));
        match connector.ask(call, CALL_TIMEOUT).await {
            Ok(answer) => remember_credentials(world, &answer),
            Err(failure) => findings.add(format!("{}, answers 250 ms late: {failure}", target.name)),
        }
        proxy.clear();
    }
    if let Some(failure) = connector.raw.failure() {
        findings.add(format!("the instance failed: {failure}"));
    }
    findings.done(format!("{tried} faults"))
}

fn remember_credentials(world: &World, answer: &Answer) {
    match answer {
        Answer::LoggedIn(answer) => world.add_secrets(answer.credentials.as_ref()),
        Answer::Refresh(answer) => world.add_secrets(answer.credentials.as_ref()),
        _ => {}
    }
}

#[expect(clippy::too_many_arguments, reason = "one call under one fault")]
async fn call_with_fault(
    findings: &mut Findings,
    world: &World,
    proxy: &Proxy,
    connector: &Connector,
    target: &Target,
    fault: Fault,
    from: usize,
    context: &str,
) -> Result<(), Halt> {
    let call = target.call(world, connector).await?;
    let limit = if fault == Fault::NoAnswer {
        DEADLINE
    } else {
        FAULT_TIMEOUT
    };
    proxy.inject(fault, Which::From(from));
    let began = now_us();
    let mut waiting = connector.start(call, limit);
    let answer = connector.finish(target.name, &mut waiting, limit + GRACE).await;
    let faulted = proxy.clear();
    match answer {
        Ok(answer) => {
            remember_credentials(world, &answer);
            let errors = object_errors(&answer);
            match errors.first() {
                // Unreadable objects are reported one by one.
                Some(_) => {
                    for error in &errors {
                        check_error(
                            findings,
                            context,
                            fault,
                            target.concern,
                            &Failure::Reported(Box::new(error.clone())),
                            began,
                        );
                    }
                }
                // The CRM may refuse to revoke a token that is no longer valid; Revoke may then succeed.
                None if target.name == "Revoke" && !needs_error(fault) => {}
                None if faulted == 0 => {}
                // These two calls omit objects that the user may not see.
                None if fault == Fault::Status(403) && omits_objects(&answer) => {}
                // A login may succeed without its last request: names of the organization and the user.
                None if from > 1 && target.concern == Concern::Login => {}
                None => findings.add(format!("{context}: it succeeds although the CRM failed")),
            }
        }
        Err(failure) => check_error(findings, context, fault, target.concern, &failure, began),
    }
    Ok(())
}

fn needs_error(fault: Fault) -> bool {
    !matches!(
        fault,
        Fault::Status(401 | 403) | Fault::RandomBytes | Fault::CutMiddle
    )
}

/// Errors of single objects in an answer.
pub(super) fn object_errors(answer: &Answer) -> Vec<tether_connector_host::proto::Error> {
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
fn omits_objects(answer: &Answer) -> bool {
    match answer {
        Answer::ListFields(listed) => listed.objects.iter().any(|object| !object.visible),
        Answer::CountRecords(counted) => counted.counts.is_empty(),
        _ => false,
    }
}

/// Checks that an error has an expected kind and content.
fn check_error(
    findings: &mut Findings,
    context: &str,
    fault: Fault,
    concern: Concern,
    failure: &Failure,
    began: i64,
) {
    let allowed = allowed(fault, concern);
    let Some(error) = failure.reported() else {
        findings.add(format!("{context}: {failure}"));
        return;
    };
    let kind_names = |kinds: &[ErrorKind]| {
        let names = kinds
            .iter()
            .map(|kind| kind.as_str_name().trim_start_matches("ERROR_KIND_"));
        names.collect::<Vec<_>>().join(" or ")
    };
    findings.unless(allowed.contains(&error.what()), || {
        format!("{context}: {failure}; expected {}", kind_names(allowed))
    });
    findings.unless(error.code != "connector.panicked", || {
        format!("{context}: it panicked")
    });
    if fault == Fault::RetryAfter && concern == Concern::Data && error.what() == ErrorKind::RateLimited {
        let wait = error.retry_us - began;
        let near = (micros(RETRY_AFTER) - wait).abs() < 30_000_000;
        findings.unless(near, || {
            format!(
                "{context}: retry_us is {} s from now; the CRM asked for {}",
                wait / 1_000_000,
                RETRY_AFTER.as_secs()
            )
        });
    }
}

async fn streams(world: &World) -> CheckResult {
    let proxy = world.network()?;
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let whole = world.full_read(&connector).await?;
    let selection = world.selection(&connector).await?;
    let connection = world.log_in(&connector).await?;
    let requests_before = proxy.count();
    let stream = Stream::open(&connector, &connection, &selection, b"")
        .await
        .context("Read")?;
    stream
        .take(&mut Rows::default(), |_| false)
        .await
        .context("a read")?;
    let requests = proxy.count() - requests_before;
    if requests < 2 {
        return Err(crate::finding::fails(format!(
            "a read makes {requests} request: the fixture needs more records"
        )));
    }
    let middle = requests / 2 + 1;
    for fault in faults(world).filter(|fault| *fault != Fault::NoAnswer) {
        let connection = world.log_in(&connector).await?;
        proxy.inject(fault, Which::From(middle));
        let context = format!("a stream, {fault} from its request {middle} of {requests} on");
        let began = now_us();
        let mut rows = Rows::default();
        let end = read(&connector, &connection, &selection, &mut rows).await;
        let faulted = proxy.clear();
        let broken: HashSet<_> = rows
            .statuses
            .iter()
            .filter(|status| !status.complete)
            .map(|status| &status.object)
            .collect();
        for status in &rows.statuses {
            if let Some(error) = &status.error {
                let failure = Failure::Reported(Box::new(error.clone()));
                check_error(
                    &mut findings,
                    &format!("{context}, {}", status.object),
                    fault,
                    Concern::Data,
                    &failure,
                    began,
                );
            }
        }
        match &end {
            Err(failure) => check_error(&mut findings, &context, fault, Concern::Data, failure, began),
            Ok(()) => findings.unless(faulted == 0 || !broken.is_empty(), || {
                format!(
                    "{context}: it ends successfully although the CRM failed, after {} of {} records",
                    rows.records.len(),
                    whole.records.len()
                )
            }),
        }
        // A wrong range would remove records, also under a fault.
        super::read::check_ranges(&mut findings, &rows, whole, true);
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
                .context("Read")?;
            let (mut all, mut rest) = (kept, Rows::default());
            match stream.take(&mut rest, |_| false).await {
                Ok(_) => {
                    all.extend(&rest);
                    let mut expected = Rows::default();
                    expected.extend(whole);
                    expected.records.retain(|(object, _), _| !broken.contains(object));
                    all.records.retain(|(object, _), _| !broken.contains(object));
                    if let Some(difference) = all.difference(&expected) {
                        findings.add(format!("{context}, then resumed: {difference}"));
                    }
                }
                Err(failure) => findings.add(format!("{context}, then resumed: {failure}")),
            }
        }
    }
    if let Some(failure) = connector.raw.failure() {
        findings.add(format!("the instance failed: {failure}"));
    }
    findings.done(format!(
        "{} faults from request {middle} of {requests} on",
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
            None => return Err(Failure::Malformed("CredentialsNeeded has no error")),
        }
    }
}
