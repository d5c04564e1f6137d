//! Canaries: one secret of each kind, and every place where it could leak.

use base64::Engine as _;
use secrecy::ExposeSecret as _;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use tether::caller::Role;
use tether::credentials::seal::{Sealer, verifier_of};
use tether::proto::v1::begin_authorization_request::ReturnTo;
use tether::proto::v1::{self, AuthKind};
use tether::store::{Options, Store};

use crate::support::server::{
    CLIENT_SECRET, DATABASE_PASSWORD, Database, Person, World, http, ok, on_both_databases, refused,
};

on_both_databases!(no_secret_stands_anywhere);

const PRIVATE_KEY: &str = include_str!("../../connectors/salesforce/tests/simulator/keys/private.pem");
const PUBLIC_KEY: &str = include_str!("../../connectors/salesforce/tests/simulator/keys/public.pem");
const OWN_SECRET: &str = "canary-own-client-secret";
const WRONG_SECRET: &str = "canary-wrong-client-secret";

/// The PKCE verifier of a login in progress: only the server and the sealed row have it.
async fn verifier(world: &World, sealing_key: &str, state: &str) -> String {
    let url = world.postgres_url().map_or_else(
        || format!("sqlite:{}", world.data().join("tether.db").display()),
        str::to_owned,
    );
    let store = Store::open(&Options::new(&url)).unwrap();
    let hash: String = Sha256::digest(state)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let hash = hash.parse().unwrap();
    let row = store.authorization_get(&hash, 0).await.unwrap();
    let sealer = Sealer::new([sealing_key]).unwrap();
    let opened = sealer.open(&verifier_of(&hash), &row.sealed).unwrap();
    String::from_utf8(opened.expose_secret().to_vec()).unwrap()
}

/// The contents of the database: its files, or a dump.
fn database(world: &World) -> Vec<(String, Vec<u8>)> {
    let Some(url) = world.postgres_url() else {
        let files = std::fs::read_dir(world.data()).unwrap();
        let files = files.map(|entry| entry.unwrap().path());
        let of_it = |path: &std::path::PathBuf| path.display().to_string().contains("tether.db");
        return files
            .filter(of_it)
            .map(|path| (path.display().to_string(), std::fs::read(path).unwrap()))
            .collect();
    };
    let mut versions: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .unwrap()
        .map(|entry| entry.unwrap().path().join("bin/pg_dump"))
        .filter(|path| path.is_file())
        .collect();
    versions.sort();
    let dump = std::process::Command::new(versions.last().unwrap())
        .arg(url)
        .output()
        .unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    vec![("the dump".to_owned(), dump.stdout)]
}

async fn no_secret_stands_anywhere(kind: Database) {
    let sealing_key = Sealer::generate_key();
    let keys = format!("secrets.keys={sealing_key}");
    let world = World::start_with(kind, 20, &["log.filter=trace", &keys]).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let mut seen = Seen::default();
    let name = in_the_browser(&world, &mut ann, &sealing_key, &mut seen).await;
    without_a_browser(&world, &mut ann, &mut seen).await;
    of_the_dummy(&world, &mut ann, &mut seen).await;
    of_callers(&world, &mut seen).await;
    of_commands(&world, &mut seen).await;
    let organization = ann.get(&name).await.account.unwrap().organization_id;
    seen.of_the_configuration(&sealing_key, &organization);
    let places = places(&world, kind, &seen).await;
    nowhere(&seen.secrets, &places);
}

/// What the callers saw so far, and the secrets that were used.
#[derive(Default)]
struct Seen {
    told: Vec<String>,
    secrets: Vec<Vec<u8>>,
}

impl Seen {
    /// An answer of the server.
    fn told(&mut self, answer: impl std::fmt::Debug) {
        self.told.push(format!("{answer:?}"));
    }

    fn secret(&mut self, secret: impl Into<Vec<u8>>) {
        self.secrets.push(secret.into());
    }

