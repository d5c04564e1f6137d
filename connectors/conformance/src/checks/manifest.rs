//! Whether there is a usable connector.

use super::check::Check;
use crate::connector::AMPLE;
use crate::finding::{Findings, Seen, fails};
use crate::world::World;
use tether_connector_host::proto::DescribeRequest;

pub(super) const IN_ORDER: Check = Check {
    id: "manifest.in-order",
    title: "the manifest is in order and its hash is the library's",
    why: "A server loads nothing else: the connector would be listed as failed.",
    spec: &["MAN-1", "MAN-2", "MAN-3", "MAN-6"],
    run: |world| Box::pin(in_order(world)),
};

pub(super) const OPENS: Check = Check {
    id: "manifest.opens",
    title: "the library shakes hands and opens, more than once",
    why: "A server opens it once to probe it, once to use it, and again after every failure.",
    spec: &["LIFE-1", "LIFE-2", "LIFE-4", "LIFE-5", "LIFE-6"],
    run: |world| Box::pin(opens(world)),
};

async fn in_order(world: &World) -> Seen {
    match &world.library {
        Ok(library) => {
            let manifest = library.manifest();
            Ok(format!("{} {}", manifest.name, manifest.version))
        }
        Err(error) => Err(fails(error.to_string())),
    }
}

async fn opens(world: &World) -> Seen {
    let mut findings = Findings::default();
    let requests = world.proxy.as_ref().map_or(0, |proxy| proxy.count());
    let (first, second) = (world.open().await?, world.open().await?);
    let asked = world.proxy.as_ref().map_or(0, |proxy| proxy.count()) - requests;
    findings.unless(asked == 0, || {
        format!("opening it made {asked} requests to the CRM")
    });
    first.raw.close().await;
    // The end of one instance must not affect another, as in an update during running syncs.
    let described = second.describe(DescribeRequest {}, AMPLE).await;
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
