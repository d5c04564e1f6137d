//! The `tether` binary.

use clap::Parser as _;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match tether::cli::run(tether::cli::Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "logs may not be set up yet")]
            {
                eprintln!("tether: {error}");
            }
            ExitCode::FAILURE
        }
    }
}
