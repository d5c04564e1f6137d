//! Syncs: the queue, the leases, and the commit that every sync is made of.

use std::collections::VecDeque;

use diesel::{prelude::*, sql_types};

use super::{
    Counters, Error, FieldRef, Integration, Lost, RecordBatch, Store,
    conn::{Conn, each, first_locked},
    error::{OrNotFound, is_unique_violation},
    event::NewEvents,
    field, integration, purge, record,
    schema::{grants, integration as integration_table, sync, sync_object},
};
use crate::domain::{
    EventKind, FieldType, IntegrationId, IntegrationState, Micros, ObjectState, SyncId, SyncState,
    SyncTrigger,
};

/// A sync.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, QueryableByName, Selectable, Insertable)]
#[diesel(table_name = sync, treat_none_as_default_value = false)]
pub struct Sync {
    /// Its id.
    pub id: SyncId,
    /// Of which integration.
    pub integration_id: IntegrationId,
    /// The integration's generation it reads for.
    pub generation: i64,
    /// Where it stands.
    pub state: SyncState,
    /// Why it was begun.
    pub trigger: SyncTrigger,
    /// When it was asked for.
    pub create_us: Micros,
    /// By whom.
    pub create_by: String,
    /// When a worker first took it.
    pub start_us: Option<Micros>,
    /// When it ended.
    pub end_us: Option<Micros>,
    /// When a worker may take it: at once when queued, at the end of the wait, or of the lease.
    pub due_us: Micros,
    /// Who has it.
    pub lease_owner: Option<String>,
    /// Grows with every worker that takes it; only the holder of the last may write.
    pub fence: i64,
    /// How often it was taken, from its beginning.
    pub attempt: i64,
    /// Where to go on from.
    pub checkpoint: Option<Vec<u8>>,
    /// How many checkpoints it stored.
    pub checkpoint_seq: i64,
    /// Whether someone asked it to stop.
    pub cancel_requested: bool,
    /// Bytes received.
    pub bytes: i64,
    /// API calls made.
    pub api_calls: i64,
    /// Why it failed or waits, as a word.
    pub error_reason: String,
    /// Why it failed or waits, as a sentence for the integration's owner.
    pub error_message: String,
    /// What else there is to say.
    pub note: String,
    /// How often it was taken since it last got on.
    pub tries: i64,
    /// The integration's change number when it last stored something, or ended.
    pub change_no: i64,
    /// Fields that were missing in any attempt: a JSON array of `Object.Field`.
    pub missing: String,
    /// The sync whose held-back removal a person confirmed with this one.
    pub confirms: Option<SyncId>,
    /// When that one ended: what was lacking by then is confirmed.
    pub confirm_us: Option<Micros>,
}

impl Sync {
    /// Fields that were missing in any attempt, as `Object.Field`.
    pub fn missing_fields(&self) -> Vec<String> {
        serde_json::from_str(&self.missing).unwrap_or_default()
    }
}

/// How one object of a sync stands.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = sync_object, treat_none_as_default_value = false)]
pub struct SyncObject {
    /// Of which sync.
    pub sync_id: SyncId,
    /// The object's key.
    pub object: String,
    /// Its place.
    pub position: i64,
    /// Where it stands.
    pub state: ObjectState,
    /// How many rows to expect, about.
    pub expected: Option<i64>,
    /// Rows received.
    pub read: i64,
    /// Rows stored because they were new or different.
    pub written: i64,
    /// Rows that were the same, or older than what is stored.
    pub unchanged: i64,
    /// Rows that turned out to be gone.
    pub removed: i64,
    /// Why it was not read, as a word.
    pub error_reason: String,
    /// Why it was not read, or why removals are held back, as a sentence.
    pub error_message: String,
    /// How often its reading broke off for a reason that passes.
    pub tries: i64,
    /// Rows that were not known before, or gone.
    pub added: i64,
    /// Rows that the listing lacks and that are held back from removal.
    pub held: i64,
}

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

/// What became of a wish to sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enqueued {
    /// It was queued.
    New(Sync),
    /// Another one has not ended yet: this.
    AlreadyRunning(Sync),
}

/// What a worker hears when it says that it is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// Someone asked it to stop.
    pub cancel_requested: bool,
}

