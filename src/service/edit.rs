//! Edits of an integration. Review and update use the same computation of the edited integration.

use super::audit::{AuditChange, Author, Worked, names};
use super::draft::{check_settings, taken};
use super::integration::{check_revision, no_fields};
use super::{IntegrationView, Services, field, share};
use crate::domain::{ApiBudget, IntegrationId, IntegrationState, Schedule};
use crate::error::{Error, Result};
use crate::store::{self, Integration, IntegrationUpdate, NewShare, Share};
use crate::time::now_us;
use std::collections::BTreeMap;

/// The changes of an integration; `None` leaves a part unchanged.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// The name for users.
    pub display_name: Option<String>,
    /// The label in filters.
    pub label: Option<String>,
    /// The settings that are chosen before login.
    pub settings: Option<BTreeMap<String, String>>,
    /// When it syncs by itself.
    pub schedule: Option<Schedule>,
    /// How many calls it may make a day.
    pub budget: Option<ApiBudget>,
    /// All selected fields, as (object, key).
    pub fields: Option<Vec<(String, String)>>,
    /// All shares.
    pub shares: Option<Vec<NewShare>>,
    /// Whether the owner group uses the integration itself.
    pub connected: Option<bool>,
    /// The revision that the caller read; any other is a conflict.
    pub revision: Option<i64>,
}

impl Edit {
    /// The integration with the budget that it gets, which is the one for the calls of this edit: raising it is the way out when it is
    /// used up.
    pub(super) fn with_budget(&self, mut row: Integration) -> Integration {
        if let Some(budget) = self.budget {
            row.budget_calls = budget.calls;
            row.budget_reserve = budget.reserve_percent;
        }
        row
    }

    /// Its audit entry: new names in full, fields by their number, settings and shares by their keys.
    fn made(&self, id: IntegrationId) -> AuditChange {
        let mut made = AuditChange::of(id.name());
        if let Some(name) = &self.display_name {
            made = made.with("display_name", name);
        }
        if let Some(label) = &self.label {
            made = made.with("label", label);
        }
        if let Some(settings) = &self.settings {
            made = made.with("settings", names(settings.keys()));
        }
        if let Some(schedule) = &self.schedule {
            made = made.with("schedule", schedule);
        }
        if let Some(budget) = &self.budget {
            made = made.with("api_budget", budget);
        }
        if let Some(fields) = &self.fields {
            made = made.with("selected_fields", fields.len());
        }
        if let Some(shares) = &self.shares {
            made = made.with("shares", names(shares.iter().map(|share| &share.group_id)));
        }
        if let Some(connected) = self.connected {
            made = made.with("connected", connected);
        }
        made
    }
}

impl Services {
    /// Edits an integration in one transaction. If a saved integration selects more fields, a sync is queued
    /// that reads them.
    ///
    /// # Errors
    /// NOT_FOUND (also for a receiver that is not connected with the owner), NOT_OWNER, ETAG_MISMATCH,
    /// NAME_TAKEN, LABEL_TAKEN, FIELD_UNKNOWN, FIELD_PASSIVE, LIMIT_REACHED, NO_FIELDS_SELECTED,
    /// NOT_LOGGED_IN for fields before login, ILLEGAL_STATE for settings after it, CONNECTOR_DISABLED, and
    /// API_BUDGET_USED and errors of the CRM if fields are added.
    pub async fn integration_update(
        &self,
        author: &Author,
        id: IntegrationId,
        edit: Edit,
        validate_only: bool,
    ) -> Result<IntegrationView> {
        let row = self.owned(author, id).await?;
        self.require_enabled(&row.group_id, &row.connector).await?;
        check_revision(&row, edit.revision)?;
        let chosen = match &edit.settings {
            None => None,
            Some(_) if row.credential_id.is_some() || row.state != IntegrationState::Draft => {
                return Err(Error::illegal_state(
                    &row.id.name(),
                    "logged in",
                    "changing settings that belong to the login",
                    "abandon the draft and begin another",
                ));
            }
            Some(chosen) => {
                let (_, describe) = self.usable(&row.connector)?;
                let chosen = check_settings(&describe, chosen.clone())?;
                Some(serde_json::to_string(&chosen).map_err(Error::internal)?)
            }
        };
        let proposed = self.proposed(&row, &edit).await?;
        if row.state != IntegrationState::Draft && proposed.fields.is_empty() {
            return Err(no_fields(id));
        }
        let made = edit.made(id);
        let update = IntegrationUpdate {
            id,
            revision: edit.revision,
            display_name: edit.display_name.clone(),
            label: edit.label.clone(),
            settings: chosen,
            schedule: edit.schedule,
            budget: edit.budget,
            fields: edit
                .fields
                .is_some()
                .then(|| proposed.fields.iter().map(|one| one.field.clone()).collect()),
            shares: edit.shares,
            connected: edit.connected,
            by: author.subject.clone(),
            now_us: now_us(),
        };
        let refused = |error: store::Error| taken(error, edit.display_name, edit.label);
        if validate_only {
            let checked = self
                .store
                .rehearse(move |tx| Worked::Ok(tx.integration_update(update)?));
            checked.await.map_err(|error| error.or(refused))?;
            return Ok(proposed);
        }
        let edited = self.change(author, move |tx| {
            let row = tx.integration_update(update)?;
            Ok((row.group_id, Some(made)))
        });
        let group = edited.await.map_err(|error| error.or(refused))?;
        self.wake.notify_one();
        tracing::info!(integration = %id, by = author.subject, "integration {id} edited");
        self.view(&group, id).await
    }

