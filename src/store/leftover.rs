//! What a deleted group leaves behind: audit entries, events, request ids, logins, turns of syncs.

use diesel::prelude::*;

use super::{
    Error,
    conn::Conn,
    schema::{audit_entry, authorization, group_event, request, sync_turn},
};
use crate::domain::{AuditId, GroupId};

/// Rows that a deleted group left behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rest {
    pub(super) audit_entries: usize,
    pub(super) events: usize,
    pub(super) requests: usize,
}

impl Rest {
    /// Whether nothing was left.
    pub(super) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// Removes some of what a group leaves behind when it is deleted: at most `limit` rows of each table.
pub(super) fn rest(conn: &mut Conn, id: &GroupId, limit: i64) -> Result<Rest, Error> {
    let entries: Vec<AuditId> = audit_entry::table
        .filter(audit_entry::group_id.eq(id.as_str()))
        .limit(limit)
        .select(audit_entry::id)
        .load(conn)?;
    let audit_entries =
        diesel::delete(audit_entry::table.filter(audit_entry::id.eq_any(entries))).execute(conn)?;
    let numbers: Vec<i64> = group_event::table
        .filter(group_event::group_id.eq(id))
        .order(group_event::event_no)
        .limit(limit)
        .select(group_event::event_no)
        .load(conn)?;
    let events = match numbers.last() {
        Some(last) => diesel::delete(
            group_event::table.filter(group_event::group_id.eq(id).and(group_event::event_no.le(last))),
        )
        .execute(conn)?,
        None => 0,
    };
    let used: Vec<(String, String)> = request::table
        .filter(request::group_id.eq(id))
        .limit(limit)
        .select((request::method, request::request_id))
        .load(conn)?;
    let mut requests = 0;
    for (method, request_id) in used {
        requests += diesel::delete(request::table.find((id, method, request_id))).execute(conn)?;
    }
    diesel::delete(authorization::table.filter(authorization::group_id.eq(id))).execute(conn)?;
    diesel::delete(sync_turn::table.filter(sync_turn::group_id.eq(id.as_str()))).execute(conn)?;
    Ok(Rest {
        audit_entries,
        events,
        requests,
    })
}
