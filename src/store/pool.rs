//! Connections: who gets one, how long they wait, and the one thread that writes to SQLite.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use diesel::{
    Connection, ConnectionError, PgConnection, SqliteConnection,
    connection::{AnsiTransactionManager, SimpleConnection, TransactionManager},
    r2d2::{ManageConnection, Pool, R2D2Connection},
};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{Error, Options, conn::Conn, migrate};

/// How many jobs one commit of the SQLite writer takes at most.
const GROUP_JOBS: usize = 64;
/// How long a commit of the SQLite writer is held open for more jobs that are queued already.
const GROUP_TIME: Duration = Duration::from_millis(10);

/// Reports how the commit went to whoever waits for the job.
type Finish = Box<dyn FnOnce(Result<(), &str>) + Send>;
/// Work for the writer.
type Job = Box<dyn FnOnce(&mut Conn) -> Finish + Send>;

/// How connections are made.
#[derive(Debug, Clone)]
enum Address {
    Sqlite { path: String },
    Postgres { url: String },
}

#[derive(Debug)]
struct Manager {
    address: Address,
    /// What each connection is told first.
    setup: String,
    /// Grows when a connection was found dead, so that none of the same age is used again.
    epoch: Arc<AtomicU64>,
}

/// A connection with what the pool knows of it.
struct Slot {
    conn: Conn,
    epoch: u64,
}

impl Manager {
    fn establish(&self) -> Result<Conn, ConnectionError> {
        let mut conn = match &self.address {
            Address::Sqlite { path } => Conn::Sqlite(SqliteConnection::establish(path)?),
            Address::Postgres { url } => Conn::Postgres(PgConnection::establish(url)?),
        };
        conn.batch_execute(&self.setup)
            .map_err(ConnectionError::CouldntSetupConfiguration)?;
        Ok(conn)
    }
}

impl ManageConnection for Manager {
    type Connection = Slot;
    type Error = ConnectionError;

    fn connect(&self) -> Result<Slot, ConnectionError> {
        let epoch = self.epoch.load(Ordering::Relaxed);
        Ok(Slot {
            conn: self.establish()?,
            epoch,
        })
    }

    // No ping: a dead connection shows at its first statement, and takes those of its age with it.
    fn is_valid(&self, slot: &mut Slot) -> Result<(), ConnectionError> {
        if slot.epoch == self.epoch.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err(ConnectionError::BadConnection(
                "the server was lost since".to_owned(),
            ))
        }
    }

    fn has_broken(&self, slot: &mut Slot) -> bool {
        thread::panicking()
            || slot.epoch != self.epoch.load(Ordering::Relaxed)
            || match &mut slot.conn {
                Conn::Sqlite(c) => c.is_broken(),
                Conn::Postgres(c) => c.is_broken(),
            }
    }
}

/// The pools of one database.
pub(super) struct Pools {
    pool: Pool<Manager>,
    permits: Arc<Semaphore>,
    epoch: Arc<AtomicU64>,
    timeout: Duration,
    /// SQLite only.
    writer: Option<mpsc::Sender<Job>>,
}

impl Pools {
    pub(super) fn open(options: &Options) -> Result<Self, Error> {
        let (address, setup) = address(options)?;
        let epoch = Arc::new(AtomicU64::new(0));
        let writer = match &address {
            Address::Sqlite { .. } => {
                // The first connection makes the file; it is the writer's.
                let manager = Manager {
                    address: address.clone(),
                    setup: setup.clone(),
                    epoch: Arc::clone(&epoch),
                };
                let conn = manager.establish().map_err(|e| cannot_open(&address, &e))?;
                Some(spawn_writer(conn, manager)?)
            }
            Address::Postgres { .. } => None,
        };
        let setup = if writer.is_some() {
            // The writer's big cache would be had once a reader: half a gigabyte for eight.
            format!("{setup}PRAGMA cache_size = -8192; PRAGMA query_only = ON;")
        } else {
            setup
        };
        let manager = Manager {
            address: address.clone(),
            setup,
            epoch: Arc::clone(&epoch),
        };
        // A clear error now rather than a time-out later.
        drop(manager.establish().map_err(|e| cannot_open(&address, &e))?);
        let connections = options.connections.max(1);
        let pool = Pool::builder()
            .max_size(connections)
            .min_idle(Some(1))
            .test_on_check_out(true)
            .connection_timeout(options.connection_timeout)
            .build_unchecked(manager);
        Ok(Self {
            pool,
            permits: Arc::new(Semaphore::new(connections as usize)),
            epoch,
            timeout: options.connection_timeout,
            writer,
        })
    }

