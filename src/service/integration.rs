//! Integrations: drafts, their steps, and "Save".

use super::login::settings;
use super::{Services, SyncView, field, group_of};
use crate::caller::Caller;
use crate::domain::{GroupId, IntegrationId, IntegrationState, SyncId};
use crate::error::{Detail, Error, Reason, Result};
use crate::store::{
    Activate, Conflict, Field, Grant, Group, Integration, IntegrationUpdate, NewIntegration, Remembered,
};
use crate::time::now_us;
use std::collections::BTreeMap;
use tether_connector_proto::DescribeResponse;

/// A draft goes after thirty days.
const DRAFT_LIFE_US: i64 = 30 * 24 * 3_600 * 1_000_000;
/// Most drafts a group may have at a time.
const MOST_DRAFTS: usize = 50;

/// What a draft needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DraftStep {
    /// Log in.
    LogIn,
    /// Select fields.
    SelectFields,
    /// Review and save.
    Review,
}

/// An integration with what stands around it.
#[derive(Debug, Clone)]
pub struct IntegrationView {
    /// The integration.
    pub row: Integration,
    /// What was chosen before login.
    pub settings: BTreeMap<String, String>,
    /// The selected fields, in their order.
    pub fields: Vec<Field>,
    /// The account.
    pub grant: Option<Grant>,
    /// How many active integrations the account has here, over all groups.
    pub account_integrations: i64,
    /// The owner.
    pub group: Group,
    /// Whether the owner has the connector enabled.
    pub connector_enabled: bool,
    /// The last sync.
    pub last_sync: Option<SyncView>,
}

impl IntegrationView {
    /// What a draft needs next; `None` once it is saved.
    #[must_use]
    pub fn draft_step(&self) -> Option<DraftStep> {
        (self.row.state == IntegrationState::Draft).then(|| {
            if self.row.grant_id.is_none() {
                DraftStep::LogIn
            } else if self.fields.is_empty() {
                DraftStep::SelectFields
            } else {
                DraftStep::Review
            }
        })
    }
}

/// An edit; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// The name people see.
    pub display_name: Option<String>,
    /// What filters call it.
    pub label: Option<String>,
    /// What is chosen before login.
    pub settings: Option<BTreeMap<String, String>>,
    /// All selected fields, as (object, key).
    pub fields: Option<Vec<(String, String)>>,
    /// The revision it was read at.
    pub revision: Option<i64>,
}

/// What became of access when a draft was abandoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Whether it had been logged in.
    pub had_access: bool,
    /// Whether access is being given back, because nothing else needs it.
    pub giving_back: bool,
}

