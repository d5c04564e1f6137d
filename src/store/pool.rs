//! Connections: their order, and how long a caller waits for one.
//!
//! A connection on which a statement failed for an unknown reason is not used again: the reason may belong to
//! the connection itself, such as a plan that is no longer valid or a prepared statement that is gone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use diesel::{
    ConnectionError,
    connection::{AnsiTransactionManager, TransactionManager},
    r2d2::{ManageConnection, Pool, R2D2Connection},
};

use super::{
    Error, Options,
    conn::Conn,
    migrate,
    rollback::{Never, Rollback},
    session::Session,
    writer::{Size, Writer},
};
use crate::fair::{self, FairSemaphore};

#[derive(Debug)]
struct Manager {
    session: Session,
    /// Grows when a connection turned out to be broken, so that none of the same age is used again.
    epoch: Arc<AtomicU64>,
}

/// A connection with what the pool knows of it.
struct Slot {
    conn: Conn,
    epoch: u64,
    /// A statement failed on it for a reason that may be the connection's own.
    doubtful: bool,
}

impl ManageConnection for Manager {
    type Connection = Slot;
    type Error = ConnectionError;

    fn connect(&self) -> Result<Slot, ConnectionError> {
        let epoch = self.epoch.load(Ordering::Relaxed);
        Ok(Slot {
            conn: self.session.establish()?,
            epoch,
            doubtful: false,
        })
    }

    // No ping: the first statement on a broken connection fails, and closes all connections of its age.
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
            || slot.doubtful
            || slot.epoch != self.epoch.load(Ordering::Relaxed)
            || match &mut slot.conn {
                Conn::Sqlite(c) => c.is_broken(),
                Conn::Postgres(c) => c.is_broken(),
            }
    }
}

/// The pools of one database.
pub(super) struct Pools {
    session: Session,
    pool: Pool<Manager>,
    /// One for each connection. Calls of one group wait behind each other, and the server's own tasks have a share: a sync
    /// that cannot store its heartbeat loses its lease.
    permits: FairSemaphore,
    epoch: Arc<AtomicU64>,
    timeout: Duration,
    /// SQLite only.
    writer: Option<Writer>,
}

