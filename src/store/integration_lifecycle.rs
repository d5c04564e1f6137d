//! The life of an integration: its account, saving, deletion.

use std::collections::BTreeSet;

use diesel::prelude::*;

use super::{
    Conflict, Error, Integration, NewSync, Noun, Store, Sync, Tx, authorization,
    conn::Conn,
    credential, data_purge,
    effect::Effect,
    event::{self, NewEvents},
    integration::{check_revision, lock},
    schema::integration,
    share, sync,
};
use crate::domain::{
    CredentialId, CredentialState, EventKind, IntegrationId, IntegrationState, Micros, OutboxId, SyncMode,
    SyncTrigger,
};

/// A login that succeeded for an integration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachCredential {
    /// Which integration.
    pub id: IntegrationId,
    /// The account.
    pub credential_id: CredentialId,
    /// How many active integrations the account may have; checked if the integration is one and moves to it.
    pub account_limit: i64,
    /// Now.
    pub now_us: Micros,
}

/// What became of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The integration as it is now.
    pub integration: Integration,
    /// Whether it moved to another credential, so that everything has to be read again.
    pub moved: bool,
    /// The credential that nothing uses any more; its revocation is in the outbox.
    pub released: Option<CredentialId>,
}

/// "Save".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activate {
    /// Which draft.
    pub id: IntegrationId,
    /// The revision that was reviewed; `None` saves whatever is there.
    pub revision: Option<i64>,
    /// How many active integrations the account may have.
    pub account_limit: i64,
    /// How many company records the review counted.
    pub company_records: Option<i64>,
    /// By whom.
    pub by: String,
    /// Now.
    pub now_us: Micros,
}

/// What became of an integration that was deleted or abandoned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// Which.
    pub id: IntegrationId,
    /// The credential it had.
    pub credential_id: Option<CredentialId>,
    /// The revocation of that credential in the outbox, if nothing uses it any more.
    pub released: Option<OutboxId>,
    /// How many groups lost the source, the owner among them.
    pub groups: usize,
}

impl Tx<'_> {
    /// Gives an integration the account of a login. [`Conflict::AccountFull`] if it is active and the account has no
    /// place; nothing is changed then.
    pub fn integration_attach_credential(&mut self, attach: &AttachCredential) -> Result<Attached, Error> {
        attach_credential(self.conn, &mut self.events, attach)
    }

    /// Saves a draft and queues its first sync. Its schedule counts from now.
    pub fn integration_activate(&mut self, activate: Activate) -> Result<(Integration, Sync), Error> {
        save(self.conn, &mut self.events, activate)
    }

    /// Deletes a saved integration: gone for everyone at once; its name and its place are free; its unfinished sync is
    /// cancelled. The rows go with [`integration_purge`](Store::integration_purge).
    pub fn integration_delete(
        &mut self,
        id: IntegrationId,
        revision: Option<i64>,
        now_us: Micros,
    ) -> Result<Deleted, Error> {
        delete(self.conn, &mut self.events, id, revision, now_us)
    }
}

