//! Refreshes: one at a time for each credential, over all processes. A lease gives the right to it, and the generation of the
//! credential decides whether its outcome is stored.

use diesel::prelude::*;

use super::row::{Credential, get};
use crate::domain::{CredentialId, CredentialState, Micros};
use crate::store::{Conflict, Error, Refusal, Store, refusal, schema::credentials};

impl Store {
    /// Takes the right to refresh; `None` while another has it. The row is as it is now: look whether a refresh is
    /// still needed.
    pub async fn credential_lease(
        &self,
        id: CredentialId,
        owner: &str,
        now_us: Micros,
        until_us: Micros,
    ) -> Result<Option<Credential>, Error> {
        let owner = owner.to_owned();
        self.write(move |conn| {
            let free = credentials::table.find(id).filter(
                credentials::lease_owner
                    .is_null()
                    .or(credentials::lease_until_us.le(now_us)),
            );
            let taken = diesel::update(free)
                .set((
                    credentials::lease_owner.eq(&owner),
                    credentials::lease_until_us.eq(until_us),
                ))
                .execute(conn)?;
            let credential = get(conn, id)?;
            Ok((taken == 1).then_some(credential))
        })
        .await
    }

    /// Stores refreshed credentials and ends the lease. [`Conflict::Generation`] if they were changed by someone else:
    /// what could not be stored is to be revoked. A refusal of the kind `keep` stays: that the CRM gives a token does not
    /// say that it accepts it.
    #[expect(clippy::too_many_arguments, reason = "one call site, all of it one row")]
    pub async fn credential_store(
        &self,
        id: CredentialId,
        expected_generation: i64,
        owner: &str,
        sealed: Vec<u8>,
        key_id: &str,
        base_url: &str,
        keep: &str,
        now_us: Micros,
    ) -> Result<Credential, Error> {
        let (owner, key_id, base_url) = (owner.to_owned(), key_id.to_owned(), base_url.to_owned());
        let keep = keep.to_owned();
        self.write(move |conn| {
            let mine = credentials::table
                .find(id)
                .filter(credentials::generation.eq(expected_generation).and(credentials::lease_owner.eq(&owner)));
            let stored = diesel::update(mine)
                .set((
                    credentials::sealed.eq(sealed),
                    credentials::key_id.eq(key_id),
                    credentials::base_url.eq(base_url),
                    credentials::generation.eq(expected_generation + 1),
                    credentials::lease_owner.eq(None::<String>),
                    credentials::lease_until_us.eq(0),
                    credentials::state.eq(CredentialState::Live),
                    credentials::cause.eq(""),
                    credentials::update_us.eq(now_us),
                    credentials::refresh_us.eq(now_us),
                ))
                .execute(conn)?;
            let mut credential = get(conn, id)?;
            if stored == 1 {
                if credential.refusal.is_some() && credential.refusal.kind != keep {
                    credential.refusal = Refusal::default();
                    refusal::set(conn, id, &credential.refusal)?;
                }
                return Ok(credential);
            }
            Err(Error::conflict(
                Conflict::Generation,
                format!(
                    "credential \"{id}\" is at generation {}, not {expected_generation}, or its lease is another's",
                    credential.generation
                ),
            ))
        })
        .await
    }

    /// Gives the right to refresh back without new credentials.
    pub async fn credential_release(&self, id: CredentialId, owner: &str) -> Result<(), Error> {
        let owner = owner.to_owned();
        self.write(move |conn| {
            diesel::update(
                credentials::table
                    .find(id)
                    .filter(credentials::lease_owner.eq(owner)),
            )
            .set((
                credentials::lease_owner.eq(None::<String>),
                credentials::lease_until_us.eq(0),
            ))
            .execute(conn)?;
            Ok(())
        })
        .await
    }

    /// Stores the same credentials sealed anew, with another key.
    /// False if they were changed in between.
    pub async fn credential_reseal(
        &self,
        id: CredentialId,
        expected_generation: i64,
        sealed: Vec<u8>,
        key_id: &str,
    ) -> Result<bool, Error> {
        let key_id = key_id.to_owned();
        self.write(move |conn| {
            let same = credentials::table
                .find(id)
                .filter(credentials::generation.eq(expected_generation));
            let done = diesel::update(same)
                .set((credentials::sealed.eq(sealed), credentials::key_id.eq(key_id)))
                .execute(conn)?;
            Ok(done == 1)
        })
        .await
    }
}
