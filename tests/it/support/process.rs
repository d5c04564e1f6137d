//! The processes of a story: how a server is started, and where it says that it listens.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value as Json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::answers::PATIENCE;
use super::postgres;

/// Stands in every address of PostgreSQL that a server is given.
pub(crate) const DATABASE_PASSWORD: &str = "canary-database-password";

/// The server: what was built with the tests, or, for a long hunt, the one that TETHER_BIN names (a release build).
pub(crate) fn program() -> PathBuf {
    std::env::var_os("TETHER_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_tether")), PathBuf::from)
}

pub(super) async fn serve(
    folder: &Path,
    flags: &[String],
    postgres: Option<&postgres::Database>,
) -> (Child, Json) {
    run(folder, tether(folder, flags, postgres)).await
}

/// The same command with so many file descriptors, as `ulimit -n` does it.
pub(super) fn limited(command: &Command, descriptors: u32) -> Command {
    let command = command.as_std();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")])
        .arg(command.get_program())
        .args(command.get_args());
    shell
}

pub(super) async fn run(folder: &Path, mut command: Command) -> (Child, Json) {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join("server.log"))
        .unwrap();
    let mut child = command
        .arg("serve")
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let addresses = line(&mut child, folder).await;
    (child, addresses)
}

/// The program with a server's settings.
pub(super) fn tether(folder: &Path, flags: &[String], postgres: Option<&postgres::Database>) -> Command {
    let mut command = Command::new(program());
    command.arg("--data-dir").arg(folder.join("data"));
    if !flags.iter().any(|flag| flag == "dev=false") {
        command.arg("--dev");
    }
    for flag in flags {
        command.args(["--set", flag]);
    }
    if let Some(postgres) = postgres {
        // The cluster trusts whoever reaches its socket, so the password is a canary only.
        let url = format!("{}&password={DATABASE_PASSWORD}", postgres.url);
        command.env("TETHER__DATABASE__URL", url);
        for (name, url) in postgres.data_urls() {
            let url = format!("{url}&password={DATABASE_PASSWORD}");
            command.env(format!("TETHER__DATABASE__DATA__{}", name.to_uppercase()), url);
        }
    }
    command
}

/// The line of JSON in which a process says where it listens.
pub(super) async fn line(child: &mut Child, folder: &Path) -> Json {
    let mut text = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let read = tokio::time::timeout(PATIENCE, out.read_line(&mut text)).await;
    let log = std::fs::read_to_string(folder.join("server.log")).unwrap_or_default();
    assert!(
        matches!(read, Ok(Ok(1..))),
        "it does not say where it listens:\n{log}"
    );
    serde_json::from_str(&text).unwrap()
}