/// News of one object. Counters are kept by the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectProgress {
    /// The object's key.
    pub object: String,
    /// Its place.
    pub position: i64,
    /// Where it stands now; `None` as before (PENDING at first).
    pub state: Option<ObjectState>,
    /// How many rows to expect; `None` as before.
    pub expected: Option<i64>,
    /// Why it is not read: (word, sentence).
    pub error: Option<(String, String)>,
    /// How often its reading broke off; `None` as before.
    pub tries: Option<i64>,
}

/// All that is between two checkpoints, to be stored at once.
#[derive(Debug, Clone, PartialEq)]
pub struct SyncCommit {
    /// Which sync.
    pub sync_id: SyncId,
    /// The fence it was taken with.
    pub fence: i64,
    /// Of which integration.
    pub integration_id: IntegrationId,
    /// The generation it was taken with.
    pub generation: i64,
    /// Rows, in the order they came.
    pub batches: Vec<RecordBatch>,
    /// Where to go on from; `None` stores the rest without a new checkpoint.
    pub checkpoint: Option<Vec<u8>>,
    /// News of objects.
    pub objects: Vec<ObjectProgress>,
    /// Bytes received since the last commit.
    pub bytes: i64,
    /// API calls made since the last commit.
    pub api_calls: i64,
    /// Fields that are gone.
    pub missing_fields: Vec<FieldRef>,
    /// Fields that have another type from here on.
    pub field_types: Vec<(FieldRef, FieldType)>,
    /// When the lease now ends.
    pub lease_until_us: Micros,
    /// Now.
    pub now_us: Micros,
}

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The integration's change number after it.
    pub change_no: i64,
    /// How many checkpoints the sync has stored.
    pub checkpoint_seq: i64,
    /// What happened to the rows, by object, in the order of their first batch.
    pub counters: Vec<(String, Counters)>,
    /// Someone asked it to stop.
    pub cancel_requested: bool,
}

/// How a sync ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncEnd {
    /// Which.
    pub sync_id: SyncId,
    /// The fence it was taken with.
    pub fence: i64,
    /// SUCCEEDED if every object was read whole and nothing is held back, PARTIAL, FAILED or CANCELLED.
    pub state: SyncState,
    /// Why it failed, as a word.
    pub error_reason: String,
    /// Why it failed, as a sentence for the integration's owner.
    pub error_message: String,
    /// What else there is to say.
    pub note: String,
    /// How many company records the CRM says there are; `None` counts ours, when they were read whole.
    pub company_records: Option<i64>,
    /// Now.
    pub now_us: Micros,
}

/// The reason of a sync that a worker handed on because its process stops.
const HANDED_ON: &str = "SHUTTING_DOWN";

/// The states of syncs that have not ended, in the words of the indexes `sync_unfinished` and `sync_due`: a planner uses these
/// for conditions it can read, not for parameters.
const UNFINISHED: &str = "sync.state IN ('QUEUED', 'RUNNING', 'WAITING')";

impl Store {
    /// Queues a sync of an active integration, or returns the one that has not ended yet.
    pub async fn sync_enqueue(&self, new: NewSync) -> Result<Enqueued, Error> {
        self.write(move |conn| {
            let row = integration::lock(conn, new.integration_id)?;
            if let Some(running) = unfinished(conn, row.id)? {
                return Ok(Enqueued::AlreadyRunning(running));
            }
            if row.state != IntegrationState::Active {
                return Err(Error::conflict(
                    super::Conflict::State,
                    format!(
                        "integration \"{}\" is {}; only an active one can be synced",
                        row.id, row.state
                    ),
                ));
            }
            Ok(Enqueued::New(insert(conn, &row, new)?))
        })
        .await
    }

    /// One sync.
    pub async fn sync_get(&self, id: SyncId) -> Result<Sync, Error> {
        self.read(move |conn| get(conn, id)).await
    }

    /// The objects of a sync, in their order.
    pub async fn sync_objects(&self, id: SyncId) -> Result<Vec<SyncObject>, Error> {
        self.read(move |conn| objects(conn, id)).await
    }

    /// A sync and its objects, as of one moment.
    pub async fn sync_progress(&self, id: SyncId) -> Result<(Sync, Vec<SyncObject>), Error> {
        self.snapshot(move |conn| Ok((get(conn, id)?, objects(conn, id)?)))
            .await
    }

