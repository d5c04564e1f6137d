//! Shared code of the benches: a simulated Salesforce, servers on a database that can be killed and
//! restarted, and a client.
#![allow(dead_code, reason = "each bench uses a part")]

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection, SqliteConnection};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use tether::proto::v1;
use tether::proto::v1::company_service_client::CompanyServiceClient;
use tether::proto::v1::group_service_client::GroupServiceClient;
use tether::proto::v1::integration_service_client::IntegrationServiceClient;
use tonic::transport::Channel;

pub(crate) const GROUP: &str = "groups/acme";

/// HTTP/1.0 over loopback: one request per connection; the end of the connection is the end of the body.
pub(crate) fn http(method: &str, url: &str, body: &str) -> impl BufRead {
    let (status, reader) = http_reply(method, url, body);
    assert!(status.contains(" 200 "), "{method} {url}: {status}");
    reader
}

/// The line with the status, and the body.
pub(crate) fn http_reply(method: &str, url: &str, body: &str) -> (String, impl BufRead) {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} /{path} HTTP/1.0\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut reader = BufReader::with_capacity(1 << 20, stream);
    let mut head = String::new();
    reader.read_line(&mut head).unwrap();
    let status = head.clone();
    while reader.read_line(&mut head).unwrap() > 2 {}
    (status, reader)
}

pub(crate) fn http_json(method: &str, url: &str, body: &str) -> Json {
    let mut text = String::new();
    http(method, url, body).read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{method} {url}: {e}: {text}"))
}

pub(crate) fn encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// A child process that ends with the bench.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) struct Sim {
    pub(crate) _process: Process,
    pub(crate) host: String,
    pub(crate) control: String,
}

impl Sim {
    pub(crate) fn start(bin: &Path, accounts: u32, seed: u64) -> Self {
        Self::start_with(bin, accounts, seed, &[])
    }

    /// With more arguments.
    pub(crate) fn start_with(bin: &Path, accounts: u32, seed: u64, more: &[&str]) -> Self {
        let mut child = Command::new(bin.join("salesforce-sim"))
            .args(["--port", "0", "--exit-with-parent"])
            .args(["--accounts", &accounts.to_string()])
            .args(["--seed", &seed.to_string()])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("salesforce-sim starts");
        let said = first_line(&mut child);
        Self {
            _process: Process(child),
            host: said["http"].as_str().unwrap().replace("http://", ""),
            control: said["control"].as_str().unwrap().to_owned(),
        }
    }
}

pub(crate) fn first_line(child: &mut Child) -> Json {
    let mut said = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut said).unwrap();
    serde_json::from_str(&said).unwrap_or_else(|e| panic!("a program did not start ({e}): {said}"))
}

/// The parameters of a server, which can be started repeatedly on the same data.
pub(crate) struct Place {
    pub(crate) bin: PathBuf,
    pub(crate) connectors: PathBuf,
    pub(crate) data: tempfile::TempDir,
    pub(crate) database: Option<String>,
    pub(crate) sim: String,
    pub(crate) lease_seconds: u64,
    pub(crate) refresh_seconds: u64,
    /// Further settings.
    pub(crate) more: Vec<(&'static str, String)>,
}

pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) grpc: String,
}

impl Place {
    pub(crate) fn start(&self) -> Server {
        let mut command = Command::new(self.bin.join("tether"));
        command
            .args(["serve", "--dev", "--data-dir"])
            .arg(self.data.path());
        let mut set = vec![
            ("listen.grpc", "127.0.0.1:0".to_owned()),
            ("listen.callback", "127.0.0.1:0".to_owned()),
            ("listen.admin", "127.0.0.1:0".to_owned()),
            ("connectors.dir", self.connectors.display().to_string()),
            (
                "connector.salesforce.settings.client_id",
                "3MVG9tether.demo".to_owned(),
            ),
            (
                "connector.salesforce.settings.client_secret",
                "tether-demo-secret".to_owned(),
            ),
            (
                "connector.salesforce.settings.login_host_override",
                format!("http://{}", self.sim),
            ),
            (
                "connector.salesforce.plain_http_hosts",
                format!("{},{}", self.sim, self.sim.replace("127.0.0.1", "localhost")),
            ),
            ("sync.lease_seconds", self.lease_seconds.to_string()),
            ("grants.refresh_timeout_seconds", self.refresh_seconds.to_string()),
        ];
        if let Some(url) = &self.database {
            set.push(("database.url", url.clone()));
        }
        set.extend(self.more.iter().cloned());
        for (key, value) in set {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.data.path().join("server.log"))
            .unwrap();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("tether starts");
        let said = first_line(&mut child);
        Server {
            process: Process(child),
            grpc: format!("http://{}", said["grpc"].as_str().unwrap()),
        }
    }

