//! Events of a group's integrations: appended in the transaction of the change, read in order, kept for some
//! days.
//!
//! The numbers of a group's events are given out under the lock of its head, which lasts until commit. So whoever has
//! seen number n has seen all before it, and a stream that goes on after n neither loses nor repeats anything.
//!
//! The numbers come from the head's row, not from a sequence or a UUIDv7: those are given out before commit,
//! so a reader could pass the number of a transaction that commits late. The heads of groups are independent,
//! because one order over all groups would need one lock for all writers. An event has names and reasons but
//! no texts: one row serves the owner and the receivers, and what each may see of the resource is decided
//! where the resource is read.

use std::collections::{BTreeMap, HashMap};

use diesel::{prelude::*, sql_types};

use super::{
    Error, Store,
    conn::{Conn, each, first_locked},
    effect::Effect,
    schema::{group_event, group_event_head, source},
};
use crate::domain::{EventKind, GroupId, IntegrationId, Micros};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, QueryableByName, Selectable, Insertable)]
#[diesel(table_name = group_event, treat_none_as_default_value = false)]
pub struct Event {
    /// The group that gets it.
    pub group_id: GroupId,
    /// Its place among the group's events: 1, 2, 3.
    pub event_no: i64,
    /// What.
    pub kind: EventKind,
    /// To which integration.
    pub integration_id: IntegrationId,
    /// The resource name of the sync, field, share or integration it is about.
    pub subject: String,
    /// Why, as a word; empty where nothing went wrong. Never a text: only the owner sees the CRM's message.
    pub reason: String,
    /// When.
    pub create_us: Micros,
}

/// How far a group's events go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventHead {
    /// The number of the last one; 0 before the first.
    pub last_no: i64,
    /// The number of the last one that is no longer kept.
    pub purged_no: i64,
}

impl Store {
    /// How far a group's events go.
    pub async fn event_head(&self, group: &GroupId) -> Result<EventHead, Error> {
        let group = group.clone();
        self.read(move |conn| {
            let found: Option<(i64, i64)> = group_event_head::table
                .find(&group)
                .select((group_event_head::last_no, group_event_head::purged_no))
                .first(conn)
                .optional()?;
            let (last_no, purged_no) = found.unwrap_or_default();
            Ok(EventHead { last_no, purged_no })
        })
        .await
    }

    /// The number of the last event of each of these groups that has any.
    pub async fn event_heads(&self, groups: Vec<GroupId>) -> Result<HashMap<GroupId, i64>, Error> {
        self.read(move |conn| {
            let rows: Vec<(GroupId, i64)> = group_event_head::table
                .filter(group_event_head::group_id.eq_any(groups))
                .select((group_event_head::group_id, group_event_head::last_no))
                .load(conn)?;
            Ok(rows.into_iter().collect())
        })
        .await
    }

    /// A group's events after this number, in order, at most `limit`.
    pub async fn event_list(&self, group: &GroupId, after: i64, limit: i64) -> Result<Vec<Event>, Error> {
        let group = group.clone();
        self.read(move |conn| {
            // Values and limit are hidden from the planner (`record::postgres::read`), which would else sort all that is
            // behind a page.
            Ok(diesel::sql_query(
                "SELECT * FROM group_event WHERE group_id = (SELECT $1) AND event_no > $2 ORDER BY event_no \
                 LIMIT (SELECT $3)",
            )
            .bind::<sql_types::Text, _>(group)
            .bind::<sql_types::BigInt, _>(after)
            .bind::<sql_types::BigInt, _>(limit)
            .load(conn)?)
        })
        .await
    }

    /// Forgets events from before this time, the oldest first, at most `limit`; returns how many. The heads remember how
    /// far that went, so that a stream which missed some learns of it.
    pub async fn event_purge(&self, before_us: Micros, limit: i64) -> Result<usize, Error> {
        self.write(move |conn| {
            let mut old: Vec<(GroupId, i64)> = group_event::table
                .filter(group_event::create_us.lt(before_us))
                .order((
                    group_event::create_us,
                    group_event::group_id,
                    group_event::event_no,
                ))
                .limit(limit)
                .select((group_event::group_id, group_event::event_no))
                .load(conn)?;
            // Groups in one order, so that two replicas that purge do not wait for each other in a ring.
            old.sort_unstable();
            let mut gone = 0;
            for of in old.chunk_by(|(one, _), (other, _)| one == other) {
                let Some((group, last)) = of.last() else { continue };
                diesel::update(
                    group_event_head::table
                        .find(group)
                        .filter(group_event_head::purged_no.lt(last)),
                )
                .set(group_event_head::purged_no.eq(last))
                .execute(conn)?;
                // Whatever is numbered before goes with it: a clock that went back leaves no hole.
                let before = group_event::group_id
                    .eq(group)
                    .and(group_event::event_no.le(last));
                gone += diesel::delete(group_event::table.filter(before)).execute(conn)?;
            }
            Ok(gone)
        })
        .await
    }
}

