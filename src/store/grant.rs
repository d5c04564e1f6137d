//! Grants: what accounts gave us access with, sealed. One for each (way to log in, client, organization, user).

use std::collections::BTreeSet;

use diesel::prelude::*;

use super::{
    Conflict, Error, Integration, NewOutbox, Refusal, Store, Tx,
    conn::{Conn, all_locked, first_locked},
    error::OrNotFound,
    event::NewEvents,
    outbox, refusal,
    schema::{grants, integration, outbox as outbox_table},
};
use crate::domain::{
    AuthKind, EventKind, GrantId, GrantState, IntegrationId, IntegrationState, Micros, OutboxKind,
};

/// A grant.
#[derive(Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = grants, treat_none_as_default_value = false)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
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
    pub state: GrantState,
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

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant")
            .field("id", &self.id)
            .field("connector", &self.connector)
            .field("generation", &self.generation)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// What a login gave.
#[derive(Clone, PartialEq, Eq)]
pub struct NewGrant {
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
pub struct GrantPut {
    /// The grant as it is now.
    pub grant: Grant,
    /// False if what was there is better (a live refresh token) than what came: the new credentials are to be revoked.
    pub stored: bool,
    /// The credentials that were replaced and may still be valid: (sealed, key id), to be revoked.
    pub replaced: Option<(Vec<u8>, String)>,
}

/// What became of a grant that died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedGrant {
    /// False if the credentials had changed in between, and nothing was done.
    pub revoked: bool,
    /// The integrations that now have to be logged in again.
    pub integrations: Vec<IntegrationId>,
}

impl Tx<'_> {
    /// Stores what a login gave: a new grant, or new credentials of the one of the same account and app. The account's
    /// grants, and the one that the integration had before, are locked at once; the integration is locked already.
    pub fn grant_put(
        &mut self,
        new: NewGrant,
        before: Option<GrantId>,
        now_us: Micros,
    ) -> Result<GrantPut, Error> {
        let mut ids = of_account(self.conn, &new.connector, &new.organization_id, &new.user_id)?;
        ids.extend(before);
        lock_all(self.conn, &ids)?;
        put(self.conn, new, now_us)
    }
}

impl Store {
    /// One grant.
    pub async fn grant_get(&self, id: GrantId) -> Result<Grant, Error> {
        self.read(move |conn| get(conn, id)).await
    }

    /// The grant of an account and an app, if there is one.
    pub async fn grant_of_account(
        &self,
        connector: &str,
        auth_kind: AuthKind,
        client_id: &str,
        organization_id: &str,
        user_id: &str,
    ) -> Result<Option<Grant>, Error> {
        let (connector, client_id) = (connector.to_owned(), client_id.to_owned());
        let (organization_id, user_id) = (organization_id.to_owned(), user_id.to_owned());
        self.read(move |conn| {
            let of_account = grants::table.filter(
                grants::connector
                    .eq(connector)
                    .and(grants::organization_id.eq(organization_id))
                    .and(grants::user_id.eq(user_id))
                    .and(grants::auth_kind.eq(auth_kind))
                    .and(grants::client_id.eq(client_id)),
            );
            Ok(of_account.select(Grant::as_select()).first(conn).optional()?)
        })
        .await
    }

    /// Takes the right to refresh; `None` while another has it. The row is as it is now: look whether a refresh is
    /// still needed.
    pub async fn grant_lease(
        &self,
        id: GrantId,
        owner: &str,
        now_us: Micros,
        until_us: Micros,
    ) -> Result<Option<Grant>, Error> {
        let owner = owner.to_owned();
        self.write(move |conn| {
            let free = grants::table.find(id).filter(
                grants::lease_owner
                    .is_null()
                    .or(grants::lease_until_us.le(now_us)),
            );
            let taken = diesel::update(free)
                .set((
                    grants::lease_owner.eq(&owner),
                    grants::lease_until_us.eq(until_us),
                ))
                .execute(conn)?;
            let grant = get(conn, id)?;
            Ok((taken == 1).then_some(grant))
        })
        .await
    }

