//! The databases of data sets.
//!
//! Control (groups, integrations, credentials, shares, the queue, events, audit) is small and in one database. A *data set*
//! is what the CRM gave for one integration: records, links, marks of removal, and its head (`data_set`). It shares no
//! transaction with control and no foreign key points out of it, so that it can stand in another PostgreSQL database
//! ([`Options::data`](super::Options::data)). `integration.data_database` names that database; it is chosen when the
//! integration is created. Every statement on a data set names its integration.
//!
//! What follows a change of control in a data set (`effect`) runs after the commit.

mod database;

pub(super) use database::Database;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use super::{Error, Options, pool::Pools};
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
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Database>> {
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

    pub(super) fn named(&self, id: IntegrationId, name: &str) -> Result<&Arc<Database>, Error> {
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
    pub(super) fn known(&self, ids: &[IntegrationId]) -> HashMap<IntegrationId, Arc<Database>> {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        let place = |id: &IntegrationId| places.get(id).map(|place| (*id, Arc::clone(place)));
        ids.iter().filter_map(place).collect()
    }

    pub(super) fn remember(&self, found: &HashMap<IntegrationId, Arc<Database>>) {
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        if places.len() + found.len() > REMEMBERED {
            places.clear();
        }
        places.extend(found.iter().map(|(id, place)| (*id, Arc::clone(place))));
    }

    /// Brings the tables of the further databases up to date; returns the versions that were applied, and the errors of
    /// those that do not answer: they are brought up to date when they do.
    pub(super) async fn migrate(&self) -> Result<(Vec<String>, Vec<Error>), Error> {
        let (mut done, mut silent) = (Vec::new(), Vec::new());
        for (name, database) in &self.named {
            match database.migrate().await {
                Ok(versions) => done.extend(versions.iter().map(|version| format!("{name}: {version}"))),
                Err(error @ Error::Unavailable(_)) => silent.push(error),
                Err(error) => return Err(error),
            }
        }
        Ok((done, silent))
    }
}
