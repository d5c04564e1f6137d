//! Takes the next sync from the queue ([`turn`] says which), and keeps its lease.
//!
//! Of each organization of a CRM few syncs run at a time. A place is a RUNNING sync whose lease is valid, so a worker that was killed
//! gives it back when its lease ends. Places are given under the lock of the organization's row: to a sync that is taken, and to one
//! whose lease has expired and whose worker extends it after all.

use diesel::{prelude::*, sql_types};

use super::{
    cancel::cancel,
    row::{Sync, get, held, lost},
    turn::{self, Due, Number, Worker},
};
use crate::domain::{Micros, SyncId, SyncState};
use crate::store::{
    Error, Lost, Store,
    conn::Conn,
    event::NewEvents,
    organization::{self, Admission, Caller, OrganizationKey},
    schema::{sync, sync_object},
};

/// The reason of a sync that a worker handed on because its process stops.
const HANDED_ON: &str = "SHUTTING_DOWN";
/// The reasons of syncs that wait for a limit of the CRM or of the integration. That is no failed attempt, however often.
const LIMITS: [&str; 3] = ["CRM_ALLOWANCE_EXHAUSTED", "CRM_RATE_LIMITED", "API_BUDGET_USED"];

/// The result of looking for a sync.
#[derive(Debug)]
pub(super) enum Next {
    /// It was leased.
    Leased(Box<Sync>),
    /// One was found that could not be leased and is not due any more.
    Again,
    /// There is none.
    None,
}

/// The syncs of an organization that hold a place. The parameters are the organization, the time, and a sync that does not count.
const PLACES: &str = "SELECT count(*) AS value FROM sync r WHERE r.state = 'RUNNING' \
    AND r.organization = (SELECT $1) AND r.due_us > (SELECT $2) AND r.id <> (SELECT $3)";

impl Store {
    /// Looks once for a sync that can run.
    pub(super) async fn lease_once(
        &self,
        worker: Worker,
        now_us: Micros,
        until_us: Micros,
    ) -> Result<Next, Error> {
        self.write_with_events(move |conn, events| next(conn, events, &worker, now_us, until_us))
            .await
    }
}

fn next(
    conn: &mut Conn,
    events: &mut NewEvents,
    worker: &Worker,
    now_us: Micros,
    until_us: Micros,
) -> Result<Next, Error> {
    if let Some(id) = left_behind(conn, now_us)? {
        // Its worker ended before it noticed the request.
        cancel(conn, events, id, now_us)?;
        return Ok(Next::Again);
    }
    if !turn::is_any_due(conn, worker, now_us)? {
        return Ok(Next::None);
    }
    let last = turn::lock_turns(conn)?;
    for due in turn::choices(conn, worker, now_us)? {
        let Some(row) = turn::lock(conn, due.id, now_us)? else {
            continue;
        };
        return take(conn, row, &due, (worker, last), (now_us, until_us));
    }
    Ok(Next::None)
}

/// A sync that was asked to stop and that no worker has.
fn left_behind(conn: &mut Conn, now_us: Micros) -> Result<Option<SyncId>, Error> {
    // As in the partial index `sync_due`.
    let unfinished = diesel::dsl::sql::<sql_types::Bool>("sync.state IN ('QUEUED', 'RUNNING', 'WAITING')");
    Ok(sync::table
        .filter(
            sync::due_us
                .le(now_us)
                .and(sync::cancel_requested)
                .and(unfinished),
        )
        .select(sync::id)
        .first(conn)
        .optional()?)
}

/// Leases a sync whose row is locked, or makes it wait if the CRM of its organization may not be called.
fn take(
    conn: &mut Conn,
    row: Sync,
    due: &Due,
    (worker, last): (&Worker, i64),
    (now_us, until_us): (Micros, Micros),
) -> Result<Next, Error> {
    let key = due.organization();
    let of = organization::lock(conn, &key)?;
    if places(conn, &key, row.id, now_us)? >= worker.per_organization {
        // A lease that had expired was extended meanwhile. The transaction ends here: it must not wait for another row
        // with this one locked.
        return Ok(Next::Again);
    }
    let caller = Caller::Sync(row.id, row.fence + 1);
    let (until, reason, message) = match organization::admit(conn, &of, &worker.breaker, now_us, &caller)? {
        Admission::Open | Admission::Probe => {
            turn::start(conn, last, &due.group_id, &key)?;
            let sync = lease(conn, row, due.generation, (key, worker), (now_us, until_us))?;
            return Ok(Next::Leased(Box::new(sync)));
        }
        Admission::Closed(until) => {
            let text = format!("the CRM failed {} calls in a row", of.failures);
            (until, "CRM_UNAVAILABLE", text)
        }
        Admission::Refused(until) => {
            let text = "the CRM refuses calls because the organization's allowance is used up".to_owned();
            (until, "CRM_ALLOWANCE_EXHAUSTED", text)
        }
    };
    turn::put_off(conn, &key, worker, now_us, (until, reason, &message))?;
    Ok(Next::Again)
}

