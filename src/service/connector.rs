//! Connectors, and which groups have enabled them.
//!
//! A connector that a group has enabled and that is missing from the folder is listed as failed for that
//! group only: the group learns why its integrations do not work, and other groups have never used it.

use super::reader::group_of;
use super::{AuditChange, Author, Services};
use crate::connectors::{self, Status};
use crate::domain::GroupId;
use crate::error::{Error, Reason, Result};
use crate::store::Enablement;
use crate::time::now_us;
use tether_connector_proto::{DescribeResponse, ObjectRole};

/// A connector, as a group sees it.
#[derive(Debug, Clone)]
pub struct ConnectorView {
    /// Its id.
    pub id: String,
    /// Its description; `None` if the connector could not be loaded.
    pub describe: Option<DescribeResponse>,
    /// Why it cannot be used.
    pub failure: Option<Failure>,
    /// Whether the group has enabled it; false if no group is given.
    pub enabled: bool,
    /// When the group enabled it, in microseconds since the epoch.
    pub enable_us: Option<i64>,
}

/// Why a connector cannot be used.
#[derive(Debug, Clone)]
pub struct Failure {
    /// CONNECTOR_UNAVAILABLE, or CONNECTOR_MISCONFIGURED if a required setting of the operator is missing.
    pub reason: Reason,
    /// A sentence for users.
    pub message: String,
}

impl Failure {
    fn unavailable(message: String) -> Self {
        Self {
            reason: Reason::ConnectorUnavailable,
            message,
        }
    }
}

/// The object whose records are companies.
pub(super) fn company_object(describe: &DescribeResponse) -> String {
    let object = describe
        .objects
        .iter()
        .find(|object| object.role() == ObjectRole::Company);
    object.map(|object| object.key.clone()).unwrap_or_default()
}

impl Services {
    /// Every connector in the folder in the order of ids, including those that failed to load, and connectors
    /// that the group has enabled and that are no longer in the folder.
    ///
    /// # Errors
    /// STORAGE_UNAVAILABLE.
    pub async fn connector_list(&self, group: Option<&GroupId>) -> Result<Vec<ConnectorView>> {
        let enabled = match group {
            Some(group) => self.store.enablement_list(group).await?,
            None => Vec::new(),
        };
        let mut views: Vec<_> = enabled
            .iter()
            .filter(|row| row.enabled)
            .filter_map(|row| Some((row, self.registry.get(&row.connector).err()?)))
            .filter(|(_, error)| matches!(error, connectors::Error::Unknown { .. }))
            .map(|(row, error)| ConnectorView {
                id: row.connector.clone(),
                describe: None,
                failure: Some(Failure::unavailable(error.to_string())),
                enabled: true,
                enable_us: Some(row.update_us),
            })
            .collect();
        for listed in self.registry.list() {
            let row = enabled
                .iter()
                .find(|row| row.connector == listed.name && row.enabled);
            let failure = match listed.status {
                Status::Failed { reason } => Some(Failure::unavailable(reason)),
                Status::Quarantined { failures, reason } => Some(Failure::unavailable(format!(
                    "it failed {failures} times in a row, the last time: {reason}"
                ))),
                Status::Ready | Status::Restarting { .. } => None,
            };
            let describe = listed.connector.map(|connector| connector.describe().clone());
            let failure = failure.or_else(|| self.misconfigured(&listed.name, describe.as_ref()?));
            views.push(ConnectorView {
                id: listed.name,
                describe,
                failure,
                enabled: row.is_some(),
                enable_us: row.map(|row| row.update_us),
            });
        }
        views.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(views)
    }

    /// One connector.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub async fn connector_get(&self, group: Option<&GroupId>, id: &str) -> Result<ConnectorView> {
        let views = self.connector_list(group).await?;
        views
            .into_iter()
            .find(|view| view.id == id)
            .ok_or_else(|| Error::not_found(format!("connectors/{id}")))
    }

    /// Enables or disables a connector for the caller's group. Disabling keeps all data and hides the sources.
    ///
    /// # Errors
    /// NOT_FOUND for an unknown connector; CONNECTOR_UNAVAILABLE if it cannot be enabled now; GROUP_UNKNOWN.
    pub async fn connector_enable(&self, author: &Author, id: &str, enabled: bool) -> Result<ConnectorView> {
        let group = group_of(author)?;
        // A connector that is no longer in the folder can still be disabled.
        if enabled && let Some(failure) = self.connector_get(None, id).await?.failure {
            let text = format!("the connector {id} cannot be enabled now: {}", failure.message);
            return Err(
                Error::new(Reason::ConnectorUnavailable, text).with("connector", format!("connectors/{id}"))
            );
        }
        let row = Enablement {
            group_id: group.clone(),
            connector: id.to_owned(),
            enabled,
            update_us: now_us(),
            update_by: author.subject.clone(),
        };
        let made = AuditChange::of(format!("connectors/{id}"));
        self.change(author, move |tx| Ok((tx.enablement_set(&row)?, Some(made))))
            .await?;
        tracing::info!(connector = id, %group, by = author.subject, "connector {id} {} for {group}", if enabled { "enabled" } else { "disabled" });
        match self.connector_get(Some(&group), id).await {
            Err(error) if error.reason == Reason::NotFound => Ok(ConnectorView {
                id: id.to_owned(),
                describe: None,
                failure: self
                    .registry
                    .get(id)
                    .err()
                    .map(|error| Failure::unavailable(error.to_string())),
                enabled: false,
                enable_us: None,
            }),
            other => other,
        }
    }

    /// The failure of a connector whose required settings are missing in the operator's configuration.
    fn misconfigured(&self, id: &str, describe: &DescribeResponse) -> Option<Failure> {
        let given = self.options.connector_settings.get(id);
        let missing = describe.operator_settings.iter().find(|setting| {
            setting.required
                && setting.default_value.is_empty()
                && !given.is_some_and(|given| given.contains(&setting.key))
        })?;
        Some(Failure {
            reason: Reason::ConnectorMisconfigured,
            message: format!("the operator has not set connector.{id}.settings.{}", missing.key),
        })
    }

    /// A connector that can be called, with its description.
    pub(super) fn usable(&self, id: &str) -> Result<(connectors::Connector, DescribeResponse)> {
        let connector = self.registry.get(id)?;
        let describe = connector.describe().clone();
        Ok((connector, describe))
    }
}
