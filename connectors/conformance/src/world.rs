//! The state shared by the checks of one isolation: the library, the fixture behind its proxy, and cached results.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tether_connector_host::manifest::Isolation;
use tether_connector_host::proto::{
    AuthMethod, DescribeRequest, DescribeResponse, Field, ListFieldsRequest, ObjectFields, ObjectRole,
    ObjectSelection, SelectedField,
};
use tether_connector_host::{ConnectorOptions, HttpOptions, LoadError, raw};
use time::OffsetDateTime;
use tokio::sync::OnceCell;

use crate::connector::{CALL_TIMEOUT, Connector, ReceivedTexts};
use crate::finding::{Context as _, Halt, fails};
use crate::fixture::Fixture;
use crate::logs::Logs;
use crate::proxy::Proxy;
use crate::quirks::{Lack, Quirks};
use crate::rows::Rows;
use crate::secrets::Secrets;
use crate::stream::Stream;
use crate::{Error, Options};

/// The fixture of a connector, with a proxy in front of it.
async fn start(
    given: Option<&str>,
    quirks: &Quirks,
    folder: &Path,
) -> Result<(Option<Fixture>, Option<Proxy>), Error> {
    let fixture = match (given, &quirks.fixture) {
        (Some(url), _) => Some(Fixture::at(url)?),
        (None, Some(fixture)) => Some(Fixture::start(fixture, folder).await?),
        (None, None) => None,
    };
    let proxy = match &fixture {
        Some(fixture) => Some(Proxy::start(&fixture.authority).await.map_err(Error::Proxy)?),
        None => None,
    };
    Ok((fixture, proxy))
}

/// The shared state of one run.
pub(crate) struct World {
    pub(crate) quirks: Quirks,
    pub(crate) isolation: Isolation,
    pub(crate) folder: PathBuf,
    /// The library, or the reason why it could not be loaded.
    pub(crate) library: Arc<Result<raw::Library, LoadError>>,
    /// The address of a fixture that the kit did not start.
    given: Option<String>,
    fixture: Option<Fixture>,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) secrets: Arc<Secrets>,
    /// Operator settings that a change of the CRM has set.
    changed: Mutex<BTreeMap<String, String>>,
    /// When the fixture was started.
    pub(crate) begun: OffsetDateTime,
    pub(crate) received: Arc<ReceivedTexts>,
    logs: Logs,
    /// Lines of earlier runs are skipped.
    logged_before: usize,
    described: OnceCell<DescribeResponse>,
    listed: OnceCell<Vec<ObjectFields>>,
    full_read: OnceCell<Rows>,
}

impl World {
    /// Starts the fixture and the proxy, and loads the library.
    pub(crate) async fn new(options: &Options, quirks: &Quirks, isolation: Isolation) -> Result<Self, Error> {
        let (fixture, proxy) = start(options.fixture.as_deref(), quirks, &options.folder).await?;
        let (folder, program) = (options.folder.clone(), options.program.clone());
        let folder = folder.canonicalize().unwrap_or(folder);
        let there = folder.clone();
        let found = tokio::task::spawn_blocking(move || raw::Library::find(&there, isolation, program)).await;
        let library =
            found.unwrap_or_else(|error| Err(LoadError::Unsupported(format!("loading it failed: {error}"))));
        let world = Self {
            quirks: quirks.clone(),
            isolation,
            folder,
            library: Arc::new(library),
            given: options.fixture.clone(),
            fixture,
            proxy,
            secrets: Arc::default(),
            changed: Mutex::default(),
            begun: OffsetDateTime::now_utc(),
            received: Arc::default(),
            logged_before: options.logs.lines().len(),
            logs: options.logs.clone(),
            described: OnceCell::new(),
            listed: OnceCell::new(),
            full_read: OnceCell::new(),
        };
        for key in &world.quirks.operator.secret {
            let secret = world
                .quirks
                .operator
                .settings
                .get(key)
                .cloned()
                .unwrap_or_default();
            world
                .secrets
                .add(&format!("the setting {key}"), &world.with_placeholders(&secret));
        }
        Ok(world)
    }