    /// Stores refreshed credentials and ends the lease. [`Conflict::Generation`] if they were changed by someone else:
    /// what could not be stored is to be revoked. A refusal of the kind `keep` stays: that the CRM gives a token does not
    /// say that it accepts it.
    #[expect(clippy::too_many_arguments, reason = "one call site, all of it one row")]
    pub async fn grant_store(
        &self,
        id: GrantId,
        expected_generation: i64,
        owner: &str,
        sealed: Vec<u8>,
        key_id: &str,
        base_url: &str,
        keep: &str,
        now_us: Micros,
    ) -> Result<Grant, Error> {
        let (owner, key_id, base_url) = (owner.to_owned(), key_id.to_owned(), base_url.to_owned());
        let keep = keep.to_owned();
        self.write(move |conn| {
            let mine = grants::table
                .find(id)
                .filter(grants::generation.eq(expected_generation).and(grants::lease_owner.eq(&owner)));
            let stored = diesel::update(mine)
                .set((
                    grants::sealed.eq(sealed),
                    grants::key_id.eq(key_id),
                    grants::base_url.eq(base_url),
                    grants::generation.eq(expected_generation + 1),
                    grants::lease_owner.eq(None::<String>),
                    grants::lease_until_us.eq(0),
                    grants::state.eq(GrantState::Live),
                    grants::cause.eq(""),
                    grants::update_us.eq(now_us),
                    grants::refresh_us.eq(now_us),
                ))
                .execute(conn)?;
            let mut grant = get(conn, id)?;
            if stored == 1 {
                if grant.refusal.is_some() && grant.refusal.kind != keep {
                    grant.refusal = Refusal::default();
                    refusal::set(conn, id, &grant.refusal)?;
                }
                return Ok(grant);
            }
            Err(Error::conflict(
                Conflict::Generation,
                format!(
                    "grant \"{id}\" is at generation {}, not {expected_generation}, or its lease is another's",
                    grant.generation
                ),
            ))
        })
        .await
    }

    /// Stores the same credentials sealed anew, with another key.
    /// False if they were changed in between.
    pub async fn grant_reseal(
        &self,
        id: GrantId,
        expected_generation: i64,
        sealed: Vec<u8>,
        key_id: &str,
    ) -> Result<bool, Error> {
        let key_id = key_id.to_owned();
        self.write(move |conn| {
            let same = grants::table
                .find(id)
                .filter(grants::generation.eq(expected_generation));
            let done = diesel::update(same)
                .set((grants::sealed.eq(sealed), grants::key_id.eq(key_id)))
                .execute(conn)?;
            Ok(done == 1)
        })
        .await
    }

    /// Gives the right to refresh back without new credentials.
    pub async fn grant_release(&self, id: GrantId, owner: &str) -> Result<(), Error> {
        let owner = owner.to_owned();
        self.write(move |conn| {
            diesel::update(grants::table.find(id).filter(grants::lease_owner.eq(owner)))
                .set((
                    grants::lease_owner.eq(None::<String>),
                    grants::lease_until_us.eq(0),
                ))
                .execute(conn)?;
            Ok(())
        })
        .await
    }

