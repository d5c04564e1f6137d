//! The queue of syncs and the leases of workers.

use diesel::{prelude::*, sql_types};

use super::{
    cancel::cancel,
    lease::{Next, extend},
    row::{Sync, get, held, lost, unfinished},
    turn::Worker,
};
use crate::domain::{IntegrationId, IntegrationState, Micros, SyncId, SyncMode, SyncState, SyncTrigger};
use crate::store::{
    Conflict, Error, Integration, Store, Tx,
    conn::Conn,
    error::is_unique_violation,
    integration,
    schema::{credentials, sync},
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

    /// Takes the due sync whose turn it is: queued, done waiting, or left behind by its worker. Those whose integration is not
    /// active, whose connector is disabled for the owner or whose organization has no place wait. If its CRM is down or refuses
    /// calls, the due syncs of the organization are WAITING until the next attempt. If the integration's generation changed since, the sync begins again.
    ///
    /// The lease is taken in control first, then the data set is claimed with its fencing token. What an earlier worker stored
    /// but did not report is reported here.
    pub async fn sync_lease_next(
        &self,
        worker: &Worker,
        now_us: Micros,
        until_us: Micros,
    ) -> Result<Option<Sync>, Error> {
        let sync = loop {
            match self.lease_once(worker.clone(), now_us, until_us).await? {
                Next::Leased(sync) => break *sync,
                Next::Again => {}
                Next::None => return Ok(None),
            }
        };
        let (id, fence) = (sync.id, sync.fence);
        match self.claim(sync).await {
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

    /// Extends the lease of a worker that is alive, until `until_us`.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if another worker has the sync, it has ended, or its lease had expired and its organization has no place
    /// left.
    pub async fn sync_heartbeat(
        &self,
        (id, fence): (SyncId, i64),
        per_organization: i64,
        now_us: Micros,
        until_us: Micros,
    ) -> Result<Heartbeat, Error> {
        self.write(move |conn| {
            let row = extend(conn, (id, fence), per_organization, (now_us, until_us))?;
            Ok(Heartbeat {
                cancel_requested: row.cancel_requested,
            })
        })
        .await
    }

    /// Makes the sync of an integration that waits for this reason due at once.
    pub async fn sync_hasten(&self, id: IntegrationId, reason: &str, now_us: Micros) -> Result<(), Error> {
        let reason = reason.to_owned();
        self.write(move |conn| {
            integration::lock(conn, id)?;
            hasten(conn, id, &reason, now_us)
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

/// Makes a sync that waits for this reason due at once. The caller holds the integration's lock.
pub(in crate::store) fn hasten(
    conn: &mut Conn,
    id: IntegrationId,
    reason: &str,
    now_us: Micros,
) -> Result<(), Error> {
    if let Some(waiting) = unfinished(conn, id)?.filter(|one| one.error_reason == reason) {
        let row = sync::table
            .find(waiting.id)
            .filter(sync::state.eq(SyncState::Waiting).and(sync::due_us.gt(now_us)));
        diesel::update(row).set(sync::due_us.eq(now_us)).execute(conn)?;
    }
    Ok(())
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
        organization: String::new(),
        asked: new.mode,
        busy_us: 0,
        update_us: new.now_us,
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
