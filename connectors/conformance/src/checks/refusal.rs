//! Refusals in the CRM's own form.

use std::collections::BTreeMap;
use std::time::Duration;

use tether_connector_host::proto::{Error, ErrorKind};

use super::check::Check;
use super::trouble::{PATIENCE, read, targets, told_inside};
use crate::connector::{Failure, micros, now_us};
use crate::finding::{Findings, Halt, Seen};
use crate::proxy::{Reply, Which};
use crate::rows::Rows;
use crate::trouble::{Concern, Trouble, allowed};
use crate::world::World;

pub(super) const OBJECT: Check = Check {
    id: "refusal.object",
    title: "an object that the user may not read is told as such, and the stream goes on with the others",
    why: "Permissions are given object by object: without this, one missing permission costs the whole sync.",
    spec: &["STREAM-9", "ERR-8"],
    run: |world| Box::pin(object(world)),
};

pub(super) const LIMIT: Check = Check {
    id: "refusal.limit",
    title: "a limit told in the CRM's own words and headers is told as one, with the time of the next try",
    why: "Many CRMs do not use Retry-After. Without the time, the server hammers a CRM that asked it to wait.",
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

fn lacks<T>(what: &str) -> Result<T, Halt> {
    Err(Halt::Lacks(format!("conformance.toml has no [refusals.{what}]")))
}

/// Whether a refusal of this status may be told with this kind.
fn is_right(status: u16, kind: ErrorKind) -> bool {
    allowed(Trouble::Own(status), Concern::Data).contains(&kind)
}

async fn object(world: &World) -> Seen {
    let proxy = world.network()?;
    let Some(refusal) = &world.quirks.refusals.object else {
        return lacks("object");
    };
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let whole = world.whole(&connector).await?;
    let selection = world.selection(&connector).await?;
    let connection = world.log_in(&connector).await?;
    let refused = &refusal.object;
    proxy.refuse(
        reply(refusal.status, &refusal.body, &refusal.headers),
        Which::Carrying(refusal.requests.clone()),
    );
    let mut rows = Rows::default();
    let end = read(&connector, &connection, &selection, &mut rows).await;
    let struck = proxy.clear();
    findings.unless(struck > 0, || {
        format!("no request of a read has {:?} in it", refusal.requests)
    });
    if let Err(failure) = &end {
        findings.add(format!(
            "the stream ends where {refused} is refused ({failure}); the other objects can be read"
        ));
    }
    for object in selection.iter().map(|selection| &selection.object) {
        let status = rows.statuses.iter().rfind(|status| status.object == *object);
        let error = status.and_then(|status| status.error.as_ref());
        let complete = status.is_some_and(|status| status.complete);
        if object != refused {
            findings.unless(complete, || {
                format!("{object} is not read completely, where {refused} is refused")
            });
            continue;
        }
        let right = error.is_some_and(|error| is_right(403, error.what()));
        findings.unless(!complete && right, || {
            let told = error.map_or_else(|| "nothing".to_owned(), Error::to_string);
            format!("of {refused} the stream tells {told}; FORBIDDEN, ADMIN_ACTION or OBJECT_GONE is right")
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

async fn limit(world: &World) -> Seen {
    let proxy = world.network()?;
    let Some(refusal) = &world.quirks.refusals.limit else {
        return lacks("limit");
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
        let answer = connector.ask(call, PATIENCE).await;
        proxy.clear();
        let told: Vec<Error> = match &answer {
            Ok(answer) => told_inside(answer),
            Err(Failure::Said(error)) => vec![Error::clone(error)],
            Err(failure) => {
                findings.add(format!("{}: {failure}", target.name));
                continue;
            }
        };
        findings.unless(!told.is_empty(), || {
            format!("{}: it answers as if all were well", target.name)
        });
        for error in told {
            findings.unless(is_right(429, error.what()), || {
                format!(
                    "{}: {error}; RATE_LIMITED or ALLOWANCE_EXHAUSTED is right",
                    target.name
                )
            });
            let off = error.retry_us - began - wait;
            findings.unless(off.abs() < 30_000_000, || {
                format!(
                    "{}: retry_us is {} s from now; the CRM said {}",
                    target.name,
                    (error.retry_us - began) / 1_000_000,
                    refusal.wait_seconds
                )
            });
        }
    }
    findings.done(format!(
        "told, and when to try again: in {} s",
        refusal.wait_seconds
    ))
}
