//! An integration as one group sees it.

use super::sync::SyncView;
use crate::domain::{AllowanceRules, ApiUse, IntegrationState};
use crate::error::{Error, Result};
use crate::store::{Credential, Group, Integration, SeenField, Share, Source};
use std::collections::BTreeMap;

/// The next step of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DraftStep {
    /// Log in.
    LogIn,
    /// Select fields.
    SelectFields,
    /// Choose the groups that get access, or skip that.
    Connect,
    /// Review and save.
    Review,
}

/// An integration with its fields, shares, account and last sync, as one group sees it.
#[derive(Debug, Clone)]
pub struct IntegrationView {
    /// The integration as the group uses it.
    pub source: Source,
    /// The settings that were chosen before login.
    pub settings: BTreeMap<String, String>,
    /// The fields the group sees, in their order.
    pub fields: Vec<SeenField>,
    /// The shares; empty for a receiver.
    pub shares: Vec<Share>,
    /// The credential of the account.
    pub credential: Option<Credential>,
    /// The number of active integrations of the account, over all groups; 0 for a receiver.
    pub account_integrations: i64,
    /// The owner group.
    pub group: Group,
    /// The last sync.
    pub last_sync: Option<SyncView>,
    /// What it has used of the API allowance; nothing for a receiver.
    pub used: ApiUse,
    /// The operator's rules for the allowance.
    pub allowance: AllowanceRules,
}

impl IntegrationView {
    /// The integration.
    #[must_use]
    pub fn row(&self) -> &Integration {
        &self.source.integration
    }

    /// The next step of a draft; `None` for a saved integration.
    #[must_use]
    pub fn draft_step(&self) -> Option<DraftStep> {
        (self.row().state == IntegrationState::Draft).then(|| {
            if self.row().credential_id.is_none() {
                DraftStep::LogIn
            } else if self.fields.is_empty() {
                DraftStep::SelectFields
            } else if self.shares.is_empty() {
                DraftStep::Connect
            } else {
                DraftStep::Review
            }
        })
    }
}

/// The settings that were chosen before login.
pub(super) fn settings(row: &Integration) -> Result<BTreeMap<String, String>> {
    serde_json::from_str(&row.settings).map_err(Error::internal)
}