    /// The same connector with a fixture of its own, whose records the check changes. A fixture that the kit did not start is
    /// used as it is, and stays changed.
    pub(crate) async fn beside(&self) -> Result<Self, Halt> {
        let started = start(self.given.as_deref(), &self.quirks, &self.folder).await;
        let (fixture, proxy) = started.map_err(|error| fails(error.to_string()))?;
        Ok(Self {
            quirks: self.quirks.clone(),
            isolation: self.isolation,
            folder: self.folder.clone(),
            library: Arc::clone(&self.library),
            given: self.given.clone(),
            fixture,
            proxy,
            secrets: Arc::clone(&self.secrets),
            changed: Mutex::default(),
            begun: OffsetDateTime::now_utc(),
            received: Arc::clone(&self.received),
            logged_before: self.logged_before,
            logs: self.logs.clone(),
            described: OnceCell::new(),
            listed: OnceCell::new(),
            full_read: OnceCell::new(),
        })
    }

    /// Sets an operator setting of the instances that are opened from now on.
    pub(crate) fn set(&self, key: &str, value: String) {
        self.changed.lock().insert(key.to_owned(), value);
    }

    /// Replaces the placeholders of a text.
    pub(crate) fn with_placeholders(&self, text: &str) -> String {
        self.with_placeholders_at(text, &self.address())
    }

    /// The same with another address of the CRM.
    pub(crate) fn with_placeholders_at(&self, text: &str, address: &str) -> String {
        let control = self
            .fixture
            .as_ref()
            .map_or("", |fixture| fixture.control.as_str());
        text.replace("{fixture}", &format!("http://{address}"))
            .replace("{control}", control)
            .replace("{folder}", &self.folder.to_string_lossy())
    }

    /// The connector's address of the CRM: the proxy.
    pub(crate) fn address(&self) -> String {
        self.proxy.as_ref().map_or_else(String::new, Proxy::authority)
    }

    /// The proxy; for a connector without network the check is not applicable.
    pub(crate) fn network(&self) -> Result<&Proxy, Halt> {
        if let Some(reason) = self.quirks.lack(Lack::Network) {
            return Err(Halt::Lacks(reason.to_owned()));
        }
        self.proxy.as_ref().ok_or_else(|| fails("there is no fixture"))
    }

    /// The check is not applicable if this feature is missing.
    pub(crate) fn has(&self, what: Lack) -> Result<(), Halt> {
        self.quirks
            .lack(what)
            .map_or(Ok(()), |reason| Err(Halt::Lacks(reason.to_owned())))
    }

    /// The operator's settings, with placeholders replaced.
    pub(crate) fn operator(&self) -> HashMap<String, String> {
        let changed = self.changed.lock();
        let settings = self.quirks.operator.settings.iter().chain(changed.iter());
        settings
            .map(|(key, value)| (key.clone(), self.with_placeholders(value)))
            .collect()
    }

    /// The group's settings, with placeholders replaced.
    pub(crate) fn group(&self) -> HashMap<String, String> {
        let settings = self.quirks.group.settings.iter();
        settings
            .map(|(key, value)| (key.clone(), self.with_placeholders(value)))
            .collect()
    }

    /// Opens an instance with other settings that may call this address.
    pub(crate) async fn open_with(
        &self,
        settings: HashMap<String, String>,
        address: &str,
    ) -> Result<Connector, LoadError> {
        let addresses = Some(address.to_owned()).filter(|address| !address.is_empty());
        self.open_at(settings, addresses.into_iter().collect()).await
    }

    /// The same with several addresses.
    pub(crate) async fn open_at(
        &self,
        settings: HashMap<String, String>,
        addresses: Vec<String>,
    ) -> Result<Connector, LoadError> {
        let library = self
            .library
            .as_ref()
            .as_ref()
            .map_err(|error| LoadError::Unsupported(error.to_string()))?;
        let options = ConnectorOptions {
            settings: settings.into_iter().collect(),
            plain_http_hosts: addresses,
            ..ConnectorOptions::default()
        };
        let request = library.open_request(&options, &HttpOptions::default())?;
        match library.open(&request).await {
            Ok(raw) => Ok(Connector {
                raw,
                received: Arc::clone(&self.received),
            }),
            Err(error) => {
                self.received.note("an error of open", error.to_string());
                Err(error)
            }
        }
    }

    /// Opens an instance.
    pub(crate) async fn open(&self) -> Result<Connector, Halt> {
        let opened = self.open_with(self.operator(), &self.address()).await;
        opened.map_err(|error| fails(format!("the connector does not open: {error}")))
    }

    /// The description of the connector.
    pub(crate) async fn description(&self, connector: &Connector) -> Result<&DescribeResponse, Halt> {
        let describe = || async {
            let described = connector
                .describe(DescribeRequest {}, CALL_TIMEOUT)
                .await
                .context("Describe")?;
            self.add_secret_settings(&described);
            Ok(described)
        };
        self.described.get_or_try_init(describe).await
    }

