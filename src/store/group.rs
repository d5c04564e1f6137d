//! Groups and their connections with each other.

use diesel::prelude::*;

use super::{
    Conflict, Error, Store,
    conn::{Conn, each},
    error::{OrNotFound, is_foreign_key_violation},
    schema::{group_connection, groups, integration},
};
use crate::domain::{GroupId, Micros};

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = groups, treat_none_as_default_value = false)]
pub struct Group {
    /// Its id, given by the platform.
    pub id: GroupId,
    /// The name people see.
    pub display_name: String,
    /// When it was first told of.
    pub create_us: Micros,
    /// When it last changed.
    pub update_us: Micros,
}

impl Store {
    /// Adds a group, or renames it.
    pub async fn group_upsert(
        &self,
        id: &GroupId,
        display_name: &str,
        now_us: Micros,
    ) -> Result<Group, Error> {
        let row = Group {
            id: id.clone(),
            display_name: display_name.to_owned(),
            create_us: now_us,
            update_us: now_us,
        };
        self.write(move |conn| upsert(conn, &row)).await
    }

    /// One group.
    pub async fn group_get(&self, id: &GroupId) -> Result<Group, Error> {
        let id = id.clone();
        self.read(move |conn| {
            groups::table
                .find(&id)
                .select(Group::as_select())
                .first(conn)
                .or_not_found("group", &id)
        })
        .await
    }

    /// Those of the groups that exist, in no order.
    pub async fn group_get_many(&self, ids: Vec<GroupId>) -> Result<Vec<Group>, Error> {
        self.read(move |conn| {
            Ok(groups::table
                .filter(groups::id.eq_any(ids))
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
                .filter(groups::id.gt(after))
                .order(groups::id)
                .limit(limit)
                .select(Group::as_select())
                .load(conn)?)
        })
        .await
    }

    /// Removes a group that has no integrations left; [`Conflict::InUse`] otherwise.
    pub async fn group_delete(&self, id: &GroupId) -> Result<(), Error> {
        let id = id.clone();
        self.write(move |conn| {
            let used: i64 = integration::table
                .filter(integration::group_id.eq(&id))
                .count()
                .get_result(conn)?;
            if used > 0 {
                return Err(Error::conflict(
                    Conflict::InUse,
                    format!("group \"{id}\" still has {used} integrations, some perhaps being deleted"),
                ));
            }
            match diesel::delete(groups::table.find(&id)).execute(conn)? {
                0 => Err(Error::not_found("group", &id)),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Connects two groups with each other; true if they were not.
    pub async fn group_connect(&self, one: &GroupId, other: &GroupId, now_us: Micros) -> Result<bool, Error> {
        let (a, b) = ordered(one, other)?;
        self.write(move |conn| {
            let row = (
                group_connection::group_a.eq(&a),
                group_connection::group_b.eq(&b),
                group_connection::create_us.eq(now_us),
            );
            let added = each!(conn, c => diesel::insert_into(group_connection::table)
                .values(row)
                .on_conflict_do_nothing()
                .execute(c));
            match added {
                Err(e) if is_foreign_key_violation(&e) => {
                    Err(Error::not_found("group", format!("{a}\" or \"{b}")))
                }
                other => Ok(other? == 1),
            }
        })
        .await
    }

    /// Ends the connection of two groups; true if there was one.
    pub async fn group_disconnect(&self, one: &GroupId, other: &GroupId) -> Result<bool, Error> {
        let (a, b) = ordered(one, other)?;
        self.write(move |conn| Ok(diesel::delete(group_connection::table.find((a, b))).execute(conn)? == 1))
            .await
    }

    /// Whether two groups are connected with each other.
    pub async fn group_connected(&self, one: &GroupId, other: &GroupId) -> Result<bool, Error> {
        let (a, b) = ordered(one, other)?;
        self.read(move |conn| {
            let count: i64 = group_connection::table.find((a, b)).count().get_result(conn)?;
            Ok(count == 1)
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

fn upsert(conn: &mut Conn, row: &Group) -> Result<Group, Error> {
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
