//! The connector against the CRM of `fixture/`, through the SDK and without a library.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail, and says so"
)]

#[path = "../fixture/crm.rs"]
mod crm;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::json;
use tether_connector_sdk::proto::{
    AmountCurrency, AuthKind, BeginAuthorizationRequest, Connection, CountRecordsRequest, Credentials,
    ErrorKind, ExchangeCodeRequest, FetchCompanyRequest, HttpPolicy, Identity, ListFieldsRequest,
    LogInRequest, LoggedIn, ObjectSelection, OpenRequest, ProvideCredentialsRequest, ReadMode, ReadRequest,
    RefreshRequest, RevokeRequest, SelectedField, stream_event::Event,
};
use tether_connector_sdk::testing::Native;
use tether_connector_template::TemplateConnector;

use crate::crm::{API_KEY, CLIENT, Crm, Size};

struct World {
    crm: Crm,
    connector: Native<TemplateConnector>,
    address: String,
}

const SIZE: Size = Size {
    companies: 1_100,
    people_each: 2,
};

async fn world() -> World {
    let crm = Crm::new(SIZE);
    let address = crm.serve(0).await.to_string();
    let settings = [
        ("client_id", CLIENT.0.to_owned()),
        ("client_secret", CLIENT.1.to_owned()),
        ("api_url", format!("http://{address}")),
        ("login_url", format!("http://{address}")),
    ];
    let request = OpenRequest {
        settings: settings.map(|(key, value)| (key.to_owned(), value)).into(),
        http: Some(HttpPolicy {
            plain_http_hosts: vec![address.clone()],
            ..HttpPolicy::default()
        }),
        ..OpenRequest::default()
    };
    World {
        crm,
        connector: Native::open(request).unwrap(),
        address,
    }
}

impl World {
    /// A login with a key.
    async fn with_key(&self, key: &str) -> Result<LoggedIn, tether_connector_sdk::Error> {
        let request = LogInRequest {
            auth_kind: AuthKind::ApiKey.into(),
            parameters: [("api_key".to_owned(), key.to_owned())].into(),
            ..LogInRequest::default()
        };
        self.connector.log_in(request).await
    }

    /// A login in the browser.
    async fn in_browser(&self, decision: &str) -> Result<LoggedIn, tether_connector_sdk::Error> {
        let verifier = "a-verifier-of-at-least-forty-three-characters-0123";
        let request = BeginAuthorizationRequest {
            redirect_uri: "http://127.0.0.1:1/callback".to_owned(),
            state: "st4te".to_owned(),
            code_challenge: "ch4llenge".to_owned(),
            ..BeginAuthorizationRequest::default()
        };
        let url = self.connector.begin_authorization(request).await?.url;
        let mut callback = self.consent(&url, decision).await;
        assert_eq!(callback.remove("state").as_deref(), Some("st4te"));
        let request = ExchangeCodeRequest {
            redirect_uri: "http://127.0.0.1:1/callback".to_owned(),
            callback,
            code_verifier: verifier.to_owned(),
            ..ExchangeCodeRequest::default()
        };
        self.connector.exchange_code(request).await
    }

    /// Acts as the user of the login page: returns the parameters of the callback.
    async fn consent(&self, url: &str, decision: &str) -> HashMap<String, String> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let encoded: String = url.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let mut stream = tokio::net::TcpStream::connect(&self.address).await.unwrap();
        let request = format!(
            "GET /control/approve?url={encoded}&decision={decision} HTTP/1.0\r\nHost: {}\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let (_, query) = body["redirectUrl"].as_str().unwrap().split_once('?').unwrap();
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }
}

fn connection(kind: AuthKind, credentials: Option<Credentials>) -> Option<Connection> {
    let identity = Identity {
        organization_id: "71".to_owned(),
        user_id: "17".to_owned(),
        ..Identity::default()
    };
    Some(Connection {
        auth_kind: kind.into(),
        credentials,
        identity: Some(identity),
        ..Connection::default()
    })
}

fn with_key() -> Option<Connection> {
    let credentials = Credentials {
        access_token: API_KEY.to_owned(),
        ..Credentials::default()
    };
    connection(AuthKind::ApiKey, Some(credentials))
}

fn selection(object: &str, fields: &[(&str, tether_connector_sdk::proto::FieldType)]) -> ObjectSelection {
    ObjectSelection {
        object: object.to_owned(),
        fields: fields
            .iter()
            .map(|(key, kind)| SelectedField {
                key: (*key).to_owned(),
                r#type: (*kind).into(),
                currency: (*key == "revenue").then(|| AmountCurrency {
                    field: "currency".to_owned(),
                    ..AmountCurrency::default()
                }),
            })
            .collect(),
        ..ObjectSelection::default()
    }
}

fn everything() -> Vec<ObjectSelection> {
    use tether_connector_sdk::proto::FieldType::{Currency, Email, Integer, Text};
    vec![
        selection(
            "companies",
            &[("name", Text), ("employees", Integer), ("revenue", Currency)],
        ),
        selection("people", &[("email", Email)]),
    ]
}

