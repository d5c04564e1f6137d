//! Credentials: the sealed logins of accounts, one per login method, client, organization and user.

use std::collections::BTreeSet;

use diesel::prelude::*;

use super::{
    Conflict, Error, Integration, NewOutbox, Refusal, Store, Tx,
    conn::{Conn, all_locked, first_locked},
    error::OrNotFound,
    event::NewEvents,
    outbox, refusal,
    schema::{credentials, integration, outbox as outbox_table},
};
use crate::domain::{
    AuthKind, CredentialId, CredentialState, EventKind, IntegrationId, IntegrationState, Micros, OutboxKind,
};

/// A credential.
#[derive(Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = credentials, treat_none_as_default_value = false)]
pub struct Credential {
    /// Its id.
    pub id: CredentialId,
    /// The connector.
    pub connector: String,
    /// How it was logged in.
    pub auth_kind: AuthKind,
    /// The app it was given to.
    pub client_id: String,
    /// The CRM's id of the organization.
    pub organization_id: String,
    /// The CRM's id of the user.
    pub user_id: String,
    /// The organization's name, where known.
    pub organization_name: String,
    /// The user's login name.
    pub username: String,
    /// The user's name, where known.
    pub user_display_name: String,
    /// Where the account's API is.
    pub base_url: String,
    /// The credentials.
    pub sealed: Vec<u8>,
    /// The key they are sealed with.
    pub key_id: String,
    /// Whether a refresh token is among them.
    pub refreshable: bool,
    /// Grows with every change of the credentials.
    pub generation: i64,
    /// Who refreshes it at present.
    pub lease_owner: Option<String>,
    /// Until when.
    pub lease_until_us: Micros,
    /// Whether it can be used.
    pub state: CredentialState,
    /// Why not.
    pub cause: String,
    /// When the account was first logged into.
    pub create_us: Micros,
    /// When it last changed.
    pub update_us: Micros,
    /// When it was last refreshed.
    pub refresh_us: Option<Micros>,
    /// When somebody last logged in.
    pub log_in_us: Micros,
    /// Why the last refreshes failed.
    #[diesel(embed)]
    pub refusal: Refusal,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential")
            .field("id", &self.id)
            .field("connector", &self.connector)
            .field("generation", &self.generation)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// What a login gave.
#[derive(Clone, PartialEq, Eq)]
pub struct NewCredential {
    /// The connector.
    pub connector: String,
    /// How it was logged in.
    pub auth_kind: AuthKind,
    /// The app it was given to.
    pub client_id: String,
    /// The CRM's id of the organization.
    pub organization_id: String,
    /// The CRM's id of the user.
    pub user_id: String,
    /// The organization's name, where known.
    pub organization_name: String,
    /// The user's login name.
    pub username: String,
    /// The user's name, where known.
    pub user_display_name: String,
    /// Where the account's API is.
    pub base_url: String,
    /// The credentials.
    pub sealed: Vec<u8>,
    /// The key they are sealed with.
    pub key_id: String,
    /// Whether a refresh token is among them.
    pub refreshable: bool,
}

/// What became of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialPut {
    /// The credential as it is now.
    pub credential: Credential,
    /// False if what was there is better (a live refresh token) than what came: the new credentials are to be revoked.
    pub stored: bool,
    /// The credentials that were replaced and may still be valid: (sealed, key id), to be revoked.
    pub replaced: Option<(Vec<u8>, String)>,
}

/// What became of a credential that died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedCredential {
    /// False if the credentials had changed in between, and nothing was done.
    pub revoked: bool,
    /// The integrations that now have to be logged in again.
    pub integrations: Vec<IntegrationId>,
}

impl Tx<'_> {
    /// Stores what a login gave: a new credential, or new tokens of the one of the same account and app. The account's
    /// credentials, and the one that the integration had before, are locked at once; the integration is locked already.
    pub fn credential_put(
        &mut self,
        new: NewCredential,
        before: Option<CredentialId>,
        now_us: Micros,
    ) -> Result<CredentialPut, Error> {
        let mut ids = of_account(self.conn, &new.connector, &new.organization_id, &new.user_id)?;
        ids.extend(before);
        lock_all(self.conn, &ids)?;
        put(self.conn, new, now_us)
    }
}

impl Store {
    /// One credential.
    pub async fn credential_get(&self, id: CredentialId) -> Result<Credential, Error> {
        self.read(move |conn| get(conn, id)).await
    }