    /// The place of another server on the same database, after the first one has started: it has the same keys, and an index
    /// of its own.
    pub(crate) fn beside(&self) -> Self {
        let data = tempfile::tempdir().unwrap();
        for key in ["dev-sealing.key", "dev-signing.key"] {
            std::fs::copy(self.data.path().join(key), data.path().join(key)).unwrap();
        }
        Self {
            bin: self.bin.clone(),
            connectors: self.connectors.clone(),
            data,
            database: self.database.clone(),
            sim: self.sim.clone(),
            lease_seconds: self.lease_seconds,
            refresh_seconds: self.refresh_seconds,
            more: self.more.clone(),
        }
    }

    /// So many seconds pass for everything that waits: the stored times move into the past.
    pub(crate) fn pass(&self, seconds: i64) {
        let us = seconds * 1_000_000;
        let sql = format!(
            "UPDATE sync SET due_us = due_us - {us} WHERE state = 'WAITING'; \
             UPDATE organization SET closed_until_us = closed_until_us - {us}, \
             refused_until_us = refused_until_us - {us}, refusal_us = refusal_us - {us}, calls_us = calls_us - {us}"
        );
        let done = match &self.database {
            Some(url) => PgConnection::establish(url).unwrap().batch_execute(&sql),
            None => {
                let path = self.data.path().join("tether.db");
                let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
                conn.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
                conn.batch_execute(&sql)
            }
        };
        done.unwrap();
    }

    pub(crate) fn token(&self) -> String {
        self.token_for(&["--group", "acme"])
    }

    /// A token for the arguments of `tether token`.
    pub(crate) fn token_for(&self, whom: &[&str]) -> String {
        let out = Command::new(self.bin.join("tether"))
            .arg("token")
            .args(whom)
            .arg("--data-dir")
            .arg(self.data.path())
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }
}

#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) channel: Channel,
    pub(crate) token: String,
}

impl Api {
    pub(crate) async fn connect(server: &Server, token: &str) -> Self {
        Self::try_connect(&server.grpc, token).await.unwrap()
    }

    /// `None` if no server listens.
    pub(crate) async fn try_connect(grpc: &str, token: &str) -> Option<Self> {
        let endpoint = Channel::from_shared(grpc.to_owned()).unwrap();
        Some(Self {
            channel: endpoint.connect().await.ok()?,
            token: format!("Bearer {token}"),
        })
    }

