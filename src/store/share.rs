//! Shares: the access of other groups to active fields of an integration, and each group's own active and
//! passive fields.
//!
//! When two groups are disconnected, shares of saved integrations between them end. A draft keeps its shares,
//! which have no effect yet; saving it then fails with GROUPS_NOT_CONNECTED, so that its owner learns about
//! it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use diesel::prelude::*;

use super::{
    Conflict, Error, FieldRef, Integration, Noun, Store, Tx,
    conn::{Conn, first_locked},
    event::NewEvents,
    field, integration,
    schema::{activation, group_connection, groups, share, share_field, source as source_table},
    source::{self, Decisions},
};
use crate::domain::{EventKind, GroupId, IntegrationId, IntegrationState, Micros};

/// A share as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewShare {
    /// The receiver.
    pub group_id: GroupId,
    /// The fields; `None` for all that are active for the owner, later ones included.
    pub fields: Option<Vec<FieldRef>>,
}

/// A share as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Of which integration.
    pub integration_id: IntegrationId,
    /// The receiver.
    pub group_id: GroupId,
    /// The receiver's name.
    pub group_name: String,
    /// The listed fields; `None` for all that are active for the owner.
    pub fields: Option<Vec<FieldRef>>,
    /// Which fields the receiver gets now.
    pub shared: Vec<FieldRef>,
    /// Whether the receiver uses it; false while the integration is a draft.
    pub connected: bool,
    /// When it began.
    pub create_us: Micros,
    /// When it last changed.
    pub update_us: Micros,
}

#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = share, treat_none_as_default_value = false)]
struct Row {
    integration_id: IntegrationId,
    group_id: GroupId,
    all_active: bool,
    create_us: Micros,
    create_by: String,
    update_us: Micros,
}

impl Tx<'_> {
    /// Shares an integration, or changes what is shared. [`Conflict::NotConnected`] unless owner and receiver are
    /// connected with each other.
    pub fn share_set(
        &mut self,
        id: IntegrationId,
        new: &NewShare,
        by: &str,
        now_us: Micros,
    ) -> Result<(), Error> {
        let (conn, events) = (&mut *self.conn, &mut self.events);
        let of = alive(conn, id)?;
        lock_connected(conn, &of.group_id, [&new.group_id])?;
        put(conn, events, &of, new, by, now_us)?;
        integration::touch(conn, &of, now_us)
    }

    /// Ends a share; false if there was none.
    pub fn share_remove(
        &mut self,
        id: IntegrationId,
        group_id: &GroupId,
        now_us: Micros,
    ) -> Result<bool, Error> {
        let (conn, events) = (&mut *self.conn, &mut self.events);
        let of = alive(conn, id)?;
        if end(conn, events, id, group_id, now_us)? == 0 {
            return Ok(false);
        }
        integration::touch(conn, &of, now_us)?;
        Ok(true)
    }

    /// A group makes fields active and others passive, at once.
    pub fn field_activate(
        &mut self,
        id: IntegrationId,
        group_id: &GroupId,
        active: &[FieldRef],
        passive: &[FieldRef],
    ) -> Result<(), Error> {
        let conn = &mut *self.conn;
        alive(conn, id)?;
        // A share that has just ended leaves no decisions behind.
        let has: i64 = source_table::table
            .find((group_id, id))
            .count()
            .get_result(conn)?;
        if has == 0 {
            return Err(Error::not_found(Noun::Integration, id));
        }
        source::decide(conn, id, group_id, active, true)?;
        source::decide(conn, id, group_id, passive, false)
    }
}

impl Store {
    /// The shares of an integration, by the receiver's id.
    pub async fn share_list(&self, id: IntegrationId) -> Result<Vec<Share>, Error> {
        self.snapshot(move |conn| list(conn, id)).await
    }
}

fn alive(conn: &mut Conn, id: IntegrationId) -> Result<Integration, Error> {
    let of = integration::lock(conn, id)?;
    if of.state == IntegrationState::Deleting {
        return Err(Error::not_found(Noun::Integration, id));
    }
    Ok(of)
}

