//! What all accounts of a customer's organization share at its CRM: places for syncs, and the state of the CRM (outages, a
//! refused allowance).
//!
//! The limits of CRMs hold for an organization, whichever of its users makes the calls, and an outage concerns all of them: so
//! there is one row for each organization, not for each account. All replicas read and write it.
//!
//! After a pause one caller finds out whether the CRM answers again, the *probe*; others wait for it. A sync is the probe as long
//! as its worker has it: whatever ends it (an answer, an error before any call, a cancel request, a crash) ends the probe. A live
//! read is the probe during one call, and says when it has ended; that of a process that died ends after [`PROBE_US`].

use diesel::prelude::*;

use super::{
    Error, Store,
    conn::{Conn, each, first_locked},
    schema::{organization, sync},
};
use crate::domain::{Micros, SyncState};

mod state;

use state::PROBE_US;
pub use state::{Admission, Breaker, CallEnd, CallOutcome, Caller, Organization, OrganizationKey};

/// The statement that finds an organization.
macro_rules! row {
    ($key:expr) => {
        organization::table
            .find((&$key.connector, &$key.id))
            .select(Organization::as_select())
    };
}

impl Store {
    /// An organization; one of which nothing is known has no failures.
    pub async fn organization_get(&self, key: &OrganizationKey) -> Result<Organization, Error> {
        let key = key.clone();
        self.read(move |conn| {
            Ok(row!(key)
                .first(conn)
                .optional()?
                .unwrap_or_else(|| Organization::of(&key)))
        })
        .await
    }

    /// Whether a call that is none of a sync may be made now. [`Admission::Probe`] is to be asked for then
    /// ([`organization_probe`](Self::organization_probe)), right before the call.
    pub async fn organization_admits(
        &self,
        key: &OrganizationKey,
        breaker: Breaker,
        now_us: Micros,
    ) -> Result<Admission, Error> {
        let key = key.clone();
        self.read(move |conn| {
            let known: Option<Organization> = row!(key).first(conn).optional()?;
            match known {
                Some(known) => {
                    let probe = probe_until(conn, &known, now_us)?;
                    Ok(known.admits(&breaker, now_us, true, probe))
                }
                None => Ok(Admission::Open),
            }
        })
        .await
    }

    /// Whether a call may be made now, for one that may be the probe: of all replicas, one is. It has to say when it has ended,
    /// after the outcome was recorded ([`organization_probe_end`](Self::organization_probe_end)).
    pub async fn organization_probe(
        &self,
        key: &OrganizationKey,
        breaker: Breaker,
        now_us: Micros,
        caller: Caller,
    ) -> Result<Admission, Error> {
        let key = key.clone();
        self.write(move |conn| {
            let known = lock(conn, &key)?;
            admit(conn, &known, &breaker, now_us, &caller)
        })
        .await
    }

    /// A call that was the probe has ended, with or without an outcome: another one may be it.
    pub async fn organization_probe_end(&self, key: &OrganizationKey, caller: &Caller) -> Result<(), Error> {
        let (key, probe) = (key.clone(), caller.to_string());
        self.write(move |conn| {
            let row = organization::table.find((&key.connector, &key.id));
            diesel::update(row.filter(organization::probe.eq(probe)))
                .set((organization::probe.eq(""), organization::probe_until_us.eq(0)))
                .execute(conn)?;
            Ok(())
        })
        .await
    }

    /// Records how a call ended; returns the state after it.
    pub async fn organization_outcome(
        &self,
        key: &OrganizationKey,
        breaker: Breaker,
        end: CallEnd,
    ) -> Result<Organization, Error> {
        let key = key.clone();
        self.write(move |conn| {
            let known = lock(conn, &key)?;
            let next = breaker.after(&known, end);
            if next != known {
                set(conn, &next)?;
            }
            Ok(next)
        })
        .await
    }

    /// Deletes organizations of which no account is known any more.
    pub async fn organization_purge(&self) -> Result<usize, Error> {
        self.write(|conn| {
            const UNKNOWN: &str = "FROM organization WHERE NOT EXISTS (SELECT 1 FROM credentials c \
                WHERE c.connector = organization.connector AND c.organization_id = organization.organization_id)";
            let sql = match conn {
                Conn::Sqlite(_) => format!("DELETE {UNKNOWN}"),
                // Several replicas do this at the same time.
                Conn::Postgres(_) => format!(
                    "DELETE FROM organization WHERE ctid = ANY (ARRAY(SELECT ctid {UNKNOWN} FOR UPDATE SKIP LOCKED))"
                ),
            };
            Ok(diesel::sql_query(sql).execute(conn)?)
        })
        .await
    }
}

/// Locks an organization until the end of the transaction; makes its row if there is none.
pub(super) fn lock(conn: &mut Conn, key: &OrganizationKey) -> Result<Organization, Error> {
    let found: Option<Organization> = first_locked!(conn, row!(key)).optional()?;
    if let Some(found) = found {
        return Ok(found);
    }
    let new = Organization::of(key);
    each!(conn, c => diesel::insert_into(organization::table)
        .values(&new)
        .on_conflict_do_nothing()
        .execute(c))?;
    Ok(first_locked!(conn, row!(key))?)
}

/// Whether a call may be made, under the lock of the organization. If it finds out whether the CRM answers again, others wait from now
/// on.
pub(super) fn admit(
    conn: &mut Conn,
    of: &Organization,
    breaker: &Breaker,
    now_us: Micros,
    caller: &Caller,
) -> Result<Admission, Error> {
    let probe_until_us = probe_until(conn, of, now_us)?;
    let admission = of.admits(breaker, now_us, caller.is_live(), probe_until_us);
    if admission == Admission::Probe {
        let next = Organization {
            probe: caller.to_string(),
            probe_until_us: now_us.saturating_add(PROBE_US),
            ..of.clone()
        };
        set(conn, &next)?;
    }
    Ok(admission)
}

/// When the call that finds out whether an organization's CRM answers again ends at the latest; `None` if there is none. A sync's ends
/// with its lease, unless that is extended.
fn probe_until(conn: &mut Conn, of: &Organization, now_us: Micros) -> Result<Option<Micros>, Error> {
    let until_us = match Caller::parse(&of.probe) {
        None => None,
        Some(Caller::Live(_)) => Some(of.probe_until_us),
        Some(Caller::Sync(id, fence)) => {
            let running = sync::state.eq(SyncState::Running).and(sync::fence.eq(fence));
            let found = sync::table.find(id).filter(running).select(sync::due_us);
            found.first(conn).optional()?
        }
    };
    Ok(until_us.filter(|until| *until > now_us))
}

/// Stores that syncs of an organization may go on, under its lock.
pub(super) fn owe_resume(conn: &mut Conn, key: &OrganizationKey, now_us: Micros) -> Result<(), Error> {
    diesel::update(organization::table.find((&key.connector, &key.id)))
        .set(organization::resume_us.eq(now_us))
        .execute(conn)?;
    Ok(())
}

fn set(conn: &mut Conn, of: &Organization) -> Result<(), Error> {
    let row = organization::table.find((&of.connector, &of.organization_id));
    diesel::update(row).set(of).execute(conn)?;
    Ok(())
}
