//! Integrations: drafts, their steps, and "Save".

use super::login::settings;
use super::{Services, SyncView, field, group_of, share};
use crate::caller::Caller;
use crate::domain::{GrantState, GroupId, IntegrationId, IntegrationState, SyncId};
use crate::error::{Detail, Error, Reason, Result};
use crate::store::{
    self, Activate, Conflict, Grant, Group, Integration, IntegrationUpdate, NewIntegration, NewShare,
    Remembered, SeenField, Share, Source,
};
use crate::time::now_us;
use std::collections::BTreeMap;
use std::time::Duration;
use tether_connector_proto::DescribeResponse;

/// A draft goes after thirty days.
const DRAFT_LIFE_US: i64 = 30 * 24 * 3_600 * 1_000_000;
/// Most active integrations of one account, over all groups: the CRM keeps no more approvals of one user.
pub const ACCOUNT_LIMIT: i64 = 5;
/// How long a deletion waits to be able to say that access was given back.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most drafts a group may have at a time.
const MOST_DRAFTS: usize = 50;

/// What a draft needs next.
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

/// An integration with what stands around it, as one group sees it.
#[derive(Debug, Clone)]
pub struct IntegrationView {
    /// The integration as the group uses it.
    pub source: Source,
    /// What was chosen before login.
    pub settings: BTreeMap<String, String>,
    /// The fields the group sees, in their order.
    pub fields: Vec<SeenField>,
    /// The shares; empty for a receiver.
    pub shares: Vec<Share>,
    /// The account.
    pub grant: Option<Grant>,
    /// How many active integrations the account has here, over all groups.
    pub account_integrations: i64,
    /// The owner.
    pub group: Group,
    /// The last sync.
    pub last_sync: Option<SyncView>,
}

impl IntegrationView {
    /// The integration.
    #[must_use]
    pub fn row(&self) -> &Integration {
        &self.source.integration
    }

