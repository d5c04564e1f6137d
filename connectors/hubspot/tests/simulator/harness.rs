//! A separate simulator for each test, a connector in this process, and the host's part between them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value as Json, json};
use tether_connector_hubspot::HubSpot;
use tether_connector_sdk::proto::stream_event::Event;
use tether_connector_sdk::proto::*;
use tether_connector_sdk::testing::Native;

pub(crate) const REDIRECT: &str = "http://127.0.0.1:1/callback";
pub(crate) const CLIENT_SECRET: &str = "tether-demo-secret";
pub(crate) const PRIVATE_APP: &str = "pat-na1-11111111-2222-4333-8444-555555555555";
pub(crate) const ADMIN: &str = "admin@acme.example";

/// A simulator that ends with the test.
pub(crate) struct Sim {
    child: Child,
    pub(crate) base: String,
    pub(crate) http: reqwest::Client,
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The simulator's program: the one named by HUBSPOT_SIM, or that of this workspace, built now if it does not exist.
fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM
        .get_or_init(|| {
            if let Some(named) = std::env::var_os("HUBSPOT_SIM") {
                return named.into();
            }
            // In the folder and profile of this test. Cargo decides whether the existing one is up to date.
            let beside = std::env::current_exe().unwrap();
            let folder = beside.ancestors().nth(2).unwrap();
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--quiet", "-p", "hubspot-sim"]);
            if folder.ends_with("release") {
                cargo.arg("--release");
            }
            let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
            assert!(built.success(), "the simulator does not build");
            folder.join(format!("hubspot-sim{}", std::env::consts::EXE_SUFFIX))
        })
        .clone()
}