/// What follows from a transaction: events, which [`Store::transaction`] appends after all other writes, and effects on data
/// sets, which come after the commit.
///
/// The heads of groups come last in the order of locks (see the module `store`), and in the order of the groups' ids. So
/// nothing but [`append`](Self::append) writes events, and it does so for all groups at once.
#[derive(Debug, Default)]
pub(super) struct NewEvents {
    /// In the order in which they happened; not numbered yet.
    rows: Vec<Event>,
    /// A group that is being deleted: it gets no events, and its stored events are deleted.
    deleted: Option<GroupId>,
    effects: Vec<Effect>,
}

impl NewEvents {
    /// Adds an event about an integration for a group, without a reason.
    pub(super) fn add(
        &mut self,
        group: &GroupId,
        kind: EventKind,
        integration: IntegrationId,
        subject: &str,
        now_us: Micros,
    ) {
        self.add_because(group, kind, integration, subject, "", now_us);
    }

    /// [`add`](Self::add) with the reason, as a word.
    pub(super) fn add_because(
        &mut self,
        group: &GroupId,
        kind: EventKind,
        integration: IntegrationId,
        subject: &str,
        reason: &str,
        now_us: Micros,
    ) {
        self.rows.push(Event {
            group_id: group.clone(),
            event_no: 0,
            kind,
            integration_id: integration,
            subject: subject.to_owned(),
            reason: reason.to_owned(),
            create_us: now_us,
        });
    }

    /// Adds an event for each group that owns or receives the integration now.
    pub(super) fn tell(
        &mut self,
        conn: &mut Conn,
        kind: EventKind,
        integration: IntegrationId,
        subject: &str,
        reason: &str,
        now_us: Micros,
    ) -> Result<(), Error> {
        for group in audience(conn, integration)? {
            self.add_because(&group, kind, integration, subject, reason, now_us);
        }
        Ok(())
    }

    /// Something follows in a data set.
    pub(super) fn follow(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// The group is being deleted.
    pub(super) fn delete_group(&mut self, group: &GroupId) {
        self.deleted = Some(group.clone());
    }

    /// Writes the events and gives back the effects. The heads stay locked until commit.
    pub(super) fn append(self, conn: &mut Conn) -> Result<Vec<Effect>, Error> {
        let mut groups: BTreeMap<GroupId, Vec<Event>> = BTreeMap::new();
        for row in self.rows {
            groups.entry(row.group_id.clone()).or_default().push(row);
        }
        groups.extend(self.deleted.iter().map(|group| (group.clone(), Vec::new())));
        for (group, rows) in groups {
            match self.deleted.as_ref() == Some(&group) {
                true => clear(conn, &group)?,
                false => append_to(conn, &group, rows)?,
            }
        }
        Ok(self.effects)
    }
}

/// Gives events the next numbers of their group.
fn append_to(conn: &mut Conn, group: &GroupId, mut rows: Vec<Event>) -> Result<(), Error> {
    /// Rows of one statement: each binds seven values.
    const ROWS: usize = 1_000;
    let count = rows.len() as i64;
    let first = (
        group_event_head::group_id.eq(group),
        group_event_head::last_no.eq(count),
        group_event_head::purged_no.eq(0),
    );
    let last_no: i64 = each!(conn, c => diesel::insert_into(group_event_head::table)
        .values(first)
        .on_conflict(group_event_head::group_id)
        .do_update()
        .set(group_event_head::last_no.eq(group_event_head::last_no + count))
        .returning(group_event_head::last_no)
        .get_result(c))?;
    for (row, event_no) in rows.iter_mut().zip(last_no - count + 1..) {
        row.event_no = event_no;
    }
    for some in rows.chunks(ROWS) {
        each!(conn, c => diesel::insert_into(group_event::table).values(some).execute(c))?;
    }
    Ok(())
}

/// Removes all events of a group that is being deleted. Its head stays: numbers are not given out twice.
fn clear(conn: &mut Conn, group: &GroupId) -> Result<(), Error> {
    let head: Result<i64, _> = first_locked!(
        conn,
        group_event_head::table
            .find(group)
            .select(group_event_head::last_no)
    );
    head.optional()?;
    diesel::delete(group_event::table.filter(group_event::group_id.eq(group))).execute(conn)?;
    Ok(())
}

/// The groups that get events about an integration as a whole, ordered by id: its owner and its receivers.
pub(super) fn audience(conn: &mut Conn, id: IntegrationId) -> Result<Vec<GroupId>, Error> {
    Ok(source::table
        .filter(source::integration_id.eq(id))
        .order(source::group_id)
        .select(source::group_id)
        .load(conn)?)
}
