//! The running server: three listeners, the sync engine and the outbox, started together and stopped in order.

use crate::config::{self, Options};
use crate::connectors::{self, Registry};
use crate::credentials::{self, Credentials, seal::Sealer};
use crate::grpc::server::{self as grpc, Health};
use crate::index::{self, Index};
use crate::listener::{self, Descriptors, Limits};
use crate::service::{self, Services};
use crate::store::{self, Store};
use crate::tokens::Verifier;
use crate::tokens::dev::{self, DevSigner};
use crate::{admin, data_dir, oauth_callback, query, reidentify, sync, tasks, telemetry};
use arc_swap::ArcSwap;
use secrecy::{ExposeSecret, SecretString};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// An error at start or while serving.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The groups that `--dev` creates: (id, name).
pub const DEV_GROUPS: &[(&str, &str)] = &[("acme", "Acme Research"), ("globex", "Globex Partners")];
const DEV_SEALING_KEY_FILE: &str = "dev-sealing.key";

/// A running server.
pub struct Running {
    /// The address of the gRPC listener.
    pub grpc: SocketAddr,
    /// The address of the callback listener.
    pub callback: SocketAddr,
    /// The address of the admin listener.
    pub admin: SocketAddr,
    /// Signs tokens; only with `--dev`.
    pub signer: Option<DevSigner>,
    health: Health,
    registry: Registry,
    _watch: Option<connectors::Watch>,
    verifier: Arc<ArcSwap<Verifier>>,
    options: Options,
    engine: sync::Engine,
    credentials: Credentials,
    services: Services,
    listeners: JoinSet<Result<(), Failure>>,
    /// Stops the listeners.
    stop: CancellationToken,
}

/// Prepares the data directory: creates it, checks that it is writable, and removes the access of other users.
///
/// # Errors
/// It cannot be created or written.
pub fn prepare_data_dir(options: &Options) -> Result<(), Failure> {
    let database = data_dir::sqlite_file(options.database_url().expose_secret());
    data_dir::prepare(&options.data_dir, database.as_deref())?;
    Ok(())
}

/// Opens the database without changing it.
///
/// # Errors
/// An error of the database.
pub async fn connect_store(options: &Options) -> Result<Store, Failure> {
    let mut of = store::Options::new(options.database_url().expose_secret())
        .within_lease(Duration::from_secs(options.sync.lease_seconds));
    if options.database.connections > 0 {
        of.connections = options.database.connections;
    }
    let data = options.database.data.iter();
    of.data = data
        .map(|(name, url)| (name.clone(), url.expose_secret().to_owned()))
        .collect();
    Ok(tokio::task::spawn_blocking(move || Store::open(&of)).await??)
}

/// Opens the database, migrates its tables, and recomputes the companies of records if the identity rules have
/// changed. A database of data sets that does not answer (`database.data`) is brought up to date when it does.
///
/// # Errors
/// An error of the database, or a later version of tether has migrated it.
pub async fn open_store(options: &Options) -> Result<Store, Failure> {
    Ok(migrate(options).await?.0)
}

/// [`open_store`], and the errors of the databases of data sets that do not answer.
///
/// # Errors
/// The same.
pub async fn migrate(options: &Options) -> Result<(Store, Vec<store::Error>), Failure> {
    let store = connect_store(options).await?;
    let (versions, silent) = store.migrate().await?;
    for version in versions {
        tracing::info!("migrated the database: {version}");
    }
    store.company_fill_all().await?;
    reidentify::run(&store).await?;
    Ok((store, silent))
}

/// The configured sealing keys; with `--dev`, a key is created in the data directory.
///
/// # Errors
/// No key is configured, or a key cannot be read.
pub fn sealer(options: &Options) -> Result<Sealer, Failure> {
    let mut keys: Vec<SecretString> = Vec::new();
    if let Some(list) = &options.secrets.keys {
        keys.extend(list.expose_secret().split(',').map(|key| key.trim().into()));
    }
    if let Some(path) = &options.secrets.keys_file {
        let text = config::read_file("secrets.keys_file", path)?;
        keys.extend(
            text.lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .map(SecretString::from),
        );
    }
    if keys.is_empty() && options.dev {
        let path = options.data_dir.join(DEV_SEALING_KEY_FILE);
        if !path.exists() {
            data_dir::write_private(&path, Sealer::generate_key().as_bytes())?;
        }
        keys.push(config::read_file("data_dir", &path)?.into());
    }
    Ok(Sealer::new(keys.iter().map(ExposeSecret::expose_secret))?)
}