fn list(conn: &mut Conn, id: IntegrationId) -> Result<Vec<Share>, Error> {
    let of = integration::get(conn, id)?;
    let rows: Vec<(Row, String)> = share::table
        .inner_join(groups::table)
        .filter(share::integration_id.eq(id))
        .order(share::group_id)
        .select((Row::as_select(), groups::display_name))
        .load(conn)?;
    let mut listed: HashMap<String, Vec<FieldRef>> = HashMap::new();
    let fields: Vec<(GroupId, String, String)> = share_field::table
        .filter(share_field::integration_id.eq(id))
        .order((share_field::group_id, share_field::object, share_field::key))
        .select((share_field::group_id, share_field::object, share_field::key))
        .load(conn)?;
    for (group, object, key) in fields {
        listed
            .entry(group.as_str().to_owned())
            .or_default()
            .push(FieldRef { object, key });
    }
    let connected: HashMap<GroupId, bool> = source_table::table
        .filter(source_table::integration_id.eq(id))
        .select((source_table::group_id, source_table::connected))
        .load(conn)?
        .into_iter()
        .collect();
    let decided = Decisions::load(conn, &[id], std::iter::once(&of.group_id))?;
    let active: Vec<FieldRef> = field::list(conn, &[id])?
        .into_iter()
        .filter(|field| decided.active(id, &of.group_id, &field.object, &field.key, true))
        .map(|field| FieldRef {
            object: field.object,
            key: field.key,
        })
        .collect();
    Ok(rows
        .into_iter()
        .map(|(row, group_name)| {
            let fields = (!row.all_active).then(|| listed.remove(row.group_id.as_str()).unwrap_or_default());
            let shared = match &fields {
                None => active.clone(),
                Some(fields) => {
                    let fields: HashSet<&FieldRef> = fields.iter().collect();
                    active
                        .iter()
                        .filter(|field| fields.contains(field))
                        .cloned()
                        .collect()
                }
            };
            Share {
                integration_id: id,
                connected: connected.get(&row.group_id).copied().unwrap_or(false),
                group_name,
                fields,
                shared,
                create_us: row.create_us,
                update_us: row.update_us,
                group_id: row.group_id,
            }
        })
        .collect())
}

/// Refuses unless the owner is connected with each of these groups, and holds that until the end of the transaction: the
/// groups are locked, in order, then the connections. The integration is locked.
fn lock_connected<'a>(
    conn: &mut Conn,
    owner: &GroupId,
    receivers: impl IntoIterator<Item = &'a GroupId>,
) -> Result<(), Error> {
    let receivers: BTreeSet<&GroupId> = receivers.into_iter().collect();
    let apart = |receiver: &GroupId| {
        Error::conflict(
            Conflict::NotConnected,
            format!("{owner} and {receiver} are not connected with each other"),
        )
    };
    for receiver in &receivers {
        match source::lock_group(conn, receiver) {
            Err(error) if error.is_not_found() => return Err(apart(receiver)),
            other => other?,
        }
    }
    // The connections of one group, in the order of the others: that of their keys.
    for receiver in &receivers {
        let key = match owner < receiver {
            true => (owner, *receiver),
            false => (*receiver, owner),
        };
        let found: Option<Micros> = first_locked!(
            conn,
            group_connection::table
                .find(key)
                .select(group_connection::create_us)
        )
        .optional()?;
        found.ok_or_else(|| apart(receiver))?;
    }
    Ok(())
}

/// Adds or changes a share. The integration is locked, and [`lock_connected`] has locked the receiver.
fn put(
    conn: &mut Conn,
    events: &mut NewEvents,
    of: &Integration,
    new: &NewShare,
    by: &str,
    now_us: Micros,
) -> Result<(), Error> {
    let known: Option<Row> = share::table
        .find((of.id, &new.group_id))
        .select(Row::as_select())
        .first(conn)
        .optional()?;
    let again = known.is_some();
    match known {
        Some(_) => {
            diesel::update(share::table.find((of.id, &new.group_id)))
                .set((
                    share::all_active.eq(new.fields.is_none()),
                    share::update_us.eq(now_us),
                ))
                .execute(conn)?;
        }
        None => {
            let row = Row {
                integration_id: of.id,
                group_id: new.group_id.clone(),
                all_active: new.fields.is_none(),
                create_us: now_us,
                create_by: by.to_owned(),
                update_us: now_us,
            };
            diesel::insert_into(share::table).values(&row).execute(conn)?;
        }
    }
    let listed = share_field::table.filter(
        share_field::integration_id
            .eq(of.id)
            .and(share_field::group_id.eq(&new.group_id)),
    );
    diesel::delete(listed).execute(conn)?;
    let rows: Vec<_> = new
        .fields
        .iter()
        .flatten()
        .map(|field| {
            (
                share_field::integration_id.eq(of.id),
                share_field::group_id.eq(&new.group_id),
                share_field::object.eq(&field.object),
                share_field::key.eq(&field.key),
            )
        })
        .collect();
    match conn {
        Conn::Sqlite(c) => diesel::insert_into(share_field::table).values(&rows).execute(c)?,
        Conn::Postgres(c) => diesel::insert_into(share_field::table).values(&rows).execute(c)?,
    };
    if of.state == IntegrationState::Draft {
        return Ok(());
    }
    take_effect(conn, events, of, &new.group_id, again, now_us)
}

