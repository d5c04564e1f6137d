//! Integrations: read, save, delete.

use super::account_limit::{ACCOUNT_LIMIT, account_full};
use super::audit::Worked;
use super::reader::group_of;
use super::view::{IntegrationView, settings};
use super::{AuditChange, Author, RequestKey, Services, SyncView, field, sync};
use crate::caller::Caller;
use crate::domain::{ApiUse, CredentialState, GroupId, IntegrationId, IntegrationState, SyncId};
use crate::error::{Detail, Error, Reason, Result};
use crate::store::{Activate, Conflict, Integration, Request, Revocation, Rollback, Source};
use crate::time::now_us;
use std::time::Duration;

/// How long a deletion waits for the revocation at the CRM.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How many times a draft is checked and saved again if it is edited concurrently; the last attempt saves
/// without comparing revisions.
const SAVE_TRIES: u32 = 10;

/// The result of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Whether the access to the CRM was revoked.
    pub access: Access,
    /// The number of groups that lost the source, including the owner.
    pub groups: usize,
    /// The number of company records of the integration.
    pub company_records: i64,
}

/// What a deletion did with the access to the CRM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The integration had no access.
    None,
    /// The CRM has confirmed the revocation.
    Revoked,
    /// The CRM offers no revocation: the access may be valid until someone ends it there.
    NotRevocable,
    /// The revocation is queued.
    Pending,
    /// Not revoked: another integration of the account needs it.
    Kept,
}

