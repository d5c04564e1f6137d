//! The connector in C (`examples/connectors/csv-c`): built with the header only, copied into the folder of a
//! running server, and used for the guides over gRPC.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tether::proto::v1;
use tether::proto::v1::integration::{DraftStep, State};
use tether::proto::v1::value::Kind;
use tonic::Code;

use crate::support::server::{Database, Person, World, ok, on_both_databases, refused, until};

on_both_databases!(a_connector_in_c_is_dropped_in_and_used);

const KEY: &str = "key-of-ann-0123456789";

/// The files that stand for the CRM.
struct Files {
    folder: PathBuf,
}

/// Rows of the file of companies, by id: (name, homepage, employees, segment).
type Rows = BTreeMap<&'static str, (&'static str, &'static str, &'static str, &'static str)>;

/// What the file of companies has at first.
fn rows() -> Rows {
    BTreeMap::from([
        (
            "c-1",
            ("Acme \"Big\", Inc", "https://acme-of-csv.com", "120", "Gold"),
        ),
        ("c-10", ("Zeta", "zeta-of-csv.com", "7", "Silver")),
        ("c-2", ("Beta", "https://www.beta-of-csv.com/about", "30", "")),
        ("c-3", ("No Homepage", "", "1", "Gold")),
    ])
}

impl Files {
    /// All of them, as they are at first.
    fn all(&self) {
        self.companies(&rows());
        self.write(
        "contacts.csv",
        "id,company_id,name,email\np1,c-1,Pia,pia@acme-of-csv.com\np2,c-1,Paul,paul@acme-of-csv.com\np3,c-2,Bea,bea@b.com\n",
    );
        self.write("keys", &format!("# name key\nann {KEY}\n"));
    }

    /// The server's settings that name them.
    fn settings(&self) -> Vec<String> {
        let folder = self.folder.display();
        vec![
            format!("connector.csv.settings.file={folder}/companies.csv"),
            format!("connector.csv.settings.contacts_file={folder}/contacts.csv"),
            format!("connector.csv.settings.keys_file={folder}/keys"),
        ]
    }

