//! What operators set up: folders, their permissions, and settings of connectors.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use tether::proto::v1;

use crate::support::server::{Database, World, refused, until};

fn files(folder: &Path, found: &mut Vec<(String, u32)>) {
    // The index removes merged files meanwhile.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(of) = path.symlink_metadata() else {
            continue;
        };
        found.push((path.display().to_string(), of.permissions().mode() & 0o777));
        if of.is_dir() {
            files(&path, found);
        }
    }
}

#[tokio::test]
async fn the_data_directory_is_the_servers_own() {
    let mut world = World::start(Database::Sqlite, 1).await;
    let mut ann = world.ann().await;
    ann.dummy("Ours", "ann").await;
    assert!(!ann.all_companies(100).await.is_empty());
    let index = world.data().join("index");
    until("the index is written", async || {
        std::fs::read_dir(&index).is_ok_and(|mut entries| entries.next().is_some())
    })
    .await;
    let closed = |world: &World| {
        let mut found = vec![(
            "data_dir".to_owned(),
            std::fs::metadata(world.data()).unwrap().mode() & 0o777,
        )];
        files(&world.data(), &mut found);
        assert!(found.len() > 5, "{found:?}");
        assert!(
            found.iter().any(|(path, _)| path.contains("/index/")),
            "{found:?}"
        );
        let open: Vec<_> = found.iter().filter(|(_, mode)| mode & 0o077 != 0).collect();
        assert!(open.is_empty(), "{open:?}");
    };
    closed(&world);
    // File permissions that an earlier version left too wide are corrected at the next start, with a log
    // line.
    for file in ["", "tether.db", "dev-signing.key"] {
        let path = world.data().join(file);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    world.restart().await;
    closed(&world);
    assert!(
        world.log().contains("tether.db was open to other users"),
        "{}",
        world.log()
    );
}

#[tokio::test]
async fn what_the_command_line_says_of_folders() {
    let folder = tempfile::tempdir().unwrap();
    let run = async |arguments: &[&str]| {
        let out = tokio::process::Command::new(crate::support::server::program())
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .await
            .unwrap();
        (out.status.success(), String::from_utf8(out.stderr).unwrap())
    };
    // Otherwise a token of a key that no server has would be rejected later, without an explanation.
    let (done, said) = run(&["token", "--data-dir", "nowhere"]).await;
    assert!(
        !done && said.contains("data_dir = nowhere") && said.contains("serve --dev"),
        "{said}"
    );
    assert!(!folder.path().join("nowhere").exists());

    std::fs::write(folder.path().join("file"), "").unwrap();
    let (done, said) = run(&["serve", "--dev", "--data-dir", "file/data"]).await;
    assert!(
        !done && said.contains("data_dir = file/data: tether cannot write there"),
        "{said}"
    );

    // In a checkout, `connectors` has sources.
    std::fs::create_dir_all(folder.path().join("connectors/sdk")).unwrap();
    std::fs::write(folder.path().join("connectors/sdk/Cargo.toml"), "").unwrap();
    let (done, said) = run(&["serve", "--dev", "--data-dir", "data"]).await;
    assert!(!done && said.contains("cargo xtask connectors"), "{said}");
}

#[tokio::test]
async fn a_connector_without_the_operators_settings_is_not_available() {
    let unset = "connector.salesforce.settings.client_id=";
    let world = World::start_with(Database::Sqlite, 1, &[unset]).await;
    let mut ann = world.ann().await;
    // HubSpot needs no operator settings for private apps.
    for name in ["dummy", "hubspot"] {
        let here = ann.connector(name).await.unwrap();
        assert_eq!(here.state(), v1::connector::State::Available, "{name}");
    }
    let bare = ann.connector("salesforce").await.unwrap();
    assert_eq!(bare.state(), v1::connector::State::Failed);
    let why = bare.state_reason.unwrap();
    assert_eq!(why.reason(), v1::ErrorReason::ConnectorMisconfigured);
    assert!(
        why.message.contains("connector.salesforce.settings.client_id"),
        "{}",
        why.message
    );
    let enable = v1::EnableConnectorRequest {
        parent: ann.parent.clone(),
        connector: "connectors/salesforce".to_owned(),
    };
    let no = refused(ann.integrations.enable_connector(enable)).await;
    assert_eq!(no.reason, "CONNECTOR_UNAVAILABLE");
}