    /// The syncs of an integration, newest first, before this (time of creation, id).
    pub async fn sync_list(
        &self,
        integration_id: IntegrationId,
        before: Option<(Micros, SyncId)>,
        limit: i64,
    ) -> Result<Vec<Sync>, Error> {
        self.read(move |conn| {
            let (create_us, id) = match before {
                Some((create_us, id)) => (create_us, id.to_string()),
                None => (i64::MAX, "~".to_owned()),
            };
            // Values and limit are hidden from the planner: `postgres::read` says why.
            Ok(diesel::sql_query(
                "SELECT * FROM sync WHERE integration_id = (SELECT $1) AND create_us <= $2 AND (create_us < $3 OR id < $4) \
                 ORDER BY create_us DESC, id DESC LIMIT (SELECT $5)",
            )
            .bind::<sql_types::Text, _>(integration_id)
            .bind::<sql_types::BigInt, _>(create_us)
            .bind::<sql_types::BigInt, _>(create_us)
            .bind::<sql_types::Text, _>(id)
            .bind::<sql_types::BigInt, _>(limit)
            .load(conn)?)
        })
        .await
    }

    /// Takes the sync that has been due the longest: queued, done waiting, or left behind by its worker. Those whose
    /// integration is not active or whose connector is disabled for the owner wait. If the integration's generation
    /// changed since, the sync begins again.
    pub async fn sync_lease_next(
        &self,
        owner: &str,
        now_us: Micros,
        until_us: Micros,
    ) -> Result<Option<Sync>, Error> {
        let owner = owner.to_owned();
        self.write_with_events(move |conn, events| lease_next(conn, events, owner, now_us, until_us))
            .await
    }

    /// Ends every lease, of syncs and of grants: for the one process that has a database to itself and has just started,
    /// so that whoever held them is gone.
    pub async fn release_all_leases(&self, now_us: Micros) -> Result<(), Error> {
        self.write(move |conn| {
            diesel::update(sync::table.filter(sync::state.eq(SyncState::Running)))
                .set(sync::due_us.eq(now_us))
                .execute(conn)?;
            diesel::update(grants::table.filter(grants::lease_owner.is_not_null()))
                .set((
                    grants::lease_owner.eq(None::<String>),
                    grants::lease_until_us.eq(0),
                ))
                .execute(conn)?;
            Ok(())
        })
        .await
    }

    /// The worker is alive: its lease now ends later.
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

    /// Stores what came between two checkpoints: rows, marks of what is lacking, checkpoint, counters and news.
    /// [`Error::LeaseLost`] if the sync is another's, ended, or the integration's generation changed.
    ///
    /// All or nothing, unless a range lacks very many rows: these are marked in several transactions, of which the last one
    /// stores the checkpoint. If the process ends in between, the same is read and stored again.
    pub async fn sync_commit(&self, commit: SyncCommit) -> Result<Committed, Error> {
        let mut left = PartOfCommit::new(commit);
        loop {
            let part = self.write_with_events(move |conn, events| store_commit(conn, events, left));
            match part.await? {
                Part::Last(done) => return Ok(done),
                Part::More(more) => left = more,
            }
        }
    }

    /// Ends a sync.
    pub async fn sync_finish(&self, end: SyncEnd) -> Result<Sync, Error> {
        self.write_with_events(move |conn, events| finish(conn, events, end))
            .await
    }

    /// Gives a sync back until a time: a rate limit, a back-off, a shutdown.
    pub async fn sync_wait(
        &self,
        id: SyncId,
        fence: i64,
        due_us: Micros,
        reason: &str,
        message: &str,
    ) -> Result<Sync, Error> {
        let (reason, message) = (reason.to_owned(), message.to_owned());
        self.write(move |conn| {
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
        })
        .await
    }

    /// Asks a sync to stop. One that no worker has ends at once.
    pub async fn sync_cancel_request(&self, id: SyncId, now_us: Micros) -> Result<Sync, Error> {
        self.write_with_events(move |conn, events| {
            cancel(conn, events, id, now_us)?;
            get(conn, id)
        })
        .await
    }

