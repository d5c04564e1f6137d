//! The databases of data sets.
//!
//! Control (groups, integrations, credentials, shares, the queue, events, audit) is small and in one database. A *data set*
//! is what the CRM gave for one integration: records, links, marks of removal, and its head (`data_set`). It shares no
//! transaction with control and no foreign key points out of it, so that it can stand in another PostgreSQL database
//! ([`Options::data`](super::Options::data)). `integration.data_database` names that database; it is chosen when the
//! integration is created. Every statement on a data set names its integration.
//!
//! What follows a change of control in a data set ([`Effect`]) runs after the commit. A crash in between leaves nothing
//! wrong for long: a worker learns of a cancellation by its heartbeat, the next claim raises the generation, and cleanup
//! deletes data sets without an integration.

mod database;

pub(super) use database::Database;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use diesel::prelude::*;
use futures_util::future::join_all;

use super::{Error, Noun, Options, Store, conn::Conn, data_purge, data_set, pool::Pools, schema::integration};
use crate::domain::IntegrationId;

/// The most places that are remembered. They are looked up again after that.
const REMEMBERED: usize = 100_000;

/// The databases of data sets: that of control, and those that the operator names.
pub(super) struct Databases {
    control: Arc<Database>,
    named: BTreeMap<String, Arc<Database>>,
    /// The database of each integration; it never changes.
    places: RwLock<HashMap<IntegrationId, Arc<Database>>>,
}

impl Databases {
    pub(super) fn open(control: Arc<Pools>, options: &Options) -> Result<Self, Error> {
        let mut named = BTreeMap::new();
        for (name, url) in &options.data {
            if control.backend() != "postgres" || !url.starts_with("postgres") {
                let why = "further databases for data sets (database.data) need PostgreSQL, as does the database of control";
                return Err(Error::Config(why.to_owned()));
            }
            let options = Options {
                url: url.clone(),
                data: BTreeMap::new(),
                ..options.clone()
            };
            named.insert(name.clone(), Arc::new(Database::open(name, options)?));
        }
        Ok(Self {
            control: Arc::new(Database::of_control(control, options)),
            named,
            places: RwLock::default(),
        })
    }

    /// All of them, each once.
    fn all(&self) -> impl Iterator<Item = &Arc<Database>> {
        std::iter::once(&self.control).chain(self.named.values())
    }

    /// The database for the data set of a new integration: one of those that the operator names, else that of control. One
    /// that does not answer is not chosen while another one does.
    pub(super) fn of_new(&self) -> String {
        let named = || self.named.values();
        let mut of: Vec<_> = named().filter(|database| database.is_answering()).collect();
        if of.is_empty() {
            of.extend(named());
        }
        match of.is_empty() {
            true => String::new(),
            false => of[rand::random_range(0..of.len())].name().to_owned(),
        }
    }

    fn named(&self, id: IntegrationId, name: &str) -> Result<&Arc<Database>, Error> {
        if name.is_empty() {
            return Ok(&self.control);
        }
        self.named.get(name).ok_or_else(|| {
            Error::Unavailable(format!(
                "the data of integration \"{id}\" is in the database \"{name}\", which database.data does not name"
            ))
        })
    }

    /// Where these integrations have their data, as far as it is known.
    fn known(&self, ids: &[IntegrationId]) -> HashMap<IntegrationId, Arc<Database>> {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        let place = |id: &IntegrationId| places.get(id).map(|place| (*id, Arc::clone(place)));
        ids.iter().filter_map(place).collect()
    }

    fn remember(&self, found: &HashMap<IntegrationId, Arc<Database>>) {
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        if places.len() + found.len() > REMEMBERED {
            places.clear();
        }
        places.extend(found.iter().map(|(id, place)| (*id, Arc::clone(place))));
    }
}

/// What a change of control makes of a data set, after its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Commits with a fencing token up to this one are refused.
    Stop(IntegrationId, i64),
    /// Rows that were read for an older generation than this one are refused.
    Generation(IntegrationId, i64),
}

impl Store {
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
        self.data_of(id).await?.write(work).await
    }

    async fn data_of(&self, id: IntegrationId) -> Result<Arc<Database>, Error> {
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

    /// Brings the tables of the further databases up to date; returns the versions that were applied, and the errors of
    /// those that do not answer: they are brought up to date when they do.
    pub(super) async fn data_migrate(&self) -> Result<(Vec<String>, Vec<Error>), Error> {
        let (mut done, mut silent) = (Vec::new(), Vec::new());
        for (name, database) in &self.data.named {
            match database.migrate().await {
                Ok(versions) => done.extend(versions.iter().map(|version| format!("{name}: {version}"))),
                Err(error @ Error::Unavailable(_)) => silent.push(error),
                Err(error) => return Err(error),
            }
        }
        Ok((done, silent))
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

    /// Runs the effects of a transaction of control that was committed. A database that does not answer is not waited for:
    /// the module's comment says what makes up for it.
    pub(super) async fn data_follow(&self, effects: Vec<Effect>) {
        for effect in effects {
            let (Effect::Stop(id, _) | Effect::Generation(id, _)) = effect;
            let done = self.data_write(id, move |conn| match effect {
                Effect::Stop(id, fence) => data_set::stop(conn, id, fence),
                Effect::Generation(id, generation) => data_set::raise(conn, id, generation),
            });
            match done.await {
                Ok(()) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => tracing::warn!(
                    integration = %id,
                    "the data of {id} follows a change later: {error}"
                ),
            }
        }
    }

    /// Deletes up to `limit` rows of data sets whose integration no longer exists: a worker that was suspended may have
    /// claimed one after its deletion. True when there are none. One database that fails does not keep the others from it.
    pub async fn data_purge_orphans(&self, limit: i64) -> Result<bool, Error> {
        let (mut done, mut failed) = (true, None);
        for database in self.data.all() {
            match self.purge_orphans_of(database, limit).await {
                Ok(none) => done &= none,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            // What is left in the others is deleted first.
            Some(error) if done => Err(error),
            _ => Ok(done),
        }
    }

    async fn purge_orphans_of(&self, database: &Arc<Database>, limit: i64) -> Result<bool, Error> {
        let heads = database.read(data_set::heads).await?;
        let mut ids: Vec<IntegrationId> = heads.into_iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        for some in ids.chunks(500) {
            let asked = some.to_vec();
            let known: Vec<IntegrationId> = self
                .read(move |conn| {
                    Ok(integration::table
                        .filter(integration::id.eq_any(asked))
                        .select(integration::id)
                        .load(conn)?)
                })
                .await?;
            for id in some.iter().copied().filter(|id| !known.contains(id)) {
                if !database
                    .write(move |conn| data_purge::purge(conn, id, limit))
                    .await?
                {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}
