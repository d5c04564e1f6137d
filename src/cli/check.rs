//! `tether connectors check`: runs the conformance tests against one connector.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tether_connector_conformance as conformance;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::print::say;
use crate::connectors::manifest::Isolation;
use crate::server::Failure;

/// Options of `tether connectors check`.
#[derive(Args)]
pub struct Options {
    /// The folder of the connector, with connector.toml, the library and conformance.toml
    folder: PathBuf,
    /// The address of a running fixture server, used instead of the one that conformance.toml starts
    #[arg(long, value_name = "URL")]
    fixture: Option<String>,
    /// Where to run the connector
    #[arg(long, value_enum, default_value = "both")]
    isolation: Where,
    /// Run only the check with this id (may be repeated)
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Where {
    /// In this process; first in a child process, to detect a crash
    InProcess,
    /// In a separate process
    Child,
    /// First in a separate process, then in this process
    Both,
}

/// Checks a connector. Returns whether it passed.
pub(super) async fn run(options: Options) -> Result<bool, Failure> {
    let logs = conformance::Logs::default();
    // Nothing is printed: the logs of the connector are collected at all levels and checked.
    tracing_subscriber::registry().with(logs.clone()).try_init()?;
    let isolations = match options.isolation {
        Where::InProcess => vec![Isolation::InProcess],
        Where::Child => vec![Isolation::Child],
        Where::Both => vec![Isolation::Child, Isolation::InProcess],
    };
    let kit = conformance::Options {
        folder: options.folder,
        fixture: options.fixture,
        isolations,
        program: None,
        only: options.only,
        logs,
    };
    let json = options.json;
    let mut at = None;
    let report = kit
        .run(&mut |isolation, checked| {
            if json {
                return;
            }
            if at != Some(isolation) {
                at = Some(isolation);
                say(match isolation {
                    Isolation::Child => "in a separate process",
                    Isolation::InProcess => "in process",
                });
            }
            say(&checked.text());
        })
        .await?;
    if json {
        say(&serde_json::to_string_pretty(&report)?);
    } else {
        say(&format!("\n{}", report.table()));
    }
    Ok(report.passed)
}