    pub(super) fn backend(&self) -> &'static str {
        if self.writer.is_some() {
            "sqlite"
        } else {
            "postgres"
        }
    }

    pub(super) async fn migrate(&self) -> Result<Vec<String>, Error> {
        match &self.writer {
            None => self.blocking(migrate::run).await,
            Some(writer) => {
                // Each migration is a transaction of its own, nested in the writer's.
                self.queue(writer, migrate::run).await
            }
        }
    }

    /// Runs one statement that reads.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
    {
        self.blocking(work).await
    }

    /// Runs several reads of one snapshot.
    pub(super) async fn snapshot<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
    {
        self.blocking(|conn| {
            match conn {
                Conn::Sqlite(c) => AnsiTransactionManager::begin_transaction_sql(c, "BEGIN"),
                Conn::Postgres(c) => AnsiTransactionManager::begin_transaction_sql(
                    c,
                    "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
                ),
            }?;
            let result = work(conn);
            // Nothing was written, so how it ends makes no difference but for errors.
            let ended = match conn {
                Conn::Sqlite(c) => AnsiTransactionManager::rollback_transaction(c),
                Conn::Postgres(c) => AnsiTransactionManager::rollback_transaction(c),
            };
            result.and_then(|value| Ok(ended.map(|()| value)?))
        })
        .await
    }

    /// Runs one transaction that writes.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
    {
        match &self.writer {
            None => self.blocking(|conn| conn.transaction(work)).await,
            Some(writer) => self.queue(writer, work).await,
        }
    }

    /// Takes a connection of the pool to a thread that may block.
    async fn blocking<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
    {
        let busy = || Error::Busy(format!("no connection became free within {:?}", self.timeout));
        let permit = tokio::time::timeout(self.timeout, Arc::clone(&self.permits).acquire_owned())
            .await
            .map_err(|_| busy())?
            .map_err(|_| Error::Unavailable("the store was closed".to_owned()))?;
        let pool = self.pool.clone();
        let epoch = Arc::clone(&self.epoch);
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut slot = pool.get().map_err(|e| Error::Unavailable(e.to_string()))?;
            let result = work(&mut slot.conn);
            if result.as_ref().is_err_and(Error::is_broken_connection) {
                // Only the first of an age to notice ends it.
                let _ =
                    epoch.compare_exchange(slot.epoch, slot.epoch + 1, Ordering::Relaxed, Ordering::Relaxed);
            }
            result
        });
        done.await
            .map_err(|e| Error::Unavailable(format!("the work on the database ended early: {e}")))?
    }

    /// Hands work to the writer and waits until it is committed.
    async fn queue<T, F>(&self, writer: &mpsc::Sender<Job>, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
    {
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move |conn| {
            let result = conn.transaction(work);
            Box::new(move |committed| {
                // Whoever asked may have gone; the work is done all the same.
                let _ = done.send(match committed {
                    Ok(()) => result,
                    Err(message) => Err(Error::Busy(message.to_owned())),
                });
            })
        });
        let place = tokio::time::timeout(self.timeout, writer.reserve())
            .await
            .map_err(|_| Error::Busy(format!("the writer's queue stayed full for {:?}", self.timeout)))?
            .map_err(|_| Error::Unavailable("the writer stopped".to_owned()))?;
        place.send(job);
        result
            .await
            .map_err(|_| Error::Unavailable("the writer gave the work up".to_owned()))?
    }
}

fn cannot_open(address: &Address, error: &ConnectionError) -> Error {
    match address {
        Address::Sqlite { path } => Error::Unavailable(format!("cannot open \"{path}\": {error}")),
        // The address may hold a password.
        Address::Postgres { .. } => Error::Unavailable(format!("cannot connect to PostgreSQL: {error}")),
    }
}

