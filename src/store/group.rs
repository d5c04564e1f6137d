//! Groups and their connections with each other.

use std::collections::BTreeSet;

use diesel::prelude::*;

use super::{
    Conflict, Error, Noun, Store, Tx,
    conn::{Conn, each},
    credential,
    error::OrNotFound,
    event::NewEvents,
    integration, integration_lifecycle, leftover,
    schema::{
        activation, connector_enablement, group_connection, groups, integration as integration_table, share,
        tracked_company,
    },
    share as shares, source,
};
use crate::domain::{CredentialId, GroupId, IntegrationId, IntegrationState, Micros};

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = groups, treat_none_as_default_value = false)]
pub struct Group {
    /// Its id, given by the platform.
    pub id: GroupId,
    /// The name people see.
    pub display_name: String,
    /// When the platform first named it.
    pub create_us: Micros,
    /// When it last changed.
    pub update_us: Micros,
}

/// What went with a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeletedGroup {
    /// Its integrations, drafts included.
    pub integrations: usize,
    /// The shares it received.
    pub shares: usize,
}

impl Tx<'_> {
    /// Adds a group, or renames it.
    pub fn group_upsert(&mut self, id: &GroupId, display_name: &str, now_us: Micros) -> Result<Group, Error> {
        let row = Group {
            id: id.clone(),
            display_name: display_name.to_owned(),
            create_us: now_us,
            update_us: now_us,
        };
        upsert(self.conn, &row)
    }

    /// Deletes a group with all that is its own, for everyone at once. `None`, and nothing is written, if rows were added to
    /// it before it was locked: for [`transaction_anew`](Store::transaction_anew). Its row and its log of changes go later, by
    /// [`group_purge`](Store::group_purge).
    pub fn group_delete(&mut self, id: &GroupId, now_us: Micros) -> Result<Option<DeletedGroup>, Error> {
        delete(self.conn, &mut self.events, id, now_us)
    }

    /// Connects two groups with each other; true if they were not.
    pub fn group_connect(&mut self, one: &GroupId, other: &GroupId, now_us: Micros) -> Result<bool, Error> {
        let (a, b) = ordered(one, other)?;
        let conn = &mut *self.conn;
        source::lock_group(conn, &a)?;
        source::lock_group(conn, &b)?;
        let row = (
            group_connection::group_a.eq(&a),
            group_connection::group_b.eq(&b),
            group_connection::create_us.eq(now_us),
        );
        Ok(each!(conn, c => diesel::insert_into(group_connection::table)
            .values(row)
            .on_conflict_do_nothing()
            .execute(c))?
            == 1)
    }

    /// Ends the connection of two groups, and with it the shares between them; how many shares that were.
    pub fn group_disconnect(
        &mut self,
        one: &GroupId,
        other: &GroupId,
        now_us: Micros,
    ) -> Result<usize, Error> {
        let (a, b) = ordered(one, other)?;
        let (conn, events) = (&mut *self.conn, &mut self.events);
        for id in shares::between(conn, &a, &b)? {
            match integration::lock(conn, id) {
                Err(error) if error.is_not_found() => {}
                locked => drop(locked?),
            }
        }
        // Shares that were made before this was locked end too. Whoever makes one from here on waits for the connection,
        // before it locks anything of a share.
        diesel::delete(group_connection::table.find((&a, &b))).execute(conn)?;
        shares::part(conn, events, &a, &b, now_us)
    }
}

impl Store {
    /// One group.
    pub async fn group_get(&self, id: &GroupId) -> Result<Group, Error> {
        let id = id.clone();
        self.read(move |conn| {
            groups::table
                .find(&id)
                .filter(groups::delete_us.is_null())
                .select(Group::as_select())
                .first(conn)
                .or_not_found(Noun::Group, &id)
        })
        .await
    }

    /// Those of the groups that exist, in no order.
    pub async fn group_get_many(&self, ids: Vec<GroupId>) -> Result<Vec<Group>, Error> {
        self.read(move |conn| {
            Ok(groups::table
                .filter(groups::id.eq_any(ids).and(groups::delete_us.is_null()))
                .select(Group::as_select())
                .load(conn)?)
        })
        .await
    }

    /// Groups by id, after this one.
    pub async fn group_list(&self, after: Option<&GroupId>, limit: i64) -> Result<Vec<Group>, Error> {
        let after = after.map(|id| id.as_str().to_owned()).unwrap_or_default();
        self.read(move |conn| {
            Ok(groups::table
                .filter(groups::id.gt(after).and(groups::delete_us.is_null()))
                .order(groups::id)
                .limit(limit)
                .select(Group::as_select())
                .load(conn)?)
        })
        .await
    }

    /// Removes what is left of groups that were deleted before this time and whose integrations are gone: their log of
    /// changes, then their own row; returns how many groups went. Some rows at a time: call it again.
    pub async fn group_purge(&self, before_us: Micros) -> Result<usize, Error> {
        /// Rows of one call, of each table.
        const ROWS: i64 = 500;
        self.write(move |conn| {
            let owners = integration_table::table
                .select(integration_table::group_id)
                .distinct();
            let left: Vec<GroupId> = groups::table
                .filter(groups::delete_us.lt(before_us))
                .filter(groups::id.ne_all(owners))
                .order(groups::id)
                .limit(20)
                .select(groups::id)
                .load(conn)?;
            let mut gone = 0;
            for id in left {
                if leftover::rest(conn, &id, ROWS)?.is_empty() && remove(conn, &id)? {
                    gone += 1;
                }
            }
            Ok(gone)
        })
        .await
    }

