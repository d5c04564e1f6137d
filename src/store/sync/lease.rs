//! Takes the next sync from the queue.
//!
//! Groups take turns: a new sync gets the turn after the last one of its group, but none that has passed already
//! ([`next_turn`]), and the sync with the lowest turn starts first. So a group does not wait
//! for all that another one has queued. The turn counts when a sync is queued: if a later sync of a group started because its earlier
//! ones wait for a place, new syncs of other groups come after those.
//!
//! Of each organization of a CRM few syncs run at a time. The places are counted under the lock of the organization's row: a
//! count that is part of the query that finds the sync would be as old as the query, and two workers would see the same place.
//! A place is a RUNNING sync whose lease is valid, so a worker that was killed gives it back when its lease ends.

use diesel::{prelude::*, sql_types};

use super::{
    cancel::cancel,
    row::{Sync, get},
};
use crate::domain::{GroupId, Micros, SyncId, SyncState};
use crate::store::{
    Error, Store,
    conn::Conn,
    event::NewEvents,
    organization::{self, Admission, Breaker, OrganizationKey},
    schema::{sync, sync_object},
};

/// Who takes syncs, and how many run at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Identifies it in leases.
    pub owner: String,
    /// The most syncs of one organization that run at a time.
    pub per_organization: i64,
    /// When syncs wait for the CRM of an organization.
    pub breaker: Breaker,
}

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

#[derive(QueryableByName)]
struct Due {
    #[diesel(sql_type = sql_types::Text)]
    id: SyncId,
    #[diesel(sql_type = sql_types::BigInt)]
    generation: i64,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    connector: Option<String>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    organization_id: Option<String>,
}

/// The syncs of an organization that hold a place. The parameters are the organization, the time, and a sync that does not count.
const PLACES: &str = "SELECT count(*) AS value FROM sync r WHERE r.state = 'RUNNING' \
    AND r.organization = (SELECT $1) AND r.due_us > (SELECT $2) AND r.id <> (SELECT $3)";

/// The due sync with the lowest turn whose organization has a place, as far as the query can see. Every condition on another
/// table is a look-up by key.
const DUE: &str = "SELECT s.id, i.generation, c.connector, c.organization_id FROM sync s \
    LEFT JOIN integration i ON i.id = s.integration_id LEFT JOIN credentials c ON c.id = i.credential_id \
    WHERE s.state IN ('QUEUED', 'RUNNING', 'WAITING') AND s.due_us <= (SELECT $1) \
    AND (s.cancel_requested OR (i.state = 'ACTIVE' \
        AND (SELECT e.enabled FROM connector_enablement e WHERE e.group_id = i.group_id AND e.connector = i.connector) \
        AND (SELECT count(*) FROM sync r WHERE r.state = 'RUNNING' AND r.organization = c.connector || '/' || c.organization_id \
             AND r.due_us > (SELECT $1) AND r.id <> s.id) < (SELECT $2))) \
    ORDER BY s.turn, s.due_us, s.id LIMIT 1";

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = sql_types::BigInt)]
    value: i64,
}

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
    // Each round in which another worker took the place that the query saw ends with one organization less.
    const ROUNDS: usize = 16;
    for _ in 0..ROUNDS {
        let Some(due) = find(conn, worker, now_us)? else {
            return Ok(Next::None);
        };
        let row = get(conn, due.id)?;
        if row.cancel_requested {
            // Its worker ended before it noticed the request.
            cancel(conn, events, row.id, now_us)?;
            return Ok(Next::Again);
        }
        let key = OrganizationKey {
            connector: due.connector.unwrap_or_default(),
            id: due.organization_id.unwrap_or_default(),
        };
        let of = organization::lock(conn, &key)?;
        if places(conn, &key, row.id, now_us)? >= worker.per_organization {
            continue;
        }
        let (until, reason, message) = match organization::admit(conn, &of, &worker.breaker, now_us, false)? {
            Admission::Open | Admission::Probe => {
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
        diesel::update(sync::table.find(row.id))
            .set((
                sync::state.eq(SyncState::Waiting),
                sync::due_us.eq(until),
                sync::lease_owner.eq(None::<String>),
                sync::error_reason.eq(reason),
                sync::error_message.eq(message),
            ))
            .execute(conn)?;
        return Ok(Next::Again);
    }
    Ok(Next::None)
}

fn find(conn: &mut Conn, worker: &Worker, now_us: Micros) -> Result<Option<Due>, Error> {
    Ok(match conn {
        Conn::Sqlite(c) => diesel::sql_query(DUE)
            .bind::<sql_types::BigInt, _>(now_us)
            .bind::<sql_types::BigInt, _>(worker.per_organization)
            .get_result(c),
        Conn::Postgres(c) => diesel::sql_query(format!("{DUE} FOR UPDATE OF s SKIP LOCKED"))
            .bind::<sql_types::BigInt, _>(now_us)
            .bind::<sql_types::BigInt, _>(worker.per_organization)
            .get_result(c),
    }
    .optional()?)
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

/// The turn of a new sync of a group: the one after the group's last, but not before the present one, which is that of the sync
/// that started last or, if none runs, of the one that starts next.
pub(super) fn next_turn(conn: &mut Conn, group: &GroupId) -> Result<i64, Error> {
    // The list of three states is the condition of the index `sync_turn`.
    const OF_GROUP: &str = "SELECT max(s.turn) AS value FROM integration i JOIN sync s ON s.integration_id = i.id \
        WHERE i.group_id = (SELECT $1) AND s.state IN ('QUEUED', 'RUNNING', 'WAITING') AND s.state <> 'WAITING'";
    let last: Turn = diesel::sql_query(OF_GROUP)
        .bind::<sql_types::Text, _>(group)
        .get_result(conn)?;
    let after = last.value.map_or(0, |last| last + 1);
    let running: Turn =
        diesel::sql_query("SELECT max(turn) AS value FROM sync WHERE state = 'RUNNING'").get_result(conn)?;
    let present = match running.value {
        Some(turn) => turn,
        None => {
            let queued: Turn =
                diesel::sql_query("SELECT min(turn) AS value FROM sync WHERE state = 'QUEUED'")
                    .get_result(conn)?;
            queued.value.unwrap_or(0)
        }
    };
    Ok(present.max(after))
}

#[derive(QueryableByName)]
struct Turn {
    #[diesel(sql_type = sql_types::Nullable<sql_types::BigInt>)]
    value: Option<i64>,
}
