//! What a receiving group must not see, and what is left of an erased group.

use tether::caller::Role;
use tether::proto::v1;
use tether::proto::v1::company_to_track::Company;
use tether::store::{AuditFilter, Options, Store};

use crate::support::server::{Database, Person, World, ok, on_all_databases, refused, until};

on_all_databases!(a_receiver_sees_the_organization_and_no_user, a_group_is_erased);

async fn a_receiver_sees_the_organization_and_no_user(database: Database) {
    let world = World::start(database, 5).await;
    world.connect("globex", true).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let name = ann.salesforce("Acme Sales", &["Account.Name"]).await;
    ann.share(&name, "globex", &[]).await;
    let account = ann.get(&name).await.account.unwrap();
    assert_eq!(account.username, "admin@acme.example");
    let mut gil = world.gil().await;
    let seen = gil.get(&name).await.account.unwrap();
    let organization = v1::Account {
        organization_id: account.organization_id.clone(),
        organization_name: account.organization_name.clone(),
        ..Default::default()
    };
    assert_eq!(seen, organization);

    // Nor in any other answer that it can get.
    let parent = gil.parent.clone();
    let company = gil.all_companies(10).await.remove(0);
    let syncs = v1::ListSyncsRequest {
        parent: name.clone(),
        ..Default::default()
    };
    let sources = v1::ListSourcesRequest {
        parent: parent.clone(),
        ..Default::default()
    };
    let fields = v1::ListFieldsRequest {
        parent: name.clone(),
        ..Default::default()
    };
    let audit = v1::ListAuditEntriesRequest {
        parent,
        ..Default::default()
    };
    let told = [
        format!("{:?}", gil.integrations().await),
        format!("{:?}", gil.get(&name).await),
        format!("{:?}", gil.open(&company.name).await),
        format!("{:?}", ok(gil.integrations.list_syncs(syncs)).await),
        format!("{:?}", ok(gil.companies.list_sources(sources)).await),
        format!("{:?}", ok(gil.integrations.list_fields(fields)).await),
        format!("{:?}", ok(gil.integrations.list_audit_entries(audit)).await),
    ];
    for text in told {
        for secret in [&account.username, &account.user_id, &account.user_display_name] {
            assert!(
                secret.is_empty() || !text.contains(secret.as_str()),
                "{secret} in {text}"
            );
        }
    }
}

async fn a_group_is_erased(database: Database) {
    let world = World::start(database, 10).await;
    world.connect("globex", true).await;
    let (mut ann, mut gil) = (world.ann().await, world.gil().await);
    ann.enable("salesforce").await;
    let name = ann.salesforce("Acme Sales", &["Account.Name"]).await;
    ann.share(&name, "globex", &[]).await;
    ann.create("salesforce", "Draft").await;
    let (theirs, _) = gil.dummy("Globex Dummy", "gil").await;
    gil.share(&theirs, "acme", &[]).await;
    let companies = ann.all_companies(100).await;
    ann.track(Company::Name(companies[0].name.clone())).await;

    // Without `--yes` it only prints what it would do.
    let (good, _, error) = world.command(&["groups", "erase", "acme"]).await;
    assert!(
        !good && error.contains("Acme Research") && error.contains("--yes"),
        "{error}"
    );
    assert_eq!(ann.get(&name).await.name, name);

    the_other_group_keeps_its_own(&world, &mut gil, &theirs).await;
    access_is_revoked_and_nothing_is_left(&world).await;
    the_audit_log_keeps_the_erasure_only(&world).await;
    the_group_starts_anew(&world, &mut ann).await;
}

/// A number of what `groups erase` prints.
fn count(said: &str, what: &str) -> i64 {
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{what}\t")));
    line.unwrap_or_else(|| panic!("{what} in {said}"))
        .parse()
        .unwrap()
}

/// The group is erased while servers run. The other group keeps its own data, and nothing of this group.
async fn the_other_group_keeps_its_own(world: &World, gil: &mut Person, theirs: &String) {
    let (good, said, error) = world.command(&["groups", "erase", "acme", "--yes"]).await;
    assert!(good, "{said}{error}");
    assert_eq!(
        (count(&said, "integrations"), count(&said, "received shares")),
        (2, 1)
    );
    assert_eq!(
        (count(&said, "tracked companies"), count(&said, "groups")),
        (1, 1)
    );
    assert!(count(&said, "audit entries") > 5, "{said}");
    let left: Vec<String> = gil.integrations().await.into_iter().map(|one| one.name).collect();
    assert_eq!(left, std::slice::from_ref(theirs));
    let mut platform = world.person("platform", "", Role::Service).await;
    let groups = ok(platform.groups.list_groups(v1::ListGroupsRequest::default()))
        .await
        .groups;
    assert!(
        groups.iter().all(|group| group.name != "groups/acme"),
        "{groups:?}"
    );
    let acme = v1::ListAuditEntriesRequest {
        parent: "groups/acme".to_owned(),
        ..Default::default()
    };
    assert!(
        ok(platform.integrations.list_audit_entries(acme))
            .await
            .audit_entries
            .is_empty()
    );
}

/// Access is revoked; then the account's row is deleted too, and the command has nothing left to do.
async fn access_is_revoked_and_nothing_is_left(world: &World) {
    until("access was given back", async || {
        let oauth = world.control("GET", "/oauth", serde_json::Value::Null).await;
        let credentials = oauth["grants"].as_array().unwrap();
        credentials.iter().all(|credential| credential["revoked"] == true)
    })
    .await;
    until("nothing is left", async || {
        let (good, said, error) = world.command(&["groups", "erase", "acme", "--yes"]).await;
        assert!(good, "{said}{error}");
        assert_eq!(
            (count(&said, "groups"), count(&said, "audit entries")),
            (0, 0),
            "{said}"
        );
        !said.contains("revocations pending")
    })
    .await;
}

async fn the_audit_log_keeps_the_erasure_only(world: &World) {
    let url = world.postgres_url().map_or_else(
        || format!("sqlite:{}", world.data().join("tether.db").display()),
        str::to_owned,
    );
    let store = Store::open(&Options::new(&url)).unwrap();
    let acme: tether::domain::GroupId = "acme".parse().unwrap();
    assert_eq!(store.event_head(&acme).await.unwrap().last_no, 0);
    let entries = store
        .audit_list(AuditFilter::default(), None, 1_000)
        .await
        .unwrap();
    let erased: Vec<_> = entries
        .iter()
        .filter(|entry| entry.method == "EraseGroup")
        .collect();
    assert_eq!((erased.len(), erased[0].resource.as_str()), (1, "groups/acme"));
    assert!(entries.iter().all(|entry| entry.group_id != "acme"));
}

/// It can be created again, and starts empty.
async fn the_group_starts_anew(world: &World, ann: &mut Person) {
    let mut platform = world.person("platform", "", Role::Service).await;
    let group = v1::Group {
        name: "groups/acme".to_owned(),
        display_name: "Acme again".to_owned(),
        ..Default::default()
    };
    ok(platform
        .groups
        .upsert_group(v1::UpsertGroupRequest { group: Some(group) }))
    .await;
    assert!(ann.integrations().await.is_empty());
    let no = refused(
        ann.integrations
            .create_integration(ann.draft("salesforce", "New")),
    )
    .await;
    assert_eq!(no.reason, "CONNECTOR_DISABLED");
}
