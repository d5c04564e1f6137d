//! A separate simulator for each test, a connector in this process, and the host's part between them.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value as Json;
use tether_connector_salesforce::Salesforce;
use tether_connector_sdk::proto::stream_event::Event;
use tether_connector_sdk::proto::*;
use tether_connector_sdk::testing::Native;

pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub(crate) const REDIRECT: &str = "http://127.0.0.1:1/callback";
pub(crate) const CLIENT_ID: &str = "3MVG9tether.demo";
pub(crate) const CLIENT_SECRET: &str = "tether-demo-secret";

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

/// The simulator's program: the one named by SALESFORCE_SIM, or that of this workspace, built now if it does not
/// exist.
fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM
        .get_or_init(|| {
            if let Some(named) = std::env::var_os("SALESFORCE_SIM") {
                return named.into();
            }
            // In the folder and profile of this test. Cargo decides whether the existing one is up to date.
            let beside = std::env::current_exe().unwrap();
            let folder = beside.ancestors().nth(2).unwrap();
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--quiet", "-p", "salesforce-sim"]);
            if folder.ends_with("release") {
                cargo.arg("--release");
            }
            let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
            assert!(built.success(), "the simulator does not build");
            folder.join(format!("salesforce-sim{}", std::env::consts::EXE_SUFFIX))
        })
        .clone()
}

