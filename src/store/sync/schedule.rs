//! Syncs that are queued because their time was reached.
//!
//! `integration.next_sync_us` is the time of the next one; it is written in the transaction that queues a sync, saves the
//! integration or changes its schedule, and when a sync ends. So a crash at any line neither loses a sync nor repeats one, and of
//! several replicas one queues it: the others skip the locked row, and find the new time afterwards.

use diesel::{prelude::*, sql_types};

use super::{
    queue::{NewSync, insert},
    row::unfinished,
};
use crate::domain::{IntegrationId, IntegrationState, Micros, SyncId, SyncMode, SyncTrigger};
use crate::store::{
    Error, Integration, Store, conn::Conn, integration, schema::integration as integration_table,
};

/// The author of syncs that nobody requested.
const AUTHOR: &str = "schedule";

/// An integration whose time was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// The integration.
    pub integration_id: IntegrationId,
    /// Its connector.
    pub connector: String,
    /// The time that was reached.
    pub due_us: Micros,
    /// The sync that was queued; `None` if one is queued or running already, which counts as this one.
    pub sync_id: Option<SyncId>,
    /// The time of the next one. `None` if it has none: this version cannot read its schedule.
    pub next_us: Option<Micros>,
}

#[derive(QueryableByName)]
struct Due {
    #[diesel(sql_type = sql_types::Text)]
    id: IntegrationId,
}

#[derive(QueryableByName)]
struct Earliest {
    #[diesel(sql_type = sql_types::Nullable<sql_types::BigInt>)]
    next_sync_us: Option<Micros>,
}

impl Store {
    /// Queues the sync that has been due the longest, unless its integration has an unfinished one; either way its next time is
    /// in the future afterwards. `None` if none is due. An integration waits, and is due at once afterwards, while it is not
    /// active, its owner has the connector disabled, or the CRM refuses its account; a refusal of the kind `cured_by_use` ends
    /// with its pause.
    pub async fn sync_enqueue_due(
        &self,
        now_us: Micros,
        cured_by_use: &str,
    ) -> Result<Option<Scheduled>, Error> {
        let cured_by_use = cured_by_use.to_owned();
        self.write(move |conn| {
            let Some(id) = due(conn, now_us, &cured_by_use)? else {
                return Ok(None);
            };
            enqueue(conn, id, now_us)
        })
        .await
    }

    /// The earliest time, after this one, at which a sync is due.
    pub async fn sync_next_due(&self, now_us: Micros) -> Result<Option<Micros>, Error> {
        self.read(move |conn| {
            let earliest: Option<Earliest> = diesel::sql_query(
                "SELECT next_sync_us FROM integration WHERE next_sync_us IS NOT NULL AND state = 'ACTIVE' \
                 AND next_sync_us > (SELECT $1) ORDER BY next_sync_us, id LIMIT 1",
            )
            .bind::<sql_types::BigInt, _>(now_us)
            .get_result(conn)
            .optional()?;
            Ok(earliest.and_then(|one| one.next_sync_us))
        })
        .await
    }
}

/// The integration that has been due the longest, locked. The conditions on other tables are look-ups by key for each due
/// integration, whatever the planner believes.
fn due(conn: &mut Conn, now_us: Micros, cured_by_use: &str) -> Result<Option<IntegrationId>, Error> {
    const DUE: &str = "SELECT i.id FROM integration i \
        WHERE i.next_sync_us IS NOT NULL AND i.state = 'ACTIVE' AND i.next_sync_us <= (SELECT $1) \
        AND (SELECT e.enabled FROM connector_enablement e \
             WHERE e.group_id = i.group_id AND e.connector = i.connector) \
        AND (SELECT c.state = 'LIVE' AND (c.refusal_kind = '' OR (c.refusal_kind = $2 AND c.next_try_us <= $1)) \
             FROM credentials c WHERE c.id = i.credential_id) \
        ORDER BY i.next_sync_us, i.id LIMIT 1";
    let found: Option<Due> = match conn {
        Conn::Sqlite(c) => diesel::sql_query(DUE)
            .bind::<sql_types::BigInt, _>(now_us)
            .bind::<sql_types::Text, _>(cured_by_use)
            .get_result(c),
        Conn::Postgres(c) => diesel::sql_query(format!("{DUE} FOR NO KEY UPDATE OF i SKIP LOCKED"))
            .bind::<sql_types::BigInt, _>(now_us)
            .bind::<sql_types::Text, _>(cured_by_use)
            .get_result(c),
    }
    .optional()?;
    Ok(found.map(|due| due.id))
}

fn enqueue(conn: &mut Conn, id: IntegrationId, now_us: Micros) -> Result<Option<Scheduled>, Error> {
    let of = integration::lock(conn, id)?;
    let Some(due_us) = of.next_sync_us.filter(|due| *due <= now_us) else {
        return Ok(None);
    };
    let next_us = of.schedule.after_run(id, now_us);
    set_next(conn, id, next_us)?;
    let sync_id = match unfinished(conn, id)? {
        Some(_) => None,
        None => {
            let new = NewSync {
                integration_id: id,
                trigger: SyncTrigger::Schedule,
                create_by: AUTHOR.to_owned(),
                due_us: now_us,
                confirms: None,
                mode: SyncMode::Auto,
                now_us,
            };
            Some(insert(conn, &of, new)?.id)
        }
    };
    Ok(Some(Scheduled {
        integration_id: id,
        connector: of.connector,
        due_us,
        sync_id,
        next_us,
    }))
}

/// Sets the next time after the end of a sync, where the schedule counts from it, or where there is none because an earlier
/// version could not read the schedule. The caller holds the integration's lock.
pub(super) fn count_from_end(conn: &mut Conn, of: &Integration, end_us: Micros) -> Result<(), Error> {
    let next = match of.next_sync_us {
        Some(_) => of.schedule.after_end(of.id, end_us),
        None => of.schedule.first(of.id, end_us),
    };
    match next {
        Some(next) if of.state != IntegrationState::Deleting => set_next(conn, of.id, Some(next)),
        _ => Ok(()),
    }
}

fn set_next(conn: &mut Conn, id: IntegrationId, next_us: Option<Micros>) -> Result<(), Error> {
    diesel::update(integration_table::table.find(id))
        .set(integration_table::next_sync_us.eq(next_us))
        .execute(conn)?;
    Ok(())
}