    /// Secrets of settings, parameters, the dummy and the simulator.
    fn of_the_configuration(&mut self, sealing_key: &str, organization: &str) {
        let pem = PRIVATE_KEY.lines().nth(3).unwrap();
        let base64 = base64::engine::general_purpose::STANDARD;
        for secret in [
            CLIENT_SECRET,
            OWN_SECRET,
            WRONG_SECRET,
            DATABASE_PASSWORD,
            sealing_key,
            pem,
            "access.hidden-key",
            "refresh.hidden-key",
            "s3cret",
            // Salesforce's tokens, by their prefix.
            "5Aep861",
            &format!("{}!", &organization[..15]),
        ] {
            self.secret(secret);
        }
        self.secret(base64.decode(sealing_key).unwrap());
        self.secret(base64.decode(pem).unwrap());
    }
}

/// A login over tether's own page, whose verifier is read during the login, and another one, completed.
async fn in_the_browser(world: &World, ann: &mut Person, sealing_key: &str, seen: &mut Seen) -> String {
    let name = ann.create("salesforce", "Acme Sales").await;
    let begin = v1::BeginAuthorizationRequest {
        name: name.clone(),
        return_to: ReturnTo::Tether as i32,
        ..Default::default()
    };
    let begun = ok(ann.integrations.begin_authorization(begin)).await;
    seen.secret(verifier(world, sealing_key, &begun.state).await);
    let to = ann
        .consent(&begun.authorization_uri, "admin@acme.example", true)
        .await;
    let wrong = refused(ann.integrations.complete_authorization(Person::came_back(&to))).await;
    seen.told(wrong);
    let path = format!("{}?{}", to.path(), to.query().unwrap());
    let page = http(&world.callback, "GET", &path, "", "").await;
    assert_eq!(page.status, 200);
    // Another one, completed.
    let begun_here = ann.begin(&name).await;
    let to_here = ann
        .consent(&begun_here.authorization_uri, "admin@acme.example", true)
        .await;
    let done = Person::came_back(&to_here);
    for code in [
        &done.callback_parameters["code"],
        &Person::came_back(&to).callback_parameters["code"],
    ] {
        seen.secret(code.trim_end_matches('='));
    }
    seen.secret(begun.state);
    seen.secret(begun_here.state);
    ok(ann.integrations.complete_authorization(done.clone())).await;
    seen.told(refused(ann.integrations.complete_authorization(done)).await);
    ann.select(&name, &["Account.Name"]).await;
    let sync = ann.activate(&name).await;
    ann.succeeds(&sync).await;
    world
        .control("POST", "/oauth/settings", json!({"rotation": true}))
        .await;
    world.control("POST", "/sessions/expire", Json::Null).await;
    let sync = ann.sync(&name).await;
    ann.succeeds(&sync).await;
    name
}

/// Logins without a browser, valid and invalid ones.
async fn without_a_browser(world: &World, ann: &mut Person, seen: &mut Seen) {
    let client = json!({"id": "3MVG9tether.demo", "publicKey": PUBLIC_KEY});
    world.control("POST", "/oauth/clients", client).await;
    let client = json!({"id": "3MVG9own", "secret": OWN_SECRET, "runAs": "admin@acme.example"});
    world.control("POST", "/oauth/clients", client).await;
    let headless = ann.create_in_domain("Acme by key").await;
    let damaged = PRIVATE_KEY.replace("-----END", "?-----END");
    for (kind, parameters, good) in [
        (
            AuthKind::JwtBearer,
            [
                ("username", "admin@acme.example"),
                ("private_key", damaged.as_str()),
            ],
            false,
        ),
        (
            AuthKind::JwtBearer,
            [("username", "nobody@acme.example"), ("private_key", PRIVATE_KEY)],
            false,
        ),
        (
            AuthKind::ClientCredentials,
            [("client_id", "3MVG9own"), ("client_secret", WRONG_SECRET)],
            false,
        ),
        (
            AuthKind::ClientCredentials,
            [("client_id", "3MVG9own"), ("client_secret", OWN_SECRET)],
            true,
        ),
    ] {
        let login = ann
            .integrations
            .authorize_with_credentials(Person::with(&headless, kind, &parameters));
        match good {
            true => drop(ok(login).await),
            false => seen.told(refused(login).await),
        }
    }
    let name = ann.create("salesforce", "Acme by assertion").await;
    let login = Person::with(
        &name,
        AuthKind::JwtBearer,
        &[("username", "admin@acme.example"), ("private_key", PRIVATE_KEY)],
    );
    ok(ann.integrations.authorize_with_credentials(login)).await;
}