impl Store {
    /// Removes drafts whose time has come, at most `limit`. A transaction each: none holds a draft's account while it waits
    /// for another draft.
    pub async fn drafts_expire(&self, now_us: Micros, limit: i64) -> Result<Vec<Deleted>, Error> {
        let due: Vec<IntegrationId> = self
            .read(move |conn| {
                Ok(integration::table
                    .filter(
                        integration::expire_us
                            .le(now_us)
                            .and(integration::state.eq(IntegrationState::Draft)),
                    )
                    .order((integration::expire_us, integration::id))
                    .limit(limit)
                    .select(integration::id)
                    .load(conn)?)
            })
            .await?;
        let mut gone = Vec::new();
        for id in due {
            match self.write(move |conn| abandon(conn, id, now_us)).await {
                Ok(deleted) => gone.push(deleted),
                // Saved or removed by someone else in between.
                Err(Error::NotFound { .. } | Error::Conflict { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(gone)
    }

    /// Removes up to `limit` rows of an integration that is being deleted; true when nothing is left of it.
    pub async fn integration_purge(&self, id: IntegrationId, limit: i64) -> Result<bool, Error> {
        match self.integration_get(id).await {
            Ok(row) if row.state == IntegrationState::Deleting => {}
            Ok(row) => {
                let why = format!("integration \"{id}\" is {}", row.state);
                return Err(Error::conflict(Conflict::State, why));
            }
            Err(error) if error.is_not_found() => return Ok(true),
            Err(error) => return Err(error),
        }
        if !self
            .data_write_large(id, move |conn| data_purge::purge(conn, id, limit))
            .await?
        {
            return Ok(false);
        }
        self.write(move |conn| Ok(diesel::delete(integration::table.find(id)).execute(conn)?))
            .await?;
        Ok(true)
    }
}

fn attach_credential(
    conn: &mut Conn,
    events: &mut NewEvents,
    attach: &AttachCredential,
) -> Result<Attached, Error> {
    let mut row = lock(conn, attach.id)?;
    if row.state == IntegrationState::Deleting {
        return Err(Error::not_found(Noun::Integration, row.id));
    }
    // All credentials at once, in one order: those of the account too, where its integrations are counted.
    let counts = row.state != IntegrationState::Draft;
    let mut ids = match counts {
        true => {
            let new = credential::get(conn, attach.credential_id)?;
            credential::of_account(conn, &new.connector, &new.organization_id, &new.user_id)?
        }
        false => BTreeSet::new(),
    };
    ids.insert(attach.credential_id);
    ids.extend(row.credential_id);
    let mut credentials = credential::lock_all(conn, &ids)?;
    let mut take = |id: CredentialId| {
        let at = credentials.iter().position(|credential| credential.id == id)?;
        Some(credentials.swap_remove(at))
    };
    let new =
        take(attach.credential_id).ok_or_else(|| Error::not_found(Noun::Credential, attach.credential_id))?;
    let old = row.credential_id.and_then(take);
    if new.state == CredentialState::Revoked {
        return Err(Error::Busy(
            "the login was given back meanwhile, with the last integration that used it".to_owned(),
        ));
    }
    let same_account = row.credential_id == Some(new.id)
        || old
            .as_ref()
            .is_some_and(|o| o.organization_id == new.organization_id && o.user_id == new.user_id);
    if counts && !same_account {
        credential::check_account(conn, &new, row.id, attach.account_limit)?;
    }
    let moved = row.credential_id != Some(new.id);
    row.credential_id = Some(new.id);
    if moved && !same_account {
        row.generation += 1;
        row.account_no += i64::from(old.is_some());
        // A draft has no data set.
        if counts {
            events.follow(Effect::Generation(row.id, row.generation));
        }
    }
    row.revision += 1;
    row.update_us = attach.now_us;
    if row.state == IntegrationState::NeedsReauthorization {
        row.state = IntegrationState::Active;
        row.state_us = attach.now_us;
    }
    row.state_reason.clear();
    row.state_message.clear();
    diesel::update(integration::table.find(row.id))
        .set((
            integration::credential_id.eq(row.credential_id),
            integration::generation.eq(row.generation),
            integration::account_no.eq(row.account_no),
            integration::revision.eq(row.revision),
            integration::update_us.eq(row.update_us),
            integration::state.eq(row.state),
            integration::state_us.eq(row.state_us),
            integration::state_reason.eq(""),
            integration::state_message.eq(""),
        ))
        .execute(conn)?;
    authorization::end_others(conn, row.id)?;
    let released = match old {
        Some(old) => {
            let id = old.id;
            credential::release(conn, old, &row.settings, attach.now_us)?.map(|_| id)
        }
        None => None,
    };
    Ok(Attached {
        integration: row,
        moved: moved && !same_account,
        released,
    })
}

fn save(conn: &mut Conn, events: &mut NewEvents, activate: Activate) -> Result<(Integration, Sync), Error> {
    let mut row = lock(conn, activate.id)?;
    check_revision(&row, activate.revision)?;
    if row.state != IntegrationState::Draft {
        return Err(Error::conflict(
            Conflict::State,
            format!(
                "integration \"{}\" is {}; only a draft can be saved",
                row.id, row.state
            ),
        ));
    }
    let Some(credential_id) = row.credential_id else {
        return Err(Error::conflict(
            Conflict::State,
            format!("integration \"{}\" has not been logged in", row.id),
        ));
    };
    let credential = credential::get(conn, credential_id)?;
    let account = credential::of_account(
        conn,
        &credential.connector,
        &credential.organization_id,
        &credential.user_id,
    )?;
    credential::lock_all(conn, &account)?;
    credential::check_account(conn, &credential, row.id, activate.account_limit)?;
    row.state = IntegrationState::Active;
    row.state_us = activate.now_us;
    row.activate_us = Some(activate.now_us);
    row.expire_us = None;
    row.company_records = activate.company_records;
    row.next_sync_us = row.schedule.first(row.id, activate.now_us);
    row.revision += 1;
    row.update_us = activate.now_us;
    diesel::update(integration::table.find(row.id))
        .set((
            integration::state.eq(row.state),
            integration::state_us.eq(row.state_us),
            integration::activate_us.eq(row.activate_us),
            integration::expire_us.eq(row.expire_us),
            integration::company_records.eq(row.company_records),
            integration::next_sync_us.eq(row.next_sync_us),
            integration::revision.eq(row.revision),
            integration::update_us.eq(row.update_us),
        ))
        .execute(conn)?;
    share::activate(conn, events, &row, activate.now_us)?;
    let new = NewSync {
        integration_id: row.id,
        trigger: SyncTrigger::Activation,
        create_by: activate.by,
        due_us: activate.now_us,
        confirms: None,
        mode: SyncMode::Auto,
        now_us: activate.now_us,
    };
    let sync = sync::insert(conn, &row, new)?;
    Ok((row, sync))
}

fn abandon(conn: &mut Conn, id: IntegrationId, now_us: Micros) -> Result<Deleted, Error> {
    let row = lock(conn, id)?;
    if row.state != IntegrationState::Draft {
        return Err(Error::conflict(
            Conflict::State,
            format!(
                "integration \"{id}\" is {}; only a draft can be abandoned",
                row.state
            ),
        ));
    }
    let credential = row
        .credential_id
        .map(|id| credential::lock(conn, id))
        .transpose()?;
    diesel::delete(integration::table.find(id)).execute(conn)?;
    let released = match credential {
        Some(credential) => credential::release(conn, credential, &row.settings, now_us)?,
        None => None,
    };
    Ok(Deleted {
        id,
        credential_id: row.credential_id,
        released,
        groups: 0,
    })
}

pub(super) fn delete(
    conn: &mut Conn,
    events: &mut NewEvents,
    id: IntegrationId,
    revision: Option<i64>,
    now_us: Micros,
) -> Result<Deleted, Error> {
    let row = lock(conn, id)?;
    check_revision(&row, revision)?;
    match row.state {
        IntegrationState::Deleting => return Err(Error::not_found(Noun::Integration, id)),
        IntegrationState::Draft => return abandon(conn, id, now_us),
        IntegrationState::Active | IntegrationState::NeedsReauthorization => {}
    }
    let credential = row
        .credential_id
        .map(|id| credential::lock(conn, id))
        .transpose()?;
    diesel::update(integration::table.find(id))
        .set((
            integration::state.eq(IntegrationState::Deleting),
            integration::state_us.eq(now_us),
            integration::generation.eq(row.generation + 1),
            integration::revision.eq(row.revision + 1),
            integration::update_us.eq(now_us),
            integration::credential_id.eq(None::<CredentialId>),
        ))
        .execute(conn)?;
    sync::cancel_unfinished(conn, events, id, now_us)?;
    events.follow(Effect::Generation(id, row.generation + 1));
    let audience = event::audience(conn, id)?;
    let groups = share::end_all(conn, id)?;
    let released = match credential {
        Some(credential) => credential::release(conn, credential, &row.settings, now_us)?,
        None => None,
    };
    for group in audience {
        events.add(&group, EventKind::IntegrationDeleted, id, &id.name(), now_us);
    }
    Ok(Deleted {
        id,
        credential_id: row.credential_id,
        released,
        groups,
    })
}
