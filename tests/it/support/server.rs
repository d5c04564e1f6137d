//! A simulated CRM and a running server beside it, both as processes of their own, and people who call it.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tether::caller::Role;
use tether::proto::v1::company_service_client::CompanyServiceClient;
use tether::proto::v1::group_service_client::GroupServiceClient;
use tether::proto::v1::integration_service_client::IntegrationServiceClient;
use tether::proto::v1::{self, sync};
use tether::tokens::dev::DevSigner;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::{InterceptedService, Interceptor};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::postgres;

/// The secret of the app that each simulator knows.
pub(crate) const CLIENT_SECRET: &str = "tether-demo-secret";
/// Stands in every address of PostgreSQL that a server is given.
pub(crate) const DATABASE_PASSWORD: &str = "canary-database-password";
/// Whatever takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the server keeps its state in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Database {
    Sqlite,
    Postgres,
    /// Control in one database, the records of integrations in two others.
    Split,
}

/// One test for each database.
macro_rules! on_both_databases {
    ($($story:ident),+ $(,)?) => {$(
        mod $story {
            #[tokio::test]
            async fn on_sqlite() {
                super::$story($crate::support::server::Database::Sqlite).await;
            }

            #[tokio::test]
            async fn on_postgres() {
                super::$story($crate::support::server::Database::Postgres).await;
            }
        }
    )+};
}
pub(crate) use on_both_databases;

/// [`on_both_databases`], and one with the records of integrations in databases of their own.
macro_rules! on_all_databases {
    ($($story:ident),+ $(,)?) => {$(
        mod $story {
            #[tokio::test]
            async fn on_sqlite() {
                super::$story($crate::support::server::Database::Sqlite).await;
            }

            #[tokio::test]
            async fn on_postgres() {
                super::$story($crate::support::server::Database::Postgres).await;
            }

            #[tokio::test]
            async fn on_control_and_data() {
                super::$story($crate::support::server::Database::Split).await;
            }
        }
    )+};
}
pub(crate) use on_all_databases;

/// A simulated CRM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Crm {
    Salesforce,
    HubSpot,
}

impl Crm {
    /// Its program, beside the server's own.
    fn program(self) -> &'static str {
        match self {
            Self::Salesforce => "salesforce-sim",
            Self::HubSpot => "hubspot-sim",
        }
    }

    /// The server's settings for it; `at` is where it listens.
    fn flags(self, at: &str) -> Vec<String> {
        let (connector, client_id, address) = match self {
            Self::Salesforce => ("salesforce", "3MVG9tether.demo", "login_host_override"),
            Self::HubSpot => ("hubspot", "tether-demo-app", "address_override"),
        };
        let mut flags = vec![
            format!("connector.{connector}.settings.client_id={client_id}"),
            format!("connector.{connector}.settings.client_secret={CLIENT_SECRET}"),
            format!("connector.{connector}.settings.{address}=http://{at}"),
            format!("connector.{connector}.plain_http_hosts={at}"),
        ];
        if self == Self::HubSpot {
            // Waiting for turns is tested with the connector.
            flags.push("connector.hubspot.settings.searches_per_second=1000".to_owned());
        }
        flags
    }
}

/// A running server, and the CRMs it knows: a simulated one and the scripted dummy.
pub(crate) struct World {
    /// The simulator's address, `127.0.0.1:port`.
    pub(crate) crm: String,
    pub(crate) grpc: String,
    pub(crate) callback: String,
    pub(crate) admin: String,
    server: Child,
    simulator: Child,
    folder: tempfile::TempDir,
    flags: Vec<String>,
    postgres: Option<postgres::Database>,
    /// Other servers on the same database.
    more: Vec<Child>,
    /// Most file descriptors of a server that is started.
    descriptors: Option<u32>,
}

/// The server: what was built with the tests, or, for a long hunt, the one that TETHER_BIN names (a release build).
pub(crate) fn program() -> PathBuf {
    std::env::var_os("TETHER_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_tether")), PathBuf::from)
}

impl World {
    /// A simulator with so many accounts, and a server.
    pub(crate) async fn start(database: Database, accounts: u32) -> Self {
        Self::start_with(database, accounts, &[]).await
    }

    /// The same with settings of the server, `path=value`.
    pub(crate) async fn start_with(database: Database, accounts: u32, settings: &[&str]) -> Self {
        Self::start_crm(database, Crm::Salesforce, accounts, settings).await
    }

