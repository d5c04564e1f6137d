//! The queue of syncs and the leases of workers.

use diesel::{prelude::*, sql_types};

use super::row::{Sync, get, held, lost, name, unfinished};
use crate::domain::{
    EventKind, IntegrationId, IntegrationState, Micros, SyncId, SyncMode, SyncState, SyncTrigger,
};
use crate::store::{
    Conflict, Error, Integration, Store, Tx,
    conn::Conn,
    effect::Effect,
    error::is_unique_violation,
    event::NewEvents,
    integration,
    schema::{credentials, sync, sync_object},
};

/// A sync to queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSync {
    /// Of which integration.
    pub integration_id: IntegrationId,
    /// Why.
    pub trigger: SyncTrigger,
    /// By whom.
    pub create_by: String,
    /// Not before.
    pub due_us: Micros,
    /// The held-back removal that a person confirms with it.
    pub confirms: Option<Confirmed>,
    /// How much it reads.
    pub mode: SyncMode,
    /// Now.
    pub now_us: Micros,
}

/// A sync whose held-back removal a person confirms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmed {
    /// Which.
    pub sync_id: SyncId,
    /// When it ended: what was lacking by then is confirmed.
    pub end_us: Micros,
}

/// The result of queueing a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enqueued {
    /// It was queued.
    New(Sync),
    /// Another one has not ended yet: this.
    AlreadyRunning(Sync),
}

/// The result of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// Someone asked it to stop.
    pub cancel_requested: bool,
}

/// How long a sync waits whose data set could not be claimed.
const UNCLAIMED_US: Micros = 10_000_000;

/// The reason of a sync that a worker handed on because its process stops.
const HANDED_ON: &str = "SHUTTING_DOWN";

#[derive(QueryableByName)]
struct Due {
    #[diesel(sql_type = sql_types::Text)]
    id: SyncId,
    #[diesel(sql_type = sql_types::BigInt)]
    generation: i64,
}

impl Tx<'_> {
    /// Queues a sync of an active integration, or returns the one that has not ended yet.
    pub fn sync_enqueue(&mut self, new: NewSync) -> Result<Enqueued, Error> {
        let conn = &mut *self.conn;
        let row = integration::lock(conn, new.integration_id)?;
        if let Some(running) = unfinished(conn, row.id)? {
            return Ok(Enqueued::AlreadyRunning(running));
        }
        if row.state != IntegrationState::Active {
            return Err(Error::conflict(
                Conflict::State,
                format!(
                    "integration \"{}\" is {}; only an active one can be synced",
                    row.id, row.state
                ),
            ));
        }
        Ok(Enqueued::New(insert(conn, &row, new)?))
    }

    /// Asks a sync to stop. One that no worker has ends at once.
    pub fn sync_cancel_request(&mut self, id: SyncId, now_us: Micros) -> Result<Sync, Error> {
        let (conn, events) = (&mut *self.conn, &mut self.events);
        cancel(conn, events, id, now_us)?;
        get(conn, id)
    }
}

impl Store {
    /// [`Tx::sync_cancel_request`] as a transaction of its own.
    pub async fn sync_cancel_request(&self, id: SyncId, now_us: Micros) -> Result<Sync, Error> {
        self.write_with_events(move |conn, events| {
            cancel(conn, events, id, now_us)?;
            get(conn, id)
        })
        .await
    }

