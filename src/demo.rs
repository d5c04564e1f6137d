//! The demo: a simulated CRM and a server on loopback, walked through guide by guide over gRPC.

use crate::server::Failure;

/// What the demo may be told.
#[derive(clap::Args)]
pub struct Options {}

/// Runs it.
///
/// # Errors
/// Whatever stands in the way.
pub async fn run(_: Options) -> Result<(), Failure> {
    Ok(())
}
