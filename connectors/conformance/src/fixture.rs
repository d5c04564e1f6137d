//! The author's fixture server: start, address, end.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::{Error, quirks};

/// Time limit for a fixture to print its address.
const START: Duration = Duration::from_secs(60);

/// A running fixture. Dropping it stops it, if the kit started it.
#[derive(Debug)]
pub(crate) struct Fixture {
    /// The CRM's host and port: `127.0.0.1:1234`.
    pub(crate) authority: String,
    /// The control address, or empty.
    pub(crate) control: String,
    _process: Option<Child>,
}

impl Fixture {
    /// A fixture that is already running.
    pub(crate) fn at(url: &str) -> Result<Self, Error> {
        let authority = authority(url)?;
        // The control address is unknown: most fixtures have it below their own address.
        let control = format!("http://{authority}/control");
        Ok(Self {
            authority,
            control,
            _process: None,
        })
    }

    /// Starts a fixture.
    pub(crate) async fn start(quirks: &quirks::Fixture, folder: &Path) -> Result<Self, Error> {
        let wrong = |what: String| Error::Fixture(what);
        let (name, arguments) = quirks
            .command
            .split_first()
            .ok_or_else(|| wrong("its command is empty".to_owned()))?;
        let program = program(name, folder);
        let mut process = Command::new(&program)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| wrong(format!("{} does not start: {error}", program.display())))?;
        let out = process
            .stdout
            .take()
            .ok_or_else(|| wrong("it has no output".to_owned()))?;
        let mut lines = BufReader::new(out).lines();
        let line = timeout(START, lines.next_line()).await;
        let line = match line {
            Ok(Ok(Some(line))) => line,
            Ok(_) => return Err(wrong(format!("{} ended without a line", program.display()))),
            Err(_) => {
                return Err(wrong(format!(
                    "{} printed no line in {START:?}",
                    program.display()
                )));
            }
        };
        // The rest is read until its end, so that the fixture never blocks on output.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let first: Value =
            serde_json::from_str(&line).map_err(|_| wrong(format!("its first line is not JSON: {line}")))?;
        let member = |name: &str| {
            first
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let address = member(&quirks.address);
        if address.is_empty() {
            return Err(wrong(format!(
                "its line has no text `{}`: {line}",
                quirks.address
            )));
        }
        Ok(Self {
            authority: authority(&address)?,
            control: member(&quirks.control),
            _process: Some(process),
        })
    }
}

fn authority(url: &str) -> Result<String, Error> {
    let wrong = || {
        Error::Fixture(format!(
            "{url} is not of the form http://127.0.0.1:PORT: only loopback is used"
        ))
    };
    let parsed = url::Url::parse(url).map_err(|_| wrong())?;
    let (host, port) = (
        parsed.host_str().unwrap_or_default(),
        parsed.port_or_known_default(),
    );
    let loopback = match parsed.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match (parsed.scheme(), port) {
        ("http", Some(port)) if loopback => Ok(format!("{host}:{port}")),
        _ => Err(wrong()),
    }
}

fn program(name: &str, folder: &Path) -> PathBuf {
    let here = folder.join(name);
    if here.is_file() {
        return here.canonicalize().unwrap_or(here);
    }
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(|folder| folder.join(name)));
    match beside {
        Some(beside) if !name.contains('/') && beside.is_file() => beside,
        _ => name.into(),
    }
}