    /// Takes the sync that has been due the longest: queued, done waiting, or left behind by its worker. Those whose
    /// integration is not active or whose connector is disabled for the owner wait. If the integration's generation
    /// changed since, the sync begins again.
    ///
    /// The lease is taken in control first, then the data set is claimed with its fencing token. What an earlier worker stored
    /// but did not report is reported here.
    pub async fn sync_lease_next(
        &self,
        owner: &str,
        now_us: Micros,
        until_us: Micros,
    ) -> Result<Option<Sync>, Error> {
        let owner = owner.to_owned();
        let leased =
            self.write_with_events(move |conn, events| lease_next(conn, events, owner, now_us, until_us));
        let Some(sync) = leased.await? else {
            return Ok(None);
        };
        let (id, fence) = (sync.id, sync.fence);
        match self.claim(sync, until_us).await {
            Ok(sync) => Ok(Some(sync)),
            Err(error) => {
                // Not to be waited for until the lease ends.
                let due_us = now_us.saturating_add(UNCLAIMED_US);
                let why = error.to_string();
                let put_back = self.write(move |conn| {
                    wait(conn, (id, fence), due_us, "STORAGE_UNAVAILABLE", why)?;
                    // Nothing was read, so it was no try.
                    let tries = sync::tries.eq(sync::tries - 1);
                    diesel::update(sync::table.find(id)).set(tries).execute(conn)?;
                    Ok(())
                });
                match put_back.await {
                    Ok(_) | Err(Error::LeaseLost { .. }) => {}
                    Err(other) => {
                        tracing::warn!(sync = %id, "cannot put sync {id} back into the queue: {other}")
                    }
                }
                Err(error)
            }
        }
    }

    /// Ends all leases of syncs and credentials. For a process that has the database to itself and has just started: the holders of
    /// the leases no longer exist.
    pub async fn release_all_leases(&self, now_us: Micros) -> Result<(), Error> {
        self.write(move |conn| {
            diesel::update(sync::table.filter(sync::state.eq(SyncState::Running)))
                .set(sync::due_us.eq(now_us))
                .execute(conn)?;
            diesel::update(credentials::table.filter(credentials::lease_owner.is_not_null()))
                .set((
                    credentials::lease_owner.eq(None::<String>),
                    credentials::lease_until_us.eq(0),
                ))
                .execute(conn)?;
            Ok(())
        })
        .await
    }

    /// Extends the lease of a worker that is alive.
    pub async fn sync_heartbeat(&self, id: SyncId, fence: i64, until_us: Micros) -> Result<Heartbeat, Error> {
        self.write(move |conn| {
            let done = diesel::update(held(id, fence))
                .set(sync::due_us.eq(until_us))
                .execute(conn)?;
            let row = get(conn, id)?;
            if done == 0 {
                return Err(lost(&row, fence));
            }
            Ok(Heartbeat {
                cancel_requested: row.cancel_requested,
            })
        })
        .await
    }

    /// Returns a sync to the queue until a time, after a rate limit, a transient error or a shutdown.
    pub async fn sync_wait(
        &self,
        id: SyncId,
        fence: i64,
        due_us: Micros,
        reason: &str,
        message: &str,
    ) -> Result<Sync, Error> {
        let (reason, message) = (reason.to_owned(), message.to_owned());
        self.write(move |conn| wait(conn, (id, fence), due_us, &reason, message))
            .await
    }
}

/// Returns a sync to the queue until a time, if the fencing token still holds it.
fn wait(
    conn: &mut Conn,
    (id, fence): (SyncId, i64),
    due_us: Micros,
    reason: &str,
    message: String,
) -> Result<Sync, Error> {
    let done = diesel::update(held(id, fence))
        .set((
            sync::state.eq(SyncState::Waiting),
            sync::due_us.eq(due_us),
            sync::lease_owner.eq(None::<String>),
            sync::error_reason.eq(reason),
            sync::error_message.eq(message),
        ))
        .execute(conn)?;
    let row = get(conn, id)?;
    if done == 0 {
        Err(lost(&row, fence))
    } else {
        Ok(row)
    }
}

/// Queues a sync within another transaction, which holds the integration's lock.
pub(in crate::store) fn insert(conn: &mut Conn, of: &Integration, new: NewSync) -> Result<Sync, Error> {
    let last = last(conn, of.id)?;
    let row = Sync {
        id: SyncId::new(),
        integration_id: of.id,
        generation: of.generation,
        state: SyncState::Queued,
        trigger: new.trigger,
        create_us: new.now_us,
        create_by: new.create_by,
        start_us: None,
        end_us: None,
        due_us: new.due_us,
        lease_owner: None,
        fence: last.fence,
        attempt: 0,
        checkpoint: None,
        checkpoint_seq: 0,
        cancel_requested: false,
        bytes: 0,
        api_calls: 0,
        error_reason: String::new(),
        error_message: String::new(),
        note: String::new(),
        tries: 0,
        change_no: last.change_no,
        missing: "[]".to_owned(),
        confirms: new.confirms.map(|confirmed| confirmed.sync_id),
        confirm_us: new.confirms.map(|confirmed| confirmed.end_us),
        mode: new.mode,
    };
    match diesel::insert_into(sync::table).values(&row).execute(conn) {
        Err(e) if is_unique_violation(&e, "sync") => Err(Error::conflict(
            Conflict::State,
            format!("integration \"{}\" is being synced", of.id),
        )),
        other => Ok(other.map(|_| row)?),
    }
}

