//! One database of data sets, which may not answer for a while.
//!
//! A further database that is lost must cost its own integrations only. Whoever waits for a connection to it waits for
//! seconds, and so do all that share a task with them: the index follower, the sync workers, cleanup. After a call that failed
//! for want of an answer, a task connects to the database; if it cannot, all calls fail at once until it can. A database that
//! does not answer when the process starts is opened, and its tables are brought up to date, when it answers.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::task::spawn_blocking;

use crate::store::{
    Error, Options,
    conn::Conn,
    pool::Pools,
    rollback::{Never, Rollback},
    writer::Size,
};

/// How long it is until the next try to connect to a database that does not answer.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// A database of data sets.
pub(in crate::store) struct Database {
    /// As in `database.data`; empty for the database of control.
    name: String,
    options: Options,
    state: Mutex<State>,
}

struct State {
    /// `None` until it answered for the first time.
    pools: Option<Arc<Pools>>,
    /// Why calls fail at once, while it does not answer.
    silent: Option<String>,
    /// A task tries to connect.
    tried: bool,
}

impl Database {
    /// The database of control, which the server cannot do without: its calls always try.
    pub(super) fn of_control(pools: Arc<Pools>, options: &Options) -> Self {
        Self::new(String::new(), options.clone(), Some(pools))
    }

    /// A further database.
    ///
    /// # Errors
    /// Its options are wrong. That it does not answer is no error.
    pub(super) fn open(name: &str, options: Options) -> Result<Self, Error> {
        let pools = match Pools::open(&options) {
            Ok(pools) => Ok(Arc::new(pools)),
            Err(error @ Error::Unavailable(_)) => Err(error),
            Err(Error::Config(why)) => return Err(Error::Config(format!("database.data \"{name}\": {why}"))),
            Err(error) => return Err(error),
        };
        let new = Self::new(name.to_owned(), options, pools.as_ref().ok().cloned());
        if let Err(error) = pools {
            tracing::warn!(database = name, "{}: {error}", new.silence());
            new.state.lock().silent = Some(error.to_string());
        }
        Ok(new)
    }

    fn new(name: String, options: Options, pools: Option<Arc<Pools>>) -> Self {
        let state = Mutex::new(State {
            pools,
            silent: None,
            tried: false,
        });
        Self { name, options, state }
    }

    pub(in crate::store) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is the database of control.
    pub(in crate::store) fn is_of_control(&self) -> bool {
        self.name.is_empty()
    }

    /// Whether the last try to connect to it did not fail.
    pub(super) fn is_answering(&self) -> bool {
        self.state.lock().silent.is_none()
    }

    /// Runs one statement that reads.
    pub(in crate::store) async fn read<T, F>(self: &Arc<Self>, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
    {
        let result = self.pools()?.read(work).await;
        self.look_at(result)
    }

    /// Runs several reads of one snapshot.
    pub(in crate::store) async fn snapshot<T, F>(self: &Arc<Self>, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
    {
        let result = self.pools()?.snapshot(work).await;
        self.look_at(result)
    }

    /// Runs one transaction that writes.
    pub(in crate::store) async fn write<T, F>(self: &Arc<Self>, size: Size, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
    {
        let work = move |conn: &mut Conn| work(conn).map_err(Rollback::Store);
        let result = self.pools()?.write_of::<_, Never, _>(size, work).await;
        self.look_at(result.map_err(Error::from))
    }

    /// Brings its tables up to date; returns the versions that were applied.
    ///
    /// # Errors
    /// It does not answer, or a migration failed.
    pub(super) async fn migrate(self: &Arc<Self>) -> Result<Vec<String>, Error> {
        let result = self.pools()?.migrate_data().await;
        self.look_at(result)
    }

    fn pools(self: &Arc<Self>) -> Result<Arc<Pools>, Error> {
        let mut state = self.state.lock();
        match (&state.silent, &state.pools) {
            (None, Some(pools)) => Ok(Arc::clone(pools)),
            (why, _) => {
                let why = why.clone().unwrap_or_default();
                self.begin_to_try(&mut state);
                Err(Error::Unavailable(format!(
                    "{}, and is tried again every second: {why}",
                    self.silence()
                )))
            }
        }
    }

    /// After a call that got no answer, finds out whether all calls would get none.
    fn look_at<T>(self: &Arc<Self>, result: Result<T, Error>) -> Result<T, Error> {
        if !self.name.is_empty() && matches!(result, Err(Error::Unavailable(_))) {
            self.begin_to_try(&mut self.state.lock());
        }
        result
    }

    fn begin_to_try(self: &Arc<Self>, state: &mut State) {
        if !std::mem::replace(&mut state.tried, true) {
            tokio::spawn(try_until_it_answers(Arc::downgrade(self)));
        }
    }

    /// Connects, and learns from it; true if the database answers.
    async fn answers(&self) -> bool {
        let connected = self.connect().await;
        let answers = f64::from(u8::from(connected.is_ok()));
        metrics::gauge!("tether_data_database_answers", "database" => self.name.clone()).set(answers);
        let mut state = self.state.lock();
        match connected {
            Ok(pools) => {
                if state.silent.take().is_some() {
                    tracing::info!(
                        database = self.name,
                        "the database \"{}\" answers again",
                        self.name
                    );
                }
                (state.pools, state.tried) = (Some(pools), false);
                true
            }
            Err(error) => {
                if state.silent.is_none() {
                    tracing::warn!(database = self.name, "{}: {error}", self.silence());
                }
                state.silent = Some(error.to_string());
                false
            }
        }
    }

    async fn connect(&self) -> Result<Arc<Pools>, Error> {
        let (known, options) = (self.state.lock().pools.clone(), self.options.clone());
        let connected = spawn_blocking(move || match known {
            Some(pools) => pools.connect().map(|()| (pools, true)),
            None => Pools::open(&options).map(|pools| (Arc::new(pools), false)),
        });
        let (pools, migrated) = connected
            .await
            .map_err(|error| Error::Unavailable(error.to_string()))??;
        if !migrated {
            pools.migrate_data().await?;
        }
        Ok(pools)
    }

    fn silence(&self) -> String {
        format!("the database \"{}\" of data sets does not answer", self.name)
    }
}

async fn try_until_it_answers(database: Weak<Database>) {
    while let Some(database) = database.upgrade() {
        if database.answers().await {
            return;
        }
        drop(database);
        tokio::time::sleep(TRY_EVERY).await;
    }
}
