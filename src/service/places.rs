//! The limit of an account: five active integrations, over all groups.

use super::Services;
use crate::error::{Detail, Error, Reason, Result};
use crate::store::Integration;

/// The maximum number of active integrations of one account, over all groups: the CRM keeps no more approvals
/// of one user.
pub const ACCOUNT_LIMIT: i64 = 5;

impl Services {
    /// Returns ACCOUNT_LIMIT_REACHED if the account of an integration has no free place. Saving checks again,
    /// under a lock.
    pub(super) async fn check_places(&self, row: &Integration) -> Result<()> {
        let Some(id) = row.credential_id else {
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

    /// Returns an error if an account has no free place.
    ///
    /// # Errors
    /// ACCOUNT_LIMIT_REACHED.
    pub(super) async fn check_account(&self, connector: &str, organization: &str, user: &str) -> Result<()> {
        let active = self.store.account_count(connector, organization, user).await?;
        if active < ACCOUNT_LIMIT {
            return Ok(());
        }
        Err(account_full(format!(
            "the account has {active} active integrations"
        )))
    }
}

/// The error of an account without a free place. It counts other groups' integrations and does not name them.
pub(super) fn account_full(what: impl std::fmt::Display) -> Error {
    let limit = format!("one account may have {ACCOUNT_LIMIT} active integrations, over all groups");
    Error::new(
        Reason::AccountLimitReached,
        format!("{what}; {limit}: delete one of them, or log in as another user"),
    )
    .with("limit", ACCOUNT_LIMIT)
    .with("active", ACCOUNT_LIMIT)
    .detail(Detail::Quota("account".to_owned(), limit))
}
