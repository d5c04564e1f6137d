//! Which sync starts next.
//!
//! A worker takes the due sync of the group of which one started longest ago, so no group waits for more than one sync of each
//! other group while it has one that can start. Of the organizations of this group, the one comes first of which the group
//! started a sync longest ago. The places of an organization that several groups use go round in the same way: the next one
//! is for the group that started a sync of this organization longest ago. Of one group and organization, a sync whose worker died
//! goes on first, then the one starts that is due for longest.
//!
//! A start is a number, which `sync_turn` has for each group and for each organization of a group. A group of which none ever started
//! comes first. What cannot start (its organization has no place, its integration is not active) has no effect on others, and
//! comes first when it can. The worker that takes a sync holds the lock of the row with the last number, so the next one
//! sees what it took. It looks without the lock whether anything is due, as most workers find nothing.

use diesel::{prelude::*, sql_types};

use super::row::Sync;
use crate::domain::{GroupId, Micros, SyncId};
use crate::store::{
    Breaker, Error, OrganizationKey,
    conn::{Conn, each, first_locked},
    schema::sync_turn,
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

/// How many syncs are looked at in their order: other transactions may have locked the first ones.
const CHOICES: i64 = 8;

/// A sync that can start.
#[derive(QueryableByName)]
pub(super) struct Due {
    #[diesel(sql_type = sql_types::Text)]
    pub(super) id: SyncId,
    /// The generation of its integration.
    #[diesel(sql_type = sql_types::BigInt)]
    pub(super) generation: i64,
    #[diesel(sql_type = sql_types::Text)]
    pub(super) group_id: GroupId,
    #[diesel(sql_type = sql_types::Text)]
    connector: String,
    #[diesel(sql_type = sql_types::Text)]
    organization_id: String,
}

impl Due {
    /// The organization that it reads.
    pub(super) fn organization(&self) -> OrganizationKey {
        OrganizationKey {
            connector: self.connector.clone(),
            id: self.organization_id.clone(),
        }
    }
}

#[derive(QueryableByName)]
pub(super) struct Number {
    #[diesel(sql_type = sql_types::BigInt)]
    pub(super) value: i64,
}

/// The syncs that can start: due ones of active integrations, with the connector enabled, whose organization has a place. The
/// parameters are the time and the number of places. Other tables are looked up by key for each due sync, whatever the planner of
/// PostgreSQL believes.
fn due(conn: &Conn, columns: &str) -> String {
    const INTEGRATION: &str = "id, group_id, connector, state, generation, credential_id";
    const CREDENTIALS: &str = "connector, organization_id";
    let joined = match conn {
        Conn::Sqlite(_) => {
            // In this order of tables.
            "CROSS JOIN integration i ON i.id = s.integration_id CROSS JOIN credentials c ON c.id = i.credential_id"
                .to_owned()
        }
        Conn::Postgres(_) => format!(
            "CROSS JOIN LATERAL (SELECT {INTEGRATION} FROM integration WHERE id = s.integration_id LIMIT 1) i \
             CROSS JOIN LATERAL (SELECT {CREDENTIALS} FROM credentials WHERE id = i.credential_id LIMIT 1) c"
        ),
    };
    format!(
        "SELECT {columns} FROM sync s {joined} \
         WHERE s.state IN ('QUEUED', 'RUNNING', 'WAITING') AND s.due_us <= (SELECT $1) AND NOT s.cancel_requested \
         AND i.state = 'ACTIVE' AND (SELECT e.enabled FROM connector_enablement e \
             WHERE e.group_id = i.group_id AND e.connector = i.connector) \
         AND (SELECT count(*) FROM sync r WHERE r.state = 'RUNNING' AND r.organization = c.connector || '/' || c.organization_id \
              AND r.due_us > (SELECT $1) AND r.id <> s.id) < (SELECT $2)"
    )
}

/// The syncs that can start, in the order in which they do: of each organization the one that is next, then by group.
fn in_order(conn: &Conn) -> String {
    const COLUMNS: &str = "s.id, s.state, s.due_us, i.generation, i.group_id, c.connector, c.organization_id, \
        c.connector || '/' || c.organization_id AS organization";
    let (due, group, flow) = (due(conn, COLUMNS), started("''"), started("d.organization"));
    format!(
        "SELECT id, generation, group_id, connector, organization_id FROM (\
             SELECT f.*, row_number() OVER (PARTITION BY f.organization \
                 ORDER BY f.of_organization, f.state <> 'RUNNING', f.due_us, f.id) AS place \
             FROM (SELECT d.*, {group} AS of_group, {flow} AS of_organization FROM ({due}) d) f) h \
         WHERE place = 1 ORDER BY of_group, of_organization, due_us, id LIMIT (SELECT $3)"
    )
}

/// The number of the last start of a due sync's group, for an organization or for all (`''`).
fn started(organization: &str) -> String {
    format!(
        "COALESCE((SELECT t.started FROM sync_turn t WHERE t.group_id = d.group_id AND t.organization = {organization}), 0)"
    )
}

/// Whether a sync can start.
pub(super) fn is_any_due(conn: &mut Conn, worker: &Worker, now_us: Micros) -> Result<bool, Error> {
    let sql = due(conn, "s.due_us AS value");
    let found: Option<Number> = diesel::sql_query(format!("{sql} LIMIT 1"))
        .bind::<sql_types::BigInt, _>(now_us)
        .bind::<sql_types::BigInt, _>(worker.per_organization)
        .get_result(conn)
        .optional()?;
    Ok(found.is_some())
}

/// The syncs that can start, in their order.
pub(super) fn choices(conn: &mut Conn, worker: &Worker, now_us: Micros) -> Result<Vec<Due>, Error> {
    Ok(diesel::sql_query(in_order(conn))
        .bind::<sql_types::BigInt, _>(now_us)
        .bind::<sql_types::BigInt, _>(worker.per_organization)
        .bind::<sql_types::BigInt, _>(CHOICES)
        .load(conn)?)
}

/// Locks a sync if it is still due and no other transaction has locked it.
pub(super) fn lock(conn: &mut Conn, id: SyncId, now_us: Micros) -> Result<Option<Sync>, Error> {
    let skip = match conn {
        Conn::Sqlite(_) => "",
        Conn::Postgres(_) => " FOR NO KEY UPDATE SKIP LOCKED",
    };
    let sql = format!(
        "SELECT * FROM sync WHERE id = (SELECT $1) AND state IN ('QUEUED', 'RUNNING', 'WAITING') \
         AND due_us <= (SELECT $2) AND NOT cancel_requested{skip}"
    );
    Ok(diesel::sql_query(sql)
        .bind::<sql_types::Text, _>(id)
        .bind::<sql_types::BigInt, _>(now_us)
        .get_result(conn)
        .optional()?)
}

/// Makes all due syncs of an organization wait. Those that another transaction has locked are left to the next worker: none is waited
/// for, although the organization is locked.
pub(super) fn put_off(
    conn: &mut Conn,
    of: &OrganizationKey,
    worker: &Worker,
    now_us: Micros,
    (until_us, reason, message): (Micros, &str, &str),
) -> Result<(), Error> {
    let found = due(conn, "s.id");
    let skip = match conn {
        Conn::Sqlite(_) => "",
        Conn::Postgres(_) => " ORDER BY s.id FOR NO KEY UPDATE OF s SKIP LOCKED",
    };
    // SQLite numbers parameters in the order in which they appear.
    let sql = format!(
        "WITH found AS ({found} AND c.connector || '/' || c.organization_id = $3{skip}) \
         UPDATE sync SET organization = $3, state = 'WAITING', due_us = $4, lease_owner = NULL, error_reason = $5, \
         error_message = $6 WHERE id IN (SELECT id FROM found)"
    );
    diesel::sql_query(sql)
        .bind::<sql_types::BigInt, _>(now_us)
        .bind::<sql_types::BigInt, _>(worker.per_organization)
        .bind::<sql_types::Text, _>(of.to_string())
        .bind::<sql_types::BigInt, _>(until_us)
        .bind::<sql_types::Text, _>(reason)
        .bind::<sql_types::Text, _>(message)
        .execute(conn)?;
    Ok(())
}

/// Locks the row with the last number until the end of the transaction, which takes a sync; gives the number.
pub(super) fn lock_turns(conn: &mut Conn) -> Result<i64, Error> {
    Ok(first_locked!(
        conn,
        sync_turn::table.find(("", "")).select(sync_turn::started)
    )?)
}

/// Stores that a sync of a group starts, as the one after the last.
pub(super) fn start(
    conn: &mut Conn,
    last: i64,
    group: &GroupId,
    organization: &OrganizationKey,
) -> Result<(), Error> {
    let of = organization.to_string();
    for (group, organization) in [("", ""), (group.as_str(), ""), (group.as_str(), of.as_str())] {
        let row = (
            sync_turn::group_id.eq(group),
            sync_turn::organization.eq(organization),
            sync_turn::started.eq(last + 1),
        );
        each!(conn, c => diesel::insert_into(sync_turn::table)
            .values(row)
            .on_conflict((sync_turn::group_id, sync_turn::organization))
            .do_update()
            .set(sync_turn::started.eq(last + 1))
            .execute(c))?;
    }
    Ok(())
}
