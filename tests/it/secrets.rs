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
    let mut told: Vec<String> = Vec::new();
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;

    // A login in the browser, over tether's own page; its verifier is read during the login.
    let name = ann.create("salesforce", "Acme Sales").await;
    let begin = v1::BeginAuthorizationRequest {
        name: name.clone(),
        return_to: ReturnTo::Tether as i32,
        ..Default::default()
    };
    let begun = ok(ann.integrations.begin_authorization(begin)).await;
    let verifier = verifier(&world, &sealing_key, &begun.state).await;
    let to = ann
        .consent(&begun.authorization_uri, "admin@acme.example", true)
        .await;
    let wrong = refused(ann.integrations.complete_authorization(Person::came_back(&to))).await;
    told.push(format!("{wrong:?}"));
    let path = format!("{}?{}", to.path(), to.query().unwrap());
    let page = http(&world.callback, "GET", &path, "", "").await;
    assert_eq!(page.status, 200);
    // Another one, completed.
    let begun_here = ann.begin(&name).await;
    let to_here = ann
        .consent(&begun_here.authorization_uri, "admin@acme.example", true)
        .await;
    let done = Person::came_back(&to_here);
    let codes = [
        done.callback_parameters["code"].clone(),
        Person::came_back(&to).callback_parameters["code"].clone(),
    ];
    ok(ann.integrations.complete_authorization(done.clone())).await;
    told.push(format!(
        "{:?}",
        refused(ann.integrations.complete_authorization(done)).await
    ));
    ann.select(&name, &["Account.Name"]).await;
    let sync = ann.activate(&name).await;
    ann.succeeds(&sync).await;
    world
        .control("POST", "/oauth/settings", json!({"rotation": true}))
        .await;
    world.control("POST", "/sessions/expire", Json::Null).await;
    let sync = ann.sync(&name).await;
    ann.succeeds(&sync).await;

    // Logins without a browser, valid and invalid ones.
    let client = json!({"id": "3MVG9tether.demo", "publicKey": PUBLIC_KEY});
    world.control("POST", "/oauth/clients", client).await;
    let client = json!({"id": "3MVG9own", "secret": OWN_SECRET, "runAs": "admin@acme.example"});
    world.control("POST", "/oauth/clients", client).await;
    let mut draft = ann.draft("salesforce", "Acme by key");
    draft.integration.as_mut().unwrap().settings = [
        ("environment".to_owned(), "domain".to_owned()),
        ("domain".to_owned(), "acme.my.salesforce.com".to_owned()),
    ]
    .into();
    let headless = ok(ann.integrations.create_integration(draft)).await.name;
    let with = |kind: AuthKind, parameters: &[(&str, &str)]| v1::AuthorizeWithCredentialsRequest {
        name: headless.clone(),
        auth_kind: kind as i32,
        parameters: parameters
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    };
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
        let login = with(kind, &parameters);
        match good {
            true => drop(ok(ann.integrations.authorize_with_credentials(login)).await),
            false => {
                let no = refused(ann.integrations.authorize_with_credentials(login)).await;
                told.push(format!("{no:?}"));
            }
        }
    }
    let login = v1::AuthorizeWithCredentialsRequest {
        name: ann.create("salesforce", "Acme by assertion").await,
        ..with(
            AuthKind::JwtBearer,
            &[("username", "admin@acme.example"), ("private_key", PRIVATE_KEY)],
        )
    };
    ok(ann.integrations.authorize_with_credentials(login)).await;

    // The dummy's tokens are known in advance, and its panic message contains a secret.
    let (dummy, _) = ann.dummy("Acme Dummy", "hidden-key").await;
    world.script(&json!({"script.list_fields": "panic"}));
    let fields = v1::ListAvailableFieldsRequest {
        parent: dummy,
        ..Default::default()
    };
    told.push(format!(
        "{:?}",
        refused(ann.integrations.list_available_fields(fields)).await
    ));
    let caller = world.token("ann", Some("acme"), Role::Administrator);
    let mut forged = world
        .bearer("acme", &format!("{}x", &caller[..caller.len() - 6]))
        .await;
    let list = v1::ListConnectorsRequest::default();
    told.push(format!(
        "{:?}",
        refused(forged.integrations.list_connectors(list)).await
    ));
    for arguments in [&["secrets", "rotate"][..], &["connectors", "list"], &["migrate"]] {
        let (good, said, errors) = world.command(arguments).await;
        assert!(good, "{errors}");
        told.push(said + &errors);
    }

    let signature = caller.rsplit('.').next().unwrap().to_owned();
    let organization = ann.get(&name).await.account.unwrap().organization_id;
    let pem = PRIVATE_KEY.lines().nth(3).unwrap().to_owned();
    let base64 = base64::engine::general_purpose::STANDARD;
    let mut canaries = vec![
        CLIENT_SECRET.to_owned().into_bytes(),
        OWN_SECRET.to_owned().into_bytes(),
        WRONG_SECRET.to_owned().into_bytes(),
        DATABASE_PASSWORD.to_owned().into_bytes(),
        sealing_key.clone().into_bytes(),
        base64.decode(&sealing_key).unwrap(),
        base64.decode(&pem).unwrap(),
        pem.into_bytes(),
        verifier.into_bytes(),
        begun.state.clone().into_bytes(),
        begun_here.state.clone().into_bytes(),
        signature[..signature.len() - 6].to_owned().into_bytes(),
        b"access.hidden-key".to_vec(),
        b"refresh.hidden-key".to_vec(),
        b"s3cret".to_vec(),
        // Salesforce's tokens, by their prefix.
        b"5Aep861".to_vec(),
        format!("{}!", &organization[..15]).into_bytes(),
    ];
    canaries.extend(
        codes
            .into_iter()
            .map(|code| code.trim_end_matches('=').to_owned().into_bytes()),
    );
    // PostgreSQL dumps bytes as hexadecimal digits.
    let hex = |bytes: &Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let digits: Vec<_> = canaries.iter().map(|canary| hex(canary).into_bytes()).collect();

    let metrics = http(&world.admin, "GET", "/metrics", "", "").await.body;
    assert!(metrics.contains("tether_rpc_total"));
    let mut places = vec![
        ("the log".to_owned(), world.log().into_bytes()),
        ("the metrics".to_owned(), metrics.into_bytes()),
        ("what was told".to_owned(), told.join("\n").into_bytes()),
    ];
    assert!(world.log().contains("TRACE"), "the log tells everything");
    places.extend(database(&world));
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
    let mut found = Vec::new();
    for (place, bytes) in &places {
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