    /// What a draft needs next; `None` once it is saved.
    #[must_use]
    pub fn draft_step(&self) -> Option<DraftStep> {
        (self.row().state == IntegrationState::Draft).then(|| {
            if self.row().grant_id.is_none() {
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

/// A draft to begin.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The connector.
    pub connector: String,
    /// The name people see.
    pub display_name: String,
    /// What filters call it; made from the name where it is not given.
    pub label: Option<String>,
    /// Whether the owner uses it itself.
    pub connected: bool,
    /// What is chosen before login.
    pub settings: BTreeMap<String, String>,
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
    /// All shares.
    pub shares: Option<Vec<NewShare>>,
    /// Whether the owner uses it.
    pub connected: Option<bool>,
    /// The revision it was read at.
    pub revision: Option<i64>,
}

/// What went with an integration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// What became of the access to the CRM.
    pub access: Access,
    /// How many groups lost the source, the owner among them.
    pub groups: usize,
    /// How many company records left.
    pub company_records: i64,
}

/// What became of the access to a CRM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// There was none.
    None,
    /// It was given back.
    Revoked,
    /// It is being given back.
    Pending,
    /// Another integration of the account needs it.
    Kept,
}

impl Services {
    /// Begins a draft.
    ///
    /// # Errors
    /// CONNECTOR_DISABLED, NAME_TAKEN, LABEL_TAKEN, LIMIT_REACHED, GROUP_UNKNOWN, REQUEST_ID_REUSED, INVALID_FIELD_VALUE.
    pub async fn integration_create(
        &self,
        caller: &Caller,
        draft: Draft,
        request_id: Option<&str>,
        validate_only: bool,
    ) -> Result<IntegrationView> {
        const METHOD: &str = "CreateIntegration";
        let group = group_of(caller)?;
        let fingerprint = format!("{draft:?}");
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
        self.require_enabled(&group, &draft.connector).await?;
        let (_, describe) = self.usable(&draft.connector)?;
        let chosen = check_settings(&describe, draft.settings)?;
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
            connector: draft.connector,
            display_name: draft.display_name.clone(),
            label: draft.label.clone(),
            connected: draft.connected,
            settings: serde_json::to_string(&chosen).map_err(Error::internal)?,
            create_by: caller.subject.clone(),
            now_us: now,
            expire_us: now + DRAFT_LIFE_US,
        };
        let row = match self.store.integration_create(new).await {
            Err(error) if error.is_conflict(Conflict::Name) => {
                return Err(Error::new(Reason::NameTaken, format!("{error}: choose another"))
                    .with("display_name", draft.display_name));
            }
            Err(error) if error.is_conflict(Conflict::Label) => {
                return Err(Error::new(Reason::LabelTaken, format!("{error}: choose another"))
                    .with("label", draft.label.unwrap_or_default()));
            }
            other => other?,
        };
        if validate_only {
            let view = self.view(&group, row.id).await;
            self.store.integration_abandon(row.id, now_us()).await?;
            return view;
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
        self.view(&group, row.id).await
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

    /// One integration that the caller's group owns or receives.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub async fn integration_get(&self, caller: &Caller, id: IntegrationId) -> Result<IntegrationView> {
        let source = self.seen(caller, id).await?;
        self.view_of(&group_of(caller)?, source).await
    }

    /// What a group owns and receives of what `keep` keeps, newest first, after this (time the group has it, id).
    ///
    /// # Errors
    /// STORAGE_UNAVAILABLE.
    pub async fn integration_list(
        &self,
        group: &GroupId,
        keep: impl Fn(&Source) -> bool,
        after: Option<(i64, IntegrationId)>,
        limit: usize,
    ) -> Result<(Vec<IntegrationView>, usize)> {
        // A group has tens of integrations: all of them are read, which the total needs anyway.
        let mut sources = self.store.source_list(group).await?;
        sources.retain(|source| keep(source));
        let total = sources.len();
        let place = |source: &Source| (source.create_us, source.integration.id);
        sources.sort_by_key(|source| std::cmp::Reverse(place(source)));
        sources.retain(|source| after.is_none_or(|after| place(source) < after));
        sources.truncate(limit);
        let mut views = Vec::with_capacity(sources.len());
        for source in sources {
            views.push(self.view_of(group, source).await?);
        }
        Ok((views, total))
    }

    /// Everything that stands around an integration, as a group sees it.
    pub(super) async fn view(&self, group: &GroupId, id: IntegrationId) -> Result<IntegrationView> {
        let source = self.store.source_get(group, id).await?;
        let source = source.ok_or_else(|| Error::not_found(id.name()))?;
        self.view_of(group, source).await
    }

    async fn view_of(&self, group: &GroupId, source: Source) -> Result<IntegrationView> {
        let row = &source.integration;
        let grant = match row.grant_id {
            Some(id) => Some(self.store.grant_get(id).await?),
            None => None,
        };
        // How much the account is used is its owner's to know.
        let account_integrations = match &grant {
            Some(grant) if source.is_owned() => {
                self.store
                    .account_count(&grant.connector, &grant.organization_id, &grant.user_id)
                    .await?
            }
            _ => 0,
        };
        let fields = self.seen_fields(group, row.id).await?;
        let last = self.store.sync_list(row.id, None, 1).await?.pop();
        let last_sync = match last {
            Some(sync) => {
                let view = self.sync_view(sync.id).await?;
                Some(if source.is_owned() {
                    view
                } else {
                    view.for_receiver(&fields)
                })
            }
            None => None,
        };
        Ok(IntegrationView {
            settings: settings(row)?,
            shares: if source.is_owned() {
                self.store.share_list(row.id).await?
            } else {
                Vec::new()
            },
            fields,
            group: self.store.group_get(&row.group_id).await?,
            grant,
            account_integrations,
            last_sync,
            source,
        })
    }

    /// Edits an integration: everything at once. Where a saved one selects more, a sync is queued that reads it.
    ///
    /// # Errors
    /// NOT_FOUND (also for a receiver that is not connected with the owner), NOT_OWNER, ETAG_MISMATCH, NAME_TAKEN,
    /// LABEL_TAKEN, FIELD_UNKNOWN, FIELD_PASSIVE, LIMIT_REACHED, NO_FIELDS_SELECTED, NOT_LOGGED_IN for fields before
    /// login, ILLEGAL_STATE for settings after it, CONNECTOR_DISABLED, and what the CRM answers where fields are added.
    pub async fn integration_update(
        &self,
        caller: &Caller,
        id: IntegrationId,
        edit: Edit,
        validate_only: bool,
    ) -> Result<IntegrationView> {
        let row = self.owned(caller, id).await?;
        self.require_enabled(&row.group_id, &row.connector).await?;
        check_revision(&row, edit.revision)?;
        let chosen = match &edit.settings {
            None => None,
            Some(_) if row.grant_id.is_some() || row.state != IntegrationState::Draft => {
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
        if validate_only {
            return Ok(proposed);
        }
        let update = IntegrationUpdate {
            id,
            revision: edit.revision,
            display_name: edit.display_name.clone(),
            label: edit.label.clone(),
            settings: chosen,
            fields: edit
                .fields
                .is_some()
                .then(|| proposed.fields.iter().map(|one| one.field.clone()).collect()),
            shares: edit.shares,
            connected: edit.connected,
            by: caller.subject.clone(),
            now_us: now_us(),
        };
        match self.store.integration_update(update).await {
            Ok(row) => {
                self.wake.notify_one();
                tracing::info!(integration = %id, by = caller.subject, "integration {id} edited");
                self.view(&row.group_id, id).await
            }
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

    /// An integration as it would be after an edit that nothing stands in the way of.
    ///
    /// # Errors
    /// As [`integration_update`](Self::integration_update).
    pub(super) async fn proposed(&self, row: &Integration, edit: &Edit) -> Result<IntegrationView> {
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
        if let Some(keys) = &edit.fields {
            view.fields = self.resolve(row, &view.fields, keys).await?;
        }
        if let Some(shares) = &edit.shares {
            if shares.len() > share::MOST_SHARES {
                return Err(share::too_many(row));
            }
            self.check_shares(row, &view.fields, &view.shares, shares, "integration.shares")
                .await?;
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

    /// Deletes an integration, or abandons a draft: gone for everyone at once. Access that nothing else needs is given
    /// back to the CRM; the answer waits for that a moment, and no longer.
    ///
    /// # Errors
    /// NOT_FOUND, NOT_OWNER, ETAG_MISMATCH.
    pub async fn integration_delete(
        &self,
        caller: &Caller,
        id: IntegrationId,
        revision: Option<i64>,
    ) -> Result<Removed> {
        let row = self.owned(caller, id).await?;
        check_revision(&row, revision)?;
        let gone = match self.store.integration_delete(id, revision, now_us()).await {
            Err(error) if error.is_not_found() => return Err(Error::not_found(id.name())),
            other => other?,
        };
        tracing::info!(integration = %id, by = caller.subject, "integration {id} deleted");
        let access = match gone.grant_id {
            None => Access::None,
            Some(grant) if gone.released => {
                if self.grants.given_back(grant, PATIENCE).await? {
                    Access::Revoked
                } else {
                    Access::Pending
                }
            }
            Some(grant) => match self.store.grant_get(grant).await {
                Ok(grant) if grant.state == GrantState::Revoked => Access::None,
                _ => Access::Kept,
            },
        };
        Ok(Removed {
            access,
            groups: gone.groups,
            company_records: row.company_records.unwrap_or_default(),
        })
    }

    /// "Save": the draft becomes active and its first sync is queued, in one transaction.
    ///
    /// # Errors
    /// NOT_FOUND, NOT_OWNER, ILLEGAL_STATE unless it is a draft, NOT_LOGGED_IN, NO_FIELDS_SELECTED,
    /// ACCOUNT_LIMIT_REACHED, GROUPS_NOT_CONNECTED, ETAG_MISMATCH, CONNECTOR_DISABLED, REQUEST_ID_REUSED.
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
            return Ok((
                self.view(&row.group_id, id).await?,
                Some(self.sync_view(sync).await?),
            ));
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
            return Err(no_fields(id));
        }
        self.check_places(&row).await?;
        if validate_only {
            return Ok((self.view(&row.group_id, id).await?, None));
        }
        let activate = Activate {
            id,
            revision: Some(row.revision),
            account_limit: ACCOUNT_LIMIT,
            company_records: None,
            by: caller.subject.clone(),
            now_us: now_us(),
        };
        let group = row.group_id.clone();
        let (_, sync) = match self.store.integration_activate(activate).await {
            Err(error) if error.is_conflict(Conflict::AccountFull) => return Err(account_full(error)),
            Err(error) if error.is_conflict(Conflict::NotConnected) => {
                return Err(self.not_connected(&group, id, &error).await?);
            }
            other => other?,
        };
        if let Some(request_id) = request_id {
            let result = sync.id.to_string();
            self.store
                .request_remember(&group, METHOD, request_id, &fingerprint, &result, now_us())
                .await?;
        }
        self.wake.notify_one();
        tracing::info!(integration = %id, sync = %sync.id, by = caller.subject, "integration {id} saved");
        Ok((self.view(&group, id).await?, Some(self.sync_view(sync.id).await?)))
    }

    /// Which receiver stands in the way of saving.
    async fn not_connected(&self, group: &GroupId, id: IntegrationId, error: &store::Error) -> Result<Error> {
        let connections = self.store.group_connections(group).await?;
        let shares = self.store.share_list(id).await?;
        let gone = shares
            .iter()
            .find(|share| !connections.iter().any(|group| group.id == share.group_id));
        let name = gone.map(|share| share.group_id.name()).unwrap_or_default();
        Ok(Error::new(
            Reason::GroupsNotConnected,
            format!("{error}: take the share away with RemoveShare and save again"),
        )
        .with("group", &name)
        .detail(Detail::Precondition(
            "GROUP",
            name,
            "is not connected with the owner".to_owned(),
        )))
    }

    /// Refuses where the account of an integration has no place left for it. Checked again, under a lock, when it is
    /// saved.
    async fn check_places(&self, row: &Integration) -> Result<()> {
        let Some(id) = row.grant_id else { return Ok(()) };
        let grant = self.store.grant_get(id).await?;
        self.check_account(&grant.connector, &grant.organization_id, &grant.user_id)
            .await
    }

    /// Refuses where an account has no place left.
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

/// An account without a place left. Other groups' integrations are counted, never named.
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

fn no_fields(id: IntegrationId) -> Error {
    let text = format!(
        "{} selects no field: choose some with UpdateIntegration, path selected_fields",
        id.name()
    );
    Error::new(Reason::NoFieldsSelected, text)
        .with("name", id.name())
        .detail(Detail::Precondition(
            "FIELDS",
            id.name(),
            "no field is selected".to_owned(),
        ))
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