impl Pools {
    pub(super) fn open(options: &Options) -> Result<Self, Error> {
        let mut session = Session::new(options)?;
        let writer = if session.is_sqlite() {
            // The first connection makes the file; it is the writer's.
            let conn = session.establish().map_err(|e| session.cannot_open(&e))?;
            Some(Writer::start(conn, session.clone(), options.lock_timeout)?)
        } else {
            None
        };
        let epoch = Arc::new(AtomicU64::new(0));
        // A clear error now rather than a time-out later.
        session.examine(options)?;
        let session = session.of_readers();
        let manager = Manager {
            session: session.clone(),
            epoch: Arc::clone(&epoch),
        };
        let connections = options.connections.max(1);
        let pool = Pool::builder()
            .max_size(connections)
            .min_idle(Some(1))
            .test_on_check_out(true)
            .connection_timeout(options.connection_timeout)
            .build_unchecked(manager);
        Ok(Self {
            session,
            pool,
            permits: FairSemaphore::with_internal(connections as usize),
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

    /// Makes a connection of its own, to see whether the database answers. Blocks.
    pub(super) fn connect(&self) -> Result<(), Error> {
        let connected = self.session.establish();
        connected
            .map(drop)
            .map_err(|error| self.session.cannot_open(&error))
    }

    pub(super) async fn migrate(&self) -> Result<Vec<String>, Error> {
        // One transaction, of which each migration is a part.
        let run = |conn: &mut Conn| migrate::run(conn).map_err(Rollback::Store);
        Ok(self.write::<_, Never, _>(run).await?)
    }

    /// [`migrate`](Self::migrate) for a database of data sets alone.
    pub(super) async fn migrate_data(&self) -> Result<Vec<String>, Error> {
        let run = |conn: &mut Conn| migrate::run_data(conn).map_err(Rollback::Store);
        Ok(self.write::<_, Never, _>(run).await?)
    }

    /// Runs one statement that reads.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
    {
        if self.session.is_pooled() {
            // Its limits hold within a transaction alone.
            return self.reading("BEGIN READ ONLY", work).await;
        }
        let work = |conn: &mut Conn| work(conn).map_err(Rollback::Store);
        Ok(self.blocking::<_, Never, _>(work).await?)
    }

    /// Runs several reads of one snapshot.
    pub(super) async fn snapshot<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
    {
        match self.writer {
            Some(_) => self.reading("BEGIN", work).await,
            None => {
                self.reading(
                    "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
                    work,
                )
                .await
            }
        }
    }

    /// Runs a transaction that begins like this and writes nothing.
    async fn reading<T, F>(&self, begin: &str, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
    {
        let begin = self.session.begin(begin);
        let work = move |conn: &mut Conn| {
            begin_transaction(conn, &begin)?;
            let result = work(conn);
            // Nothing was written, so how it ends makes no difference but for errors.
            let ended = roll_back(conn);
            Ok(result.and_then(|value| ended.map(|()| value))?)
        };
        Ok(self.blocking::<_, Never, _>(work).await?)
    }

    /// Runs one transaction that writes.
    pub(super) async fn write<T, E, F>(&self, work: F) -> Result<T, Rollback<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Rollback<E>> + Send + 'static,
    {
        self.write_of(Size::Small, work).await
    }

    /// Runs one transaction that writes; a large one is committed alone with SQLite.
    pub(super) async fn write_of<T, E, F>(&self, size: Size, work: F) -> Result<T, Rollback<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Rollback<E>> + Send + 'static,
    {
        if let Some(writer) = &self.writer {
            return writer.write(size, work).await;
        }
        let begin = self.session.begin("BEGIN");
        self.blocking(move |conn| {
            begin_transaction(conn, &begin)?;
            match work(conn) {
                Ok(value) => {
                    commit(conn)?;
                    Ok(value)
                }
                Err(error) => {
                    // The first error is returned.
                    let _ = roll_back(conn);
                    Err(error)
                }
            }
        })
        .await
    }

    /// Takes a connection of the pool to a thread that may block.
    async fn blocking<T, E, F>(&self, work: F) -> Result<T, Rollback<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Rollback<E>> + Send + 'static,
    {
        let busy = || Error::Busy(format!("no connection became free within {:?}", self.timeout));
        let permit = tokio::time::timeout(self.timeout, self.permits.acquire(fair::current()))
            .await
            .map_err(|_| busy())?;
        let pool = self.pool.clone();
        let epoch = Arc::clone(&self.epoch);
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut slot = pool.get().map_err(|e| Error::Unavailable(e.to_string()))?;
            let mut result = work(&mut slot.conn);
            if matches!(slot.conn, Conn::Postgres(_)) {
                result = result.map_err(|error| error.map_store(Error::of_postgres));
            }
            let error = result.as_ref().err().and_then(Rollback::store);
            slot.doubtful = matches!(error, Some(Error::Failed(_) | Error::Full(_)));
            if error.is_some_and(Error::is_broken_connection) {
                // Only the first of an age to notice ends it.
                let _ =
                    epoch.compare_exchange(slot.epoch, slot.epoch + 1, Ordering::Relaxed, Ordering::Relaxed);
            }
            result
        });
        done.await
            .map_err(|e| Error::Unavailable(format!("the work on the database ended early: {e}")))?
    }
}

fn begin_transaction(conn: &mut Conn, sql: &str) -> Result<(), Error> {
    Ok(match conn {
        Conn::Sqlite(c) => AnsiTransactionManager::begin_transaction_sql(c, sql),
        Conn::Postgres(c) => AnsiTransactionManager::begin_transaction_sql(c, sql),
    }?)
}

fn commit(conn: &mut Conn) -> Result<(), Error> {
    Ok(match conn {
        Conn::Sqlite(c) => AnsiTransactionManager::commit_transaction(c),
        Conn::Postgres(c) => AnsiTransactionManager::commit_transaction(c),
    }?)
}

fn roll_back(conn: &mut Conn) -> Result<(), Error> {
    Ok(match conn {
        Conn::Sqlite(c) => AnsiTransactionManager::rollback_transaction(c),
        Conn::Postgres(c) => AnsiTransactionManager::rollback_transaction(c),
    }?)
}
