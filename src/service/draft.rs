//! Drafts: how an integration begins.

use super::{IntegrationView, Services, group_of};
use crate::caller::Caller;
use crate::domain::{GroupId, IntegrationState};
use crate::error::{Detail, Error, Reason, Result};
use crate::store::{Conflict, NewIntegration, Remembered};
use crate::time::now_us;
use std::collections::BTreeMap;
use tether_connector_proto::DescribeResponse;

/// A draft goes after thirty days.
const DRAFT_LIFE_US: i64 = 30 * 24 * 3_600 * 1_000_000;
/// Most drafts a group may have at a time.
const MOST_DRAFTS: usize = 50;

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