/// The result of a read: payloads by object and id, and the last checkpoint.
#[derive(Default)]
struct Found {
    rows: BTreeMap<(String, String), String>,
    /// The ids of records that the CRM has as deleted.
    deleted: BTreeSet<String>,
    checkpoint: Vec<u8>,
    /// Since which state changes are read; empty for everything.
    state: Vec<u8>,
    checkpoints: usize,
    ended: bool,
}

/// Continues the read from the last checkpoint, for at most the given number of further checkpoints.
async fn read_on(world: &World, connection: Option<Connection>, found: &mut Found, most: usize) -> usize {
    let request = ReadRequest {
        connection,
        selection: everything(),
        mode: match found.state.is_empty() {
            true => ReadMode::Full.into(),
            false => ReadMode::Changes.into(),
        },
        state: found.state.clone(),
        checkpoint: found.checkpoint.clone(),
        ..ReadRequest::default()
    };
    let stream = world.connector.read(request).await.unwrap();
    let (mut asked, mut here) = (0, 0);
    let mut unsaved = BTreeMap::new();
    while here < most && !found.ended {
        match world
            .connector
            .next(stream, here as u64)
            .await
            .unwrap()
            .event
            .unwrap()
        {
            Event::Batch(batch) => {
                for record in batch.records {
                    if record.deleted {
                        found.deleted.insert(record.external_id.clone());
                    }
                    let payload = String::from_utf8(record.payload.to_vec()).unwrap();
                    unsaved.insert((batch.object.clone(), record.external_id), payload);
                }
            }
            Event::Checkpoint(checkpoint) => {
                here += 1;
                found.checkpoints += 1;
                found.checkpoint = checkpoint.state.to_vec();
                found.rows.append(&mut unsaved);
            }
            Event::CredentialsNeeded(_) => {
                asked += 1;
                let login = world.in_browser("allow").await.unwrap();
                let request = ProvideCredentialsRequest {
                    stream,
                    credentials: login.credentials,
                    ..ProvideCredentialsRequest::default()
                };
                world.connector.provide_credentials(request).await.unwrap();
            }
            Event::End(_) => found.ended = true,
            Event::Error(error) => panic!("{error:?}"),
            _ => {}
        }
    }
    world.connector.close_stream(stream);
    asked
}

#[tokio::test]
async fn people_log_in_with_a_key_or_in_the_browser() {
    let world = world().await;
    let login = world.with_key(API_KEY).await.unwrap();
    let identity = login.identity.unwrap();
    assert_eq!(
        (identity.organization_id.as_str(), identity.user_id.as_str()),
        ("71", "17")
    );
    let no = world.with_key("another").await.unwrap_err();
    assert_eq!(
        (no.what(), no.field.as_str()),
        (ErrorKind::InvalidInput, "api_key")
    );

    assert_eq!(
        world.in_browser("deny").await.unwrap_err().what(),
        ErrorKind::InvalidInput
    );
    let login = world.in_browser("allow").await.unwrap();
    assert_eq!(login.identity, Some(identity));
    assert_eq!(login.base_url, format!("http://{}", world.address));

    // Tokens expire, are refreshed, and are revoked; revoked ones are reported as such.
    world.crm.expire();
    let list = |connection| {
        let objects = Vec::new();
        world
            .connector
            .list_fields(ListFieldsRequest { connection, objects })
    };
    let old = connection(AuthKind::AuthorizationCode, login.credentials);
    let expired = list(old.clone()).await.unwrap_err();
    assert_eq!(expired.what(), ErrorKind::CredentialsExpired);
    let refresh = |connection| world.connector.refresh(RefreshRequest { connection });
    let refreshed = refresh(old.clone()).await.unwrap();
    let new = connection(AuthKind::AuthorizationCode, refreshed.credentials);
    list(new.clone()).await.unwrap();
    assert_eq!(
        refresh(old).await.unwrap_err().what(),
        ErrorKind::CredentialsRevoked
    );
    for gone in [false, true] {
        let connection = new.clone();
        let revoked = world
            .connector
            .revoke(RevokeRequest { connection })
            .await
            .unwrap();
        assert_eq!(revoked.already_gone, gone);
    }
}

#[tokio::test]
async fn fields_and_counts() {
    let world = world().await;
    let request = ListFieldsRequest {
        connection: with_key(),
        objects: Vec::new(),
    };
    let listed = world.connector.list_fields(request).await.unwrap();
    let keys = listed
        .objects
        .iter()
        .map(|object| (object.object.as_str(), object.fields.len()));
    assert_eq!(keys.collect::<Vec<_>>(), [("companies", 5), ("people", 2)]);
    assert_eq!(listed.objects[0].fields[2].picklist_values.len(), 3);
    let request = CountRecordsRequest {
        connection: with_key(),
        objects: vec!["people".to_owned(), "unicorns".to_owned()],
    };
    let counted = world.connector.count_records(request).await.unwrap();
    assert_eq!(counted.counts.len(), 1);
    // Without the deleted one.
    assert_eq!((counted.counts[0].count, counted.counts[0].exact), (2_199, true));
}

