//! How many integrations of one account count towards its limit: a CRM may keep few approvals for a user and an app, and revoke
//! the oldest without notice.

use diesel::prelude::*;

use super::row::Credential;
use crate::domain::{IntegrationId, IntegrationState};
use crate::store::{
    Conflict, Error, Store,
    conn::Conn,
    schema::{credentials, integration},
};

impl Store {
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
}

/// Counts towards the limit of an account; one integration may be left out.
pub(in crate::store) fn count_account(
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
pub(in crate::store) fn check_account(
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
                "the account \"{}\" of \"{}\" has {count} active integrations; the maximum is {limit}",
                credential.username, credential.organization_name
            ),
        ));
    }
    Ok(())
}