    /// The groups a group is connected with, by id.
    pub async fn group_connections(&self, id: &GroupId) -> Result<Vec<Group>, Error> {
        let id = id.clone();
        self.snapshot(move |conn| {
            let mut found: Vec<Group> = groups::table
                .inner_join(group_connection::table.on(group_connection::group_b.eq(groups::id)))
                .filter(group_connection::group_a.eq(&id))
                .select(Group::as_select())
                .load(conn)?;
            found.extend(
                groups::table
                    .inner_join(group_connection::table.on(group_connection::group_a.eq(groups::id)))
                    .filter(group_connection::group_b.eq(&id))
                    .select(Group::as_select())
                    .load::<Group>(conn)?,
            );
            found.sort_by(|a, b| a.id.cmp(&b.id));
            Ok(found)
        })
        .await
    }
}

fn ordered(one: &GroupId, other: &GroupId) -> Result<(GroupId, GroupId), Error> {
    match one.cmp(other) {
        std::cmp::Ordering::Less => Ok((one.clone(), other.clone())),
        std::cmp::Ordering::Greater => Ok((other.clone(), one.clone())),
        std::cmp::Ordering::Equal => Err(Error::conflict(
            Conflict::State,
            format!("group \"{one}\" cannot be connected with itself"),
        )),
    }
}

fn delete(
    conn: &mut Conn,
    events: &mut NewEvents,
    id: &GroupId,
    now_us: Micros,
) -> Result<Option<DeletedGroup>, Error> {
    let received = |conn: &mut Conn| -> Result<Vec<IntegrationId>, Error> {
        Ok(share::table
            .filter(share::group_id.eq(id))
            .order(share::integration_id)
            .select(share::integration_id)
            .load(conn)?)
    };
    let owned = |conn: &mut Conn| -> Result<Vec<IntegrationId>, Error> {
        Ok(integration_table::table
            .filter(integration_table::group_id.eq(id))
            .filter(integration_table::state.ne(IntegrationState::Deleting))
            .order(integration_table::id)
            .select(integration_table::id)
            .load(conn)?)
    };
    let ids = owned(conn)?;
    let mut all: BTreeSet<IntegrationId> = ids.iter().copied().collect();
    all.extend(received(conn)?);
    let mut credentials: BTreeSet<CredentialId> = BTreeSet::new();
    for one in &all {
        match integration::lock(conn, *one) {
            Ok(of) if of.group_id == *id => credentials.extend(of.credential_id),
            Ok(_) => {}
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    credential::lock_all(conn, &credentials)?;
    source::lock_group(conn, id)?;
    // With the group's lock nothing begins in it or is shared with it any more. What did before is not locked.
    let received = received(conn)?;
    if owned(conn)? != ids || received.iter().any(|one| !all.contains(one)) {
        return Ok(None);
    }
    for one in &ids {
        integration_lifecycle::delete(conn, events, *one, None, now_us)?;
    }
    for one in &received {
        shares::end(conn, events, *one, id, now_us)?;
    }
    let connected = group_connection::group_a
        .eq(id)
        .or(group_connection::group_b.eq(id));
    diesel::delete(group_connection::table.filter(connected)).execute(conn)?;
    diesel::delete(tracked_company::table.filter(tracked_company::group_id.eq(id))).execute(conn)?;
    diesel::delete(connector_enablement::table.filter(connector_enablement::group_id.eq(id)))
        .execute(conn)?;
    diesel::delete(activation::table.filter(activation::group_id.eq(id))).execute(conn)?;
    events.delete_group(id);
    diesel::update(groups::table.find(id))
        .set((groups::delete_us.eq(now_us), groups::update_us.eq(now_us)))
        .execute(conn)?;
    Ok(Some(DeletedGroup {
        integrations: ids.len(),
        shares: received.len(),
    }))
}

/// Removes the row of a deleted group, and with it the numbers of its events; false if there is none, or if it lives.
pub(super) fn remove(conn: &mut Conn, id: &GroupId) -> Result<bool, Error> {
    let gone = groups::table.find(id).filter(groups::delete_us.is_not_null());
    Ok(diesel::delete(gone).execute(conn)? > 0)
}

fn upsert(conn: &mut Conn, row: &Group) -> Result<Group, Error> {
    // One that was deleted begins anew: nothing of what it had is left.
    let gone = groups::table
        .find(&row.id)
        .filter(groups::delete_us.is_not_null());
    diesel::update(gone)
        .set((
            groups::delete_us.eq(None::<Micros>),
            groups::create_us.eq(row.create_us),
        ))
        .execute(conn)?;
    each!(conn, c => diesel::insert_into(groups::table)
        .values(row)
        .on_conflict(groups::id)
        .do_update()
        .set((groups::display_name.eq(&row.display_name), groups::update_us.eq(row.update_us)))
        .execute(c))?;
    Ok(groups::table
        .find(&row.id)
        .select(Group::as_select())
        .first(conn)?)
}
