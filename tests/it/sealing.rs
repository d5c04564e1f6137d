//! Keys that seal secrets change while servers use them.

use serde_json::{Value as Json, json};
use tether::caller::Role;
use tether::credentials::seal::Sealer;
use tether::proto::v1;
use tether::proto::v1::begin_authorization_request::ReturnTo;

use crate::credentials::{oauth, rotating};
use crate::support::server::{Database, Person, World, encoded, http, ok, on_both_databases, until};

on_both_databases!(keys_change_while_servers_refresh);

/// The file of sealing keys, with the ids of the old and the new key.
struct Keys {
    _folder: tempfile::TempDir,
    file: std::path::PathBuf,
    old: String,
    new: String,
    old_id: String,
    new_id: String,
}

impl Keys {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [old, new] = [(); 2].map(|()| Sealer::generate_key());
        let [old_id, new_id] = [&old, &new].map(|key| Sealer::new([key.as_str()]).unwrap().key_id());
        Self {
            file: folder.path().join("sealing.keys"),
            _folder: folder,
            old,
            new,
            old_id,
            new_id,
        }
    }

    fn write(&self, keys: impl AsRef<str>) {
        std::fs::write(&self.file, keys.as_ref()).unwrap();
    }
}

async fn keys_change_while_servers_refresh(database: Database) {
    let keys = Keys::new();
    keys.write(&keys.old);
    let setting = format!("secrets.keys_file={}", keys.file.display());
    let mut world = World::start_with(database, 300, &[&setting]).await;
    let mut ann = world.ann().await;
    let (name, companies) = rotating(&world, &mut ann).await;
    let waits = a_secret_of_each_kind(&world, &mut ann).await;
    a_missing_key_is_named(&world, &keys).await;
    // The new key first, the old one still configured.
    keys.write(format!("{}\n{}\n", keys.new, keys.old));
    world.restart().await;
    rotation_meets_refreshes(&world, &keys, &companies).await;
    // Without the old key.
    keys.write(&keys.new);
    world.restart().await;
    everything_is_opened(&world, &name, &waits).await;
}

/// A login over tether's own page that waits for its confirmation.
struct Waits {
    name: String,
    state: String,
    token: String,
}

/// A credential, one of the dummy, a login that waits for its confirmation, a pending revocation.
async fn a_secret_of_each_kind(world: &World, ann: &mut Person) -> Waits {
    ann.dummy("Acme Dummy", "ann").await;
    world.script(&json!({"script.revoke": "error:transient"}));
    let gone = ann.create("dummy", "Gone").await;
    ann.log_in_with_key(&gone, "ben").await;
    ann.delete(&gone).await;
    let waits = ann.create("salesforce", "Waits").await;
    let begin = v1::BeginAuthorizationRequest {
        name: waits.clone(),
        return_to: ReturnTo::Tether as i32,
        ..Default::default()
    };
    let begun = ok(ann.integrations.begin_authorization(begin)).await;
    let to = ann
        .consent(&begun.authorization_uri, "admin@acme.example", true)
        .await;
    let path = format!("{}?{}", to.path(), to.query().unwrap());
    let page = http(&world.callback, "GET", &path, "", "").await.body;
    let (_, confirm) = page.split_once("name=\"token\" value=\"").unwrap();
    let confirm = confirm.split('"').next().unwrap().to_owned();
    Waits {
        name: waits,
        state: begun.state,
        token: confirm,
    }
}

/// The command names the required key.
async fn a_missing_key_is_named(world: &World, keys: &Keys) {
    keys.write(Sealer::generate_key());
    let (good, said, error) = world.command(&["secrets", "status"]).await;
    assert!(
        !good && error.contains(&keys.old_id) && said.contains("NOT CONFIGURED"),
        "{said}{error}"
    );
    let (good, said, error) = world.command(&["secrets", "rotate"]).await;
    assert!(
        !good && error.contains(&keys.old_id) && said.contains("left as it is"),
        "{said}{error}"
    );
}

/// Rotation while the credential is refreshed continuously.
async fn rotation_meets_refreshes(world: &World, keys: &Keys, companies: &[v1::Company]) {
    let (old_id, new_id) = (&keys.old_id, &keys.new_id);
    let before = world.command(&["secrets", "rotate", "--dry-run"]).await.1;
    assert!(before.contains(&format!("credentials\t{old_id}")), "{before}");
    assert!(before.contains(&format!("outbox\t{old_id}")), "{before}");
    assert!(
        before.contains(&format!("authorization\t{old_id}\t2")),
        "{before}"
    );
    let token = world.token("ann", Some("acme"), Role::Administrator);
    let mut person = world.bearer("acme", &token).await;
    let refresh = async {
        for company in companies.iter().take(15) {
            world.control("POST", "/sessions/expire", Json::Null).await;
            let card = person.open(&company.name).await.cards.remove(0);
            assert!(card.freshness.unwrap().live);
        }
    };
    let rotate = async {
        for _ in 0..3 {
            let (good, said, error) = world.command(&["secrets", "rotate"]).await;
            assert!(good && !said.contains("left"), "{said}{error}");
        }
    };
    tokio::join!(refresh, rotate);
    let (good, after, _) = world.command(&["secrets", "status"]).await;
    assert!(
        good && after.contains(new_id) && !after.contains(old_id),
        "{after}"
    );
}

/// Everything can be opened with the new key.
async fn everything_is_opened(world: &World, name: &str, waits: &Waits) {
    world.script(&json!({}));
    let mut ann = world.ann().await;
    world.control("POST", "/sessions/expire", Json::Null).await;
    let sync = ann.sync(name).await;
    ann.succeeds(&sync).await;
    let form = format!("state={}&token={}", encoded(&waits.state), encoded(&waits.token));
    let kind = "application/x-www-form-urlencoded";
    let confirmed = http(&world.callback, "POST", "/oauth/confirm", kind, &form).await;
    assert_eq!(confirmed.status, 200, "{}", confirmed.body);
    assert!(ann.get(&waits.name).await.account.is_some());
    until("access was given back", async || {
        !world.command(&["secrets", "status"]).await.1.contains("outbox")
    })
    .await;
    assert_eq!(oauth(world).await["reused"], 0);
}
