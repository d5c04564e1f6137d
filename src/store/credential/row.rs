//! The rows of credentials, and their locks.

use std::collections::BTreeSet;

use diesel::prelude::*;

use crate::domain::{AuthKind, CredentialId, CredentialState, IntegrationId, IntegrationState, Micros};
use crate::store::{
    Error, Noun, OrganizationKey, Refusal, Store,
    conn::{Conn, all_locked, first_locked},
    error::OrNotFound,
    schema::{credentials, integration},
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

impl Credential {
    /// The organization of its account.
    #[must_use]
    pub fn organization(&self) -> OrganizationKey {
        OrganizationKey {
            connector: self.connector.clone(),
            id: self.organization_id.clone(),
        }
    }
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
}

pub(in crate::store) fn get(conn: &mut Conn, id: CredentialId) -> Result<Credential, Error> {
    credentials::table
        .find(id)
        .select(Credential::as_select())
        .first(conn)
        .or_not_found(Noun::Credential, id)
}

/// Locks a credential against others that take or drop its last reference.
pub(in crate::store) fn lock(conn: &mut Conn, id: CredentialId) -> Result<Credential, Error> {
    first_locked!(conn, credentials::table.find(id).select(Credential::as_select()))
        .or_not_found(Noun::Credential, id)
}

/// Locks credentials, in order; those that are there.
pub(in crate::store) fn lock_all(
    conn: &mut Conn,
    ids: &BTreeSet<CredentialId>,
) -> Result<Vec<Credential>, Error> {
    Ok(all_locked!(
        conn,
        credentials::table
            .filter(credentials::id.eq_any(ids))
            .order(credentials::id)
            .select(Credential::as_select())
    )?)
}

/// All credentials of an account: what is locked to count the account's integrations.
pub(in crate::store) fn of_account(
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

/// The integrations that use a credential, those being deleted not counted.
pub(in crate::store) fn references(conn: &mut Conn, id: CredentialId) -> Result<Vec<IntegrationId>, Error> {
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