impl Services {
    /// Begins a draft.
    ///
    /// # Errors
    /// CONNECTOR_DISABLED, NAME_TAKEN, LIMIT_REACHED, GROUP_UNKNOWN, REQUEST_ID_REUSED, INVALID_FIELD_VALUE.
    pub async fn integration_create(
        &self,
        caller: &Caller,
        connector: &str,
        display_name: &str,
        chosen: BTreeMap<String, String>,
        request_id: Option<&str>,
        validate_only: bool,
    ) -> Result<IntegrationView> {
        const METHOD: &str = "CreateIntegration";
        let group = group_of(caller)?;
        let fingerprint = format!("{connector}\n{display_name}\n{chosen:?}");
        if let Some(request_id) = request_id
            && let Some(name) = self
                .store
                .request_get(&group, METHOD, request_id, &fingerprint)
                .await?
        {
            return self
                .integration_get(caller, name.parse().map_err(Error::internal)?)
                .await;
        }
        self.require_enabled(&group, connector).await?;
        let (_, describe) = self.usable(connector)?;
        let chosen = check_settings(&describe, chosen)?;
        let drafts = self.drafts(&group).await?;
        if drafts >= MOST_DRAFTS {
            let limit = format!("a group may have {MOST_DRAFTS} drafts at a time: save or abandon one");
            return Err(
                Error::new(Reason::LimitReached, format!("{}: {limit}", group.name()))
                    .with("limit", MOST_DRAFTS)
                    .with("quota", "drafts per group")
                    .detail(Detail::Quota(group.name(), limit)),
            );
        }
        if validate_only {
            self.store.group_get(&group).await?;
        }
        let now = now_us();
        let new = NewIntegration {
            group_id: group.clone(),
            connector: connector.to_owned(),
            display_name: display_name.to_owned(),
            settings: serde_json::to_string(&chosen).map_err(Error::internal)?,
            create_by: caller.subject.clone(),
            now_us: now,
            expire_us: now + DRAFT_LIFE_US,
        };
        let row = match self.store.integration_create(new).await {
            Err(error) if error.is_conflict(Conflict::Name) => {
                return Err(Error::new(Reason::NameTaken, format!("{error}: choose another"))
                    .with("display_name", display_name));
            }
            other => other?,
        };
        if validate_only {
            self.store.integration_abandon(row.id, now_us()).await?;
            return self.view(row).await;
        }
        if let Some(request_id) = request_id {
            let id = row.id.to_string();
            let known = self
                .store
                .request_remember(&group, METHOD, request_id, &fingerprint, &id, now)
                .await?;
            if let Remembered::Before(earlier) = known {
                // The same request, twice at once: the first one's draft stands.
                self.store.integration_abandon(row.id, now_us()).await?;
                return self
                    .integration_get(caller, earlier.parse().map_err(Error::internal)?)
                    .await;
            }
        }
        tracing::info!(integration = %row.id, %group, by = caller.subject, "draft {} begun", row.id);
        self.view(row).await
    }

    async fn drafts(&self, group: &GroupId) -> Result<usize> {
        let mut drafts = 0;
        let mut after = None;
        loop {
            let page = self.store.integration_list(group, after, 500).await?;
            let Some(last) = page.last() else {
                return Ok(drafts);
            };
            after = Some((last.create_us, last.id));
            drafts += page
                .iter()
                .filter(|row| row.state == IntegrationState::Draft)
                .count();
        }
    }

