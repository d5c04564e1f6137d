//! The end of credentials: the CRM revoked them, or no integration uses them.

use std::collections::BTreeSet;

use diesel::prelude::*;

use super::row::{Credential, lock, lock_all, references};
use crate::domain::{
    CredentialId, CredentialState, EventKind, IntegrationId, IntegrationState, Micros, OutboxId, OutboxKind,
};
use crate::store::{
    Error, Integration, NewOutbox, Refusal, Store,
    conn::{Conn, first_locked},
    event::NewEvents,
    outbox, refusal,
    schema::{credentials, integration, outbox as outbox_table},
};

/// What became of a credential that died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedCredential {
    /// False if the credentials had changed in between, and nothing was done.
    pub revoked: bool,
    /// The integrations that now have to be logged in again.
    pub integrations: Vec<IntegrationId>,
}

impl Store {
    /// The CRM refused the credentials for good: the credential and, in the same transaction, its active integrations say
    /// so. `used_generation` is the generation of the credentials that the refused call was made with, never one read
    /// afterwards: a login or a refresh in between has put others in their place, and then nothing is done.
    pub async fn credential_revoked(
        &self,
        id: CredentialId,
        used_generation: i64,
        cause: &str,
        message: &str,
        now_us: Micros,
    ) -> Result<RevokedCredential, Error> {
        let (cause, message) = (cause.to_owned(), message.to_owned());
        self.write_anew(move |conn, events| {
            revoked(conn, events, id, used_generation, &cause, &message, now_us)
        })
        .await
    }

    /// Gives back what was logged into before this time and nothing uses: a login whose process died before its
    /// integration got it, or whose integration was deleted meanwhile. How many.
    pub async fn credential_release_unused(&self, before_us: Micros, now_us: Micros) -> Result<usize, Error> {
        self.write(move |conn| {
            let used = integration::table
                .filter(integration::credential_id.is_not_null())
                .select(integration::credential_id.assume_not_null());
            let unused: Vec<CredentialId> = credentials::table
                .filter(
                    credentials::state
                        .ne(CredentialState::Revoked)
                        .and(credentials::update_us.lt(before_us))
                        .and(credentials::id.ne_all(used)),
                )
                .order(credentials::id)
                .select(credentials::id)
                .load(conn)?;
            let mut released = 0;
            for id in unused {
                let credential = lock(conn, id)?;
                if credential.update_us >= before_us {
                    continue;
                }
                released += usize::from(release(conn, credential, "{}", now_us)?.is_some());
            }
            Ok(released)
        })
        .await
    }

    /// Removes revoked credentials that nothing uses, that have not changed since before this time and whose revocation is done;
    /// returns how many, 1,000 at most.
    pub async fn credential_purge(&self, before_us: Micros) -> Result<usize, Error> {
        self.write(move |conn| {
            let dead = credentials::state
                .eq(CredentialState::Revoked)
                .and(credentials::update_us.lt(before_us));
            let used = integration::table.filter(integration::credential_id.eq(credentials::id.nullable()));
            let ids: Vec<CredentialId> = credentials::table
                .filter(dead)
                .filter(diesel::dsl::not(diesel::dsl::exists(used)))
                .limit(1000)
                .select(credentials::id)
                .load(conn)?;
            // A pending revocation needs the row: it has what the secret is sealed for.
            let subjects: Vec<String> = ids.iter().map(CredentialId::to_string).collect();
            let pending: Vec<String> = outbox_table::table
                .filter(
                    outbox_table::done_us
                        .is_null()
                        .and(outbox_table::subject.eq_any(subjects)),
                )
                .select(outbox_table::subject)
                .load(conn)?;
            let ids: BTreeSet<CredentialId> = ids
                .into_iter()
                .filter(|id| !pending.contains(&id.to_string()))
                .collect();
            // A login in between has revived it.
            let ids: BTreeSet<CredentialId> = lock_all(conn, &ids)?
                .into_iter()
                .map(|credential| credential.id)
                .collect();
            let still = credentials::table.filter(credentials::id.eq_any(ids).and(dead));
            Ok(diesel::delete(still).execute(conn)?)
        })
        .await
    }
}