fn verifier(options: &Options, signer: Option<&DevSigner>) -> Result<Verifier, Failure> {
    if let Some(signer) = signer {
        return Ok(Verifier::from_jwks(
            &signer.jwks(),
            dev::DEV_ISSUER,
            dev::DEV_AUDIENCE,
        )?);
    }
    let path = options
        .auth
        .jwks_file
        .as_deref()
        .ok_or("auth.jwks_file is not set")?;
    let jwks = config::read_file("auth.jwks_file", path)?;
    Ok(Verifier::from_jwks(
        &jwks,
        &options.auth.issuer,
        &options.auth.audience,
    )?)
}

/// Finds and loads the connectors.
///
/// # Errors
/// A file that the settings of a connector name cannot be read.
pub async fn open_registry(options: &Options) -> Result<Registry, Failure> {
    for folder in options.connectors.folders() {
        if folder.join("sdk/Cargo.toml").exists() {
            return Err(format!(
                "connectors.dir = {}: this is the folder of the connectors' sources. `cargo xtask connectors` builds them into \
                 target/connectors",
                folder.display()
            )
            .into());
        }
    }
    let mut of = connectors::Options {
        folders: options.connectors.folders(),
        ..Default::default()
    };
    for (name, given) in &options.connector {
        if let Some(path) = &given.ca_file {
            of.http
                .ca_pem
                .push_str(&config::read_file("connector.ca_file", path)?);
        }
        if !given.proxy_url.is_empty() {
            of.http.proxy_url.clone_from(&given.proxy_url);
        }
        let settings = given.settings.iter();
        let entry = connectors::ConnectorOptions {
            settings: settings
                .map(|(key, value)| (key.clone(), value.expose_secret().to_owned()))
                .collect(),
            extra_allowed_hosts: given.allowed_hosts.clone(),
            plain_http_hosts: given.plain_http_hosts.clone(),
            trusted: given.trusted,
        };
        of.connectors.insert(name.clone(), entry);
    }
    Ok(of.build().await)
}

impl Running {
    /// Starts the server.
    ///
    /// # Errors
    /// The address of a listener is in use, the database fails, or a key is missing.
    pub async fn start(options: Options) -> Result<Self, Failure> {
        prepare_data_dir(&options)?;
        let metrics = telemetry::init_metrics()?;
        let descriptors = Descriptors::raise();
        tracing::info!(
            "{} file descriptors: at most {} connections to gRPC, {} to the callback page, {} to metrics",
            descriptors.limit,
            descriptors.grpc,
            descriptors.callback,
            descriptors.admin
        );
        let signer = if options.dev {
            Some(DevSigner::open(&options.data_dir, true)?)
        } else {
            None
        };
        let verifier = Arc::new(ArcSwap::from_pointee(verifier(&options, signer.as_ref())?));
        let sealer = sealer(&options)?;
        let store = open_store(&options).await?;
        let registry = open_registry(&options).await?;
        let (grpc_listener, callback_listener, admin_listener) = (
            listen("grpc", options.listen.grpc).await?,
            listen("callback", options.listen.callback).await?,
            listen("admin", options.listen.admin).await?,
        );
        let callback = callback_listener.local_addr()?;
        let wake = Arc::new(Notify::new());
        let credentials = Credentials::new(
            store.clone(),
            registry.clone(),
            sealer.clone(),
            credentials_options(&options),
        );
        let index = Index::new(store.clone(), index::Options::new(options.data_dir.join("index")));
        let services = Services::new(
            store.clone(),
            registry.clone(),
            credentials.clone(),
            query::Engine::new(index.clone()),
            sealer,
            service_options(&options, callback),
            Arc::clone(&wake),
        );
        if options.dev {
            for (id, name) in DEV_GROUPS {
                services
                    .group_ensure(&id.parse()?, name)
                    .await
                    .map_err(|error| error.to_string())?;
            }
        }
        if store.backend() == "sqlite" {
            // Only one process can have the file open, so the holders of all leases are gone.
            store.release_all_leases(crate::time::now_us()).await?;
        }
        let engine = sync::Engine::start(
            store,
            registry.clone(),
            credentials.clone(),
            sync_options(&options),
            wake,
        );
        let (stop, health) = (CancellationToken::new(), Health::default());
        let mut listeners = JoinSet::new();
        let watch = options.connectors.watch.then(|| registry.watch());
        let running = Self {
            grpc: grpc_listener.local_addr()?,
            callback,
            admin: admin_listener.local_addr()?,
            signer,
            registry,
            _watch: watch,
            verifier: Arc::clone(&verifier),
            engine,
            credentials: credentials.clone(),
            services: services.clone(),
            stop: stop.clone(),
            listeners: JoinSet::new(),
            options,
            health,
        };
        listeners.spawn(grpc::serve(
            (grpc_listener, grpc::limits(descriptors.grpc)),
            services.clone(),
            verifier,
            running.health.clone(),
            (running.options.tls.clone(), running.options.web.clone()),
            stop.clone(),
        ));
        listeners.spawn(serve_http(
            callback_listener,
            short_lived("callback", descriptors.callback),
            oauth_callback::router(services),
            stop.clone(),
        ));
        listeners.spawn(serve_http(
            admin_listener,
            short_lived("admin", descriptors.admin),
            admin::router(metrics),
            stop.clone(),
        ));
        run_tasks(&mut listeners, &running, index);
        running.health.set_serving(true).await;
        Ok(Self { listeners, ..running })
    }