    /// One integration of the caller's group.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub async fn integration_get(&self, caller: &Caller, id: IntegrationId) -> Result<IntegrationView> {
        let row = self.owned(caller, id).await?;
        self.view(row).await
    }

    /// The integrations that a group owns and `keep` keeps, newest first, after this (time of creation, id).
    ///
    /// # Errors
    /// STORAGE_UNAVAILABLE.
    pub async fn integration_list(
        &self,
        group: &GroupId,
        keep: impl Fn(&Integration) -> bool,
        after: Option<(i64, IntegrationId)>,
        limit: usize,
    ) -> Result<(Vec<IntegrationView>, usize)> {
        // A group has tens of integrations: all of them are read, which the total needs anyway.
        let mut rows = Vec::new();
        let mut cursor = None;
        loop {
            let page = self.store.integration_list(group, cursor, 500).await?;
            let Some(last) = page.last() else { break };
            cursor = Some((last.create_us, last.id));
            rows.extend(page.into_iter().filter(|row| keep(row)));
        }
        let total = rows.len();
        rows.reverse();
        rows.retain(|row| after.is_none_or(|after| (row.create_us, row.id) < after));
        rows.truncate(limit);
        let mut views = Vec::with_capacity(rows.len());
        for row in rows {
            views.push(self.view(row).await?);
        }
        Ok((views, total))
    }

    /// Everything that stands around an integration.
    pub(super) async fn view(&self, row: Integration) -> Result<IntegrationView> {
        let grant = match row.grant_id {
            Some(id) => Some(self.store.grant_get(id).await?),
            None => None,
        };
        let account_integrations = match &grant {
            Some(grant) => {
                self.store
                    .account_count(&grant.connector, &grant.organization_id, &grant.user_id)
                    .await?
            }
            None => 0,
        };
        let last = self.store.sync_list(row.id, None, 1).await?.pop();
        let last_sync = match last {
            Some(sync) => Some(self.sync_view(sync.id).await?),
            None => None,
        };
        let enabled = self.store.enablement_get(&row.group_id, &row.connector).await?;
        Ok(IntegrationView {
            settings: settings(&row)?,
            fields: self.store.field_list(row.id).await?,
            group: self.store.group_get(&row.group_id).await?,
            connector_enabled: enabled.is_some_and(|row| row.enabled),
            grant,
            account_integrations,
            last_sync,
            row,
        })
    }

    /// Edits a draft.
    ///
    /// # Errors
    /// NOT_FOUND, ETAG_MISMATCH, NAME_TAKEN, FIELD_UNKNOWN, NOT_LOGGED_IN for fields before login, ILLEGAL_STATE for
    /// settings after it; NOT_IMPLEMENTED_YET for a saved integration.
    pub async fn integration_update(
        &self,
        caller: &Caller,
        id: IntegrationId,
        edit: Edit,
        validate_only: bool,
    ) -> Result<IntegrationView> {
        let row = self.owned(caller, id).await?;
        if row.state != IntegrationState::Draft {
            return Err(Error::not_yet("editing a saved integration"));
        }
        self.require_enabled(&row.group_id, &row.connector).await?;
        check_revision(&row, edit.revision)?;
        let chosen = match edit.settings {
            None => None,
            Some(_) if row.grant_id.is_some() => {
                return Err(Error::illegal_state(
                    &row.id.name(),
                    "logged in",
                    "changing settings that belong to the login",
                    "abandon the draft and begin another",
                ));
            }
            Some(chosen) => {
                let (_, describe) = self.usable(&row.connector)?;
                Some(serde_json::to_string(&check_settings(&describe, chosen)?).map_err(Error::internal)?)
            }
        };
        let fields = match &edit.fields {
            Some(keys) => Some(self.resolve(&row, keys).await?),
            None => None,
        };
        if validate_only {
            let mut view = self.view(row).await?;
            if let Some(name) = edit.display_name {
                view.row.display_name = name;
            }
            view.fields = fields.unwrap_or(view.fields);
            return Ok(view);
        }
        let update = IntegrationUpdate {
            id,
            revision: edit.revision,
            display_name: edit.display_name.clone(),
            label: edit.label.clone(),
            settings: chosen,
            fields,
            now_us: now_us(),
        };
        match self.store.integration_update(update).await {
            Ok(row) => self.view(row).await,
            Err(error) if error.is_conflict(Conflict::Name) => {
                Err(Error::new(Reason::NameTaken, format!("{error}: choose another"))
                    .with("display_name", edit.display_name.unwrap_or_default()))
            }
            Err(error) if error.is_conflict(Conflict::Label) => {
                Err(Error::new(Reason::LabelTaken, format!("{error}: choose another"))
                    .with("label", edit.label.unwrap_or_default()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Abandons a draft; access that nothing else needs is given back to the CRM.
    ///
    /// # Errors
    /// NOT_FOUND, ETAG_MISMATCH; NOT_IMPLEMENTED_YET for a saved integration.
    pub async fn integration_delete(
        &self,
        caller: &Caller,
        id: IntegrationId,
        revision: Option<i64>,
    ) -> Result<Removed> {
        let row = self.owned(caller, id).await?;
        if row.state != IntegrationState::Draft {
            return Err(Error::not_yet("deleting a saved integration"));
        }
        check_revision(&row, revision)?;
        let gone = self.store.integration_abandon(id, now_us()).await?;
        tracing::info!(integration = %id, by = caller.subject, "draft {id} abandoned");
        Ok(Removed {
            had_access: gone.grant_id.is_some(),
            giving_back: gone.released,
        })
    }

    /// "Save": the draft becomes active and its first sync is queued, in one transaction.
    ///
    /// # Errors
    /// NOT_FOUND, ILLEGAL_STATE unless it is a draft, NOT_LOGGED_IN, NO_FIELDS_SELECTED, ETAG_MISMATCH,
    /// CONNECTOR_DISABLED, REQUEST_ID_REUSED.
    pub async fn integration_activate(
        &self,
        caller: &Caller,
        id: IntegrationId,
        revision: Option<i64>,
        request_id: Option<&str>,
        validate_only: bool,
    ) -> Result<(IntegrationView, Option<SyncView>)> {
        const METHOD: &str = "ActivateIntegration";
        let row = self.owned(caller, id).await?;
        let fingerprint = format!("{id}\n{revision:?}");
        if let Some(request_id) = request_id
            && let Some(sync) = self
                .store
                .request_get(&row.group_id, METHOD, request_id, &fingerprint)
                .await?
        {
            let sync: SyncId = sync.parse().map_err(Error::internal)?;
            return Ok((self.view(row).await?, Some(self.sync_view(sync).await?)));
        }
        if row.state != IntegrationState::Draft {
            let allowed = "UpdateIntegration, SyncIntegration, DeleteIntegration";
            return Err(Error::illegal_state(
                &id.name(),
                row.state.as_str(),
                "saving",
                allowed,
            ));
        }
        self.require_enabled(&row.group_id, &row.connector).await?;
        check_revision(&row, revision)?;
        field::logged_in(&row)?;
        if self.store.field_list(id).await?.is_empty() {
            return Err(Error::new(
                Reason::NoFieldsSelected,
                format!(
                    "{} selects no field: choose some with UpdateIntegration, path selected_fields",
                    id.name()
                ),
            )
            .with("name", id.name())
            .detail(Detail::Precondition(
                "FIELDS",
                id.name(),
                "no field is selected".to_owned(),
            )));
        }
        if validate_only {
            return Ok((self.view(row).await?, None));
        }
        let activate = Activate {
            id,
            revision: Some(row.revision),
            account_limit: i64::MAX,
            company_records: None,
            by: caller.subject.clone(),
            now_us: now_us(),
        };
        let group = row.group_id.clone();
        let (row, sync) = self.store.integration_activate(activate).await?;
        if let Some(request_id) = request_id {
            let result = sync.id.to_string();
            self.store
                .request_remember(&group, METHOD, request_id, &fingerprint, &result, now_us())
                .await?;
        }
        self.wake.notify_one();
        tracing::info!(integration = %id, sync = %sync.id, by = caller.subject, "integration {id} saved");
        Ok((self.view(row).await?, Some(self.sync_view(sync.id).await?)))
    }
}

fn check_revision(row: &Integration, expected: Option<i64>) -> Result<()> {
    match expected {
        Some(revision) if revision != row.revision => Err(Error::new(
            Reason::EtagMismatch,
            format!(
                "{} was changed since it was read: read it again and repeat the edit",
                row.id.name()
            ),
        )
        .with("name", row.id.name())
        .with("etag", format!("r{}", row.revision))),
        _ => Ok(()),
    }
}

/// Holds what was chosen against what the connector asks; defaults are filled in.
fn check_settings(
    describe: &DescribeResponse,
    mut chosen: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>> {
    chosen.retain(|_, value| !value.is_empty());
    if let Some(unknown) = chosen
        .keys()
        .find(|key| !describe.settings.iter().any(|one| one.key == **key))
    {
        let known: Vec<_> = describe
            .settings
            .iter()
            .map(|setting| setting.key.as_str())
            .collect();
        let text = format!(
            "is no setting of connectors/{}; there are: {}",
            describe.connector,
            known.join(", ")
        );
        return Err(Error::invalid(format!("integration.settings[{unknown:?}]"), text));
    }
    for setting in &describe.settings {
        let path = || format!("integration.settings[{:?}]", setting.key);
        match chosen.get(&setting.key) {
            Some(value)
                if !setting.choices.is_empty() && !setting.choices.iter().any(|one| one.value == *value) =>
            {
                let choices: Vec<_> = setting
                    .choices
                    .iter()
                    .map(|choice| choice.value.as_str())
                    .collect();
                return Err(Error::invalid(
                    path(),
                    format!("is none of {}", choices.join(", ")),
                ));
            }
            Some(_) => {}
            None if !setting.default_value.is_empty() => {
                chosen.insert(setting.key.clone(), setting.default_value.clone());
            }
            None if setting.required => return Err(Error::invalid(path(), "is required")),
            None => {}
        }
    }
    Ok(chosen)
}
