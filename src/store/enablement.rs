//! Which connectors a group may use.

use diesel::prelude::*;

use super::{
    Error, Noun, Store, Tx,
    conn::each,
    error::is_foreign_key_violation,
    schema::{connector_enablement, integration},
};
use crate::domain::{GroupId, IntegrationId, Micros};

/// Whether a group may use a connector. Without a row it may not.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = connector_enablement, treat_none_as_default_value = false)]
pub struct Enablement {
    /// The group.
    pub group_id: GroupId,
    /// The connector.
    pub connector: String,
    /// Whether it may.
    pub enabled: bool,
    /// When it was set.
    pub update_us: Micros,
    /// By whom.
    pub update_by: String,
}

impl Tx<'_> {
    /// Enables or disables a connector for a group. Disabling cancels the syncs of its integrations: once it returns, nothing
    /// of them is written any more.
    pub fn enablement_set(&mut self, row: &Enablement) -> Result<(), Error> {
        let (conn, events) = (&mut *self.conn, &mut self.events);
        if !row.enabled {
            let ids: Vec<IntegrationId> = integration::table
                .filter(integration::group_id.eq(&row.group_id))
                .filter(integration::connector.eq(&row.connector))
                .order(integration::id)
                .select(integration::id)
                .load(conn)?;
            // Under these locks no sync is queued meanwhile. A commit that is in progress ends first (`Effect::Stop`).
            for id in &ids {
                super::integration::lock(conn, *id)?;
            }
            for id in ids {
                super::sync::cancel_unfinished(conn, events, id, row.update_us)?;
            }
        }
        let done = each!(conn, c => diesel::insert_into(connector_enablement::table)
            .values(row)
            .on_conflict((connector_enablement::group_id, connector_enablement::connector))
            .do_update()
            .set((
                connector_enablement::enabled.eq(row.enabled),
                connector_enablement::update_us.eq(row.update_us),
                connector_enablement::update_by.eq(&row.update_by),
            ))
            .execute(c));
        match done {
            Err(e) if is_foreign_key_violation(&e) => Err(Error::not_found(Noun::Group, &row.group_id)),
            other => Ok(other.map(|_| ())?),
        }
    }
}

impl Store {
    /// The enablement, if it was ever set.
    pub async fn enablement_get(
        &self,
        group_id: &GroupId,
        connector: &str,
    ) -> Result<Option<Enablement>, Error> {
        let key = (group_id.clone(), connector.to_owned());
        self.read(move |conn| {
            Ok(connector_enablement::table
                .find(key)
                .select(Enablement::as_select())
                .first(conn)
                .optional()?)
        })
        .await
    }

    /// All enablements of a group, by connector.
    pub async fn enablement_list(&self, group_id: &GroupId) -> Result<Vec<Enablement>, Error> {
        let group_id = group_id.clone();
        self.read(move |conn| {
            Ok(connector_enablement::table
                .filter(connector_enablement::group_id.eq(group_id))
                .order(connector_enablement::connector)
                .select(Enablement::as_select())
                .load(conn)?)
        })
        .await
    }
}
