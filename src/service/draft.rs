//! Drafts: how an integration begins.

use super::login::settings;
use super::{IntegrationView, RequestKey, Services, group_of};
use crate::caller::Caller;
use crate::error::{Detail, Error, Reason, Result, echo};
use crate::store::{self, Conflict, Integration, NewIntegration, Refusal, Relation, Remembered, Source};
use crate::time::now_us;
use std::collections::BTreeMap;
use tether_connector_proto::DescribeResponse;

/// Most drafts a group may have at a time.
const MOST_DRAFTS: i64 = 50;

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

impl Services {
    /// Begins a draft; with `validate_only` says what it would be, and writes nothing.
    ///
    /// # Errors
    /// CONNECTOR_DISABLED, NAME_TAKEN, LABEL_TAKEN, LIMIT_REACHED, GROUP_UNKNOWN, REQUEST_ID_REUSED, INVALID_FIELD_VALUE.
    pub async fn integration_create(
        &self,
        caller: &Caller,
        draft: Draft,
        request: Option<&RequestKey>,
        validate_only: bool,
    ) -> Result<IntegrationView> {
        let group = group_of(caller)?;
        if let Some(key) = request
            && let Some(name) = self
                .store
                .request_get(&group, key.method, &key.id, &key.fingerprint)
                .await?
        {
            return self
                .integration_get(caller, name.parse().map_err(Error::internal)?)
                .await;
        }
        self.require_enabled(&group, &draft.connector).await?;
        let (_, describe) = self.usable(&draft.connector)?;
        let chosen = check_settings(&describe, draft.settings)?;
        let now = now_us();
        let (name, label) = (draft.display_name.clone(), draft.label.clone());
        let new = NewIntegration {
            group_id: group.clone(),
            connector: draft.connector,
            display_name: draft.display_name,
            label: draft.label,
            connected: draft.connected,
            settings: serde_json::to_string(&chosen).map_err(Error::internal)?,
            create_by: caller.subject.clone(),
            now_us: now,
            expire_us: now + self.options.draft_life_us,
            most_drafts: MOST_DRAFTS,
        };
        let refused = |error: store::Error| match error {
            error if error.is_conflict(Conflict::DraftsFull) => too_many(&group.name()),
            error => taken(error, Some(name), label),
        };
        if validate_only {
            let checked = self.store.integration_check_new(new).await;
            let (row, label) = checked.map_err(refused)?;
            return self.not_stored(row, label, draft.connected).await;
        }
        let row = self.store.integration_create(new).await.map_err(refused)?;
        if let Some(key) = request {
            let id = row.id.to_string();
            let known = self
                .store
                .request_remember(&group, key.method, &key.id, &key.fingerprint, &id, now)
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

    /// A draft that is only checked, as its owner would see it.
    async fn not_stored(&self, row: Integration, label: String, connected: bool) -> Result<IntegrationView> {
        let group = row.group_id.clone();
        let source = Source {
            relation: Relation::Owned,
            label,
            connected,
            owner_enabled: true,
            enabled: true,
            create_us: row.create_us,
            refusal: Refusal::default(),
            integration: row,
        };
        Ok(IntegrationView {
            settings: settings(&source.integration)?,
            fields: Vec::new(),
            shares: Vec::new(),
            grant: None,
            account_integrations: 0,
            group: self.store.group_get(&group).await?,
            last_sync: None,
            source,
        })
    }
}

fn too_many(group: &str) -> Error {
    let limit = format!("a group may have {MOST_DRAFTS} drafts at a time: save or abandon one");
    Error::new(Reason::LimitReached, format!("{group}: {limit}"))
        .with("limit", MOST_DRAFTS)
        .with("quota", "drafts per group")
        .detail(Detail::Quota(group.to_owned(), limit))
}

/// An error of the store, with the name that is taken where that is the reason.
pub(super) fn taken(error: store::Error, display_name: Option<String>, label: Option<String>) -> Error {
    if error.is_conflict(Conflict::Name) {
        Error::new(Reason::NameTaken, format!("{error}: choose another"))
            .with("display_name", display_name.unwrap_or_default())
    } else if error.is_conflict(Conflict::Label) {
        Error::new(Reason::LabelTaken, format!("{error}: choose another"))
            .with("label", label.unwrap_or_default())
    } else {
        error.into()
    }
}

/// Holds what was chosen against what the connector asks; defaults are filled in.
pub(super) fn check_settings(
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
        return Err(Error::invalid(
            format!("integration.settings[{:?}]", echo(unknown)),
            text,
        ));
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
