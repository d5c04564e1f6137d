//! Integrations: drafts, saved ones, and integrations being deleted.

use std::collections::BTreeSet;

use diesel::prelude::*;

use super::{
    Conflict, Error, Field, NewShare, NewSync, Store, Sync, Tx, authorization,
    conn::{Conn, first_locked},
    credential,
    data::Effect,
    data_set,
    error::{OrNotFound, is_unique_violation},
    event::{self, NewEvents},
    field,
    schema::integration,
    share, source, sync,
};
use crate::domain::{
    CredentialId, CredentialState, EventKind, GroupId, IntegrationId, IntegrationState, Micros, SyncTrigger,
    name_key,
};

/// An integration.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = integration, treat_none_as_default_value = false)]
pub struct Integration {
    /// Its id.
    pub id: IntegrationId,
    /// The owner.
    pub group_id: GroupId,
    /// The connector.
    pub connector: String,
    /// The name people see; unique in the group.
    pub display_name: String,
    /// What the name is compared by.
    pub name_key: String,
    /// Where it stands.
    pub state: IntegrationState,
    /// Why, as a word.
    pub state_reason: String,
    /// Why, as a sentence for its owner.
    pub state_message: String,
    /// Since when.
    pub state_us: Micros,
    /// What was chosen before login, as JSON.
    pub settings: String,
    /// The account, once logged in.
    pub credential_id: Option<CredentialId>,
    /// Grows when the account or the selection changes.
    pub generation: i64,
    /// Grows with every edit: the etag.
    pub revision: i64,
    /// When it was begun.
    pub create_us: Micros,
    /// By whom.
    pub create_by: String,
    /// When it was last edited.
    pub update_us: Micros,
    /// When it was saved.
    pub activate_us: Option<Micros>,
    /// When it goes, for drafts.
    pub expire_us: Option<Micros>,
    /// How many company records it has, by the CRM's count or our own.
    pub company_records: Option<i64>,
    /// When the last sync that succeeded began.
    pub last_success_us: Option<Micros>,
    /// The database of its data set, by its name in `database.data`; empty for that of control. It never changes.
    pub data_database: String,
}

/// A draft to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIntegration {
    /// The owner.
    pub group_id: GroupId,
    /// The connector.
    pub connector: String,
    /// The name people see.
    pub display_name: String,
    /// What filters call it; made from the name where it is not given.
    pub label: Option<String>,
    /// Whether the owner uses it itself.
    pub connected: bool,
    /// What is chosen before login, as JSON.
    pub settings: String,
    /// By whom.
    pub create_by: String,
    /// Now.
    pub now_us: Micros,
    /// When the draft goes.
    pub expire_us: Micros,
    /// How many drafts the group may have, this one included.
    pub most_drafts: i64,
}

/// An edit. What is `None` stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntegrationUpdate {
    /// Which.
    pub id: IntegrationId,
    /// The revision it was read at; `None` edits whatever is there.
    pub revision: Option<i64>,
    /// The name people see.
    pub display_name: Option<String>,
    /// What filters call it.
    pub label: Option<String>,
    /// What is chosen before login, as JSON.
    pub settings: Option<String>,
    /// All selected fields, in their order.
    pub fields: Option<Vec<Field>>,
    /// All shares.
    pub shares: Option<Vec<NewShare>>,
    /// Whether the owner uses it.
    pub connected: Option<bool>,
    /// By whom.
    pub by: String,
    /// Now.
    pub now_us: Micros,
}

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
    /// Whether nothing uses that credential any more; its revocation is in the outbox.
    pub released: bool,
    /// How many groups lost the source, the owner among them.
    pub groups: usize,
}

