//! The steps of `docs/connectors.md`: its commands create, test, build, check and serve a connector outside of the
//! workspace.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value as Json;
use tether::proto::v1;

use crate::support::server::{Person, ok, until};

/// The blocks of a section in one language.
fn blocks<'a>(page: &'a str, section: &str, language: &str) -> Vec<&'a str> {
    let (_, rest) = page.split_once(&format!("\n## {section}\n")).expect(section);
    let body = rest.split("\n## ").next().unwrap();
    let fence = format!("```{language}\n");
    let blocks = body.split(fence.as_str()).skip(1);
    let blocks: Vec<&str> = blocks.map(|block| block.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty(), "{section} has no {language}");
    blocks
}

/// A program in the background that says in a line of JSON where it listens. It ends with the value.
struct Background {
    process: Child,
    said: Json,
}

impl Background {
    fn start(mut command: Command) -> Self {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let said = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{command:?} says {line:?}"));
        Self { process, said }
    }

    /// An address that it said.
    fn address(&self, name: &str) -> String {
        let address = self.said[name].as_str().unwrap();
        address.trim_start_matches("http://").to_owned()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The shell of the page: its variables, and the programs of the checkout.
struct Shell {
    path: std::ffi::OsString,
    connectors: PathBuf,
    target: PathBuf,
}

impl Shell {
    fn command(&self, commands: &str, folder: &Path) -> Command {
        let mut shell = Command::new("bash");
        shell
            .args(["-euo", "pipefail", "-c", commands])
            .current_dir(folder)
            .env("PATH", &self.path)
            .env("TETHER", env!("CARGO_MANIFEST_DIR"))
            .env("CONNECTORS", &self.connectors)
            .env("CARGO_TARGET_DIR", &self.target);
        // Cargo's environment of this test must not affect the connector's build.
        for (variable, _) in std::env::vars_os() {
            let name = variable.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                shell.env_remove(&variable);
            }
        }
        shell
    }

    /// Runs commands; returns their output.
    fn follow(&self, commands: &str, folder: &Path) -> String {
        let output = self.command(commands, folder).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{commands}\n{}\n{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }
}

#[tokio::test]
async fn the_walkthrough_makes_a_connector_that_works() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/connectors.md")).unwrap();
    let (work, connectors) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = PathBuf::from(env!("CARGO_BIN_EXE_tether"));
    let usual = std::env::var_os("PATH").unwrap();
    let programs = [server.parent().unwrap().to_owned()].into_iter();
    let path = programs.chain(std::env::split_paths(&usual));
    let shell = Shell {
        path: std::env::join_paths(path).unwrap(),
        connectors: connectors.path().to_owned(),
        // A fixed target folder, so that dependencies are built once; not the workspace's, which other tests use.
        target: Path::new(env!("CARGO_TARGET_TMPDIR")).join("walkthrough"),
    };

    shell.follow(&blocks(&page, "New", "sh").concat(), work.path());
    let folder = work.path().join("acme");
    // The versions that the workspace was tested with.
    std::fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    shell.follow(&blocks(&page, "Test", "sh").concat(), &folder);
    shell.follow(&blocks(&page, "Build", "sh").concat(), &folder);
    shell.follow(&blocks(&page, "Check", "sh").concat(), &folder);

    // The page's settings and commands, with free ports.
    let fixture = Background::start(Command::new(connectors.path().join("acme/acme-fixture")));
    let settings = blocks(&page, "Drop it in", "toml").concat();
    assert_eq!(settings.matches("127.0.0.1:8080").count(), 3);
    let settings = settings.replace("127.0.0.1:8080", &fixture.address("http"));
    std::fs::write(folder.join("tether.toml"), settings).unwrap();
    let commands = blocks(&page, "Drop it in", "sh");
    let [serve, token] = commands.as_slice() else {
        panic!("{commands:?}")
    };
    let mut serve = shell.command(&format!("exec {}", serve.trim().trim_end_matches('&')), &folder);
    for listener in ["GRPC", "CALLBACK", "ADMIN"] {
        serve.env(format!("TETHER__LISTEN__{listener}"), "127.0.0.1:0");
    }
    let server = Background::start(serve);
    let token = shell.follow(&format!("{token}printf %s \"$TOKEN\""), &folder);
    let mut ann = Person::connect(&server.address("grpc"), "acme", &token).await;
    until("the connector is listed", async || {
        ann.clone().connector("acme").await.is_some()
    })
    .await;

    ann.enable("acme").await;
    let name = ann.create("acme", "Acme").await;
    let key = "key-of-the-fixture-0123456789";
    assert!(page.contains(key));
    ann.log_in_with_key(&name, key).await;
    ann.select(&name, &["companies.name", "people.email"]).await;
    let sync = ann.activate(&name).await;
    let done = ann.succeeds(&sync).await;
    // Without the company and the person that the CRM has as deleted.
    assert_eq!(done.totals.unwrap().written, 3_298, "{done:?}");
    let companies = ann.all_companies(1_000).await;
    assert_eq!(companies.len(), 1_099);
    // Nothing changed: one request for each object.
    let request = v1::SyncIntegrationRequest {
        name: name.clone(),
        ..Default::default()
    };
    let again = ok(ann.integrations.sync_integration(request)).await.name;
    let again = ann.succeeds(&again).await;
    assert_eq!(
        (again.mode(), again.totals.unwrap().read, again.api_calls_used),
        (v1::sync::Mode::Incremental, 0, 2)
    );
    let card = ann.open(&companies[0].name).await.cards.remove(0);
    assert!(card.freshness.as_ref().unwrap().live, "{card:?}");
    assert_eq!(card.related[0].records.len(), 2);

    // A new build replaces the library under the running server.
    let manifest = folder.join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(
        &manifest,
        text.replace("version = \"0.1.0\"", "version = \"0.1.1\""),
    )
    .unwrap();
    shell.follow(
        "sed -i 's/^version = .*/version = \"0.1.1\"/' connector.toml",
        &folder,
    );
    shell.follow(&blocks(&page, "Build", "sh").concat(), &folder);
    until("the new version is listed", async || {
        ann.clone().connector("acme").await.unwrap().version == "0.1.1"
    })
    .await;
    let request = tether::proto::v1::DeleteIntegrationRequest {
        name,
        ..Default::default()
    };
    let gone = ok(ann.integrations.delete_integration(request)).await;
    use tether::proto::v1::delete_integration_response::Access;
    assert_eq!(gone.access(), Access::NotRevocable);
}

#[test]
fn the_calls_of_the_page_are_calls_of_the_server() {
    let page = include_str!("../../docs/connectors.md");
    let pool = prost_reflect::DescriptorPool::decode(tether::proto::FILE_DESCRIPTOR_SET).unwrap();
    let calls: Vec<&str> = page.lines().filter(|line| line.starts_with("call ")).collect();
    assert!(calls.len() > 8);
    for call in calls {
        let (rpc, json) = call["call ".len()..].split_once('\'').unwrap();
        let (service, method) = rpc.trim().split_once('/').unwrap();
        let service = pool.get_service_by_name(&format!("tether.v1.{service}")).unwrap();
        let method = service
            .methods()
            .find(|known| known.name() == method)
            .expect(call);
        let json = json.replace("'$N'", "integrations/1");
        let json: Json = serde_json::from_str(json.rsplit_once('\'').unwrap().0).expect(call);
        for field in json.as_object().unwrap().keys() {
            assert!(method.input().get_field_by_name(field).is_some(), "{call}");
        }
    }
}