    /// The CRM refused the credentials for good: the grant and, in the same transaction, its active integrations say
    /// so. `used_generation` is the generation of the credentials that the refused call was made with, never one read
    /// afterwards: a login or a refresh in between has put others in their place, and then nothing is done.
    pub async fn grant_revoked(
        &self,
        id: GrantId,
        used_generation: i64,
        cause: &str,
        message: &str,
        now_us: Micros,
    ) -> Result<RevokedGrant, Error> {
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
    pub async fn grant_release_unused(&self, before_us: Micros, now_us: Micros) -> Result<usize, Error> {
        self.write(move |conn| {
            let used = integration::table
                .filter(integration::grant_id.is_not_null())
                .select(integration::grant_id.assume_not_null());
            let unused: Vec<GrantId> = grants::table
                .filter(
                    grants::state
                        .ne(GrantState::Revoked)
                        .and(grants::update_us.lt(before_us))
                        .and(grants::id.ne_all(used)),
                )
                .order(grants::id)
                .select(grants::id)
                .load(conn)?;
            let mut released = 0;
            for id in unused {
                let grant = lock(conn, id)?;
                if grant.update_us >= before_us {
                    continue;
                }
                released += usize::from(release(conn, grant, "{}", now_us)?.is_some());
            }
            Ok(released)
        })
        .await
    }

    /// Removes revoked grants that nothing uses, that have not changed since before this time and whose CRM was told;
    /// returns how many, 1,000 at most.
    pub async fn grant_purge(&self, before_us: Micros) -> Result<usize, Error> {
        self.write(move |conn| {
            let dead = grants::state
                .eq(GrantState::Revoked)
                .and(grants::update_us.lt(before_us));
            let used = integration::table.filter(integration::grant_id.eq(grants::id.nullable()));
            let ids: Vec<GrantId> = grants::table
                .filter(dead)
                .filter(diesel::dsl::not(diesel::dsl::exists(used)))
                .limit(1000)
                .select(grants::id)
                .load(conn)?;
            // What is still to be told needs the row: it says what the secret is sealed for.
            let subjects: Vec<String> = ids.iter().map(GrantId::to_string).collect();
            let pending: Vec<String> = outbox_table::table
                .filter(
                    outbox_table::done_us
                        .is_null()
                        .and(outbox_table::subject.eq_any(subjects)),
                )
                .select(outbox_table::subject)
                .load(conn)?;
            let ids: BTreeSet<GrantId> = ids
                .into_iter()
                .filter(|id| !pending.contains(&id.to_string()))
                .collect();
            // A login in between has revived it.
            let ids: BTreeSet<GrantId> = lock_all(conn, &ids)?.into_iter().map(|grant| grant.id).collect();
            let still = grants::table.filter(grants::id.eq_any(ids).and(dead));
            Ok(diesel::delete(still).execute(conn)?)
        })
        .await
    }
}

fn revoked(
    conn: &mut Conn,
    events: &mut NewEvents,
    id: GrantId,
    used_generation: i64,
    cause: &str,
    message: &str,
    now_us: Micros,
) -> Result<Option<RevokedGrant>, Error> {
    let users = |conn: &mut Conn| -> Result<Vec<IntegrationId>, Error> {
        Ok(integration::table
            .filter(integration::grant_id.eq(id))
            .order(integration::id)
            .select(integration::id)
            .load(conn)?)
    };
    let known = users(conn)?;
    let mut affected: Vec<Integration> = Vec::with_capacity(known.len());
    for one in &known {
        match super::integration::lock(conn, *one) {
            Ok(of) if of.grant_id == Some(id) && of.state == IntegrationState::Active => affected.push(of),
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    let nothing = RevokedGrant {
        revoked: false,
        integrations: Vec::new(),
    };
    let generation: Option<i64> =
        first_locked!(conn, grants::table.find(id).select(grants::generation)).optional()?;
    if generation != Some(used_generation) {
        return Ok(Some(nothing));
    }
    // Nothing gets the grant while it is locked; one that got it just before is not locked yet.
    if users(conn)?.iter().any(|user| !known.contains(user)) {
        return Ok(None);
    }
    diesel::update(grants::table.find(id))
        .set((
            grants::state.eq(GrantState::Revoked),
            grants::cause.eq(cause),
            grants::lease_owner.eq(None::<String>),
            grants::lease_until_us.eq(0),
            grants::update_us.eq(now_us),
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
    Ok(Some(RevokedGrant {
        revoked: true,
        integrations,
    }))
}

/// The grant of a login's account and app.
fn of_login(conn: &mut Conn, new: &NewGrant) -> Result<Option<GrantId>, Error> {
    let same_account = grants::table.filter(
        grants::connector
            .eq(&new.connector)
            .and(grants::organization_id.eq(&new.organization_id))
            .and(grants::user_id.eq(&new.user_id))
            .and(grants::auth_kind.eq(new.auth_kind))
            .and(grants::client_id.eq(&new.client_id)),
    );
    Ok(same_account.select(grants::id).first(conn).optional()?)
}

fn put(conn: &mut Conn, new: NewGrant, now_us: Micros) -> Result<GrantPut, Error> {
    let known = of_login(conn, &new)?.map(|id| lock(conn, id)).transpose()?;
    let Some(old) = known else {
        let grant = Grant {
            id: GrantId::new(),
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
            state: GrantState::Live,
            cause: String::new(),
            create_us: now_us,
            update_us: now_us,
            refresh_us: None,
            log_in_us: now_us,
            refusal: Refusal::default(),
        };
        return match diesel::insert_into(grants::table).values(&grant).execute(conn) {
            Err(e) if super::error::is_unique_violation(&e, "grants") => Err(Error::Busy(
                "the account is being logged into twice at once".to_owned(),
            )),
            other => other
                .map(|_| GrantPut {
                    grant,
                    stored: true,
                    replaced: None,
                })
                .map_err(Error::from),
        };
    };
    let alive = old.state == GrantState::Live;
    if alive && old.refreshable && !new.refreshable {
        diesel::update(grants::table.find(old.id))
            .set(grants::log_in_us.eq(now_us))
            .execute(conn)?;
        return Ok(GrantPut {
            grant: Grant {
                log_in_us: now_us,
                ..old
            },
            stored: false,
            replaced: None,
        });
    }
    let replaced = alive.then(|| (old.sealed.clone(), old.key_id.clone()));
    let grant = Grant {
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
        state: GrantState::Live,
        cause: String::new(),
        update_us: now_us,
        log_in_us: now_us,
        refusal: Refusal::default(),
        ..old
    };
    diesel::update(grants::table.find(grant.id))
        .set((
            grants::organization_name.eq(&grant.organization_name),
            grants::username.eq(&grant.username),
            grants::user_display_name.eq(&grant.user_display_name),
            grants::base_url.eq(&grant.base_url),
            grants::sealed.eq(&grant.sealed),
            grants::key_id.eq(&grant.key_id),
            grants::refreshable.eq(grant.refreshable),
            grants::generation.eq(grant.generation),
            grants::lease_owner.eq(None::<String>),
            grants::lease_until_us.eq(0),
            grants::state.eq(grant.state),
            grants::cause.eq(""),
            grants::update_us.eq(now_us),
            grants::log_in_us.eq(now_us),
        ))
        .execute(conn)?;
    refusal::set(conn, grant.id, &grant.refusal)?;
    Ok(GrantPut {
        grant,
        stored: true,
        replaced,
    })
}

/// The integrations that use a grant, those being deleted not counted.
pub(super) fn references(conn: &mut Conn, id: GrantId) -> Result<Vec<IntegrationId>, Error> {
    Ok(integration::table
        .filter(
            integration::grant_id
                .eq(id)
                .and(integration::state.ne(IntegrationState::Deleting)),
        )
        .order(integration::id)
        .select(integration::id)
        .load(conn)?)
}

pub(super) fn get(conn: &mut Conn, id: GrantId) -> Result<Grant, Error> {
    grants::table
        .find(id)
        .select(Grant::as_select())
        .first(conn)
        .or_not_found("grant", id)
}

/// Locks grants, in order; those that are there.
pub(super) fn lock_all(conn: &mut Conn, ids: &BTreeSet<GrantId>) -> Result<Vec<Grant>, Error> {
    Ok(all_locked!(
        conn,
        grants::table
            .filter(grants::id.eq_any(ids))
            .order(grants::id)
            .select(Grant::as_select())
    )?)
}

/// All grants of an account: what is locked to count the account's integrations.
pub(super) fn of_account(
    conn: &mut Conn,
    connector: &str,
    organization_id: &str,
    user_id: &str,
) -> Result<BTreeSet<GrantId>, Error> {
    let ids: Vec<GrantId> = grants::table
        .filter(
            grants::connector
                .eq(connector)
                .and(grants::organization_id.eq(organization_id))
                .and(grants::user_id.eq(user_id)),
        )
        .select(grants::id)
        .load(conn)?;
    Ok(ids.into_iter().collect())
}

/// Locks a grant against others that take or drop its last reference.
pub(super) fn lock(conn: &mut Conn, id: GrantId) -> Result<Grant, Error> {
    first_locked!(conn, grants::table.find(id).select(Grant::as_select())).or_not_found("grant", id)
}

/// If nothing uses a grant any more: revokes it here, and at the CRM through the outbox. The grant must be locked.
pub(super) fn release(
    conn: &mut Conn,
    grant: Grant,
    settings: &str,
    now_us: Micros,
) -> Result<Option<Grant>, Error> {
    if grant.state == GrantState::Revoked || !references(conn, grant.id)?.is_empty() {
        return Ok(None);
    }
    diesel::update(grants::table.find(grant.id))
        .set((
            grants::state.eq(GrantState::Revoked),
            grants::cause.eq("RELEASED"),
            grants::lease_owner.eq(None::<String>),
            grants::generation.eq(grants::generation + 1),
            grants::update_us.eq(now_us),
        ))
        .execute(conn)?;
    outbox::add(
        conn,
        NewOutbox {
            kind: OutboxKind::Revoke,
            subject: grant.id.to_string(),
            detail: settings.to_owned(),
            sealed: grant.sealed.clone(),
            key_id: grant.key_id.clone(),
        },
        now_us,
    )?;
    Ok(Some(grant))
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
        .inner_join(grants::table.on(integration::grant_id.eq(grants::id.nullable())))
        .filter(
            grants::connector
                .eq(connector)
                .and(grants::organization_id.eq(organization_id))
                .and(grants::user_id.eq(user_id)),
        )
        .filter(integration::state.eq_any([IntegrationState::Active, IntegrationState::NeedsReauthorization]))
        .select(integration::id)
        .load(conn)?;
    Ok(ids.iter().filter(|id| Some(**id) != without).count() as i64)
}

/// Refuses if one more integration of an account would be too many. All grants of the account are locked.
pub(super) fn check_account(
    conn: &mut Conn,
    grant: &Grant,
    integration_id: IntegrationId,
    limit: i64,
) -> Result<(), Error> {
    let count = count_account(
        conn,
        &grant.connector,
        &grant.organization_id,
        &grant.user_id,
        Some(integration_id),
    )?;
    if count >= limit {
        return Err(Error::conflict(
            Conflict::AccountFull,
            format!(
                "the account \"{}\" of \"{}\" has {count} active integrations; {limit} is the most",
                grant.username, grant.organization_name
            ),
        ));
    }
    Ok(())
}
