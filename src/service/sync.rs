//! Syncs: start, list, watch, cancel.

use super::errors::for_receivers;
use super::reader::group_of;
use super::{AuditChange, Author, RequestKey, Services};
use crate::caller::Caller;
use crate::domain::{IntegrationId, IntegrationState, SyncId, SyncMode, SyncState, SyncTrigger};
use crate::error::{Detail, Error, Reason, Result};
use crate::store::{Confirmed, Enqueued, Integration, NewSync, SeenField, Sync, SyncObject};
use crate::time::now_us;

/// A sync with its objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncView {
    /// The sync.
    pub sync: Sync,
    /// Its objects, in their order.
    pub objects: Vec<SyncObject>,
}

impl SyncView {
    /// The sync as a receiver of these fields sees it: neither the CRM's words, nor the account's calls, nor objects of
    /// which it receives no field, but for the company object, the first.
    pub(super) fn for_receiver(mut self, fields: &[SeenField]) -> Self {
        let first = self.objects.iter().map(|one| one.position).min();
        self.objects.retain(|one| {
            Some(one.position) == first || fields.iter().any(|seen| seen.field.object == one.object)
        });
        for one in &mut self.objects {
            hide(&one.error_reason, &mut one.error_message);
        }
        hide(&self.sync.error_reason, &mut self.sync.error_message);
        let seen = |name: &String| {
            let known = |one: &SeenField| *name == format!("{}.{}", one.field.object, one.field.key);
            fields.iter().any(known)
        };
        let missing: Vec<String> = self.sync.missing_fields().into_iter().filter(seen).collect();
        self.sync.missing = serde_json::to_string(&missing).unwrap_or_default();
        self.sync.note.clear();
        self.sync.api_calls = 0;
        self.sync.bytes = 0;
        self
    }
}

/// Replaces the CRM's message by a general sentence.
fn hide(reason: &str, message: &mut String) {
    if !reason.is_empty() {
        let known = Reason::ALL.iter().find(|known| known.as_str() == reason);
        *message = for_receivers(known.copied().unwrap_or(Reason::Internal));
    }
}

impl Services {
    /// Queues a sync, which may confirm what the last one holds back from removal.
    ///
    /// # Errors
    /// NOT_FOUND, ILLEGAL_STATE unless the integration is active, SYNC_ALREADY_RUNNING, CONNECTOR_DISABLED,
    /// REQUEST_ID_REUSED, NOTHING_TO_CONFIRM.
    pub async fn sync_start(
        &self,
        author: &Author,
        id: IntegrationId,
        mode: SyncMode,
        confirms: Option<SyncId>,
        request: Option<&RequestKey>,
    ) -> Result<SyncView> {
        let row = self.owned(author, id).await?;
        let request = request.map(|key| key.of(&row.group_id));
        if let Some(request) = &request
            && let Some(earlier) = self.store.request_get(request).await?
        {
            return self.sync_view(read_id(&earlier)?).await;
        }
        match row.state {
            IntegrationState::Active => {}
            IntegrationState::NeedsReauthorization => {
                return Err(Error::new(
                    Reason::CredentialsRevoked,
                    format!(
                        "{} has to be logged in again first: BeginAuthorization",
                        id.name()
                    ),
                )
                .with("name", id.name()));
            }
            IntegrationState::Draft | IntegrationState::Deleting => {
                let allowed = "UpdateIntegration, ReviewIntegration, ActivateIntegration";
                return Err(Error::illegal_state(
                    &id.name(),
                    row.state.as_str(),
                    "a sync",
                    allowed,
                ));
            }
        }
        self.require_enabled(&row.group_id, &row.connector).await?;
        let confirms = match confirms {
            Some(sync) => Some(self.confirmed(&row, sync).await?),
            None => None,
        };
        if let Some(credential) = row.credential_id {
            // Whoever asks for a sync may just have put right what the CRM refused.
            self.credentials.try_soon(credential).await?;
        }
        let now = now_us();
        let new = NewSync {
            integration_id: id,
            trigger: SyncTrigger::Manual,
            create_by: author.subject.clone(),
            due_us: now,
            confirms,
            mode,
            now_us: now,
        };
        let queued = self.change(author, move |tx| {
            if let Some(request) = &request
                && let Some(earlier) = tx.request_begin(request, now)?
            {
                // The same request, twice at once.
                return Ok((read_id(&earlier)?, None));
            }
            let sync = match tx.sync_enqueue(new)? {
                Enqueued::New(sync) => sync,
                Enqueued::AlreadyRunning(sync) => return Err(under_way(&sync).into()),
            };
            if let Some(request) = &request {
                tx.request_end(request, &sync.id.to_string())?;
            }
            let mut made = AuditChange::of(sync_name(&sync));
            if let Some(confirms) = confirms {
                let confirmed = format!("{}/syncs/{}", id.name(), confirms.sync_id);
                made = made.with("confirm_removals_of", confirmed);
            }
            Ok((sync.id, Some(made)))
        });
        let sync = queued.await?;
        self.wake.notify_one();
        self.sync_view(sync).await
    }

