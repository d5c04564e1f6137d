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
    let wait = micros(Duration::from_secs(refusal.wait_seconds));
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
            let off = error.retry_us - began - wait;
            findings.unless(off.abs() < 30_000_000, || {
                format!(
                    "{}: retry_us is {} s from now; the CRM asked for {}",
                    target.name,
                    (error.retry_us - began) / 1_000_000,
                    refusal.wait_seconds
                )
            });
        }
    }
    findings.done(format!(
        "reported, with the next attempt in {} s",
        refusal.wait_seconds
    ))
}