#[derive(Default, QueryableByName)]
struct Last {
    #[diesel(sql_type = sql_types::BigInt)]
    fence: i64,
    #[diesel(sql_type = sql_types::BigInt)]
    change_no: i64,
}

/// How far the integration's syncs have come: fencing tokens grow from one sync to the next.
fn last(conn: &mut Conn, integration_id: IntegrationId) -> Result<Last, Error> {
    Ok(diesel::sql_query(
        "SELECT fence, change_no FROM sync WHERE integration_id = (SELECT $1) ORDER BY fence DESC LIMIT 1",
    )
    .bind::<sql_types::Text, _>(integration_id)
    .get_result(conn)
    .optional()?
    .unwrap_or_default())
}

fn lease_next(
    conn: &mut Conn,
    events: &mut NewEvents,
    owner: String,
    now_us: Micros,
    until_us: Micros,
) -> Result<Option<Sync>, Error> {
    const DUE: &str = "SELECT s.id, i.generation FROM sync s \
        JOIN integration i ON i.id = s.integration_id \
        JOIN connector_enablement e ON e.group_id = i.group_id AND e.connector = i.connector \
        WHERE s.state IN ('QUEUED', 'RUNNING', 'WAITING') AND s.due_us <= $1 \
        AND (s.cancel_requested OR (i.state = 'ACTIVE' AND e.enabled)) ORDER BY s.due_us, s.id LIMIT 1";
    let found: Option<Due> = match conn {
        Conn::Sqlite(c) => diesel::sql_query(DUE)
            .bind::<sql_types::BigInt, _>(now_us)
            .get_result(c),
        Conn::Postgres(c) => diesel::sql_query(format!("{DUE} FOR UPDATE OF s SKIP LOCKED"))
            .bind::<sql_types::BigInt, _>(now_us)
            .get_result(c),
    }
    .optional()?;
    let Some(due) = found else { return Ok(None) };
    let mut row = get(conn, due.id)?;
    if row.cancel_requested {
        // Its worker ended before it noticed the request.
        cancel(conn, events, row.id, now_us)?;
        return Ok(None);
    }
    if row.generation != due.generation {
        diesel::delete(sync_object::table.filter(sync_object::sync_id.eq(row.id))).execute(conn)?;
        row.generation = due.generation;
        row.start_us = Some(now_us);
        row.checkpoint = None;
        row.checkpoint_seq = 0;
        row.attempt = 0;
        row.tries = 0;
        row.missing = "[]".to_owned();
        // The confirmation was for another selection or account.
        row.confirm_us = None;
    }
    // A worker that had to stop returned it: not a failed attempt.
    let handed_on = row.state == SyncState::Waiting && row.error_reason == HANDED_ON;
    // Nor is a wait for the customer's allowance, however often.
    let waited = row.state == SyncState::Waiting && row.error_reason == "CRM_ALLOWANCE_EXHAUSTED";
    row.state = SyncState::Running;
    row.start_us = row.start_us.or(Some(now_us));
    row.due_us = until_us;
    row.lease_owner = Some(owner);
    row.fence += 1;
    row.attempt += i64::from(!handed_on || row.attempt == 0);
    row.tries += i64::from(!(handed_on || waited) || row.tries == 0);
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
        ))
        .execute(conn)?;
    Ok(Some(row))
}

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

fn cancel(conn: &mut Conn, events: &mut NewEvents, id: SyncId, now_us: Micros) -> Result<(), Error> {
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