    /// One sync of an integration that the caller's group owns or receives.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub async fn sync_get(
        &self,
        caller: &Caller,
        integration: IntegrationId,
        id: SyncId,
    ) -> Result<SyncView> {
        let name = format!("{}/syncs/{id}", integration.name());
        let source = self
            .seen(caller, integration)
            .await
            .map_err(|error| match error.reason {
                Reason::NotFound => Error::not_found(name.clone()),
                _ => error,
            })?;
        match self.sync_view(id).await {
            Ok(view) if view.sync.integration_id == integration && source.is_owned() => Ok(view),
            Ok(view) if view.sync.integration_id == integration => {
                let fields = self.seen_fields(&group_of(caller)?, integration).await?;
                Ok(view.for_receiver(&fields))
            }
            Ok(_) => Err(Error::not_found(name)),
            Err(error) if error.reason == Reason::NotFound => Err(Error::not_found(name)),
            Err(error) => Err(error),
        }
    }

    /// The syncs of an integration, newest first, before this (time of creation, id).
    ///
    /// # Errors
    /// NOT_FOUND.
    pub async fn sync_list(
        &self,
        caller: &Caller,
        integration: IntegrationId,
        before: Option<(i64, SyncId)>,
        limit: usize,
    ) -> Result<Vec<SyncView>> {
        let source = self.seen(caller, integration).await?;
        let fields = self.seen_fields(&group_of(caller)?, integration).await?;
        let mut views = Vec::new();
        for sync in self.store.sync_list(integration, before, limit as i64).await? {
            let view = self.sync_view(sync.id).await?;
            views.push(if source.is_owned() {
                view
            } else {
                view.for_receiver(&fields)
            });
        }
        Ok(views)
    }

    /// Asks a sync to stop; what it stored stays.
    ///
    /// # Errors
    /// NOT_FOUND, ILLEGAL_STATE once it has ended.
    pub async fn sync_cancel(
        &self,
        author: &Author,
        integration: IntegrationId,
        id: SyncId,
    ) -> Result<SyncView> {
        let view = self.sync_get(author, integration, id).await?;
        self.owned(author, integration).await?;
        if view.sync.state.is_final() {
            let name = sync_name(&view.sync);
            return Err(Error::illegal_state(
                &name,
                view.sync.state.as_str(),
                "cancelling",
                "SyncIntegration",
            ));
        }
        let made = AuditChange::of(sync_name(&view.sync));
        self.change(author, move |tx| {
            Ok((tx.sync_cancel_request(id, now_us())?, Some(made)))
        })
        .await?;
        self.sync_view(id).await
    }

    /// The held-back removals of a sync, which must be the last complete one of the integration.
    async fn confirmed(&self, of: &Integration, id: SyncId) -> Result<Confirmed> {
        let nothing = |why: &str| {
            let name = format!("{}/syncs/{id}", of.id.name());
            Error::new(Reason::NothingToConfirm, format!("{name} {why}"))
                .with("sync", &name)
                .detail(Detail::Precondition("SYNC", name, why.to_owned()))
        };
        let view = match self.sync_view(id).await {
            Ok(view) if view.sync.integration_id == of.id => view,
            Err(error) if error.reason != Reason::NotFound => return Err(error),
            _ => return Err(Error::not_found(format!("{}/syncs/{id}", of.id.name()))),
        };
        let (Some(end_us), true) = (view.sync.end_us, view.objects.iter().any(|one| one.held > 0)) else {
            return Err(nothing("holds no removals back"));
        };
        if view.sync.generation != of.generation {
            return Err(nothing("read another selection or account than the present one"));
        }
        // Newer ones that failed or were cancelled have no complete listing.
        for newer in self.store.sync_list(of.id, None, 50).await? {
            if newer.id == id {
                return Ok(Confirmed { sync_id: id, end_us });
            }
            if matches!(newer.state, SyncState::Succeeded | SyncState::Partial) {
                break;
            }
        }
        Err(nothing("is not the last one that looked"))
    }

    /// The names people see of a connector's objects: (key, label). Empty for a connector that is not there.
    ///
    /// # Errors
    /// NOT_FOUND, STORAGE_UNAVAILABLE.
    pub async fn object_labels(&self, id: IntegrationId) -> Result<Vec<(String, String)>> {
        let of = self.store.integration_get(id).await?;
        let Ok((_, describe)) = self.usable(&of.connector) else {
            return Ok(Vec::new());
        };
        let objects = describe.objects.into_iter();
        Ok(objects.map(|object| (object.key, object.label)).collect())
    }

    /// A sync and its objects as of one moment.
    pub(super) async fn sync_view(&self, id: SyncId) -> Result<SyncView> {
        let (sync, objects) = self.store.sync_progress(id).await?;
        Ok(SyncView { sync, objects })
    }
}

fn sync_name(sync: &Sync) -> String {
    format!("{}/syncs/{}", sync.integration_id.name(), sync.id)
}

/// The sync that an earlier request led to.
pub(super) fn read_id(result: &str) -> Result<SyncId> {
    result.parse().map_err(Error::internal)
}

fn under_way(sync: &Sync) -> Error {
    let name = sync_name(sync);
    Error::new(
        Reason::SyncAlreadyRunning,
        format!("{name} has not ended yet: watch that one"),
    )
    .with("sync", &name)
    .detail(Detail::Precondition("SYNC", name, format!("is {}", sync.state)))
}
