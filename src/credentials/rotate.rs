//! Changes the sealing key: seals all stored secrets with the first key, while servers run.
//!
//! Batches are small, and a row is written only if it is unchanged since it was read: a concurrent refresh
//! wins, and its row is read again. After a crash the next run continues with the remaining rows.

use super::seal::{self, Sealer, key_id_of};
use super::{Error, account_of};
use crate::domain::CredentialId;
use crate::store::{self, Store};
use secrecy::ExposeSecret as _;
use std::collections::BTreeMap;

const BATCH: i64 = 100;
/// Rounds over rows that changed concurrently; what is left then waits for the next run.
const ROUNDS: usize = 5;

/// How many secrets of each table each key seals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage(pub BTreeMap<(&'static str, String), u64>);

impl Usage {
    fn count(&mut self, table: &'static str, envelope: &[u8]) {
        *self.0.entry((table, key_id_of(envelope))).or_default() += 1;
    }
}

/// The result of a rotation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rotated {
    /// The number of secrets sealed with the first key, by table.
    pub resealed: BTreeMap<&'static str, u64>,
    /// Rows that could not be opened: (table, row, error).
    pub left: Vec<(&'static str, String, String)>,
}

/// Seals stored secrets with another key.
pub struct Rotation {
    store: Store,
    sealer: Sealer,
}

impl Rotation {
    /// A rotation of this store's secrets to the sealer's first key.
    #[must_use]
    pub fn new(store: Store, sealer: Sealer) -> Self {
        Self { store, sealer }
    }

    /// Counts the secrets that each key seals.
    ///
    /// # Errors
    /// The database.
    pub async fn usage(&self) -> Result<Usage, Error> {
        let mut usage = Usage::default();
        let mut after = None;
        loop {
            // No key has an empty id, so this lists all rows.
            let page = self
                .store
                .credential_list_sealed_otherwise("", after, BATCH)
                .await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            page.iter()
                .for_each(|row| usage.count("credentials", &row.sealed));
        }
        let mut after = None;
        loop {
            let page = self.store.outbox_list_sealed_otherwise("", after, BATCH).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            page.iter().for_each(|row| usage.count("outbox", &row.sealed));
        }
        let mut after = None;
        loop {
            let page = self.store.authorization_list_unused(after, BATCH).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.state_hash.clone());
            for row in &page {
                usage.count("authorization", &row.sealed);
                if let Some(callback) = &row.callback {
                    usage.count("authorization", callback);
                }
            }
        }
        Ok(usage)
    }

    /// Seals all secrets with the first key. Can be repeated safely.
    ///
    /// # Errors
    /// Errors of the database. Rows that cannot be opened are not an error: they are in [`Rotated::left`].
    pub async fn run(&self) -> Result<Rotated, Error> {
        let mut rotated = Rotated::default();
        for round in 1..=ROUNDS {
            rotated.left.clear();
            let mut changed = self.credentials(&mut rotated).await?;
            changed += self.outbox(&mut rotated).await?;
            changed += self.authorizations(&mut rotated).await?;
            if changed == 0 {
                break;
            }
            tracing::info!(
                round,
                changed,
                "{changed} rows changed meanwhile and are looked at again"
            );
        }
        Ok(rotated)
    }

    /// Opens a secret and seals it with the first key.
    fn anew(&self, belongs_to: &str, sealed: &[u8]) -> Result<Vec<u8>, seal::Error> {
        let opened = self.sealer.open(belongs_to, sealed)?;
        self.sealer.seal(belongs_to, opened.expose_secret())
    }

    async fn credentials(&self, rotated: &mut Rotated) -> Result<u64, Error> {
        let (key_id, mut after, mut changed) = (self.sealer.key_id(), None, 0);
        loop {
            let page = self
                .store
                .credential_list_sealed_otherwise(&key_id, after, BATCH)
                .await?;
            let Some(last) = page.last() else {
                return Ok(changed);
            };
            after = Some(last.id);
            for row in page {
                match self.anew(&account_of(&row), &row.sealed) {
                    Err(why) => rotated.left("credentials", row.id, &why),
                    Ok(sealed) => {
                        let done = self
                            .store
                            .credential_reseal(row.id, row.generation, sealed, &key_id)
                            .await?;
                        rotated.note("credentials", done, &mut changed);
                    }
                }
            }
        }
    }

    async fn outbox(&self, rotated: &mut Rotated) -> Result<u64, Error> {
        let (key_id, mut after, mut changed) = (self.sealer.key_id(), None, 0);
        loop {
            let page = self
                .store
                .outbox_list_sealed_otherwise(&key_id, after, BATCH)
                .await?;
            let Some(last) = page.last() else {
                return Ok(changed);
            };
            after = Some(last.id);
            for row in page {
                let account = match row.subject.parse::<CredentialId>() {
                    Err(_) => row.subject.clone(),
                    Ok(id) => match self.store.credential_get(id).await {
                        Ok(credential) => account_of(&credential),
                        Err(error @ store::Error::NotFound { .. }) => {
                            rotated.left("outbox", row.id, &error);
                            continue;
                        }
                        Err(error) => return Err(error.into()),
                    },
                };
                match self.anew(&account, &row.sealed) {
                    Err(why) => rotated.left("outbox", row.id, &why),
                    Ok(sealed) => {
                        let done = self.store.outbox_reseal(row, sealed, &key_id).await?;
                        rotated.note("outbox", done, &mut changed);
                    }
                }
            }
        }
    }

    async fn authorizations(&self, rotated: &mut Rotated) -> Result<u64, Error> {
        const TABLE: &str = "authorization";
        let (key_id, mut after, mut changed) = (self.sealer.key_id(), None, 0);
        loop {
            let page = self.store.authorization_list_unused(after, BATCH).await?;
            let Some(last) = page.last() else {
                return Ok(changed);
            };
            after = Some(last.state_hash.clone());
            for row in page {
                let secrets = std::iter::once(&row.sealed).chain(&row.callback);
                if secrets.clone().all(|sealed| key_id_of(sealed) == key_id) {
                    continue;
                }
                let sealed = self.anew(&seal::verifier_of(&row.state_hash), &row.sealed);
                let callback = row
                    .callback
                    .as_ref()
                    .map(|callback| self.anew(&seal::callback_of(&row.state_hash), callback))
                    .transpose();
                match (sealed, callback) {
                    (Err(why), _) | (_, Err(why)) => {
                        rotated.left(TABLE, format!("of {}", row.integration_id), &why);
                    }
                    (Ok(sealed), Ok(callback)) => {
                        let done = self
                            .store
                            .authorization_reseal(row, sealed, callback, &key_id)
                            .await?;
                        rotated.note(TABLE, done, &mut changed);
                    }
                }
            }
        }
    }
}

impl Rotated {
    fn note(&mut self, table: &'static str, done: bool, changed: &mut u64) {
        match done {
            true => *self.resealed.entry(table).or_default() += 1,
            false => *changed += 1,
        }
    }

    fn left(&mut self, table: &'static str, row: impl std::fmt::Display, why: &dyn std::fmt::Display) {
        self.left.push((table, row.to_string(), why.to_string()));
    }
}