fn places(conn: &mut Conn, of: &OrganizationKey, but: SyncId, now_us: Micros) -> Result<i64, Error> {
    let number: Number = diesel::sql_query(PLACES)
        .bind::<sql_types::Text, _>(of.to_string())
        .bind::<sql_types::BigInt, _>(now_us)
        .bind::<sql_types::Text, _>(but)
        .get_result(conn)?;
    Ok(number.value)
}

fn lease(
    conn: &mut Conn,
    mut row: Sync,
    generation: i64,
    (key, worker): (OrganizationKey, &Worker),
    (now_us, until_us): (Micros, Micros),
) -> Result<Sync, Error> {
    if row.generation != generation {
        diesel::delete(sync_object::table.filter(sync_object::sync_id.eq(row.id))).execute(conn)?;
        row.generation = generation;
        row.start_us = Some(now_us);
        row.checkpoint = None;
        row.checkpoint_seq = 0;
        row.attempt = 0;
        row.tries = 0;
        row.mode = row.asked;
        row.busy_us = 0;
        row.missing = "[]".to_owned();
        // The confirmation was for another selection or account.
        row.confirm_us = None;
    }
    row.update_us = now_us;
    let is_waiting = row.state == SyncState::Waiting;
    // A worker that had to stop returned it: not a failed attempt.
    let handed_on = is_waiting && row.error_reason == HANDED_ON;
    let waited = is_waiting && LIMITS.contains(&row.error_reason.as_str());
    row.state = SyncState::Running;
    row.start_us = row.start_us.or(Some(now_us));
    row.due_us = until_us;
    row.lease_owner = Some(worker.owner.clone());
    row.fence += 1;
    row.attempt += i64::from(!handed_on || row.attempt == 0);
    row.tries += i64::from(!(handed_on || waited) || row.tries == 0);
    row.organization = key.to_string();
    diesel::update(sync::table.find(row.id))
        .set((
            sync::generation.eq(row.generation),
            sync::checkpoint.eq(&row.checkpoint),
            sync::checkpoint_seq.eq(row.checkpoint_seq),
            sync::state.eq(row.state),
            sync::start_us.eq(row.start_us),
            sync::due_us.eq(row.due_us),
            sync::lease_owner.eq(&row.lease_owner),
            sync::fence.eq(row.fence),
            sync::attempt.eq(row.attempt),
            sync::tries.eq(row.tries),
            sync::missing.eq(&row.missing),
            sync::confirm_us.eq(row.confirm_us),
            sync::mode.eq(row.mode),
            sync::busy_us.eq(row.busy_us),
            sync::update_us.eq(row.update_us),
            sync::organization.eq(&row.organization),
        ))
        .execute(conn)?;
    Ok(row)
}

/// Extends the lease of a worker. One that has expired may have lost its place: then it is extended only if there is another one.
pub(super) fn extend(
    conn: &mut Conn,
    (id, fence): (SyncId, i64),
    per_organization: i64,
    (now_us, until_us): (Micros, Micros),
) -> Result<Sync, Error> {
    let valid = held(id, fence).filter(sync::due_us.gt(now_us));
    let extended = diesel::update(valid)
        .set(sync::due_us.eq(until_us))
        .execute(conn)?;
    let row = get(conn, id)?;
    if extended > 0 {
        return Ok(row);
    }
    if row.fence != fence || row.state != SyncState::Running {
        return Err(lost(&row, fence));
    }
    // Its row is locked before its organization.
    let revived = diesel::update(held(id, fence))
        .set(sync::due_us.eq(until_us))
        .execute(conn)?;
    let key = row.organization();
    organization::lock(conn, &key)?;
    if revived == 0 {
        return Err(lost(&get(conn, id)?, fence));
    }
    if places(conn, &key, id, now_us)? >= per_organization {
        let why = Lost::Place;
        return Err(Error::LeaseLost { sync: id, why });
    }
    get(conn, id)
}
