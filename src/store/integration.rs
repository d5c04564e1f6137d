//! The rows of integrations, and their locks. Drafts and edits are in `integration_edit`, saving and deletion in
//! `integration_lifecycle`.

use diesel::prelude::*;

use super::{
    Conflict, Error, Noun, Store, Tx,
    conn::{Conn, first_locked},
    error::OrNotFound,
    schema::integration,
};
use crate::domain::{ApiBudget, CredentialId, GroupId, IntegrationId, IntegrationState, Micros, Schedule};

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
    /// When it syncs by itself.
    pub schedule: Schedule,
    /// The time of its next sync by the schedule; `None` for drafts and without one. Times before now are due as soon as the
    /// integration may sync.
    pub next_sync_us: Option<Micros>,
    /// Calls that it may make a day; `None` for a part of the organization's limit.
    pub budget_calls: Option<i64>,
    /// The percentage of them that only live reads may use; `None` for the operator's setting.
    pub budget_reserve: Option<i64>,
    /// How often it was logged in as another account than before.
    pub account_no: i64,
}

impl Integration {
    /// How many calls it may make a day.
    #[must_use]
    pub fn budget(&self) -> ApiBudget {
        ApiBudget {
            calls: self.budget_calls,
            reserve_percent: self.budget_reserve,
        }
    }
}

impl Tx<'_> {
    /// An integration, locked until the end of the transaction.
    pub fn integration_lock(&mut self, id: IntegrationId) -> Result<Integration, Error> {
        lock(self.conn, id)
    }
}

impl Store {
    /// One integration, in any state.
    pub async fn integration_get(&self, id: IntegrationId) -> Result<Integration, Error> {
        self.read(move |conn| get(conn, id)).await
    }

    /// The saved integrations with the number of their last change each: what followers of the feed look at; with them the
    /// platform's companies, if there are any. `None` while the
    /// database with the records of an integration does not answer.
    pub async fn integration_heads(&self) -> Result<Vec<(IntegrationId, Option<i64>)>, Error> {
        let saved: Vec<(IntegrationId, String)> = self
            .read(move |conn| {
                Ok(integration::table
                    .filter(integration::state.ne_all([IntegrationState::Draft, IntegrationState::Deleting]))
                    .select((integration::id, integration::data_database))
                    .load(conn)?)
            })
            .await?;
        let databases = self.data_heads().await;
        let head = |(id, database): (IntegrationId, String)| {
            let heads = databases.get(&database);
            (id, heads.map(|heads| heads.get(&id).copied().unwrap_or(0)))
        };
        let mut heads: Vec<_> = saved.into_iter().map(head).collect();
        match self.platform_head().await? {
            0 => {}
            head => heads.push((IntegrationId::platform(), Some(head))),
        }
        Ok(heads)
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
}

pub(super) fn get(conn: &mut Conn, id: IntegrationId) -> Result<Integration, Error> {
    integration::table
        .find(id)
        .select(Integration::as_select())
        .first(conn)
        .or_not_found(Noun::Integration, id)
}

/// Locks an integration until the end of the transaction.
pub(super) fn lock(conn: &mut Conn, id: IntegrationId) -> Result<Integration, Error> {
    first_locked!(conn, integration::table.find(id).select(Integration::as_select()))
        .or_not_found(Noun::Integration, id)
}

pub(super) fn check_revision(row: &Integration, expected: Option<i64>) -> Result<(), Error> {
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
