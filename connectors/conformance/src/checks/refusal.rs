//! Refusals in the CRM's own form.

use std::collections::BTreeMap;
use std::time::Duration;

use tether_connector_host::proto::{Error, ErrorKind};

use super::check::Check;
use super::fault::{FAULT_TIMEOUT, object_errors, read, targets};
use crate::connector::{Failure, micros, now_us};
use crate::fault::{Concern, Fault, allowed};
use crate::finding::{CheckResult, Findings, Halt};
use crate::proxy::{Reply, Which};
use crate::rows::Rows;
use crate::world::World;

pub(super) const OBJECT: Check = Check {
    id: "refusal.object",
    title: "an object that the user may not read is reported with that error, and the stream continues with the others",
    why: "CRMs grant permissions per object: without this, one missing permission fails the whole sync.",
    spec: &["STREAM-9", "ERR-8"],
    run: |world| Box::pin(object(world)),
};

pub(super) const LIMIT: Check = Check {
    id: "refusal.limit",
    title: "a limit reported in the CRM's own form is reported as a limit, with the time of the next attempt",
    why: "Many CRMs do not use Retry-After. Without the time, the server overloads a CRM that asked it to wait.",
    spec: &["ERR-1", "ERR-4"],
    run: |world| Box::pin(limit(world)),
};

fn reply(status: u16, body: &str, headers: &BTreeMap<String, String>) -> Reply {
    Reply {
        status,
        headers: headers.clone().into_iter().collect(),
        body: body.to_owned(),
    }
}

fn not_configured<T>(what: &str) -> Result<T, Halt> {
    Err(Halt::Lacks(format!("conformance.toml has no [refusals.{what}]")))
}

/// Whether a refusal of this status may be reported with this kind.
fn is_expected(status: u16, kind: ErrorKind) -> bool {
    allowed(Fault::Refusal(status), Concern::Data).contains(&kind)
}

async fn object(world: &World) -> CheckResult {
    let proxy = world.network()?;
    let Some(refusal) = &world.quirks.refusals.object else {
        return not_configured("object");
    };
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let whole = world.full_read(&connector).await?;
    let selection = world.selection(&connector).await?;
    let connection = world.log_in(&connector).await?;
    let refused = &refusal.object;
    proxy.refuse(
        reply(refusal.status, &refusal.body, &refusal.headers),
        Which::Containing(refusal.requests.clone()),
    );
    let mut rows = Rows::default();
    let end = read(&connector, &connection, &selection, &mut rows).await;
    let faulted = proxy.clear();
    findings.unless(faulted > 0, || {
        format!("no request of a read contains {:?}", refusal.requests)
    });
    if let Err(failure) = &end {
        findings.add(format!(
            "the stream ends because {refused} is refused ({failure}), although the other objects can be read"
        ));
    }
    for object in selection.iter().map(|selection| &selection.object) {
        let status = rows.statuses.iter().rfind(|status| status.object == *object);
        let error = status.and_then(|status| status.error.as_ref());
        let complete = status.is_some_and(|status| status.complete);
        if object != refused {
            findings.unless(complete, || {
                format!("{object} is not read completely because {refused} is refused")
            });
            continue;
        }
        let expected = error.is_some_and(|error| is_expected(403, error.what()));
        findings.unless(!complete && expected, || {
            let reported = error.map_or_else(|| "no error".to_owned(), Error::to_string);
            format!(
                "for {refused} the stream reports {reported}; expected FORBIDDEN, ADMIN_ACTION or OBJECT_GONE"
            )
        });
    }
    let mut expected = Rows::default();
    expected.extend(whole);
    for rows in [&mut rows, &mut expected] {
        rows.records.retain(|(object, _), _| object != refused);
    }
    if let Some(difference) = rows.difference(&expected) {
        findings.add(format!("the other objects: {difference}"));
    }
    findings.done(format!("{refused} is refused, the others are read"))
}

async fn limit(world: &World) -> CheckResult {
    let proxy = world.network()?;
    let Some(refusal) = &world.quirks.refusals.limit else {
        return not_configured("limit");
    };
    let mut findings = Findings::default();
    let connector = world.open().await?;
    for target in targets(world, &connector).await? {
        if !matches!(target.name, "ListFields" | "CountRecords" | "FetchCompany") {
            continue;
        }
        let call = target.call(world, &connector).await?;
        proxy.refuse(
            reply(refusal.status, &refusal.body, &refusal.headers),
            Which::From(1),
        );
        let began = now_us();
        let answer = connector.ask(call, FAULT_TIMEOUT).await;
        proxy.clear();
        let errors: Vec<Error> = match &answer {
            Ok(answer) => object_errors(answer),
            Err(Failure::Reported(error)) => vec![Error::clone(error)],
            Err(failure) => {
                findings.add(format!("{}: {failure}", target.name));
                continue;
            }
        };
        findings.unless(!errors.is_empty(), || {
            format!("{}: it succeeds although the CRM refused", target.name)
        });
        for error in errors {
            findings.unless(is_expected(429, error.what()), || {
                format!(
                    "{}: {error}; expected RATE_LIMITED or ALLOWANCE_EXHAUSTED",
                    target.name
                )
            });
            if let Some(wrong) = wrong_time(error.retry_us, began, refusal.wait_seconds) {
                findings.add(format!("{}: {wrong}", target.name));
            }
        }
    }
    findings.done(match refusal.wait_seconds {
        0 => "reported, without a time, which the CRM does not name".to_owned(),
        seconds => format!("reported, with the next attempt in {seconds} s"),
    })
}

/// What is wrong with the time of the next attempt, if the CRM asks for a pause of so many seconds; 0 if it names none (ERR-4).
fn wrong_time(retry_us: i64, began: i64, seconds: u64) -> Option<String> {
    if seconds == 0 {
        return (retry_us != 0).then(|| "retry_us is set, but the CRM names no time".to_owned());
    }
    let pause = retry_us - began;
    let is_wrong = (pause - micros(Duration::from_secs(seconds))).abs() >= 30_000_000;
    is_wrong.then(|| {
        format!(
            "retry_us is {} s from now; the CRM asked for {seconds}",
            pause / 1_000_000
        )
    })
}