impl Sim {
    pub(crate) fn start(companies: u32) -> Self {
        // reqwest requires a provider even for plain http.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut child = Command::new(program())
            .args(["--port", "0", "--exit-with-parent", "--companies"])
            .arg(companies.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said: Json = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let base = said["http"].as_str().unwrap().to_owned();
        Self {
            child,
            base,
            http: reqwest::Client::new(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Json {
        let response = self
            .http
            .get(format!("{}{path}", self.base))
            .send()
            .await
            .unwrap();
        assert!(
            response.status().is_success(),
            "{path}: {}",
            response.text().await.unwrap()
        );
        response.json().await.unwrap()
    }

    /// Sends a control request to the simulator.
    pub(crate) async fn control(&self, path: &str, body: Json) -> Json {
        let url = format!("{}/control{path}", self.base);
        let response = self.http.post(url).json(&body).send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{path}: {text}");
        serde_json::from_str(&text).unwrap_or(Json::Null)
    }

    /// Adds a fault for later requests.
    pub(crate) async fn fault(&self, fault: Json) {
        self.control("/faults", fault).await;
    }

    /// Removes the limit of searches, for tests of other features.
    pub(crate) async fn unlimited(&self) {
        self.control("/limits", json!({"searches": 1_000})).await;
    }

    /// Clears the log of requests.
    pub(crate) async fn forget(&self) {
        let url = format!("{}/control/requests", self.base);
        self.http.delete(url).send().await.unwrap();
    }

    /// The requests since then; with a kind, only those of the kind.
    pub(crate) async fn requests(&self, kind: &str) -> Vec<Json> {
        let query = if kind.is_empty() {
            String::new()
        } else {
            format!("?kind={kind}")
        };
        let journal = self.get(&format!("/control/requests{query}")).await;
        journal["requests"].as_array().unwrap().clone()
    }

    /// The expected result of a complete read of an object, archived rows included.
    pub(crate) async fn truth(&self, object: &str) -> Vec<Json> {
        let path = format!("{}/control/truth?object={object}&deleted=true", self.base);
        let text = self.http.get(path).send().await.unwrap().text().await.unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The ids of live rows of an object.
    pub(crate) async fn ids(&self, object: &str) -> Vec<String> {
        let live = self
            .truth(object)
            .await
            .into_iter()
            .filter(|row| row["archived"] == false);
        live.map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Acts as the browser: opens the page, chooses a user, connects; returns the query of the callback.
    pub(crate) async fn approve(&self, url: &str, username: &str, decision: &str) -> HashMap<String, String> {
        let url = reqwest::Url::parse(url).unwrap();
        let mut form: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        form.push(("username".into(), username.into()));
        form.push(("decision".into(), decision.into()));
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let address = format!("{}{}", self.base, url.path());
        let response = client.post(address).form(&form).send().await.unwrap();
        let location = response
            .headers()
            .get("location")
            .expect("a redirect")
            .to_str()
            .unwrap();
        reqwest::Url::parse(location)
            .unwrap()
            .query_pairs()
            .into_owned()
            .collect()
    }

    /// A connector configured for this simulator.
    pub(crate) fn connector(&self) -> Native<HubSpot> {
        self.connector_with(&[])
    }

    pub(crate) fn connector_with(&self, settings: &[(&str, &str)]) -> Native<HubSpot> {
        let host = self.base.strip_prefix("http://").unwrap().to_owned();
        let mut all: HashMap<String, String> = [
            ("client_id", "tether-demo-app"),
            ("client_secret", CLIENT_SECRET),
            ("address_override", &self.base),
            ("back_off_ms", "1"),
            ("searches_per_second", "1000"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        all.extend(settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        Native::open(OpenRequest {
            settings: all,
            http: Some(HttpPolicy {
                allowed_hosts: vec!["app.hubspot.com".into(), "api.hubapi.com".into()],
                plain_http_hosts: vec![host],
                ..HttpPolicy::default()
            }),
            ..OpenRequest::default()
        })
        .unwrap()
    }
}

/// Logs in with the browser.
pub(crate) async fn log_in(sim: &Sim, connector: &Native<HubSpot>, username: &str) -> Connection {
    let callback = begin(sim, connector, username, "allow").await;
    connection(
        AuthKind::AuthorizationCode,
        exchange(connector, callback).await.unwrap(),
    )
}

/// Logs in with the token of a private app.
pub(crate) async fn log_in_with_key(connector: &Native<HubSpot>, key: &str) -> Result<LoggedIn, Error> {
    let request = LogInRequest {
        auth_kind: AuthKind::ApiKey.into(),
        parameters: [("api_key".to_owned(), key.to_owned())].into(),
        ..LogInRequest::default()
    };
    connector.log_in(request).await
}

pub(crate) fn connection(kind: AuthKind, logged_in: LoggedIn) -> Connection {
    Connection {
        auth_kind: kind.into(),
        credentials: logged_in.credentials,
        base_url: logged_in.base_url,
        identity: logged_in.identity,
        ..Connection::default()
    }
}

pub(crate) async fn begin(
    sim: &Sim,
    connector: &Native<HubSpot>,
    username: &str,
    decision: &str,
) -> HashMap<String, String> {
    let request = BeginAuthorizationRequest {
        redirect_uri: REDIRECT.into(),
        state: "st&te".into(),
        code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".into(),
        ..BeginAuthorizationRequest::default()
    };
    let begun: Result<BeginAuthorizationResponse, Error> = connector.begin_authorization(request).await;
    let url = begun.unwrap().url;
    assert!(!url.contains("code_challenge"), "HubSpot has no PKCE: {url}");
    let mut callback = sim.approve(&url, username, decision).await;
    assert_eq!(callback.remove("state").as_deref(), Some("st&te"));
    callback
}

pub(crate) async fn exchange(
    connector: &Native<HubSpot>,
    callback: HashMap<String, String>,
) -> Result<LoggedIn, Error> {
    let request = ExchangeCodeRequest {
        redirect_uri: REDIRECT.into(),
        callback,
        code_verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".into(),
        ..ExchangeCodeRequest::default()
    };
    connector.exchange_code(request).await
}

pub(crate) async fn refresh(
    connector: &Native<HubSpot>,
    connection: &Connection,
) -> Result<RefreshResponse, Error> {
    let connection = Some(connection.clone());
    connector.refresh(RefreshRequest { connection }).await
}

pub(crate) async fn list_fields(connector: &Native<HubSpot>, connection: &Connection) -> ListFieldsResponse {
    let request = ListFieldsRequest {
        connection: Some(connection.clone()),
        objects: Vec::new(),
    };
    let listed: Result<ListFieldsResponse, Error> = connector.list_fields(request).await;
    listed.unwrap()
}

/// A selection of fields by name, with the types from ListFields; `*` selects all.
pub(crate) fn select(fields: &ListFieldsResponse, wanted: &[(&str, &[&str])]) -> Vec<ObjectSelection> {
    let of = |object: &str| fields.objects.iter().find(|o| o.object == object).unwrap();
    wanted
        .iter()
        .map(|(object, keys)| ObjectSelection {
            object: (*object).to_owned(),
            fields: of(object)
                .fields
                .iter()
                .filter(|field| keys.contains(&"*") || keys.contains(&field.key.as_str()))
                .map(|field| SelectedField {
                    key: field.key.clone(),
                    r#type: field.r#type,
                })
                .collect(),
        })
        .collect()
}

/// A selection of everything that a login can see.
pub(crate) fn select_all(fields: &ListFieldsResponse) -> Vec<ObjectSelection> {
    let objects: Vec<(&str, &[&str])> = fields
        .objects
        .iter()
        .filter(|object| object.visible)
        .map(|object| (object.object.as_str(), &["*"][..]))
        .collect();
    select(fields, &objects)
}

/// The rows that a host keeps: it stores rows at each checkpoint, and removes rows that a complete listing lacks.
#[derive(Default, Clone, PartialEq, Debug)]
pub(crate) struct Store {
    pub(crate) rows: BTreeMap<(String, String), Record>,
    /// Rows removed because a listing lacked them.
    pub(crate) unlisted: BTreeSet<String>,
}

/// The result of a stream.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) end: Option<Result<(), Error>>,
    pub(crate) checkpoints: Vec<Vec<u8>>,
    /// The store as it was at each checkpoint.
    pub(crate) stores: Vec<Store>,
    pub(crate) changes: Vec<FieldChange>,
    pub(crate) statuses: Vec<ObjectStatus>,
    pub(crate) progress: Vec<Progress>,
    pub(crate) usage: ApiUsage,
    pub(crate) credentials_asked: u32,
    pub(crate) batches: u64,
    /// Batches that claim to list a range.
    pub(crate) covering: u64,
}

/// A stream, run as a host does: rows are stored at checkpoints, credentials are refreshed on request.
pub(crate) struct Reading<'a> {
    connector: &'a Native<HubSpot>,
    stream: u64,
    acknowledged: u64,
    waiting: Vec<RecordBatch>,
    pub(crate) connection: Connection,
    pub(crate) store: Store,
    pub(crate) outcome: Outcome,
}

impl<'a> Reading<'a> {
    pub(crate) async fn start(
        connector: &'a Native<HubSpot>,
        connection: &Connection,
        selection: &[ObjectSelection],
        checkpoint: &[u8],
        store: Store,
    ) -> Self {
        let request = ReadRequest {
            connection: Some(connection.clone()),
            selection: selection.to_vec(),
            mode: ReadMode::Full.into(),
            checkpoint: checkpoint.to_vec(),
        };
        Self {
            connector,
            stream: connector.read(request).await.unwrap(),
            acknowledged: 0,
            waiting: Vec::new(),
            connection: connection.clone(),
            store,
            outcome: Outcome::default(),
        }
    }

    /// Runs to the next checkpoint; false if the stream ended before.
    pub(crate) async fn checkpoint(&mut self) -> bool {
        loop {
            let event = self.connector.next(self.stream, self.acknowledged).await.unwrap();
            let outcome = &mut self.outcome;
            match event.event.unwrap() {
                Event::Batch(batch) => {
                    outcome.batches += 1;
                    outcome.covering += u64::from(batch.covers_numbers.is_some());
                    self.waiting.push(batch);
                }
                Event::Checkpoint(checkpoint) => {
                    for batch in self.waiting.drain(..) {
                        apply(&mut self.store, batch);
                    }
                    self.acknowledged = checkpoint.sequence;
                    outcome.checkpoints.push(checkpoint.state.to_vec());
                    outcome.stores.push(self.store.clone());
                    return true;
                }
                Event::FieldChange(change) => outcome.changes.push(change),
                Event::ObjectStatus(status) => outcome.statuses.push(status),
                Event::Progress(progress) => outcome.progress.push(progress),
                Event::ApiUsage(usage) => outcome.usage = usage,
                Event::CredentialsNeeded(_) => {
                    outcome.credentials_asked += 1;
                    self.renew().await;
                }
                Event::End(End {}) => outcome.end = Some(Ok(())),
                Event::Error(error) => outcome.end = Some(Err(error)),
            }
            if let Some(end) = &self.outcome.end {
                assert!(
                    self.waiting.is_empty() || end.is_err(),
                    "rows without a checkpoint"
                );
                return false;
            }
        }
    }

    /// Runs to the end.
    pub(crate) async fn finish(mut self) -> (Store, Outcome, Connection) {
        while self.checkpoint().await {}
        (self.store, self.outcome, self.connection)
    }

    async fn renew(&mut self) {
        let (credentials, error) = match refresh(self.connector, &self.connection).await {
            Ok(renewed) => (renewed.credentials, None),
            Err(error) => (None, Some(error)),
        };
        self.connection.credentials.clone_from(&credentials);
        let request = ProvideCredentialsRequest {
            stream: self.stream,
            credentials,
            base_url: self.connection.base_url.clone(),
            error,
        };
        self.connector.provide_credentials(request).await.unwrap();
    }
}

/// Reads everything from the beginning into an existing store; it must succeed.
pub(crate) async fn read_into(
    connector: &Native<HubSpot>,
    connection: &Connection,
    selection: &[ObjectSelection],
    store: Store,
) -> (Store, Outcome) {
    let reading = Reading::start(connector, connection, selection, &[], store).await;
    let (store, outcome, _) = reading.finish().await;
    assert!(matches!(outcome.end, Some(Ok(()))), "{:?}", outcome.end);
    (store, outcome)
}

/// The same into an empty store.
pub(crate) async fn read_all(
    connector: &Native<HubSpot>,
    connection: &Connection,
    selection: &[ObjectSelection],
) -> (Store, Outcome) {
    read_into(connector, connection, selection, Store::default()).await
}

/// The host's part: ids are compared as numbers.
fn apply(store: &mut Store, batch: RecordBatch) {
    assert!(
        batch.covers.is_none(),
        "HubSpot's ids are not in the order of their bytes"
    );
    if let Some(covers) = &batch.covers_numbers {
        let listed: HashSet<&str> = batch.records.iter().map(|r| r.external_id.as_str()).collect();
        let number = |id: &str| id.parse::<u64>().unwrap();
        store.rows.retain(|(object, id), record| {
            let stays = *object != batch.object
                || record.deleted
                || !covers.after.is_empty() && number(id) <= number(&covers.after)
                || !covers.through.is_empty() && number(id) > number(&covers.through)
                || listed.contains(id.as_str());
            if !stays {
                store.unlisted.insert(id.clone());
            }
            stays
        });
    }
    for record in batch.records {
        let key = (batch.object.clone(), record.external_id.clone());
        // A record that is already removed stays unchanged.
        if !record.deleted || store.rows.contains_key(&key) || !record.merged_into.is_empty() {
            store.rows.insert(key, record);
        }
    }
}

impl Store {
    /// The payload of a record.
    pub(crate) fn payload(&self, object: &str, id: &str) -> Json {
        serde_json::from_slice(&self.rows[&(object.to_owned(), id.to_owned())].payload).unwrap()
    }

    pub(crate) fn get(&self, object: &str, id: &str) -> Option<&Record> {
        self.rows.get(&(object.to_owned(), id.to_owned()))
    }

    /// Live rows of an object.
    pub(crate) fn live(&self, object: &str) -> impl Iterator<Item = &Record> {
        let of = self.rows.iter().filter(move |((o, _), _)| o == object);
        of.map(|(_, record)| record).filter(|record| !record.deleted)
    }

    /// The companies of a record.
    pub(crate) fn parents(&self, object: &str, id: &str) -> Vec<&str> {
        let record = self.get(object, id).unwrap();
        let mut ids: Vec<&str> = record.parents.iter().map(|p| p.external_id.as_str()).collect();
        assert!(record.parents.iter().all(|parent| parent.object == "companies"));
        ids.sort_by_key(|id| id.parse::<u64>().unwrap());
        ids
    }
}

/// The form of a value of the truth in a payload.
pub(crate) fn canonical(kind: FieldType, truth: &Json) -> Option<Json> {
    use tether_connector_sdk::payload::decimal;
    let text = truth.as_str().filter(|text| !text.is_empty())?;
    Some(match kind {
        FieldType::Boolean => (text == "true").into(),
        FieldType::Decimal | FieldType::Currency => decimal(text).unwrap().into(),
        FieldType::Percent => decimal(&format!("{text}E2")).unwrap().into(),
        FieldType::MultiPicklist => text.split(';').collect::<Vec<_>>().into(),
        FieldType::Reference => json!({"id": text}),
        FieldType::Timestamp => tether_connector_sdk::payload::timestamp_us(text).unwrap().into(),
        _ => text.into(),
    })
}

fn comparable(kind: FieldType, value: Json) -> Json {
    match kind {
        FieldType::Timestamp => tether_connector_sdk::payload::timestamp_us(value.as_str().unwrap())
            .unwrap()
            .into(),
        _ => value,
    }
}

/// Compares the store with the truth: every live row of every object, every selected field, every company of a
/// record.
pub(crate) async fn assert_true(sim: &Sim, selection: &[ObjectSelection], store: &Store) {
    for ObjectSelection { object, fields } in selection {
        let truth = sim.truth(object).await;
        let live: Vec<&Json> = truth.iter().filter(|row| row["archived"] == false).collect();
        assert_eq!(store.live(object).count(), live.len(), "rows of {object}");
        for row in &truth {
            let id = row["id"].as_str().unwrap();
            let Some(winner) = row["mergedInto"].as_str() else {
                continue;
            };
            let lost = store.get(object, id).unwrap();
            assert!(lost.deleted && lost.merged_into == winner, "{object} {id}");
        }
        for row in live {
            let id = row["id"].as_str().unwrap();
            let record = store.get(object, id).unwrap();
            assert!(!record.deleted, "{object} {id}");
            let modified = tether_connector_sdk::payload::timestamp_us(row["updatedAt"].as_str().unwrap());
            assert_eq!(Some(record.modified_us), modified);
            let companies = row["companies"].as_array().cloned().unwrap_or_default();
            assert_eq!(store.parents(object, id), companies, "{object} {id}");
            let mut payload = store.payload(object, id);
            for field in fields {
                let ours = payload.as_object_mut().unwrap().remove(&field.key);
                let ours = ours.map(|value| comparable(field.r#type(), value));
                let theirs = canonical(field.r#type(), &row[&field.key]);
                assert_eq!(ours, theirs, "{object} {id} {}", field.key);
            }
            assert_eq!(payload, json!({}), "{object} {id}: more than was selected");
        }
    }
}

/// Checks the journal against the allowed requests.
pub(crate) async fn assert_only_read(sim: &Sim) {
    let journal = sim.get("/control/requests").await;
    assert_eq!(journal["writes"], 0, "{}", journal["writeRequests"]);
    for request in journal["requests"].as_array().unwrap() {
        let kind = request["kind"].as_str().unwrap();
        let fine = match request["method"].as_str().unwrap() {
            "GET" => true,
            "POST" => matches!(
                kind,
                "authorize"
                    | "token"
                    | "introspect"
                    | "revoke"
                    | "private_app"
                    | "batch_read"
                    | "search"
                    | "associations"
            ),
            "DELETE" => kind == "revoke",
            _ => false,
        };
        assert!(fine, "{request}");
        assert!(request["addressBytes"].as_u64().unwrap() < 8_192, "{request}");
    }
}