    /// The credential of an account and an app, if there is one.
    pub async fn credential_of_account(
        &self,
        connector: &str,
        auth_kind: AuthKind,
        client_id: &str,
        organization_id: &str,
        user_id: &str,
    ) -> Result<Option<Credential>, Error> {
        let (connector, client_id) = (connector.to_owned(), client_id.to_owned());
        let (organization_id, user_id) = (organization_id.to_owned(), user_id.to_owned());
        self.read(move |conn| {
            let of_account = credentials::table.filter(
                credentials::connector
                    .eq(connector)
                    .and(credentials::organization_id.eq(organization_id))
                    .and(credentials::user_id.eq(user_id))
                    .and(credentials::auth_kind.eq(auth_kind))
                    .and(credentials::client_id.eq(client_id)),
            );
            Ok(of_account
                .select(Credential::as_select())
                .first(conn)
                .optional()?)
        })
        .await
    }

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

    /// How many integrations of this account count towards its limit, over all groups, ways to log in and clients.
    pub async fn account_count(
        &self,
        connector: &str,
        organization_id: &str,
        user_id: &str,
    ) -> Result<i64, Error> {
        let (connector, organization_id, user_id) = (
            connector.to_owned(),
            organization_id.to_owned(),
            user_id.to_owned(),
        );
        self.read(move |conn| count_account(conn, &connector, &organization_id, &user_id, None))
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

    /// Removes revoked credentials that nothing uses, that have not changed since before this time and whose CRM was told;
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
            // What is still to be told needs the row: it says what the secret is sealed for.
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
        match super::integration::lock(conn, *one) {
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
        events.tell_owner(kind, of, &of.id.name(), cause, now_us);
    }
    Ok(Some(RevokedCredential {
        revoked: true,
        integrations,
    }))
}

/// The credential of a login's account and app.
fn of_login(conn: &mut Conn, new: &NewCredential) -> Result<Option<CredentialId>, Error> {
    let same_account = credentials::table.filter(
        credentials::connector
            .eq(&new.connector)
            .and(credentials::organization_id.eq(&new.organization_id))
            .and(credentials::user_id.eq(&new.user_id))
            .and(credentials::auth_kind.eq(new.auth_kind))
            .and(credentials::client_id.eq(&new.client_id)),
    );
    Ok(same_account.select(credentials::id).first(conn).optional()?)
}

fn put(conn: &mut Conn, new: NewCredential, now_us: Micros) -> Result<CredentialPut, Error> {
    let known = of_login(conn, &new)?.map(|id| lock(conn, id)).transpose()?;
    let Some(old) = known else {
        let credential = Credential {
            id: CredentialId::new(),
            connector: new.connector,
            auth_kind: new.auth_kind,
            client_id: new.client_id,
            organization_id: new.organization_id,
            user_id: new.user_id,
            organization_name: new.organization_name,
            username: new.username,
            user_display_name: new.user_display_name,
            base_url: new.base_url,
            sealed: new.sealed,
            key_id: new.key_id,
            refreshable: new.refreshable,
            generation: 1,
            lease_owner: None,
            lease_until_us: 0,
            state: CredentialState::Live,
            cause: String::new(),
            create_us: now_us,
            update_us: now_us,
            refresh_us: None,
            log_in_us: now_us,
            refusal: Refusal::default(),
        };
        return match diesel::insert_into(credentials::table)
            .values(&credential)
            .execute(conn)
        {
            Err(e) if super::error::is_unique_violation(&e, "credentials") => Err(Error::Busy(
                "the account is being logged into twice at once".to_owned(),
            )),
            other => other
                .map(|_| CredentialPut {
                    credential,
                    stored: true,
                    replaced: None,
                })
                .map_err(Error::from),
        };
    };
    let alive = old.state == CredentialState::Live;
    if alive && old.refreshable && !new.refreshable {
        diesel::update(credentials::table.find(old.id))
            .set(credentials::log_in_us.eq(now_us))
            .execute(conn)?;
        return Ok(CredentialPut {
            credential: Credential {
                log_in_us: now_us,
                ..old
            },
            stored: false,
            replaced: None,
        });
    }
    let replaced = alive.then(|| (old.sealed.clone(), old.key_id.clone()));
    let credential = Credential {
        organization_name: new.organization_name,
        username: new.username,
        user_display_name: new.user_display_name,
        base_url: new.base_url,
        sealed: new.sealed,
        key_id: new.key_id,
        refreshable: new.refreshable,
        generation: old.generation + 1,
        lease_owner: None,
        lease_until_us: 0,
        state: CredentialState::Live,
        cause: String::new(),
        update_us: now_us,
        log_in_us: now_us,
        refusal: Refusal::default(),
        ..old
    };
    diesel::update(credentials::table.find(credential.id))
        .set((
            credentials::organization_name.eq(&credential.organization_name),
            credentials::username.eq(&credential.username),
            credentials::user_display_name.eq(&credential.user_display_name),
            credentials::base_url.eq(&credential.base_url),
            credentials::sealed.eq(&credential.sealed),
            credentials::key_id.eq(&credential.key_id),
            credentials::refreshable.eq(credential.refreshable),
            credentials::generation.eq(credential.generation),
            credentials::lease_owner.eq(None::<String>),
            credentials::lease_until_us.eq(0),
            credentials::state.eq(credential.state),
            credentials::cause.eq(""),
            credentials::update_us.eq(now_us),
            credentials::log_in_us.eq(now_us),
        ))
        .execute(conn)?;
    refusal::set(conn, credential.id, &credential.refusal)?;
    Ok(CredentialPut {
        credential,
        stored: true,
        replaced,
    })
}

/// The integrations that use a credential, those being deleted not counted.
pub(super) fn references(conn: &mut Conn, id: CredentialId) -> Result<Vec<IntegrationId>, Error> {
    Ok(integration::table
        .filter(
            integration::credential_id
                .eq(id)
                .and(integration::state.ne(IntegrationState::Deleting)),
        )
        .order(integration::id)
        .select(integration::id)
        .load(conn)?)
}

pub(super) fn get(conn: &mut Conn, id: CredentialId) -> Result<Credential, Error> {
    credentials::table
        .find(id)
        .select(Credential::as_select())
        .first(conn)
        .or_not_found("credential", id)
}

/// Locks credentials, in order; those that are there.
pub(super) fn lock_all(conn: &mut Conn, ids: &BTreeSet<CredentialId>) -> Result<Vec<Credential>, Error> {
    Ok(all_locked!(
        conn,
        credentials::table
            .filter(credentials::id.eq_any(ids))
            .order(credentials::id)
            .select(Credential::as_select())
    )?)
}

/// All credentials of an account: what is locked to count the account's integrations.
pub(super) fn of_account(
    conn: &mut Conn,
    connector: &str,
    organization_id: &str,
    user_id: &str,
) -> Result<BTreeSet<CredentialId>, Error> {
    let ids: Vec<CredentialId> = credentials::table
        .filter(
            credentials::connector
                .eq(connector)
                .and(credentials::organization_id.eq(organization_id))
                .and(credentials::user_id.eq(user_id)),
        )
        .select(credentials::id)
        .load(conn)?;
    Ok(ids.into_iter().collect())
}

/// Locks a credential against others that take or drop its last reference.
pub(super) fn lock(conn: &mut Conn, id: CredentialId) -> Result<Credential, Error> {
    first_locked!(conn, credentials::table.find(id).select(Credential::as_select()))
        .or_not_found("credential", id)
}

/// If nothing uses a credential any more: revokes it here, and at the CRM through the outbox. The credential must be locked.
pub(super) fn release(
    conn: &mut Conn,
    credential: Credential,
    settings: &str,
    now_us: Micros,
) -> Result<Option<Credential>, Error> {
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
    outbox::add(
        conn,
        NewOutbox {
            kind: OutboxKind::Revoke,
            subject: credential.id.to_string(),
            detail: settings.to_owned(),
            sealed: credential.sealed.clone(),
            key_id: credential.key_id.clone(),
        },
        now_us,
    )?;
    Ok(Some(credential))
}

/// Counts towards the limit of an account; one integration may be left out.
pub(super) fn count_account(
    conn: &mut Conn,
    connector: &str,
    organization_id: &str,
    user_id: &str,
    without: Option<IntegrationId>,
) -> Result<i64, Error> {
    let ids: Vec<IntegrationId> = integration::table
        .inner_join(credentials::table.on(integration::credential_id.eq(credentials::id.nullable())))
        .filter(
            credentials::connector
                .eq(connector)
                .and(credentials::organization_id.eq(organization_id))
                .and(credentials::user_id.eq(user_id)),
        )
        .filter(integration::state.eq_any([IntegrationState::Active, IntegrationState::NeedsReauthorization]))
        .select(integration::id)
        .load(conn)?;
    Ok(ids.iter().filter(|id| Some(**id) != without).count() as i64)
}

/// Refuses if one more integration of an account would be too many. All credentials of the account are locked.
pub(super) fn check_account(
    conn: &mut Conn,
    credential: &Credential,
    integration_id: IntegrationId,
    limit: i64,
) -> Result<(), Error> {
    let count = count_account(
        conn,
        &credential.connector,
        &credential.organization_id,
        &credential.user_id,
        Some(integration_id),
    )?;
    if count >= limit {
        return Err(Error::conflict(
            Conflict::AccountFull,
            format!(
                "the account \"{}\" of \"{}\" has {count} active integrations; {limit} is the most",
                credential.username, credential.organization_name
            ),
        ));
    }
    Ok(())
}
