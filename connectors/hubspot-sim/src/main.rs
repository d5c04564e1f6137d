//! The simulator as a program.

use clap::Parser;
use hubspot_sim::{Error, Options, Sim};
use serde_json::json;

/// A simulated HubSpot on loopback, for demos and tests.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// Port of the HTTP listener; 0 selects a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Live companies of the first portal; as many contacts and deals, and half as many tickets
    #[arg(long, alias = "accounts", default_value_t = 1000)]
    companies: u32,
    /// Live companies of the second portal, with the same ids
    #[arg(long, default_value_t = 50)]
    second_companies: u32,
    /// Seed of all generated data
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Texts like those of a real CRM, for demos
    #[arg(long)]
    realistic: bool,
    /// Client id of the registered app
    #[arg(long, default_value = "tether-demo-app")]
    client_id: String,
    /// Client secret of the registered app
    #[arg(long, default_value = "tether-demo-secret")]
    client_secret: String,
    /// Requests of an app to a portal in ten seconds [default: unlimited]
    #[arg(long)]
    burst: Option<u32>,
    /// Searches of an app in a portal per second
    #[arg(long, default_value_t = 5)]
    searches: u32,
    /// Exit when stdin is closed, so that the simulator ends with its parent
    #[arg(long)]
    exit_with_parent: bool,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let flags = Flags::parse();
    let options = Options {
        port: flags.port,
        companies: flags.companies,
        second_companies: flags.second_companies,
        seed: flags.seed,
        realistic: flags.realistic,
        client_id: flags.client_id,
        client_secret: flags.client_secret,
        burst: flags.burst.unwrap_or(u32::MAX),
        searches: flags.searches,
    };
    let sim = Sim::start(&options).await?;
    let addresses = json!({ "http": sim.http, "control": sim.control });
    Ok(sim_kit::program::run(&addresses, flags.exit_with_parent).await?)
}
