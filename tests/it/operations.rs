//! Operations on a running server: stop it, remove and restore a connector, change keys.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use tether::caller::Role;
use tether::credentials::seal::Sealer;
use tether::proto::v1;
use tether::proto::v1::connector::State;
use tether::tokens::dev::{DEV_AUDIENCE, DEV_ISSUER, DevSigner};
use tonic::Code;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use crate::support::connectors;
use crate::support::server::{Database, Person, Refused, World, ok, on_both_databases, refused, until};

on_both_databases!(
    a_connector_is_taken_away_and_brought_back,
    a_server_is_told_to_stop
);

/// Copies a folder of connectors.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

async fn connector(person: &mut Person, id: &str) -> Option<v1::Connector> {
    let request = v1::ListConnectorsRequest {
        parent: person.parent.clone(),
        ..Default::default()
    };
    let listed = ok(person.integrations.list_connectors(request)).await.connectors;
    listed
        .into_iter()
        .find(|one| one.name == format!("connectors/{id}"))
}

async fn a_connector_is_taken_away_and_brought_back(database: Database) {
    let folder = tempfile::tempdir().unwrap();
    let (here, away) = (folder.path().join("connectors"), folder.path().join("away"));
    copy(&connectors::folder(), &here);
    let setting = format!("connectors.dir={}", here.display());
    let mut world = World::start_with(database, 1, &[&setting]).await;
    let mut ann = world.ann().await;
    let (name, _) = ann.dummy("Acme Dummy", "ann").await;
    let companies = ann.all_companies(500).await;
    let shown = ann.open(&companies[0].name).await.cards.remove(0);

    // A loaded connector works without its folder, also after a scan.
    std::fs::rename(here.join("dummy"), &away).unwrap();
    world.signal("HUP");
    let sync = ann.sync(&name).await;
    ann.succeeds(&sync).await;

    // A server that starts without the connector shows this to groups that use it, and to no other group.
    world.restart().await;
    let mut ann = world.ann().await;
    let gone = connector(&mut ann, "dummy").await.unwrap();
    assert!(gone.enabled && gone.state() == State::Failed, "{gone:?}");
    let why = gone.state_reason.clone().unwrap();
    assert_eq!(why.reason(), v1::ErrorReason::ConnectorUnavailable);
    let manifest = here.join("dummy/connector.toml");
    assert!(
        why.message.contains(manifest.to_str().unwrap()),
        "{}",
        why.message
    );
    let request = v1::GetConnectorRequest {
        name: gone.name.clone(),
        parent: ann.parent.clone(),
    };
    assert_eq!(ok(ann.integrations.get_connector(request)).await, gone);
    let mut greta = world.person("greta", "globex", Role::Administrator).await;
    assert_eq!(connector(&mut greta, "dummy").await, None);
    assert_eq!(
        connector(&mut ann, "salesforce").await.unwrap().state(),
        State::Available
    );

    // All stored data stays: the integration, its companies, their profiles with age and cause.
    let list = v1::ListIntegrationsRequest {
        parent: ann.parent.clone(),
        ..Default::default()
    };
    let listed = ok(ann.integrations.list_integrations(list)).await.integrations;
    assert_eq!(listed.len(), 1);
    assert_eq!(ann.get(&name).await.name, name);
    assert_eq!(ann.all_companies(500).await, companies);
    let card = ann.open(&companies[0].name).await.cards.remove(0);
    let freshness = card.freshness.unwrap();
    assert!(!freshness.live);
    assert_eq!(
        freshness.stale_reason.unwrap().reason(),
        v1::ErrorReason::ConnectorUnavailable
    );
    let values = |card: &v1::RecordTable| card.records[0].values.clone();
    assert_eq!(
        values(&card.company_records.unwrap()),
        values(&shown.company_records.unwrap())
    );
    let fields = v1::ListAvailableFieldsRequest {
        parent: name.clone(),
        ..Default::default()
    };
    let no = refused(ann.integrations.list_available_fields(fields)).await;
    assert_eq!(
        (no.code, no.reason.as_str()),
        (Code::Unavailable, "CONNECTOR_UNAVAILABLE")
    );

    // After its folder is restored, it works without a restart, and the waiting sync continues.
    std::fs::rename(&away, here.join("dummy")).unwrap();
    world.signal("HUP");
    until("the connector is back", async || {
        let mut ann = world.ann().await;
        connector(&mut ann, "dummy")
            .await
            .is_some_and(|one| one.state() == State::Available)
    })
    .await;
    let sync = ann.sync(&name).await;
    ann.succeeds(&sync).await;
    let card = ann.open(&companies[1].name).await.cards.remove(0);
    assert!(card.freshness.unwrap().live);

    // Removed for good: it can still be disabled, and is then not listed.
    std::fs::rename(here.join("dummy"), &away).unwrap();
    world.restart().await;
    let mut ann = world.ann().await;
    let disable = v1::DisableConnectorRequest {
        parent: ann.parent.clone(),
        connector: "connectors/dummy".to_owned(),
    };
    assert!(!ok(ann.integrations.disable_connector(disable)).await.enabled);
    assert_eq!(connector(&mut ann, "dummy").await, None);
}

