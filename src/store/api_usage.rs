//! The API calls of integrations, by day (UTC), and what CRMs say of all calls of an organization.
//!
//! Calls are added up in the database, so the numbers hold for all replicas. A sync adds its calls about once a second and at its
//! end, a live read after its answer: a process that is killed loses what it had not added yet.

use diesel::{prelude::*, sql_types};

use super::{
    Error, Store,
    conn::Conn,
    organization::{self, OrganizationKey},
    schema::{integration, organization as organization_table},
};
use crate::domain::{AllowanceRules, ApiUse, IntegrationId, Micros, day};

/// The cost of calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallCost {
    /// The integration they were made for.
    pub integration_id: IntegrationId,
    /// The organization that was called.
    pub organization: OrganizationKey,
    /// Whether they were not those of a sync.
    pub live: bool,
    /// How many calls.
    pub calls: i64,
    /// The organization's calls and their limit, if the CRM said so.
    pub said: Option<(i64, i64)>,
    /// Now.
    pub now_us: Micros,
}

/// The row that has the sums over all days.
const ALL_DAYS: i64 = -1;

#[derive(QueryableByName)]
struct Sums {
    #[diesel(sql_type = sql_types::BigInt)]
    day: i64,
    #[diesel(sql_type = sql_types::BigInt)]
    sync_calls: i64,
    #[diesel(sql_type = sql_types::BigInt)]
    live_calls: i64,
}

impl Store {
    /// Adds calls; returns what was used with them. Calls of an integration that was deleted meanwhile are not counted. If the CRM
    /// says that its organization has calls left again by these rules, syncs that wait for them go on.
    pub async fn api_usage_add(&self, cost: CallCost, rules: AllowanceRules) -> Result<ApiUse, Error> {
        self.write(move |conn| {
            if cost.calls > 0 && lock_integration(conn, cost.integration_id)? {
                add(conn, &cost)?;
            }
            if let Some((used, limit)) = cost.said {
                let before = organization::lock(conn, &cost.organization)?;
                if rules.frees_syncs((before.calls_used, before.calls_limit), (used, limit)) {
                    organization::owe_resume(conn, &cost.organization, cost.now_us)?;
                }
                let key = (&cost.organization.connector, &cost.organization.id);
                diesel::update(organization_table::table.find(key))
                    .set((
                        organization_table::calls_used.eq(used),
                        organization_table::calls_limit.eq(limit),
                        organization_table::calls_us.eq(cost.now_us),
                    ))
                    .execute(conn)?;
            }
            get(conn, cost.integration_id, &cost.organization, cost.now_us)
        })
        .await
    }

    /// What an integration has used on the present day, and what its organization has.
    pub async fn api_usage_get(
        &self,
        id: IntegrationId,
        of: &OrganizationKey,
        now_us: Micros,
    ) -> Result<ApiUse, Error> {
        let of = of.clone();
        self.read(move |conn| get(conn, id, &of, now_us)).await
    }

    /// Deletes the numbers of days before this time, at most `limit`; the sums stay. Returns how many.
    pub async fn api_usage_purge(&self, before_us: Micros, limit: i64) -> Result<usize, Error> {
        let before = day(before_us);
        self.write(move |conn| super::purge::old(conn, "api_usage", "day", "day >= 0", before, limit))
            .await
    }
}

/// Locks an integration as the foreign key of its numbers does, but before them: the deletion of an integration locks it
/// first, and then deletes its numbers. False if there is none.
fn lock_integration(conn: &mut Conn, id: IntegrationId) -> Result<bool, Error> {
    let row = integration::table.find(id).select(integration::id);
    let found: Option<IntegrationId> = match conn {
        Conn::Sqlite(c) => row.first(c),
        Conn::Postgres(c) => row.for_key_share().first(c),
    }
    .optional()?;
    Ok(found.is_some())
}

fn add(conn: &mut Conn, cost: &CallCost) -> Result<(), Error> {
    const ADD: &str = "INSERT INTO api_usage (integration_id, day, sync_calls, live_calls) \
        VALUES ($1, $2, $3, $4), ($5, $6, $7, $8) \
        ON CONFLICT (integration_id, day) DO UPDATE SET \
        sync_calls = api_usage.sync_calls + excluded.sync_calls, live_calls = api_usage.live_calls + excluded.live_calls";
    let (sync, live) = match cost.live {
        true => (0, cost.calls),
        false => (cost.calls, 0),
    };
    diesel::sql_query(ADD)
        .bind::<sql_types::Text, _>(cost.integration_id)
        .bind::<sql_types::BigInt, _>(ALL_DAYS)
        .bind::<sql_types::BigInt, _>(sync)
        .bind::<sql_types::BigInt, _>(live)
        .bind::<sql_types::Text, _>(cost.integration_id)
        .bind::<sql_types::BigInt, _>(day(cost.now_us))
        .bind::<sql_types::BigInt, _>(sync)
        .bind::<sql_types::BigInt, _>(live)
        .execute(conn)?;
    Ok(())
}

fn get(conn: &mut Conn, id: IntegrationId, of: &OrganizationKey, now_us: Micros) -> Result<ApiUse, Error> {
    let today = day(now_us);
    let sums: Vec<Sums> = diesel::sql_query(
        "SELECT day, sync_calls, live_calls FROM api_usage \
         WHERE integration_id = (SELECT $1) AND day IN ($2, $3)",
    )
    .bind::<sql_types::Text, _>(id)
    .bind::<sql_types::BigInt, _>(ALL_DAYS)
    .bind::<sql_types::BigInt, _>(today)
    .load(conn)?;
    let of_day = |wanted| {
        let found = sums.iter().find(|one| one.day == wanted);
        found.map_or((0, 0), |one| (one.sync_calls, one.live_calls))
    };
    let said: Option<(i64, i64, Micros)> = organization_table::table
        .find((&of.connector, &of.id))
        .select((
            organization_table::calls_used,
            organization_table::calls_limit,
            organization_table::calls_us,
        ))
        .first(conn)
        .optional()?;
    let ((sync_calls, live_calls), all) = (of_day(today), of_day(ALL_DAYS));
    let (organization_used, organization_limit, organization_read_us) = said.unwrap_or_default();
    Ok(ApiUse {
        sync_calls,
        live_calls,
        total_calls: all.0.saturating_add(all.1),
        organization_used,
        organization_limit,
        organization_read_us,
    })
}
