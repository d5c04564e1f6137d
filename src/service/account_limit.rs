//! The limit of an account: five active integrations, over all groups. All of the rule but its last check, which the
//! store makes under a lock with [`ACCOUNT_LIMIT`] as its argument.

use super::Services;
use crate::domain::IntegrationState;
use crate::error::{Detail, Error, Reason, Result};
use crate::store::Integration;
use tether_connector_proto::Identity;

/// Maximum number of active integrations of one account, over all groups: the CRM keeps no more approvals of one user.
pub const ACCOUNT_LIMIT: i64 = 5;

/// Whether an account with so many active integrations can have no further one.
pub(super) fn is_full(active: i64) -> bool {
    active >= ACCOUNT_LIMIT
}

/// Whether one more active integration is the last that an account can have.
pub(super) fn is_last(active: i64) -> bool {
    active + 1 == ACCOUNT_LIMIT
}

/// The error for an account that can have no further integration. Integrations of other groups are counted, never
/// named.
pub(super) fn account_full() -> Error {
    let limit = format!("an account may have {ACCOUNT_LIMIT} active integrations in all groups");
    Error::new(
        Reason::AccountLimitReached,
        format!(
            "the account already has {ACCOUNT_LIMIT} active integrations in all groups, the maximum: delete one of them, \
             or log in as another user"
        ),
    )
    .with("limit", ACCOUNT_LIMIT)
    .with("active", ACCOUNT_LIMIT)
    .detail(Detail::Quota("account".to_owned(), limit))
}

impl Services {
    /// Checks that a draft can be saved with its account.
    ///
    /// # Errors
    /// ACCOUNT_LIMIT_REACHED.
    pub(super) async fn check_account_of(&self, draft: &Integration) -> Result<()> {
        let Some(id) = draft.credential_id else {
            return Ok(());
        };
        let credential = self.store.credential_get(id).await?;
        self.check_account(
            &credential.connector,
            &credential.organization_id,
            &credential.user_id,
        )
        .await
    }

    /// Checks that an integration can log in to an account. Re-authorizing an integration that is not a draft takes no
    /// further slot of the same account.
    ///
    /// # Errors
    /// ACCOUNT_LIMIT_REACHED.
    pub(super) async fn check_login_account(&self, row: &Integration, account: &Identity) -> Result<()> {
        if row.state != IntegrationState::Draft
            && let Some(old) = row.credential_id
            && self.store.credential_get(old).await?.user_id == account.user_id
        {
            return Ok(());
        }
        self.check_account(&row.connector, &account.organization_id, &account.user_id)
            .await
    }

    async fn check_account(&self, connector: &str, organization: &str, user: &str) -> Result<()> {
        let active = self.store.account_count(connector, organization, user).await?;
        match is_full(active) {
            true => Err(account_full()),
            false => Ok(()),
        }
    }
}
