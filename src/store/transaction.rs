//! One transaction over several nouns: a change, what its request id led to and its audit entry are committed together, or
//! none of them is.

use super::{Error, Store, conn::Conn, event::NewEvents};

/// An open transaction. The functions of the nouns are its methods; they see what was written before them in it.
///
/// It is committed when the work returns `Ok`, and rolled back when it returns an error. The work runs on a thread that may
/// block and, with SQLite, holds the one writer: nothing in it waits for anything but the database.
pub struct Tx<'a> {
    pub(super) conn: &'a mut Conn,
    /// What is told when all else is done: the order of locks wants it (see the module `store`).
    pub(super) events: NewEvents,
}

impl<'a> Tx<'a> {
    pub(super) fn new(conn: &'a mut Conn) -> Self {
        Self {
            conn,
            events: NewEvents::default(),
        }
    }
}

impl std::fmt::Debug for Tx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tx")
    }
}

/// Why a transaction was rolled back.
#[derive(Debug, thiserror::Error)]
pub enum Rollback<E> {
    /// The store could not do it. Errors of the store stay as they are until the end of the transaction, where what they
    /// mean is known; the work looks at conflicts and things that are not there alone.
    #[error(transparent)]
    Store(#[from] Error),
    /// The work decided so.
    #[error("{0}")]
    By(E),
}

/// The error of work that knows no other errors than the store's.
pub(super) type Never = std::convert::Infallible;

impl From<Rollback<Never>> for Error {
    fn from(rollback: Rollback<Never>) -> Self {
        match rollback {
            Rollback::Store(error) => error,
            Rollback::By(never) => match never {},
        }
    }
}

impl<E> From<diesel::result::Error> for Rollback<E> {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}

impl<E> Rollback<E> {
    /// The store's error, if it is one.
    pub(super) fn store(&self) -> Option<&Error> {
        match self {
            Self::Store(error) => Some(error),
            Self::By(_) => None,
        }
    }

    /// The same with what the work says in other words.
    pub fn map<O>(self, change: impl FnOnce(E) -> O) -> Rollback<O> {
        match self {
            Self::Store(error) => Rollback::Store(error),
            Self::By(error) => Rollback::By(change(error)),
        }
    }

    /// The same with another error of the store.
    pub(super) fn map_store(self, change: impl FnOnce(Error) -> Error) -> Self {
        match self {
            Self::Store(error) => Self::Store(change(error)),
            by @ Self::By(_) => by,
        }
    }
}

impl Store {
    /// Runs one transaction over several nouns.
    ///
    /// # Errors
    /// [`Rollback::Store`] where the store cannot do it, [`Rollback::By`] where the work says so. Nothing of it is stored
    /// then.
    pub async fn transaction<T, E, F>(&self, work: F) -> Result<T, Rollback<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, Rollback<E>> + Send + 'static,
    {
        let work = move |conn: &mut Conn| {
            let mut tx = Tx::new(conn);
            let done = work(&mut tx)?;
            tx.events.append(tx.conn)?;
            Ok(done)
        };
        self.inner.write(work).await
    }

    /// Runs a transaction and rolls it back: what would come of it.
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
}