/// The receiver gets the source, connected, and an event; also if it had the source and now gets other fields of it.
fn take_effect(
    conn: &mut Conn,
    events: &mut NewEvents,
    of: &Integration,
    receiver: &GroupId,
    changed: bool,
    now_us: Micros,
) -> Result<(), Error> {
    if source::add(conn, receiver, of.id, &of.display_name, now_us)? || changed {
        let subject = name(of.id, receiver);
        events.add(receiver, EventKind::ShareReceived, of.id, &subject, now_us);
    }
    Ok(())
}

fn name(id: IntegrationId, receiver: &GroupId) -> String {
    format!("{}/shares/{receiver}", id.name())
}

/// Makes these the shares of an integration. It is locked.
pub(super) fn replace(
    conn: &mut Conn,
    events: &mut NewEvents,
    of: &Integration,
    shares: &[NewShare],
    by: &str,
    now_us: Micros,
) -> Result<(), Error> {
    let known: Vec<GroupId> = share::table
        .filter(share::integration_id.eq(of.id))
        .order(share::group_id)
        .select(share::group_id)
        .load(conn)?;
    lock_connected(conn, &of.group_id, shares.iter().map(|new| &new.group_id))?;
    let mut all: BTreeMap<GroupId, Option<&NewShare>> =
        known.into_iter().map(|group| (group, None)).collect();
    all.extend(shares.iter().map(|new| (new.group_id.clone(), Some(new))));
    for (group, new) in all {
        match new {
            Some(new) => put(conn, events, of, new, by, now_us)?,
            None => {
                end(conn, events, of.id, &group, now_us)?;
            }
        }
    }
    Ok(())
}

/// A draft was saved: its shares take effect. [`Conflict::NotConnected`] if a receiver is connected no more.
pub(super) fn activate(
    conn: &mut Conn,
    events: &mut NewEvents,
    of: &Integration,
    now_us: Micros,
) -> Result<(), Error> {
    let receivers: Vec<GroupId> = share::table
        .filter(share::integration_id.eq(of.id))
        .order(share::group_id)
        .select(share::group_id)
        .load(conn)?;
    lock_connected(conn, &of.group_id, &receivers)?;
    for receiver in receivers {
        take_effect(conn, events, of, &receiver, false, now_us)?;
    }
    Ok(())
}

/// Ends a share: its source and what the receiver decided go with it. How many ended: 0 or 1.
pub(super) fn end(
    conn: &mut Conn,
    events: &mut NewEvents,
    id: IntegrationId,
    receiver: &GroupId,
    now_us: Micros,
) -> Result<usize, Error> {
    let ended = diesel::delete(share::table.find((id, receiver))).execute(conn)?;
    if ended > 0 {
        let had = diesel::delete(source_table::table.find((receiver, id))).execute(conn)?;
        let decided = activation::table.filter(
            activation::integration_id
                .eq(id)
                .and(activation::group_id.eq(receiver)),
        );
        diesel::delete(decided).execute(conn)?;
        // A draft's share had no effect that could be lost.
        if had > 0 {
            events.add(receiver, EventKind::ShareLost, id, &name(id, receiver), now_us);
        }
    }
    Ok(ended)
}

/// The integration goes: every group loses it at once; how many did.
pub(super) fn end_all(conn: &mut Conn, id: IntegrationId) -> Result<usize, Error> {
    diesel::delete(share::table.filter(share::integration_id.eq(id))).execute(conn)?;
    diesel::delete(activation::table.filter(activation::integration_id.eq(id))).execute(conn)?;
    Ok(diesel::delete(source_table::table.filter(source_table::integration_id.eq(id))).execute(conn)?)
}

/// What two groups share with each other, in order.
pub(super) fn between(conn: &mut Conn, one: &GroupId, other: &GroupId) -> Result<Vec<IntegrationId>, Error> {
    use super::schema::integration as integration_table;
    let both = [one, other];
    Ok(share::table
        .inner_join(integration_table::table)
        .filter(share::group_id.eq_any(both))
        .filter(integration_table::group_id.eq_any(both))
        .order(share::integration_id)
        .select(share::integration_id)
        .load(conn)?)
}

/// Two groups part: what saved integrations of one share with the other ends; how many shares did. A draft keeps its
/// own, without effect, until it is saved, which says that they cannot be.
pub(super) fn part(
    conn: &mut Conn,
    events: &mut NewEvents,
    one: &GroupId,
    other: &GroupId,
    now_us: Micros,
) -> Result<usize, Error> {
    use super::schema::integration as integration_table;
    let mut ended = 0;
    for (owner, receiver) in [(other, one), (one, other)] {
        let ids: Vec<IntegrationId> = share::table
            .inner_join(integration_table::table)
            .filter(share::group_id.eq(receiver))
            .filter(integration_table::group_id.eq(owner))
            .filter(integration_table::state.ne(IntegrationState::Draft))
            .order(share::integration_id)
            .select(share::integration_id)
            .load(conn)?;
        for id in ids {
            ended += end(conn, events, id, receiver, now_us)?;
        }
    }
    Ok(ended)
}