    /// The same with another CRM, of so many companies.
    pub(crate) async fn start_crm(database: Database, of: Crm, companies: u32, settings: &[&str]) -> Self {
        let server = program();
        let simulator = server.with_file_name(of.program());
        assert!(
            simulator.is_file(),
            "{} is not there: run `cargo build -p {}` first",
            simulator.display(),
            of.program()
        );
        let connectors = super::connectors::folder();
        assert!(
            connectors.join("salesforce/connector.toml").is_file(),
            "run `cargo xtask connectors` first"
        );
        let folder = tempfile::tempdir().unwrap();
        let mut simulator = Command::new(simulator)
            .args([
                "--port",
                "0",
                "--exit-with-parent",
                "--accounts",
                &companies.to_string(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let crm = line(&mut simulator, folder.path()).await["http"]
            .as_str()
            .unwrap()
            .replace("http://", "");
        std::fs::write(folder.path().join("dummy.json"), "{}").unwrap();
        let mut flags = vec![
            "listen.grpc=127.0.0.1:0".to_owned(),
            "listen.callback=127.0.0.1:0".to_owned(),
            "listen.admin=127.0.0.1:0".to_owned(),
            "sync.lease_seconds=2".to_owned(),
            "sync.poll_milliseconds=100".to_owned(),
            format!("connectors.dir={}", connectors.display()),
            format!(
                "connector.dummy.settings.control={}",
                folder.path().join("dummy.json").display()
            ),
        ];
        flags.extend(of.flags(&crm));
        flags.extend(settings.iter().map(|&one| one.to_owned()));
        let postgres = match database {
            Database::Sqlite => None,
            Database::Postgres => Some(postgres::database()),
            Database::Split => Some(postgres::split()),
        };
        let (child, addresses) = serve(folder.path(), &flags, postgres.as_ref()).await;
        let mut world = Self {
            crm,
            grpc: String::new(),
            callback: String::new(),
            admin: String::new(),
            server: child,
            simulator,
            folder,
            flags,
            postgres,
            more: Vec::new(),
            descriptors: None,
        };
        world.listens(&addresses);
        world
    }

    fn listens(&mut self, addresses: &Json) {
        self.grpc = addresses["grpc"].as_str().unwrap().to_owned();
        self.callback = addresses["callback"].as_str().unwrap().to_owned();
        self.admin = addresses["admin"].as_str().unwrap().to_owned();
    }

    /// A server on SQLite that may have so many file descriptors.
    pub(crate) async fn start_limited(descriptors: u32) -> Self {
        let mut world = Self::start(Database::Sqlite, 1).await;
        world.server.kill().await.unwrap();
        world.descriptors = Some(descriptors);
        world.start_again().await;
        world
    }

    /// Kills the server (SIGKILL) and starts it again on what it left. People have to connect again.
    pub(crate) async fn restart(&mut self) {
        self.server.kill().await.unwrap();
        self.start_again().await;
    }

    /// Asks the server to stop (SIGTERM), and waits until it has.
    pub(crate) async fn terminate(&mut self) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
        assert!(sent.success());
        assert!(self.ended().await.success());
    }

    /// The server's process.
    pub(crate) fn pid(&self) -> u32 {
        self.server.id().unwrap()
    }

    /// Starts the server again on what it left. People have to connect again.
    pub(crate) async fn start_again(&mut self) {
        let command = tether(self.folder.path(), &self.flags, self.postgres.as_ref());
        let command = match self.descriptors {
            None => command,
            Some(limit) => limited(&command, limit),
        };
        let (child, addresses) = run(self.folder.path(), command).await;
        self.server = child;
        self.listens(&addresses);
    }

    /// Another server process on the same database, which must not be SQLite; answers where it is.
    pub(crate) async fn another(&mut self) -> String {
        let (child, addresses) = serve(self.folder.path(), &self.flags, self.postgres.as_ref()).await;
        self.more.push(child);
        addresses["grpc"].as_str().unwrap().to_owned()
    }

    /// Runs a command of the program with the server's settings: (whether it ended well, what it said, its errors).
    pub(crate) async fn command(&self, arguments: &[&str]) -> (bool, String, String) {
        let mut command = tether(self.folder.path(), &self.flags, self.postgres.as_ref());
        let out = command.args(arguments).output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (out.status.success(), text(out.stdout), text(out.stderr))
    }

    /// Sends the server a signal, `TERM` or `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.server.id().unwrap().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits until the server has ended by itself, and says how.
    pub(crate) async fn ended(&mut self) -> std::process::ExitStatus {
        let ended = tokio::time::timeout(PATIENCE, self.server.wait()).await;
        ended.expect("the server ends").unwrap()
    }

    /// Where the SQLite file and keys are.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where its PostgreSQL database is, if it has one.
    pub(crate) fn postgres_url(&self) -> Option<&str> {
        self.postgres.as_ref().map(|database| database.url.as_str())
    }

    /// What the server logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("server.log")).unwrap()
    }

    /// What the dummy does from now on.
    pub(crate) fn script(&self, settings: &Json) {
        let staged = self.folder.path().join("dummy.json.new");
        std::fs::write(&staged, settings.to_string()).unwrap();
        std::fs::rename(staged, self.folder.path().join("dummy.json")).unwrap();
    }

    /// A token.
    pub(crate) fn token(&self, subject: &str, group: Option<&str>, role: Role) -> String {
        let signer = DevSigner::open(&self.data(), false).unwrap();
        signer
            .sign(subject, group, role, Duration::from_secs(3_600))
            .unwrap()
    }

    /// A channel without a token.
    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.grpc))
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    /// Somebody of a group, connected.
    pub(crate) async fn person(&self, subject: &str, group: &str, role: Role) -> Person {
        let token = self.token(subject, Some(group).filter(|group| !group.is_empty()), role);
        self.bearer(group, &token).await
    }

    /// Somebody with this token.
    pub(crate) async fn bearer(&self, group: &str, token: &str) -> Person {
        self.bearer_at(&self.grpc, group, token).await
    }

    /// Somebody with this token, at one of several servers.
    pub(crate) async fn bearer_at(&self, grpc: &str, group: &str, token: &str) -> Person {
        let channel = Channel::from_shared(format!("http://{grpc}")).unwrap();
        let (channel, token) = (
            channel.connect().await.unwrap(),
            Bearer(format!("Bearer {token}").parse().unwrap()),
        );
        Person {
            parent: format!("groups/{group}"),
            crm: self.crm.clone(),
            integrations: IntegrationServiceClient::with_interceptor(channel.clone(), token.clone()),
            companies: CompanyServiceClient::with_interceptor(channel.clone(), token.clone()),
            groups: GroupServiceClient::with_interceptor(channel, token),
        }
    }

    /// The platform says that acme and this group are connected.
    pub(crate) async fn connect(&self, other: &str, connected: bool) {
        let mut platform = self.person("platform", "", Role::Service).await;
        let (group, other_group) = ("groups/acme".to_owned(), format!("groups/{other}"));
        if connected {
            ok(platform
                .groups
                .connect_groups(v1::ConnectGroupsRequest { group, other_group }))
            .await;
        } else {
            ok(platform
                .groups
                .disconnect_groups(v1::DisconnectGroupsRequest { group, other_group }))
            .await;
        }
    }

    /// An administrator of acme.
    pub(crate) async fn ann(&self) -> Person {
        self.person("ann", "acme", Role::Administrator).await
    }

    /// Does something at the simulator behind everyone's back.
    pub(crate) async fn control(&self, method: &str, path: &str, body: Json) -> Json {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let answer = http(
            &self.crm,
            method,
            &format!("/control{path}"),
            "application/json",
            &body,
        )
        .await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    /// What a complete read of the simulator would find.
    pub(crate) async fn truth(&self, object: &str, fields: &str) -> Vec<Json> {
        let path = format!("/control/truth?object={object}&fields={fields}");
        let answer = http(&self.crm, "GET", &path, "", "").await;
        answer
            .body
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let ended = [self.simulator.try_wait(), self.server.try_wait()];
        let _ = self.server.start_kill();
        if std::thread::panicking() {
            // `None` for both, unless one of them is what failed.
            println!("how the simulator and the server ended before: {ended:?}");
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            println!(
                "the server's log ends:\n{}",
                lines[lines.len().saturating_sub(40)..].join("\n")
            );
        }
    }
}