impl Tx<'_> {
    /// An integration, locked until the end of the transaction.
    pub fn integration_lock(&mut self, id: IntegrationId) -> Result<Integration, Error> {
        lock(self.conn, id)
    }

    /// Begins a draft. [`Conflict::Name`] or [`Conflict::Label`] if that is taken, [`Conflict::DraftsFull`] if the group has
    /// too many.
    pub fn integration_create(&mut self, new: NewIntegration) -> Result<Integration, Error> {
        create(self.conn, new, self.new_data.clone())
    }

    /// Edits everything at once. [`Conflict::Revision`] if it was edited in between, [`Conflict::Name`] or
    /// [`Conflict::Label`] if that is taken, [`Conflict::NotConnected`] if a receiver is not connected with the owner. A
    /// changed selection begins a new generation; where it adds to a saved one, a sync is queued, if none is under way.
    pub fn integration_update(&mut self, update: IntegrationUpdate) -> Result<Integration, Error> {
        edit(self.conn, &mut self.events, update)
    }

    /// Gives an integration the account of a login. [`Conflict::AccountFull`] if it is active and the account has no
    /// place; nothing is changed then.
    pub fn integration_attach_credential(&mut self, attach: &AttachCredential) -> Result<Attached, Error> {
        attach_credential(self.conn, &mut self.events, attach)
    }

    /// Saves a draft and queues its first sync.
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
    /// One integration, in any state.
    pub async fn integration_get(&self, id: IntegrationId) -> Result<Integration, Error> {
        self.read(move |conn| get(conn, id)).await
    }

    /// The saved integrations with the number of their last change each: what followers of the feed look at.
    pub async fn integration_heads(&self) -> Result<Vec<(IntegrationId, i64)>, Error> {
        let saved: Vec<IntegrationId> = self
            .read(move |conn| {
                Ok(integration::table
                    .filter(integration::state.ne_all([IntegrationState::Draft, IntegrationState::Deleting]))
                    .select(integration::id)
                    .load(conn)?)
            })
            .await?;
        let heads = self.data_heads().await?;
        let head = |id: IntegrationId| (id, heads.get(&id).copied().unwrap_or(0));
        Ok(saved.into_iter().map(head).collect())
    }

    /// Integrations in one state, over all groups, by id.
    pub async fn integration_list_by_state(
        &self,
        state: IntegrationState,
        after: Option<IntegrationId>,
        limit: i64,
    ) -> Result<Vec<Integration>, Error> {
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        self.read(move |conn| {
            Ok(integration::table
                .filter(integration::state.eq(state).and(integration::id.gt(after)))
                .order(integration::id)
                .limit(limit)
                .select(Integration::as_select())
                .load(conn)?)
        })
        .await
    }

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
            .data_write(id, move |conn| data_set::purge(conn, id, limit))
            .await?
        {
            return Ok(false);
        }
        self.write(move |conn| Ok(diesel::delete(integration::table.find(id)).execute(conn)?))
            .await?;
        Ok(true)
    }
}

pub(super) fn get(conn: &mut Conn, id: IntegrationId) -> Result<Integration, Error> {
    integration::table
        .find(id)
        .select(Integration::as_select())
        .first(conn)
        .or_not_found("integration", id)
}

/// Locks an integration until the end of the transaction.
pub(super) fn lock(conn: &mut Conn, id: IntegrationId) -> Result<Integration, Error> {
    first_locked!(conn, integration::table.find(id).select(Integration::as_select()))
        .or_not_found("integration", id)
}

fn check_revision(row: &Integration, expected: Option<i64>) -> Result<(), Error> {
    match expected {
        Some(revision) if revision != row.revision => Err(Error::conflict(
            Conflict::Revision,
            format!(
                "integration \"{}\" was changed: it is at revision {}, not {revision}",
                row.id, row.revision
            ),
        )),
        _ => Ok(()),
    }
}

fn taken(error: diesel::result::Error, name: &str) -> Error {
    if is_unique_violation(&error, "integration_name") || is_unique_violation(&error, "integration.name_key")
    {
        name_taken(name)
    } else {
        error.into()
    }
}

fn name_taken(name: &str) -> Error {
    Error::conflict(
        Conflict::Name,
        format!("the group has an integration named \"{name}\" already"),
    )
}

/// Refuses one more draft where the group has as many as it may have. The group must be locked, where it counts.
fn check_drafts(conn: &mut Conn, group_id: &GroupId, most: i64) -> Result<(), Error> {
    let drafts: i64 = integration::table
        .filter(integration::group_id.eq(group_id))
        .filter(integration::state.eq(IntegrationState::Draft))
        .count()
        .get_result(conn)?;
    if drafts < most {
        return Ok(());
    }
    Err(Error::conflict(
        Conflict::DraftsFull,
        format!("group \"{group_id}\" has {drafts} drafts; {most} is the most"),
    ))
}

/// The owner configured something: the revision grows.
pub(super) fn touch(conn: &mut Conn, of: &Integration, now_us: Micros) -> Result<(), Error> {
    diesel::update(integration::table.find(of.id))
        .set((
            integration::revision.eq(of.revision + 1),
            integration::update_us.eq(now_us),
        ))
        .execute(conn)?;
    Ok(())
}

/// A draft as it begins.
fn draft(new: NewIntegration, data_database: String) -> Integration {
    Integration {
        id: IntegrationId::new(),
        group_id: new.group_id,
        connector: new.connector,
        name_key: name_key(&new.display_name),
        display_name: new.display_name,
        state: IntegrationState::Draft,
        state_reason: String::new(),
        state_message: String::new(),
        state_us: new.now_us,
        settings: new.settings,
        credential_id: None,
        generation: 1,
        revision: 1,
        create_us: new.now_us,
        create_by: new.create_by,
        update_us: new.now_us,
        activate_us: None,
        expire_us: Some(new.expire_us),
        company_records: None,
        last_success_us: None,
        data_database,
    }
}

