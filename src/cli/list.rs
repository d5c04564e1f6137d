//! `tether connectors list`: the connectors of the folder, and why one cannot be loaded.

use super::print::say;
use crate::config::Options;
use crate::connectors::manifest::Isolation;
use crate::connectors::{Connector, Status};
use crate::server::{self, Failure};

/// Prints one line `name, version, status, folder` for each connector.
pub(super) async fn run(options: &Options) -> Result<(), Failure> {
    for listed in server::open_registry(options).await?.list() {
        let version = listed
            .connector
            .as_ref()
            .map(|one| one.manifest().version.clone())
            .unwrap_or_default();
        let isolation = listed.connector.as_ref().map(Connector::isolation);
        let status = match (listed.status, isolation) {
            (Status::Failed { reason }, _) => format!("failed: {reason}"),
            (_, Some(Isolation::InProcess)) => "ready in the server".to_owned(),
            (_, _) => "ready in a separate process".to_owned(),
        };
        say(&format!(
            "{}\t{version}\t{status}\t{}",
            listed.name,
            listed.path.display()
        ));
    }
    Ok(())
}
