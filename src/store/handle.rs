//! The handle that callers have: reads and writes of control and of data sets.

use std::{collections::HashMap, sync::Arc};

use diesel::prelude::*;
use futures_util::future::join_all;

use super::{
    Error, Noun, Options,
    conn::Conn,
    data::{Database, Databases},
    data_set,
    pool::Pools,
    rollback::{Never, Rollback},
    schema::integration,
    writer::Size,
};
use crate::domain::IntegrationId;

/// The databases.
#[derive(Clone)]
pub struct Store {
    /// The database of control.
    pub(super) control: Arc<Pools>,
    /// Those of data sets.
    pub(super) data: Arc<Databases>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("backend", &self.backend()).finish()
    }
}

impl Store {
    /// Opens the databases and checks that control answers. Blocks for a moment; does not migrate.
    pub fn open(options: &Options) -> Result<Self, Error> {
        let control = Arc::new(Pools::open(options)?);
        let data = Arc::new(Databases::open(Arc::clone(&control), options)?);
        Ok(Self { control, data })
    }

    /// Which database it is: `sqlite` or `postgres`.
    pub fn backend(&self) -> &'static str {
        self.control.backend()
    }

    /// Brings the tables up to date; returns the versions that were applied, and the errors of those databases of data sets
    /// that do not answer: their tables are brought up to date when they do.
    pub async fn migrate(&self) -> Result<(Vec<String>, Vec<Error>), Error> {
        let mut done = self.control.migrate().await?;
        let (versions, silent) = self.data.migrate().await?;
        done.extend(versions);
        Ok((done, silent))
    }

    /// Runs several reads of one snapshot.
    pub(super) async fn snapshot<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
    {
        self.control.snapshot(work).await
    }

    /// Runs one statement that reads, without the round trips of a transaction.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
    {
        self.control.read(work).await
    }

    /// Runs one transaction of one noun.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
    {
        let work = move |conn: &mut Conn| work(conn).map_err(Rollback::Store);
        Ok(self.control.write::<_, Never, _>(work).await?)
    }

    /// Reads of one data set, by one statement.
    pub(super) async fn data_read<T, F>(&self, id: IntegrationId, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
    {
        self.data_of(id).await?.read(work).await
    }

    /// Reads of one snapshot of a data set.
    pub(super) async fn data_snapshot<T, F>(&self, id: IntegrationId, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
    {
        self.data_of(id).await?.snapshot(work).await
    }

    /// A transaction that writes to one data set.
    pub(super) async fn data_write<T, F>(&self, id: IntegrationId, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
    {
        self.data_of(id).await?.write(Size::Small, work).await
    }

    /// A transaction that writes to many pages of one data set.
    pub(super) async fn data_write_large<T, F>(&self, id: IntegrationId, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
    {
        self.data_of(id).await?.write(Size::Large, work).await
    }

    async fn data_of(&self, id: IntegrationId) -> Result<Arc<Database>, Error> {
        if id == IntegrationId::platform() {
            return Ok(Arc::clone(self.data.named(id, "")?));
        }
        let mut place = self.data_places(&[id]).await?;
        place
            .remove(&id)
            .ok_or_else(|| Error::not_found(Noun::Integration, id))
    }

    /// The databases of these integrations. Those that do not exist are not in it.
    async fn data_places(
        &self,
        ids: &[IntegrationId],
    ) -> Result<HashMap<IntegrationId, Arc<Database>>, Error> {
        let mut places = self.data.known(ids);
        let unknown: Vec<IntegrationId> = ids
            .iter()
            .copied()
            .filter(|id| !places.contains_key(id))
            .collect();
        if unknown.is_empty() {
            return Ok(places);
        }
        let rows: Vec<(IntegrationId, String)> = self
            .read(move |conn| {
                Ok(integration::table
                    .filter(integration::id.eq_any(unknown))
                    .select((integration::id, integration::data_database))
                    .load(conn)?)
            })
            .await?;
        let mut found = HashMap::new();
        for (id, name) in rows {
            found.insert(id, Arc::clone(self.data.named(id, &name)?));
        }
        self.data.remember(&found);
        places.extend(found);
        Ok(places)
    }

    /// These integrations by database, in their order.
    pub(super) async fn data_databases(
        &self,
        ids: &[IntegrationId],
    ) -> Result<Vec<(Arc<Database>, Vec<IntegrationId>)>, Error> {
        let mut places = self.data_places(ids).await?;
        let mut databases: Vec<(Arc<Database>, Vec<IntegrationId>)> = Vec::new();
        for id in ids {
            let Some(place) = places.remove(id) else { continue };
            match databases.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &place)) {
                Some((_, some)) => some.push(*id),
                None => databases.push((place, vec![*id])),
            }
        }
        Ok(databases)
    }

    /// The change number of each data set, for each database that answers, by its name.
    pub(super) async fn data_heads(&self) -> HashMap<String, HashMap<IntegrationId, i64>> {
        let read = self.data.all().map(|database| async {
            match database.read(data_set::heads).await {
                Ok(heads) => Some((database.name().to_owned(), heads.into_iter().collect())),
                // It is logged when it stops to answer, and when it answers again.
                Err(Error::Unavailable(_)) => None,
                Err(error) => {
                    tracing::warn!(
                        database = database.name(),
                        "cannot read the change numbers of data sets, will retry: {error}"
                    );
                    None
                }
            }
        });
        join_all(read).await.into_iter().flatten().collect()
    }
}