fn create(conn: &mut Conn, new: NewIntegration, data_database: String) -> Result<Integration, Error> {
    // The group's lock holds until commit: of many at once none passes the limit.
    source::lock_group(conn, &new.group_id)?;
    check_drafts(conn, &new.group_id, new.most_drafts)?;
    let (label, connected) = (new.label.clone(), new.connected);
    let row = draft(new, data_database);
    diesel::insert_into(integration::table)
        .values(&row)
        .execute(conn)
        .map_err(|e| taken(e, &row.display_name))?;
    source::add(conn, &row.group_id, row.id, &row.display_name, row.create_us)?;
    if let Some(label) = label {
        source::set_label(conn, &row.group_id, row.id, &label)?;
    }
    if !connected {
        source::set_connected(conn, &row.group_id, row.id, false)?;
    }
    Ok(row)
}

fn edit(conn: &mut Conn, events: &mut NewEvents, update: IntegrationUpdate) -> Result<Integration, Error> {
    let mut row = lock(conn, update.id)?;
    check_revision(&row, update.revision)?;
    if row.state == IntegrationState::Deleting {
        return Err(Error::not_found("integration", row.id));
    }
    if let Some(name) = update.display_name {
        row.name_key = name_key(&name);
        row.display_name = name;
    }
    if let Some(label) = &update.label {
        source::set_label(conn, &row.group_id, row.id, label)?;
    }
    if let Some(connected) = update.connected {
        source::set_connected(conn, &row.group_id, row.id, connected)?;
    }
    if let Some(settings) = update.settings {
        row.settings = settings;
    }
    let mut fill = false;
    if let Some(fields) = update.fields {
        let replaced = field::replace(conn, row.id, fields)?;
        if replaced.changed {
            row.generation += 1;
            events.follow(Effect::Generation(row.id, row.generation));
        }
        fill = replaced.to_read;
    }
    if let Some(shares) = &update.shares {
        share::replace(conn, events, &row, shares, &update.by, update.now_us)?;
    }
    row.revision += 1;
    row.update_us = update.now_us;
    diesel::update(integration::table.find(row.id))
        .set((
            integration::display_name.eq(&row.display_name),
            integration::name_key.eq(&row.name_key),
            integration::settings.eq(&row.settings),
            integration::generation.eq(row.generation),
            integration::revision.eq(row.revision),
            integration::update_us.eq(row.update_us),
        ))
        .execute(conn)
        .map_err(|e| taken(e, &row.display_name))?;
    if fill && row.state == IntegrationState::Active && sync::unfinished(conn, row.id)?.is_none() {
        let new = NewSync {
            integration_id: row.id,
            trigger: SyncTrigger::Selection,
            create_by: update.by,
            due_us: update.now_us,
            confirms: None,
            now_us: update.now_us,
        };
        sync::insert(conn, &row, new)?;
    }
    Ok(row)
}

fn attach_credential(
    conn: &mut Conn,
    events: &mut NewEvents,
    attach: &AttachCredential,
) -> Result<Attached, Error> {
    let mut row = lock(conn, attach.id)?;
    if row.state == IntegrationState::Deleting {
        return Err(Error::not_found("integration", row.id));
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
        take(attach.credential_id).ok_or_else(|| Error::not_found("credential", attach.credential_id))?;
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
        events.follow(Effect::Generation(row.id, row.generation));
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
        Some(old) => credential::release(conn, old, &row.settings, attach.now_us)?.map(|g| g.id),
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
    row.revision += 1;
    row.update_us = activate.now_us;
    diesel::update(integration::table.find(row.id))
        .set((
            integration::state.eq(row.state),
            integration::state_us.eq(row.state_us),
            integration::activate_us.eq(row.activate_us),
            integration::expire_us.eq(row.expire_us),
            integration::company_records.eq(row.company_records),
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
        Some(credential) => credential::release(conn, credential, &row.settings, now_us)?.is_some(),
        None => false,
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
        IntegrationState::Deleting => return Err(Error::not_found("integration", id)),
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
    let told = event::audience(conn, id)?;
    let groups = share::end_all(conn, id)?;
    let released = match credential {
        Some(credential) => credential::release(conn, credential, &row.settings, now_us)?.is_some(),
        None => false,
    };
    for group in told {
        events.add(&group, EventKind::IntegrationDeleted, id, &id.name(), now_us);
    }
    Ok(Deleted {
        id,
        credential_id: row.credential_id,
        released,
        groups,
    })
}