/// The dummy's tokens are known in advance, and its panic message contains a secret.
async fn of_the_dummy(world: &World, ann: &mut Person, seen: &mut Seen) {
    let (dummy, _) = ann.dummy("Acme Dummy", "hidden-key").await;
    world.script(&json!({"script.list_fields": "panic"}));
    let fields = v1::ListAvailableFieldsRequest {
        parent: dummy,
        ..Default::default()
    };
    seen.told(refused(ann.integrations.list_available_fields(fields)).await);
}

/// A forged token.
async fn of_callers(world: &World, seen: &mut Seen) {
    let caller = world.token("ann", Some("acme"), Role::Administrator);
    let mut forged = world
        .bearer("acme", &format!("{}x", &caller[..caller.len() - 6]))
        .await;
    let list = v1::ListConnectorsRequest::default();
    seen.told(refused(forged.integrations.list_connectors(list)).await);
    let signature = caller.rsplit('.').next().unwrap();
    seen.secret(&signature[..signature.len() - 6]);
}

async fn of_commands(world: &World, seen: &mut Seen) {
    for arguments in [&["secrets", "rotate"][..], &["connectors", "list"], &["migrate"]] {
        let (good, said, errors) = world.command(arguments).await;
        assert!(good, "{errors}");
        seen.told.push(said + &errors);
    }
}

/// Every place where a secret could stand.
async fn places(world: &World, kind: Database, seen: &Seen) -> Vec<(String, Vec<u8>)> {
    let metrics = http(&world.admin, "GET", "/metrics", "", "").await.body;
    assert!(metrics.contains("tether_rpc_total"));
    let mut places = vec![
        ("the log".to_owned(), world.log().into_bytes()),
        ("the metrics".to_owned(), metrics.into_bytes()),
        ("what was told".to_owned(), seen.told.join("\n").into_bytes()),
    ];
    assert!(world.log().contains("TRACE"), "the log tells everything");
    places.extend(database(world));
    assert!(
        places.len() > 3
            && places
                .iter()
                .all(|(_, bytes)| !bytes.is_empty() || kind == Database::Sqlite)
    );
    // A value that is not secret is found, so a secret would be found, too.
    let username = b"admin@acme.example";
    let has = |bytes: &[u8]| bytes.windows(username.len()).any(|window| window == username);
    assert!(places.iter().filter(|(_, bytes)| has(bytes)).count() >= 2);
    places
}

/// None of the secrets is in any of the places, also not as the hexadecimal digits that PostgreSQL dumps.
fn nowhere(canaries: &[Vec<u8>], places: &[(String, Vec<u8>)]) {
    let hex = |bytes: &Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let digits: Vec<_> = canaries.iter().map(|canary| hex(canary).into_bytes()).collect();
    let mut found = Vec::new();
    for (place, bytes) in places {
        for canary in canaries.iter().chain(&digits) {
            if let Some(at) = bytes.windows(canary.len()).position(|window| window == canary) {
                let line =
                    String::from_utf8_lossy(&bytes[at.saturating_sub(200)..(at + 40).min(bytes.len())]);
                found.push(format!(
                    "{} stands in {place}: …{line}…",
                    String::from_utf8_lossy(canary)
                ));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
