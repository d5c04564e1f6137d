//! One transaction over several nouns: a change, the result of its request id and its audit entry are committed together or
//! not at all.
//!
//! A crash at any line leaves all of it or nothing. `validate_only` runs the transaction of the change itself
//! and rolls it back: a separate check would differ from the change sooner or later.
//!
//! The methods of `Tx` return the store's errors unchanged until the transaction has ended: the meaning of
//! PostgreSQL's errors depends on the state of the connection, and is decided in one place.

use super::{
    Error, Store,
    conn::Conn,
    event::NewEvents,
    rollback::{Never, Rollback},
};

/// An open transaction. Its methods are the changes of all nouns; each sees the writes before it.
///
/// It is committed when the work returns `Ok` and rolled back when it returns an error. The work runs on a blocking thread
/// and, with SQLite, occupies the only writer: it must not wait for anything but the database.
pub struct Tx<'a> {
    pub(super) conn: &'a mut Conn,
    /// Appended after all other writes: their locks are the last in the order (see the module `store`).
    pub(super) events: NewEvents,
    /// The database for the data set of an integration that is created.
    pub(super) new_data: String,
}

impl<'a> Tx<'a> {
    pub(super) fn new(conn: &'a mut Conn, new_data: String) -> Self {
        Self {
            conn,
            events: NewEvents::default(),
            new_data,
        }
    }
}

impl std::fmt::Debug for Tx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tx")
    }
}

impl Store {
    /// Runs one transaction over several nouns of control. What follows from it in data sets is done when it returns, unless
    /// their database does not answer.
    ///
    /// # Errors
    /// Those of the work, and [`Rollback::Store`] if the commit fails. Nothing is stored then.
    pub async fn transaction<T, E, F>(&self, work: F) -> Result<T, Rollback<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, Rollback<E>> + Send + 'static,
    {
        let new_data = self.data.of_new();
        let work = move |conn: &mut Conn| {
            let mut tx = Tx::new(conn, new_data);
            let done = work(&mut tx)?;
            Ok((done, tx.events.append(tx.conn)?))
        };
        let (done, effects) = self.control.write(work).await?;
        self.data_follow(effects).await;
        Ok(done)
    }

    /// [`transaction`](Self::transaction) for work that learns by reading which rows it has to lock. It returns `None`, and
    /// has written nothing, if rows were added before it had its locks; then it is run again in a new transaction.
    ///
    /// # Errors
    /// As [`transaction`](Self::transaction); [`Error::Busy`] after 50 runs, in each of which another caller made progress.
    pub async fn transaction_anew<T, E, F>(&self, work: F) -> Result<T, Rollback<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: Fn(&mut Tx<'_>) -> Result<Option<T>, Rollback<E>> + Clone + Send + 'static,
    {
        const MOST: usize = 50;
        for _ in 0..MOST {
            if let Some(done) = self.transaction(work.clone()).await? {
                return Ok(done);
            }
        }
        let why = "rows were added each time before they could be locked";
        Err(Error::Busy(why.to_owned()).into())
    }

    /// Runs a transaction, rolls it back, and returns its result: for `validate_only`.
    ///
    /// # Errors
    /// As [`transaction`](Self::transaction).
    pub async fn rehearse<T, E, F>(&self, work: F) -> Result<T, Rollback<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, Rollback<E>> + Send + 'static,
    {
        let done = self.transaction(move |tx| match work(tx) {
            Ok(value) => Err::<Never, _>(Rollback::By(Ok(value))),
            Err(Rollback::By(error)) => Err(Rollback::By(Err(error))),
            Err(Rollback::Store(error)) => Err(Rollback::Store(error)),
        });
        match done.await {
            Ok(never) => match never {},
            Err(Rollback::By(result)) => result.map_err(Rollback::By),
            Err(Rollback::Store(error)) => Err(Rollback::Store(error)),
        }
    }

    /// Runs one transaction of one noun that also appends events.
    pub(super) async fn write_with_events<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn, &mut NewEvents) -> Result<T, Error> + Send + 'static,
    {
        let work = move |tx: &mut Tx<'_>| work(tx.conn, &mut tx.events).map_err(Rollback::Store);
        Ok(self.transaction::<_, Never, _>(work).await?)
    }

    /// [`transaction_anew`](Self::transaction_anew) for one noun.
    pub(super) async fn write_anew<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Fn(&mut Conn, &mut NewEvents) -> Result<Option<T>, Error> + Clone + Send + 'static,
    {
        let work = move |tx: &mut Tx<'_>| work(tx.conn, &mut tx.events).map_err(Rollback::Store);
        Ok(self.transaction_anew::<_, Never, _>(work).await?)
    }
}
