//! The simulator as a program.

use std::io::Read as _;

use clap::Parser;
use hubspot_sim::{Error, Options, Sim};
use serde_json::json;

/// A HubSpot that runs on loopback, for demos and tests.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// Port of the HTTP listener; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Live companies of the first portal; as many contacts and deals, and half as many tickets
    #[arg(long, alias = "accounts", default_value_t = 1000)]
    companies: u32,
    /// Live companies of the second portal, with the same ids
    #[arg(long, default_value_t = 50)]
    second_companies: u32,
    /// Everything follows from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Texts as a real CRM holds them, for demos
    #[arg(long)]
    realistic: bool,
    /// Client id of the registered app
    #[arg(long, default_value = "tether-demo-app")]
    client_id: String,
    /// Client secret of the registered app
    #[arg(long, default_value = "tether-demo-secret")]
    client_secret: String,
    /// Requests that an app may make of a portal in ten seconds [default: as many as it likes]
    #[arg(long)]
    burst: Option<u32>,
    /// Searches that an app may make of a portal in a second
    #[arg(long, default_value_t = 5)]
    searches: u32,
    /// Exit when stdin ends: whoever started the simulator cannot leave it behind
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
    let line = json!({ "http": sim.http, "control": sim.control });
    #[expect(
        clippy::print_stdout,
        reason = "the one line that tells the parent where we listen"
    )]
    {
        println!("{line}");
    }
    if flags.exit_with_parent {
        // A thread, not a task: a blocked read of stdin would keep the runtime from ending.
        let (ended, end) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while std::io::stdin().read(&mut buffer).is_ok_and(|n| n > 0) {}
            _ = ended.send(());
        });
        _ = end.await;
    } else {
        tokio::signal::ctrl_c().await?;
    }
    Ok(())
}