    /// News of objects without rows. Counters stay.
    pub async fn sync_object_upsert(
        &self,
        id: SyncId,
        fence: i64,
        objects: Vec<ObjectProgress>,
    ) -> Result<(), Error> {
        self.write(move |conn| {
            locked(conn, id)?;
            // The sync's row too: a worker that takes it, or who ends it, locks nothing but that.
            let row: Sync = first_locked!(conn, sync::table.find(id).select(Sync::as_select()))?;
            if row.fence != fence || row.state != SyncState::Running {
                return Err(lost(&row, fence));
            }
            for progress in &objects {
                object_upsert(conn, id, progress)?;
            }
            Ok(())
        })
        .await
    }

    /// Removes syncs that ended before this time, at most `limit`, but for the last one of each integration; returns how
    /// many.
    pub async fn sync_purge(&self, before_us: Micros, limit: i64) -> Result<usize, Error> {
        self.write(move |conn| {
            const NOT_LAST: &str = "EXISTS (SELECT 1 FROM sync n \
                WHERE n.integration_id = sync.integration_id AND n.create_us > sync.create_us)";
            purge::old(conn, "sync", "end_us", NOT_LAST, before_us, limit)
        })
        .await
    }
}

/// The row of a sync, if a worker still holds it.
#[diesel::dsl::auto_type]
pub(super) fn held(id: SyncId, fence: i64) -> _ {
    let running: SyncState = SyncState::Running;
    sync::table
        .find(id)
        .filter(sync::fence.eq(fence))
        .filter(sync::state.eq(running))
}

fn lost(row: &Sync, fence: i64) -> Error {
    let why = if row.fence != fence {
        Lost::Fence
    } else {
        Lost::State
    };
    Error::LeaseLost { sync: row.id, why }
}

pub(super) fn get(conn: &mut Conn, id: SyncId) -> Result<Sync, Error> {
    sync::table
        .find(id)
        .select(Sync::as_select())
        .first(conn)
        .or_not_found("sync", id)
}

fn objects(conn: &mut Conn, id: SyncId) -> Result<Vec<SyncObject>, Error> {
    Ok(sync_object::table
        .filter(sync_object::sync_id.eq(id))
        .order((sync_object::position, sync_object::object))
        .select(SyncObject::as_select())
        .load(conn)?)
}

pub(super) fn unfinished(conn: &mut Conn, integration_id: IntegrationId) -> Result<Option<Sync>, Error> {
    Ok(sync::table
        .filter(
            sync::integration_id
                .eq(integration_id)
                .and(diesel::dsl::sql::<sql_types::Bool>(UNFINISHED)),
        )
        .select(Sync::as_select())
        .first(conn)
        .optional()?)
}

/// Queues a sync within another transaction, which holds the integration's lock.
pub(super) fn insert(conn: &mut Conn, of: &Integration, new: NewSync) -> Result<Sync, Error> {
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
        fence: 0,
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
        change_no: of.change_no,
        missing: "[]".to_owned(),
        confirms: new.confirms.map(|confirmed| confirmed.sync_id),
        confirm_us: new.confirms.map(|confirmed| confirmed.end_us),
    };
    match diesel::insert_into(sync::table).values(&row).execute(conn) {
        Err(e) if is_unique_violation(&e, "sync") => Err(Error::conflict(
            super::Conflict::State,
            format!("integration \"{}\" is being synced", of.id),
        )),
        other => Ok(other.map(|_| row)?),
    }
}

#[derive(QueryableByName)]
struct Due {
    #[diesel(sql_type = sql_types::Text)]
    id: SyncId,
    #[diesel(sql_type = sql_types::BigInt)]
    generation: i64,
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
        // Its worker is gone and did not hear of it.
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
        // What was confirmed was confirmed of another selection or account.
        row.confirm_us = None;
    }
    // A worker that had to stop handed it on: that is no attempt that failed.
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

/// A sync as it is once its integration is locked: what is written of a sync's work is written under that lock, and who
/// ends a sync because of its integration holds it too, and is seen here.
fn locked(conn: &mut Conn, id: SyncId) -> Result<(Integration, Sync), Error> {
    let integration_id = get(conn, id)?.integration_id;
    let of = integration::lock(conn, integration_id)?;
    Ok((of, get(conn, id)?))
}