    /// The integration as it would be after an edit, if the edit is valid.
    ///
    /// # Errors
    /// As [`integration_update`](Self::integration_update).
    pub(super) async fn proposed(&self, row: &Integration, edit: &Edit) -> Result<IntegrationView> {
        let row = &edit.with_budget(row.clone());
        let mut view = self.view(&row.group_id, row.id).await?;
        if let Some(name) = &edit.display_name {
            view.source.integration.display_name.clone_from(name);
        }
        if let Some(label) = &edit.label {
            view.source.label.clone_from(label);
        }
        if let Some(connected) = edit.connected {
            view.source.connected = connected;
        }
        if let Some(schedule) = &edit.schedule
            && *schedule != row.schedule
        {
            let of = &mut view.source.integration;
            if of.state != IntegrationState::Draft {
                of.next_sync_us = schedule.first(of.id, now_us());
            }
            of.schedule = schedule.clone();
        }
        if let Some(budget) = edit.budget {
            view.source.integration.budget_calls = budget.calls;
            view.source.integration.budget_reserve = budget.reserve_percent;
        }
        if let Some(keys) = &edit.fields {
            view.fields = self.resolve(row, &view.fields, keys).await?;
        }
        if let Some(shares) = &edit.shares {
            if shares.len() > share::MOST_SHARES {
                return Err(share::too_many(row));
            }
            self.check_shares(row, &view.fields, &view.shares, shares, "integration.shares")
                .await?;
            share::check_listed(
                &row.id.name(),
                shares.iter().filter_map(|new| new.fields.as_ref()).flatten(),
            )?;
            let names = shares.iter().map(|share| share.group_id.clone()).collect();
            let names = self.store.group_get_many(names).await?;
            view.shares = shares
                .iter()
                .map(|new| {
                    let known = view.shares.iter().find(|share| share.group_id == new.group_id);
                    let name = names.iter().find(|group| group.id == new.group_id);
                    Share {
                        integration_id: row.id,
                        group_id: new.group_id.clone(),
                        group_name: name.map(|group| group.display_name.clone()).unwrap_or_default(),
                        fields: new.fields.clone(),
                        shared: Vec::new(),
                        connected: known.is_none_or(|share| share.connected),
                        create_us: known.map_or_else(now_us, |share| share.create_us),
                        update_us: now_us(),
                    }
                })
                .collect();
        }
        for share in &mut view.shares {
            share.shared = view
                .fields
                .iter()
                .filter(|one| one.active)
                .map(|one| field::reference(&one.field))
                .filter(|field| share.fields.as_ref().is_none_or(|listed| listed.contains(field)))
                .collect();
        }
        Ok(view)
    }
}
