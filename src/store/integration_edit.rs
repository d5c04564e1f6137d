//! Drafts and edits of integrations.

use diesel::prelude::*;

use super::{
    Conflict, Error, Field, Integration, NewShare, NewSync, Noun, Tx,
    conn::Conn,
    effect::Effect,
    error::is_unique_violation,
    event::NewEvents,
    field,
    integration::{check_revision, lock},
    schema::integration,
    share, source, sync,
};
use crate::domain::{
    ApiBudget, GroupId, IntegrationId, IntegrationState, Micros, Schedule, SyncMode, SyncTrigger, name_key,
};

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
    /// When it syncs by itself, once it is saved.
    pub schedule: Schedule,
    /// How many calls it may make a day.
    pub budget: ApiBudget,
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
    /// When it syncs by itself. Another one than before counts from now.
    pub schedule: Option<Schedule>,
    /// How many calls it may make a day. A sync that waits for its budget is due at once.
    pub budget: Option<ApiBudget>,
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

impl Tx<'_> {
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
        format!("group \"{group_id}\" has {drafts} drafts; the maximum is {most}"),
    ))
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
        schedule: new.schedule,
        next_sync_us: None,
        budget_calls: new.budget.calls,
        budget_reserve: new.budget.reserve_percent,
        account_no: 0,
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
        return Err(Error::not_found(Noun::Integration, row.id));
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
    if let Some(schedule) = update.schedule.filter(|new| *new != row.schedule) {
        if row.state != IntegrationState::Draft {
            row.next_sync_us = schedule.first(row.id, update.now_us);
        }
        row.schedule = schedule;
    }
    if let Some(budget) = update.budget.filter(|new| *new != row.budget()) {
        row.budget_calls = budget.calls;
        row.budget_reserve = budget.reserve_percent;
        sync::hasten(conn, row.id, "API_BUDGET_USED", update.now_us)?;
    }
    let mut fill = false;
    if let Some(fields) = update.fields {
        let replaced = field::replace(conn, row.id, fields)?;
        if replaced.changed {
            row.generation += 1;
            if row.state != IntegrationState::Draft {
                events.follow(Effect::Generation(row.id, row.generation));
            }
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
            integration::schedule.eq(&row.schedule),
            integration::next_sync_us.eq(row.next_sync_us),
            integration::budget_calls.eq(row.budget_calls),
            integration::budget_reserve.eq(row.budget_reserve),
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
            mode: SyncMode::Auto,
            now_us: update.now_us,
        };
        sync::insert(conn, &row, new)?;
    }
    Ok(row)
}