/// The sync that a worker holds, with its integration locked.
pub(super) fn held_by(conn: &mut Conn, id: SyncId, fence: i64) -> Result<(Integration, Sync), Error> {
    let (of, row) = locked(conn, id)?;
    let why = if row.fence != fence {
        Some(Lost::Fence)
    } else if row.state != SyncState::Running || of.state != IntegrationState::Active {
        Some(Lost::State)
    } else if of.generation != row.generation {
        Some(Lost::Generation)
    } else {
        None
    };
    match why {
        Some(why) => Err(Error::LeaseLost { sync: row.id, why }),
        None => Ok((of, row)),
    }
}

/// Rows that ranges lack and one transaction marks, about.
const MARKED_AT_ONCE: i64 = 5_000;

/// What of a commit is still to be stored.
struct PartOfCommit {
    /// Without its batches.
    commit: SyncCommit,
    batches: VecDeque<record::Listing>,
    /// What happened to rows so far.
    counters: Vec<(String, Counters)>,
}

/// What a transaction of a commit did.
enum Part {
    More(PartOfCommit),
    Last(Committed),
}

impl PartOfCommit {
    fn new(mut commit: SyncCommit) -> Self {
        let batches = std::mem::take(&mut commit.batches);
        Self {
            commit,
            batches: batches.into_iter().map(record::Listing::new).collect(),
            counters: Vec::new(),
        }
    }
}

fn count(counters: &mut Vec<(String, Counters)>, object: &str, done: &Counters) {
    match counters.iter_mut().find(|(known, _)| known == object) {
        Some((_, sum)) => sum.add(done),
        None => counters.push((object.to_owned(), *done)),
    }
}

fn store_commit(conn: &mut Conn, events: &mut NewEvents, mut part: PartOfCommit) -> Result<Part, Error> {
    let commit = &part.commit;
    let (of, before) = held_by(conn, commit.sync_id, commit.fence)?;
    if before.integration_id != commit.integration_id || before.generation != commit.generation {
        let why = Lost::Generation;
        return Err(Error::LeaseLost { sync: before.id, why });
    }
    if before.cancel_requested {
        // Nothing is written once it was asked to stop: not by someone, not because the connector was disabled.
        return Ok(Part::Last(Committed {
            change_no: of.change_no,
            checkpoint_seq: before.checkpoint_seq,
            counters: part.counters,
            cancel_requested: true,
        }));
    }

    let mut change_no = of.change_no;
    let mut counters: Vec<(String, Counters)> = Vec::new();
    let mut budget = MARKED_AT_ONCE;
    let whose = (of.id, before.id, before.generation);
    while let Some(batch) = part.batches.front_mut() {
        let Some(done) = batch.step(conn, whose, &mut change_no, &mut budget, commit.now_us)? else {
            break;
        };
        count(&mut counters, batch.object(), &done);
        part.batches.pop_front();
    }
    record::set_change_no(conn, &of, change_no)?;
    let last = part.batches.is_empty();
    if last {
        for progress in &commit.objects {
            object_upsert(conn, before.id, progress)?;
        }
        for (field, field_type) in &commit.field_types {
            field::set_type(conn, of.id, field, *field_type)?;
        }
        field::mark_missing(conn, events, &of, &commit.missing_fields, commit.now_us)?;
    }
    for (object, done) in &counters {
        object_count(conn, before.id, object, done)?;
        count(&mut part.counters, object, done);
    }

    // Last, so that heartbeats of the same worker do not wait for the rows; the fence in its condition is what counts.
    let mine = held(commit.sync_id, commit.fence);
    let stored = if last {
        let checkpoint_seq = before.checkpoint_seq + i64::from(commit.checkpoint.is_some());
        // A checkpoint that is where it was before is no step.
        let got_on = commit.checkpoint.is_some() && commit.checkpoint != before.checkpoint;
        let missing = with_missing(&before, &commit.missing_fields)?;
        let update = diesel::update(mine).set((
            commit.checkpoint.as_ref().map(|c| sync::checkpoint.eq(c)),
            sync::checkpoint_seq.eq(checkpoint_seq),
            sync::bytes.eq(sync::bytes + commit.bytes),
            sync::api_calls.eq(sync::api_calls + commit.api_calls),
            got_on.then_some((
                sync::tries.eq(0),
                sync::error_reason.eq(""),
                sync::error_message.eq(""),
            )),
            missing.map(|missing| sync::missing.eq(missing)),
            sync::change_no.eq(change_no),
            sync::due_us.eq(commit.lease_until_us),
        ));
        update.execute(conn)?
    } else {
        diesel::update(mine)
            .set(sync::change_no.eq(change_no))
            .execute(conn)?
    };
    if stored == 0 {
        return Err(Error::LeaseLost {
            sync: before.id,
            why: Lost::Fence,
        });
    }
    if !last {
        return Ok(Part::More(part));
    }
    let now = get(conn, before.id)?;
    Ok(Part::Last(Committed {
        change_no,
        checkpoint_seq: now.checkpoint_seq,
        counters: part.counters,
        cancel_requested: now.cancel_requested,
    }))
}

