//! Asks syncs to stop.

use diesel::prelude::*;

use super::row::{get, name, unfinished};
use crate::domain::{EventKind, IntegrationId, Micros, SyncId, SyncState};
use crate::store::{Error, conn::Conn, effect::Effect, event::NewEvents, schema::sync};

/// Asks the unfinished sync of an integration to stop.
pub(in crate::store) fn cancel_unfinished(
    conn: &mut Conn,
    events: &mut NewEvents,
    integration_id: IntegrationId,
    now_us: Micros,
) -> Result<(), Error> {
    match unfinished(conn, integration_id)? {
        Some(row) => cancel(conn, events, row.id, now_us),
        None => Ok(()),
    }
}

pub(super) fn cancel(
    conn: &mut Conn,
    events: &mut NewEvents,
    id: SyncId,
    now_us: Micros,
) -> Result<(), Error> {
    let row = get(conn, id)?;
    if !row.state.is_final() {
        // Nothing that its worker still sends is stored.
        events.follow(Effect::Stop(row.integration_id, row.fence));
    }
    // No worker has it, or its lease has expired.
    let left_behind = sync::state.eq(SyncState::Running).and(sync::due_us.le(now_us));
    let idle = sync::table.find(id).filter(
        sync::state
            .eq_any([SyncState::Queued, SyncState::Waiting])
            .or(left_behind),
    );
    let ended = diesel::update(idle)
        .set((
            sync::state.eq(SyncState::Cancelled),
            sync::cancel_requested.eq(true),
            sync::end_us.eq(now_us),
            sync::update_us.eq(now_us),
        ))
        .execute(conn)?;
    if ended == 0 {
        let running = sync::table.find(id).filter(sync::state.eq(SyncState::Running));
        diesel::update(running)
            .set(sync::cancel_requested.eq(true))
            .execute(conn)?;
    } else {
        let row = get(conn, id)?;
        events.tell(
            conn,
            EventKind::SyncCancelled,
            row.integration_id,
            &name(&row),
            "",
            now_us,
        )?;
    }
    Ok(())
}
