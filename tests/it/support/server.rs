//! A simulated CRM and a running server beside it, both as processes of their own, and people who call it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value as Json;
use tether::caller::Role;
use tether::proto::v1;
use tether::tokens::dev::DevSigner;
use tokio::process::{Child, Command};
use tonic::transport::Channel;

use super::answers::PATIENCE;
pub(crate) use super::answers::{Refused, ok, refused, until};
pub(crate) use super::crm::{CLIENT_SECRET, Crm};
pub(crate) use super::database::{Database, on_all_databases, on_both_databases};
pub(crate) use super::http::{encoded, http};
pub(crate) use super::person::Person;
use super::pgbouncer::PgBouncer;
use super::postgres;
pub(crate) use super::process::{DATABASE_PASSWORD, program};
use super::process::{limited, line, run, serve, tether};

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
    _pooler: Option<PgBouncer>,
    /// Other servers on the same database.
    more: Vec<Child>,
    /// Most file descriptors of a server that is started.
    descriptors: Option<u32>,
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
            "sync.schedule_poll_milliseconds=100".to_owned(),
            format!("connectors.dir={}", connectors.display()),
            format!(
                "connector.dummy.settings.control={}",
                folder.path().join("dummy.json").display()
            ),
        ];
        flags.extend(of.flags(&crm));
        flags.extend(settings.iter().map(|&one| one.to_owned()));
        let mut postgres = match database {
            Database::Sqlite => None,
            Database::Postgres => Some(postgres::database()),
            Database::Split => Some(postgres::split()),
        };
        // `TETHER_TEST_PGBOUNCER=1`: the same stories behind a pooler in transaction mode.
        let pooled = std::env::var_os("TETHER_TEST_PGBOUNCER").is_some();
        let pooler = postgres.as_ref().filter(|_| pooled).map(PgBouncer::start);
        if let (Some(postgres), Some(pooler)) = (&mut postgres, &pooler) {
            postgres.url = pooler.url(postgres.name());
            for data in &mut postgres.data {
                data.url = pooler.url(data.name());
            }
        }
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
            _pooler: pooler,
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

    /// Where one of its databases of data sets is.
    pub(crate) fn data_url(&self, number: usize) -> &str {
        &self.postgres.as_ref().unwrap().data[number].url
    }

    /// Lets one of its databases of data sets answer, or not.
    pub(crate) fn data_database(&self, number: usize, answers: bool) {
        let database = &self.postgres.as_ref().unwrap().data[number];
        let name = database.name();
        database.admin(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {answers}"));
        if !answers {
            database.admin(&format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            ));
        }
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
        Person {
            crm: self.crm.clone(),
            ..Person::connect(grpc, group, token).await
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

    /// An administrator of globex.
    pub(crate) async fn gil(&self) -> Person {
        self.person("gil", "globex", Role::Administrator).await
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