    /// Replaces a file by a rename, as its README requires.
    fn write(&self, name: &str, text: &str) {
        let new = self.folder.join(format!("{name}.new"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.folder.join(name)).unwrap();
    }

    /// Companies by id: (name, homepage, employees, segment); unordered, with quotes, an empty cell, CRLF.
    fn companies(&self, rows: &Rows) {
        let mut text = "id,name,website,employees,segment:picklist\r\n".to_owned();
        for (id, (name, website, employees, segment)) in rows.iter().rev() {
            let name = name.replace('"', "\"\"");
            text += &format!("{id},\"{name}\",{website},{employees},{segment}\r\n");
        }
        self.write("companies.csv", &text);
    }
}

/// Builds the connector outside of the workspace and lays it out, with the documented commands.
fn make(target: &str, build: &Path, folder: &Path) {
    let made = std::process::Command::new("make")
        .arg("-s")
        .arg("-C")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/connectors/csv-c"))
        .arg(target)
        .arg(format!("BUILD={}", build.display()))
        .arg(format!("DIR={}", folder.display()))
        .status();
    assert!(made.expect("make").success());
}

/// The display names of the companies that a filter finds.
async fn found(person: &mut Person, filter: &str) -> Vec<String> {
    let request = v1::ListCompaniesRequest {
        parent: person.parent.clone(),
        filter: filter.to_owned(),
        page_size: 100,
        ..Default::default()
    };
    let companies = ok(person.companies.list_companies(request)).await.companies;
    companies
        .into_iter()
        .map(|company| company.display_name)
        .collect()
}

async fn company(person: &mut Person, name: &str) -> String {
    let all = person.all_companies(100).await;
    let one = all.into_iter().find(|company| company.display_name == name);
    one.unwrap_or_else(|| panic!("no company {name}")).name
}

/// The value of a field of the card's first company record.
fn shown(card: &v1::Card, key: &str) -> Option<Kind> {
    let table = card.company_records.as_ref().unwrap();
    let at = table.columns.iter().position(|column| column.key == key).unwrap();
    table.records[0].values[at].kind.clone()
}

async fn a_connector_in_c_is_dropped_in_and_used(database: Database) {
    let (folder, crm) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = Files {
        folder: crm.path().to_owned(),
    };
    files.all();
    let mut settings = files.settings();
    settings.push(format!("connectors.dir={}", folder.path().display()));
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let world = World::start_with(database, 1, &settings).await;
    let mut ann = world.ann().await;
    assert_eq!(ann.connector("csv").await, None);
    it_is_listed_once_installed(&mut ann, folder.path()).await;
    let name = it_is_enabled(&mut ann).await;
    the_key_identifies_the_account(&mut ann, &name).await;
    fields_have_types(&mut ann, &name).await;
    it_is_reviewed_and_synced(&mut ann, &name).await;
    profiles_and_filters(&mut ann, &name).await;
    let rows = changes_arrive(&files, &mut ann, &name).await;
    a_mistake_removes_nothing(&files, &rows, &mut ann, &name).await;
    a_revoked_key_is_replaced(&files, &mut ann, &name).await;
    // The integration is deleted with all its data. No key was ever logged.
    ann.delete(&name).await;
    assert!(ann.all_companies(100).await.is_empty());
    let log = world.log();
    assert!(log.contains("the CSV connector is open"), "{log}");
    assert!(!log.contains("key-of-"), "a key is in the log");
}

/// Copied into the folder of a running server.
async fn it_is_listed_once_installed(ann: &mut Person, folder: &Path) {
    let build = tempfile::tempdir().unwrap();
    make("install", build.path(), folder);
    let dropped = Instant::now();
    until("the connector is listed", || {
        let mut ann = ann.clone();
        async move { ann.connector("csv").await.is_some() }
    })
    .await;
    println!("listed after {:?}", dropped.elapsed());
    let connector = ann.connector("csv").await.unwrap();
    assert_eq!(
        (
            connector.display_name.as_str(),
            connector.version.as_str(),
            connector.enabled
        ),
        ("CSV file", "1.0.0", false)
    );
}

/// Disabled connectors cannot be used; enabled ones can.
async fn it_is_enabled(ann: &mut Person) -> String {
    let request = ann.draft("csv", "Our list");
    assert_eq!(
        refused(ann.integrations.create_integration(request)).await.reason,
        "CONNECTOR_DISABLED"
    );
    assert!(ann.enable("csv").await.enabled);
    ann.create("csv", "Our list").await
}

/// A wrong key is refused, with the parameter; the right one identifies the account.
async fn the_key_identifies_the_account(ann: &mut Person, name: &str) {
    let no = refused(
        ann.integrations
            .authorize_with_credentials(Person::key(name, "key-of-nobody-0123456789")),
    )
    .await;
    assert_eq!(
        (no.code, no.reason.as_str()),
        (Code::InvalidArgument, "AUTHORIZATION_REJECTED"),
        "{no:?}"
    );
    ann.log_in_with_key(name, KEY).await;
    let draft = ann.get(name).await;
    assert_eq!(draft.draft_step(), DraftStep::SelectFields);
    let account = draft.account.unwrap();
    assert_eq!(
        (account.username.as_str(), account.organization_name.as_str()),
        ("ann", "companies.csv")
    );
}

/// From declarations and from data.
async fn fields_have_types(ann: &mut Person, name: &str) {
    let request = v1::ListAvailableFieldsRequest {
        parent: name.to_owned(),
        ..Default::default()
    };
    let objects = ok(ann.integrations.list_available_fields(request)).await.objects;
    let types: BTreeMap<String, v1::FieldType> = objects
        .iter()
        .flat_map(|object| {
            let typed =
                |field: &v1::FieldDefinition| (format!("{}.{}", field.object, field.key), field.r#type());
            let definitions = object.fields.iter().filter_map(|field| field.definition.as_ref());
            definitions.map(typed).collect::<Vec<_>>()
        })
        .collect();
    for (field, expected) in [
        ("company.employees", v1::FieldType::Integer),
        ("company.segment", v1::FieldType::Picklist),
        ("company.id", v1::FieldType::Text),
        ("contact.email", v1::FieldType::Email),
    ] {
        assert_eq!(types[field], expected, "{field}");
    }
    let fields = [
        "company.name",
        "company.employees",
        "company.segment",
        "contact.email",
    ];
    ann.select(name, &fields).await;
}

/// The review counts rows of the file; saving reads it.
async fn it_is_reviewed_and_synced(ann: &mut Person, name: &str) {
    let review = ann.review(name).await;
    assert_eq!(review.company_record_count, 4);
    let sync = ann.activate(name).await;
    let done = ann.succeeds(&sync).await;
    assert_eq!(done.totals.unwrap().written, 7, "{done:?}");
    assert_eq!(ann.all_companies(100).await.len(), 4);
    ann.wait_for(name, done.change_number).await;
}

/// A profile is read live, including related records.
async fn profiles_and_filters(ann: &mut Person, name: &str) {
    let acme = company(ann, "Acme \"Big\", Inc").await;
    let card = ann.open(&acme).await.cards.remove(0);
    assert!(card.freshness.as_ref().unwrap().live, "{card:?}");
    assert_eq!(shown(&card, "employees"), Some(Kind::Integer(120)));
    assert_eq!(card.related[0].records.len(), 2);
    let label = ann.get(name).await.label;
    assert_eq!(label, "our_list");
    for (filter, expected) in [
        (
            format!("{label}.company.employees > 20 AND {label}.company.employees < 100"),
            "Beta",
        ),
        (
            format!("{label}.contact.email = \"pia@acme-of-csv.com\""),
            "Acme \"Big\", Inc",
        ),
    ] {
        assert_eq!(found(ann, &filter).await, [expected], "{filter}");
    }
}

/// The file changes: a profile shows it at once, a sync adds new rows and removes missing ones. Answers the rows.
async fn changes_arrive(files: &Files, ann: &mut Person, name: &str) -> Rows {
    let mut rows = rows();
    rows.insert("c-2", ("Beta", "https://www.beta-of-csv.com/about", "31", "Gold"));
    rows.insert("c-11", ("Newcomer", "https://newcomer-of-csv.com", "2", ""));
    rows.remove("c-10");
    files.companies(&rows);
    let beta = company(ann, "Beta").await;
    let card = ann.open(&beta).await.cards.remove(0);
    assert_eq!(shown(&card, "employees"), Some(Kind::Integer(31)));
    let sync = ann.sync(name).await;
    let done = ann.succeeds(&sync).await;
    assert_eq!(done.totals.unwrap().removed, 1, "{done:?}");
    // A connector that does not read changes is read in full each time.
    assert_eq!(done.mode(), v1::sync::Mode::Full);
    let mut names: Vec<String> = ann
        .all_companies(100)
        .await
        .into_iter()
        .map(|one| one.display_name)
        .collect();
    names.sort();
    assert_eq!(names, ["Acme \"Big\", Inc", "Beta", "Newcomer", "No Homepage"]);
    rows
}

/// In the file: the sync fails with the line number, and removes nothing.
async fn a_mistake_removes_nothing(files: &Files, rows: &Rows, ann: &mut Person, name: &str) {
    files.write(
        "companies.csv",
        "id,name,website,employees,segment:picklist\r\nc-1,Acme\r\n",
    );
    let sync = ann.sync(name).await;
    let failed = ann.watch(&sync).await.pop().unwrap();
    let error = failed.error.expect("it failed");
    assert_eq!(error.reason(), v1::ErrorReason::CrmAdminActionNeeded);
    assert!(error.message.contains("Line 2"), "{error:?}");
    assert_eq!(ann.all_companies(100).await.len(), 4);
    files.companies(rows);
}

/// tether reports it and keeps its data; a new key restores everything.
async fn a_revoked_key_is_replaced(files: &Files, ann: &mut Person, name: &str) {
    files.write("keys", "ann key-of-ann-another-one\n");
    let sync = ann.sync(name).await;
    let failed = ann.watch(&sync).await.pop().unwrap();
    assert_eq!(
        failed.error.unwrap().reason(),
        v1::ErrorReason::CredentialsRevoked
    );
    assert_eq!(ann.get(name).await.state(), State::NeedsReauthorization);
    assert_eq!(ann.all_companies(100).await.len(), 4);
    ann.log_in_with_key(name, "key-of-ann-another-one").await;
    assert_eq!(ann.get(name).await.state(), State::Active);
}

/// The conformance kit finds no defect, in process and as a child process, with the connector's sample files.
#[test]
fn a_connector_in_c_passes_the_kit() {
    let (folder, build) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make("kit", build.path(), folder.path());
    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_tether"))
        .args(["connectors", "check"])
        .arg(folder.path().join("csv"))
        .output()
        .unwrap();
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stdout)
    );
}