    /// Records values that are secret by their description: of the group's settings, and of the login's parameters.
    fn add_secret_settings(&self, described: &DescribeResponse) {
        let ours = |method: &&AuthMethod| method.kind() == self.quirks.login.method.kind();
        let parameters = described.auth_methods.iter().filter(ours);
        let parameters = parameters.flat_map(|method| &method.parameters);
        for setting in described
            .settings
            .iter()
            .chain(parameters)
            .filter(|setting| setting.secret)
        {
            let group = self.quirks.group.settings.get(&setting.key);
            for secret in group
                .into_iter()
                .chain(self.quirks.login.parameters.get(&setting.key))
            {
                self.secrets.add(
                    &format!("the setting {}", setting.key),
                    &self.with_placeholders(secret),
                );
            }
        }
    }

    /// The key of the object of companies.
    pub(crate) async fn company(&self, connector: &Connector) -> Result<String, Halt> {
        let objects = &self.description(connector).await?.objects;
        let company = objects.iter().find(|object| object.role() == ObjectRole::Company);
        company
            .map(|object| object.key.clone())
            .ok_or_else(|| fails("no object has the role COMPANY"))
    }

    /// The fields of all visible objects.
    pub(crate) async fn listed(&self, connector: &Connector) -> Result<&[ObjectFields], Halt> {
        let list = || async {
            let connection = Some(self.log_in(connector).await?);
            let request = ListFieldsRequest {
                connection,
                objects: Vec::new(),
            };
            Ok(connector
                .list_fields(request, CALL_TIMEOUT)
                .await
                .context("ListFields")?
                .objects)
        };
        self.listed.get_or_try_init(list).await.map(Vec::as_slice)
    }

    /// Every field of every visible object.
    pub(crate) async fn selection(&self, connector: &Connector) -> Result<Vec<ObjectSelection>, Halt> {
        let field = |field: &Field| SelectedField {
            key: field.key.clone(),
            r#type: field.r#type,
            currency: field.currency.clone(),
        };
        let listed = self
            .listed(connector)
            .await?
            .iter()
            .filter(|object| object.visible);
        Ok(listed
            .map(|object| ObjectSelection {
                object: object.object.clone(),
                fields: object.fields.iter().map(field).collect(),
                ..ObjectSelection::default()
            })
            .collect())
    }

    /// The result of one complete read without faults.
    pub(crate) async fn full_read(&self, connector: &Connector) -> Result<&Rows, Halt> {
        let read = || async {
            let selection = self.selection(connector).await?;
            let connection = self.log_in(connector).await?;
            let stream = Stream::open(connector, &connection, &selection, b"")
                .await
                .context("Read")?;
            let mut rows = Rows::default();
            stream.take(&mut rows, |_| false).await.context("a full read")?;
            if rows.records.is_empty() {
                return Err(fails("a full read returns no rows: the fixture needs records"));
            }
            Ok(rows)
        };
        self.full_read.get_or_try_init(read).await
    }

    /// The lines that the connector has logged.
    pub(crate) fn logged(&self) -> Vec<String> {
        let mut lines = self.logs.lines();
        lines.drain(..self.logged_before.min(lines.len()));
        lines
    }

    /// The number of attempts to change the fixture; None if it does not report them.
    pub(crate) async fn writes(&self) -> Result<Option<u64>, Halt> {
        let journal = self
            .quirks
            .fixture
            .as_ref()
            .and_then(|fixture| fixture.writes.as_ref());
        let (Some(url), Some(proxy)) = (journal, &self.proxy) else {
            return Ok(None);
        };
        let answer = proxy.get(&self.with_placeholders(url)).await.map_err(fails)?;
        match answer.get("writes") {
            Some(serde_json::Value::Array(writes)) => Ok(Some(writes.len() as u64)),
            Some(number) if number.is_u64() => Ok(number.as_u64()),
            _ => Err(fails("the fixture's journal has no `writes`")),
        }
    }

    /// Whether the connector stops sending requests: waits for a pause without requests, at most `limit`.
    pub(crate) async fn is_quiet(&self, limit: Duration) -> bool {
        match &self.proxy {
            Some(proxy) => proxy.quiet(Duration::from_millis(300), limit).await,
            None => true,
        }
    }
}
