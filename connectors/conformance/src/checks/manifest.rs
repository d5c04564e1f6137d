//! Whether there is a usable connector.

use super::check::Check;
use crate::connector::CALL_TIMEOUT;
use crate::finding::{CheckResult, Findings, fails};
use crate::world::World;
use tether_connector_host::proto::DescribeRequest;

pub(super) const IN_ORDER: Check = Check {
    id: "manifest.in-order",
    title: "the manifest is valid and has the library's hash",
    why: "The server loads no other library: the connector would be listed as FAILED.",
    spec: &["MAN-1", "MAN-2", "MAN-3", "MAN-6"],
    run: |world| Box::pin(in_order(world)),
};

pub(super) const OPENS: Check = Check {
    id: "manifest.opens",
    title: "the handshake succeeds, and the library opens several instances",
    why: "The server opens one instance to check the library, one to use it, and another after each failure.",
    spec: &["LIFE-1", "LIFE-2", "LIFE-4", "LIFE-5", "LIFE-6"],
    run: |world| Box::pin(opens(world)),
};

async fn in_order(world: &World) -> CheckResult {
    match world.library.as_ref() {
        Ok(library) => {
            let manifest = library.manifest();
            Ok(format!("{} {}", manifest.name, manifest.version))
        }
        Err(error) => Err(fails(error.to_string())),
    }
}

async fn opens(world: &World) -> CheckResult {
    let mut findings = Findings::default();
    let requests = world.proxy.as_ref().map_or(0, |proxy| proxy.count());
    let (first, second) = (world.open().await?, world.open().await?);
    let asked = world.proxy.as_ref().map_or(0, |proxy| proxy.count()) - requests;
    findings.unless(asked == 0, || {
        format!("opening it sent {asked} requests to the CRM")
    });
    first.raw.close().await;
    // The end of one instance must not affect another, as in an update during running syncs.
    let described = second.describe(DescribeRequest {}, CALL_TIMEOUT).await;
    if let Err(failure) = described {
        findings.add(format!(
            "after one instance was closed, the other does not answer Describe: {failure}"
        ));
    }
    second.raw.close().await;
    let third = world.open().await?;
    third.raw.close().await;
    findings.done("three instances, two at a time")
}