    /// The connectors.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Reloads what can change at run time: looks for connectors again, and reads the JWKS again.
    pub async fn reload(&self) {
        self.registry.rescan().await;
        match verifier(&self.options, self.signer.as_ref()) {
            Ok(verifier) => self.verifier.store(Arc::new(verifier)),
            Err(error) => tracing::error!("the JWKS stays as it was: {error}"),
        }
    }

    /// Waits until a listener fails. Does not return otherwise.
    pub async fn failed(&mut self) -> Failure {
        loop {
            match self.listeners.join_next().await {
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => return error,
                Some(Err(error)) => return error.into(),
                None => return "every listener has ended".into(),
            }
        }
    }

    /// Stops in order: health is NOT_SERVING → streams end → no more leases, running syncs release theirs → requests
    /// in progress end → close.
    pub async fn stop(mut self) {
        const TIMEOUT: Duration = Duration::from_secs(20);
        /// Time for live reads whose callers already have their response. If one is interrupted, the next opening of
        /// the profile reads again.
        const SETTLE: Duration = Duration::from_secs(2);
        self.health.set_serving(false).await;
        self.services.drain();
        self.engine.stop().await;
        self.stop.cancel();
        self.health.end().await;
        let drained = async { while self.listeners.join_next().await.is_some() {} };
        if tokio::time::timeout(TIMEOUT, drained).await.is_err() {
            tracing::warn!("closed requests that were still in progress after {TIMEOUT:?}");
        }
        self.services.settle(SETTLE).await;
        // A rotated token that is not stored is lost, so wait for refreshes in progress.
        if tokio::time::timeout(TIMEOUT, self.credentials.settle())
            .await
            .is_err()
        {
            tracing::error!("credentials were still being refreshed after {TIMEOUT:?}");
        }
    }
}

/// Starts the tasks that last as long as the server.
fn run_tasks(running: &mut JoinSet<Result<(), Failure>>, server: &Running, index: Index) {
    let stop = &server.stop;
    let follow = stop.clone();
    running.spawn(async move {
        index.run(follow).await;
        Ok(())
    });
    let (feed, until) = (server.services.clone(), stop.clone());
    running.spawn(async move {
        let run = || feed.clone().run_feed(until.clone());
        tasks::lasting("feed", until.clone(), run).await;
        Ok(())
    });
    let (retries, until) = (server.credentials.clone(), stop.clone());
    running.spawn(async move {
        let run = || retries.clone().run_retries(until.clone());
        tasks::lasting("refresh retries", until.clone(), run).await;
        Ok(())
    });
    let (idle, until) = (server.credentials.clone(), stop.clone());
    running.spawn(async move {
        let run = || idle.clone().run_idle(until.clone());
        tasks::lasting("unused logins", until.clone(), run).await;
        Ok(())
    });
    let (outbox, until) = (server.credentials.clone(), stop.clone());
    running.spawn(async move {
        let run = || outbox.clone().run_outbox(until.clone());
        tasks::lasting("outbox", until.clone(), run).await;
        Ok(())
    });
}