/// The sync's missing fields with these among them; `None` if there is nothing new.
fn with_missing(of: &Sync, fields: &[FieldRef]) -> Result<Option<String>, Error> {
    if fields.is_empty() {
        return Ok(None);
    }
    let mut missing = of.missing_fields();
    missing.extend(
        fields
            .iter()
            .map(|field| format!("{}.{}", field.object, field.key)),
    );
    missing.sort_unstable();
    missing.dedup();
    let missing = serde_json::to_string(&missing).map_err(|e| Error::Corrupt(e.to_string()))?;
    Ok(Some(missing).filter(|missing| *missing != of.missing))
}

fn object_upsert(conn: &mut Conn, sync_id: SyncId, progress: &ObjectProgress) -> Result<(), Error> {
    let (reason, message) = progress.error.clone().unwrap_or_default();
    let changed = diesel::update(sync_object::table.find((sync_id, &progress.object)))
        .set((
            sync_object::position.eq(progress.position),
            progress.state.map(|s| sync_object::state.eq(s)),
            progress.expected.map(|e| sync_object::expected.eq(e)),
            progress.tries.map(|tries| sync_object::tries.eq(tries)),
            progress
                .error
                .as_ref()
                .map(|e| sync_object::error_reason.eq(&e.0)),
            progress
                .error
                .as_ref()
                .map(|e| sync_object::error_message.eq(&e.1)),
        ))
        .execute(conn)?;
    if changed == 0 {
        let row = SyncObject {
            sync_id,
            object: progress.object.clone(),
            position: progress.position,
            state: progress.state.unwrap_or(ObjectState::Pending),
            expected: progress.expected,
            read: 0,
            written: 0,
            unchanged: 0,
            removed: 0,
            error_reason: reason,
            error_message: message,
            tries: progress.tries.unwrap_or(0),
            added: 0,
            held: 0,
        };
        diesel::insert_into(sync_object::table)
            .values(&row)
            .execute(conn)?;
    }
    Ok(())
}

pub(super) fn object_count(
    conn: &mut Conn,
    sync_id: SyncId,
    object: &str,
    done: &Counters,
) -> Result<(), Error> {
    let row = SyncObject {
        sync_id,
        object: object.to_owned(),
        position: 0,
        state: ObjectState::Reading,
        expected: None,
        read: done.read,
        written: done.written,
        unchanged: done.unchanged,
        removed: done.removed,
        error_reason: String::new(),
        error_message: String::new(),
        tries: 0,
        added: done.added,
        held: 0,
    };
    each!(conn, c => diesel::insert_into(sync_object::table)
        .values(&row)
        .on_conflict((sync_object::sync_id, sync_object::object))
        .do_update()
        .set((
            sync_object::read.eq(sync_object::read + done.read),
            sync_object::written.eq(sync_object::written + done.written),
            sync_object::unchanged.eq(sync_object::unchanged + done.unchanged),
            sync_object::removed.eq(sync_object::removed + done.removed),
            sync_object::added.eq(sync_object::added + done.added),
        ))
        .execute(c))?;
    Ok(())
}

