//! Drafts: integrations before they are saved.
//!
//! Settings that are chosen before login cannot be changed after it: they say where the login happened.

use super::audit::{AuditChange, Author, Worked};
use super::reader::group_of;
use super::view::settings;
use super::{IntegrationView, RequestKey, Services};
use crate::domain::{ApiBudget, ApiUse, IntegrationId, Schedule};
use crate::error::{Detail, Error, Reason, Result, echo};
use crate::store::{self, Conflict, NewIntegration, Source};
use crate::time::now_us;
use std::collections::BTreeMap;
use tether_connector_proto::DescribeResponse;

/// The maximum number of drafts of a group.
const MOST_DRAFTS: i64 = 50;

/// The arguments of a new draft.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The connector.
    pub connector: String,
    /// The name for users.
    pub display_name: String,
    /// The label in filters; derived from the name if `None`.
    pub label: Option<String>,
    /// Whether the owner group uses the integration itself.
    pub connected: bool,
    /// The settings that are chosen before login.
    pub settings: BTreeMap<String, String>,
    /// When it syncs by itself.
    pub schedule: Schedule,
    /// How many calls it may make a day.
    pub budget: ApiBudget,
}

impl Services {
    /// Creates a draft. With `validate_only` it returns the draft as it would be and stores nothing.
    ///
    /// # Errors
    /// CONNECTOR_DISABLED, NAME_TAKEN, LABEL_TAKEN, LIMIT_REACHED, GROUP_UNKNOWN, REQUEST_ID_REUSED, INVALID_FIELD_VALUE.
    pub async fn integration_create(
        &self,
        author: &Author,
        draft: Draft,
        request: Option<&RequestKey>,
        validate_only: bool,
    ) -> Result<IntegrationView> {
        let group = group_of(author)?;
        let request = request.map(|key| key.of(&group));
        if let Some(request) = &request
            && let Some(earlier) = self.store.request_get(request).await?
        {
            return self.integration_get(author, read_id(&earlier)?).await;
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
            schedule: draft.schedule,
            budget: draft.budget,
            create_by: author.subject.clone(),
            now_us: now,
            expire_us: now + self.options.draft_life_us,
            most_drafts: MOST_DRAFTS,
        };
        let refused = |error: store::Error| match error {
            error if error.is_conflict(Conflict::DraftsFull) => too_many(&group.name()),
            error => taken(error, Some(name), label),
        };
        if validate_only {
            let begun = self.store.rehearse(move |tx| {
                let row = tx.integration_create(new)?;
                let source = tx.source_get(&row.group_id, row.id)?;
                Worked::Ok(source.ok_or_else(|| Error::not_found(row.id.name()))?)
            });
            return self
                .not_stored(begun.await.map_err(|error| error.or(refused))?)
                .await;
        }
        let begun = self.change(author, move |tx| {
            if let Some(request) = &request
                && let Some(earlier) = tx.request_begin(request, now)?
            {
                // A concurrent call with the same request id has created its draft.
                return Ok((read_id(&earlier)?, None));
            }
            let row = tx.integration_create(new)?;
            if let Some(request) = &request {
                tx.request_end(request, &row.id.to_string())?;
            }
            let made = AuditChange::of(row.id.name())
                .with("connector", connector_name(&row.connector))
                .with("display_name", &row.display_name)
                .with("schedule", &row.schedule)
                .with("api_budget", row.budget());
            Ok((row.id, Some(made)))
        });
        let id = begun.await.map_err(|error| error.or(refused))?;
        tracing::info!(integration = %id, %group, by = author.subject, "draft {id} begun");
        self.view(&group, id).await
    }

    /// The view of a draft that is only validated.
    async fn not_stored(&self, source: Source) -> Result<IntegrationView> {
        Ok(IntegrationView {
            settings: settings(&source.integration)?,
            fields: Vec::new(),
            shares: Vec::new(),
            credential: None,
            account_integrations: 0,
            group: self.store.group_get(&source.integration.group_id).await?,
            last_sync: None,
            used: ApiUse::default(),
            allowance: self.credentials.allowance(),
            source,
        })
    }
}

/// The integration that an earlier call with the same request id created.
fn read_id(result: &str) -> Result<IntegrationId> {
    result.parse().map_err(Error::internal)
}

fn connector_name(connector: &str) -> String {
    format!("connectors/{connector}")
}

fn too_many(group: &str) -> Error {
    let limit = format!("a group may have {MOST_DRAFTS} drafts at a time: save or abandon one");
    Error::new(Reason::LimitReached, format!("{group}: {limit}"))
        .with("limit", MOST_DRAFTS)
        .with("quota", "drafts per group")
        .detail(Detail::Quota(group.to_owned(), limit))
}

/// Converts an error of the store; NAME_TAKEN and LABEL_TAKEN name the value.
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

/// Checks the chosen settings against the connector's description and adds defaults.
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