fn revoked(
    conn: &mut Conn,
    events: &mut NewEvents,
    id: CredentialId,
    used_generation: i64,
    cause: &str,
    message: &str,
    now_us: Micros,
) -> Result<Option<RevokedCredential>, Error> {
    let users = |conn: &mut Conn| -> Result<Vec<IntegrationId>, Error> {
        Ok(integration::table
            .filter(integration::credential_id.eq(id))
            .order(integration::id)
            .select(integration::id)
            .load(conn)?)
    };
    let known = users(conn)?;
    let mut affected: Vec<Integration> = Vec::with_capacity(known.len());
    for one in &known {
        match crate::store::integration::lock(conn, *one) {
            Ok(of) if of.credential_id == Some(id) && of.state == IntegrationState::Active => {
                affected.push(of)
            }
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    let nothing = RevokedCredential {
        revoked: false,
        integrations: Vec::new(),
    };
    let generation: Option<i64> =
        first_locked!(conn, credentials::table.find(id).select(credentials::generation)).optional()?;
    if generation != Some(used_generation) {
        return Ok(Some(nothing));
    }
    // Nothing gets the credential while it is locked; one that got it just before is not locked yet.
    if users(conn)?.iter().any(|user| !known.contains(user)) {
        return Ok(None);
    }
    diesel::update(credentials::table.find(id))
        .set((
            credentials::state.eq(CredentialState::Revoked),
            credentials::cause.eq(cause),
            credentials::lease_owner.eq(None::<String>),
            credentials::lease_until_us.eq(0),
            credentials::update_us.eq(now_us),
        ))
        .execute(conn)?;
    refusal::set(conn, id, &Refusal::default())?;
    affected.sort_by(|a, b| (&a.group_id, a.id).cmp(&(&b.group_id, b.id)));
    let integrations: Vec<IntegrationId> = affected.iter().map(|of| of.id).collect();
    diesel::update(integration::table.filter(integration::id.eq_any(&integrations)))
        .set((
            integration::state.eq(IntegrationState::NeedsReauthorization),
            integration::state_reason.eq(cause),
            integration::state_message.eq(message),
            integration::state_us.eq(now_us),
            integration::revision.eq(integration::revision + 1),
        ))
        .execute(conn)?;
    for of in &affected {
        let kind = EventKind::NeedsReauthorization;
        // For the owner alone, who can log in again.
        events.add_because(&of.group_id, kind, of.id, &of.id.name(), cause, now_us);
    }
    Ok(Some(RevokedCredential {
        revoked: true,
        integrations,
    }))
}

/// If nothing uses a credential any more: revokes it here, and at the CRM through the outbox, whose entry is returned. The
/// credential must be locked.
pub(in crate::store) fn release(
    conn: &mut Conn,
    credential: Credential,
    settings: &str,
    now_us: Micros,
) -> Result<Option<OutboxId>, Error> {
    if credential.state == CredentialState::Revoked || !references(conn, credential.id)?.is_empty() {
        return Ok(None);
    }
    diesel::update(credentials::table.find(credential.id))
        .set((
            credentials::state.eq(CredentialState::Revoked),
            credentials::cause.eq("RELEASED"),
            credentials::lease_owner.eq(None::<String>),
            credentials::generation.eq(credentials::generation + 1),
            credentials::update_us.eq(now_us),
        ))
        .execute(conn)?;
    let entry = NewOutbox {
        kind: OutboxKind::Revoke,
        subject: credential.id.to_string(),
        detail: settings.to_owned(),
        sealed: credential.sealed,
        key_id: credential.key_id,
    };
    outbox::add(conn, entry, now_us).map(Some)
}