fn hours(hours: u32) -> Duration {
    Duration::from_secs(u64::from(hours) * 3_600)
}

fn sync_options(options: &Options) -> sync::Options {
    sync::Options {
        workers: options.sync.workers,
        per_organization: i64::from(options.sync.per_organization),
        breaker: options.breaker.breaker(),
        lease: Duration::from_secs(options.sync.lease_seconds),
        poll: Duration::from_millis(options.sync.poll_milliseconds),
        schedule_poll: Duration::from_millis(options.sync.schedule_poll_milliseconds),
        most_tries: i64::from(options.sync.most_tries),
        first_pause: Duration::from_millis(options.sync.first_pause_milliseconds),
        calculated: hours(options.sync.calculated_hours),
        sweep: hours(options.sync.sweep_hours),
        hidden: hours(options.sync.hidden_keep_days.saturating_mul(24)),
        guard: options.sync.guard(),
        keep: sync::Keep {
            events_us: options.events.micros(),
            audit_us: options.audit.micros(),
            deleted_groups_us: options.deleted_groups.micros(),
            grants_us: config::days(options.grants.keep_days),
            syncs_us: config::days(options.sync.keep_days),
            gone_us: config::days(options.sync.keep_gone_days),
        },
    }
}

fn credentials_options(options: &Options) -> credentials::Options {
    credentials::Options {
        refresh_timeout: Duration::from_secs(options.grants.refresh_timeout_seconds),
        pauses: credentials::Pauses {
            first: Duration::from_secs(options.grants.first_retry_seconds),
            longest: Duration::from_secs(options.grants.longest_retry_seconds),
        },
        refresh_after: hours(24 * options.grants.refresh_days),
        breaker: options.breaker.breaker(),
        allowance: options.allowance.rules(),
    }
}

fn service_options(options: &Options, callback: SocketAddr) -> service::Options {
    let public = if options.public_url.is_empty() {
        format!("http://{callback}")
    } else {
        options.public_url.trim_end_matches('/').to_owned()
    };
    let client_id = |of: &config::ConnectorOptions| {
        of.settings
            .get("client_id")
            .map(|id| id.expose_secret().to_owned())
    };
    service::Options {
        callback_url: format!("{public}{}", oauth_callback::PATH),
        redirect_uris: options.redirect_uris.clone(),
        loopback_redirects: options.dev,
        keep_events_us: options.events.micros(),
        connector_settings: options
            .connector
            .iter()
            .map(|(name, given)| {
                let given = given.settings.iter();
                let given = given.filter(|(_, value)| !value.expose_secret().trim().is_empty());
                (name.clone(), given.map(|(key, _)| key.clone()).collect())
            })
            .collect(),
        draft_life_us: options.drafts.micros(),
        login_life_us: i64::from(options.login.minutes) * 60_000_000,
        limits: options.limits.clone(),
        client_ids: options
            .connector
            .iter()
            .filter_map(|(name, given)| Some((name.clone(), client_id(given)?)))
            .collect(),
    }
}

/// Limits of a listener with small requests and fast responses.
fn short_lived(name: &'static str, connections: usize) -> Limits {
    Limits {
        name,
        connections,
        header: Duration::from_secs(5),
        idle: Duration::from_secs(10),
        stalled: Duration::from_secs(30),
        // A login waits until the CRM has exchanged the code.
        lifetime: Some(Duration::from_secs(120)),
        http2: None,
    }
}

async fn serve_http(
    listener: TcpListener,
    limits: Limits,
    router: axum::Router,
    stop: CancellationToken,
) -> Result<(), Failure> {
    listener::serve(listener, limits, None, router, stop).await;
    Ok(())
}

/// Binds the address of a listener.
async fn listen(setting: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|error| format!("listen.{setting} = {address}: {error}").into())
}
