//! The steps of `docs/connectors.md`: its commands create, test and build a connector outside of the
//! workspace, and a running server loads it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value as Json;

use crate::support::server::{Database, Person, World, ok, until};

/// The commands of a section: its `sh` blocks.
fn commands(page: &str, section: &str) -> String {
    let (_, rest) = page.split_once(&format!("\n## {section}\n")).expect(section);
    let body = rest.split("\n## ").next().unwrap();
    let blocks = body.split("```sh\n").skip(1);
    let blocks: Vec<&str> = blocks.map(|block| block.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty(), "{section} has no commands");
    blocks.concat()
}

/// The CRM of the page's connector.
struct Fixture {
    process: std::process::Child,
    address: String,
}

impl Fixture {
    fn start(program: &Path) -> Self {
        use std::io::BufRead as _;
        let mut process = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = std::io::BufReader::new(process.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let line: Json = serde_json::from_str(&line).unwrap();
        let address = line["http"]
            .as_str()
            .unwrap()
            .trim_start_matches("http://")
            .to_owned();
        Self { process, address }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn the_walkthrough_makes_a_connector_that_works() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/connectors.md")).unwrap();
    let (work, connectors) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // A fixed target folder, so that dependencies are built once; not the workspace's, which other tests use.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("walkthrough");
    let server = PathBuf::from(env!("CARGO_BIN_EXE_tether"));
    let path = std::env::join_paths(
        [server.parent().unwrap().to_owned()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    )
    .unwrap();
    let follow = |commands: &str, folder: &Path| {
        let mut shell = Command::new("bash");
        shell
            .args(["-euo", "pipefail", "-c", commands])
            .current_dir(folder)
            .env("PATH", &path)
            .env("TETHER", root)
            .env("CONNECTORS", connectors.path())
            .env("CARGO_TARGET_DIR", &target);
        // Cargo's environment of this test must not affect the connector's build.
        for (variable, _) in std::env::vars_os() {
            let name = variable.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                shell.env_remove(&variable);
            }
        }
        let output = shell.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{commands}\n{}\n{}",
            text(&output.stdout),
            text(&output.stderr)
        );
    };

    follow(&commands(&page, "New"), work.path());
    let folder = work.path().join("acme");
    // The versions that the workspace was tested with.
    std::fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    follow(&commands(&page, "Test"), &folder);

    // The server is started before the connector exists.
    let fixture = Fixture::start(&target.join("debug/examples/acme-fixture"));
    let address = &fixture.address;
    let settings = [
        format!("connectors.dir={}", connectors.path().display()),
        format!("connector.acme.plain_http_hosts={address}"),
        format!("connector.acme.settings.api_url=http://{address}"),
        format!("connector.acme.settings.login_url=http://{address}"),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let world = World::start_with(Database::Sqlite, 1, &settings).await;
    follow(&commands(&page, "Build"), &folder);
    follow(&commands(&page, "Check"), &folder);
    // Not earlier: these commands block this thread longer than the server keeps a silent connection.
    let mut ann = world.ann().await;
    world.signal("HUP");
    until("the connector is listed", || {
        let mut ann = ann.clone();
        async move { ann.connector("acme").await.is_some() }
    })
    .await;

    ann.enable("acme").await;
    let name = ann.create("acme", "Acme").await;
    let key = "key-of-the-fixture-0123456789";
    assert!(page.contains(key));
    ok(ann
        .integrations
        .authorize_with_credentials(Person::key(&name, key)))
    .await;
    ann.select(&name, &["companies.name", "people.email"]).await;
    let sync = ann.activate(&name).await;
    let done = ann.succeeds(&sync).await;
    assert_eq!(done.totals.unwrap().written, 750, "{done:?}");
    let companies = ann.all_companies(100).await;
    assert_eq!(companies.len(), 250);
    let card = ann.open(&companies[0].name).await.cards.remove(0);
    assert!(card.freshness.as_ref().unwrap().live, "{card:?}");
    assert_eq!(card.related[0].records.len(), 2);
}