async fn a_server_is_told_to_stop(database: Database) {
    let mut world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    let many = json!({"companies": "2000", "people": "0", "deals": "0"});
    world.script(&many);
    let (name, _) = ann.dummy("Acme Dummy", "ann").await;
    let companies = ann.all_companies(500).await;

    // A watched sync in progress, a slow call, a health probe.
    world.script(
        &json!({"companies": "2000", "people": "0", "deals": "0", "revision": "1",
            "script.read": "slow:60000@1000", "script.list_fields": "log:the slow call has begun,slow:1500"}),
    );
    let running = ann.sync(&name).await;
    let request = v1::WatchSyncRequest {
        name: running.clone(),
    };
    let mut watched = ok(ann.integrations.watch_sync(request)).await;
    loop {
        let shown = watched.message().await.unwrap().unwrap().sync.unwrap();
        if shown.totals.unwrap_or_default().read >= 900 {
            break;
        }
    }
    let mut health = HealthClient::new(world.channel().await);
    let probe = HealthCheckRequest::default();
    let mut probes = health.watch(probe).await.unwrap().into_inner();
    let status = probes.message().await.unwrap().unwrap().status();
    assert_eq!(status, ServingStatus::Serving);
    let mut slow = world.ann().await;
    let fields = v1::ListAvailableFieldsRequest {
        parent: name.clone(),
        ..Default::default()
    };
    let slow = tokio::spawn(async move { slow.integrations.list_available_fields(fields).await });
    let mut late = world.ann().await;
    ann.get(&name).await;
    until("the slow call is under way", async || {
        world.log().contains("the slow call has begun")
    })
    .await;

    let told = Instant::now();
    world.signal("TERM");
    let status = probes.message().await.unwrap().unwrap().status();
    assert_eq!(status, ServingStatus::NotServing);
    let last = loop {
        match watched.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended without a word"),
            Err(status) => break Refused::from(status),
        }
    };
    assert_eq!(
        (last.code, last.reason.as_str()),
        (Code::Unavailable, "SHUTTING_DOWN")
    );
    assert!(last.details.retry_info().is_some());
    let no = refused(
        late.integrations
            .get_integration(v1::GetIntegrationRequest { name: name.clone() }),
    )
    .await;
    assert_eq!(no.code, Code::Unavailable);
    assert!(matches!(no.reason.as_str(), "SHUTTING_DOWN" | ""), "{no:?}");
    let answered = slow.await.unwrap().unwrap().into_inner();
    assert!(!answered.objects.is_empty());
    assert!(world.ended().await.success());
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());

    // The next server continues the sync where it stopped, and its result equals that of an uninterrupted
    // read.
    world.script(&json!({"companies": "2000", "people": "0", "deals": "0", "revision": "1"}));
    world.start_again().await;
    let mut ann = world.ann().await;
    let done = ann.succeeds(&running).await;
    let totals = done.totals.unwrap();
    assert!(totals.written > 0 && totals.removed > 0, "{totals:?}");
    // A read from the beginning would have read at least 900 rows twice.
    let listed = totals.written + totals.unchanged;
    assert!(totals.read < listed + 500, "{totals:?}");
    let again = ann.sync(&name).await;
    let again = ann.succeeds(&again).await.totals.unwrap();
    assert_eq!((again.written, again.removed), (0, 0), "{again:?}");
    assert!(ann.all_companies(500).await.len() <= companies.len());
}

#[tokio::test]
async fn the_jwks_is_read_again() {
    let keys = tempfile::tempdir().unwrap();
    let path = keys.path().join("jwks.json");
    let signer = |name: &str| DevSigner::open(&keys.path().join(name), true).unwrap();
    let (old, new) = (signer("old"), signer("new"));
    std::fs::write(&path, old.jwks()).unwrap();
    let sealing = Sealer::generate_key();
    let settings = [
        "dev=false".to_owned(),
        format!("auth.jwks_file={}", path.display()),
        format!("auth.issuer={DEV_ISSUER}"),
        format!("auth.audience={DEV_AUDIENCE}"),
        format!("secrets.keys={sealing}"),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let world = World::start_with(Database::Sqlite, 1, &settings).await;
    let token = |signer: &DevSigner| {
        let hour = Duration::from_secs(3_600);
        signer.sign("platform", None, Role::Service, hour).unwrap()
    };
    let taken = async |signer: &DevSigner| {
        let mut platform = world.bearer("", &token(signer)).await;
        let asked = platform.groups.list_groups(v1::ListGroupsRequest::default());
        asked
            .await
            .map(drop)
            .map_err(|status| Refused::from(status).reason)
    };
    let invalid = Err("TOKEN_INVALID".to_owned());
    assert_eq!((taken(&old).await, taken(&new).await), (Ok(()), invalid.clone()));

    // An unreadable file changes nothing.
    std::fs::write(&path, "{").unwrap();
    world.signal("HUP");
    until("it says so", async || {
        world.log().contains("the JWKS stays as it was")
    })
    .await;
    assert_eq!(taken(&old).await, Ok(()));
    std::fs::write(&path, new.jwks()).unwrap();
    world.signal("HUP");
    until("the new key is known", async || taken(&new).await.is_ok()).await;
    assert_eq!(taken(&old).await, invalid);
}
