//! The `tether` binary.

use clap::Parser as _;
use std::process::ExitCode;
use tether::connectors;

fn main() -> ExitCode {
    tether::memory::bound();
    // A child process that runs a connector needs no server and no async runtime.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == connectors::ARGUMENT)
    {
        return connectors::child_process::run();
    }
    serve()
}

#[tokio::main]
async fn serve() -> ExitCode {
    match tether::cli::run(tether::cli::Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tether: {error}");
            ExitCode::FAILURE
        }
    }
}