    pub(crate) fn ask<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        let token = self.token.parse().unwrap();
        request.metadata_mut().insert("authorization", token);
        request
    }

    pub(crate) fn integrations(&self) -> IntegrationServiceClient<Channel> {
        IntegrationServiceClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    pub(crate) fn groups(&self) -> GroupServiceClient<Channel> {
        GroupServiceClient::new(self.channel.clone())
    }

    pub(crate) fn companies(&self) -> CompanyServiceClient<Channel> {
        CompanyServiceClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    /// Logs an integration in, as the simulator's first user; returns false if the server was stopped
    /// meanwhile.
    pub(crate) async fn try_log_in(&self, sim: &Sim, name: &str) -> bool {
        self.try_log_in_as(sim, name, "admin@acme.example").await
    }

    async fn try_log_in_as(&self, sim: &Sim, name: &str, user: &str) -> bool {
        let mut api = self.integrations();
        let begin = v1::BeginAuthorizationRequest {
            name: name.to_owned(),
            redirect_uri: "http://127.0.0.1:9/cb".to_owned(),
            ..Default::default()
        };
        let Ok(begun) = api.begin_authorization(self.ask(begin)).await else {
            return false;
        };
        let uri = encode(&begun.into_inner().authorization_uri);
        let approve = format!(
            "{}/oauth/approve?url={uri}&username={}",
            sim.control,
            encode(user)
        );
        let approved = http_json("GET", &approve, "");
        let back = url::Url::parse(approved["redirectUrl"].as_str().unwrap()).unwrap();
        let mut callback_parameters: HashMap<String, String> = back.query_pairs().into_owned().collect();
        let state = callback_parameters.remove("state").unwrap();
        let complete = v1::CompleteAuthorizationRequest {
            state,
            callback_parameters,
        };
        api.complete_authorization(self.ask(complete)).await.is_ok()
    }

    /// Starts a sync as soon as no other one is in progress; returns its name.
    pub(crate) async fn sync_now(&self, name: &str) -> String {
        loop {
            let sync = v1::SyncIntegrationRequest {
                name: name.to_owned(),
                ..Default::default()
            };
            match self.integrations().sync_integration(self.ask(sync)).await {
                Ok(sync) => return sync.into_inner().name,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// All steps from enabling the connector to saving, with the first sync queued.
    pub(crate) async fn connect_crm(&self, sim: &Sim, selected: Vec<String>) -> v1::Sync {
        self.connect_crm_as(sim, GROUP, "admin@acme.example", selected)
            .await
    }

    /// The same for another group and another user of the simulator.
    pub(crate) async fn connect_crm_as(
        &self,
        sim: &Sim,
        group: &str,
        user: &str,
        selected: Vec<String>,
    ) -> v1::Sync {
        let mut api = self.integrations();
        let enable = v1::EnableConnectorRequest {
            parent: group.to_owned(),
            connector: "connectors/salesforce".to_owned(),
        };
        api.enable_connector(self.ask(enable)).await.unwrap();
        let create = v1::CreateIntegrationRequest {
            parent: group.to_owned(),
            integration: Some(v1::Integration {
                display_name: "Truth".to_owned(),
                connector: "connectors/salesforce".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let created = api.create_integration(self.ask(create)).await.unwrap();
        let name = created.into_inner().name;
        assert!(self.try_log_in_as(sim, &name, user).await);
        let update = v1::UpdateIntegrationRequest {
            integration: Some(v1::Integration {
                name: name.clone(),
                selected_fields: selected,
                ..Default::default()
            }),
            ..Default::default()
        };
        api.update_integration(self.ask(update)).await.unwrap();
        let activate = v1::ActivateIntegrationRequest {
            name,
            ..Default::default()
        };
        let activated = api.activate_integration(self.ask(activate)).await.unwrap();
        activated.into_inner().sync.unwrap()
    }

    pub(crate) async fn sync(&self, name: &str) -> v1::Sync {
        let get = v1::GetSyncRequest {
            name: name.to_owned(),
        };
        self.integrations()
            .get_sync(self.ask(get))
            .await
            .unwrap()
            .into_inner()
    }

    /// Waits for the end of a sync, which must be SUCCEEDED.
    pub(crate) async fn succeeded(&self, name: &str) -> v1::Sync {
        loop {
            let sync = self.sync(name).await;
            match sync.state() {
                v1::sync::State::Succeeded => return sync,
                v1::sync::State::Partial | v1::sync::State::Failed | v1::sync::State::Cancelled => {
                    panic!("{sync:?}")
                }
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Waits for the end of a sync.
    pub(crate) async fn finished(&self, name: &str) -> v1::Sync {
        loop {
            let sync = self.sync(name).await;
            if sync.end_time.is_some() {
                return sync;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The names of all companies.
    pub(crate) async fn company_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut page_token = String::new();
        loop {
            let list = v1::ListCompaniesRequest {
                parent: GROUP.to_owned(),
                page_size: 1_000,
                page_token,
                ..Default::default()
            };
            let page = self
                .companies()
                .list_companies(self.ask(list))
                .await
                .unwrap()
                .into_inner();
            names.extend(page.companies.into_iter().map(|company| company.name));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return names;
            }
        }
    }
}

/// The folder of the programs, and a folder with the Salesforce connector.
pub(crate) fn programs(scratch: &Path) -> (PathBuf, PathBuf) {
    programs_with(scratch, "salesforce")
}

/// The folder of the programs, and a folder with one connector.
pub(crate) fn programs_with(scratch: &Path, connector: &str) -> (PathBuf, PathBuf) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let bin = std::env::var_os("TETHER_TRUTH_BIN").map_or_else(
        || {
            let built = Command::new(env!("CARGO"))
                .args(["build", "--release", "-p", "tether", "-p", "salesforce-sim"])
                .args(["-p", &format!("tether-connector-{connector}")])
                .current_dir(root)
                .status()
                .unwrap();
            assert!(built.success());
            std::env::current_exe()
                .unwrap()
                .parent()
                .unwrap()
                .parent()
                .unwrap()
                .to_owned()
        },
        PathBuf::from,
    );
    let folder = scratch.join(connector);
    std::fs::create_dir_all(&folder).unwrap();
    let library = format!("libtether_connector_{connector}.so");
    std::fs::copy(bin.join(&library), folder.join(&library)).unwrap();
    let digest = Sha256::digest(std::fs::read(bin.join(&library)).unwrap());
    let sha256 = digest.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let manifest = root.join("connectors").join(connector).join("connector.toml");
    let manifest = std::fs::read_to_string(manifest).unwrap();
    let platform = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    let whole =
        format!("{manifest}\n[library.\"{platform}\"]\npath = \"{library}\"\nsha256 = \"{sha256}\"\n");
    std::fs::write(folder.join("connector.toml"), whole).unwrap();
    (bin, scratch.to_owned())
}

pub(crate) fn said(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output();
    out.map_or_else(
        |_| String::new(),
        |out| String::from_utf8_lossy(&out.stdout).trim().to_owned(),
    )
}
