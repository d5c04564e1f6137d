//! The rows of syncs and their objects, and the checks of a worker's lease.

use diesel::{prelude::*, sql_types};

use crate::domain::{IntegrationId, Micros, ObjectState, SyncId, SyncMode, SyncState, SyncTrigger};
use crate::store::{
    Error, Integration, Lost, Noun, OrganizationKey, Store,
    conn::Conn,
    error::OrNotFound,
    integration,
    schema::{sync, sync_object},
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
    /// Its state.
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
    /// The worker that holds its lease.
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
    /// How much it reads: as asked for until it is decided.
    pub mode: SyncMode,
    /// The organization that it reads, as [`OrganizationKey`] is written; empty until a worker first took it.
    pub organization: String,
    /// How much it was asked to read.
    pub asked: SyncMode,
    /// How long workers had it until its progress was last stored, in microseconds.
    pub busy_us: Micros,
    /// When its progress was last stored, or a worker took it since.
    pub update_us: Micros,
}

impl Sync {
    /// The organization that it reads.
    #[must_use]
    pub fn organization(&self) -> OrganizationKey {
        let (connector, id) = self.organization.split_once('/').unwrap_or_default();
        OrganizationKey {
            connector: connector.to_owned(),
            id: id.to_owned(),
        }
    }

    /// Fields that were missing in any attempt, as `Object.Field`.
    pub fn missing_fields(&self) -> Vec<String> {
        serde_json::from_str(&self.missing).unwrap_or_default()
    }
}

/// How one object of a sync stands.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = sync_object, treat_none_as_default_value = false, treat_none_as_null = true)]
#[diesel(primary_key(sync_id, object))]
pub struct SyncObject {
    /// Of which sync.
    pub sync_id: SyncId,
    /// The object's key.
    pub object: String,
    /// Its place.
    pub position: i64,
    /// Its state.
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

/// The states of syncs that have not ended, exactly as in the partial indexes `sync_unfinished` and `sync_due`: planners match
/// them by literal conditions, not by parameters.
const UNFINISHED: &str = "sync.state IN ('QUEUED', 'RUNNING', 'WAITING')";

impl Store {
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
            // Values and limit are hidden from the planner: `record::postgres::read` says why.
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
}

/// The row of a sync, if a worker still holds it.
#[diesel::dsl::auto_type]
pub(in crate::store) fn held(id: SyncId, fence: i64) -> _ {
    let running: SyncState = SyncState::Running;
    sync::table
        .find(id)
        .filter(sync::fence.eq(fence))
        .filter(sync::state.eq(running))
}

pub(super) fn lost(row: &Sync, fence: i64) -> Error {
    let why = if row.fence != fence {
        Lost::Fence
    } else {
        Lost::State
    };
    Error::LeaseLost { sync: row.id, why }
}

pub(in crate::store) fn get(conn: &mut Conn, id: SyncId) -> Result<Sync, Error> {
    sync::table
        .find(id)
        .select(Sync::as_select())
        .first(conn)
        .or_not_found(Noun::Sync, id)
}

pub(super) fn objects(conn: &mut Conn, id: SyncId) -> Result<Vec<SyncObject>, Error> {
    Ok(sync_object::table
        .filter(sync_object::sync_id.eq(id))
        .order((sync_object::position, sync_object::object))
        .select(SyncObject::as_select())
        .load(conn)?)
}

pub(in crate::store) fn unfinished(
    conn: &mut Conn,
    integration_id: IntegrationId,
) -> Result<Option<Sync>, Error> {
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

/// Reads a sync after its integration was locked. What ends a sync because of its integration holds that lock: the row read
/// here is current.
pub(super) fn locked(conn: &mut Conn, id: SyncId) -> Result<(Integration, Sync), Error> {
    let integration_id = get(conn, id)?.integration_id;
    let of = integration::lock(conn, integration_id)?;
    Ok((of, get(conn, id)?))
}

/// A sync's resource name.
pub(super) fn name(of: &Sync) -> String {
    format!("{}/syncs/{}", of.integration_id.name(), of.id)
}