#[tokio::test]
async fn resumed_at_every_checkpoint_it_is_the_same() {
    let world = world().await;
    let mut whole = Found::default();
    read_on(&world, with_key(), &mut whole, usize::MAX).await;
    assert_eq!((whole.rows.len(), whole.checkpoints), (1_100 * 3, 3 + 5));
    assert_eq!(
        whole.rows[&("companies".to_owned(), "953".to_owned())],
        r#"{"employees":1,"name":"Company 1","revenue":{"amount":"1000.5","currency":"EUR"}}"#
    );
    assert_eq!(whole.deleted, ["965", "9831"].map(str::to_owned).into());
    let mut pieces = Found::default();
    while !pieces.ended {
        read_on(&world, with_key(), &mut pieces, 1).await;
    }
    assert_eq!(pieces.rows, whole.rows);
    // The CRM has forgotten the cursor: the list begins again.
    let mut later = Found::default();
    read_on(&world, with_key(), &mut later, 2).await;
    world.crm.forget_cursors();
    read_on(&world, with_key(), &mut later, usize::MAX).await;
    assert!(later.ended && later.checkpoints > whole.checkpoints);
    assert_eq!(later.rows, whole.rows);
}

#[tokio::test]
async fn what_changed_is_read_and_nothing_costs_a_request_an_object() {
    let world = world().await;
    let mut stored = Found::default();
    read_on(&world, with_key(), &mut stored, usize::MAX).await;
    let state = stored.checkpoint.clone();
    world.crm.reads();
    let next = async || {
        let mut found = Found {
            state: state.clone(),
            ..Found::default()
        };
        read_on(&world, with_key(), &mut found, usize::MAX).await;
        (found, world.crm.reads())
    };
    let (nothing, reads) = next().await;
    assert_eq!(
        (nothing.rows.len(), reads),
        (0, vec!["companies".to_owned(), "people".to_owned()])
    );
    // A changed and a deleted company.
    world.crm.set(953, "name", json!("Renamed"));
    world.crm.set(956, "deleted", json!(true));
    let (some, _) = next().await;
    assert_eq!(some.rows.len(), 2);
    assert_eq!(some.deleted, BTreeSet::from(["956".to_owned()]));
    let payload = &some.rows[&("companies".to_owned(), "953".to_owned())];
    assert!(payload.contains(r#""name":"Renamed""#), "{payload}");
}

#[tokio::test]
async fn a_token_that_ends_in_the_middle_is_replaced() {
    let world = world().await;
    let login = world.in_browser("allow").await.unwrap();
    let connection = connection(AuthKind::AuthorizationCode, login.credentials);
    let mut found = Found::default();
    assert_eq!(read_on(&world, connection.clone(), &mut found, 2).await, 0);
    world.crm.expire();
    assert_eq!(read_on(&world, connection, &mut found, usize::MAX).await, 1);
    assert_eq!(found.rows.len(), 1_100 * 3);
}

#[tokio::test]
async fn an_account_that_moves_is_asked_at_its_new_address() {
    let world = world().await;
    let login = world.in_browser("allow").await.unwrap();
    let moved = world.crm.serve(0).await;
    world.crm.move_to(moved);
    let connection = connection(AuthKind::AuthorizationCode, login.credentials);
    let refreshed = world
        .connector
        .refresh(RefreshRequest { connection })
        .await
        .unwrap();
    assert_eq!(refreshed.base_url, format!("http://{moved}"));
}

#[tokio::test]
async fn one_company_is_read_live() {
    let world = world().await;
    world.crm.set(971, "employees", json!(70));
    world.crm.purge(974);
    let request = |ids: &[&str]| FetchCompanyRequest {
        connection: with_key(),
        external_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        selection: everything(),
        related_limit: 1,
    };
    // Deleted for good, and with a mark.
    let fetched = world
        .connector
        .fetch_company(request(&["971", "974", "965"]))
        .await
        .unwrap();
    let [companies, people] = fetched.objects.as_slice() else {
        panic!("{fetched:?}")
    };
    assert!(String::from_utf8_lossy(&companies.records[0].payload).contains("\"employees\":70"));
    let gone = companies.records.iter().filter(|record| record.deleted);
    assert_eq!(
        gone.map(|record| record.external_id.as_str()).collect::<Vec<_>>(),
        ["974", "965"]
    );
    assert_eq!((people.records.len(), people.more), (1, true));
    assert_eq!(people.records[0].parents[0].external_id, "971");
    assert!(fetched.read_time_us > 0);

    // The second time the fields are known.
    world.crm.reads();
    world.connector.fetch_company(request(&["971"])).await.unwrap();
    assert_eq!(world.crm.reads(), ["companies/971", "people"]);
}
