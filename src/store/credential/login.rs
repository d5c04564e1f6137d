//! Stores what a login gave.

use diesel::prelude::*;

use super::row::{Credential, lock, lock_all, of_account};
use crate::domain::{AuthKind, CredentialId, CredentialState, Micros};
use crate::store::{
    Error, Refusal, Tx, conn::Conn, error::is_unique_violation, refusal, schema::credentials,
};

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
    match of_login(conn, &new)? {
        None => insert(conn, new, now_us),
        Some(id) => {
            let old = lock(conn, id)?;
            renew(conn, old, new, now_us)
        }
    }
}

fn insert(conn: &mut Conn, new: NewCredential, now_us: Micros) -> Result<CredentialPut, Error> {
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
    match diesel::insert_into(credentials::table)
        .values(&credential)
        .execute(conn)
    {
        Err(e) if is_unique_violation(&e, "credentials") => Err(Error::Busy(
            "the account is being logged into twice at once".to_owned(),
        )),
        other => other
            .map(|_| CredentialPut {
                credential,
                stored: true,
                replaced: None,
            })
            .map_err(Error::from),
    }
}

/// Replaces the tokens of a credential. One that can be refreshed is not replaced by one that cannot.
fn renew(
    conn: &mut Conn,
    old: Credential,
    new: NewCredential,
    now_us: Micros,
) -> Result<CredentialPut, Error> {
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