/// Reads the address and says what each connection is told first.
fn address(options: &Options) -> Result<(Address, String), Error> {
    let lock_ms = options.lock_timeout.as_millis();
    if let Some(path) = options.url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path.starts_with(":memory:") || path.contains("mode=memory") {
            return Err(Error::Config(
                "sqlite: needs the path of a file, as in \"sqlite:tether.db\"".to_owned(),
            ));
        }
        let setup = format!(
            "PRAGMA busy_timeout = {lock_ms};\
             PRAGMA page_size = 16384;\
             PRAGMA journal_mode = WAL;\
             PRAGMA synchronous = FULL;\
             PRAGMA foreign_keys = ON;\
             PRAGMA cache_size = -65536;\
             PRAGMA temp_store = MEMORY;\
             PRAGMA wal_autocheckpoint = 16000;\
             PRAGMA journal_size_limit = 268435456;"
        );
        return Ok((
            Address::Sqlite {
                path: path.to_owned(),
            },
            setup,
        ));
    }
    if options.url.starts_with("postgres://") || options.url.starts_with("postgresql://") {
        let asked = options
            .url
            .split(['?', '&'])
            .find_map(|p| p.strip_prefix("sslmode=").map(str::to_owned));
        let mode = asked
            .or_else(|| std::env::var("PGSSLMODE").ok())
            .unwrap_or_default();
        if mode == "require" || mode.starts_with("verify") {
            return Err(Error::Config(format!(
                "sslmode={mode} needs TLS, and the PostgreSQL client in this build has none: use a build with TLS, or \
                 a local proxy or socket with sslmode=disable"
            )));
        }
        // Every query and join of ours has an index to go by. Before a new table's first statistics the planner takes it
        // for tiny and would read all of it for every batch of a first sync.
        let setup = format!(
            "SET statement_timeout = {}; SET lock_timeout = {lock_ms}; \
             SET idle_in_transaction_session_timeout = {}; SET TIME ZONE 'UTC'; SET jit = off; SET enable_seqscan = off; \
             SET enable_hashjoin = off; SET enable_mergejoin = off; \
             SET client_min_messages = warning; SET application_name = 'tether'",
            options.statement_timeout.as_millis(),
            options.idle_timeout.as_millis(),
        );
        return Ok((
            Address::Postgres {
                url: options.url.clone(),
            },
            setup,
        ));
    }
    Err(Error::Config(
        "the address has to begin with \"sqlite:\" or \"postgres://\"".to_owned(),
    ))
}

/// Starts the thread that writes. It ends when the store is dropped.
fn spawn_writer(conn: Conn, manager: Manager) -> Result<mpsc::Sender<Job>, Error> {
    let (sender, mut jobs) = mpsc::channel::<Job>(256);
    thread::Builder::new()
        .name("store-writer".to_owned())
        .spawn(move || {
            let mut conn = Some(conn);
            while let Some(first) = jobs.blocking_recv() {
                if conn.is_none() {
                    conn = manager
                        .establish()
                        .inspect_err(|error| {
                            tracing::error!(%error, "the writer cannot open the database");
                        })
                        .ok();
                }
                // Without a connection the job is dropped, and its caller told so.
                let Some(open) = conn.as_mut() else { continue };
                // Dropping the connection rolls back whatever is open.
                match catch_unwind(AssertUnwindSafe(|| write_group(open, first, &mut jobs))) {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::warn!(error, "the writer could not commit; it opens the database again");
                        conn = None;
                    }
                    Err(_) => {
                        tracing::error!("a job panicked in the writer; its group was rolled back");
                        conn = None;
                    }
                }
            }
        })
        .map_err(|e| Error::Unavailable(format!("the writer's thread could not be started: {e}")))?;
    Ok(sender)
}

/// One commit: the job that came, and those that are queued behind it, each in its savepoint.
fn write_group(conn: &mut Conn, first: Job, jobs: &mut mpsc::Receiver<Job>) -> Result<(), String> {
    let begun = match conn {
        Conn::Sqlite(c) => AnsiTransactionManager::begin_transaction_sql(c, "BEGIN IMMEDIATE"),
        Conn::Postgres(c) => AnsiTransactionManager::begin_transaction(c),
    };
    // The job is dropped unrun, and its caller told so.
    begun.map_err(|e| e.to_string())?;
    let start = Instant::now();
    let mut finish = vec![first(conn)];
    while finish.len() < GROUP_JOBS && start.elapsed() < GROUP_TIME {
        let Ok(job) = jobs.try_recv() else { break };
        finish.push(job(conn));
    }
    let committed = match conn {
        Conn::Sqlite(c) => AnsiTransactionManager::commit_transaction(c),
        Conn::Postgres(c) => AnsiTransactionManager::commit_transaction(c),
    };
    let committed = committed.map_err(|e| e.to_string());
    for done in finish {
        done(committed.as_ref().map(|_| ()).map_err(String::as_str));
    }
    committed
}