async fn serve(folder: &Path, flags: &[String], postgres: Option<&postgres::Database>) -> (Child, Json) {
    run(folder, tether(folder, flags, postgres)).await
}

/// The same command with so many file descriptors, as `ulimit -n` does it.
fn limited(command: &Command, descriptors: u32) -> Command {
    let command = command.as_std();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")])
        .arg(command.get_program())
        .args(command.get_args());
    shell
}

async fn run(folder: &Path, mut command: Command) -> (Child, Json) {
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
fn tether(folder: &Path, flags: &[String], postgres: Option<&postgres::Database>) -> Command {
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
async fn line(child: &mut Child, folder: &Path) -> Json {
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

/// An answer over HTTP.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// One HTTP request; 1.0, so that the answer ends where the connection does.
pub(crate) async fn http(host: &str, method: &str, path: &str, kind: &str, body: &str) -> Answer {
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        body: body.to_owned(),
    }
}

/// Percent-encodes.
pub(crate) fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Puts a token on every call.
#[derive(Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Intercepted = InterceptedService<Channel, Bearer>;

/// Somebody who calls, with a token. Clones share a connection.
#[derive(Clone)]
pub(crate) struct Person {
    /// Their group, `groups/{group}`.
    pub(crate) parent: String,
    pub(crate) integrations: IntegrationServiceClient<Intercepted>,
    pub(crate) companies: CompanyServiceClient<Intercepted>,
    pub(crate) groups: GroupServiceClient<Intercepted>,
    crm: String,
}

impl Person {
    pub(crate) async fn enable(&mut self, connector: &str) -> v1::Connector {
        let request = v1::EnableConnectorRequest {
            parent: self.parent.clone(),
            connector: format!("connectors/{connector}"),
        };
        ok(self.integrations.enable_connector(request)).await
    }

    /// The connectors that there are, by their names.
    pub(crate) async fn connector(&mut self, name: &str) -> Option<v1::Connector> {
        let request = v1::ListConnectorsRequest {
            parent: self.parent.clone(),
            ..Default::default()
        };
        let listed = ok(self.integrations.list_connectors(request)).await.connectors;
        listed
            .into_iter()
            .find(|one| one.name.ends_with(&format!("connectors/{name}")))
    }

    /// What [`create`](Self::create) sends.
    pub(crate) fn draft(&self, connector: &str, display_name: &str) -> v1::CreateIntegrationRequest {
        v1::CreateIntegrationRequest {
            parent: self.parent.clone(),
            integration: Some(v1::Integration {
                display_name: display_name.to_owned(),
                connector: format!("connectors/{connector}"),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// Begins a draft; answers its name.
    pub(crate) async fn create(&mut self, connector: &str, display_name: &str) -> String {
        let request = self.draft(connector, display_name);
        ok(self.integrations.create_integration(request)).await.name
    }

    pub(crate) async fn get(&mut self, name: &str) -> v1::Integration {
        ok(self.integrations.get_integration(v1::GetIntegrationRequest {
            name: name.to_owned(),
        }))
        .await
    }

    /// What the group has, by name.
    pub(crate) async fn integrations(&mut self) -> Vec<v1::Integration> {
        let request = v1::ListIntegrationsRequest {
            parent: self.parent.clone(),
            ..Default::default()
        };
        ok(self.integrations.list_integrations(request))
            .await
            .integrations
    }

    /// Shares all active fields with a group, or these.
    pub(crate) async fn share(&mut self, name: &str, group: &str, fields: &[&str]) -> v1::Share {
        let share = v1::Share {
            name: format!("{name}/shares/{group}"),
            all_active_fields: fields.is_empty(),
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
            ..Default::default()
        };
        ok(self
            .integrations
            .set_share(v1::SetShareRequest { share: Some(share) }))
        .await
    }

    /// Makes fields active and others passive for the group.
    pub(crate) async fn decide(
        &mut self,
        name: &str,
        active: &[&str],
        passive: &[&str],
    ) -> v1::BatchUpdateFieldActivationResponse {
        let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        let request = v1::BatchUpdateFieldActivationRequest {
            parent: name.to_owned(),
            active_fields: owned(active),
            passive_fields: owned(passive),
            ..Default::default()
        };
        ok(self.integrations.batch_update_field_activation(request)).await
    }

    /// The fields the group sees of an integration: `Object.Field` and whether it is active.
    pub(crate) async fn fields(&mut self, name: &str) -> Vec<(String, bool)> {
        let request = v1::ListFieldsRequest {
            parent: name.to_owned(),
            ..Default::default()
        };
        let listed = ok(self.integrations.list_fields(request)).await.fields;
        listed
            .into_iter()
            .map(|one| {
                let active = one.activation() == v1::FieldActivation::Active;
                let of = one.definition.unwrap();
                (format!("{}.{}", of.object, of.key), active)
            })
            .collect()
    }

    /// Deletes an integration.
    pub(crate) async fn delete(&mut self, name: &str) -> v1::DeleteIntegrationResponse {
        let request = v1::DeleteIntegrationRequest {
            name: name.to_owned(),
            ..Default::default()
        };
        ok(self.integrations.delete_integration(request)).await
    }

    /// An integration of the simulated Salesforce, saved and synced.
    pub(crate) async fn salesforce(&mut self, display_name: &str, fields: &[&str]) -> String {
        self.synced("salesforce", display_name, fields).await
    }

    /// An integration of a simulated CRM, saved and synced.
    pub(crate) async fn synced(&mut self, connector: &str, display_name: &str, fields: &[&str]) -> String {
        let name = self.create(connector, display_name).await;
        self.log_in(&name).await;
        self.select(&name, fields).await;
        let sync = self.activate(&name).await;
        self.succeeds(&sync).await;
        name
    }

    /// Begins a login that returns to the platform.
    pub(crate) async fn begin(&mut self, name: &str) -> v1::BeginAuthorizationResponse {
        let request = v1::BeginAuthorizationRequest {
            name: name.to_owned(),
            redirect_uri: "http://127.0.0.1:9/callback".to_owned(),
            ..Default::default()
        };
        ok(self.integrations.begin_authorization(request)).await
    }

    /// Clicks at the CRM; answers where the browser goes.
    pub(crate) async fn consent(&self, authorization_uri: &str, username: &str, allow: bool) -> url::Url {
        let decision = if allow { "allow" } else { "deny" };
        let url = encoded(authorization_uri);
        let path = format!("/control/oauth/approve?url={url}&username={username}&decision={decision}");
        let answer = http(&self.crm, "GET", &path, "", "").await;
        let answer: Json = serde_json::from_str(&answer.body).unwrap();
        url::Url::parse(answer["redirectUrl"].as_str().unwrap()).unwrap()
    }

    /// What the platform passes on of the address the browser came back to.
    pub(crate) fn came_back(to: &url::Url) -> v1::CompleteAuthorizationRequest {
        let mut callback: std::collections::HashMap<String, String> = to.query_pairs().into_owned().collect();
        let state = callback.remove("state").unwrap();
        v1::CompleteAuthorizationRequest {
            state,
            callback_parameters: callback,
        }
    }

    /// Logs in with the browser; answers whatever tether says.
    pub(crate) async fn try_log_in(
        &mut self,
        name: &str,
        username: &str,
    ) -> Result<Response<v1::CompleteAuthorizationResponse>, Status> {
        let begun = self.begin(name).await;
        let to = self.consent(&begun.authorization_uri, username, true).await;
        self.integrations
            .complete_authorization(Self::came_back(&to))
            .await
    }

    /// Logs in with the browser.
    pub(crate) async fn log_in(&mut self, name: &str) -> v1::Integration {
        ok(self.try_log_in(name, "admin@acme.example"))
            .await
            .integration
            .unwrap()
    }

    /// What [`log_in_with_key`](Self::log_in_with_key) sends.
    pub(crate) fn key(name: &str, key: &str) -> v1::AuthorizeWithCredentialsRequest {
        v1::AuthorizeWithCredentialsRequest {
            name: name.to_owned(),
            auth_kind: v1::AuthKind::ApiKey as i32,
            parameters: [("api_key".to_owned(), key.to_owned())].into(),
        }
    }

    /// Logs in to the dummy.
    pub(crate) async fn log_in_with_key(&mut self, name: &str, key: &str) {
        ok(self.integrations.authorize_with_credentials(Self::key(name, key))).await;
    }

    /// What [`select`](Self::select) sends.
    pub(crate) fn selection(name: &str, fields: &[&str]) -> v1::UpdateIntegrationRequest {
        v1::UpdateIntegrationRequest {
            integration: Some(v1::Integration {
                name: name.to_owned(),
                selected_fields: fields.iter().map(|&field| field.to_owned()).collect(),
                ..Default::default()
            }),
            update_mask: Some(prost_types::FieldMask {
                paths: vec!["selected_fields".to_owned()],
            }),
            ..Default::default()
        }
    }

    pub(crate) async fn select(&mut self, name: &str, fields: &[&str]) -> v1::Integration {
        ok(self
            .integrations
            .update_integration(Self::selection(name, fields)))
        .await
    }

    /// Saves; answers the first sync's name.
    pub(crate) async fn activate(&mut self, name: &str) -> String {
        let request = v1::ActivateIntegrationRequest {
            name: name.to_owned(),
            ..Default::default()
        };
        ok(self.integrations.activate_integration(request))
            .await
            .sync
            .unwrap()
            .name
    }

    /// Syncs by hand; answers the sync's name.
    pub(crate) async fn sync(&mut self, name: &str) -> String {
        let request = v1::SyncIntegrationRequest {
            name: name.to_owned(),
            ..Default::default()
        };
        ok(self.integrations.sync_integration(request)).await.name
    }

    /// Watches a sync to its end; answers all that was shown of it.
    pub(crate) async fn watch(&mut self, name: &str) -> Vec<v1::Sync> {
        let request = v1::WatchSyncRequest {
            name: name.to_owned(),
        };
        let mut stream = ok(self.integrations.watch_sync(request)).await;
        let mut shown = Vec::new();
        let end = Instant::now() + PATIENCE;
        while let Some(next) = tokio::time::timeout_at(end.into(), stream.message())
            .await
            .expect("the sync ends")
            .unwrap()
        {
            shown.push(next.sync.unwrap());
        }
        shown
    }

    /// Watches a sync until it has succeeded.
    pub(crate) async fn succeeds(&mut self, sync: &str) -> v1::Sync {
        let last = self.watch(sync).await.pop().unwrap();
        assert_eq!(last.state(), sync::State::Succeeded, "{last:?}");
        last
    }

    /// A saved integration of the dummy, synced once: (integration, sync).
    pub(crate) async fn dummy(&mut self, display_name: &str, key: &str) -> (String, String) {
        self.enable("dummy").await;
        let name = self.create("dummy", display_name).await;
        self.log_in_with_key(&name, key).await;
        self.select(&name, &["Company.Industry"]).await;
        let sync = self.activate(&name).await;
        self.succeeds(&sync).await;
        (name, sync)
    }

    /// All companies, page by page.
    pub(crate) async fn all_companies(&mut self, page_size: i32) -> Vec<v1::Company> {
        let (mut companies, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = v1::ListCompaniesRequest {
                parent: self.parent.clone(),
                page_size,
                page_token,
                ..Default::default()
            };
            let page = ok(self.companies.list_companies(request)).await;
            companies.extend(page.companies);
            if page.next_page_token.is_empty() {
                return companies;
            }
            page_token = page.next_page_token;
        }
    }

    /// Opens a profile, with all the patience there is.
    pub(crate) async fn open(&mut self, company: &str) -> v1::CompanyProfile {
        self.open_within(company, Duration::from_secs(30)).await
    }

    /// Opens a profile.
    pub(crate) async fn open_within(&mut self, company: &str, patience: Duration) -> v1::CompanyProfile {
        let request = v1::GetCompanyProfileRequest {
            name: company.to_owned(),
            parent: self.parent.clone(),
            refresh_timeout: Some(patience.try_into().unwrap()),
            ..Default::default()
        };
        ok(self.companies.get_company_profile(request)).await
    }
}

/// An answer that must be there.
pub(crate) async fn ok<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> T {
    match call.await {
        Ok(answer) => answer.into_inner(),
        Err(status) => panic!("refused: {status:?} {:?}", status.get_details_error_info()),
    }
}

/// A refused call.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: Code,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) details: ErrorDetails,
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        let reason = info.map(|info| info.reason.clone()).unwrap_or_default();
        if let Some(info) = info {
            assert_eq!(info.domain, "tether");
        }
        Self {
            code: status.code(),
            reason,
            message: status.message().to_owned(),
            details,
        }
    }
}

/// A refusal that must be there.
pub(crate) async fn refused<T: std::fmt::Debug>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Refused {
    match call.await {
        Ok(answer) => panic!("it should have been refused: {answer:?}"),
        Err(status) => status.into(),
    }
}

/// Asks again until it is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut is: impl FnMut() -> F) {
    let end = Instant::now() + PATIENCE;
    while !is().await {
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