impl Sim {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        // reqwest requires a provider even for plain http.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut child = Command::new(program())
            .args(["--port", "0", "--exit-with-parent"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = lines.next().unwrap().unwrap();
        let said: Json = serde_json::from_str(&said).unwrap();
        let base = said["http"].as_str().unwrap().trim_end_matches('/').to_owned();
        // The rest is read until its end, so that the simulator never blocks on output.
        std::thread::spawn(move || lines.for_each(drop));
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

    pub(crate) async fn post(&self, path: &str, body: Json) -> Json {
        let response = self
            .http
            .post(format!("{}{path}", self.base))
            .json(&body)
            .send()
            .await
            .unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{path}: {text}");
        serde_json::from_str(&text).unwrap_or(Json::Null)
    }

    /// Adds a fault for later requests.
    pub(crate) async fn fault(&self, fault: Json) {
        self.post("/control/faults", fault).await;
    }

    /// Clears `faults`, `answers` or `hosts`.
    pub(crate) async fn clear(&self, what: &str) {
        let cleared = self
            .http
            .delete(format!("{}/control/{what}", self.base))
            .send()
            .await;
        assert!(cleared.unwrap().status().is_success());
    }

    /// Clears the log of requests.
    pub(crate) async fn forget(&self) {
        self.http
            .delete(format!("{}/control/requests", self.base))
            .send()
            .await
            .unwrap();
    }

    /// The requests since then; with a kind, only those of the kind.
    pub(crate) async fn requests(&self, kind: &str) -> Vec<Json> {
        let journal = self
            .get(&format!("/control/requests?limit=100000&kind={kind}"))
            .await;
        journal["requests"].as_array().unwrap().clone()
    }

    /// The expected result of a complete read of an object for `user`, deleted rows included.
    pub(crate) async fn truth(&self, object: &str, user: &str) -> Vec<Json> {
        let path = format!(
            "{}/control/truth?object={object}&user={user}&deleted=true&form=canonical",
            self.base
        );
        let text = self.http.get(path).send().await.unwrap().text().await.unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Acts as the browser: opens the page, chooses a user, allows; returns the query of the callback.
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
            .unwrap()
            .to_owned();
        reqwest::Url::parse(&location)
            .unwrap()
            .query_pairs()
            .into_owned()
            .collect()
    }

    /// A connector configured for this simulator.
    pub(crate) fn connector(&self) -> Native<Salesforce> {
        self.connector_with(&[])
    }

    pub(crate) fn connector_with(&self, settings: &[(&str, &str)]) -> Native<Salesforce> {
        let host = self.base.strip_prefix("http://").unwrap().to_owned();
        let mut all: HashMap<String, String> = [
            ("client_id", CLIENT_ID),
            ("client_secret", CLIENT_SECRET),
            ("login_host_override", &self.base),
            ("back_off_ms", "1"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        all.extend(settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        Native::open(OpenRequest {
            settings: all,
            http: Some(HttpPolicy {
                allowed_hosts: vec!["login.salesforce.com".into(), "*.my.salesforce.com".into()],
                // The simulator answers both names: an organization can move from one to the other.
                plain_http_hosts: vec![host.replace("127.0.0.1", "localhost"), host],
                ..HttpPolicy::default()
            }),
            ..OpenRequest::default()
        })
        .unwrap()
    }
}

/// Logs in with the browser.
pub(crate) async fn log_in(sim: &Sim, connector: &Native<Salesforce>, username: &str) -> Connection {
    let callback = begin(sim, connector, username, "allow").await;
    let logged_in = exchange(connector, callback).await.unwrap();
    connection(logged_in)
}

pub(crate) fn connection(logged_in: LoggedIn) -> Connection {
    Connection {
        auth_kind: AuthKind::AuthorizationCode.into(),
        credentials: logged_in.credentials,
        base_url: logged_in.base_url,
        identity: logged_in.identity,
        ..Connection::default()
    }
}

pub(crate) async fn begin(
    sim: &Sim,
    connector: &Native<Salesforce>,
    username: &str,
    decision: &str,
) -> HashMap<String, String> {
    let request = BeginAuthorizationRequest {
        redirect_uri: REDIRECT.into(),
        state: "st&te".into(),
        code_challenge: CHALLENGE.into(),
        ..BeginAuthorizationRequest::default()
    };
    let begun: Result<BeginAuthorizationResponse, Error> = connector.begin_authorization(request).await;
    let mut callback = sim.approve(&begun.unwrap().url, username, decision).await;
    assert_eq!(callback.remove("state").as_deref(), Some("st&te"));
    callback
}

pub(crate) async fn exchange(
    connector: &Native<Salesforce>,
    callback: HashMap<String, String>,
) -> Result<LoggedIn, Error> {
    let request = ExchangeCodeRequest {
        redirect_uri: REDIRECT.into(),
        callback,
        code_verifier: VERIFIER.into(),
        ..ExchangeCodeRequest::default()
    };
    connector.exchange_code(request).await
}

pub(crate) async fn refresh(
    connector: &Native<Salesforce>,
    connection: &Connection,
) -> Result<RefreshResponse, Error> {
    connector
        .refresh(RefreshRequest {
            connection: Some(connection.clone()),
        })
        .await
}

pub(crate) async fn list_fields(
    connector: &Native<Salesforce>,
    connection: &Connection,
) -> ListFieldsResponse {
    let request = ListFieldsRequest {
        connection: Some(connection.clone()),
        objects: Vec::new(),
    };
    let listed: Result<ListFieldsResponse, Error> = connector.list_fields(request).await;
    listed.unwrap()
}

/// A selection of fields by name, with the types from ListFields.
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

/// A selection of everything that a user can see.
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
    pub(crate) rows: u64,
    /// `read_time_us` of each batch.
    pub(crate) read_times: Vec<i64>,
    /// Batches that list a range completely.
    pub(crate) covering: u64,
}

/// A stream, run as a host does: rows are stored at checkpoints, credentials are refreshed on request.
pub(crate) struct Reading<'a> {
    connector: &'a Native<Salesforce>,
    stream: u64,
    acknowledged: u64,
    waiting: Vec<RecordBatch>,
    pub(crate) connection: Connection,
    pub(crate) store: Store,
    pub(crate) outcome: Outcome,
}

impl<'a> Reading<'a> {
    pub(crate) async fn start(
        connector: &'a Native<Salesforce>,
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
                    outcome.read_times.push(batch.read_time_us);
                    outcome.covering += u64::from(batch.covers.is_some());
                    self.waiting.push(batch);
                }
                Event::Checkpoint(checkpoint) => {
                    for batch in self.waiting.drain(..) {
                        outcome.rows += batch.records.len() as u64;
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

    /// Stops without closing, like a kill.
    pub(crate) fn kill(self) -> Store {
        self.connector.close_stream(self.stream);
        self.store
    }

    async fn renew(&mut self) {
        let renewed = refresh(self.connector, &self.connection).await.unwrap();
        self.connection.credentials = renewed.credentials;
        self.connection.base_url = renewed.base_url;
        let request = ProvideCredentialsRequest {
            stream: self.stream,
            credentials: self.connection.credentials.clone(),
            base_url: self.connection.base_url.clone(),
            error: None,
        };
        self.connector.provide_credentials(request).await.unwrap();
    }
}

/// Reads everything from the beginning; it must succeed.
pub(crate) async fn read_all(
    connector: &Native<Salesforce>,
    connection: &Connection,
    selection: &[ObjectSelection],
) -> (Store, Outcome) {
    let reading = Reading::start(connector, connection, selection, &[], Store::default()).await;
    let (store, outcome, _) = reading.finish().await;
    assert!(matches!(outcome.end, Some(Ok(()))), "{:?}", outcome.end);
    (store, outcome)
}

fn apply(store: &mut Store, batch: RecordBatch) {
    if let Some(covers) = &batch.covers {
        let listed: std::collections::HashSet<&str> =
            batch.records.iter().map(|r| r.external_id.as_str()).collect();
        store.rows.retain(|(object, id), _| {
            *object != batch.object
                || id.as_str() <= covers.after.as_str()
                || (!covers.through.is_empty() && id.as_str() > covers.through.as_str())
                || listed.contains(id.as_str())
        });
    }
    for record in batch.records {
        let key = (batch.object.clone(), record.external_id.clone());
        store.rows.insert(key, record);
    }
}

/// The form of a value of the truth in a payload.
pub(crate) fn canonical(kind: FieldType, truth: &Json) -> Option<Json> {
    let text = match truth {
        Json::Null => return None,
        Json::String(text) if text.is_empty() => return None,
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    Some(match kind {
        FieldType::Boolean | FieldType::Integer => truth.clone(),
        FieldType::Decimal | FieldType::Currency | FieldType::Percent => {
            tether_connector_sdk::payload::decimal(&text).unwrap().into()
        }
        FieldType::MultiPicklist => text.split(';').collect::<Vec<_>>().into(),
        FieldType::Reference => serde_json::json!({"id": text}),
        FieldType::Timestamp => tether_connector_sdk::payload::timestamp_us(&text).unwrap().into(),
        FieldType::Time => text.trim_end_matches('Z').into(),
        FieldType::Address => {
            let names = [
                ("city", "city"),
                ("country", "country"),
                ("countryCode", "country_code"),
                ("postalCode", "postal_code"),
                ("state", "state"),
                ("stateCode", "state_code"),
                ("street", "street"),
            ];
            let set = names.iter().filter(|(theirs, _)| truth[theirs].is_string());
            let parts: serde_json::Map<_, _> = set
                .map(|(theirs, ours)| ((*ours).to_owned(), truth[theirs].clone()))
                .collect();
            return (!parts.is_empty()).then_some(Json::Object(parts));
        }
        FieldType::Location => {
            let part = |name: &str| tether_connector_sdk::payload::decimal(&truth[name].to_string()).unwrap();
            serde_json::json!({"latitude": part("latitude"), "longitude": part("longitude")})
        }
        _ => text.into(),
    })
}

/// A payload's value in the form that [`canonical`] gives.
fn comparable(kind: FieldType, mut value: Json) -> Json {
    match kind {
        FieldType::Reference => {
            value.as_object_mut().unwrap().remove("label");
            value
        }
        FieldType::Timestamp => tether_connector_sdk::payload::timestamp_us(value.as_str().unwrap())
            .unwrap()
            .into(),
        _ => value,
    }
}

/// Compares the store with the truth: every row of every object, every selected field.
pub(crate) async fn assert_true(sim: &Sim, user: &str, selection: &[ObjectSelection], store: &Store) {
    for ObjectSelection { object, fields } in selection {
        let truth = sim.truth(object, user).await;
        assert_eq!(store.of(object).count(), truth.len(), "rows of {object}");
        for row in truth {
            let id = row["Id"].as_str().unwrap();
            let record = &store.rows[&(object.clone(), id.to_owned())];
            assert_eq!(record.deleted, row["IsDeleted"] == true, "{object} {id}");
            let master = row.get("MasterRecordId").and_then(Json::as_str).unwrap_or("");
            assert_eq!(record.merged_into, master, "{object} {id}");
            let parents: Vec<&str> = record.parents.iter().map(|p| p.external_id.as_str()).collect();
            let parent = row.get("AccountId").and_then(Json::as_str);
            assert_eq!(parents, parent.as_slice(), "{object} {id}");
            let modified =
                tether_connector_sdk::payload::timestamp_us(row["SystemModstamp"].as_str().unwrap());
            assert_eq!(Some(record.modified_us), modified);
            let mut payload = store.payload(object, id);
            for field in fields {
                let ours = payload.as_object_mut().unwrap().remove(&field.key);
                let ours = ours.map(|value| comparable(field.r#type(), value));
                assert_eq!(
                    ours,
                    canonical(field.r#type(), &row[&field.key]),
                    "{object} {id} {}",
                    field.key
                );
            }
            assert_eq!(
                payload,
                serde_json::json!({}),
                "{object} {id}: more than was selected"
            );
        }
    }
}

/// Checks the journal against the read set: the token endpoint, GETs, and composites of GETs.
pub(crate) async fn assert_only_read(sim: &Sim) {
    let journal = sim.get("/control/requests?limit=100000").await;
    assert_eq!(journal["writes"], 0);
    for request in journal["requests"].as_array().unwrap() {
        let (method, path) = (
            request["method"].as_str().unwrap(),
            request["path"].as_str().unwrap(),
        );
        let fine = match path {
            "/services/oauth2/token" | "/services/oauth2/revoke" => method == "POST",
            // The browser.
            "/services/oauth2/authorize" => true,
            path if path.starts_with("/control") => true,
            path if path.ends_with("/composite") => {
                let inner = request["inner"].as_array().unwrap();
                method == "POST" && !inner.is_empty() && inner.iter().all(|part| part["method"] == "GET")
            }
            _ => method == "GET",
        };
        assert!(fine, "{method} {path}");
    }
}

impl Store {
    /// The payload of a record.
    pub(crate) fn payload(&self, object: &str, id: &str) -> Json {
        serde_json::from_slice(&self.rows[&(object.to_owned(), id.to_owned())].payload).unwrap()
    }

    pub(crate) fn of(&self, object: &str) -> impl Iterator<Item = &Record> {
        self.rows
            .iter()
            .filter(move |((o, _), _)| o == object)
            .map(|(_, record)| record)
    }
}
