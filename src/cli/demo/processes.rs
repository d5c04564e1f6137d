//! What the demo starts: a simulated CRM as a process, and a server in this process, both on loopback.

use super::script::Script;
use crate::config;
use crate::server::{Failure, Running};
use serde::Deserialize;
use std::path::Path;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// The addresses of the simulator.
#[derive(Deserialize)]
pub(super) struct Simulator {
    pub(super) http: String,
    pub(super) control: String,
}

pub(super) async fn start_simulator(script: &Script, companies: u32) -> Result<(Child, Simulator), Failure> {
    let program = std::env::current_exe()?.with_file_name(&script.simulator);
    let mut child = Command::new(&program)
        .args([
            "--port",
            "0",
            "--exit-with-parent",
            "--accounts",
            &companies.to_string(),
            "--realistic",
        ])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            format!(
                "{}: {error}; build it with: cargo build -p {}",
                program.display(),
                script.simulator
            )
        })?;
    let stdout = child.stdout.take().ok_or("the simulator has no output")?;
    let line = BufReader::new(stdout)
        .lines()
        .next_line()
        .await?
        .ok_or("the simulator exited immediately")?;
    Ok((child, serde_json::from_str(&line)?))
}

pub(super) async fn start_server(
    data: &Path,
    connectors: &Path,
    connector: &str,
    script: &Script,
    at: &Simulator,
) -> Result<Running, Failure> {
    let host = at.http.trim_start_matches("http://");
    let mut flags = vec![
        ("dev".to_owned(), "true".to_owned()),
        ("data_dir".to_owned(), data.display().to_string()),
        ("connectors.dir".to_owned(), connectors.display().to_string()),
        ("log.filter".to_owned(), "warn".to_owned()),
        (format!("connector.{connector}.plain_http_hosts"), host.to_owned()),
    ];
    for (key, value) in &script.settings {
        flags.push((
            format!("connector.{connector}.settings.{key}"),
            value.replace("{simulator}", &at.http),
        ));
    }
    let mut settings = config::Options::load(None, &flags)?;
    crate::telemetry::init_logs(&settings.log)?;
    // Use the default ports, so that the printed commands stay valid; use free ports if these are taken.
    for address in [
        &mut settings.listen.grpc,
        &mut settings.listen.callback,
        &mut settings.listen.admin,
    ] {
        if std::net::TcpListener::bind(*address).is_err() {
            address.set_port(0);
        }
    }
    Running::start(settings).await
}