fn finish(conn: &mut Conn, events: &mut NewEvents, mut end: SyncEnd) -> Result<Sync, Error> {
    if !end.state.is_final() {
        return Err(Error::conflict(
            super::Conflict::State,
            format!("a sync cannot end as {}", end.state),
        ));
    }
    let (of, before) = locked(conn, end.sync_id)?;
    let done_well = |state| matches!(state, SyncState::Succeeded | SyncState::Partial);
    if done_well(end.state) && before.cancel_requested {
        end.state = SyncState::Cancelled;
        end.error_reason.clear();
        end.error_message.clear();
    }
    let done = diesel::update(held(end.sync_id, end.fence))
        .set((
            sync::state.eq(end.state),
            sync::end_us.eq(end.now_us),
            sync::lease_owner.eq(None::<String>),
            sync::error_reason.eq(&end.error_reason),
            sync::error_message.eq(&end.error_message),
            sync::note.eq(&end.note),
            sync::change_no.eq(of.change_no),
        ))
        .execute(conn)?;
    let row = get(conn, end.sync_id)?;
    if done == 0 {
        return Err(lost(&row, end.fence));
    }
    if done_well(end.state) {
        if of.generation != row.generation {
            return Err(Error::LeaseLost {
                sync: row.id,
                why: Lost::Generation,
            });
        }
        if end.state == SyncState::Succeeded {
            // The last word on it: whoever asks for it, no sync succeeds that is not whole.
            let lacking = objects(conn, end.sync_id)?
                .into_iter()
                .find(|one| one.state != ObjectState::Complete || one.held > 0);
            if let Some(one) = lacking {
                return Err(Error::conflict(
                    super::Conflict::State,
                    format!(
                        "sync \"{}\" cannot end as SUCCEEDED: {} is {} with {} removals held back",
                        end.sync_id, one.object, one.state, one.held
                    ),
                ));
            }
        }
        let company_records = match end.company_records {
            Some(count) => count,
            None => record::count_companies(conn, of.id)?,
        };
        diesel::update(integration_table::table.find(of.id))
            .set((
                (end.state == SyncState::Succeeded)
                    .then_some(integration_table::last_success_us.eq(row.start_us)),
                integration_table::company_records.eq(company_records),
            ))
            .execute(conn)?;
        fields_are_back(conn, &row)?;
    }
    if !done_well(end.state) && of.state == IntegrationState::Active && of.generation != row.generation {
        // The selection changed while it ran, and what was added relied on it: another one reads that.
        let new = NewSync {
            integration_id: of.id,
            trigger: SyncTrigger::Selection,
            create_by: row.create_by.clone(),
            due_us: end.now_us,
            confirms: None,
            now_us: end.now_us,
        };
        insert(conn, &of, new)?;
    }
    let kind = match end.state {
        SyncState::Failed => EventKind::SyncFailed,
        SyncState::Cancelled => EventKind::SyncCancelled,
        SyncState::Partial => EventKind::SyncPartial,
        _ => EventKind::SyncFinished,
    };
    events.tell(conn, kind, of.id, &name(&row), &end.error_reason, end.now_us)?;
    Ok(row)
}

/// Fields that no attempt of a sync missed are there, as far as it read their objects whole. Marks made since it began are
/// of live reads that saw more than it.
fn fields_are_back(conn: &mut Conn, of: &Sync) -> Result<(), Error> {
    let missing = of.missing_fields();
    let whole: Vec<String> = objects(conn, of.id)?
        .into_iter()
        .filter(|one| one.state == ObjectState::Complete)
        .map(|one| one.object)
        .collect();
    let back: Vec<FieldRef> = field::list(conn, &[of.integration_id])?
        .into_iter()
        .filter(|field| field.missing_us.is_some_and(|since| Some(since) < of.start_us))
        .filter(|field| whole.contains(&field.object))
        .filter(|field| !missing.contains(&format!("{}.{}", field.object, field.key)))
        .map(|field| FieldRef {
            object: field.object,
            key: field.key,
        })
        .collect();
    field::clear_missing(conn, of.integration_id, &back)?;
    Ok(())
}

/// A sync's resource name.
fn name(of: &Sync) -> String {
    format!("{}/syncs/{}", of.integration_id.name(), of.id)
}

/// Asks the unfinished sync of an integration to stop.
pub(super) fn cancel_unfinished(
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
    // Nobody has it, or whoever had it is gone.
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