impl Services {
    /// One integration that the caller's group owns or receives.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub async fn integration_get(&self, caller: &Caller, id: IntegrationId) -> Result<IntegrationView> {
        let source = self.seen(caller, id).await?;
        self.view_of(&group_of(caller)?, source).await
    }

    /// The sources of a group that `keep` accepts, newest first, after (time since the group has it, id), and
    /// their total number. [`Self::integration_view`] reads the rest of each.
    ///
    /// # Errors
    /// STORAGE_UNAVAILABLE.
    pub async fn integration_sources(
        &self,
        group: &GroupId,
        keep: impl Fn(&Source) -> bool,
        after: Option<(i64, IntegrationId)>,
    ) -> Result<(Vec<Source>, usize)> {
        // A group has tens of integrations: all are read, because the total needs them.
        let mut sources = self.store.source_list(group).await?;
        sources.retain(|source| keep(source));
        let total = sources.len();
        let place = |source: &Source| (source.create_us, source.integration.id);
        sources.sort_by_key(|source| std::cmp::Reverse(place(source)));
        sources.retain(|source| after.is_none_or(|after| place(source) < after));
        Ok((sources, total))
    }

    /// The view of one of these sources.
    ///
    /// # Errors
    /// STORAGE_UNAVAILABLE.
    pub async fn integration_view(&self, group: &GroupId, source: Source) -> Result<IntegrationView> {
        self.view_of(group, source).await
    }

    /// The view of an integration for a group.
    pub(super) async fn view(&self, group: &GroupId, id: IntegrationId) -> Result<IntegrationView> {
        let source = self.store.source_get(group, id).await?;
        let source = source.ok_or_else(|| Error::not_found(id.name()))?;
        self.view_of(group, source).await
    }

    async fn view_of(&self, group: &GroupId, source: Source) -> Result<IntegrationView> {
        let row = &source.integration;
        let credential = match row.credential_id {
            Some(id) => Some(self.store.credential_get(id).await?),
            None => None,
        };
        // Only the owner sees how many integrations the account has.
        let account_integrations = match &credential {
            Some(credential) if source.is_owned() => {
                self.store
                    .account_count(
                        &credential.connector,
                        &credential.organization_id,
                        &credential.user_id,
                    )
                    .await?
            }
            _ => 0,
        };
        let used = match &credential {
            Some(credential) if source.is_owned() => {
                let organization = credential.organization();
                self.store.api_usage_get(row.id, &organization, now_us()).await?
            }
            _ => ApiUse::default(),
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
            credential,
            account_integrations,
            last_sync,
            used,
            allowance: self.credentials.allowance(),
            source,
        })
    }

    /// Deletes an integration or a draft. It disappears for all groups at once. Access that no other
    /// integration needs is revoked at the CRM; the call waits at most two seconds for this.
    ///
    /// # Errors
    /// NOT_FOUND, NOT_OWNER, ETAG_MISMATCH.
    pub async fn integration_delete(
        &self,
        author: &Author,
        id: IntegrationId,
        revision: Option<i64>,
    ) -> Result<Removed> {
        let row = self.owned(author, id).await?;
        check_revision(&row, revision)?;
        let deleted = self.change(author, move |tx| {
            let gone = tx.integration_delete(id, revision, now_us())?;
            let groups = gone.groups;
            Ok((gone, Some(AuditChange::of(id.name()).with("groups", groups))))
        });
        let gone = deleted.await.map_err(|error| error.or_not_found(id.name()))?;
        tracing::info!(integration = %id, by = author.subject, "integration {id} deleted");
        let access = match gone.credential_id {
            None => Access::None,
            Some(credential) => match gone.released {
                Some(revocation) => match self.credentials.given_back(revocation, TIMEOUT).await? {
                    Revocation::Done => Access::Revoked,
                    Revocation::Impossible => Access::NotRevocable,
                    Revocation::Pending => Access::Pending,
                },
                None => match self.store.credential_get(credential).await {
                    Ok(credential) if credential.state == CredentialState::Revoked => Access::None,
                    _ => Access::Kept,
                },
            },
        };
        Ok(Removed {
            access,
            groups: gone.groups,
            company_records: row.company_records.unwrap_or_default(),
        })
    }

    /// Saves a draft: it becomes active and its first sync is queued, in one transaction. With
    /// `validate_only` everything is checked and nothing is stored.
    ///
    /// # Errors
    /// NOT_FOUND, NOT_OWNER, ILLEGAL_STATE unless it is a draft, NOT_LOGGED_IN, CREDENTIALS_REVOKED,
    /// NO_FIELDS_SELECTED, ACCOUNT_LIMIT_REACHED, GROUPS_NOT_CONNECTED, CONNECTOR_DISABLED,
    /// REQUEST_ID_REUSED, and ETAG_MISMATCH for another revision than the given one.
    pub async fn integration_activate(
        &self,
        author: &Author,
        id: IntegrationId,
        revision: Option<i64>,
        request: Option<&RequestKey>,
        validate_only: bool,
    ) -> Result<(IntegrationView, Option<SyncView>)> {
        let mut tries = 0;
        let (group, sync) = loop {
            let row = self.owned(author, id).await?;
            let request = request.map(|key| key.of(&row.group_id));
            if let Some(request) = &request
                && let Some(earlier) = self.store.request_get(request).await?
            {
                break (row.group_id, sync::read_id(&earlier)?);
            }
            self.check_save(&row, revision).await?;
            // The saved revision is the checked one. If the caller gave no revision, a concurrent edit is not
            // an error: the draft is checked again.
            tries += 1;
            let activate = Activate {
                id,
                revision: (tries < SAVE_TRIES).then_some(row.revision).or(revision),
                account_limit: ACCOUNT_LIMIT,
                company_records: None,
                by: author.subject.clone(),
                now_us: now_us(),
            };
            let saved = match validate_only {
                true => {
                    let trial = self
                        .store
                        .rehearse(move |tx| Worked::Ok(tx.integration_activate(activate)?));
                    trial.await.map(|_| None)
                }
                false => self.save(author, activate, request).await.map(Some),
            };
            match saved {
                Ok(Some(sync)) => break (row.group_id, sync),
                Ok(None) => return Ok((self.view(&row.group_id, id).await?, None)),
                Err(Rollback::Store(error))
                    if error.is_conflict(Conflict::Revision) && revision.is_none() => {}
                Err(Rollback::Store(error)) if error.is_conflict(Conflict::AccountFull) => {
                    return Err(account_full());
                }
                Err(Rollback::Store(error)) if error.is_conflict(Conflict::NotConnected) => {
                    let named = self.not_connected(&row).await?;
                    return Err(named.unwrap_or_else(|| error.into()));
                }
                Err(error) => return Err(error.into()),
            }
        };
        self.wake.notify_one();
        Ok((self.view(&group, id).await?, Some(self.sync_view(sync).await?)))
    }

    /// Saves a draft; returns its first sync.
    async fn save(
        &self,
        author: &Author,
        activate: Activate,
        request: Option<Request>,
    ) -> std::result::Result<SyncId, Rollback<Error>> {
        let id = activate.id;
        let saved = self.change(author, move |tx| {
            if let Some(request) = &request
                && let Some(earlier) = tx.request_begin(request, activate.now_us)?
            {
                // A concurrent call with the same request id has saved it.
                return Ok((sync::read_id(&earlier)?, None));
            }
            let (_, sync) = tx.integration_activate(activate)?;
            let fields = tx.field_count(id)?;
            if let Some(request) = &request {
                tx.request_end(request, &sync.id.to_string())?;
            }
            Ok((
                sync.id,
                Some(AuditChange::of(id.name()).with("selected_fields", fields)),
            ))
        });
        let sync = saved.await?;
        tracing::info!(integration = %id, %sync, by = author.subject, "integration {id} saved");
        Ok(sync)
    }

    /// Checks everything that saving requires.
    async fn check_save(&self, row: &Integration, revision: Option<i64>) -> Result<()> {
        if row.state != IntegrationState::Draft {
            let allowed = "UpdateIntegration, SyncIntegration, DeleteIntegration";
            let name = row.id.name();
            return Err(Error::illegal_state(&name, row.state.as_str(), "saving", allowed));
        }
        self.require_enabled(&row.group_id, &row.connector).await?;
        check_revision(row, revision)?;
        let credential = self.store.credential_get(field::logged_in(row)?).await?;
        if credential.state == CredentialState::Revoked {
            return Err(Error::new(
                Reason::CredentialsRevoked,
                format!(
                    "the CRM does not accept the login of {} any more: log in again",
                    row.id.name()
                ),
            )
            .with("name", row.id.name()));
        }
        if self.store.field_list(row.id).await?.is_empty() {
            return Err(no_fields(row.id));
        }
        self.check_account_of(row).await?;
        match self.not_connected(row).await? {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// GROUPS_NOT_CONNECTED for the first receiver that is no longer connected with the owner.
    async fn not_connected(&self, row: &Integration) -> Result<Option<Error>> {
        let shares = self.store.share_list(row.id).await?;
        if shares.is_empty() {
            return Ok(None);
        }
        let connections = self.store.group_connections(&row.group_id).await?;
        let gone = shares
            .iter()
            .find(|share| !connections.iter().any(|group| group.id == share.group_id));
        Ok(gone.map(|share| {
            let name = share.group_id.name();
            Error::new(
                Reason::GroupsNotConnected,
                format!(
                    "{name} is not connected with {}: take the share away with RemoveShare and save again",
                    row.group_id.name()
                ),
            )
            .with("group", &name)
            .detail(Detail::Precondition(
                "GROUP",
                name,
                "is not connected with the owner".to_owned(),
            ))
        }))
    }
}

pub(super) fn no_fields(id: IntegrationId) -> Error {
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

pub(super) fn check_revision(row: &Integration, expected: Option<i64>) -> Result<()> {
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
