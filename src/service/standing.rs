//! The state of an integration as groups see it, and its reason: computed from its row, its owner's
//! connectors and the last refusal of its credential.
//!
//! PAUSED is computed and not stored: all integrations of an account show one cause, it ends everywhere when
//! the refresh succeeds again, and nothing has to be written back.

use super::errors::reason_of;
use crate::credentials;
use crate::domain::IntegrationState;
use crate::store::Source;

/// The state of an integration as groups see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A draft.
    Draft,
    /// Saved and in use.
    Active,
    /// Its owner has to log in again.
    NeedsReauthorization,
    /// Syncs are paused: the CRM refuses access until the cause is resolved there.
    Paused,
    /// Its owner disabled the connector.
    Disabled,
}

/// The reason of a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// A name of `tether.v1.ErrorReason`.
    pub reason: String,
    /// A sentence for the group that reads it.
    pub message: String,
    /// Since when, in microseconds since the epoch.
    pub time_us: i64,
    /// When tether retries; `None` if it does not, and for receivers.
    pub retry_us: Option<i64>,
}

impl Standing {
    /// The state of an integration as one group sees it.
    #[must_use]
    pub fn of(source: &Source, now_us: i64) -> Self {
        match source.integration.state {
            IntegrationState::Draft => Self::Draft,
            _ if !source.owner_enabled => Self::Disabled,
            IntegrationState::NeedsReauthorization => Self::NeedsReauthorization,
            _ if credentials::lasts(&source.refusal, now_us) => Self::Paused,
            IntegrationState::Active | IntegrationState::Deleting => Self::Active,
        }
    }
}

impl Why {
    /// The reason of an integration's state; `None` if there is none. The CRM's message is included for the
    /// owner only.
    #[must_use]
    pub fn of(source: &Source, now_us: i64) -> Option<Self> {
        let row = &source.integration;
        let mut why = if !row.state_reason.is_empty() {
            Self {
                reason: row.state_reason.clone(),
                message: row.state_message.clone(),
                time_us: row.state_us,
                retry_us: None,
            }
        } else if let Some(kind) = credentials::refusal_kind(&source.refusal, now_us)
            && row.state != IntegrationState::Draft
        {
            Self {
                reason: reason_of(kind).as_str().to_owned(),
                message: source.refusal.message.clone(),
                time_us: source.refusal.since_us,
                retry_us: Some(source.refusal.next_try_us),
            }
        } else {
            return None;
        };
        if !source.is_owned() {
            why.message =
                "the owner group has to put it right at its CRM; what was stored is shown".to_owned();
            why.retry_us = None;
        }
        Some(why)
    }
}
