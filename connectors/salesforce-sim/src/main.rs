//! The simulator as a program.

use std::path::PathBuf;

use clap::Parser;
use salesforce_sim::{Counts, Error, Options, Sim, related};
use serde_json::json;

/// A simulated Salesforce on loopback, for demos, tests and benches.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// Port of the HTTP listener; 0 selects a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Port of a TLS listener for `localhost`; 0 selects a free one
    #[arg(long)]
    tls_port: Option<u16>,
    /// Folder for ca.pem
    #[arg(long)]
    tls_dir: Option<PathBuf>,
    /// Live accounts of the first org
    #[arg(long, default_value_t = 1000)]
    accounts: u32,
    /// Related rows in all: a third contacts, a third opportunities, a sixth contracts, a sixth cases
    /// [default: three for each account]
    #[arg(long)]
    related: Option<u32>,
    /// Live contacts, exactly
    #[arg(long)]
    contacts: Option<u32>,
    /// Live opportunities, exactly
    #[arg(long)]
    opportunities: Option<u32>,
    /// Live contracts, exactly
    #[arg(long)]
    contracts: Option<u32>,
    /// Live cases, exactly
    #[arg(long)]
    cases: Option<u32>,
    /// Additional contacts under the first account
    #[arg(long, default_value_t = 0)]
    skew: u32,
    /// Live accounts of the second org, a sandbox with the same ids
    #[arg(long, default_value_t = 100)]
    second_accounts: u32,
    /// Seed of all generated data
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Values like those of a real CRM, for demos; without it many values are edge cases
    #[arg(long)]
    realistic: bool,
    /// Consumer key of the registered app
    #[arg(long, default_value = "3MVG9tether.demo")]
    client_id: String,
    /// Consumer secret of the registered app
    #[arg(long, default_value = "tether-demo-secret")]
    client_secret: String,
    /// File with the app's public key (PEM), for the JWT bearer flow
    #[arg(long)]
    jwt_public_key: Option<PathBuf>,
    /// Refresh tokens are single use
    #[arg(long)]
    rotation: bool,
    /// A refresh ends the earlier access tokens
    #[arg(long)]
    end_sessions: bool,
    /// Exit when stdin is closed, so that the simulator ends with its parent
    #[arg(long)]
    exit_with_parent: bool,
}

impl Flags {
    fn counts(&self) -> Counts {
        let usual = match self.related {
            Some(n) => Counts {
                accounts: self.accounts,
                contacts: n / 3 + n % 3,
                opportunities: n / 3,
                contracts: n / 3 / 2,
                cases: n / 3 - n / 3 / 2,
                skew: 0,
            },
            None => related(self.accounts),
        };
        Counts {
            accounts: self.accounts,
            contacts: self.contacts.unwrap_or(usual.contacts),
            opportunities: self.opportunities.unwrap_or(usual.opportunities),
            contracts: self.contracts.unwrap_or(usual.contracts),
            cases: self.cases.unwrap_or(usual.cases),
            skew: self.skew,
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let flags = Flags::parse();
    let options = Options {
        port: flags.port,
        tls_port: flags.tls_port,
        tls_dir: flags.tls_dir.clone(),
        seed: flags.seed,
        realistic: flags.realistic,
        counts: flags.counts(),
        second: related(flags.second_accounts),
        client_id: flags.client_id.clone(),
        client_secret: flags.client_secret.clone(),
        jwt_public_key: flags
            .jwt_public_key
            .as_ref()
            .map(std::fs::read_to_string)
            .transpose()?,
        rotation: flags.rotation,
        end_sessions: flags.end_sessions,
    };
    let sim = Sim::start(&options).await?;
    let addresses = json!({ "http": sim.http, "https": sim.https, "ca": sim.ca, "control": sim.control });
    Ok(sim_kit::program::run(&addresses, flags.exit_with_parent).await?)
}
